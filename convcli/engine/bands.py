"""Padded input, gathered from wherever the samples are.

No padded or converted copy of a whole image is ever made: the compiled loops read it through the border's index maps,
and every other algorithm gathers the rows that a band of output needs.
"""

from __future__ import annotations

from collections import deque
from math import prod
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from convcli.engine.borders import Border, map_positions

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

Array: TypeAlias = "NDArray[Any]"
Positions: TypeAlias = "NDArray[np.int32]"

#: Samples that the compiled loops read.
READABLE = ("uint8", "int16", "uint16", "float32", "float64")


class RowSource(Protocol):
    """What stands for an image too large to hold: windows of rows, asked for in any order and from any thread."""

    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def dtype(self) -> np.dtype[Any]: ...  # noqa: D102
    def rows(self, top: int, bottom: int) -> Array: ...  # noqa: D102


Planes: TypeAlias = "Array | RowSource"


class Scratch:
    """Named buffers of one worker, kept between bands so that memory is touched once.

    Examples
    --------
    >>> scratch = Scratch()
    >>> scratch.get("a", (2, 3), "float32").shape
    (2, 3)
    >>> scratch.get("a", (6,), "float32").base is scratch.get("a", (2, 2), "float32").base
    True
    """

    def __init__(self) -> None:
        self._buffers: dict[str, Array] = {}

    def get(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """Return an uninitialised contiguous array; the same memory as the last one of that name if it is enough."""
        n_bytes = prod(shape) * np.dtype(dtype).itemsize
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < n_bytes:
            buffer = None
            self._buffers.pop(name, None)  # never hold the old one and the new one
            buffer = self._buffers[name] = np.empty(n_bytes, np.uint8)
        return buffer[:n_bytes].view(dtype).reshape(shape)


class ScratchPool:
    """Scratches that workers borrow: as many as there were workers at once, reused from image to image."""

    def __init__(self) -> None:
        self._free: deque[Scratch] = deque()

    def take(self) -> Scratch:
        """Borrow one; give it back with :meth:`put`."""
        try:
            return self._free.pop()
        except IndexError:
            return Scratch()

    def put(self, scratch: Scratch) -> None:
        """Give one back."""
        self._free.append(scratch)


def interleaved(planes: Array) -> Array | None:
    """Return the (H, W, C) array under a transposed view of it, or None where planes do not lie side by side.

    Examples
    --------
    >>> interleaved(np.zeros((4, 5, 4))[..., :3].transpose(2, 0, 1)).shape
    (4, 5, 3)
    >>> interleaved(np.zeros((3, 4, 5))) is None
    True
    """
    plane, _, pixel = planes.strides
    return planes.transpose(1, 2, 0) if plane == planes.itemsize and pixel >= len(planes) * plane else None


def is_readable(planes: Planes) -> bool:
    """Whether the compiled loops can read these samples where they lie."""
    return (
        isinstance(planes, np.ndarray) and planes.dtype in READABLE and planes.dtype.isnative and planes.flags.aligned
    )


class Source:
    """One image seen as padded rows.

    Parameters
    ----------
    planes : ndarray of shape (C, H, W) or RowSource
        Any dtype, any strides.
    top, left : int
        Position of the image's first sample on the padded axes (negative: rows or columns cut).
    border : Border
        What lies beyond.
    """

    def __init__(self, planes: Planes, top: int, left: int, border: Border) -> None:
        self.planes, self.top, self.left, self.border = planes, top, left, border
        self.height: int = planes.shape[-2]
        self.width: int = planes.shape[-1]
        self.readable = is_readable(planes)
        self._columns: dict[int, Positions] = {}

    def row_positions(self, first: int, n_rows: int) -> Positions:
        """Return the image's row at each padded row from ``first`` on; -1 is a row of the border's constant."""
        rows = np.arange(first - self.top, first - self.top + n_rows, dtype=np.intp)
        return map_positions(rows, self.height, self.border.mode).astype(np.int32)

    def column_positions(self, n_columns: int) -> Positions:
        """Return the image's column at each of the first padded columns; -1 is the border's constant."""
        if n_columns not in self._columns:
            columns = np.arange(-self.left, n_columns - self.left, dtype=np.intp)
            self._columns[n_columns] = map_positions(columns, self.width, self.border.mode).astype(np.int32)
        return self._columns[n_columns]

    def window(self, channels: slice, first: int, n_rows: int, dtype: np.dtype[Any]) -> tuple[Array, Positions]:
        """Return samples (planes, rows, W) for the compiled loops, and which of them each padded row is.

        Parameters
        ----------
        channels : slice
        first, n_rows : int
            Padded rows.
        dtype : dtype
            What samples become that the loops cannot read.
        """
        rows = self.row_positions(first, n_rows)
        if self.readable:
            return self.planes[channels], rows  # type: ignore[index]
        needed = np.unique(rows[rows >= 0]) if (rows >= 0).any() else np.zeros(1, np.int32)
        runs = np.split(needed, np.flatnonzero(np.diff(needed) > 1) + 1)
        parts = [self._rows(channels, int(run[0]), int(run[-1]) + 1) for run in runs]
        samples = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        if not is_readable(samples):
            samples = samples.astype(dtype, order="C")
        return samples, np.where(rows < 0, rows, np.searchsorted(needed, rows)).astype(np.int32)

    def _rows(self, channels: slice, top: int, bottom: int) -> Array:
        """Return rows of the image itself: (planes, rows, W)."""
        if isinstance(self.planes, np.ndarray):
            return self.planes[channels, top:bottom]
        return np.asarray(self.planes.rows(top, bottom))[channels]

    def fill(self, band: Array, channels: slice, first: int) -> None:
        """Write padded rows ``first`` … of ``channels`` into ``band``.

        Parameters
        ----------
        band : ndarray of shape (planes, rows, columns)
            Receives the samples in its own dtype; any strides.
        channels : slice
        first : int
            The first padded row wanted.
        """
        rows, columns = self.row_positions(first, band.shape[1]), self.column_positions(band.shape[2])
        low, high = max(first - self.top, 0), min(first - self.top + band.shape[1], self.height)
        begin = low - (first - self.top)
        if low < high:
            self._fill_columns(band[:, begin : begin + high - low], self._rows(channels, low, high), columns)
        else:
            low = high = begin = 0
        for position in (*range(begin), *range(begin + high - low, band.shape[1])):
            row, line = int(rows[position]), band[:, position : position + 1]
            if row < 0:
                line[...] = self.border.value
            elif low <= row < high:
                line[...] = band[:, begin + row - low : begin + row - low + 1]
            else:
                self._fill_columns(line, self._rows(channels, row, row + 1), columns)

    def _fill_columns(self, band: Array, rows: Array, columns: Positions) -> None:
        low = min(max(self.left, 0), len(columns))
        high = max(min(self.width + self.left, len(columns)), low)
        np.copyto(band[:, :, low:high], rows[:, :, low - self.left : high - self.left], casting="unsafe")
        for side in (slice(0, low), slice(high, len(columns))):
            band[:, :, side] = rows[:, :, columns[side]]
            band[:, :, side][:, :, columns[side] < 0] = self.border.value
