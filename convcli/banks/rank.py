"""Whether a kernel is the outer product of a column and a row, and of what rank it is otherwise (NumPy).

Singular values answer both, in time that grows with the cube of the size. Large kernels are therefore only asked
whether they are separable, which takes one pass over the taps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array: TypeAlias = "NDArray[np.float64]"

#: Singular values below this part of the largest do not count towards the rank.
RANK_TOLERANCE = 1e-6
#: Kernels whose singular values cost more than those of a square of this size are only tested for rank 1.
LARGEST_SQUARE = 129
#: Factors are shown where nothing but rounding is lost with them.
_FACTOR_TOLERANCE = 1e-12
#: Relative to the L1 norm, what counts as nothing when sums are judged.
_NOTHING = 1e-9


def factors(planes: Array) -> tuple[int | None, Array | None, Array | None]:
    """Return the rank, and for rank 1 in one plane the column and row whose outer product the taps are.

    Integer taps get integer factors where they exist: the row is scaled to the smallest whole numbers.

    Parameters
    ----------
    planes : ndarray of shape (I, kH, kW), float64
        The planes of one kernel; its rank is the largest of theirs.

    Returns
    -------
    tuple of (int or None, ndarray or None, ndarray or None)
        The rank is None for a kernel too large for singular values that is not of rank 1.

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
    """Return the part of a plane that the outer product of one of its columns and one of its rows leaves, and both.

    They cross at the largest tap. The part is the Frobenius norm of the difference by that of the product, which the
    second singular value by the first cannot exceed by more than their own rounding.
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
    """Return the same factors with whole numbers where the taps allow them, and a positive column."""
    unit = np.abs(row)[np.abs(row) > 1e-9 * np.abs(row).max()].min()
    whole = row / unit
    if np.allclose(whole, np.rint(whole), atol=1e-9):
        column, row = column * unit, np.rint(whole)
    if column.sum() < -_NOTHING or (abs(column.sum()) <= _NOTHING and row.sum() < 0):
        column, row = -column, -row
    near = np.rint(column)
    column = np.where(np.abs(column - near) < 1e-12 * max(1.0, float(np.abs(column).max())), near, column)
    return column + 0.0, row + 0.0
