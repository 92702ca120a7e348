"""Kernels as pictures: taps as coloured squares with their numbers, red above zero and blue below."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from convcli.images.colormaps import Scale
from convcli.images.sheet import Cell, draw_numbers, number, span

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: Grids of one kernel that are drawn.
_MOST_GRIDS = 64
_GAP_PX = 4
#: Kernels of fewer taps a side are never trimmed.
_TRIMMED_FROM = 9


def swatch_cell(taps: NDArray[np.float64], name: str, box_hw: tuple[int, int], *, planes: Sequence[str] = ()) -> Cell:
    """Return a kernel, or several kernels, as a cell: a grid for each plane (P, h, w), name, range and sum.

    Parameters
    ----------
    planes : sequence of str
        Names of the planes that the grids are for; without them each grid is a kernel.

    Examples
    --------
    >>> swatch_cell(np.array([[[1.0, 0, -1]] * 3]), "0", (100, 150)).lines
    ('kernel 0', 'taps -1 to 1, sum 0')
    """
    total = float(taps.sum())
    # Sums of float64 end in 1e-17 where the taps cancel.
    total = 0.0 if abs(total) < 1e-12 * float(np.abs(taps).sum()) else total
    lines = [
        f"kernel {name}" if name.isdecimal() else name,
        f"taps {span(float(taps.min()), float(taps.max()))}, sum {number(total)}",
    ]
    shown = _trimmed(taps)
    if shown.shape != taps.shape:
        lines.append(f"the middle {_by(shown)} of {_by(taps)}, zeros around")
    if len(taps) > 1:
        drawn = f", {_MOST_GRIDS} drawn" if len(taps) > _MOST_GRIDS else ""
        named = f"on planes {', '.join(planes)}" if len(planes) == len(taps) < 9 else f"{len(taps)} planes{drawn}"
        lines.append(named if planes else f"{len(taps)} kernels{drawn}")
    return Cell(draw_swatch(shown, box_hw), tuple(lines))


def _by(taps: NDArray[Any]) -> str:
    return f"{taps.shape[1]}x{taps.shape[2]}"


def _trimmed(taps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the middle of taps with zeros around: small kernels of a bank are padded to the size of large ones."""
    rows, columns = (np.flatnonzero(taps.any(axis=axes)) for axes in ((0, 2), (0, 1)))
    if not rows.size or max(taps.shape[1:]) < _TRIMMED_FROM:
        return taps
    edges = [min(found[0], size - 1 - found[-1]) for found, size in zip((rows, columns), taps.shape[1:], strict=True)]
    down, right = (min(edge, (size - 3) // 2) for edge, size in zip(edges, taps.shape[1:], strict=True))
    # A bell that fades to 0 keeps its size: only where most of it is empty is the rest shown.
    if (taps.shape[1] - 2 * down) * 2 > taps.shape[1] or (taps.shape[2] - 2 * right) * 2 > taps.shape[2]:
        return taps
    return taps[:, down : taps.shape[1] - down, right : taps.shape[2] - right]


def draw_swatch(taps: NDArray[np.float64], box_hw: tuple[int, int]) -> NDArray[np.uint8]:
    """Draw the planes of a kernel (P, h, w) side by side as large as they fit a box; one scale for all of them."""
    peak = float(np.abs(taps).max()) or 1.0
    scale = Scale(-peak, peak)
    grids = [_shrunk(plane, box_hw) for plane in taps[:_MOST_GRIDS]]
    height, width = box_hw
    n_grids, (rows, columns) = len(grids), grids[0].shape
    # As many side by side as leave the squares largest.
    side = max(range(1, n_grids + 1), key=lambda n: (min(height / ceil(n_grids / n) / rows, width / n / columns), n))
    n_down = ceil(n_grids / side)
    room = ((height - _GAP_PX * (n_down - 1)) // n_down, (width - _GAP_PX * (side - 1)) // side)
    drawn = [draw_numbers(grid, scale, max(1, room[0]), max(1, room[1])) for grid in grids]
    grid_h, grid_w = drawn[0].shape[:2]
    page = np.full((n_down * (grid_h + _GAP_PX) - _GAP_PX, side * (grid_w + _GAP_PX) - _GAP_PX, 3), 255, np.uint8)
    for index, grid in enumerate(drawn):
        top, left = index // side * (grid_h + _GAP_PX), index % side * (grid_w + _GAP_PX)
        page[top : top + grid_h, left : left + grid_w] = grid
    return page


def _shrunk(plane: NDArray[np.float64], box_hw: tuple[int, int]) -> NDArray[Any]:
    """Return taps, the strongest of each block where there are more than a box has pixels."""
    factor = max(1, ceil(plane.shape[0] / box_hw[0]), ceil(plane.shape[1] / box_hw[1]))
    if factor == 1:
        return plane
    starts = [np.arange(0, size, factor) for size in plane.shape]
    low, high = (f.reduceat(f.reduceat(plane, starts[0], 0), starts[1], 1) for f in (np.minimum, np.maximum))
    return np.where(high < -low, low, high)
