"""How many taps a bank may have: checked before memory is taken, and raised by the caller who means it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from convcli.errors import KernelError

#: 32 Mi taps are 256 MiB of float64: far above any layer of the usual networks.
DEFAULT_MAX_TAPS = 32 * 1024 * 1024
#: Text formats are read whole; a bank of 48 kernels of 49x49 in text is under 3 MiB.
MAX_TEXT_BYTES = 64 * 1024 * 1024

_max_taps: ContextVar[int] = ContextVar("max_taps", default=DEFAULT_MAX_TAPS)


@contextmanager
def max_taps(limit: int) -> Iterator[None]:
    """Set the number of taps that one bank may have, inside a ``with`` block."""
    token = _max_taps.set(limit)
    try:
        yield
    finally:
        _max_taps.reset(token)


def check_taps(count: int, what: str) -> None:
    """Refuse a bank of more than the allowed taps, before anything is allocated.

    Raises
    ------
    KernelError
        With ``taps`` and ``max_taps``.

    Examples
    --------
    >>> check_taps(9, "box")
    """
    limit = _max_taps.get()
    if count > limit:
        raise KernelError(
            f"{what} has {count:,} taps ({count * 8 / 2**20:,.0f} MiB as float64), more than the limit of {limit:,}",
            hint="take a smaller kernel, or raise the limit with --max-taps",
            taps=count,
            max_taps=limit,
        )
