"""A diagnosis as its readers get it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.unit.doctor.facts_of_a_host import HOST

from sockwarden.doctor.diagnosis import Diagnosis, Line, Mark, Section, diagnose
from sockwarden.doctor.report import STYLES, as_json, text_lines

if TYPE_CHECKING:
    from collections.abc import Callable

SAMPLE = Diagnosis(
    (
        Section("kernel", "What the kernel offers", (Line(Mark.OK, "btf", "there"),)),
        Section(
            "roads",
            "Other roads",
            (
                Line(Mark.OPEN, "tcp://0.0.0.0:2375", "dockerd answers " + "the Engine API " * 4, "close it"),
                Line(Mark.UNTOLD, "/a/path/that/is/longer/than/its/own/column", "cannot be told: no root"),
                Line(Mark.WARN, "pinned", ""),
            ),
        ),
    )
)
EXPECTED = """\
What the kernel offers
  ok      btf  there

Other roads
  open    tcp://0.0.0.0:2375                  dockerd answers the Engine API the
                                              Engine API the Engine API the
                                              Engine API
  untold  /a/path/that/is/longer/than/its/own/column
                                              cannot be told: no root
  warn    pinned

What to do
  - tcp://0.0.0.0:2375: close it

1 thing open, and 1 question without an answer"""


def plain(text: str, _style: str) -> str:
    return text


def test_columns_are_aligned_and_long_texts_folded() -> None:
    assert "\n".join(text_lines(SAMPLE, plain, 80)) == EXPECTED


def test_colour_moves_no_column() -> None:
    def painted(text: str, style: str) -> str:
        return f"<{style}>{text}</{style}>"

    text = "\n".join(text_lines(SAMPLE, painted, 80))
    for style in ("bold", *STYLES.values()):
        text = text.replace(f"<{style}>", "").replace(f"</{style}>", "")
    assert text == EXPECTED


@pytest.mark.parametrize("mark", Mark)
def test_every_mark_has_its_colour(mark: Mark) -> None:
    assert STYLES[mark]


def test_where_nothing_is_to_be_done_nothing_is_advised() -> None:
    assert "What to do" not in list(text_lines(diagnose(HOST), plain, 80))


@pytest.mark.parametrize("width", [20, 80, 120])
def test_every_word_is_shown_whatever_the_width(width: int) -> None:
    words: Callable[[str], list[str]] = lambda text: sorted(text.split())  # noqa: E731 - said once, used twice
    assert words("\n".join(text_lines(SAMPLE, plain, width))) == words(EXPECTED)


def test_the_answer_for_machines_has_every_key() -> None:
    answer = json.loads(json.dumps(as_json(SAMPLE)))
    assert set(answer) == {"open", "conclusion", "advice", "sections"}
    assert answer["open"] is True
    assert answer["sections"]["roads"][0] == {
        "mark": "open",
        "subject": "tcp://0.0.0.0:2375",
        "text": SAMPLE.sections[1].lines[0].text,
        "remedy": "close it",
    }


def test_the_answer_for_machines_has_every_section() -> None:
    assert set(as_json(diagnose(HOST))["sections"]) == {"agent", "kernel", "guard", "sockets", "pins", "roads"}
