"""Planes made smaller by a whole factor, a band of rows at a time."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Blocks:
    """Planes (P, H, W) averaged over ``factor`` x ``factor`` samples, band by band.

    Parameters
    ----------
    strongest : sequence of bool
        Planes that keep the value of the largest magnitude of each block instead of the mean.

    Examples
    --------
    >>> blocks = Blocks(2, (1, 4), 2, [False, True])
    >>> blocks.add(*blocks.reduce(np.float32([[[1, 3, 5, -9]]] * 2), 0))
    >>> blocks.planes()[:, 0].tolist()
    [[2.0, -2.0], [3.0, -9.0]]
    """

    def __init__(self, n_planes: int, size_hw: tuple[int, int], factor: int, strongest: Sequence[bool] = ()) -> None:
        height, width = size_hw
        self._factor = factor
        shape = (ceil(height / factor), ceil(width / factor))
        is_strong = np.array(strongest if len(strongest) else [False] * n_planes)
        self._strong, self._mean = np.flatnonzero(is_strong), np.flatnonzero(~is_strong)
        self._sums = np.zeros((self._mean.size, *shape), np.float32)
        self._lows = np.full((self._strong.size, *shape), np.inf, np.float32)
        self._highs = np.full((self._strong.size, *shape), -np.inf, np.float32)
        self._areas = np.bincount(np.arange(height) // factor)[:, None] * np.bincount(np.arange(width) // factor)

    def reduce(self, planes: NDArray[Any], top: int) -> tuple[NDArray[Any], ...]:
        """Return rows of blocks of a band whose first row is ``top``, in any thread, for :meth:`add`."""
        factor = self._factor
        rows = np.arange(top // factor, (top + planes.shape[1] - 1) // factor + 1)
        mean, strong = planes[self._mean], planes[self._strong]
        parts = ((np.add, mean, 0.0), (np.minimum, strong, np.inf), (np.maximum, strong, -np.inf))
        return (rows, *(_joined(how, part, top % factor, factor, start) for how, part, start in parts))

    def add(self, rows: NDArray[Any], sums: NDArray[Any], lows: NDArray[Any], highs: NDArray[Any]) -> None:
        """Take the blocks of a band; two bands may share a row of blocks."""
        self._sums[:, rows] += sums
        self._lows[:, rows] = np.minimum(self._lows[:, rows], lows)
        self._highs[:, rows] = np.maximum(self._highs[:, rows], highs)

    def planes(self) -> NDArray[np.float32]:
        """Return the blocks as planes (P, h, w)."""
        out = np.empty((self._mean.size + self._strong.size, *self._areas.shape), np.float32)
        out[self._mean] = self._sums / self._areas
        # Where either is NaN the comparison is false, and NaN stays.
        out[self._strong] = np.where(self._highs < -self._lows, self._lows, self._highs)
        return out


def _joined(how: np.ufunc, planes: NDArray[Any], offset: int, factor: int, start: float) -> NDArray[np.float32]:
    """Join blocks of planes (P, h, w) by ``how``; the first row is row ``offset`` of its block."""
    n_planes, height, width = planes.shape
    tall = np.full((n_planes, ceil((offset + height) / factor), width), start, np.float32)
    # Every row of a block in turn, of all blocks at once; rows first, which lie one behind the other in memory.
    for part in range(factor):
        first = (part - offset) % factor
        rows = planes[:, first::factor]
        into = tall[:, (offset + first) // factor :][:, : rows.shape[1]]
        how(into, rows, out=into, casting="same_kind")
    out = np.full((n_planes, tall.shape[1], ceil(width / factor)), start, np.float32)
    for part in range(factor):
        columns = tall[:, :, part::factor]
        into = out[:, :, : columns.shape[2]]
        how(into, columns, out=into)
    return out
