"""Facts computed from a kernel's taps: gains, rank, symmetry, width, cost, spectrum (NumPy).

Singular values give the rank, in time that grows with the cube of the size. Large kernels are only tested for
separability, which takes one pass over the taps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from convcli.banks.bank import Array, KernelBank

#: Singular values below this part of the largest do not count towards the rank.
RANK_TOLERANCE = 1e-6
#: Kernels with costlier singular values than a square of this size are only tested for rank 1.
LARGEST_SQUARE = 129
#: Factors are shown if they lose nothing but rounding.
_FACTOR_TOLERANCE = 1e-12
#: Sums and differences below this part of the L1 norm count as 0.
_NOTHING = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class KernelStats:
    """Facts about one kernel.

    Attributes
    ----------
    total, l1, l2, low, high : float
        Sum, sum of absolute values, root of the sum of squares, smallest and largest tap. ``total`` is the gain on flat
        areas, ``l2`` the gain on white noise.
    n_nonzero : int
        Taps that are not 0: the multiplications a sample.
    rank : int or None
        Singular values above a millionth of the largest; 1 means separable. The largest rank of the planes for kernels
        that read several. None for large kernels that are not separable, whose singular values would take minutes.
    column, row : ndarray or None
        The separable factors of rank 1, scaled alike.
    symmetry : tuple of str
        For example ``left-right odd``.
    sigma_xy : tuple of float or None
        Standard deviations of the taps as a distribution, in pixels: the sigma of the Gaussian that blurs as much.
        None where taps are negative.
    output_range : tuple of float
        Smallest and largest result for samples of 0 to 255, bias included.
    separable : int or None
        Multiplications a sample as rows and columns, ``rank * (rows + columns)``; all at once there are ``n_nonzero``.
    peak_gain : float
        Largest gain on any wave, and in ``peak_frequency`` that wave, in cycles a pixel (to the right, up).
    peak_frequency : tuple of float
    """

    name: str
    shape: tuple[int, ...]
    total: float
    l1: float
    l2: float
    low: float
    high: float
    n_nonzero: int
    rank: int | None
    column: Array | None
    row: Array | None
    symmetry: tuple[str, ...]
    sigma_xy: tuple[float, float] | None
    output_range: tuple[float, float]
    separable: int | None
    peak_gain: float
    peak_frequency: tuple[float, float]

    def as_dict(self) -> dict[str, object]:
        """Return plain data for ``--json``."""
        return {
            "name": self.name,
            "shape": list(self.shape),
            "sum": self.total,
            "l1": self.l1,
            "l2": self.l2,
            "min": self.low,
            "max": self.high,
            "nonzero": self.n_nonzero,
            "rank": self.rank,
            "column": None if self.column is None else self.column.tolist(),
            "row": None if self.row is None else self.row.tolist(),
            "symmetry": list(self.symmetry),
            "sigma_xy": None if self.sigma_xy is None else list(self.sigma_xy),
            "output_range_8bit": list(self.output_range),
            "multiplications": {"direct": self.n_nonzero, "separable": self.separable},
            "peak_gain": self.peak_gain,
            "peak_frequency": list(self.peak_frequency),
        }


def bank_stats(bank: KernelBank) -> list[KernelStats]:
    """Return the facts about every kernel of a bank.

    Examples
    --------
    >>> from convcli import load_bank
    >>> x = bank_stats(load_bank("sobel"))[0]
    >>> x.total, x.rank, x.output_range, x.symmetry
    (0.0, 1, (-1020.0, 1020.0), ('left-right odd', 'up-down even', 'half-turn odd'))
    """
    return [
        kernel_stats(bank.weight[index], name=name, bias=bank.biases[index])
        for index, name in enumerate(bank.kernel_names)
    ]


@np.errstate(over="ignore", invalid="ignore")  # taps of 1e300 are taps; their sums may be infinite
def kernel_stats(taps: Array, *, name: str = "kernel", bias: float = 0.0) -> KernelStats:
    """Return the facts about one kernel of shape (I, kH, kW) or (I, kD, kH, kW)."""
    planes = taps.reshape(-1, *taps.shape[-2:])
    l1 = float(np.abs(taps).sum())
    total = float(taps.sum())
    rank, column, row = factors(planes)
    gain, frequency = peak(planes)
    rows, columns = taps.shape[-2:]
    return KernelStats(
        name=name,
        shape=tuple(int(size) for size in taps.shape),
        total=0.0 if abs(total) <= _NOTHING * l1 < math.inf else total,
        l1=l1,
        l2=_l2(taps),
        low=float(taps.min()),
        high=float(taps.max()),
        n_nonzero=int(np.count_nonzero(taps)),
        rank=rank,
        column=column,
        row=row,
        symmetry=symmetries(taps),
        sigma_xy=equivalent_sigma(planes.sum(axis=0)),
        output_range=(255 * float(np.minimum(taps, 0).sum()) + bias, 255 * float(np.maximum(taps, 0).sum()) + bias),
        separable=None if rank is None else len(planes) * rank * (rows + columns),
        peak_gain=gain,
        peak_frequency=frequency,
    )


def _l2(taps: Array) -> float:
    largest = float(np.abs(taps).max())
    if 1e-100 < largest < 1e100:  # squares neither overflow nor vanish
        return float(np.sqrt((taps * taps).sum()))
    return largest * float(np.sqrt(((taps / (largest or 1.0)) ** 2).sum()))


def symmetries(taps: Array) -> tuple[str, ...]:
    """Return the mirrorings that keep the taps (even) or negate them (odd)."""
    moves: list[tuple[str, Array]] = [
        ("left-right", taps[..., ::-1]),
        ("up-down", taps[..., ::-1, :]),
        ("half-turn", taps[..., ::-1, ::-1]),
    ]
    if taps.shape[-1] == taps.shape[-2]:
        moves += [("transpose", taps.swapaxes(-1, -2)), ("quarter-turn", np.rot90(taps, axes=(-2, -1)))]
    limit = _NOTHING * float(np.abs(taps).max())
    found = []
    for name, moved in moves:
        if np.abs(taps - moved).max() <= limit:
            found.append(f"{name} even")
        elif np.abs(taps + moved).max() <= limit:
            found.append(f"{name} odd")
    return tuple(found)


def equivalent_sigma(taps: Array) -> tuple[float, float] | None:
    """Return standard deviations (to the right, down) of non-negative taps as a distribution, in pixels."""
    taps = taps / (float(np.abs(taps).max()) or 1.0)  # their sum is finite then
    total = float(taps.sum())
    if total <= 0 or float(taps.min()) < -_NOTHING * total:
        return None
    down, right = np.mgrid[0 : taps.shape[0], 0 : taps.shape[1]].astype(np.float64)
    spreads = []
    for place in (right, down):
        mean = float((taps * place).sum()) / total
        spreads.append(float(np.sqrt(max(0.0, float((taps * (place - mean) ** 2).sum()) / total))))
    return spreads[0], spreads[1]


def response(taps: Array, size: int = 64) -> Array:
    """Return the gain on waves: |DFT| of one plane of taps, zero frequency in the middle, upward frequencies above it.

    The taps are one plane (kH, kW). The result has shape (size, size), at least the kernel's and rounded up for a fast
    transform, and frequencies from -1/2 to 1/2 cycles a pixel.
    """
    n = max(size, *taps.shape)
    n = n if n <= 256 else math.ceil(n / 256) * 256  # a prime size takes several times as long
    # Rows go down, so negative row frequencies, which fftshift puts on top, are waves that rise to the right.
    spectrum: Array = np.abs(np.fft.fftshift(np.fft.fft2(taps, (n, n))))
    return spectrum


def peak(planes: Array) -> tuple[float, tuple[float, float]]:
    """Return the largest gain over all planes and its frequency in cycles a pixel, (right, up), right ≥ 0."""
    best, where = -1.0, (0.0, 0.0)
    for plane in planes[:64]:
        gains = response(plane)
        n = len(gains)
        row, column = np.unravel_index(int(np.argmax(np.round(gains / (float(gains.max()) or 1.0), 12))), gains.shape)
        value = float(gains[row, column])
        if value > best:
            right, up = (int(column) - n // 2) / n, (n // 2 - int(row)) / n
            best, where = value, ((-right, -up) if right < 0 or (right == 0 and up < 0) else (right, up))
    return best, (where[0] + 0.0, where[1] + 0.0)


def factors(planes: Array) -> tuple[int | None, Array | None, Array | None]:
    """Return the rank, and for rank 1 in one plane the column and row whose outer product the taps are.

    The planes have shape (I, kH, kW); their largest rank counts, None for a kernel that is not of rank 1 and too large
    for singular values. Integer taps get integer factors if there are any: the row has the smallest whole numbers.

    Examples
    --------
    >>> rank, column, row = factors(np.array([[[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]]))
    >>> rank, column.tolist(), row.tolist()
    (1, [1.0, 2.0, 1.0], [-1.0, 0.0, 1.0])
    """
    rows, columns = planes.shape[-2:]
    if min(rows, columns) ** 2 * max(rows, columns) > LARGEST_SQUARE**3:
        return _large_factors(planes)
    values = np.linalg.svd(planes, compute_uv=False)
    largest = values[:, :1]
    rank = max(1, int((values > RANK_TOLERANCE * np.where(largest > 0, largest, 1)).sum(axis=1).max()))
    exact = values.shape[1] < 2 or bool((values[:, 1] <= _FACTOR_TOLERANCE * largest[:, 0]).all())
    if not exact or len(planes) > 1 or not largest.any():
        return rank, None, None
    left, value, right = np.linalg.svd(planes[0], full_matrices=False)
    return rank, *_tidy(left[:, 0] * value[0], right[0])


def _large_factors(planes: Array) -> tuple[int | None, Array | None, Array | None]:
    """Return rank 1 or None, and the factors, without singular values."""
    crosses = [_cross(plane) for plane in planes]
    lost = max(part for part, _, _ in crosses)
    if lost > RANK_TOLERANCE:
        return None, None, None
    _, column, row = crosses[0]
    if lost > _FACTOR_TOLERANCE or len(planes) > 1 or not row.any():
        return 1, None, None
    return 1, *_tidy(column, row)


def _cross(plane: Array) -> tuple[float, Array, Array]:
    """Return the relative rest of a plane minus the outer product of a column and a row, and these two.

    They cross at the largest tap. The rest is a ratio of Frobenius norms; it bounds the ratio of the second singular
    value to the first, but for rounding.
    """
    at_row, at_column = np.unravel_index(int(np.abs(plane).argmax()), plane.shape)
    pivot = float(plane[at_row, at_column])
    if pivot == 0:
        return 0.0, np.zeros(plane.shape[0]), np.zeros(plane.shape[1])
    column, row = plane[:, at_column] / pivot, plane[at_row] / pivot  # at most 1: squares stay finite
    squares = 0.0
    for top in range(0, plane.shape[0], 256):
        band = plane[top : top + 256] / pivot
        band -= column[top : top + 256, None] * row
        squares += float(np.einsum("ij,ij->", band, band))
    norm = float(np.linalg.norm(row))
    return squares**0.5 / (float(np.linalg.norm(column)) * norm), column * (pivot * norm), row / norm


def _tidy(column: Array, row: Array) -> tuple[Array, Array]:
    """Return the same factors in whole numbers if the taps allow it, with a positive column."""
    unit = np.abs(row)[np.abs(row) > 1e-9 * np.abs(row).max()].min()
    whole = row / unit
    if np.allclose(whole, np.rint(whole), atol=1e-9):
        column, row = column * unit, np.rint(whole)
    if column.sum() < -_NOTHING or (abs(column.sum()) <= _NOTHING and row.sum() < 0):
        column, row = -column, -row
    near = np.rint(column)
    column = np.where(np.abs(column - near) < 1e-12 * max(1.0, float(np.abs(column).max())), near, column)
    return column + 0.0, row + 0.0
