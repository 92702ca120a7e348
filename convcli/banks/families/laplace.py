"""Second derivatives, and kernels that sharpen with them (NumPy)."""

from __future__ import annotations

import numpy as np

from convcli.banks.bank import Array, KernelBank
from convcli.banks.families.built import balanced, bell, built, cos_sin, grid, odd_size, sum_to_one

_CROSS: list[list[float]] = [[0, 1, 0], [1, -4, 1], [0, 1, 0]]
#: Laplacians by name; the numbers are ImageMagick's ``Laplacian:type``, positive in the middle as there.
_VARIANTS: dict[str, list[list[float]]] = {
    "cross": _CROSS,
    "full": [[1, 1, 1], [1, -8, 1], [1, 1, 1]],
    "diagonal": [[1, 0, 1], [0, -4, 0], [1, 0, 1]],
    "oono-puri": [[1, 2, 1], [2, -12, 2], [1, 2, 1]],
    "patra-karttunen": [[1, 4, 1], [4, -20, 4], [1, 4, 1]],
    "imagemagick-0": [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]],
    "imagemagick-1": [[0, -1, 0], [-1, 4, -1], [0, -1, 0]],
    "imagemagick-2": [[-2, 1, -2], [1, 4, 1], [-2, 1, -2]],
    "imagemagick-3": [[1, -2, 1], [-2, 4, -2], [1, -2, 1]],
    "imagemagick-5": [[-4, -1, 0, -1, -4], [-1, 2, 3, 2, -1], [0, 3, 4, 3, 0], [-1, 2, 3, 2, -1], [-4, -1, 0, -1, -4]],
    "imagemagick-7": [
        [-10, -5, -2, -1, -2, -5, -10],
        [-5, 0, 3, 4, 3, 0, -5],
        [-2, 3, 6, 7, 6, 3, -2],
        [-1, 4, 7, 8, 7, 4, -1],
        [-2, 3, 6, 7, 6, 3, -2],
        [-5, 0, 3, 4, 3, 0, -5],
        [-10, -5, -2, -1, -2, -5, -10],
    ],
    # 15 and 19 are Laplacians of a Gaussian of sigma 1.4, says morphology.c.
    "imagemagick-15": [
        [0, 0, -1, 0, 0],
        [0, -1, -2, -1, 0],
        [-1, -2, 16, -2, -1],
        [0, -1, -2, -1, 0],
        [0, 0, -1, 0, 0],
    ],
    "imagemagick-19": [
        [0, -1, -1, -2, -2, -2, -1, -1, 0],
        [-1, -2, -4, -5, -5, -5, -4, -2, -1],
        [-1, -4, -5, -3, 0, -3, -5, -4, -1],
        [-2, -5, -3, 12, 24, 12, -3, -5, -2],
        [-2, -5, 0, 24, 40, 24, 0, -5, -2],
        [-2, -5, -3, 12, 24, 12, -3, -5, -2],
        [-1, -4, -5, -3, 0, -3, -5, -4, -1],
        [-1, -2, -4, -5, -5, -5, -4, -2, -1],
        [0, -1, -1, -2, -2, -2, -1, -1, 0],
    ],
}
#: Make the result on x² + y² the Laplacian's 4 where it is not.
_FACTORS = {"diagonal": 0.5, "oono-puri": 0.25, "patra-karttunen": 1 / 6}


def log_taps(size_hw: tuple[int, int], sigma: float) -> Array:
    """Laplacian of Gaussian as MATLAB's ``fspecial('log', size, sigma)``: the mean is taken out, the sum is 0."""
    x, y = grid(size_hw)
    squared = x * x + y * y
    taps = sum_to_one(np.exp(-squared / (2 * sigma * sigma))) * (squared - 2 * sigma * sigma) / sigma**4
    centred: Array = taps - taps.mean()
    return centred


def log(*, sigma: float, size: int | None) -> KernelBank:
    """Build the Laplacian of Gaussian."""
    side = odd_size(size, 4 * sigma)
    return built(log_taps((side, side), sigma))


def mexican_hat(*, sigma: float, size: int | None) -> KernelBank:
    """Build the Marr wavelet, ``(1 - r²/2σ²) exp(-r²/2σ²) / πσ⁴``, its sum taken out under the bell."""
    side = odd_size(size, 4 * sigma)
    x, y = grid((side, side))
    half = (x * x + y * y) / (2 * sigma * sigma)
    under = np.exp(-half)
    return balanced((1 - half) * under / (np.pi * sigma**4), sum_to_one(under), "sampling")


def dog(*, sigma: float, ratio: float, size: int | None) -> KernelBank:
    """Build the difference of two Gaussians of sum 1: the narrow one less the wide one."""
    side = odd_size(size, 4 * sigma * ratio)
    # With the ratio 1.6 it comes nearest to a LoG (Marr & Hildreth 1980).
    return built(sum_to_one(bell((side, side), sigma)) - sum_to_one(bell((side, side), sigma * ratio)))


def _alpha_laplacian(alpha: float) -> Array:
    """MATLAB's ``fspecial('laplacian', alpha)``."""
    corner, edge = alpha / 4, (1 - alpha) / 4
    rows = [[corner, edge, corner], [edge, -1.0, edge], [corner, edge, corner]]
    return np.array(rows) * (4 / (alpha + 1))


def laplacian(*, variant: str, alpha: float | None) -> KernelBank:
    """Build a 3x3 Laplacian by alpha, or one of the usual tables by name."""
    if alpha is not None:
        if variant != "cross":
            raise ValueError(f"alpha={alpha:g} and variant={variant} are two different Laplacians; give one")
        return built(_alpha_laplacian(alpha))
    return built(np.array(_VARIANTS[variant], dtype=np.float64) * _FACTORS.get(variant, 1.0))


def sharpen(*, amount: float) -> KernelBank:
    """Build the identity less ``amount`` times the 4-neighbour Laplacian."""
    taps = -amount * np.array(_CROSS, dtype=np.float64)
    taps[1, 1] += 1
    return built(taps)


def unsharp(*, sigma: float, amount: float, size: int | None) -> KernelBank:
    """Build the identity plus ``amount`` times its difference from a Gaussian blur; sums to 1."""
    side = odd_size(size, 4 * sigma)
    taps = -amount * sum_to_one(bell((side, side), sigma))
    taps[side // 2, side // 2] += 1 + amount
    return built(taps)


def high_boost(*, boost: float, size: int) -> KernelBank:
    """Build ``boost`` times the image less its box average; sums to ``boost - 1``."""
    taps = np.full((size, size), -1.0 / (size * size))
    taps[size // 2, size // 2] += boost
    return built(taps)


def emboss(*, angle: float, depth: float) -> KernelBank:
    """Build a relief: the identity plus a slope that rises towards ``angle``.

    The slope's largest step is ``depth``: at -45° this is the familiar ``-2 -1 0; -1 1 1; 0 1 2``.
    """
    cosine, sine = cos_sin(angle)
    x, y = grid((3, 3))
    largest = max(abs(cosine), abs(sine))
    taps = depth * (x * (cosine / largest) + y * (sine / largest))
    taps = np.where(np.abs(taps) < 1e-12, 0.0, taps)
    taps[1, 1] += 1
    return built(taps)


def fspecial(*, type: str, hsize: tuple[int, int] = (3, 3), sigma: float = 0.5, alpha: float = 0.2) -> KernelBank:
    """Build the kernels of MATLAB's ``fspecial`` that are not families of their own here."""
    if type == "gaussian":
        taps = bell(hsize, sigma)
        # As fspecial does before it normalises.
        taps[taps < np.finfo(float).eps * taps.max()] = 0.0
        return built(sum_to_one(taps))
    if type == "log":
        return built(log_taps(hsize, sigma))
    if type == "laplacian":
        return built(_alpha_laplacian(alpha))
    if type == "unsharp":
        rows = [[-alpha, alpha - 1, -alpha], [alpha - 1, alpha + 5, alpha - 1], [-alpha, alpha - 1, -alpha]]
        return built(np.array(rows) / (alpha + 1))
    # MATLAB's two masks are positive where the picture is brighter above.
    middle = 2.0 if type == "sobel" else 1.0
    return built(np.array([[1.0, middle, 1.0], [0, 0, 0], [-1, -middle, -1]]))
