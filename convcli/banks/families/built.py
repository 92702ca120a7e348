"""Helpers that every family shares: pixel grids, and taps to a bank (NumPy)."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np

from convcli.banks.bank import Array, KernelBank, check_taps


def built(taps: Array, names: Sequence[str] | None = None, **fields: object) -> KernelBank:
    """Make a bank of taps of shape (kH, kW), (O, kH, kW) or (O, I, kH, kW); the loader adds name and source."""
    weight = np.asarray(taps, dtype=np.float64)
    if weight.ndim == 2:
        weight = weight[None]
    if weight.ndim == 3:
        weight = weight[:, None]
    kernel_names = tuple(names) if names is not None else ("kernel",)
    return KernelBank(name="kernel", weight=weight, kernel_names=kernel_names, **fields)  # type: ignore[arg-type]


def grid(size_hw: tuple[int, int], *, kernels: int = 1) -> tuple[Array, Array]:
    """Return x (to the right) and y (UP, as in mathematics) of every tap, 0 in the middle.

    Examples
    --------
    >>> x, y = grid((3, 3))
    >>> x[0].tolist(), y[:, 0].tolist()
    ([-1.0, 0.0, 1.0], [1.0, 0.0, -1.0])
    """
    height, width = size_hw
    # Before memory is taken; banks ask here for all of their kernels.
    check_taps(height * width * kernels, f"a bank of {kernels} x {height}x{width}")
    down, right = np.mgrid[0:height, 0:width].astype(np.float64)
    return right - (width - 1) / 2, (height - 1) / 2 - down


def odd_size(size: int | None, half_width: float) -> int:
    """Return the size that was given, else the odd size that reaches ``half_width`` to each side."""
    # A half-width that is whole but for rounding is not rounded up.
    return size if size is not None else 2 * max(1, ceil(half_width - 1e-9)) + 1


def turned(x: Array, y: Array, degrees: float) -> tuple[Array, Array]:
    """Return coordinates along and across a direction; multiples of 90° come out exact."""
    cosine, sine = cos_sin(degrees)
    return x * cosine + y * sine, -x * sine + y * cosine


def cos_sin(degrees: float) -> tuple[float, float]:
    """Return cosine and sine of degrees: exact at multiples of 90, equally large at those of 45."""
    # NumPy's cosine of 90° is 6e-17, and its sine and cosine of 45° differ in the last bit.
    quarter, rest = divmod(degrees, 90.0)
    if rest == 0.0:
        return ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))[int(quarter) % 4]
    if rest == 45.0:
        half = float(np.sqrt(0.5))
        return ((half, half), (-half, half), (-half, -half), (half, -half))[int(quarter) % 4]
    # Reduced first: a thousand turns as radians would lose three digits.
    radians = np.deg2rad(degrees % 360.0)
    return float(np.cos(radians)), float(np.sin(radians))


def bell(size_hw: tuple[int, int], sigma: float) -> Array:
    """Return a sampled Gaussian, ``exp(-r²/2σ²)``; its largest tap is near 1."""
    x, y = grid(size_hw)
    taps: Array = np.exp(-(x * x + y * y) / (2 * sigma * sigma))
    return taps


def sum_to_one(taps: Array) -> Array:
    """Scale taps so that they sum to 1."""
    scaled: Array = taps / taps.sum()
    return scaled


def balanced(taps: Array, bell: Array, what: str) -> KernelBank:
    """Make a bank of taps whose sum, left by sampling or truncation, is taken out under a bell of sum 1."""
    rest = float(taps.sum())
    notes = (f"the sum {rest:.2g} that {what} leaves is taken out under the bell",) if abs(rest) > 1e-12 else ()
    return built(taps - bell * rest, notes=notes)
