"""Attaches a loaded program to the entry of a kernel function, without libbpf's objects and without tracefs.

Owns the one system call for which there is no library here. The probe lives as long as its descriptor: the kernel
removes it when the last holder closes it or dies.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
from pathlib import Path
from typing import Final

from sockwarden.errors import KernelError

KIND: Final = Path("/sys/bus/event_source/devices/kprobe/type")
"""The kernel's number for probes as perf events: from Linux 4.17, with CONFIG_KPROBE_EVENTS."""

_PERF_EVENT_OPEN: Final = {"x86_64": 298, "aarch64": 241}
"""System call numbers (arch/x86/entry/syscalls/syscall_64.tbl, include/uapi/asm-generic/unistd.h)."""

_CLOSE_ON_EXEC: Final = 8
_SET_PROGRAM: Final = 0x40042408
_ENABLE: Final = 0x2400
"""``PERF_FLAG_FD_CLOEXEC``, ``PERF_EVENT_IOC_SET_BPF`` and ``PERF_EVENT_IOC_ENABLE`` (linux/perf_event.h)."""

_EVERY_PROCESS, _FIRST_PROCESSOR, _NO_GROUP = -1, 0, -1
"""A probe's program runs on every processor; the event must still name one."""

_REMEDY: Final = "use a kernel with CONFIG_KPROBES and CONFIG_KPROBE_EVENTS, or choose another rung in [guard] mode"


class Attributes(ctypes.Structure):
    """The beginning of ``struct perf_event_attr``; ``size`` says that there is no more (PERF_ATTR_SIZE_VER1)."""

    _fields_ = (
        ("type", ctypes.c_uint32),
        ("size", ctypes.c_uint32),
        ("config", ctypes.c_uint64),  # 0: the entry of the function, not its return
        ("sample_period", ctypes.c_uint64),
        ("sample_type", ctypes.c_uint64),
        ("read_format", ctypes.c_uint64),
        ("flags", ctypes.c_uint64),
        ("wakeup_events", ctypes.c_uint32),
        ("breakpoint_type", ctypes.c_uint32),
        ("function", ctypes.c_void_p),
        ("offset", ctypes.c_uint64),
    )


def kind(place: Path = KIND) -> int:
    """Return the kernel's number for probes.

    Raises:
        KernelError: this kernel, or this processor's system calls, are not known to have them.
    """
    if platform.machine() not in _PERF_EVENT_OPEN:
        raise KernelError(f"kprobes are not known on {platform.machine()}", errno=errno.ENOSYS, remedy=_REMEDY)
    try:
        return int(place.read_text("ascii"))
    except (OSError, ValueError) as error:
        raise KernelError("the kernel has no kprobes", errno=errno.ENOENT, remedy=_REMEDY) from error


def attach(function: str, program: int) -> int:
    """Run ``program`` at every call of a kernel function; return the descriptor that keeps it there.

    Raises:
        KernelError: the kernel has no such function, or refuses a probe there.
    """
    name = ctypes.create_string_buffer(function.encode())
    wanted = Attributes(type=kind(), size=ctypes.sizeof(Attributes), function=ctypes.addressof(name))
    arguments = (ctypes.byref(wanted), _EVERY_PROCESS, _FIRST_PROCESSOR, _NO_GROUP, _CLOSE_ON_EXEC)
    event: int = _libc.syscall(_PERF_EVENT_OPEN[platform.machine()], *arguments)
    if event < 0:
        raise _refused(function, ctypes.get_errno())
    try:
        fcntl.ioctl(event, _SET_PROGRAM, program)
        fcntl.ioctl(event, _ENABLE, 0)
    except OSError as error:
        os.close(event)
        raise _refused(function, error.errno or 0) from error
    return event


def _refused(function: str, number: int) -> KernelError:
    return KernelError(f"probe {function}: {os.strerror(number)}", errno=number, remedy=_REMEDY)


_libc: Final = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
