"""Shared by writers: their result, notes and refusals for anything without a place (stdlib)."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from convcli.banks.bank import Array, KernelBank
from convcli.banks.numbers import format_number
from convcli.errors import KernelError

#: Formats that hold arrays of any shape.
ARRAY_FORMATS = "--format npy, npz, torch, safetensors or onnx"


class Exported(NamedTuple):
    """A bank in one format: the bytes of the file, and notes about it."""

    data: bytes
    notes: tuple[str, ...] = ()


def text_file(lines: list[str], notes: tuple[str, ...] = (), *, mark: str = "\n") -> Exported:
    """Return lines as the bytes of a text file."""
    return Exported((mark.join(lines) + "\n").encode(), notes)


def matrices(bank: KernelBank, what: str) -> list[Array]:
    """Return the taps of every kernel as a matrix, or refuse kernels of several planes."""
    if bank.weight.ndim != 4 or bank.in_channels > 1:
        raise KernelError(
            f"'{bank.name}' has kernels of {'x'.join(map(str, bank.shape[1:]))}, {what} holds matrices",
            hint=f"{ARRAY_FORMATS}, toml or json",
        )
    return list(bank.weight[:, 0])


def joined(matrix: Array, mark: str, row_mark: str) -> str:
    """Return taps as text with marks between the numbers and between the rows."""
    return row_mark.join(mark.join(map(format_number, row)) for row in matrix.tolist())


def nested(values: object, number: Callable[[float], str], brackets: str = "[]") -> str:
    """Return lists within lists as text, with ``number`` for each number."""
    if not isinstance(values, list):
        return number(float(str(values)))
    return f"{brackets[0]}{', '.join(nested(value, number, brackets) for value in values)}{brackets[1]}"


def lost_reduction(bank: KernelBank, notes: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Add a note where a bank's rule for its maps has no place."""
    if bank.reduction is None:
        return notes
    return (*notes, f"the rule that makes {len(bank.reduction)} maps of the {bank.n_kernels} kernels is not written")


def without_bias(bank: KernelBank, what: str, rounding: bool) -> tuple[str, ...]:
    """Refuse a bias that has no place in a format, or return a note that it is left out."""
    if bank.bias is None or not any(bank.bias):
        return lost_reduction(bank)
    values = ", ".join(format_number(value) for value in bank.bias[:8])
    if not rounding:
        raise KernelError(
            f"{what} has no place for the bias {values}", hint="--round leaves it out; or bias=… undoes it"
        )
    return lost_reduction(bank, (f"the bias {values} is left out: {what} has no place for it",))


def identifier(name: str) -> str:
    """Return a name that programming languages accept for a variable.

    Examples
    --------
    >>> identifier("frei-chen"), identifier("3x3")
    ('frei_chen', 'k3x3')
    """
    word = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")[:60] or "kernel"
    return word if not word[0].isdigit() else f"k{word}"
