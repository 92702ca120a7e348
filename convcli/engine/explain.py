"""One output sample written out: the samples under its window, the taps, their products and the sum."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from convcli.engine.borders import Array, Planes, map_positions, read_rows
from convcli.engine.plan import ConvPlan
from convcli.engine.problem import AxisPhase, as_correlation
from convcli.errors import GeometryError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Explanation(NamedTuple):
    """One output sample: its place, the input ``planes`` of its group, and the samples under its window.

    ``rows`` and ``columns`` are the window's positions on the image; negative ones and those past the end lie in the
    border. ``patch`` (planes, rows, columns) holds the samples there, ``inside`` tells those on the image; ``taps`` and
    ``products`` have the same shape. ``value`` is the sum of the products and the bias, in float64.
    """

    row: int
    column: int
    planes: tuple[int, ...]
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    patch: NDArray[np.float64]
    inside: NDArray[np.bool_]
    taps: NDArray[np.float64]
    products: NDArray[np.float64]
    bias: float
    value: float


def explain_sample(
    plan: ConvPlan, planes: Planes, weight: Array, bias: Array | None, map_index: int, row: int, column: int
) -> Explanation:
    """Write one output sample out; ``weight`` and ``bias`` as for :func:`convcli.engine.prepare`.

    Examples
    --------
    >>> from convcli.engine import plan_conv
    >>> image, weight = np.arange(9.0).reshape(1, 3, 3), np.ones((1, 1, 2, 2))
    >>> explain_sample(plan_conv((1, 3, 3), weight), image, weight, None, 0, 1, 1).products[0].tolist()
    [[4.0, 5.0], [7.0, 8.0]]
    """
    n_maps, height, width = plan.output_shape
    if not (0 <= row < height and 0 <= column < width):
        raise GeometryError(
            f"there is no output sample {row},{column}: maps are {height} rows by {width} columns",
            hint=f"rows 0 to {height - 1}, columns 0 to {width - 1}",
        )
    if not 0 <= map_index < n_maps:
        raise GeometryError(f"there is no map {map_index}", hint=f"maps 0 to {n_maps - 1}")
    taps = np.asarray(weight, np.float64)
    if plan.transposed:
        taps = as_correlation(taps, plan.groups)
    n_in, n_out = taps.shape[1], taps.shape[0] // plan.groups
    first = map_index // n_out * n_in  # planes of the map's group
    # A transposed convolution has one phase per residue of the output's place: exactly one makes this sample.
    vertical, horizontal = next(
        phase
        for phase in plan.phases
        if all((at - axis.first) % axis.step == 0 for at, axis in zip((row, column), phase, strict=True))
    )
    rows, columns = _window(vertical, row), _window(horizontal, column)
    chosen = taps[map_index][:, vertical.taps, :][:, :, horizontal.taps]
    patch, inside = _patch(plan, planes, slice(first, first + n_in), rows, columns)
    products = patch * chosen
    added = 0.0 if bias is None else float(bias[map_index])
    window = (tuple(range(first, first + n_in)), tuple(rows.tolist()), tuple(columns.tolist()))
    value = float(products.sum()) + added
    return Explanation(row, column, *window, patch, inside, chosen, products, added, value)


def _window(axis: AxisPhase, at: int) -> NDArray[np.intp]:
    """Return the positions that the window of output ``at`` covers on the image."""
    start = (at - axis.first) // axis.step * axis.stride - axis.before
    return start + axis.dilation * np.arange(len(axis.taps), dtype=np.intp)


def _patch(
    plan: ConvPlan, planes: Planes, channels: slice, rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    _, height, width = plan.input_shape
    from_rows = map_positions(rows, height, plan.border.mode)
    from_columns = map_positions(columns, width, plan.border.mode)
    # Positions below 0 lie in a border of one value, and keep it.
    patch = np.full((channels.stop - channels.start, len(rows), len(columns)), plan.border.value)
    there = np.flatnonzero(from_columns >= 0)
    for position, row in enumerate(from_rows.tolist()):
        if row >= 0:
            # An image may be too large to hold, so single rows are asked for.
            patch[:, position, there] = read_rows(planes, row, row + 1)[channels, 0][:, from_columns[there]]
    own_rows, own_columns = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    inside = np.broadcast_to(own_rows[:, None] & own_columns, patch.shape)
    return patch, inside
