"""Rows of numbers: CSV, TSV, and text with spaces (stdlib).

A blank line ends a kernel; ``# kernel: NAME`` and ``# bias: N`` before a block name it and set its bias.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from convcli.banks.formats.exported import Exported, joined, lost_reduction, matrices, text_file
from convcli.banks.numbers import format_number, parse_number
from convcli.banks.raw import RawKernel
from convcli.errors import KernelError

if TYPE_CHECKING:
    from convcli.banks.bank import KernelBank

_REMARK = re.compile(r"[#%]\s*(kernel|bias)\s*:\s*(.*?)\s*$")


def parse(text: str, name: str, *, csv: bool) -> list[RawKernel]:
    r"""Read blocks of rows.

    Raises
    ------
    KernelError
        With the ``line``: not a number, ragged rows, no numbers.

    Examples
    --------
    >>> parse("# kernel: x\n-1,0,1\n\n# kernel: y\n-1\n0\n1", "k", csv=True)[1].planes
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
    return [
        RawKernel(remarks.get("kernel") or (name if len(blocks) == 1 else str(index)), [block], _bias(remarks))
        for index, (remarks, block) in enumerate(blocks)
    ]


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


def write_csv(bank: KernelBank, _rounding: bool) -> Exported:
    """Write rows with commas; a blank line ends a kernel."""
    return _write(bank, ",")


def write_tsv(bank: KernelBank, _rounding: bool) -> Exported:
    """Write rows with tabs; a blank line ends a kernel."""
    return _write(bank, "\t")


def write_text(bank: KernelBank, _rounding: bool) -> Exported:
    """Write rows with spaces; a blank line ends a kernel."""
    return _write(bank, " ")


def _write(bank: KernelBank, mark: str) -> Exported:
    blocks = []
    for index, matrix in enumerate(matrices(bank, "a table")):
        name = re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", bank.kernel_names[index])
        head = [f"# kernel: {name}"] if bank.n_kernels > 1 else []
        head += [f"# bias: {format_number(bank.bias[index])}"] if bank.bias is not None else []
        blocks.append("\n".join([*head, joined(matrix, mark, "\n")]))
    return text_file(blocks, lost_reduction(bank), mark="\n\n")
