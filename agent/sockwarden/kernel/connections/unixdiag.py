"""What the kernel says of unix sockets: one dump by NETLINK_SOCK_DIAG for each network namespace.

Owns the bytes of unix_diag (linux/unix_diag.h) and the visits to other namespaces. Must not know which socket matters,
nor who holds one. Written by hand, because a general netlink library takes 0.2 s and 11 MiB to import and ten times as
long for the dump, while a connection that must be cut goes on.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sockwarden.kernel.life import process

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MAX_NAMESPACES: Final = 2048
"""Network namespaces visited per sweep; more containers than one host runs."""

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_DUMP: Final = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_REQUEST: Final = 1
_MULTI: Final = 2
_ERROR, _DONE = 2, 3
_NO_COOKIE: Final = 0xFFFFFFFF
_ESTABLISHED, _LISTEN = 1, 10  # net/tcp_states.h, used for unix sockets too
_SHOW_VFS, _SHOW_PEER, _SHOW_ICONS = 2, 4, 8
_VFS, _PEER, _ICONS = 1, 2, 3  # attributes

_HEADER: Final = struct.Struct("=IHHII")
_QUESTION: Final = struct.Struct("=BBHIIIII")
_MESSAGE: Final = struct.Struct("=BBBBI8x")
_ATTRIBUTE: Final = struct.Struct("=HH")
_PAIR: Final = struct.Struct("=II")
_NUMBER: Final = struct.Struct("=I")

_READ_BYTES: Final = 64 * 1024
"""A dump comes in pieces of at most 32 KiB (net/netlink/af_netlink.c: netlink_dump)."""

_ANSWER_SECONDS: Final = (5, 0)
"""The kernel answers at once; a thread must not wait for ever if it does not."""

_CLONE_NEWNET: Final = 0x40000000


@dataclass(frozen=True, slots=True)
class UnixSocket:
    """``file_inode`` has 32 bits and is 0, like ``device``, where no file is bound; ``peer`` is 0 where there is none.

    An accepted socket carries the file of its listener (net/unix/af_unix.c: unix_stream_connect).
    """

    inode: int
    listens: bool
    file_inode: int
    device: int
    peer: int


def dump() -> list[UnixSocket]:
    """Return the connected and the listening sockets of this thread's network namespace.

    Raises:
        OSError: the kernel refused.
    """
    with _channel() as channel:
        _ask(channel, _DUMP, 1 << _ESTABLISHED | 1 << _LISTEN, 0, _SHOW_VFS | _SHOW_PEER)
        return [_read(message) for message in _answers(channel)]


def waiting(listener: int) -> tuple[int, ...]:
    """Return the inodes of the clients in the queue of ``listener``, in this thread's network namespace.

    Asked for one listener: in a dump, a queue too long for one piece would hide the sockets behind it. Such a queue is
    told as empty; its clients are not served, and are seen when they are accepted.

    Raises:
        OSError: the kernel refused.
    """
    with _channel() as channel:
        _ask(channel, _REQUEST, 1 << _LISTEN, listener, _SHOW_ICONS)
        try:
            message = next(_answers(channel))
        except (StopIteration, OSError):
            return ()
    icons = _attributes(message).get(_ICONS, b"")
    return tuple(inode for (inode,) in _NUMBER.iter_unpack(icons) if inode)


def visit(pids: Iterable[int], look: Callable[[], None]) -> None:
    """Call ``look`` once in the network namespace of each process; what cannot be visited went with its processes.

    Raises:
        OSError: ``look`` raised it in this thread's own namespace.
    """
    samples = {process.namespace(pid, "net"): pid for pid in pids}
    samples.pop(0, None)
    if samples.pop(process.namespace("self", "net"), None) is not None:
        look()
    if samples:
        # A thread that has moved is not to be used for anything else: it ends here.
        thread = threading.Thread(target=_tour, args=(tuple(samples.values()), look), name="sockwarden-diag")
        thread.start()
        thread.join()


def _tour(pids: tuple[int, ...], look: Callable[[], None]) -> None:
    setns = ctypes.CDLL(None, use_errno=True).setns
    for pid in pids[:MAX_NAMESPACES]:
        try:
            descriptor = os.open(process.PROC / str(pid) / "ns" / "net", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            if setns(descriptor, _CLONE_NEWNET) == 0:
                look()
        except OSError:
            continue  # a namespace on its way out
        finally:
            os.close(descriptor)


def _channel() -> socket.socket:
    channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG)
    channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", *_ANSWER_SECONDS))
    return channel


def _ask(channel: socket.socket, flags: int, states: int, inode: int, show: int) -> None:
    question = _QUESTION.pack(socket.AF_UNIX, 0, 0, states, inode, show, _NO_COOKIE, _NO_COOKIE)
    head = _HEADER.pack(_HEADER.size + len(question), _SOCK_DIAG_BY_FAMILY, flags, 1, 0)
    channel.send(head + question)


def _answers(channel: socket.socket) -> Iterator[bytes]:
    """Yield the payload of each message up to the end of the dump; raises OSError with the kernel's own number."""
    while True:
        data = channel.recv(_READ_BYTES)
        position = 0
        while position < len(data):
            size, kind, flags, _, _ = _HEADER.unpack_from(data, position)
            payload = data[position + _HEADER.size : position + size]
            position += (size + 3) & ~3
            if kind == _DONE:
                return
            if kind == _ERROR:
                code = -int.from_bytes(payload[:4], sys.byteorder, signed=True)
                raise OSError(code, os.strerror(code))
            yield payload
            if not flags & _MULTI:
                return  # a single answer has no end of its own


def _attributes(message: bytes) -> dict[int, bytes]:
    found = {}
    position = _MESSAGE.size
    while position + _ATTRIBUTE.size <= len(message):
        size, kind = _ATTRIBUTE.unpack_from(message, position)
        found[kind] = message[position + _ATTRIBUTE.size : position + size]
        position += (max(size, _ATTRIBUTE.size) + 3) & ~3
    return found


def _read(message: bytes) -> UnixSocket:
    _, _, state, _, inode = _MESSAGE.unpack_from(message)
    attributes = _attributes(message)
    file_inode, device = _PAIR.unpack(attributes[_VFS]) if _VFS in attributes else (0, 0)
    (peer,) = _NUMBER.unpack(attributes[_PEER]) if _PEER in attributes else (0,)
    return UnixSocket(inode, state == _LISTEN, file_inode, device, peer)
