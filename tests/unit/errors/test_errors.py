"""Errors that say where, what and what to do."""

from __future__ import annotations

import pytest

from sockwarden import errors
from sockwarden.errors import DocumentError, ExitCode, Fault, SockwardenError


def test_a_fault_reads_as_compilers_write_it() -> None:
    assert str(Fault("a.json", 3, 7, "bad")) == "a.json:3:7: bad"


def test_a_fault_without_a_place_names_only_the_file() -> None:
    assert str(Fault("a.json", 0, 0, "unreadable", "chmod it")) == "a.json: unreadable (remedy: chmod it)"


def test_a_document_error_holds_every_fault_in_order_of_place() -> None:
    error = DocumentError([Fault("a", 9, 1, "later"), Fault("a", 2, 5, "sooner")])
    assert [fault.message for fault in error.faults] == ["sooner", "later"]
    assert str(error).splitlines() == ["a:2:5: sooner", "a:9:1: later"]


def test_a_document_error_without_a_fault_cannot_be_made() -> None:
    with pytest.raises(AssertionError):
        DocumentError([])


def test_an_error_keeps_its_remedy() -> None:
    assert SockwardenError("broken", remedy="mend it").remedy == "mend it"


def test_a_client_error_keeps_the_status_of_its_answer() -> None:
    assert (errors.ClientError("x").status, errors.ClientError("x", status=431).status) == (400, 431)


def test_a_kernel_error_keeps_its_number() -> None:
    assert errors.KernelError("x", errno=1).errno == 1


def test_every_error_ends_in_a_documented_exit_code_that_is_not_success() -> None:
    kinds = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, SockwardenError)]
    assert len(kinds) > 1
    assert all(kind.exit_code in ExitCode and kind.exit_code is not ExitCode.OK for kind in kinds)
