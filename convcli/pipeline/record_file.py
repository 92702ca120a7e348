"""The open file of a record that several runs append to: its lock, and lines that stay whole."""

from __future__ import annotations

import errno
import os
from typing import BinaryIO


def lock_file(file: BinaryIO, *, alone: bool) -> bool:
    """Lock an open file against other runs; return whether this system and file system can.

    Raises
    ------
    BlockingIOError
        Another run has locked it.
    """
    try:
        import fcntl
    except ImportError:
        return False
    try:
        # flock, not lockf: forked children share the lock, and closing another handle of the file does not end it.
        fcntl.flock(file, (fcntl.LOCK_EX if alone else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError:
        # A subclass of OSError: it must pass before file systems without locks are forgiven.
        raise
    except OSError:
        return False
    return True


def append_line(file: BinaryIO, line: bytes) -> None:
    """Add a line; raises ``OSError`` where it does not fit."""
    if _is_torn(file):  # another run was killed while writing: start a new line
        line = b"\n" + line
    # An unbuffered write to a full disk may store a part of the line without an error.
    if file.write(line) != len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _is_torn(file: BinaryIO) -> bool:
    """Return whether the last line of an open file is incomplete."""
    n_bytes = os.fstat(file.fileno()).st_size
    if not n_bytes:
        return False
    if hasattr(os, "pread"):  # the position may be shared with other processes
        return os.pread(file.fileno(), 1, n_bytes - 1) != b"\n"
    file.seek(n_bytes - 1)
    return file.read(1) != b"\n"
