"""Tables of numbers: CSV, TSV, text with spaces, and what spreadsheets and pandas write (stdlib).

A blank line ends a kernel; ``# kernel: NAME`` and ``# bias: N`` before a block name it and set its bias. Cells are
separated by ``;``, tabs, commas or blanks, the first of these that stands outside quotes; with ``;``, tabs or quotes a
comma within a cell is the decimal mark. A cell never holds a blank.
"""

from __future__ import annotations

import re
from functools import partial
from typing import NamedTuple

from convcli.banks.bank import KernelBank
from convcli.banks.formats.exported import Exported, joined, lost_reduction, matrices, text_file
from convcli.banks.formats.literal import one_row_note
from convcli.banks.numbers import format_number, parse_number
from convcli.banks.raw import RawBank, RawKernel
from convcli.errors import KernelError

_REMARK = re.compile(r"[#%]\s*(kernel|bias)\s*:(.*)")
#: Spreadsheets of many countries write 0,5.
_DECIMAL_COMMA = re.compile(r"[-+]?\d*,\d+([eE][-+]?\d+)?\Z")
_QUOTED = re.compile(r'"([^"]*)"|\'([^\']*)\'')
#: A cell of a header begins with a letter.
_WORD = re.compile(r"[^\W\d][\w .()-]*\Z")
#: Words that were meant as numbers: a row of them is no header.
_NOT_FINITE = ("nan", "inf", "infinity", "na", "null", "none", "pi")


class _Line(NamedTuple):
    number: int
    cells: list[str]
    quoted: bool


def parse(text: str, name: str) -> RawBank:
    r"""Read blocks of rows.

    Raises
    ------
    KernelError
        With the ``line``: not a number, two numbers in a cell, ragged rows, no numbers.

    Examples
    --------
    >>> parse("# kernel: x\n-1,0,1\n\n# kernel: y\n-1\n0\n1", "k").kernels[1].planes
    [[[-1.0], [0.0], [1.0]]]
    >>> parse('"0,5";"-1,0"\n', "k").kernels[0].planes
    [[[0.5, -1.0]]]
    """
    lines = text.split("\n")
    if lines[0].strip().lower() in ("sep=;", "sep=,", "sep=\\t"):  # for Excel
        lines[0] = ""
    separator = _separator(lines)
    notes: list[str] = []
    blocks: list[tuple[dict[str, str], list[_Line]]] = []
    remarks: dict[str, str] = {}
    rows: list[_Line] = []
    for number, line in enumerate([*lines, ""], 1):
        stripped = line.strip()
        remark = _REMARK.match(stripped)
        if remark or not stripped:
            if rows:
                blocks.append((remarks, rows))
                remarks, rows = {}, []
            if remark:
                remarks[remark.group(1)] = remark.group(2).strip()
        elif not stripped.startswith(("#", "%")):
            # A tab in front is an empty cell.
            rows.append(_cells(stripped if separator != "\t" else line.strip(" \r\n\f\v"), number, separator))
    if not blocks:
        raise KernelError("no numbers")
    kernels = [
        RawKernel(
            remarks.get("kernel") or (name if len(blocks) == 1 else str(index)),
            [_block(block, separator, notes)],
            _bias(remarks),
        )
        for index, (remarks, block) in enumerate(blocks)
    ]
    return RawBank(name, kernels, notes=tuple(dict.fromkeys(notes)))


def _separator(lines: list[str]) -> str | None:
    """Return the mark between cells; None for blanks."""
    bare = [_QUOTED.sub("0", line).strip() for line in lines]
    bare = [line for line in bare if line and not line.startswith(("#", "%"))]
    # At the end of lines it is C's or MATLAB's. It goes first: beside it a comma is a decimal mark.
    if any(";" in line.rstrip("; ") for line in bare):
        return ";"
    return next((mark for mark in ("\t", ",") if any(mark in line for line in bare)), None)


def _cells(line: str, number: int, separator: str | None) -> _Line:
    if separator != ";":
        line = line.rstrip("; ")
    kept: list[str] = []

    def hide(found: re.Match[str]) -> str:
        kept.append(found[1] if found[1] is not None else found[2])
        return f"\0{len(kept) - 1}\0"

    # Separators within quotes do not count.
    bare = _QUOTED.sub(hide, line)
    cells = bare.split(separator) if separator else bare.split()
    if separator and len(cells) > 1 and not cells[-1].strip():
        cells = cells[:-1]  # a trailing mark, as spreadsheets write
    cells = [re.sub(r"\0(\d+)\0", lambda found: kept[int(found[1])], cell).strip() for cell in cells]
    return _Line(number, cells, bool(kept))


def _block(lines: list[_Line], separator: str | None, notes: list[str]) -> list[list[float]]:
    lines = _without_header(lines, notes)
    if separator == ";":
        _refuse_rows_in_a_line(lines)
    rows = [[_tap(cell, line, separator, notes) for cell in line.cells] for line in lines]
    for line, row in zip(lines, rows, strict=True):
        if len(row) != len(rows[0]):
            raise KernelError(
                f"line {line.number}: ragged rows: {len(row)} numbers, the rows before have {len(rows[0])}",
                hint="a blank line ends a kernel",
                line=line.number,
            )
    notes += one_row_note(rows)
    if len(rows) > 1 and len(rows[0]) > 2 and rows[0] == [float(index) for index in range(len(rows[0]))]:
        notes.append(f"line {lines[0].number} counts 0, 1, 2 … and is read as taps; if it is a header, delete it")
    return rows


def _without_header(lines: list[_Line], notes: list[str]) -> list[_Line]:
    """Drop a row of words, and pandas' empty corner with its counted columns and rows."""
    first, rest = lines[0], lines[1:]
    # DataFrame.to_csv counts rows and columns from 0.
    counted = [str(index) for index in range(len(rest))]
    if rest and first.cells[0] == "" and len(first.cells) > 1 and [line.cells[0] for line in rest] == counted:
        notes.append(f"line {first.number} and the first column are a header and an index, and are left out")
        return [line._replace(cells=line.cells[1:]) for line in rest]
    words = all(_WORD.match(cell) and cell.lower() not in _NOT_FINITE for cell in first.cells)
    if rest and words and len(first.cells) == len(rest[0].cells):
        notes.append(f"line {first.number} holds words, a header, and is left out")
        return rest
    return lines


def _refuse_rows_in_a_line(lines: list[_Line]) -> None:
    """Refuse ';' that may end rows: ``1,2;3,4`` on a single line, or ``1,2,3;4,5,6``."""
    for line in lines:
        bare = [cell for cell in line.cells if "," in cell]
        if any(cell.count(",") > 1 for cell in bare) or (bare and len(lines) == 1 and not line.quoted):
            raise KernelError(
                f"line {line.number}: ';' within a line: a separator, or the end of a row?",
                hint="separate numbers by commas, with points as decimal marks",
                line=line.number,
            )


def _tap(cell: str, line: _Line, separator: str | None, notes: list[str]) -> float:
    if _DECIMAL_COMMA.match(cell) and separator is not None and (separator != "," or line.quoted):
        notes.append("a comma within a cell is read as the decimal mark")
        cell = cell.replace(",", ".")
    elif re.search(r"\s", cell):
        raise KernelError(
            f"line {line.number}: '{cell[:30]}' has a blank within a cell: is a separator forgotten?", line=line.number
        )
    try:
        return parse_number(cell)
    except ValueError as error:
        raise KernelError(f"line {line.number}: {error}", line=line.number) from None


def _bias(remarks: dict[str, str]) -> float | None:
    try:
        return parse_number(remarks["bias"]) if "bias" in remarks else None
    except ValueError as error:
        raise KernelError(f"bias: {error}") from None


def _write(bank: KernelBank, _rounding: bool, *, mark: str) -> Exported:
    """Write rows with marks between the numbers; a blank line ends a kernel."""
    blocks = []
    for index, matrix in enumerate(matrices(bank, "a table")):
        # A line end in a name would end the remark.
        name = re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", bank.kernel_names[index])
        head = [f"# kernel: {name}"] if bank.n_kernels > 1 else []
        head += [f"# bias: {format_number(bank.bias[index])}"] if bank.bias is not None else []
        blocks.append("\n".join([*head, joined(matrix, mark, "\n")]))
    return text_file(blocks, lost_reduction(bank), mark="\n\n")


write_csv, write_tsv, write_text = (partial(_write, mark=mark) for mark in (",", "\t", " "))
