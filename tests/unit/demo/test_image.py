"""Images are made from this machine's own programs."""

from __future__ import annotations

import shutil
import sys
import tarfile
from pathlib import Path

import pytest

from sockwarden.demo.image import busybox_tree, libraries

needs_busybox = pytest.mark.skipif(shutil.which("busybox") is None, reason="busybox-static is not installed")


def test_the_libraries_of_a_program_are_files_with_its_loader() -> None:
    found = libraries(str(Path(sys.executable).resolve()))
    assert found
    assert all(Path(name).is_file() for name in found)
    assert any("ld-linux" in name or "ld-musl" in name for name in found)


def test_a_text_file_needs_no_library(tmp_path: Path) -> None:
    (tmp_path / "script").write_text("#!/bin/sh\n")
    assert libraries(str(tmp_path / "script")) == []


@needs_busybox
def test_a_tree_has_a_shell_and_each_name_once(tmp_path: Path) -> None:
    busybox_tree(tmp_path / "tree.tar", marker="one")
    with tarfile.open(tmp_path / "tree.tar") as archive:
        names = archive.getnames()
        marker = archive.extractfile("etc/marker")
        assert marker is not None
        assert marker.read() == b"one\n"
    assert "bin/sh" in names
    assert len(names) == len(set(names))
