"""Kernels as sums of columns times rows, as few as the rounding of the sums allows.

Nearly every kernel that is taken apart is one column times one row, which a look at its largest tap's row and column
tells in one pass. Others of ordinary size are decomposed by singular values; those of a large one, which would take
minutes, only as far as a few random combinations of its columns span it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Factors: TypeAlias = "tuple[NDArray[np.float64], NDArray[np.float64]]"

#: Norm of what is left out, relative to the kernel's.
TOLERANCE = {"float32": 2e-8, "float64": 1e-15}
#: Kernels up to this many rows or columns are decomposed whole: 5 ms.
WHOLE_PX = 129
#: Columns times rows that a larger kernel is tried with.
LARGE_RANK = 6
#: Rows compared at once: a kernel of 5000 × 5000 is not copied.
ROWS_AT_ONCE = 256


def factors(kernel: NDArray[np.float64], dtype: str) -> Factors | None:
    """Return (rank, kH) columns and (rank, kW) rows whose products add up to ``kernel``, or None.

    Parameters
    ----------
    kernel : ndarray of shape (kH, kW), float64
        Finite.
    dtype : {"float32", "float64"}
        Type of the sums: what is left out stays below its rounding (:data:`TOLERANCE`).

    Returns
    -------
    tuple of ndarray or None
        None only where both sides exceed :data:`WHOLE_PX` and :data:`LARGE_RANK` are not enough.

    Examples
    --------
    >>> columns, rows = factors(np.outer([1.0, 2, 1], [1.0, 0, -1]), "float32")
    >>> columns.shape, rows.shape, np.allclose(columns.T @ rows, np.outer([1, 2, 1], [1, 0, -1]))
    ((1, 3), (1, 3), True)
    """
    largest = max(float(kernel.max()), -float(kernel.min()))
    if largest == 0:
        return np.zeros((1, kernel.shape[0])), np.zeros((1, kernel.shape[1]))
    # Squares of taps of 1e200 or 1e-200 are neither infinite nor nothing this way.
    scaled = kernel / largest
    norm = float(np.linalg.norm(scaled))
    # float64 keeps what a decomposition itself can tell from nothing.
    bound = norm * max(TOLERANCE[dtype], np.finfo(np.float64).eps * max(kernel.shape))
    found = _outer_product(scaled, bound)
    if found is None:
        found = _by_values(scaled, bound) if min(kernel.shape) <= WHOLE_PX else _by_sketch(scaled, bound)
    root = np.sqrt(largest)
    return None if found is None else (found[0] * root, found[1] * root)


def _outer_product(kernel: NDArray[np.float64], bound: float) -> Factors | None:
    """Return the column and row of the largest tap if their product is the kernel."""
    at, across = np.unravel_index(int(np.argmax(np.abs(kernel))), kernel.shape)
    column, row = kernel[:, across], kernel[at] / kernel[at, across]
    if not _is_product(kernel, column[:, None], row[None], bound):
        return None
    # Alike in size, so that float32 holds both.
    balance = np.sqrt(np.linalg.norm(row) / np.linalg.norm(column))
    return (column * balance)[None], (row / balance)[None]


def _by_values(kernel: NDArray[np.float64], bound: float) -> Factors:
    """Return as many singular columns and rows as leave no more than ``bound``."""
    left, values, right = np.linalg.svd(kernel, full_matrices=False)
    dropped = np.sqrt(np.cumsum(values[::-1] ** 2)[::-1])  # norm of values[i:]
    rank = max(int((dropped > bound).sum()), 1)
    root = np.sqrt(values[:rank])
    return (left[:, :rank] * root).T, root[:, None] * right[:rank]


def _by_sketch(kernel: NDArray[np.float64], bound: float) -> Factors | None:
    """Return at most :data:`LARGE_RANK` columns and rows, or None.

    Random combinations of the columns of a matrix of low rank span them (Halko, Martinsson and Tropp 2011, algorithm
    4.1); whether they do is tested, not assumed.
    """
    mix = np.random.default_rng(0).standard_normal((kernel.shape[1], LARGE_RANK + 4))
    basis, _ = np.linalg.qr(kernel @ mix)
    small = basis.T @ kernel
    if not _is_product(kernel, basis, small, bound):
        return None
    columns, rows = _by_values(small, bound / 2)
    return (columns @ basis.T, rows) if len(rows) <= LARGE_RANK else None


def _is_product(
    kernel: NDArray[np.float64], left: NDArray[np.float64], right: NDArray[np.float64], bound: float
) -> bool:
    """Whether ``left @ right`` differs from ``kernel`` by no more than ``bound`` in norm, some rows at a time."""
    error = 0.0
    for top in range(0, len(kernel), ROWS_AT_ONCE):
        rest = kernel[top : top + ROWS_AT_ONCE] - left[top : top + ROWS_AT_ONCE] @ right
        error += float(np.vdot(rest, rest))
        if error > bound * bound:
            return False
    return True
