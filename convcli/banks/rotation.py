"""Rotation of kernels: exact by quarters, along rings by eighths, else interpolated with a note (NumPy)."""

from __future__ import annotations

from math import ceil

import numpy as np

from convcli.banks.bank import Array, check_taps
from convcli.banks.numbers import format_number


def rotate_taps(taps: Array, degrees: float) -> tuple[Array, str | None]:
    """Turn kernels counter-clockwise, as seen on the screen, about their middle.

    Multiples of 90° move taps exactly. Odd multiples of 45° move those of odd squares along their rings, as compass
    masks are made. Other angles interpolate bilinearly on a grid that holds all taps; the sum stays. Returns kernels
    (..., kH', kW'), and a note where taps were interpolated, or moved along the rings of a large kernel.

    Examples
    --------
    >>> rotate_taps(np.array([[5.0, 5, 5], [-3, 0, -3], [-3, -3, -3]]), 45)[0]
    array([[ 5.,  5., -3.],
           [ 5.,  0., -3.],
           [-3., -3., -3.]])
    """
    quarters, rest = divmod(degrees, 90.0)
    taps = np.rot90(taps, int(quarters) % 4, axes=(-2, -1))
    height, width = taps.shape[-2:]
    if rest == 0.0:
        return taps, None
    if rest == 45.0 and height == width and height % 2 == 1:
        note = f"turned by {format_number(degrees)}° along the square rings" if height > 3 else None
        return _along_rings(taps), note
    turned = _sampled(taps, rest)
    return turned, (
        f"turned by {format_number(degrees)}° with bilinear interpolation, {height}x{width} -> "
        f"{turned.shape[-2]}x{turned.shape[-1]}; the sum of the taps is kept"
    )


def ring(radius: int) -> list[tuple[int, int]]:
    """Return the offsets (row, column) of a square ring, clockwise from its top left corner.

    Examples
    --------
    >>> ring(1)
    [(-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1)]
    """
    side = range(-radius, radius)
    return (
        [(-radius, step) for step in side]
        + [(step, radius) for step in side]
        + [(radius, -step) for step in side]
        + [(-step, -radius) for step in side]
    )


def _along_rings(taps: Array) -> Array:
    turned = taps.copy()
    middle = taps.shape[-1] // 2
    for radius in range(1, middle + 1):
        places = ring(radius)
        for place, (row, column) in enumerate(places):
            # A ring has 8 * radius places: an eighth of a turn is radius of them.
            from_row, from_column = places[(place + radius) % len(places)]
            turned[..., middle + row, middle + column] = taps[..., middle + from_row, middle + from_column]
    return turned


def _sampled(taps: Array, degrees: float) -> Array:
    height, width = taps.shape[-2:]
    cosine, sine = float(np.cos(np.deg2rad(degrees))), float(np.sin(np.deg2rad(degrees)))
    half_rows = (abs(sine) * (width - 1) + abs(cosine) * (height - 1)) / 2
    half_columns = (abs(cosine) * (width - 1) + abs(sine) * (height - 1)) / 2
    rows, columns = _held(height, half_rows), _held(width, half_columns)
    check_taps(int(np.prod(taps.shape[:-2])) * rows * columns, "the rotated kernel")
    down, right = np.mgrid[0:rows, 0:columns].astype(np.float64)
    down, right = down - (rows - 1) / 2, right - (columns - 1) / 2
    # Screen coordinates, y down: turning the picture counter-clockwise samples it clockwise.
    source_right = right * cosine - down * sine + (width - 1) / 2
    source_down = right * sine + down * cosine + (height - 1) / 2
    turned = np.zeros((*taps.shape[:-2], rows, columns))
    # Positive and negative taps are rescaled apart: together they may sum to 0.
    for sign in (1.0, -1.0):
        part = np.maximum(sign * taps, 0.0)
        sampled = _bilinear(part, source_down, source_right)
        wanted, got = (values.sum(axis=(-2, -1), keepdims=True) for values in (part, sampled))
        turned += sign * sampled * np.divide(wanted, got, out=np.zeros_like(got), where=got > 0)
    return turned


def _held(size: int, half: float) -> int:
    """Return the size, of the same parity as before, that holds ``half`` to each side."""
    # An odd size stays odd: the middle stays on a tap, or between two.
    parity = (size - 1) / 2 % 1
    # A half that is whole but for rounding gets no ring of zeros more.
    return int(2 * (ceil(half - parity - 1e-9) + parity)) + 1


def _bilinear(taps: Array, down: Array, right: Array) -> Array:
    # A frame of zeros, into which the outermost taps fade.
    padded = np.pad(taps, [(0, 0)] * (taps.ndim - 2) + [(1, 1), (1, 1)])
    down = np.clip(down + 1, 0, padded.shape[-2] - 1)
    right = np.clip(right + 1, 0, padded.shape[-1] - 1)
    top = np.minimum(np.floor(down).astype(int), padded.shape[-2] - 2)
    left = np.minimum(np.floor(right).astype(int), padded.shape[-1] - 2)
    below, beside = down - top, right - left
    upper = padded[..., top, left] * (1 - beside) + padded[..., top, left + 1] * beside
    lower = padded[..., top + 1, left] * (1 - beside) + padded[..., top + 1, left + 1] * beside
    sampled: Array = upper * (1 - below) + lower * below
    return sampled
