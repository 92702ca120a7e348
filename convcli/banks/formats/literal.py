"""Kernels on one line, as other programs write them: the choice of the syntax, and parts shared by all.

The taps are taken as written. Some programs flip them when they run: ImageMagick's ``-morphology Convolve`` and
G'MIC's ``convolve`` do; their ``Correlate`` and ``correlate``, libvips and FFmpeg do not. ``rotate=180`` turns them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np

from convcli.banks.bank import to_anchor
from convcli.banks.numbers import parse_number, shortened
from convcli.banks.raw import FieldError, RawKernel, bank_from_data
from convcli.banks.spec import FFMPEG, MAGICK_HEAD
from convcli.errors import KernelError

Rows = list[list[float]]

#: Mark of a syntax, the module with its ``parse`` and how it looks, in the order tried; any text may be MATLAB's.
SYNTAXES = (
    (FFMPEG, "ffmpeg", "0m='0 -1 0 -1 5 -1 0 -1 0'"),
    (re.compile(rf"\A{MAGICK_HEAD.pattern}"), "imagemagick", "'3x3: 0,-1,0 -1,5,-1 0,-1,0'"),
    (re.compile(r"\A\("), "gmic", "(1,0,-1;2,0,-2;1,0,-1)"),
    (re.compile(""), "matlab", "'1 0 -1; 2 0 -2; 1 0 -1', with numbers such as 0.5, 1/9, sqrt(2)"),
)


class Literal(NamedTuple):
    """Kernels of a literal, and notes about them."""

    kernels: list[RawKernel]
    notes: tuple[str, ...] = ()


def parse_literal(text: str, *, name: str = "matrix") -> Literal:
    """Read taps written on one line in any known syntax; ``name`` is the kernel's if there is one.

    For example ``1 0 -1; 2 0 -2``, ``[[1,0],[0,1]]``, ``3x3: 0,1,0 …``, ``(1,0,-1;2,0,-2)``, ``0m='0 1 0 …'``.

    Raises
    ------
    KernelError
        With the row and the numbers that do not fit.

    Examples
    --------
    >>> parse_literal("1 0 -1; 2 0 -2").kernels[0].planes
    [[[1.0, 0.0, -1.0], [2.0, 0.0, -2.0]]]
    """
    stripped = text.strip()
    # Two brackets are JSON or Python, one is MATLAB.
    if re.match(r"\[\s*\[", stripped) and not FFMPEG.search(stripped):
        return _parse_json(stripped, name)
    module, example = next((module, example) for mark, module, example in SYNTAXES if mark.search(stripped))
    try:
        literal: Literal = import_module(f"convcli.banks.formats.{module}").parse(stripped, name)
    except KernelError as error:
        raise error.hinted(f"for example {example}") from None
    return literal


_LISTS = "for example [[1, 0, -1], [2, 0, -2]]: rows in brackets of their own, all as long"


def _parse_json(text: str, name: str) -> Literal:
    # Rational text inside a literal needs no quotes here: [[1/2, -sqrt(2)]].
    quoted = re.sub(r"[^\[\],\s\"][^\[\],\"]*", lambda match: json.dumps(match.group(0).strip()), text)
    try:
        data: Any = json.loads(quoted)
    except (ValueError, RecursionError):
        if re.match(r"\[\s*\[[^\]]*;", text):
            hint = "[1 2; 3 4] or [[1,2],[3,4]]"
            raise KernelError(f"'{on_one_line(text)}': ';' inside double brackets", hint=hint) from None
        raise KernelError(f"'{on_one_line(text)}': not a list of rows", hint=_LISTS) from None
    try:
        return Literal(kernels_of_lists(data, name, number_one=True))
    except FieldError as error:
        field = "" if error.key == "kernel" else f"{error.field}: "
        raise KernelError(f"'{on_one_line(text)}': {field}{error.reason}", hint=_LISTS) from None


def kernels_of_lists(data: Any, name: str, *, number_one: bool = False) -> list[RawKernel]:
    """Make kernels of nested lists: 2-D is one kernel, 3-D several, 4-D several of several planes.

    Kernels of several are called by their number, from 0 or, with ``number_one``, from 1.
    """
    depth, inner = 0, data
    # Only the first branch is followed: bank_from_data compares the others with it.
    while isinstance(inner, list) and inner:
        depth, inner = depth + 1, inner[0]
    if depth > 4:
        raise FieldError(None, "kernel", f"{depth} nested lists; a bank has at most 4 (kernel, plane, row, column)")
    entries = data if depth >= 3 else [data]
    names = [name] if len(entries) == 1 else [str(index + number_one) for index in range(len(entries))]
    tables = [{"taps": entry, "name": label} for entry, label in zip(entries, names, strict=True)]
    return bank_from_data({"kernel": tables}, name=name).kernels


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
        return re.split(r"\s*,\s*", line)  # an empty number is an error with its place
    return [token for token in re.split(r"\s*,\s*|\s+", line) if token]


def read_number(text: str, where: str) -> float:
    """Read one number; errors begin with the place."""
    try:
        return parse_number(text)
    except ValueError as error:
        raise KernelError(f"{where}: {error}") from None


def at_line(line: int, reason: str, hint: str | None = None) -> KernelError:
    """Return an error in a line of a file."""
    return KernelError(f"line {line}: {reason}", hint=hint, line=line)


def number(token: str, row: int, what: str, column: int = 0) -> float:
    """Read one number; errors name the row, and the column if it is known (from 1)."""
    where = f"row {row}, column {column}" if column else f"row {row}"
    try:
        return parse_number(token)
    except ValueError as error:
        if token.lower().lstrip("+-") in ("nan", "inf", "infinity"):
            raise KernelError(f"{what}: {where}: {token} is not finite: taps must be finite", row=row) from None
        raise KernelError(f"{what}: {where}: {error}", row=row) from None


def in_rows(taps: Sequence[float], width: int) -> Rows:
    """Lay a list of taps out in rows."""
    return [list(taps[start : start + width]) for start in range(0, len(taps), width)]


def anchored(rows: Rows, row: int, column: int) -> Rows:
    """Pad rows with zeros to move the tap at (row, column) to our anchor, see :func:`to_anchor`."""
    moved: Rows = to_anchor(np.array(rows), (row, column)).tolist()
    return moved


def one_row_note(rows: Rows) -> tuple[str, ...]:
    """Return a note if numbers in one row could be meant as a square."""
    taps = len(rows[0])
    side = math.isqrt(taps)
    if len(rows) > 1 or side * side != taps or side < 3:
        return ()
    return (f"{taps} numbers without ';' are one row (1x{taps}); write ';' between rows for {side}x{side}",)


def _count(numbers: int) -> str:
    return f"{numbers} number{'' if numbers == 1 else 's'}"


def numbered(kernels: list[RawKernel]) -> list[RawKernel]:
    """Name several kernels 1, 2 …; one keeps its name."""
    return kernels if len(kernels) == 1 else [kernel._replace(name=str(i)) for i, kernel in enumerate(kernels, 1)]


def on_one_line(text: str) -> str:
    """Return text on one line, at most 50 characters of it, for errors."""
    return shortened(" ".join(text.split()), 50)
