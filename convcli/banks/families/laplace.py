"""Second derivatives and what sharpens with them (NumPy)."""

from __future__ import annotations

import numpy as np

from convcli.banks.bank import KernelBank
from convcli.banks.families.built import Array, built, grid, odd_size, sum_to_one


def log_taps(size: int, sigma: float) -> Array:
    """Laplacian of Gaussian as MATLAB's ``fspecial('log', size, sigma)``: the mean is taken out, the sum is 0."""
    x, y = grid((size, size))
    squared = x * x + y * y
    bell = sum_to_one(np.exp(-squared / (2 * sigma * sigma)))
    taps = bell * (squared - 2 * sigma * sigma) / sigma**4
    centred: Array = taps - taps.mean()
    return centred


def log(*, sigma: float, size: int | None) -> KernelBank:
    """Laplacian of Gaussian."""
    return built(log_taps(odd_size(size, 4 * sigma), sigma))
