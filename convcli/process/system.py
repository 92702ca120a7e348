"""Threads, memory and packages that a system grants: too little memory and no package of a name are told apart."""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

from convcli.errors import ConvcliError, UsageError

#: Address space that Python, NumPy with its OpenBLAS, and Pillow take before any work: some 125 MiB on Linux.
_LEAST_BYTES = 128 << 20
#: Parts of the messages in which libraries and Python tell that memory or threads are short.
_WORDS = ("failed to map segment", "cannot allocate memory", "unable to allocate", "can't start new thread")


def check_address_space() -> None:
    """Refuse a limit of the address space within which NumPy does not load: OpenBLAS would end the process itself.

    Raises
    ------
    UsageError
        ``ulimit -v`` is too low.
    """
    try:
        import resource
    except ImportError:
        return
    allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
    if allowed != resource.RLIM_INFINITY and allowed < _LEAST_BYTES:
        raise UsageError(
            f"the address space is limited to {allowed >> 20} MiB, and NumPy and Pillow take some {_LEAST_BYTES >> 20}",
            hint="ulimit -v 500000, or more for large images",
        )


def available_threads() -> int:
    """Return how many threads this process may run at once."""
    # A container or taskset may leave fewer processors than the machine has.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def shortage(error: BaseException) -> UsageError | None:
    """Return the expected failure for an error that tells of too little memory or too few threads; None for others.

    Examples
    --------
    >>> str(shortage(ImportError("libblas.so: failed to map segment from shared object")))
    'not enough memory (libblas.so: failed to map segment from shared object)'
    >>> shortage(ImportError("No module named 'onnx'")) is None
    True
    """
    texts = [str(one).strip() for one in (error.__cause__, error) if one is not None]
    text = next((line for text in texts for line in text.splitlines() if any(w in line.lower() for w in _WORDS)), "")
    if not text and not isinstance(error, MemoryError):
        return None
    more = "is ulimit -v, or a container's limit, too low for it?"
    return UsageError(
        f"not enough memory{f' ({text})' if text else ''}", hint=f"-j 1 --threads 1 --memory 256M takes less; {more}"
    )


def import_optional(name: str, kind: type[ConvcliError], message: str, *, hint: str) -> Any:
    """Return a module that may be missing.

    Raises
    ------
    ConvcliError
        Of this kind, with message and hint, where it is not installed; a UsageError where it is and does not load.

    Examples
    --------
    >>> import_optional("no_such", UsageError, "that needs no_such", hint="pip install no_such")
    Traceback (most recent call last):
    convcli.errors.UsageError: that needs no_such
    """
    try:
        return import_module(name)
    except ImportError as error:
        if is_missing(error, name):
            raise kind(message, hint=hint) from None
        raise not_loading(error, name) from None


def is_missing(error: ImportError, name: str) -> bool:
    """Return whether a module, or a package that it is in, is not installed; else it is, and is broken."""
    return isinstance(error, ModuleNotFoundError) and bool(error.name) and f"{name}.".startswith(f"{error.name}.")


def not_loading(error: ImportError, name: str) -> UsageError:
    """Return the failure to load a package that is installed."""
    package, reason = name.partition(".")[0], " ".join(str(error).split())
    message, hint = f"the package {package} is installed and does not load", f"pip install --force-reinstall {package}"
    return shortage(error) or UsageError(f"{message} ({reason})", hint=hint)
