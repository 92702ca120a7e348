"""Kernels that smooth or move (NumPy)."""

from __future__ import annotations

from math import ceil, comb

import numpy as np

from convcli.banks.bank import Array, KernelBank, check_taps, to_anchor
from convcli.banks.families.built import balanced, built, cos_sin, grid, odd_size, sum_to_one, turned


def gaussian(*, sigma: float, size: int | None, order: int, angle: float, ratio: float) -> KernelBank:
    """Build a sampled Gaussian of sum 1, or its derivative of order 1 to 3 in one direction.

    Derivatives are those of SciPy's ``gaussian_filter(order=n)`` as correlation taps: order 1 is positive where the
    picture brightens towards ``angle``. The sum that truncation leaves in an even derivative is taken out.
    """
    # 4 sigmas to each side, as SciPy's truncate: a Gaussian is down to 0.03 % there.
    side = odd_size(size, 4 * sigma * max(1.0, ratio))
    x, y = grid((side, side))
    along, across = turned(x, y, angle)
    bell = sum_to_one(np.exp(-(along**2 + (across / ratio) ** 2) / (2 * sigma * sigma)))
    if order == 0:
        return built(bell)
    # g', g'' and g''' over g (Hermite polynomials); the odd ones have the sign of correlation taps.
    polynomial = (along / sigma**2, (along**2 - sigma**2) / sigma**4, (along**3 - 3 * along * sigma**2) / sigma**6)[
        order - 1
    ]
    return balanced(bell * polynomial, bell, "truncation")


def box(*, size: tuple[int, int]) -> KernelBank:
    """Build the average of a rectangle."""
    check_taps(size[0] * size[1], f"box {size[0]}x{size[1]}")
    return built(np.full(size, 1.0 / (size[0] * size[1])))


def disk(*, radius: float) -> KernelBank:
    """Build the average of the pixels whose middles lie within a circle."""
    # Pixels on the circle itself are in, whatever rounding says.
    side = 2 * int(radius + 1e-9) + 1
    x, y = grid((side, side))
    return built(sum_to_one((x * x + y * y <= radius * radius + 1e-9).astype(np.float64)))


def pillbox(*, radius: float) -> KernelBank:
    """Build a circle whose edge pixels weigh as much as the circle covers of them; MATLAB's ``fspecial('disk')``."""
    return built(sum_to_one(_coverage(radius)))


def ring(*, inner: float, outer: float) -> KernelBank:
    """Build an anti-aliased ring, the difference of two pillboxes."""
    if inner >= outer:
        raise ValueError(f"inner={inner:g} is not below outer={outer:g}")
    large, small = _coverage(outer), _coverage(inner)
    margin = (len(large) - len(small)) // 2
    # Rounding may leave the difference of two whole pixels just below 0.
    return built(sum_to_one(np.clip(large - np.pad(small, margin), 0.0, None)))


def _coverage(radius: float) -> Array:
    """Return the exact area of every pixel that lies inside a circle."""
    # Pixel k reaches from k - 1/2 to k + 1/2.
    side = 2 * max(0, ceil(radius - 0.5 - 1e-9)) + 1
    x, y = grid((side, side))
    right, left, top, bottom = x + 0.5, x - 0.5, y + 0.5, y - 0.5
    area = (
        _corner_area(right, top, radius)
        - _corner_area(left, top, radius)
        - _corner_area(right, bottom, radius)
        + _corner_area(left, bottom, radius)
    )
    covered: Array = np.where(area > 1e-12, np.minimum(area, 1.0), 0.0)
    return covered


def _corner_area(x: Array, y: Array, radius: float) -> Array:
    """Return the area of the circle within the rectangle from the centre to (x, y); signed, odd in x and in y."""
    width, height = np.minimum(np.abs(x), radius), np.minimum(np.abs(y), radius)

    def under_arc(position: Array) -> Array:
        root = np.sqrt(np.clip(radius**2 - position**2, 0, None))
        half: Array = (position * root + radius**2 * np.arcsin(np.clip(position / radius, -1, 1))) / 2
        return half

    # From the centre to here the rectangle is lower than the arc, behind it the arc is lower.
    meets = np.minimum(np.sqrt(np.clip(radius**2 - height**2, 0, None)), width)
    area: Array = np.sign(x) * np.sign(y) * (height * meets + under_arc(width) - under_arc(meets))
    return area


def triangle(*, radius: int) -> KernelBank:
    """Build a tent: weights fall linearly from the middle, along rows and columns."""
    row = radius + 1.0 - np.abs(np.arange(-radius, radius + 1.0))
    check_taps(row.size**2, f"triangle of {row.size}x{row.size}")
    return built(sum_to_one(np.outer(row, row)))


def binomial(*, order: int) -> KernelBank:
    """Build the outer product of a row of Pascal's triangle, sum 1."""
    row = np.array([comb(order, place) for place in range(order + 1)], dtype=np.float64) / 2.0**order
    return built(np.outer(row, row))


def motion(*, length: float, angle: float) -> KernelBank:
    """Build the smear of a straight camera movement; MATLAB's ``fspecial('motion', length, angle)``.

    A tap is 1 less its distance to the segment of ``length - 1`` pixels, at least 0.
    """
    half = (max(1.0, length) - 1) / 2
    cosine, sine = cos_sin(angle)
    rows, columns = 2 * ceil(half * abs(sine) + 1 - 1e-9) + 1, 2 * ceil(half * abs(cosine) + 1 - 1e-9) + 1
    x, y = grid((rows, columns))
    along, across = turned(x, y, angle)
    beyond = np.clip(np.abs(along) - half, 0, None)
    taps = np.clip(1 - np.hypot(across, beyond), 0, None)
    taps[taps < 1e-12] = 0.0
    return built(_trimmed(sum_to_one(taps)))


def _trimmed(taps: Array) -> Array:
    """Drop empty rows and columns from both ends alike, so that the middle stays the middle."""
    for axis in (0, 1):
        used = np.flatnonzero(taps.any(axis=1 - axis))
        cut = min(int(used[0]), taps.shape[axis] - 1 - int(used[-1]))
        taps = np.take(taps, range(cut, taps.shape[axis] - cut), axis=axis)
    return taps


def comet(*, sigma: float, angle: float) -> KernelBank:
    """Build half a Gaussian along a line: every bright dot gets a tail towards ``angle``."""
    reach = ceil(4 * sigma)
    check_taps((2 * reach + 1) ** 2, "comet")
    cosine, sine = cos_sin(angle)
    taps = np.zeros((2 * reach + 1, 2 * reach + 1))
    steps = np.arange(reach + 1.0)
    # A tail towards the angle is made by taps on the other side: out(p) = sum taps(t) in(p + t).
    _splat(taps, reach + steps * sine, reach - steps * cosine, np.exp(-(steps**2) / (2 * sigma * sigma)))
    exact = angle % 90 == 0
    notes = () if exact else (f"the line at {angle:g}° is spread bilinearly over the pixels it passes between",)
    return built(_trimmed(sum_to_one(taps)), notes=notes)


def _splat(taps: Array, rows: Array, columns: Array, weights: Array) -> None:
    """Add weights at fractional places, shared among the four nearest taps; places outside are left out."""
    # A place that is whole but for rounding is not shared with its neighbour.
    top, left = np.floor(rows + 1e-12).astype(int), np.floor(columns + 1e-12).astype(int)
    below, beside = np.clip(rows - top, 0, 1), np.clip(columns - left, 0, 1)
    for row, vertical in ((top, 1 - below), (top + 1, below)):
        for column, horizontal in ((left, 1 - beside), (left + 1, beside)):
            share = weights * vertical * horizontal
            inside = (row >= 0) & (row < taps.shape[0]) & (column >= 0) & (column < taps.shape[1])
            # Several weights may fall on one tap, of which += would keep the last.
            np.add.at(taps, (row[inside], column[inside]), share[inside])


def identity(*, size: int) -> KernelBank:
    """Build the kernel that leaves the image as it is."""
    return shift(right=0.0, down=0.0) if size == 1 else built(np.pad(np.ones((1, 1)), size // 2))


def shift(*, right: float, down: float) -> KernelBank:
    """Build the kernel that moves the picture; fractions are interpolated bilinearly."""
    reach_rows, reach_columns = ceil(abs(down)), ceil(abs(right))
    rows, columns = 2 * reach_rows + 1, 2 * reach_columns + 1
    check_taps(rows * columns, "shift")
    taps = np.zeros((rows, columns))
    # A tap above the anchor reads from above, so the picture moves down.
    _splat(taps, np.array([reach_rows - down]), np.array([reach_columns - right]), np.ones(1))
    whole = right == int(right) and down == int(down)
    notes = () if whole else (f"shift by {right:g}, {down:g} pixels is interpolated bilinearly",)
    return built(to_anchor(taps, (reach_rows, reach_columns)), notes=notes)
