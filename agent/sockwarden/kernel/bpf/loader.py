"""Opens, loads and attaches one BPF object of the package.

Owns the objects' place, which programs are loaded, and their links. Must not decide which rung to try.
Everything is released by ``close``, and by the kernel when this process dies, but for what was pinned.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sockwarden.errors import KernelError
from sockwarden.kernel.bpf import libbpf
from sockwarden.kernel.bpf.tracefs import mounted_tracefs

if TYPE_CHECKING:
    from collections.abc import Mapping

OBJECTS: Final = Path(__file__).parents[1] / "objects"

GUARD: Final = "guard"
TRACK: Final = "track"


def object_path(name: str) -> Path:
    """Return where the package keeps an object."""
    return OBJECTS / f"{name}.bpf.o"


class BpfObject:
    """One loaded object. ``programs`` are the only ones that are loaded and attached."""

    def __init__(self, name: str, programs: tuple[str, ...], max_entries: Mapping[str, int] | None = None) -> None:
        """Open and load ``name``; ``max_entries`` overrides sizes by map name (a ring's in bytes, a power of 2).

        Raises:
            KernelError: the object is missing or damaged, or the kernel refused it; the message quotes libbpf's log.
        """
        self._library = libbpf.library()
        self._links: dict[str, int] = {}
        self._name = name
        path = object_path(name)
        if not path.is_file():
            raise KernelError(f"{path} is missing", remedy="build it with 'make -C bpf', or install the whole package")
        libbpf.forget_log()
        opened = self._library.bpf_object__open_file(os.fsencode(path), None)
        self._object: int | None = libbpf.check_pointer(f"open {path}", opened)
        try:
            self._choose(frozenset(programs))
            for map_name, entries in (max_entries or {}).items():
                resized = self._library.bpf_map__set_max_entries(self._map(map_name), entries)
                libbpf.check(f"resize map {map_name}", resized)
            libbpf.forget_log()
            libbpf.check(f"load {', '.join(programs)}", self._library.bpf_object__load(self._object))
        except KernelError:
            self.close()
            raise

    def attach(self, program: str) -> None:
        """Attach one loaded program to the hook that its section names.

        Raises:
            KernelError: the kernel has no such hook, or refuses it.
        """
        libbpf.forget_log()
        found = self._library.bpf_object__find_program_by_name(self._object, program.encode())
        libbpf.check_pointer(f"find program {program}", found)
        # libbpf looks up syscall tracepoints in tracefs; the others do not need it.
        with mounted_tracefs():
            link = self._library.bpf_program__attach(found)
        self._links[program] = libbpf.check_pointer(f"attach {program}", link)

    def map_fd(self, name: str) -> int:
        """Return the descriptor of a map, which this object owns.

        Raises:
            KernelError: the object has no such map.
        """
        return libbpf.check(f"open map {name}", self._library.bpf_map__fd(self._map(name)))

    def program_fd(self, name: str) -> int:
        """Return the descriptor of a loaded program, which this object owns.

        Raises:
            KernelError: the object has no such program, or it was not loaded.
        """
        found = self._library.bpf_object__find_program_by_name(self._object, name.encode())
        libbpf.check_pointer(f"find program {name}", found)
        return libbpf.check(f"open program {name}", self._library.bpf_program__fd(found))

    def maps(self) -> dict[str, int]:
        """Return the descriptors of all maps that can be pinned; they stay this object's own."""
        found: dict[str, int] = {}
        one = self._library.bpf_object__next_map(self._object, None)
        while one:
            name = self._library.bpf_map__name(one).decode()
            if "." not in name:  # global data (.rodata, .bss): its programs hold it, and bpffs takes no dots
                found[name] = self._library.bpf_map__fd(one)
            one = self._library.bpf_object__next_map(self._object, one)
        return found

    def links(self) -> dict[str, int]:
        """Return the descriptors of all links by their programs' names; they stay this object's own."""
        return {program: self._library.bpf_link__fd(link) for program, link in self._links.items()}

    def close(self) -> None:
        """Let go of everything: what is not pinned is detached and unloaded. A second call does nothing."""
        while self._links:
            _, link = self._links.popitem()
            self._library.bpf_link__destroy(link)
        if self._object is not None:
            self._library.bpf_object__close(self._object)
            self._object = None

    def _map(self, name: str) -> int:
        found = self._library.bpf_object__find_map_by_name(self._object, name.encode())
        return libbpf.check_pointer(f"find map {name}", found)

    def _choose(self, wanted: frozenset[str]) -> None:
        unseen = set(wanted)
        program = self._library.bpf_object__next_program(self._object, None)
        while program:
            name = self._library.bpf_program__name(program).decode()
            libbpf.check(f"choose {name}", self._library.bpf_program__set_autoload(program, name in wanted))
            unseen.discard(name)
            program = self._library.bpf_object__next_program(self._object, program)
        if unseen:
            raise KernelError(
                f"{self._name}.bpf.o has no program {', '.join(sorted(unseen))}",
                remedy="install the agent and its BPF objects from the same package",
            )
