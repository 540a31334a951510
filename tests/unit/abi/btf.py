"""A reader of the few BTF kinds that a layout needs (Documentation/bpf/btf.rst), from an ELF object."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

_INT, _ARRAY, _STRUCT, _UNION, _ENUM = 1, 3, 4, 5, 6
_FUNC_PROTO, _VAR, _DATASEC, _DECL_TAG, _ENUM64 = 13, 14, 15, 17, 19

_MORE: Final = {_INT: 4, _ARRAY: 12, _VAR: 4, _DECL_TAG: 4}
"""Bytes after the head of a type, where they do not depend on its number of members."""

_PER_MEMBER: Final = {_STRUCT: 12, _UNION: 12, _ENUM: 8, _FUNC_PROTO: 8, _DATASEC: 12, _ENUM64: 12}


@dataclass(frozen=True)
class Layout:
    """Size of a struct in bytes, and offset of each member by name."""

    size: int
    offsets: dict[str, int]


def section(path: Path, wanted: bytes) -> bytes:
    """Return one section of a 64-bit little-endian ELF file."""
    data = path.read_bytes()
    (table,) = struct.unpack_from("<Q", data, 0x28)
    entry, count, names_index = struct.unpack_from("<HHH", data, 0x3A)
    heads = [struct.unpack_from("<IIQQQQ", data, table + index * entry) for index in range(count)]
    names = heads[names_index][4]
    for name, _, _, _, offset, size in heads:
        if data[names + name : data.index(b"\0", names + name)] == wanted:
            return data[offset : offset + size]
    raise LookupError(f"{path} has no section {wanted!r}")


def read(path: Path) -> tuple[dict[str, Layout], dict[str, dict[str, int]]]:
    """Return every struct's layout and every enum's values, by name."""
    data = section(path, b".BTF")
    _, _, _, head, type_offset, type_bytes, text_offset, _ = struct.unpack_from("<HBBIIIII", data)
    texts = data[head + text_offset :]

    def text(offset: int) -> str:
        return texts[offset : texts.index(b"\0", offset)].decode()

    structs: dict[str, Layout] = {}
    enums: dict[str, dict[str, int]] = {}
    place, end = head + type_offset, head + type_offset + type_bytes
    while place < end:
        name, info, size = struct.unpack_from("<III", data, place)
        kind, members = info >> 24 & 0x1F, info & 0xFFFF
        place += 12
        if kind == _STRUCT:
            fields = [struct.unpack_from("<III", data, place + 12 * index) for index in range(members)]
            structs[text(name)] = Layout(size, {text(field): (bits & 0xFFFFFF) // 8 for field, _, bits in fields})
        elif kind == _ENUM:
            values = [struct.unpack_from("<Ii", data, place + 8 * index) for index in range(members)]
            enums[text(name)] = {text(value_name): value for value_name, value in values}
        place += _MORE.get(kind, 0) + _PER_MEMBER.get(kind, 0) * members
    return structs, enums
