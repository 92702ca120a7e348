"""Bands of padded input, gathered from wherever the samples are.

No padded or float copy of a whole image is ever made: each band of output rows gathers the input rows it needs through
the border's index maps and converts them on the way. ``lanes`` is the number of planes that lie side by side in one
row: 1 for planar images, 3 for interleaved RGB whose planes all get the same kernels.
"""

from __future__ import annotations

import sys
from collections import deque
from math import prod
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import as_strided

from convcli.engine.borders import Border, map_positions
from convcli.record import NamedTuple

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

Array: TypeAlias = "NDArray[Any]"
#: Columns outside the image, the image's columns that stand there by tap, and where the border's constant does.
Outside: TypeAlias = "tuple[tuple[slice, NDArray[np.intp], NDArray[np.bool_] | None], ...]"


class Columns(NamedTuple):
    """Which padded columns are wanted: ``first + tap * gap + n * step``."""

    first: int = 0
    gap: int = 1
    step: int = 1


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

    @property
    def n_bytes(self) -> int:
        """Bytes held now."""
        return sum(buffer.size for buffer in self._buffers.values())


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


def interleaved(planes: Planes) -> Array | None:
    """Return the (H, W, C) array under a transposed view of it, or None where the planes are not interleaved.

    Examples
    --------
    >>> interleaved(np.zeros((4, 5, 3)).transpose(2, 0, 1)).shape
    (4, 5, 3)
    >>> interleaved(np.zeros((3, 4, 5))) is None
    True
    """
    if not isinstance(planes, np.ndarray) or planes.ndim != 3 or planes.shape[0] == 1:
        return None
    n_planes, _, width = planes.shape
    size = planes.itemsize
    if planes.strides[0] != size or planes.strides[2] != n_planes * size or planes.strides[1] < width * n_planes * size:
        return None
    return planes.transpose(1, 2, 0)


class BandSource:
    """One image seen as padded rows.

    Parameters
    ----------
    planes : ndarray of shape (C, H, W) or RowSource
        Any dtype, any strides.
    top, left : int
        Position of the image's first sample on the padded axes (negative: rows or columns cut).
    border : Border
        What lies beyond.
    lanes : int
        1, or C if the rows are to be read as interleaved (see :func:`interleaved`).
    """

    def __init__(self, planes: Planes, top: int, left: int, border: Border, *, lanes: int = 1) -> None:
        self.top, self.left, self.border, self.lanes = top, left, border, lanes
        self.height: int = planes.shape[-2]
        self.width: int = planes.shape[-1]
        if lanes > 1:
            base = interleaved(planes)
            if base is None:
                raise ValueError("the planes are not interleaved")
            self._samples: Array | None = base[None]
        else:
            self._samples = planes[..., None] if isinstance(planes, np.ndarray) else None
        self._planes = planes
        self._columns: dict[tuple[Columns, int, int], tuple[int, int, Outside]] = {}

    @property
    def in_memory(self) -> bool:
        """Whether samples may be read several times at little cost."""
        return self._samples is not None

    def dense(self, dtype: np.dtype[Any]) -> Array | None:
        """Return the image itself, (planes, H, W, lanes), where its rows are numbers of ``dtype`` side by side."""
        samples = self._samples
        return samples if samples is not None and samples.dtype == dtype and samples[0, 0].flags.c_contiguous else None

    def row_positions(self, first: int, n_rows: int) -> NDArray[np.intp]:
        """Return the image's row at each padded row from ``first`` on; -1 is a row of the border's constant."""
        rows = np.arange(first - self.top, first - self.top + n_rows)
        inside = rows[0] >= 0 and rows[-1] < self.height
        return rows if inside else map_positions(rows, self.height, self.border.mode)

    def column_positions(self, columns: NDArray[np.intp]) -> NDArray[np.intp]:
        """Return the image's column at each of the padded ``columns``; -1 is the border's constant."""
        return map_positions(columns - self.left, self.width, self.border.mode)

    def _rows(self, channels: slice, top: int, bottom: int) -> Array:
        """Return rows of the image itself: (planes, rows, W, lanes)."""
        if self._samples is not None:
            return self._samples[channels, top:bottom]
        return np.asarray(self._planes.rows(top, bottom))[channels, ..., None]  # type: ignore[union-attr]

    def fill(self, band: Array, channels: slice, first: int) -> None:
        """Write padded rows ``first`` … of ``channels`` into ``band``.

        Parameters
        ----------
        band : ndarray of shape (planes, rows, columns, lanes)
            Receives the samples in its own dtype; any strides.
        channels : slice
            Which planes (``slice(0, 1)`` when the planes are lanes).
        first : int
            The first padded row wanted.
        """
        self.fill_taps(band[:, :, None], channels, first, Columns())

    def fill_taps(self, stack: Array, channels: slice, first: int, columns: Columns) -> None:
        """Write padded rows into ``stack`` (planes, rows, taps, columns, lanes), each several times, shifted."""
        n_rows = stack.shape[1]
        start = first - self.top
        low, high = max(start, 0), min(start + n_rows, self.height)
        if low < high:
            self._fill_columns(stack[:, low - start : high - start], self._rows(channels, low, high), columns)
        else:
            low = high = start  # no row of the image: every row is the border's
        if high - low == n_rows:
            return
        outer = [*range(start, min(low, start + n_rows)), *range(max(high, start), start + n_rows)]
        rows = map_positions(np.array(outer, dtype=np.intp), self.height, self.border.mode)
        for position, row in zip(outer, rows.tolist(), strict=True):
            line = stack[:, position - start : position - start + 1]
            if row < 0:
                line[...] = self.border.value
            elif low <= row < high:
                line[...] = stack[:, row - start : row - start + 1]
            else:
                self._fill_columns(line, self._rows(channels, row, row + 1), columns)

    def _fill_columns(self, stack: Array, rows: Array, columns: Columns) -> None:
        low, high, outside = self._outer_columns(columns, stack.shape[2], stack.shape[3])
        if low < high:
            take_windows(rows, columns._replace(first=columns.first + low * columns.step - self.left), stack, low, high)
        for where, samples, beyond in outside:
            stack[:, :, :, where] = rows[:, :, samples]
            if beyond is not None:
                np.copyto(stack[:, :, :, where], self.border.value, where=beyond, casting="unsafe")

    def _outer_columns(self, columns: Columns, n_taps: int, n_columns: int) -> tuple[int, int, Outside]:
        """Return which columns lie inside for every tap, first and last, and what stands in the others."""
        key = (columns, n_taps, n_columns)
        if key not in self._columns:
            first, gap, step = columns
            first -= self.left
            low = min(max(-(first // step), 0), n_columns)
            high = max(min(-(-(self.width - first - (n_taps - 1) * gap) // step), n_columns), low)
            sides = (slice(0, low), slice(high, n_columns))
            taps = first + gap * np.arange(n_taps)[:, None]
            outside = tuple(
                (side, *self._stand_ins(taps + step * np.arange(side.start, side.stop)))
                for side in sides
                if side.start < side.stop
            )
            self._columns[key] = low, high, outside
        return self._columns[key]

    def _stand_ins(self, positions: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.bool_] | None]:
        """Return the image's columns that stand at ``positions``, and where the border's constant does instead."""
        samples = map_positions(positions, self.width, self.border.mode)
        beyond = samples < 0
        return np.maximum(samples, 0), beyond[..., None] if beyond.any() else None


def take_windows(rows: Array, columns: Columns, stack: Array, low: int, high: int) -> None:
    """Copy ``rows`` (planes, rows, W, lanes) into columns ``low`` to ``high`` of a stack, each tap's from its own on.

    Examples
    --------
    >>> stack = np.empty((1, 1, 2, 3, 1), np.float32)
    >>> take_windows(np.arange(8, dtype=np.float32).reshape(1, 1, 8, 1), Columns(1, gap=1, step=2), stack, 0, 3)
    >>> stack[0, 0, :, :, 0].tolist()
    [[1.0, 3.0, 5.0], [2.0, 4.0, 6.0]]
    """
    into = stack[:, :, :, low:high]
    (n_planes, n_rows, n_taps, count, lanes), (first, gap, step) = into.shape, columns
    plane, line, column, lane = rows.strides
    rows = rows[:, :, first:]
    strides = (plane, line, gap * column, step * column, lane)
    # Half of a 64-bit word is every second 32-bit sample: converting words, wherever they lie, is twice as fast as
    # stepping.
    halves = step == 2 and rows.dtype == into.dtype and column == rows.itemsize == 4 and lanes == 1
    if halves and sys.byteorder == "little" and (n_taps - 1) * gap + 2 * count <= rows.shape[2]:
        words = as_strided(rows[:, :, :2, 0].view(np.uint64), into.shape[:4], strides[:4])
        np.copyto(into[..., 0].view(np.uint32), words, casting="unsafe")
    else:
        np.copyto(into, as_strided(rows, (n_planes, n_rows, n_taps, count, lanes), strides), casting="unsafe")
