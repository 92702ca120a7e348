"""libvips matrices: ``width height [scale [offset]]`` and the rows (NumPy)."""

from __future__ import annotations

import re

import numpy as np

from convcli.banks.bank import KernelBank
from convcli.banks.formats.exported import Exported, joined, lost_reduction, matrices, text_file
from convcli.banks.numbers import format_number, parse_number
from convcli.banks.raw import RawKernel
from convcli.errors import KernelError


def blocks_of(text: str) -> list[tuple[list[float], list[list[str]]]] | None:
    """Return headers and rows of text that holds libvips matrices only, else None."""
    lines = [re.split(r"[,\s]+", line.strip()) for line in text.splitlines() if line.strip()]
    blocks = []
    at = 0
    while at < len(lines):
        try:
            header = [parse_number(part) for part in lines[at]]
        except ValueError:
            return None
        # A headerless table is not refused here: it is one of :mod:`convcli.banks.formats.rows`.
        if not 2 <= len(header) <= 4 or any(size != int(size) or size < 1 for size in header[:2]):
            return None
        width, height = int(header[0]), int(header[1])
        rows = lines[at + 1 : at + 1 + height]
        at += 1 + height
        if len(rows) != height or any(len(row) != width for row in rows):
            return None
        blocks.append((header, rows))
    return blocks or None


def parse(text: str, name: str) -> list[RawKernel]:
    """Read libvips matrices: ``width height [scale [offset]]`` and rows; taps are divided by the scale."""
    blocks = blocks_of(text)
    if blocks is None:
        first = next((line.strip() for line in text.splitlines() if line.strip()), "")
        raise KernelError(
            f"line 1: '{first[:40]}' and the rows behind it are not a libvips matrix",
            hint="the first line is: width height scale offset",
            line=1,
        )
    kernels = []
    for index, (header, rows) in enumerate(blocks):
        # vips conv divides the sums by the scale and adds the offset.
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


def write_libvips(bank: KernelBank, _rounding: bool) -> Exported:
    """Write matrices; an even axis gets a zero in front, because libvips anchors at k/2 and not at (k-1)//2."""
    blocks = []
    for index, matrix in enumerate(matrices(bank, "a libvips matrix")):
        odd = np.pad(matrix, [(1 - size % 2, 0) for size in matrix.shape])
        offset = format_number(bank.bias[index]) if bank.bias is not None else "0"
        # Scale 1 and taps as they are: a division would round.
        blocks.append(f"{odd.shape[1]} {odd.shape[0]} 1 {offset}\n" + joined(odd, " ", "\n"))
    notes: tuple[str, ...] = ("run: vips conv in.png out.v kernel.mat --precision float",)
    if bank.n_kernels > 1:
        notes += (f"libvips reads the first of the {bank.n_kernels} matrices; export SPEC#NAME for another",)
    notes = lost_reduction(bank, notes)
    height, width = bank.kernel_hw
    if height % 2 == 0 or width % 2 == 0:
        notes += (f"{height}x{width} is padded with a zero row or column in front, to keep its anchor",)
    return text_file(blocks, notes)
