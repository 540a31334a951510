"""Values that cannot be wrong once they exist."""

from __future__ import annotations

import pytest

from sockwarden.model import Container, Rule, Verdict, allow, deny


def test_a_refusal_without_a_message_cannot_be_made() -> None:
    with pytest.raises(AssertionError):
        Verdict(allowed=False, rule=Rule.DEFAULT)


def test_an_allowance_needs_only_its_rule() -> None:
    assert allow(Rule.EXEMPT) == Verdict(allowed=True, rule=Rule.EXEMPT)


def test_a_refusal_is_answered_with_403_unless_it_says_otherwise() -> None:
    assert (deny(Rule.LIMIT, "no").status, deny(Rule.UNKNOWN_ROUTE, "no", status=404).status) == (403, 404)


@pytest.mark.parametrize("text", ["", "a" * 12, "a" * 63, "A" * 64, "g" * 64, "a" * 64 + "\n", "sha256:" + "a" * 64])
def test_what_is_no_full_container_id_makes_no_container(text: str) -> None:
    with pytest.raises(AssertionError):
        Container(text, "sha256:" + "0" * 64, "busybox")


def test_a_full_id_makes_a_container() -> None:
    assert Container("0a" * 32, "sha256:" + "0" * 64, "busybox").manifest_digest is None


def test_rule_names_are_fit_for_labels() -> None:
    assert all(rule.value.replace("-", "").isalpha() and rule.value.islower() for rule in Rule)
