"""What every one-line syntax shares: rows of numbers, and what was read of them (stdlib)."""

from __future__ import annotations

import re
from typing import NamedTuple

from convcli.banks.bankfile import RawKernel
from convcli.banks.numbers import parse_number
from convcli.errors import KernelError

Rows = list[list[float]]


class Literal(NamedTuple):
    """Kernels of a literal, and what has to be said about them."""

    kernels: list[RawKernel]
    notes: tuple[str, ...] = ()


def parse_rows(text: str, what: str) -> Rows:
    """Read rows separated by ``;`` or line ends, numbers by spaces or commas; all rows as long as the first."""
    lines = [line.strip() for line in re.split(r"[;\n\r]+", text)]
    rows = [
        [number(token, place, what, column) for column, token in enumerate(_tokens(line), 1)]
        for place, line in enumerate((line for line in lines if line), 1)
    ]
    if not rows:
        raise KernelError(f"{what}: no numbers")
    for place, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise KernelError(
                f"{what}: ragged rows: row 1 has {_count(len(rows[0]))}, row {place} has {_count(len(row))}",
                hint="every row needs the same number of taps; ';' ends a row",
                row=place,
                columns=len(row),
                expected=len(rows[0]),
            )
    return rows


def _tokens(line: str) -> list[str]:
    if line.startswith(",") or line.endswith(",") or re.search(r",\s*,", line):
        return re.split(r"\s*,\s*", line)  # an empty one is complained about as a number
    return [token for token in re.split(r"\s*,\s*|\s+", line) if token]


def number(token: str, row: int, what: str, column: int = 0) -> float:
    """Read one number; errors name the row, and the column where it is known (from 1)."""
    where = f"row {row}, column {column}" if column else f"row {row}"
    try:
        return parse_number(token)
    except ValueError as error:
        if token.lower().lstrip("+-") in ("nan", "inf", "infinity"):
            raise KernelError(f"{what}: {where}: {token} is not finite: taps must be finite", row=row) from None
        raise KernelError(f"{what}: {where}: {error}", row=row) from None


def _count(numbers: int) -> str:
    return f"{numbers} number{'' if numbers == 1 else 's'}"


def shortened(text: str) -> str:
    """Return text on one line, at most 50 characters of it, for errors."""
    text = " ".join(text.split())
    return text if len(text) <= 50 else text[:47] + "..."
