"""BLAS on one thread while we run several.

``convcli.cli`` sets ``OPENBLAS_NUM_THREADS=1`` before NumPy loads. A program that uses the library has not: the
OpenBLAS that NumPy's wheels bring is asked directly. Another BLAS (MKL, Accelerate) is left alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

_lock = threading.Lock()
_depth = 0
_before = 1


@functools.cache
def _openblas() -> tuple[Any, Any] | None:
    """Return (get, set) of the number of threads, or None where NumPy has another BLAS."""
    package = Path(np.__file__).parent
    folders = (package.parent / "numpy.libs", package / ".dylibs")
    for path in (file for folder in folders for file in folder.glob("*openblas*")):
        with contextlib.suppress(OSError, AttributeError):
            library = ctypes.CDLL(str(path))
            suffix = "64_" if "openblas64" in path.name else ""
            prefix = "scipy_openblas" if path.name.startswith("libscipy_") else "openblas"
            return (
                getattr(library, f"{prefix}_get_num_threads{suffix}"),
                getattr(library, f"{prefix}_set_num_threads{suffix}"),
            )
    return None


@contextlib.contextmanager
def single_threaded_blas(threads: int) -> Iterator[None]:
    """Keep BLAS to one thread inside; a process-wide setting, restored when the last user leaves."""
    global _depth, _before
    functions = _openblas() if threads > 1 else None
    if functions is None:
        yield
        return
    get, change = functions
    with _lock:
        if _depth == 0:
            _before = get()
            if _before > 1:
                change(1)
        _depth += 1
    try:
        yield
    finally:
        with _lock:
            _depth -= 1
            if _depth == 0 and _before > 1:
                change(_before)
