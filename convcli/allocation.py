"""How this process keeps memory that arrays have given back."""

from __future__ import annotations

import ctypes
import os

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


def keep_freed_memory() -> None:
    """Let arrays that are done with serve the next ones, up to 64 MB; does nothing without the C library of GNU.

    Given back to the system and asked for again, strip by strip or file by file, their pages are 5 to 15 % of the time.
    """
    if os.name != "posix":
        return
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        libc.mallopt(_M_TRIM_THRESHOLD, 64 << 20)
