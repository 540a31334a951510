"""The rung for kernels without BTF: the guard's own source, compiled on this host by BCC.

Owns the compiler's process, its programs' maps and probes. Must not decide or prove: it holds what a ``Force`` needs,
as ``loader.BpfObject`` does for the prebuilt objects. The compiler is a child that ends before anything is loaded, so
its 200 MB are never the agent's; it hands over plain instructions, and only these are loaded here.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sockwarden.errors import KernelError
from sockwarden.kernel.bpf.loader import GUARD, OBJECTS, TRACK
from sockwarden.kernel.compiled import bcccompile, bytecode, headers, kprobes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sockwarden.kernel.compiled.bytecode import MapShape

FUNCTIONS: Final[Mapping[str, str]] = {
    "guard_kprobe": "security_unix_stream_connect",
    "identity_graft": "security_sock_graft",
    "identity_free": "security_sk_free",
}
"""Program to the kernel function at whose entry it runs (bpf/bcc/guard.bcc.c)."""

TRACEPOINTS: Final[Mapping[str, str]] = {
    "track_cgroup_mkdir": "cgroup_mkdir",
    "track_cgroup_rmdir": "cgroup_rmdir",
    "track_fork": "sched_process_fork",
    "track_exec": "sched_process_exec",
    "track_exit": "sched_process_exit",
}
"""Program to the raw tracepoint at which it runs (the same file)."""

SOURCES: Final = OBJECTS / "source"
"""The sources that ship with the prebuilt objects, as they lie in bpf/."""

COMPILE_SECONDS: Final = 600.0
"""2 to 10 s on iron, 1 to 2 minutes under software emulation; a host that is busy starting has little time to spare."""

ERROR_LINES: Final = 3
"""Of the compiler's errors; those that follow the first ones mostly follow from them."""

ERROR_CHARACTERS: Final = 300
"""Per line of them."""

BCC_REMEDY: Final = "install BCC for Python: apt install python3-bpfcc, or dnf install python3-bcc"

_COMPILER: Final = Path(bcccompile.__file__)


class Compiled:
    """Compiled and loaded programs with the maps of one prebuilt object; attaching is the caller's choice."""

    def __init__(self, name: str, programs: tuple[str, ...], max_entries: Mapping[str, int] | None = None) -> None:
        """Compile and load ``programs``; the arguments are those of ``BpfObject``.

        The first call takes seconds, and the memory of a compiler in a process of its own; later ones go on with what
        it said.

        Raises:
            KernelError: BCC or the headers are missing or do not fit together, or the compiler or the kernel refused.
        """
        kprobes.kind()
        whole = {shape.name: shape for object_name in (GUARD, TRACK) for shape in bytecode.shapes(object_name)}
        code = compile_guard(headers.find(), tuple(whole.values()))
        self._maps: dict[str, int] = {}
        self._programs: dict[str, int] = {}
        self._attached: dict[str, int] = {}
        try:
            self._make(name, max_entries or {})
            self._load(programs, code, bytecode.numbered(whole))
        except KernelError:
            self.close()
            raise

    def attach(self, program: str) -> None:
        """Attach one loaded program to its kernel function or tracepoint.

        Raises:
            KernelError: the kernel has no such place, or refuses a program there.
        """
        descriptor = self._programs[program]
        if program in FUNCTIONS:
            self._attached[program] = kprobes.attach(FUNCTIONS[program], descriptor)
        else:
            self._attached[program] = bytecode.attach_raw(TRACEPOINTS[program], descriptor)

    def map_fd(self, name: str) -> int:
        """Return the descriptor of a map, which stays this object's own.

        Raises:
            KernelError: there is no such map.
        """
        if name not in self._maps:
            raise KernelError(f"the rung bcc has no map {name}", remedy=bytecode.WHOLE_PACKAGE)
        return self._maps[name]

    def program_fd(self, name: str) -> int:
        """Return the descriptor of a loaded program, which stays this object's own.

        Raises:
            KernelError: there is no such program.
        """
        if name not in self._programs:
            raise KernelError(f"the rung bcc has no program {name}", remedy=bytecode.WHOLE_PACKAGE)
        return self._programs[name]

    def close(self) -> None:
        """Detach and unload everything; a second call does nothing."""
        for held in (self._attached, self._programs, self._maps):
            while held:
                os.close(held.popitem()[1])

    def _make(self, name: str, sizes: Mapping[str, int]) -> None:
        for shape in bytecode.shapes(name):
            self._maps[shape.name] = bytecode.make(shape.sized(sizes.get(shape.name, shape.entries)))

    def _load(self, programs: tuple[str, ...], code: Mapping[str, bytes], numbers: Mapping[str, int]) -> None:
        descriptors = {numbers[name]: descriptor for name, descriptor in self._maps.items()}
        for name in programs:
            if name not in code:
                raise KernelError(f"{SOURCES} has no program {name}", remedy=bytecode.WHOLE_PACKAGE)
            kind = bytecode.KPROBE if name in FUNCTIONS else bytecode.RAW_TRACEPOINT
            self._programs[name] = bytecode.load(name, kind, bytecode.resolve(code[name], descriptors))


@functools.lru_cache(maxsize=1)
def compile_guard(found: headers.Headers, shapes: tuple[MapShape, ...]) -> dict[str, bytes]:
    """Return the instructions of every program of ``guard.bcc.c``, in which numbers stand for the maps.

    Remembered for as long as this process lives: the guard and what tracks container life are of one compile.

    Raises:
        KernelError: BCC is missing, cannot read these headers, or refused the source.
    """
    headers.check_readable(found, bcc_version())
    with headers.unpacked(found) as environment:
        command = [sys.executable, "-I", str(_COMPILER), str(SOURCES / "bcc" / "guard.bcc.c"), f"-I{SOURCES}"]
        command += bytecode.options(shapes)
        try:
            done = subprocess.run(
                command,
                check=False,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=COMPILE_SECONDS,
                cwd="/",
                env={"PATH": os.defpath, "LC_ALL": "C.UTF-8", **environment},
            )
        except OSError as error:
            raise KernelError(f"BCC's compiler cannot be run: {error}", remedy=BCC_REMEDY) from error
        except subprocess.TimeoutExpired as error:
            raise KernelError(
                f"BCC's compiler did not end within {COMPILE_SECONDS:.0f} s", remedy="look for what keeps the host busy"
            ) from error
    if done.returncode != 0:
        raise _refused(found, done.returncode, complaint(done.stderr.decode(errors="replace")))
    return {name: bytes.fromhex(code) for name, code in json.loads(done.stdout).items()}


def _refused(found: headers.Headers, status: int, said: str) -> KernelError:
    if status < 0:
        return KernelError(
            f"BCC's compiler was ended by signal {-status}: {said}", remedy="give it 250 MB of memory for some seconds"
        )
    if status == bcccompile.NO_BCC:
        return KernelError(f"BCC cannot be loaded: {said}", remedy=BCC_REMEDY)
    return KernelError(
        f"BCC {bcc_version()} does not compile against the headers of Linux {found.release}: {said}",
        remedy="install a newer BCC, or a kernel with CONFIG_DEBUG_INFO_BTF, which needs no compiler",
    )


def bcc_version() -> str:
    """Return the version of the installed BCC without loading it.

    Raises:
        KernelError: there is none, or it does not say.
    """
    place = importlib.util.find_spec("bcc")
    if place is None or place.origin is None:
        raise KernelError("BCC is not installed: there is no Python module bcc", remedy=BCC_REMEDY)
    try:
        told = re.search(r"__version__ = '([0-9.]+)", Path(place.origin).with_name("version.py").read_text("utf-8"))
    except OSError as error:
        raise KernelError(f"BCC's version cannot be read: {error}", remedy=BCC_REMEDY) from error
    if told is None:
        raise KernelError("BCC does not say its version", remedy=BCC_REMEDY)
    return told[1]


def complaint(said: str) -> str:
    """Return the first errors in what a compiler said, else its last words."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if "error:" in line]
    shown = errors[:ERROR_LINES] or lines[-ERROR_LINES:] or ["it said nothing"]
    more = f" | and {len(errors) - ERROR_LINES} more" if len(errors) > ERROR_LINES else ""
    return " | ".join(line[:ERROR_CHARACTERS] for line in shown) + more
