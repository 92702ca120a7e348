"""Rows of numbers: CSV, TSV, spaces, and libvips matrices with their header (stdlib).

A blank line ends a kernel; ``# kernel: NAME`` and ``# bias: N`` before a block name it and set its bias.
"""

from __future__ import annotations

import re

from convcli.banks.bankfile import RawKernel
from convcli.banks.numbers import parse_number
from convcli.errors import KernelError

_REMARK = re.compile(r"[#%]\s*(kernel|bias)\s*:\s*(.*?)\s*$")


def parse_table(text: str, name: str, *, csv: bool) -> tuple[list[RawKernel], tuple[str, ...]]:
    r"""Read blocks of rows.

    Returns
    -------
    tuple of (list of RawKernel, tuple of str)
        The kernels, and what has to be said about them.

    Raises
    ------
    KernelError
        With ``line``: not a number, ragged, nothing there.

    Examples
    --------
    >>> parse_table("# kernel: x\n-1,0,1\n\n# kernel: y\n-1\n0\n1", "k", csv=True)[0][1].planes
    [[[-1.0], [0.0], [1.0]]]
    """
    blocks: list[tuple[dict[str, str], list[list[float]]]] = []
    remarks: dict[str, str] = {}
    rows: list[list[float]] = []
    for number, line in enumerate([*text.splitlines(), ""], 1):
        stripped = line.strip()
        remark = _REMARK.match(stripped)
        if remark or not stripped:
            if rows:
                blocks.append((remarks, rows))
                remarks, rows = {}, []
            if remark:
                remarks[remark.group(1)] = remark.group(2)
        elif not stripped.startswith(("#", "%")):
            rows.append(_row(stripped, number, csv))
            if len(rows[-1]) != len(rows[0]):
                raise KernelError(
                    f"line {number}: ragged rows: {len(rows[-1])} numbers, the rows before have {len(rows[0])}",
                    hint="a blank line ends a kernel",
                    line=number,
                )
    if not blocks:
        raise KernelError("no numbers")
    kernels = [
        RawKernel(said.get("kernel") or (name if len(blocks) == 1 else str(index)), [block], _bias(said))
        for index, (said, block) in enumerate(blocks)
    ]
    return kernels, ()


def _bias(remarks: dict[str, str]) -> float | None:
    try:
        return parse_number(remarks["bias"]) if "bias" in remarks else None
    except ValueError as error:
        raise KernelError(f"bias: {error}") from None


def _row(line: str, number: int, csv: bool) -> list[float]:
    if csv and ";" in line.rstrip("; "):
        raise KernelError(
            f"line {number}: ';' within a line: a separator, or the end of a row?",
            hint="separate numbers by commas, with points as decimal marks",
            line=number,
        )
    line = line.rstrip("; ").rstrip()
    separator = next((mark for mark in (",", "\t") if mark in line), None)
    parts = line.split(separator) if separator else line.split()
    if separator and not parts[-1].strip():
        parts = parts[:-1]  # a trailing comma, as spreadsheets write
    try:
        return [parse_number(part.strip().strip('"')) for part in parts]
    except ValueError as error:
        raise KernelError(f"line {number}: {error}", line=number) from None


def vips_blocks(text: str) -> list[tuple[list[float], list[list[str]]]] | None:
    """Return headers and rows where the text is nothing but libvips matrices, else None."""
    lines = [re.split(r"[,\s]+", line.strip()) for line in text.splitlines() if line.strip()]
    blocks = []
    while lines:
        try:
            header = [parse_number(part) for part in lines[0]]
        except ValueError:
            return None
        if not 2 <= len(header) <= 4 or any(size != int(size) or size < 1 for size in header[:2]):
            return None
        width, height = int(header[0]), int(header[1])
        rows, lines = lines[1 : 1 + height], lines[1 + height :]
        if len(rows) != height or any(len(row) != width for row in rows):
            return None
        blocks.append((header, rows))
    return blocks or None


def parse_vips(text: str, name: str) -> list[RawKernel]:
    """Read libvips matrices: ``width height [scale [offset]]`` and rows; taps are divided by the scale."""
    blocks = vips_blocks(text)
    if blocks is None:
        first = next((line.strip() for line in text.splitlines() if line.strip()), "")
        raise KernelError(
            f"line 1: '{first[:40]}' and the rows behind it are not a libvips matrix",
            hint="the first line is: width height scale offset",
            line=1,
        )
    kernels = []
    for index, (header, rows) in enumerate(blocks):
        scale = header[2] if len(header) > 2 else 1.0
        if scale == 0:
            raise KernelError("line 1: scale 0 in the header of a libvips matrix", line=1)
        try:
            taps = [[parse_number(tap) / scale for tap in row] for row in rows]
        except ValueError as error:
            raise KernelError(f"libvips matrix {index + 1}: {error}") from None
        offset = header[3] if len(header) > 3 and header[3] else None
        kernels.append(RawKernel(name if len(blocks) == 1 else str(index), [taps], offset))
    return kernels
