"""What writers share: their result, and what is said or refused when something has no place (stdlib)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from convcli.banks.numbers import format_number
from convcli.errors import KernelError

if TYPE_CHECKING:
    from convcli.banks.bank import KernelBank

#: Formats that hold arrays of any shape.
ARRAY_FORMATS = "--format npy, npz, torch, safetensors or onnx"


class Exported(NamedTuple):
    """A bank in one format: bytes of the file, and what has to be said about them."""

    data: bytes
    notes: tuple[str, ...] = ()


def lost_reduction(bank: KernelBank, notes: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Add a note where a bank's rule for its maps has no place."""
    if bank.reduction is None:
        return notes
    return (*notes, f"the rule that makes {len(bank.reduction)} maps of the {bank.n_kernels} kernels is not written")


def without_bias(bank: KernelBank, what: str, rounding: bool) -> tuple[str, ...]:
    """Refuse a bias that a format has no place for, or say that it is left out."""
    if bank.bias is None or not any(bank.bias):
        return lost_reduction(bank)
    values = ", ".join(format_number(value) for value in bank.bias[:8])
    if not rounding:
        raise KernelError(
            f"{what} has no place for the bias {values}", hint="--round leaves it out; or bias=… undoes it"
        )
    return lost_reduction(bank, (f"the bias {values} is left out: {what} has no place for it",))


def identifier(name: str) -> str:
    """Return a name that programming languages take for a variable.

    Examples
    --------
    >>> identifier("frei-chen"), identifier("3x3")
    ('frei_chen', 'k3x3')
    """
    word = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")[:60] or "kernel"
    return word if not word[0].isdigit() else f"k{word}"


def by(sizes: tuple[int, ...]) -> str:
    """Return sizes as ``2x1x3x3``."""
    return "x".join(str(size) for size in sizes)
