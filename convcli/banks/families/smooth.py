"""Kernels that smooth (NumPy)."""

from __future__ import annotations

import numpy as np

from convcli.banks.bank import KernelBank
from convcli.banks.families.built import built, grid, odd_size, sum_to_one
from convcli.banks.limits import check_taps


def gaussian(*, sigma: float, size: int | None) -> KernelBank:
    """Build a sampled Gaussian, normalised to sum 1."""
    side = odd_size(size, 4 * sigma)
    x, y = grid((side, side))
    return built(sum_to_one(np.exp(-(x * x + y * y) / (2 * sigma * sigma))))


def box(*, size: tuple[int, int]) -> KernelBank:
    """Build the average of a rectangle."""
    check_taps(size[0] * size[1], f"box {size[0]}x{size[1]}")
    return built(np.full(size, 1.0 / (size[0] * size[1])))
