"""Borders, and images seen through them: an index map per axis tells what lies beyond the edge.

An index map names, for every position of the padded axis, the sample that stands there (-1: the constant), so every
mode works for a pad of any size. No padded or converted copy of a whole image is ever made: the compiled loops read it
through the index maps, and every other algorithm gathers the rows that a band of output needs.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

import numpy as np

from convcli.errors import UsageError, near_names
from convcli.geometry.arithmetic import PADDING_WORDS

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array: TypeAlias = "NDArray[Any]"
Positions: TypeAlias = "NDArray[np.int32]"

#: Types of samples that the compiled loops read.
READABLE = ("uint8", "int16", "uint16", "float32", "float64")

#: The pad of "abcd", two samples on each side; the bar is the edge.
PATTERNS = {
    "constant": "vv|abcd|vv",
    "replicate": "aa|abcd|dd",
    "reflect": "cb|abcd|cb",
    "symmetric": "ba|abcd|dc",
    "circular": "cd|abcd|ab",
}

# Names in NumPy, SciPy, OpenCV, torch, ONNX, libvips, ImageMagick, FFmpeg, MATLAB. SciPy's "reflect" repeats the edge
# and torch's does not: the word keeps torch's meaning here, and the report prints the pattern.
ALIASES = {
    word: mode
    for mode, words in {
        "zeros": "zeros zero black",
        "constant": "constant",
        "replicate": "replicate edge nearest copy clamp repeat",
        "reflect": "reflect reflect101 reflect_101 mirror whole_sample",
        "symmetric": "symmetric half_sample grid_mirror",
        "circular": "circular wrap periodic grid_wrap tile",
    }.items()
    for word in words.split()
}


class Border(NamedTuple):
    """One border rule: ``mode`` is a key of :data:`PATTERNS`, ``value`` the sample of ``constant``.

    Examples
    --------
    >>> Border("reflect").pattern, str(Border("constant", 7.0)), str(Border("constant"))
    ('cb|abcd|cb', 'constant:7', 'zeros')
    """

    mode: str
    value: float = 0.0

    @property
    def pattern(self) -> str:
        """The row "abcd" with two samples of padding a side, as the report prints it; ``v`` is the constant."""
        pattern = PATTERNS[self.mode]
        return pattern.replace("v", "0") if self.value == 0 else pattern

    def __str__(self) -> str:
        if self.mode != "constant":
            return self.mode
        return f"constant:{self.value:g}" if self.value else "zeros"


def parse_border(text: str, *, at: int = 0) -> Border:
    """Return the border rule that ``text`` names.

    Parameters
    ----------
    text : str, at its position ``at`` in the user's text
        ``zeros``, ``constant:V``, ``replicate``, ``reflect`` (edge not repeated), ``symmetric`` (edge repeated),
        ``circular``, or another library's name for one of them (:data:`ALIASES`); case, ``-`` and ``_`` do not matter.

    Raises
    ------
    UsageError
        If the name is unknown or the constant is not a finite number.

    Examples
    --------
    >>> parse_border("edge"), parse_border("constant:-1.5")
    (Border(mode='replicate', value=0.0), Border(mode='constant', value=-1.5))
    """
    word, colon, number = text.strip().lower().replace("-", "_").partition(":")
    if colon:
        # The sign of the number survives: it was split off before "-" meant "_".
        number = text.partition(":")[2]
    mode = ALIASES.get(word)
    if mode is None:
        hint = f"padding={word}: a mode tells what fills it" if word in PADDING_WORDS else near_names(word, ALIASES)
        hint = hint or f"one of zeros, constant:V, {', '.join(list(PATTERNS)[1:])}"
        raise UsageError(f"unknown padding mode {text.strip()!r}", hint=hint, position=at)
    if mode != "constant":
        if colon:
            message = f"padding mode {text.strip()!r}: {mode} takes no value"
            raise UsageError(message, hint="constant:V", position=at)
        return Border("constant" if mode == "zeros" else mode)
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        message = f"padding mode {text.strip()!r} needs a finite number"
        raise UsageError(message, hint="constant:V, as in constant:128", position=at)
    return Border(mode, value)


def border_index(before: int, size: int, after: int, mode: str) -> NDArray[np.intp]:
    """Return which sample stands at each position of a padded axis.

    Parameters
    ----------
    before, after : int
        Positions added at either end, of any number; negative ones cut.
    size : int
        Samples on the axis; at least 1.
    mode : str
        A key of :data:`PATTERNS`. The constant's positions are -1.

    Examples
    --------
    >>> border_index(3, 3, 4, "reflect").tolist()
    [1, 2, 1, 0, 1, 2, 1, 0, 1, 2]
    >>> border_index(1, 2, 1, "constant").tolist()
    [-1, 0, 1, -1]
    """
    return map_positions(np.arange(-before, size + after, dtype=np.intp), size, mode)


def map_positions(position: NDArray[np.intp], size: int, mode: str) -> NDArray[np.intp]:
    """Return the sample at each position, counted from the first sample of the axis; see :func:`border_index`."""
    if mode == "constant":
        return np.where((position >= 0) & (position < size), position, -1)
    if mode == "replicate":
        return np.clip(position, 0, size - 1)
    if mode == "circular":
        return position % size
    if mode == "symmetric":
        folded = position % (2 * size)
        return np.minimum(folded, 2 * size - 1 - folded)
    if mode == "reflect":
        # The edge is not repeated, so both ends count once: 2n - 2.
        period = max(2 * size - 2, 1)  # one sample reflects into itself
        folded = position % period
        return np.minimum(folded, period - folded) if size > 1 else np.zeros_like(position)
    raise ValueError(f"not a border mode: {mode!r}")


def runs_of(samples: NDArray[Any]) -> tuple[list[slice], NDArray[np.intp]]:
    """Return the runs of samples that an index map reads, rising, and each position's place among them, or -1.

    Examples
    --------
    >>> runs, places = runs_of(border_index(1, 9, -6, "circular"))
    >>> runs, places.tolist()
    ([slice(0, 3, None), slice(8, 9, None)], [3, 0, 1, 2])
    """
    used = np.unique(samples[samples >= 0])
    # A window that lies in the padding alone still reads one sample, for the type.
    runs = np.split(used, np.flatnonzero(np.diff(used) > 1) + 1) if used.size else [np.zeros(1, np.intp)]
    slices = [slice(int(run[0]), int(run[-1]) + 1) for run in runs]
    return slices, np.where(samples < 0, -1, np.searchsorted(used, samples))


class RowSource(Protocol):
    """An image too large to hold: rows are asked for in any order and from any thread."""

    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def dtype(self) -> np.dtype[Any]: ...  # noqa: D102
    def rows(self, top: int, bottom: int) -> Array: ...  # noqa: D102


Planes: TypeAlias = "Array | RowSource"


def read_rows(planes: Planes, top: int, bottom: int) -> Array:
    """Return rows of an image: (C, rows, W)."""
    return planes[:, top:bottom] if isinstance(planes, np.ndarray) else np.asarray(planes.rows(top, bottom))


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
    """Whether the compiled loops can read these samples in place."""
    return (
        isinstance(planes, np.ndarray) and planes.dtype in READABLE and planes.dtype.isnative and planes.flags.aligned
    )


class Source:
    """One image (C, H, W), of any dtype and strides, seen as padded rows.

    ``top`` and ``left`` are the position of its first sample on the padded axes (negative: rows or columns cut).
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
        """Return samples (planes, rows, W) for the compiled loops, and the one of their rows at each padded row.

        ``first`` and ``n_rows`` count padded rows; samples that the loops cannot read are converted to ``dtype``.
        """
        rows = self.row_positions(first, n_rows)
        if self.readable:
            return self.planes[channels], rows  # type: ignore[index]
        runs, places = runs_of(rows)
        parts = [read_rows(self.planes, run.start, run.stop)[channels] for run in runs]
        samples = parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)
        if not is_readable(samples):
            samples = samples.astype(dtype, order="C")
        return samples, places.astype(np.int32)

    def fill(self, band: Array, channels: slice, first: int) -> None:
        """Write padded rows of ``channels`` from ``first`` on into ``band`` (planes, rows, columns), in its dtype."""
        rows, columns = self.row_positions(first, band.shape[1]), self.column_positions(band.shape[2])
        low, high = max(first - self.top, 0), min(first - self.top + band.shape[1], self.height)
        begin = low - (first - self.top)
        if low < high:
            rows_there = read_rows(self.planes, low, high)[channels]
            self._fill_columns(band[:, begin : begin + high - low], rows_there, columns)
        else:
            low = high = begin = 0
        for position in (*range(begin), *range(begin + high - low, band.shape[1])):
            row, line = int(rows[position]), band[:, position : position + 1]
            if row < 0:
                line[...] = self.border.value
            elif low <= row < high:
                line[...] = band[:, begin + row - low : begin + row - low + 1]
            else:
                self._fill_columns(line, read_rows(self.planes, row, row + 1)[channels], columns)

    def _fill_columns(self, band: Array, rows: Array, columns: Positions) -> None:
        low = min(max(self.left, 0), len(columns))
        high = max(min(self.width + self.left, len(columns)), low)
        np.copyto(band[:, :, low:high], rows[:, :, low - self.left : high - self.left], casting="unsafe")
        for side in (slice(0, low), slice(high, len(columns))):
            band[:, :, side] = rows[:, :, columns[side]]
            band[:, :, side][:, :, columns[side] < 0] = self.border.value
