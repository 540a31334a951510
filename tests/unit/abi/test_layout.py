"""abi.py and bpf/abi.h say the same, byte by byte: read from the BTF of the object that clang built."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

import pytest
from tests.unit.abi.btf import read

import sockwarden
from sockwarden import abi

OBJECT = Path(sockwarden.__file__).parent / "kernel" / "objects" / "layout.bpf.o"
HEADER = Path(__file__).resolve().parents[3] / "bpf" / "abi.h"

assert OBJECT.is_file(), f"{OBJECT} is missing: build it with 'make -C bpf'"
STRUCTS, ENUMS = read(OBJECT)


@pytest.mark.parametrize("name", abi.STRUCTS)
def test_every_field_has_the_offset_that_c_gave_it(name: str) -> None:
    mirror = abi.STRUCTS[name]
    offsets = {field[0]: getattr(mirror, field[0]).offset for field in mirror._fields_}
    assert offsets == STRUCTS[name].offsets


@pytest.mark.parametrize("name", abi.STRUCTS)
def test_every_struct_has_the_size_that_c_gave_it(name: str) -> None:
    assert ctypes.sizeof(abi.STRUCTS[name]) == STRUCTS[name].size


def test_no_shared_struct_is_missing_in_python() -> None:
    assert {name for name in STRUCTS if name.startswith("sw_")} == set(abi.STRUCTS)


@pytest.mark.parametrize("name", abi.ENUMS)
def test_every_number_has_the_name_that_c_gave_it(name: str) -> None:
    prefix, mirror = abi.ENUMS[name]
    values = {value.removeprefix(prefix): number for value, number in ENUMS[name].items()}
    last = [value for value in values if value.endswith("MAX")]
    assert {value: number for value, number in values.items() if value not in last} == {
        member.name: member.value for member in mirror
    }


def test_no_shared_enum_is_missing_in_python() -> None:
    assert {name for name in ENUMS if name.startswith("sw_")} == set(abi.ENUMS)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SW_ABI_VERSION", abi.ABI_VERSION),
        ("SW_COMM_BYTES", abi.COMM_BYTES),
        ("SW_SUN_PATH_BYTES", abi.SUN_PATH_BYTES),
        ("SW_CGROUP_PATH_BYTES", abi.CGROUP_PATH_BYTES),
        ("SW_FILENAME_BYTES", abi.FILENAME_BYTES),
        ("SW_REPORTS_PER_SECOND", abi.REPORTS_PER_SECOND),
        ("SW_LIFE_PER_SECOND", abi.LIFE_PER_SECOND),
        ("SW_FLAG_TRUNCATED", abi.FLAG_TRUNCATED),
        ("SW_FLAG_REFUSED", abi.FLAG_REFUSED),
        ("SW_FLAG_KILLED", abi.FLAG_KILLED),
    ],
)
def test_every_constant_has_the_value_that_c_gave_it(name: str, value: int) -> None:
    found = re.search(rf"^#define {name}\s+(\d+)", HEADER.read_text(), re.MULTILINE)
    assert found is not None
    assert int(found[1]) == value
