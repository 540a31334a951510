"""The terminal shows what a person would read."""

from __future__ import annotations

import os

import pytest

from sockwarden.demo.child import ChildError
from sockwarden.demo.terminal import Terminal, plain


def test_escapes_and_carriage_returns_are_not_shown() -> None:
    assert plain(b"\x1b[6n\x1b[1;31m/ # \x1b[0mls\r\n") == "/ # ls\n"


def test_bytes_that_are_no_text_do_not_break_it() -> None:
    assert plain(b"a\xffb") == "a\ufffdb"


def test_a_prompt_is_waited_for_and_what_follows_it_is_kept() -> None:
    with Terminal(["sh", "-c", "printf 'one> '; read x; printf 'got %s> ' $x; read y"], dict(os.environ)) as terminal:
        assert terminal.expect("> ") == "one> "
        terminal.type("word")
        assert terminal.expect("got word> ").endswith("got word> ")


def test_the_exit_status_is_known_at_the_end() -> None:
    with Terminal(["sh", "-c", "echo bye; exit 3"], dict(os.environ)) as terminal:
        assert terminal.rest() == "bye\n"
        assert terminal.status == 3


def test_a_program_that_ends_without_the_prompt_is_an_error_that_shows_its_output() -> None:
    with Terminal(["echo", "something else"], dict(os.environ)) as terminal, pytest.raises(ChildError, match="else"):
        terminal.expect("prompt")


def test_a_silent_program_is_an_error_at_the_deadline() -> None:
    with (
        Terminal(["sleep", "60"], dict(os.environ), seconds=0.05) as terminal,
        pytest.raises(ChildError, match="nothing more"),
    ):
        terminal.expect("prompt")
