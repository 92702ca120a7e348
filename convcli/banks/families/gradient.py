"""First and higher derivatives as matched taps: x to the right, y downward, positive where the picture brightens."""

from __future__ import annotations

from math import comb, factorial

import numpy as np

from convcli.banks.bank import Array, KernelBank, check_taps
from convcli.banks.families.built import built


def _gradient(derivative: Array, smoothing: Array, gain: str) -> KernelBank:
    """Build x and y of a derivative and a smoothing row; a ``unit`` gain makes a slope of 1 a pixel give 1."""
    if gain == "unit":
        places = np.arange(derivative.size) - derivative.size // 2
        derivative, smoothing = derivative / float(derivative @ places), smoothing / smoothing.sum()
    check_taps(2 * derivative.size**2, f"a gradient of {derivative.size}x{derivative.size}")
    return built(
        np.stack([np.outer(smoothing, derivative), np.outer(derivative, smoothing)]), ("x", "y"), combine="magnitude"
    )


def _pascal(order: int) -> Array:
    return np.array([comb(order, place) for place in range(order + 1)], dtype=np.float64)


def sobel(*, size: int, gain: str) -> KernelBank:
    """Build Sobel's gradient of any odd size: binomial smoothing, binomial times ``-1 0 1`` (OpenCV's taps)."""
    return _gradient(np.convolve(_pascal(size - 3), [-1.0, 0.0, 1.0]), _pascal(size - 1), gain)


def scharr(*, variant: str, gain: str) -> KernelBank:
    """Build Scharr's gradient, with the rounded or the optimised integers."""
    return _gradient(np.array([-1.0, 0.0, 1.0]), np.array([float(part) for part in variant.split("-")]), gain)


def prewitt(*, size: int, gain: str) -> KernelBank:
    """Build Prewitt's gradient of any odd size: the slope of the plane that fits best."""
    return _gradient(np.arange(size, dtype=np.float64) - size // 2, np.ones(size), gain)


# Farid & Simoncelli 2004, the author's table: first half and middle; p even, d1 and d3 odd, d2 even. The table's
# derivatives are written for convolution, so correlation taps have the other sign.
_FARID: dict[int, dict[str, tuple[float, ...]]] = {
    3: {"p": (0.2298791, 0.540242), "d1": (0.425287, 0.0)},
    5: {"p": (0.037659, 0.249153, 0.426375), "d1": (0.109604, 0.276691, 0.0)},
    7: {
        "p": (0.004711, 0.069321, 0.245410, 0.361117),
        "d1": (0.018708, 0.125376, 0.193091, 0.0),
        "d2": (0.055336, 0.137778, -0.056554, -0.273118),
    },
    9: {
        "p": (0.000721, 0.015486, 0.090341, 0.234494, 0.317916),
        "d1": (0.003059, 0.035187, 0.118739, 0.143928, 0.0),
        "d2": (0.010257, 0.061793, 0.085598, -0.061661, -0.191974),
        "d3": (0.027205, 0.065929, -0.053614, -0.203718, 0.0),
    },
}


def farid(*, taps: int, order: int) -> KernelBank:
    """Build Farid and Simoncelli's matched derivatives: x y, xx xy yy, or xxx xxy xyy yyy."""
    table = _FARID[taps]
    if order > 1 and f"d{order}" not in table:
        raise ValueError(f"order={order} is published for {'7 and 9' if order == 2 else '9'} taps, not for {taps}")
    rows = {0: _mirrored(table["p"], 1)} | {
        n: _mirrored(table[f"d{n}"], (-1) ** n) for n in (1, 2, 3) if f"d{n}" in table
    }
    kernels = [np.outer(rows[down], rows[order - down]) for down in range(order + 1)]
    names = ["x" * (order - down) + "y" * down for down in range(order + 1)]
    slope = float(rows[1] @ (np.arange(taps) - taps // 2))
    notes = (f"published taps, not normalised: a slope of 1 gives {slope:.6f}",)
    return built(np.stack(kernels), names, combine="magnitude" if order == 1 else "none", notes=notes)


def _mirrored(half: tuple[float, ...], parity: int) -> Array:
    """Return correlation taps from the first half of convolution taps."""
    # Turned by 180°: convolution taps become correlation taps. Adding 0.0 leaves no -0.0.
    first = np.array(half) * parity
    return np.concatenate([first, parity * first[-2::-1]]) + 0.0


def savitzky_golay(*, size: tuple[int, int], degree: int, dx: int, dy: int, basis: str) -> KernelBank:
    """Build the least-squares polynomial's value or derivative in the middle.

    ``total`` fits all monomials ``x^i y^j`` with ``i + j <= degree``; ``separable`` is the outer product of two 1-D
    filters, a different kernel. Derivatives are to the right (dx) and downward (dy).
    """
    if dx + dy > degree or max(size) > 51:
        raise ValueError(f"dx+dy={dx + dy} of degree {degree}, {size[0]}x{size[1]} taps; at most the degree, 51x51")
    # With fewer points in a row than coefficients the fit is not unique.
    if degree >= min(size):
        raise ValueError(f"degree={degree} needs more than {degree} taps each way, not {size[0]}x{size[1]}")
    if basis == "separable":
        return built(np.outer(_savgol_row(size[0], degree, dy), _savgol_row(size[1], degree, dx)))
    down, right = np.mgrid[0 : size[0], 0 : size[1]].astype(np.float64)
    right, down = (right - (size[1] - 1) / 2).ravel(), (down - (size[0] - 1) / 2).ravel()
    powers = [(i, j) for i in range(degree + 1) for j in range(degree + 1 - i)]
    # A row of the pseudo-inverse gives one coefficient of the fit, so it is the filter.
    fit = np.linalg.pinv(np.stack([right**i * down**j for i, j in powers], axis=1))
    return built((fit[powers.index((dx, dy))] * factorial(dx) * factorial(dy)).reshape(size))


def _savgol_row(size: int, degree: int, derivative: int) -> Array:
    places = np.arange(size) - (size - 1) / 2
    fit = np.linalg.pinv(places[:, None] ** np.arange(degree + 1))
    # The n-th derivative of x^n is n!.
    row: Array = fit[derivative] * factorial(derivative)
    return row
