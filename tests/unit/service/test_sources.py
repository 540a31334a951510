"""Files of the operator that are none."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from sockwarden.config import parse_config
from sockwarden.errors import DocumentError
from sockwarden.service import sources
from sockwarden.service.sources import MAX_FILE_BYTES, read_config, read_config_if_any, read_document, read_policy

if TYPE_CHECKING:
    from pathlib import Path


def said(path: str) -> str:
    with pytest.raises(DocumentError) as caught:
        read_document(path, "look again")
    (fault,) = caught.value.faults
    assert (fault.file, fault.line, fault.remedy) == (path, 0, "look again")
    return fault.message


def test_the_bytes_of_a_file_are_read(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"\x00\xff")
    assert read_document(str(tmp_path / "f"), "") == b"\x00\xff"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert said(str(tmp_path / "f")) == "it cannot be read: no such file or directory"


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    assert said(str(tmp_path)) == "it is not a regular file"


def test_a_fifo_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "f")
    assert said(str(tmp_path / "f")) == "it is not a regular file"


def test_an_endless_device_is_no_file() -> None:
    assert said("/dev/zero") == "it is not a regular file"


def test_no_more_is_read_than_a_parser_takes(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"")
    os.truncate(tmp_path / "f", MAX_FILE_BYTES + 1)
    assert len(read_document(str(tmp_path / "f"), "")) == MAX_FILE_BYTES


@pytest.mark.parametrize("read", [read_config, read_policy])
def test_a_file_that_is_too_large_is_a_fault(read, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"")
    os.truncate(tmp_path / "f", MAX_FILE_BYTES + 1)
    with pytest.raises(DocumentError):
        read(str(tmp_path / "f"))


def test_where_nobody_has_configured_anything_the_defaults_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = str(tmp_path / "sockwarden.toml")
    monkeypatch.setattr(sources, "DEFAULT_FILE", nowhere)
    assert read_config_if_any(nowhere) == parse_config(b"", nowhere)


def test_a_configuration_that_somebody_names_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(DocumentError):
        read_config_if_any(str(tmp_path / "other.toml"))
