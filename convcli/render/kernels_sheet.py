"""A bank as a labelled picture: each kernel's taps with their numbers in red and blue, and its gain on waves."""

from __future__ import annotations

import io
from math import ceil, sqrt
from typing import TYPE_CHECKING

import numpy as np

from convcli.banks.stats import response
from convcli.images.colormaps import Scale
from convcli.images.sheet import Cell, Legend, draw_numbers, draw_page
from convcli.images.swatch import swatch_cell
from convcli.images.write import write_picture
from convcli.render.kernels import short
from convcli.render.text import by

if TYPE_CHECKING:
    from collections.abc import Sequence

    from convcli.banks.bank import KernelBank
    from convcli.banks.stats import KernelStats

#: Side of the pictures: of one kernel, and of each of many.
_LARGEST_PX, _SMALLEST_PX = 260, 124
#: Without a limit a bank of thousands of kernels becomes a picture that viewers refuse.
_MOST_KERNELS = 400


def draw_sheet(bank: KernelBank, stats: Sequence[KernelStats]) -> bytes:
    """Draw the first kernels of a bank as a PNG."""
    shown = min(bank.n_kernels, _MOST_KERNELS)
    side = int(min(max(1200 / sqrt(2 * shown), _SMALLEST_PX), _LARGEST_PX))
    rows = [_row(bank, stats[index], index, side) for index in range(shown)]
    # A row is about one and a half times as wide as high.
    step = ceil(shown / max(1, round(sqrt(shown * 0.75))))
    lines = [line for line in (bank.summary, bank.source) if line]
    if shown < bank.n_kernels:
        lines.append(f"the first {shown} of {bank.n_kernels}")
    legend = (
        "Left: taps, red above 0 and blue below, their strength relative to the kernel's largest.",
        "Right: gain on waves, 0 in the middle, dark to bright.",
    )
    groups = [rows[at : at + step] for at in range(0, len(rows), step)]
    page = draw_page([f"{bank.name}  {by(bank.shape)}", *lines], Legend(None, legend), [], groups, side)
    buffer = io.BytesIO()
    write_picture(buffer, page, picture_format="png")
    return buffer.getvalue()


def _row(bank: KernelBank, one: KernelStats, index: int, side: int) -> list[Cell]:
    planes = bank.weight[index].reshape(-1, *bank.weight.shape[-2:])
    numbered = [str(plane) for plane in range(len(planes))]
    name = one.name if bank.n_kernels == 1 or one.name == str(index) else f"{index} {one.name}"
    taps = swatch_cell(planes, name, (side, side), planes=numbered)
    gains = np.max([response(plane, 56) for plane in planes[:8]], axis=0)
    picture = draw_numbers(gains, Scale(0, float(gains.max()) or 1.0), side, side)
    return [taps, Cell(picture, (f"rank {one.rank or 'above 1'}", f"largest gain {short(one.peak_gain)}"))]
