"""From maps to stored samples: scale, round, saturate and count; and the magnitude of two maps.

The compiled loops make the same bytes as NumPy, sixteen or more at a time; they leave values to NumPy that are not
finite, or so far from the scale that float32 is too coarse.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

import convcli.engine.native as native
from convcli.engine.borders import Array

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: (gain, offset, absolute) for each map: ``gain * v + offset`` is stored, or the same of ``|v|``.
Tones: TypeAlias = Sequence[tuple[float, float, bool]]
#: Most maps of one picture: red, green, blue, alpha.
MOST_LANES = 4
#: Stored values and offsets up to which float32 is fine enough: its numbers are a quarter apart there.
FAR = 2.0**21
#: Magnitudes whose squares float32 holds with all its digits.
LEAST_MAGNITUDE = 1e-15


class ToneCounts(NamedTuple):
    """Statistics of the samples of each map; ``+`` adds up bands.

    ``n`` samples a map, of which ``n_low`` were clipped to 0, ``n_high`` to the highest value, and ``n_nan`` were NaN,
    toned as 0 (kept with depth ``float``); ``minimum``, ``maximum``, ``total`` and ``squares``, the sum of squared
    differences from the mean, are of the values before the tone, without NaN.
    """

    n: int
    n_low: NDArray[np.int64]
    n_high: NDArray[np.int64]
    n_nan: NDArray[np.int64]
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]
    total: NDArray[np.float64]
    squares: NDArray[np.float64]

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean value of each map before the tone."""
        counted: NDArray[np.float64] = self.total / np.maximum(self.n - self.n_nan, 1)
        return counted

    @property
    def std(self) -> NDArray[np.float64]:
        """Standard deviation of each map before the tone, of all samples (not of an estimate from some)."""
        deviation: NDArray[np.float64] = np.sqrt(self.squares / np.maximum(self.n - self.n_nan, 1))
        return deviation

    def __add__(self, other: object) -> ToneCounts:
        """Return the counts of two bands together."""
        if not isinstance(other, ToneCounts):
            return NotImplemented
        n_own, n_other = self.n - self.n_nan, other.n - other.n_nan
        # Chan, Golub, LeVeque, 1979: squares about each mean, and about the common one between them.
        with np.errstate(invalid="ignore", over="ignore"):
            apart = (other.mean - self.mean) ** 2 * (n_own * n_other / np.maximum(n_own + n_other, 1))
        return ToneCounts(
            self.n + other.n,
            self.n_low + other.n_low,
            self.n_high + other.n_high,
            self.n_nan + other.n_nan,
            np.minimum(self.minimum, other.minimum),
            np.maximum(self.maximum, other.maximum),
            self.total + other.total,
            self.squares + other.squares + np.where((n_own > 0) & (n_other > 0), apart, 0),
        )

    @classmethod
    def zero(cls, n_maps: int) -> ToneCounts:
        """Return the counts of no samples at all."""
        low, high, nan = np.zeros((3, n_maps), np.int64)
        return cls(0, low, high, nan, np.full(n_maps, np.inf), np.full(n_maps, -np.inf), *np.zeros((2, n_maps)))


def stored_range(low: float, high: float, gain: float, offset: float, absolute: bool) -> tuple[float, float]:
    """Return the range that values ``low``..``high`` take when stored, before rounding.

    Examples
    --------
    >>> stored_range(-3, 2, 2.0, 1.0, False), stored_range(-3, 2, 2.0, 0.0, True)
    ((-5.0, 5.0), (0.0, 6.0))
    """
    if absolute:
        low, high = (0.0 if low <= 0 <= high else min(abs(low), abs(high))), max(abs(low), abs(high))
    ends = (low * gain + offset, high * gain + offset)
    return min(ends), max(ends)


def is_far(ends: tuple[float, float], offset: float) -> bool:
    """Return whether float32 is too coarse for values stored between ``ends``, or for their ``offset``.

    Up to :data:`FAR` it errs by at most a quarter of a step, so no value leaves the scale that is within it in float64.

    Examples
    --------
    >>> is_far((0.0, 255.0), 0.0), is_far((0.0, 255.0), -8.5e7)
    (False, True)
    """
    return not all(abs(value) <= FAR for value in (*ends, offset))  # true for NaN too


def moments_of(values: Array) -> tuple[float, float]:
    """Return the sum of a band, and the sum of squared differences from its mean.

    The sum is exact for integers; float32 is added up pairwise along rows, then in float64.

    Examples
    --------
    >>> moments_of(np.float32([[1, 2, 3, 6]]))
    (12.0, 14.0)
    """
    if values.dtype.kind in "iu":
        # int32 holds a sum of 32,767 rows of 65,535: that is 2,147,385,345, just below 2**31.
        narrow = values.itemsize <= 2 and values.shape[0] < 1 << 15
        total = float(values.sum(axis=0, dtype=np.int32 if narrow else np.int64).sum(dtype=np.int64))
    else:
        total = float(values.sum(axis=1).sum(dtype=np.float64))
        total = total if math.isfinite(total) else float(values.sum(dtype=np.float64))
    if values.dtype.kind == "f" or values.itemsize <= 2:
        # Differences from about the mean keep the digits that single precision has for a small deviation.
        shift = np.float32(total / values.size)
        apart = np.subtract(values, shift, dtype=np.result_type(values.dtype, np.float32))
        rest = float(apart.sum(axis=-1).sum(dtype=np.float64))
        np.multiply(apart, apart, out=apart)
        squares = float(apart.sum(axis=-1).sum(dtype=np.float64)) - rest * rest / values.size
        if math.isfinite(squares):
            # A sum of whole numbers in single precision is exact, one of values far from 0 is coarse.
            if values.dtype.kind == "f" and squares < 1e-4 * total * total / values.size:
                total = values.size * float(shift) + rest
            return total, max(squares, 0.0)
    wide = values.astype(np.float64) - total / values.size
    return total, float(np.vdot(wide, wide))


def store_float(values: Array, out: Array, gain: float, offset: float, absolute: bool) -> None:
    """Store as float32, unrounded and unclipped."""
    if absolute:
        values = np.abs(values.astype(np.float64) if values.dtype.kind == "i" else values)
    if gain != 1 or offset != 0:
        values = values.astype(np.float64) * gain + offset
    np.copyto(out, values, casting="unsafe")


def store_rounded(
    values: Array,
    out: Array,
    gain: float,
    offset: float,
    absolute: bool,
    full: int,
    clips: tuple[bool, bool],
    *,
    inplace: bool,
    far: bool,
) -> tuple[int, int]:
    """Store ``gain * v + offset``, rounded half to even and saturated; return the samples clipped low and high.

    Integers past 16 bits, and ``far`` values (:func:`is_far`), are worked on in float64. ``clips``: whether some may be
    clipped low, and high.

    Examples
    --------
    >>> out = np.empty(3, np.uint8)
    >>> store_rounded(np.float32([0.5, 1.5, -2]), out, 1.0, 0.0, True, 255, (False, False), inplace=False, far=False)
    (0, 0)
    >>> out.tolist()
    [0, 2, 2]
    """
    if values.dtype.kind == "f" and not far:
        work = values if inplace else np.empty_like(values)
        source = values
    else:
        work = values.astype(np.float64 if far or values.dtype.itemsize > 2 else np.float32)
        source = work
    if absolute:
        source = np.abs(source, out=work)
    if gain != 1:
        source = np.multiply(source, gain, out=work)
    if offset != 0:
        source = np.add(source, offset, out=work)
    np.rint(source, out=work)
    # Counted after rounding: -0.4 is stored as 0 without loss.
    n_low = int(np.count_nonzero(work < 0)) if clips[0] else 0
    n_high = int(np.count_nonzero(work > full)) if clips[1] else 0
    if n_low or n_high:
        np.clip(work, 0, full, out=work)  # four times quicker than np.minimum with a scalar
    np.copyto(out, work, casting="unsafe")
    return n_low, n_high


def store_bytes(maps: Array, out: NDArray[np.uint8], tones: Tones) -> ToneCounts | None:
    """Store one to four maps (O, H, W), float32 with the values of a row side by side, by the compiled loops.

    ``out`` (O, H, W), uint8, are the planes of an interleaved picture, ``picture.transpose(2, 0, 1)``; one plane is one
    too. The result is None, and ``out`` undefined, where nothing is compiled, the arrays differ, or NumPy must do it.

    Examples
    --------
    >>> maps = np.linspace(-50, 300, 2 * 64 * 1024, dtype=np.float32).reshape(1, 128, 1024)
    >>> out = np.empty((1, 128, 1024), np.uint8)
    >>> counts = store_bytes(maps, out, [(1.0, 0.0, False)])
    >>> counts is None or (int(counts.n_low[0]), int(counts.n_high[0]), int(out[0, 64, 0])) == (18538, 16665, 125)
    True
    """
    picture = out.transpose(1, 2, 0)
    fits = maps.dtype == np.float32 and maps.size and len(maps) <= MOST_LANES and picture.flags.aligned
    if native.core is None or not fits or not _is_dense(maps, 1) or not _is_dense(picture, 2):
        return None
    return counts_of(native.core.store(maps, list(tones), picture), maps[0].size, tones)


def _is_dense(array: Array, n_axes: int) -> bool:
    """Return whether items of the last axes lie side by side."""
    return bool(array[(0,) * (array.ndim - n_axes)].flags.c_contiguous)


def counts_of(found: list[tuple[float, ...]], n: int, tones: Tones) -> ToneCounts | None:
    """Return the counts of the compiled loops, a tuple a map, of ``n`` samples each.

    None where some values are not finite, or too far from the scale for float32.
    """
    least, most, total, n_low, n_high, n_nan, shift, squares = (np.array(column) for column in zip(*found, strict=True))
    with np.errstate(invalid="ignore", over="ignore"):
        about_mean = np.maximum(squares - n * (total / max(n, 1) - shift) ** 2, 0)
    ranges = zip(least.tolist(), most.tolist(), tones, strict=True)
    near = all(not is_far(stored_range(low, high, *tone), tone[1]) for low, high, tone in ranges)
    if not near or n_nan.any() or not np.isfinite(total).all():
        return None
    return ToneCounts(n, n_low, n_high, n_nan, least, most, total, about_mean)


def magnitude(maps: Array) -> Array:
    """Return the root of the sum of squares over axis 1; in float64 where float32 cannot hold the squares.

    ``maps`` (C, K, H, W) become (C, H, W).

    Examples
    --------
    >>> magnitude(np.float32([3, 4]).reshape(1, 2, 1, 1)).tolist()
    [[[5.0]]]
    """
    values = maps.astype(np.float32) if maps.dtype.kind in "iu" else maps
    if native.core is not None and values.dtype == np.float32 and values.shape[1] == 2 and values.flags.c_contiguous:
        combined = np.empty_like(values[:, 0])
        for (first, second), into in zip(values, combined, strict=True):
            native.core.magnitude(first.reshape(-1), second.reshape(-1), into.reshape(-1))
    else:
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            combined = np.multiply(values[:, 0], values[:, 0])
            for index in range(1, maps.shape[1]):
                combined += np.multiply(values[:, index], values[:, index])
            np.sqrt(combined, out=combined)
    if maps.dtype == np.float32:
        beyond = ~((combined > LEAST_MAGNITUDE) & (combined < np.inf))  # NaN as well
        if beyond.any():
            beyond &= (maps != 0).any(axis=1)
        if beyond.any():
            wide = np.moveaxis(maps, 1, 0)[:, beyond].astype(np.float64)
            with np.errstate(over="ignore", invalid="ignore"):
                combined[beyond] = np.sqrt((wide * wide).sum(axis=0))
    return combined
