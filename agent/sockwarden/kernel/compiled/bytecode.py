"""Plain BPF instructions: which maps they name by number, and how they become loaded programs.

Owns the numbers that stand for maps in what BCC compiles, the shapes of those maps, and the loading. Must not compile
or attach. The shapes are read from the prebuilt object, so that ``bpf/maps.h`` stays the only place that says them.
"""

from __future__ import annotations

import ctypes
import os
import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from sockwarden.errors import KernelError
from sockwarden.kernel.bpf import libbpf
from sockwarden.kernel.bpf.loader import OBJECTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

KPROBE: Final = 2
RAW_TRACEPOINT: Final = 17
"""``BPF_PROG_TYPE_KPROBE`` and ``BPF_PROG_TYPE_RAW_TRACEPOINT`` (linux/bpf.h)."""

FIRST_NUMBER: Final = 0x53570000
"""What stands for the first map: far above any descriptor, so that one left behind is refused by the kernel."""

LICENSE: Final = b"GPL"
"""As bpf/LICENSE says; the kernel lets only such programs read its memory."""

VERIFIER_LOG_BYTES: Final = 1 << 20
"""A refusal says why in its last lines; the kernel gives nothing at all if the log does not fit."""

VERIFIER_LOG_LINES: Final = 6

WHOLE_PACKAGE: Final = "install the agent and its BPF sources from the same package"

_INSTRUCTION: Final = struct.Struct("<BBhi")
"""``struct bpf_insn``: code, registers (source in the upper half), offset, immediate."""

_LOAD_64: Final = 0x18
"""``BPF_LD | BPF_DW | BPF_IMM``: takes the place of two instructions."""

_MAP_DESCRIPTOR: Final = 1
"""``BPF_PSEUDO_MAP_FD``, in the source register of a load."""


@dataclass(frozen=True, slots=True)
class MapShape:
    """One map before it is made. ``kind`` is the kernel's number; a ring has its bytes as ``entries``."""

    name: str
    kind: int
    key_bytes: int
    value_bytes: int
    entries: int

    def sized(self, entries: int) -> MapShape:
        """Return the same map with another number of entries."""
        return replace(self, entries=entries)


class LoadOptions(ctypes.Structure):
    """``struct bpf_prog_load_opts`` of libbpf 1.0 (bpf.h); ``size`` says how much of it is meant."""

    _fields_ = (
        ("size", ctypes.c_size_t),
        ("attempts", ctypes.c_int),
        ("expected_attach_type", ctypes.c_int),
        ("program_btf", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("interface", ctypes.c_uint32),
        ("kernel_version", ctypes.c_uint32),
        ("attach_btf_id", ctypes.c_uint32),
        ("attach_program", ctypes.c_uint32),
        ("attach_btf_object", ctypes.c_uint32),
        ("descriptors", ctypes.c_void_p),
        ("function_info", ctypes.c_void_p),
        ("function_info_count", ctypes.c_uint32),
        ("function_info_bytes", ctypes.c_uint32),
        ("line_info", ctypes.c_void_p),
        ("line_info_count", ctypes.c_uint32),
        ("line_info_bytes", ctypes.c_uint32),
        ("log_level", ctypes.c_uint32),
        ("log_bytes", ctypes.c_uint32),
        ("log", ctypes.c_void_p),
    )


def shapes(name: str) -> tuple[MapShape, ...]:
    """Return the maps of one prebuilt object, which is opened and not loaded: that needs no BTF.

    Raises:
        KernelError: the object is missing or damaged.
    """
    library = libbpf.library()
    libbpf.forget_log()
    path = OBJECTS / f"{name}.bpf.o"
    opened = libbpf.check_pointer(f"open {path}", library.bpf_object__open_file(os.fsencode(path), None))
    try:
        return tuple(
            MapShape(
                library.bpf_map__name(one).decode(),
                library.bpf_map__type(one),
                library.bpf_map__key_size(one),
                library.bpf_map__value_size(one),
                library.bpf_map__max_entries(one),
            )
            for one in _maps(opened)
            if not library.bpf_map__name(one).startswith(b".")  # a section of constants is no map of the guard
        )
    finally:
        library.bpf_object__close(opened)


def numbered(names: Iterable[str]) -> dict[str, int]:
    """Return the number that stands for each map."""
    return {name: number for number, name in enumerate(names, FIRST_NUMBER)}


def options(wanted: tuple[MapShape, ...]) -> list[str]:
    """Return the compiler's options that tell each map's number, and its shape to be checked (bpf/bcc/world.h)."""
    told: list[str] = []
    numbers = numbered(shape.name for shape in wanted)
    for shape in wanted:
        told += [f"-DSW_MAP_{shape.name}={numbers[shape.name]}", f"-DSW_MAP_KEY_{shape.name}={shape.key_bytes}"]
        told.append(f"-DSW_MAP_VALUE_{shape.name}={shape.value_bytes}")
    return told


def resolve(code: bytes, descriptors: Mapping[int, int]) -> bytes:
    """Return ``code`` with a descriptor in the place of every map's number.

    Raises:
        KernelError: it is no code, or it names a number that nobody gave.
    """
    if not code or len(code) % _INSTRUCTION.size:
        raise KernelError(f"{len(code)} bytes are no BPF instructions", remedy="report it with the version of BCC")
    made = bytearray(code)
    place = 0
    while place < len(made):
        operation, registers, offset, immediate = _INSTRUCTION.unpack_from(made, place)
        if operation == _LOAD_64 and registers >> 4 == _MAP_DESCRIPTOR:
            descriptor = descriptors.get(immediate)
            if descriptor is None:
                raise KernelError(
                    f"the compiled program names a map {immediate:#x} that nobody gave",
                    remedy=WHOLE_PACKAGE,
                )
            _INSTRUCTION.pack_into(made, place, operation, registers, offset, descriptor)
        place += _INSTRUCTION.size * (2 if operation == _LOAD_64 else 1)
    return bytes(made)


def make(shape: MapShape) -> int:
    """Make a map and return its descriptor, which is the caller's.

    Raises:
        KernelError: the kernel refused.
    """
    libbpf.forget_log()
    made = libbpf.library().bpf_map_create(
        shape.kind, shape.name.encode(), shape.key_bytes, shape.value_bytes, shape.entries, None
    )
    return libbpf.check(f"make map {shape.name}", made)


def load(name: str, kind: int, code: bytes) -> int:
    """Load one program and return its descriptor, which is the caller's. The kernel keeps 15 characters of ``name``.

    Raises:
        KernelError: the verifier refused it; the message quotes its last words.
    """
    log = ctypes.create_string_buffer(VERIFIER_LOG_BYTES)
    asked = LoadOptions(size=ctypes.sizeof(LoadOptions), log_bytes=len(log), log=ctypes.addressof(log))
    libbpf.forget_log()
    loaded = libbpf.library().bpf_prog_load(
        kind, name.encode(), LICENSE, code, len(code) // _INSTRUCTION.size, ctypes.byref(asked)
    )
    if loaded >= 0:
        return int(loaded)
    refusal = libbpf.failure(f"load {name}", -loaded)
    last = " | ".join(log.value.decode(errors="replace").splitlines()[-VERIFIER_LOG_LINES:])
    raise KernelError(f"{refusal} ({last})" if last else str(refusal), errno=refusal.errno, remedy=refusal.remedy)


def attach_raw(tracepoint: str, program: int) -> int:
    """Run a loaded program at a raw tracepoint; return the descriptor that keeps it there.

    Raises:
        KernelError: the kernel has no such tracepoint, or refused.
    """
    libbpf.forget_log()
    attached = libbpf.library().bpf_raw_tracepoint_open(tracepoint.encode(), program)
    return libbpf.check(f"attach to tracepoint {tracepoint}", attached)


def _maps(opened: int) -> Iterator[int]:
    one = libbpf.library().bpf_object__next_map(opened, None)
    while one:
        yield one
        one = libbpf.library().bpf_object__next_map(opened, one)
