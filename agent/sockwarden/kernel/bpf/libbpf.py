"""The binding of ``libbpf.so.1``: the only CDLL of this package.

Owns prototypes, the library's own log, and how a failed call becomes a ``KernelError``. Must know nothing
of guards, maps' meaning or events. Written against libbpf 1.0's stable C API (libbpf.h, bpf.h); a newer
library only adds to it.
"""

from __future__ import annotations

import collections
import ctypes
import errno
import functools
import os
from typing import Final

from sockwarden.errors import KernelError

SONAME: Final = "libbpf.so.1"

LOG_LINES: Final = 12
"""A verifier's refusal says why in its last lines; a whole log may have thousands."""

LOG_LINE_BYTES: Final = 1 << 20
"""libbpf prints a whole verifier log as one line, and the reason stands at its end: cut short, it is lost."""

_MISLEADING: Final = "try raising 'ulimit -l'"
"""Said at every EPERM; libbpf 1.0 has raised the limit itself by then, where the kernel knows one."""

_WARN: Final = 0  # enum libbpf_print_level

_MEMBARRIER: Final = {"x86_64": 324, "aarch64": 283}
"""Its number by machine (asm/unistd.h): the C library has no function for it."""

_MEMBARRIER_CMD_GLOBAL: Final = 1  # linux/membarrier.h

_Print = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)
Sample = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
"""``ring_buffer_sample_fn``: context, data, size."""

_pointer, _text, _int, _size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int, ctypes.c_size_t

_PROTOTYPES: Final[dict[str, tuple[type | None, tuple[type, ...]]]] = {
    "libbpf_set_print": (_pointer, (_Print,)),
    "libbpf_version_string": (_text, ()),
    "libbpf_num_possible_cpus": (_int, ()),
    "bpf_object__open_file": (_pointer, (_text, _pointer)),
    "bpf_object__load": (_int, (_pointer,)),
    "bpf_object__close": (None, (_pointer,)),
    "bpf_object__find_program_by_name": (_pointer, (_pointer, _text)),
    "bpf_object__find_map_by_name": (_pointer, (_pointer, _text)),
    "bpf_object__next_program": (_pointer, (_pointer, _pointer)),
    "bpf_program__name": (_text, (_pointer,)),
    "bpf_program__set_autoload": (_int, (_pointer, ctypes.c_bool)),
    "bpf_program__attach": (_pointer, (_pointer,)),
    "bpf_program__fd": (_int, (_pointer,)),
    "bpf_link__destroy": (_int, (_pointer,)),
    "bpf_link__fd": (_int, (_pointer,)),
    "bpf_map__fd": (_int, (_pointer,)),
    "bpf_map__set_max_entries": (_int, (_pointer, ctypes.c_uint32)),
    "bpf_object__next_map": (_pointer, (_pointer, _pointer)),
    "bpf_map__name": (_text, (_pointer,)),
    "bpf_map__type": (_int, (_pointer,)),
    "bpf_map__key_size": (ctypes.c_uint32, (_pointer,)),
    "bpf_map__value_size": (ctypes.c_uint32, (_pointer,)),
    "bpf_map__max_entries": (ctypes.c_uint32, (_pointer,)),
    "bpf_map_create": (_int, (_int, _text, *(ctypes.c_uint32,) * 3, _pointer)),
    "bpf_raw_tracepoint_open": (_int, (_text, _int)),
    "bpf_prog_load": (_int, (_int, _text, _text, _text, _size, _pointer)),
    "bpf_map_update_elem": (_int, (_int, _pointer, _pointer, ctypes.c_uint64)),
    "bpf_map_lookup_elem": (_int, (_int, _pointer, _pointer)),
    "bpf_map_delete_elem": (_int, (_int, _pointer)),
    "bpf_map_get_next_key": (_int, (_int, _pointer, _pointer)),
    "bpf_map_lookup_batch": (_int, (_int, _pointer, _pointer, _pointer, _pointer, _pointer, _pointer)),
    "bpf_obj_get_info_by_fd": (_int, (_int, _pointer, _pointer)),
    "bpf_obj_get": (_int, (_text,)),
    "bpf_obj_pin": (_int, (_int, _text)),
    "bpf_prog_get_fd_by_id": (_int, (ctypes.c_uint32,)),
    "ring_buffer__new": (_pointer, (_int, Sample, _pointer, _pointer)),
    "ring_buffer__consume": (_int, (_pointer,)),
    "ring_buffer__epoll_fd": (_int, (_pointer,)),
    "ring_buffer__free": (None, (_pointer,)),
}

_REMEDIES: Final[dict[int, str]] = {
    errno.EPERM: "run as root with CAP_BPF and CAP_PERFMON; where root is refused too, the kernel's lockdown or"
    " security policy forbids this program type: choose a lower rung in [guard] mode",
    errno.EACCES: "the verifier refused the program: report the log with the output of uname -r",
    errno.EINVAL: "this kernel lacks what the program needs: choose a lower rung in [guard] mode",
    errno.ENOENT: "this kernel has no such hook, or tracefs cannot be mounted: choose a lower rung in [guard] mode",
    errno.ESRCH: "the kernel's BTF does not name this hook: choose a lower rung in [guard] mode",
    errno.ENOMEM: "raise the memory lock limit (LimitMEMLOCK=infinity) or free memory",
}

_log: Final[collections.deque[str]] = collections.deque(maxlen=LOG_LINES)


@functools.cache
def library() -> ctypes.CDLL:
    """Return the loaded library with its prototypes set.

    Raises:
        KernelError: the library is not installed, or is older than 1.0.
    """
    try:
        loaded = ctypes.CDLL(SONAME, use_errno=True)
        for name, (result, arguments) in _PROTOTYPES.items():
            function = getattr(loaded, name)
            function.restype, function.argtypes = result, list(arguments)
    except (OSError, AttributeError) as error:
        raise KernelError(
            f"{SONAME} cannot be used: {error}",
            errno=errno.ENOENT,
            remedy="install the package libbpf1 (Fedora: libbpf)",
        ) from error
    loaded.libbpf_set_print(_collect)
    return loaded


def version() -> str:
    """Return the library's version, such as ``v1.1``."""
    return str(library().libbpf_version_string().decode())


def forget_log() -> None:
    """Empty the log, so that the next failure quotes only its own lines."""
    _log.clear()


def failure(what: str, code: int = 0) -> KernelError:
    """Return the error for a call that just failed, with the library's last words.

    ``code`` is the positive errno if the call returned it, else the thread's own is read.
    """
    number = code or ctypes.get_errno()
    reason = os.strerror(number) if number else "no reason given"
    tail = " | ".join(_log)
    return KernelError(
        f"{what}: {reason}" + (f" ({tail})" if tail else ""),
        errno=number,
        remedy=_REMEDIES.get(number, "see the log line for what the kernel refused"),
    )


def check(what: str, result: int) -> int:
    """Return ``result`` of a call that fails with a negative errno.

    Raises:
        KernelError: it failed.
    """
    if result < 0:
        raise failure(what, -result)
    return result


def check_pointer(what: str, result: int | None) -> int:
    """Return ``result`` of a call that fails with NULL.

    Raises:
        KernelError: it failed.
    """
    if not result:
        raise failure(what)
    return result


def wait_for_programs() -> None:
    """Return when every program that runs at this moment has ended (membarrier(2): it waits for RCU).

    Takes some milliseconds. A kernel without that call, or with ``nohz_full``, does not wait.
    """
    number = _MEMBARRIER.get(os.uname().machine)
    if number is not None:
        _c.syscall(number, _MEMBARRIER_CMD_GLOBAL, 0, 0)


@_Print  # type: ignore[untyped-decorator]  # ctypes types its function types as Any
def _collect(level: int, form: bytes, arguments: int) -> int:
    # va_list reaches us as a pointer on every architecture that libbpf runs on (psABI x86-64, AAPCS64).
    if level == _WARN:
        _c.vsnprintf(_line, LOG_LINE_BYTES, form, ctypes.c_void_p(arguments))
        text = _line.value.decode(errors="replace").removeprefix("libbpf: ")
        _log.extend(part for part in text.splitlines() if part.strip() and _MISLEADING not in part)
    return 0


_c: Final = ctypes.CDLL(None)

_line: Final = ctypes.create_string_buffer(LOG_LINE_BYTES)
"""Pages of it that were never written to take no memory."""
