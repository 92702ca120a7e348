"""MATLAB's matrices: ``k = [1 0 -1; 2 0 -2]``, or bare rows of numbers (stdlib)."""

from __future__ import annotations

import re

from convcli.banks.bank import KernelBank
from convcli.banks.formats.exported import Exported, identifier, joined, matrices, text_file, without_bias
from convcli.banks.formats.literal import Literal, on_one_line, one_row_note, parse_rows, read_number
from convcli.banks.raw import RawKernel
from convcli.errors import KernelError

#: ``k =``, or ``k(:,:,2) =`` of a page.
_NAME = re.compile(r"([A-Za-z]\w*)\s*(?:\(\s*:\s*,\s*:\s*,\s*(\d+)\s*\))?\s*=\s*")


def parse(text: str, name: str) -> Literal:
    """Read ``[1 0 -1; 2 0 -2]``, with or without brackets, ``name =``, ``;`` behind and a ``/16`` or ``*2`` after."""
    kernels: list[RawKernel] = []
    whole, position, text = text, 0, re.sub(r"%[^\n]*|\.\.\.\s*\n", "", text).strip()
    if not text:
        raise KernelError(f"'{on_one_line(whole)}': no numbers, only a remark behind %")
    while position < len(text):
        match = _NAME.match(text, position)
        start = match.end() if match else position
        body, scale, position = _bracketed(text, start)
        rows = parse_rows(body, f"'{on_one_line(text)}'")
        planes = [[[tap * scale for tap in row] for row in rows] if scale != 1.0 else rows]
        # Page 2 of k becomes the kernel k2.
        label = (match.group(2) and f"{match.group(1)}{match.group(2)}") or match.group(1) if match else None
        kernels.append(RawKernel(label or name, planes, None))
    # Matrices without a name are counted.
    if len(kernels) > 1 and len({kernel.name for kernel in kernels}) == 1:
        kernels = [kernel._replace(name=f"{name}{index}") for index, kernel in enumerate(kernels, 1)]
    return Literal(kernels, () if "[" in text else one_row_note(kernels[0].planes[0]))


def _bracketed(text: str, start: int) -> tuple[str, float, int]:
    """Return the text inside the brackets at ``start`` (or all of it), the factor behind, and its end."""
    if text[start : start + 1] != "[":
        return text[start:], 1.0, len(text)
    close = text.find("]", start)
    if close < 0:
        raise KernelError(f"'{on_one_line(text)}': the bracket is not closed")
    behind = re.compile(r"\s*(?:\.?([*/])\s*([^;\n\s]+))?\s*;?\s*").match(text, close + 1)
    scale = 1.0
    if behind and behind.group(1):
        scale = read_number(f"1{behind.group(1)}{behind.group(2)}", f"'{on_one_line(text)}'")
    # What else follows is refused: passed over, it could have changed the kernel.
    end = behind.end() if behind else close + 1
    if end < len(text) and not _NAME.match(text, end) and text[end] != "[":
        raise KernelError(f"'{on_one_line(text)}': cannot read '{on_one_line(text[end:])}' behind the bracket")
    return text[start + 1 : close], scale, end


def write_matlab(bank: KernelBank, rounding: bool) -> Exported:
    """Write assignments; several kernels are pages of one array."""
    name = identifier(bank.name)
    targets = [name] if bank.n_kernels == 1 else [f"{name}(:,:,{page})" for page in range(1, bank.n_kernels + 1)]
    taps = matrices(bank, "a MATLAB matrix")
    lines = [f"{target} = [{joined(matrix, ' ', '; ')}];" for target, matrix in zip(targets, taps, strict=True)]
    notes = ("imfilter and filter2 use these taps; conv2 would turn them by 180°",)
    return text_file(lines, (*notes, *without_bias(bank, "a MATLAB matrix", rounding)))
