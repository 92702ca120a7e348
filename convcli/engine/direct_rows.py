"""An image's rows read where they lie by a direct convolution.

Rows beyond the image are addresses: the border's index map, or a row of its constant. Outputs whose windows leave the
image to the left or right read a copy of its edges, a few columns wide; all others read the image itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from convcli.engine.direct import Addresses, Direct, rows_within
from convcli.engine.source import Array, BandSource, Scratch

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Output rows times planes whose addresses are made at once, and bytes of the edges that are copied at once.
MOST_ADDRESSES, EDGE_BYTES = 1 << 13, 400_000


class Edge:
    """The sides of an image: outputs whose windows leave it, and what they read.

    Parameters
    ----------
    direct : Direct
    left : int
        Position of the image's first column on the padded axis.
    width_px : int
        Its columns.

    Attributes
    ----------
    low, high : int
        The first output column and the last, exclusive, that read nothing beyond the image's sides.
    outputs : list of (int, int, slice)
        Left and right: the first column and the last, exclusive, that are made, a vector at least; and those kept.
    """

    def __init__(self, direct: Direct, left: int, width_px: int) -> None:
        self._direct = direct
        stride, width, least = direct.job.stride_hw[1], direct.job.output_w, direct.least
        self.low = low = min(max(-(-left // stride), 0), width)
        self.high = high = max(min((width_px - 1 - direct.reach + left) // stride + 1, width), low)
        self.outputs = [(0, max(low, least), slice(0, low))] if low > 0 else []
        self.outputs += [(min(high, width - least), width, slice(high, width))] if high < width else []

    @property
    def leaves_inside(self) -> bool:
        """Whether there is an inside, a vector of outputs wide and more than its edges."""
        inside = self.high - self.low
        return inside >= max(self._direct.least, self._direct.job.output_w - inside)

    def n_read(self, n_outputs: int) -> int:
        """Return how many samples so many neighbouring outputs read."""
        return (n_outputs - 1) * self._direct.job.stride_hw[1] + self._direct.reach + 1

    @property
    def columns(self) -> NDArray[np.intp]:
        """The padded columns that the outputs read, left and right."""
        stride = self._direct.job.stride_hw[1]
        return np.concatenate([left * stride + np.arange(self.n_read(right - left)) for left, right, _ in self.outputs])

    @property
    def rows_at_once(self) -> int:
        """How many output rows to make from one copy."""
        return rows_within(EDGE_BYTES, self._row_bytes(), self._direct.job)

    def n_bytes(self) -> int:
        """Return the bytes of one copy of the edges and of their outputs, of addresses, and of a row of the border."""
        direct, job = self._direct, self._direct.job
        edges = 2 * job.rows(self.rows_at_once) * self._row_bytes()
        addresses = 24 * (MOST_ADDRESSES * job.stride_hw[0] + job.rows(1) * job.n_in)
        return edges + addresses + direct.columns * job.lanes * direct.band_dtype.itemsize

    def _row_bytes(self) -> int:
        direct, job = self._direct, self._direct.job
        read = sum(self.n_read(right - left) for left, right, _ in self.outputs)
        made = max((right - left for left, right, _ in self.outputs), default=0)
        return max(direct.band_dtype.itemsize * job.lanes * (job.n_in * read + job.n_out * made), 1)


class RowsInPlace:
    """The rows of one image that output rows ``first`` to ``last`` of a direct convolution read.

    Parameters
    ----------
    direct : Direct
        Any group's. With samples of a row side by side (``n_parts`` 1).
    edge : Edge
        Of the image; leaves an inside.
    source : BandSource
    samples : ndarray of shape (planes, H, W, lanes)
        What :meth:`BandSource.dense` returned for all planes.
    first, last : int
        Output rows.
    """

    def __init__(self, direct: Direct, edge: Edge, source: BandSource, samples: Array, first: int, last: int) -> None:
        self._job, self._edge, self._source, self._samples = direct.job, edge, source, samples
        self._border_row: Array | None = None
        top = first * self._job.stride_hw[0] - source.top
        if source.border.mode == "constant" and (top < 0 or top + self._job.rows(last - first) > source.height):
            self._border_row = np.full((direct.columns, self._job.lanes), source.border.value, samples.dtype)

    @property
    def has_edges(self) -> bool:
        """Whether any output reads beyond the image's sides."""
        return bool(self._edge.outputs)

    def inside(
        self, direct: Direct, channels: slice, first: int, target: Array, scratch: Scratch, bias: Array | None
    ) -> None:
        """Make all but the edges of output rows from ``first`` on, into ``target`` (n_out, rows, W, lanes)."""
        low, high = self._edge.low, self._edge.high
        column = low * self._job.stride_hw[1] - self._source.left
        for at, into in self._pieces(first, target, max(MOST_ADDRESSES // self._job.n_in, 1)):
            table = self._table(self._samples[channels], column, at)
            direct.run(table, into[:, :, low:high], scratch, bias)

    def edges(
        self, direct: Direct, channels: slice, first: int, target: Array, scratch: Scratch, bias: Array | None
    ) -> None:
        """Make the outputs that :meth:`inside` leaves out: a vector of them at least, of which the rest is dropped."""
        job, edge = self._job, self._edge
        for at, into in self._pieces(first, target, edge.rows_at_once):
            rows, at = _rows_to_copy(at)
            copy = self._copy(self._samples[channels], rows, edge.columns, scratch)
            begin = 0
            for left, right, kept in edge.outputs:
                maps = scratch.get("edge maps", (job.n_out, into.shape[1], right - left, job.lanes), direct.band_dtype)
                direct.run(self._table(copy, begin, at), maps, scratch)
                direct.put(maps[:, :, kept.start - left : kept.stop - left], into[:, :, kept], bias)
                begin += edge.n_read(right - left)

    def _pieces(self, first: int, target: Array, n_rows: int) -> Iterator[tuple[NDArray[np.intp], Array]]:
        """Yield the image's rows that so many output rows at a time read, -1 the border's constant, and where to."""
        for begin in range(0, target.shape[1], n_rows):
            into = target[:, begin : begin + n_rows]
            top, n_read = (first + begin) * self._job.stride_hw[0], self._job.rows(into.shape[1])
            yield self._source.row_positions(top, n_read), into

    def _table(self, samples: Array, column: int, at: NDArray[np.intp]) -> Addresses:
        """Return where each padded row begins (planes, rows): row ``at`` of ``samples``, -1 the border's."""
        plane, line, pixel, _ = samples.strides
        begin = samples.ctypes.data + column * pixel
        table: Addresses = plane * np.arange(len(samples))[:, None] + (begin + line * at)
        if self._border_row is not None:
            table[:, at < 0] = self._border_row.ctypes.data
        return table

    def _copy(
        self, samples: Array, rows: slice | NDArray[np.intp], columns: NDArray[np.intp], scratch: Scratch
    ) -> Array:
        """Return padded ``columns`` of the image's ``rows`` (planes, rows, columns, lanes), side by side."""
        at = self._source.column_positions(columns)
        n_rows = rows.stop - rows.start if isinstance(rows, slice) else len(rows)
        copy = scratch.get("edges", (len(samples), n_rows, len(columns), samples.shape[3]), samples.dtype)
        for plane, into in zip(samples, copy, strict=True):
            if not isinstance(rows, slice):
                into[...] = plane[rows[:, None], at]
            elif (lines := plane[rows]).flags.c_contiguous:
                np.take(lines, at, axis=1, out=into, mode="clip")
            else:  # take would copy all of it first
                into[...] = lines[:, at]
        if self._source.border.mode == "constant":
            copy[:, :, at < 0] = self._source.border.value
        return copy


def _rows_to_copy(at: NDArray[np.intp]) -> tuple[slice | NDArray[np.intp], NDArray[np.intp]]:
    """Return which rows of an image to copy, and where in the copy the row ``at`` each position is; -1 is none.

    A run of rows is copied as it lies; rows from both ends of the image, as a circular border has them, one by one.

    Examples
    --------
    >>> _rows_to_copy(np.array([-1, 7, 8, 9]))
    (slice(7, 10, None), array([-1,  0,  1,  2]))
    >>> _rows_to_copy(np.array([98, 99, 0, 1]))
    (array([98, 99,  0,  1]), array([0, 1, 2, 3]))
    """
    there = at[at >= 0]
    top, bottom = (int(there.min()), int(there.max()) + 1) if there.size else (0, 0)
    if bottom - top > len(at):
        return np.maximum(at, 0), np.where(at < 0, -1, np.arange(len(at)))
    return slice(top, bottom), np.where(at < 0, -1, at - top)
