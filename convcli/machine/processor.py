"""Machine code made runnable: which vectors this processor has, and memory that may be executed.

Memory is written first and made executable then, never both at once. Where the system allows no such memory, or the
processor is another, :func:`vector_bytes` is 0 and other engines do the work. ``NPY_DISABLE_CPU_FEATURES`` is heeded as
it is by NumPy.

Asks NumPy for what it knows of the processor.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
from collections.abc import Callable
from importlib import import_module
from typing import Any

#: Instruction sets by bytes of a vector, as NumPy names them; the largest first. Since NumPy 2.4 it is the levels of
#: the architecture that ``NPY_DISABLE_CPU_FEATURES`` switches off; older ones do not have them.
FEATURES = {64: ("AVX512F", "AVX2", "FMA3", "X86_V4"), 32: ("AVX2", "FMA3", "X86_V3")}
_RET = b"\xc3"


@functools.cache
def vector_bytes() -> int:
    """Return the bytes of this processor's vectors, 64 (AVX-512) or 32 (AVX2), or 0 where code cannot be run."""
    if os.name != "posix" or os.uname().machine.lower() not in ("x86_64", "amd64"):
        return 0
    has = _cpu_features()
    widest = next(
        (size for size, names in FEATURES.items() if all(has.get(name, name.startswith("X86")) for name in names)), 0
    )
    if widest:
        try:
            load_code(_RET)
        except OSError:
            return 0
    return widest


def _cpu_features() -> dict[str, bool]:
    """Return what NumPy found the processor, and the system, to have."""
    try:
        return dict(import_module("numpy._core._multiarray_umath").__cpu_features__)
    except (ImportError, AttributeError):  # not a public name
        return {}


def load_if_allowed(code: bytes) -> Callable[[Any], None] | None:
    """Return ``code`` as :func:`load_code` does, or None where the system gives no memory for it."""
    try:
        return load_code(code)
    except OSError:
        return None


def load_code(code: bytes) -> Callable[[Any], None]:
    """Return ``code``, of a C function with one pointer, as something to call; calls release the GIL.

    Raises
    ------
    OSError
        If the system gives no executable memory.
    """
    size = -(-len(code) // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    memory.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    if protect(address, size, mmap.PROT_READ | mmap.PROT_EXEC):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    function = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(address)
    function.memory = memory  # type: ignore[attr-defined]  # it lives as long as what calls it
    return function
