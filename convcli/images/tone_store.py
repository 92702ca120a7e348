"""The arithmetic of tones on a plane: scale, round, saturate, store, count, in few passes over a band in cache."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Stored values and offsets up to which float32 is fine enough: its numbers are a quarter apart there.
FAR = 2.0**21


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
    """Return whether float32 is too coarse for values that are stored as ``ends``, or for the offset on the way there.

    Up to :data:`FAR` it is at most a quarter of a step off, so that what float64 says is within the scale does not
    leave it by half a step.

    Examples
    --------
    >>> is_far((0.0, 255.0), 0.0), is_far((0.0, 255.0), -8.5e7)
    (False, True)
    """
    return not all(abs(value) <= FAR for value in (*ends, offset))  # NaN is far too


def per_map(reduce: np.ufunc, flat: NDArray[Any], n_maps: int) -> NDArray[np.float64]:
    """Reduce interleaved rows (H, W * O) to one value a map: down the rows, which vectorises, then along them.

    Examples
    --------
    >>> per_map(np.add, np.float32([[1, 10, 2, 20]]), 2).tolist()
    [3.0, 30.0]
    """
    if flat.dtype == np.bool_:
        columns = reduce.reduce(flat.view(np.uint8), axis=0, dtype=np.uint8 if flat.shape[0] < 256 else np.uint32)
    else:
        columns = reduce.reduce(flat, axis=0)
    wide = np.float64 if reduce is np.add else None
    return np.array([reduce.reduce(columns[index::n_maps], dtype=wide) for index in range(n_maps)], np.float64)


def total_of(values: NDArray[Any]) -> float:
    """Sum a band: exact for integers; float32 by NumPy's pairs along each row, float64 down them."""
    if values.dtype.kind in "iu":
        narrow = values.itemsize <= 2 and values.shape[0] < 1 << 15
        return float(values.sum(axis=0, dtype=np.int32 if narrow else np.int64).sum(dtype=np.int64))
    total = float(values.sum(axis=1).sum(dtype=np.float64))
    return total if np.isfinite(total) else float(values.sum(dtype=np.float64))


def store_float(values: NDArray[Any], out: NDArray[Any], gain: float, offset: float, absolute: bool) -> None:
    """Store as float32, unrounded and unclipped."""
    if absolute:
        values = np.abs(values.astype(np.float64) if values.dtype.kind == "i" else values)
    if gain != 1 or offset != 0:
        values = values.astype(np.float64) * gain + offset
    np.copyto(out, values, casting="unsafe")


def scale_and_round(
    values: NDArray[Any], gain: float, offset: float, absolute: bool, *, inplace: bool, far: bool
) -> NDArray[np.floating[Any]]:
    """Return ``rint(gain * v + offset)`` in floating point, not yet clipped; integers past 16 bits in float64.

    ``far`` values (:func:`is_far`) are worked on in float64 too.

    Examples
    --------
    >>> scale_and_round(np.float32([0.5, 1.5, -2]), 1.0, 0.0, True, inplace=False, far=False).tolist()
    [0.0, 2.0, 2.0]
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
    return work


def store_rounded(
    values: NDArray[Any],
    out: NDArray[Any],
    gain: float,
    offset: float,
    absolute: bool,
    full: int,
    clips: tuple[bool, bool],
    *,
    inplace: bool,
    far: bool,
) -> tuple[int, int]:
    """Scale, round half to even, saturate and store; return the numbers of samples clipped low and high."""
    work = scale_and_round(values, gain, offset, absolute, inplace=inplace, far=far)
    n_low = int(np.count_nonzero(work < 0)) if clips[0] else 0
    n_high = int(np.count_nonzero(work > full)) if clips[1] else 0
    if n_low or n_high:
        np.clip(work, 0, full, out=work)  # four times quicker than np.minimum with a scalar
    np.copyto(out, work, casting="unsafe")
    return n_low, n_high


def store_integers(
    values: NDArray[Any],
    out: NDArray[Any],
    offset: float,
    absolute: bool,
    full: int,
    clips: tuple[bool, bool],
) -> tuple[int, int]:
    """Store integer maps without a detour through float: a magnitude and at most one comparison a side."""
    if offset:
        wide = np.int32 if values.itemsize <= 2 else np.int64
        values = np.add(values, int(offset), dtype=wide)
    elif absolute and values.dtype.kind == "i":
        values = np.abs(values).view(np.dtype(f"u{values.dtype.itemsize}"))  # |-32768| is right when read as unsigned
    n_low = int(np.count_nonzero(values < 0)) if clips[0] else 0
    n_high = int(np.count_nonzero(values > full)) if clips[1] else 0
    if n_low or n_high:
        values = np.clip(values, 0, full)
    np.copyto(out, values, casting="unsafe")
    return n_low, n_high
