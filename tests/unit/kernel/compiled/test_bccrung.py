from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from sockwarden.errors import KernelError
from sockwarden.kernel.compiled import bcccompile, bccrung, bytecode
from sockwarden.kernel.compiled.headers import Headers
from sockwarden.kernel.life.lifefeed import TRACK_PROGRAMS
from sockwarden.kernel.rungs import PROGRAMS

if TYPE_CHECKING:
    from pathlib import Path


def test_the_first_errors_of_a_compiler_are_quoted() -> None:
    said = "\n".join(["In file included from x:", *(f"a.h:{line}:1: error: no {line}" for line in range(5)), "note: y"])
    assert bccrung.complaint(said) == (
        "a.h:0:1: error: no 0 | a.h:1:1: error: no 1 | a.h:2:1: error: no 2 | and 2 more"
    )


def test_without_errors_the_last_words_are_quoted() -> None:
    assert bccrung.complaint("one\ntwo\n\nthree\nfour\n") == "two | three | four"


def test_a_compiler_that_dies_silently_is_told_of() -> None:
    assert bccrung.complaint("") == "it said nothing"


def test_a_long_line_is_cut() -> None:
    assert len(bccrung.complaint("error: " + "x" * 10_000)) == bccrung.ERROR_CHARACTERS


def test_every_program_of_the_rung_has_its_function_and_stands_in_the_shipped_source() -> None:
    source = (bccrung.SOURCES / "bcc" / "guard.bcc.c").read_text("utf-8")
    wanted = {name for programs in PROGRAMS["bcc"] for name in programs}
    assert wanted == set(bccrung.FUNCTIONS)
    assert set(TRACK_PROGRAMS) == set(bccrung.TRACEPOINTS)
    wanted.update(TRACK_PROGRAMS)
    assert [name for name in wanted if f"int {name}(void *context)" not in source] == []


def test_the_installed_bcc_says_its_version() -> None:
    assert bccrung.bcc_version()[0].isdecimal()


def test_headers_that_do_not_compile_end_in_the_compilers_words_and_nothing_on_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "include/linux").mkdir(parents=True)
    (tmp_path / "include/linux/kconfig.h").touch()
    with pytest.raises(KernelError, match=r"does not compile against the headers of Linux 5.10.0: .*error: "):
        bccrung.compile_guard(Headers("5.10.0", (5, 10), tmp_path), bytecode.shapes("guard"))
    assert capfd.readouterr() == ("", "")


def test_a_bcc_that_does_not_say_its_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "bcc"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "version.py").write_text("nothing = 1\n", "ascii")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KernelError, match="does not say its version"):
        bccrung.bcc_version()


def test_a_bcc_without_a_version_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bcc").mkdir()
    (tmp_path / "bcc" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KernelError, match="version cannot be read"):
        bccrung.bcc_version()


def test_a_host_without_bcc_is_told_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    with pytest.raises(KernelError) as caught:
        bccrung.bcc_version()
    assert "apt install python3-bpfcc" in caught.value.remedy


def test_headers_that_this_bcc_is_known_not_to_read_are_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "bcc"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "version.py").write_text("__version__ = '0.26.0'\n", "ascii")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(KernelError, match=r"BCC 0\.26\.0 cannot compile against the headers of Linux 6\.12"):
        bccrung.compile_guard(Headers("6.12.107", (6, 12, 107)), ())


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (1, r"does not compile against the headers of Linux 5\.10: why"),
        (bcccompile.NO_BCC, "BCC cannot be loaded: why"),
        (-9, "ended by signal 9: why"),
    ],
)
def test_each_way_in_which_a_compiler_ends_has_its_own_words(status: int, message: str) -> None:
    refused = bccrung._refused(Headers("5.10", (5, 10)), status, "why")
    assert re.search(message, str(refused)) is not None
    assert refused.remedy
