"""Orthonormal bases, scale spaces and random layers (NumPy)."""

from __future__ import annotations

import numpy as np

from convcli.banks.bank import Array, KernelBank, check_taps, pad_to
from convcli.banks.families.built import built, grid, odd_size, sum_to_one
from convcli.banks.families.laplace import log_taps


def _products(rows: Array, names: list[str]) -> KernelBank:
    """Return every outer product, the vertical row first in the name and slowest in the order."""
    size = len(rows)
    check_taps(size**4, f"a basis of {size * size} kernels of {size}x{size}")
    kernels = np.einsum("iy,jx->ijyx", rows, rows).reshape(-1, size, size)
    return built(kernels, [f"{down}-{across}" for down in names for across in names])


def dct(*, size: int) -> KernelBank:
    """Build the ``size²`` cosines of the DCT-II; with stride = size the maps are block coefficients."""
    index = np.arange(size)
    rows = np.cos((2 * index[None] + 1) * index[:, None] * np.pi / (2 * size)) * np.sqrt(2 / size)
    rows[0] = np.sqrt(1 / size)
    return _products(rows, [str(number) for number in index])


def haar() -> KernelBank:
    """Build the four 2x2 Haar kernels; with stride 2 they are one level of the wavelet transform."""
    signs = [[[1, 1], [1, 1]], [[1, -1], [1, -1]], [[1, 1], [-1, -1]], [[1, -1], [-1, 1]]]
    return built(np.array(signs) / 2, ("average", "across", "down", "diagonal"))


def walsh_hadamard(*, size: int, order: str) -> KernelBank:
    """Build the ``size²`` products of Walsh rows, by their number of sign changes or in Hadamard's order."""
    rows = np.ones((1, 1))
    while len(rows) < size:
        rows = np.block([[rows, rows], [rows, -rows]])
    if len(rows) != size:
        raise ValueError(f"size={size} is not a power of 2")
    if order == "sequency":
        rows = rows[np.argsort((np.diff(rows, axis=1) != 0).sum(axis=1), kind="stable")]
    return _products(rows / np.sqrt(size), [str(number) for number in range(size)])


def _scales(sigma: float, factor: float, steps: int) -> list[float]:
    return [sigma * factor**step for step in range(steps)]


def gaussian_scale_space(*, sigma: float, factor: float, steps: int) -> KernelBank:
    """Build Gaussians of growing sigma, each of sum 1."""
    sigmas = _scales(sigma, factor, steps)
    side = odd_size(None, 4 * sigmas[-1])
    x, y = grid((side, side), kernels=steps)
    kernels = []
    for spread in sigmas:
        reach = odd_size(None, 4 * spread)
        inside = (np.abs(x) <= reach // 2) & (np.abs(y) <= reach // 2)
        kernels.append(sum_to_one(np.exp(-(x * x + y * y) / (2 * spread**2)) * inside))
    return built(np.stack(kernels), [f"sigma-{spread:.3g}" for spread in sigmas])


def laplacian_scale_space(*, sigma: float, factor: float, steps: int) -> KernelBank:
    """Build scale-normalised Laplacians of Gaussian, ``σ² LoG``: a blob answers most at its own scale."""
    sigmas = _scales(sigma, factor, steps)
    side = odd_size(None, 4 * sigmas[-1])
    check_taps(steps * side * side, f"{steps} kernels of {side}x{side}")
    kernels = []
    for spread in sigmas:
        reach = odd_size(None, 4 * spread)
        kernels.append(pad_to(spread**2 * log_taps((reach, reach), spread), (side, side)))
    return built(np.stack(kernels), [f"sigma-{spread:.3g}" for spread in sigmas], combine="max")


def random(
    *, size: tuple[int, int], out_channels: int, in_channels: int, init: str, std: float, seed: int
) -> KernelBank:
    """Build a layer's starting weights with a seed: the initialisers of Glorot and Bengio, of He, and others."""
    shape = (out_channels, in_channels, *size)
    check_taps(int(np.prod(shape)), f"random {out_channels}x{in_channels}x{size[0]}x{size[1]}")
    rng = np.random.default_rng(seed)
    fan_in, fan_out = in_channels * size[0] * size[1], out_channels * size[0] * size[1]
    spreads = {
        "xavier-uniform": np.sqrt(6 / (fan_in + fan_out)),
        "xavier-normal": np.sqrt(2 / (fan_in + fan_out)),
        "kaiming-uniform": np.sqrt(6 / fan_in),
        "kaiming-normal": np.sqrt(2 / fan_in),
        "uniform": std,
        "normal": std,
    }
    if init == "orthogonal":
        weight = _orthogonal(rng, out_channels, fan_in).reshape(shape)
    elif init.endswith("uniform"):
        weight = rng.uniform(-spreads[init], spreads[init], shape)
    else:
        weight = rng.normal(0.0, spreads[init], shape)
    note = f"NumPy's PCG64 with seed {seed}; torch draws other numbers from the same seed"
    return built(weight, [str(number) for number in range(out_channels)], notes=(note,))


def _orthogonal(rng: np.random.Generator, rows: int, columns: int) -> Array:
    """Return orthonormal rows, or columns where there are more rows (Saxe et al.)."""
    tall = rng.normal(size=(max(rows, columns), min(rows, columns)))
    basis, upper = np.linalg.qr(tall)
    basis = basis * np.sign(np.diag(upper))
    return basis if rows >= columns else basis.T
