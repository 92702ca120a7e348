"""An image's rows read where they lie by a direct convolution.

Rows beyond the image are addresses: the border's index map, or a row of its constant. Outputs whose windows leave the
image to the left or right read a copy of its edges, a few columns wide; all others read the image itself.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from convcli.engine.direct import Addresses, Direct
from convcli.engine.source import Array, BandSource, Scratch


class RowsInPlace:
    """The rows of one image that output rows ``first`` to ``last`` of a direct convolution read.

    Parameters
    ----------
    direct : Direct
        Any group's. With samples of a row side by side (``n_parts`` 1).
    source : BandSource
    samples : ndarray of shape (planes, H, W, lanes)
        What :meth:`BandSource.dense` returned for all planes.
    first, last : int
        Output rows.
    """

    def __init__(self, direct: Direct, source: BandSource, samples: Array, first: int, last: int) -> None:
        self._direct, self._source, self._samples, self._first = direct, source, samples, first
        self._stride_hw = direct.job.stride_hw
        stride, width = self._stride_hw[1], direct.job.output_w
        # The first output column and the last, exclusive, that read nothing beyond the image's sides.
        self._low = min(max(-(-source.left // stride), 0), width)
        self._high = min((source.width - 1 - direct.reach + source.left) // stride + 1, width)
        self._at = source.row_positions(first * self._stride_hw[0], direct.job.rows(last - first)).astype(np.int64)
        self._beyond = self._at < 0 if source.border.mode == "constant" else None
        self._border_row: Array | None = None
        if self._beyond is not None and self._beyond.any():
            n_columns = self._n_read(max(self._high - self._low, direct.least))
            self._border_row = np.full((n_columns, direct.job.lanes), source.border.value, samples.dtype)

    @property
    def possible(self) -> bool:
        """Whether there is an inside, a vector of outputs wide."""
        return self._high - self._low >= self._direct.least

    @property
    def has_edges(self) -> bool:
        """Whether any output reads beyond the image's sides."""
        return self._low > 0 or self._high < self._direct.job.output_w

    def inside(
        self, direct: Direct, channels: slice, first: int, target: Array, scratch: Scratch, bias: Array | None
    ) -> None:
        """Make all but the edges of output rows from ``first`` on, into ``target`` (n_out, rows, W, lanes)."""
        column = self._low * self._stride_hw[1] - self._source.left
        table = self._table(self._samples[channels], column, self._rows(first, target))
        direct.run(table, target[:, :, self._low : self._high], scratch, bias)

    def edges(
        self, direct: Direct, channels: slice, first: int, target: Array, scratch: Scratch, bias: Array | None
    ) -> None:
        """Make the outputs that :meth:`inside` leaves out, and some beside them: a vector at least."""
        width, least, stride = target.shape[2], self._direct.least, self._stride_hw[1]
        outputs = [(0, max(self._low, least))] if self._low > 0 else []
        outputs += [(min(self._high, width - least), width)] if self._high < width else []
        columns = [left * stride + np.arange(self._n_read(right - left)) for left, right in outputs]
        rows = self._rows(first, target)
        at = self._at[rows]
        top, bottom = max(int(at.min()), 0), int(at.max()) + 1
        copy = self._copy(self._samples[channels, top:bottom], np.concatenate(columns), scratch)
        for begin, (left, right) in zip((0, len(columns[0])), outputs, strict=False):
            direct.run(self._table(copy, begin, rows, top), target[:, :, left:right], scratch, bias)

    def _n_read(self, n_outputs: int) -> int:
        """Return how many samples so many neighbouring outputs read."""
        return (n_outputs - 1) * self._stride_hw[1] + self._direct.reach + 1

    def _rows(self, first: int, target: Array) -> slice:
        begin = (first - self._first) * self._stride_hw[0]
        return slice(begin, begin + self._direct.job.rows(target.shape[1]))

    def _table(self, samples: Array, column: int, rows: slice, top: int = 0) -> Addresses:
        """Return where each padded row begins (planes, rows), in ``samples`` whose first row is the image's ``top``."""
        plane, line, pixel, _ = samples.strides
        begin = samples.ctypes.data + column * pixel - top * line
        table: Addresses = plane * np.arange(len(samples))[:, None] + (begin + line * self._at[rows])
        if self._border_row is not None and self._beyond is not None:
            table[:, self._beyond[rows]] = self._border_row.ctypes.data
        return table

    def _copy(self, rows: Array, columns: NDArray[np.intp], scratch: Scratch) -> Array:
        """Return padded ``columns`` of ``rows`` (planes, rows, W, lanes), side by side."""
        at = self._source.column_positions(columns)
        copy = scratch.get("edges", (*rows.shape[:2], len(columns), rows.shape[3]), rows.dtype)
        np.take(rows, at, axis=2, out=copy, mode="clip")
        if self._source.border.mode == "constant":
            copy[:, :, at < 0] = self._source.border.value
        return copy
