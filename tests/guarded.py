"""Arrays beside pages that may not be touched: whoever reads or writes past their ends does not live to tell."""

from __future__ import annotations

import ctypes
import mmap

import numpy as np

_kept: list[mmap.mmap] = []


def guarded(shape: tuple[int, ...], dtype: str, at_end: bool) -> np.ndarray:
    """Return an array with forbidden pages right behind it, or right before it."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    page, pages = mmap.PAGESIZE, -(-size // mmap.PAGESIZE)
    memory = mmap.mmap(-1, (pages + 2) * page)
    _kept.append(memory)
    begin = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    for at in (begin, begin + (pages + 1) * page):
        assert not ctypes.CDLL(None).mprotect(ctypes.c_void_p(at), page, 0)
    offset = page + (pages * page - size if at_end else 0)
    return np.frombuffer(memory, dtype, int(np.prod(shape)), offset).reshape(shape)
