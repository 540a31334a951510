"""Reads the operator's files. What they mean is policy.document's and config's business.

Never: a default in place of a file that is there and cannot be read.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Final

from sockwarden.config import DEFAULT_FILE, Config, parse_config
from sockwarden.errors import DocumentError, Fault
from sockwarden.images.lock import MAX_LOCK_BYTES, check_policy, parse_lock
from sockwarden.policy.document import parse_policy

if TYPE_CHECKING:
    from sockwarden.images.lock import Lock
    from sockwarden.policy.document import PolicyDocument

MAX_FILE_BYTES: Final = 8 * 1024 * 1024
"""Above what either parser takes, so that it is the parser that says so; /dev/zero must not fill the memory."""


def read_config(path: str) -> Config:
    """Read and parse ``sockwarden.toml``.

    Raises:
        DocumentError: the file cannot be read, or holds faults.
    """
    return parse_config(read_document(path, "--config FILE names the configuration"), path)


def read_config_if_any(path: str) -> Config:
    """Read ``sockwarden.toml``, or return the defaults where nobody has written the default file yet, or any more.

    Raises:
        DocumentError: the file cannot be read, or holds faults.
    """
    if path == DEFAULT_FILE and not os.path.lexists(path):
        return parse_config(b"", path)
    return read_config(path)


def read_policy(path: str) -> PolicyDocument:
    """Read and parse ``admin-settings.json``.

    Raises:
        DocumentError: the file cannot be read, or holds faults.
    """
    return parse_policy(read_document(path, "policy.file in sockwarden.toml names the policy"), path)


def read_lock(path: str, policy: PolicyDocument, policy_file: str) -> Lock:
    """Read and parse a lock file that was written for this very policy.

    Raises:
        DocumentError: the file cannot be read, holds faults, or belongs to another policy.
    """
    lock = parse_lock(read_document(path, "policy.lock in sockwarden.toml names the lock file", MAX_LOCK_BYTES), path)
    check_policy(lock, path, policy.sha256, policy_file)
    return lock


def read_document(path: str, remedy: str, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """Return the bytes of a regular file.

    Raises:
        DocumentError: it is missing, unreadable, or no regular file; ``remedy`` is shown with it.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a FIFO must not hang us
    except OSError as error:
        raise DocumentError([Fault(path, 0, 0, _sentence(error), remedy)]) from error
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise DocumentError([Fault(path, 0, 0, "it is not a regular file", remedy)])
        with os.fdopen(os.dup(fd), "rb") as file:
            return file.read(max_bytes)
    except OSError as error:
        raise DocumentError([Fault(path, 0, 0, _sentence(error), remedy)]) from error
    finally:
        os.close(fd)


def _sentence(error: OSError) -> str:
    return f"it cannot be read: {(error.strerror or str(error)).lower()}"
