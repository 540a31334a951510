"""The compiler's program with a BCC that is not one: what it hands over, and what it keeps apart."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from sockwarden.kernel.compiled import bcccompile

if TYPE_CHECKING:
    from pathlib import Path

BCC = """
import os, types
NAMES = [b"one", b"two"]
lib = types.SimpleNamespace(bpf_num_functions=lambda _: len(NAMES), bpf_function_name=lambda _, index: NAMES[index])
class BPF:
    def __init__(self, text, cflags):
        os.write(1, b"WARNING: said by the library\\n")
        if b"wrong" in text:
            os.write(2, b"main.c:1: error: wrong\\n")
            raise Exception("Failed to compile")
        self.module, self.cflags = 1, cflags
    def dump_func(self, name):
        return name + self.cflags[0].encode()
"""


def run(folder: Path, bcc: str, source: str) -> subprocess.CompletedProcess[str]:
    (folder / "bcc.py").write_text(bcc, "utf-8")
    (folder / "source.c").write_text(source, "ascii")
    begin = f"import sys; sys.path.insert(0, {str(folder)!r}); "
    program = f"{begin}exec(compile(open({bcccompile.__file__!r}).read(), 'bcccompile', 'exec'))"
    command = [sys.executable, "-I", "-c", program, str(folder / "source.c"), "-DX"]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_programs_are_told_by_name_whatever_the_library_prints(tmp_path: Path) -> None:
    done = run(tmp_path, BCC, "fine")
    assert json.loads(done.stdout) == {"one": b"one-DX".hex(), "two": b"two-DX".hex()}


def test_what_the_library_prints_goes_with_the_errors(tmp_path: Path) -> None:
    assert "WARNING: said by the library" in run(tmp_path, BCC, "fine").stderr


def test_a_refused_source_ends_with_the_compilers_words(tmp_path: Path) -> None:
    done = run(tmp_path, BCC, "wrong")
    assert (done.returncode, done.stdout, "main.c:1: error: wrong" in done.stderr) == (1, "", True)


def test_a_library_that_cannot_be_loaded_has_an_exit_code_of_its_own(tmp_path: Path) -> None:
    done = run(tmp_path, "raise OSError('libbcc.so.0: cannot open shared object file')", "fine")
    assert (done.returncode, "libbcc.so.0" in done.stderr) == (bcccompile.NO_BCC, True)
