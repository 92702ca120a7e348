"""Orthonormal bases, scale spaces and random layers (NumPy)."""

from __future__ import annotations

import numpy as np

from convcli.banks.bank import Array, KernelBank, check_taps, pad_to
from convcli.banks.families.built import built, grid, odd_size, sum_to_one
from convcli.banks.families.laplace import log_taps
from convcli.banks.initial import INITS, Generator, NumpyGenerator, TorchGenerator, built_layer, initial


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
    # A constant has twice the energy of a cosine, and the basis is orthonormal.
    rows[0] = np.sqrt(1 / size)
    return _products(rows, [str(number) for number in index])


def haar() -> KernelBank:
    """Build the four 2x2 Haar kernels; with stride 2 they are one level of the wavelet transform."""
    signs = [[[1, 1], [1, 1]], [[1, -1], [1, -1]], [[1, 1], [-1, -1]], [[1, -1], [-1, 1]]]
    # Halves make them orthonormal: the transposed convolution gives the picture back.
    return built(np.array(signs) / 2, ("average", "across", "down", "diagonal"))


def walsh_hadamard(*, size: int, order: str) -> KernelBank:
    """Build the ``size²`` products of Walsh rows, by their number of sign changes or in Hadamard's order."""
    rows = np.ones((1, 1))
    while len(rows) < size:
        # Sylvester's construction of a Hadamard matrix.
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
        # Each ends at its own 4 sigmas, as it would alone; around it are zeros.
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
        # σ² makes the responses of all scales comparable (Lindeberg 1998, with γ = 1).
        kernels.append(pad_to(spread**2 * log_taps((reach, reach), spread), (side, side)))
    return built(np.stack(kernels), [f"sigma-{spread:.3g}" for spread in sigmas], combine="max")


def random(
    *,
    size: tuple[int, int],
    out_channels: int,
    in_channels: int,
    init: str,
    std: float,
    seed: int,
    bias: str,
    rng: str,
    **others: float | None,
) -> KernelBank:
    """Build the starting weights that a convolution of torch has for a seed; ``rng=numpy`` draws others."""
    shape = (out_channels, in_channels, *size)
    layer = f"{out_channels}x{in_channels}x{size[0]}x{size[1]}"
    check_taps(int(np.prod(shape)), f"random {layer}")
    values = {"normal": {"std": std}, "uniform": {"low": -std, "high": std}}.get(init, {})
    given = {key: value for key, value in others.items() if value is not None}
    for key in given:
        if key not in INITS[init]:
            raise ValueError(f"{key} does nothing to init={init}, which takes {', '.join(INITS[init]) or 'nothing'}")
    values |= given
    n_biases, offset = 0 if bias == "false" else out_channels, None
    if rng == "numpy":
        generator: Generator = NumpyGenerator(seed)
        weight = initial(generator, shape, init, **values)
        note = f"NumPy's PCG64 with seed {seed}; torch draws other numbers from the same seed"
        if bias == "true":
            _, offset = built_layer(generator, shape, out_channels)
    else:
        # torch draws weight and bias when it builds a layer, and an initialiser draws the weight again.
        generator = TorchGenerator(seed)
        weight, offset = built_layer(generator, shape, n_biases)
        weight = weight if init == "default" else initial(generator, shape, init, **values)
        note = f"torch's numbers after manual_seed({seed})" + (", to about 1e-6" if init == "orthogonal" else "")
    numbers = tuple(offset.tolist()) if offset is not None and bias == "true" else None
    return built(weight, [str(number) for number in range(out_channels)], bias=numbers, notes=(note,))
