"""Separable kernels: a column, then a row, for each rank of the kernel.

The singular value decomposition writes a kernel as a sum of columns times rows. As many are taken as are needed for
the rest to be below :data:`TOLERANCE` of the kernel's norm, which is below the rounding of the sums themselves; a
kernel that needs too many is refused. Both passes are products of :mod:`convcli.engine.stacked` and
:mod:`convcli.engine.blocked`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from convcli.engine.blocked import BlockedProduct
from convcli.engine.job import Job, Weight
from convcli.engine.source import Array, Scratch
from convcli.engine.stacked import StackedProduct

#: Norm of what is left out, relative to the kernel's.
TOLERANCE = {"float32": 2e-8, "float64": 1e-15}


def factors(kernel: Weight, dtype: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return (rank, kH) columns and (rank, kW) rows whose products add up to ``kernel``.

    Examples
    --------
    >>> columns, rows = factors(np.outer([1.0, 2, 1], [1.0, 0, -1]), "float32")
    >>> columns.shape, rows.shape, np.allclose(columns.T @ rows, np.outer([1, 2, 1], [1, 0, -1]))
    ((1, 3), (1, 3), True)
    """
    left, values, right = np.linalg.svd(kernel, full_matrices=False)
    dropped = np.sqrt(np.cumsum(values[::-1] ** 2)[::-1])  # norm of values[i:]
    bound = TOLERANCE[dtype] * max(float(dropped[0]), 1e-300)
    # float64 keeps what the decomposition itself can tell from nothing.
    bound = max(bound, float(dropped[0]) * np.finfo(np.float64).eps * max(kernel.shape))
    rank = max(int((dropped > bound).sum()), 1)
    root = np.sqrt(values[:rank])
    return (left[:, :rank] * root).T, root[:, None] * right[:rank]


class Separable:
    """Correlation of one plane by columns, then rows.

    Parameters
    ----------
    job : Job
        ``n_in`` is 1; ``lanes`` may be more than 1 where the horizontal stride is 1.
    rank : int
        Products per kernel, the most of any.
    band_dtype : str
    """

    def __init__(self, job: Job, rank: int, band_dtype: str, *, rows_at_once: int, block: int) -> None:
        self.job, self.rank, self.band_dtype, self.columns = job, rank, np.dtype(band_dtype), job.columns
        # The column pass keeps every column, the row pass every row.
        self._column_job = job._replace(
            kernel_hw=(job.kernel_hw[0], 1),
            stride_hw=(job.stride_hw[0], 1),
            dilation_hw=(job.dilation_hw[0], 1),
            n_out=job.n_out * rank,
        )
        self._row_job = job._replace(
            kernel_hw=(1, job.kernel_hw[1]),
            stride_hw=(1, job.stride_hw[1]),
            dilation_hw=(1, job.dilation_hw[1]),
            n_out=1,
        )
        row_pass = BlockedProduct(self._row_job, block)
        self._width = row_pass.columns
        self._column_job = self._column_job._replace(output_w=job.columns)
        self._column_pass = StackedProduct(self._column_job, rows_at_once, band_dtype)
        self._row_passes = [row_pass]
        self._block = block

    def load(self, weight: Weight) -> Separable:
        """Decompose ``weight`` (n_out, 1, kH, kW)."""
        columns = np.zeros((len(weight), self.rank, self.job.kernel_hw[0]))
        rows = np.zeros((len(weight), self.rank, self.job.kernel_hw[1]))
        for o, kernel in enumerate(weight[:, 0]):
            column, row = factors(kernel, self.job.dtype)
            columns[o, : len(column)], rows[o, : len(row)] = column, row
        self._column_pass.load(columns.reshape(-1, 1, self.job.kernel_hw[0], 1))
        self._row_passes = [
            BlockedProduct(self._row_job, self._block).load(row.reshape(1, 1, 1, -1))
            for row in rows.reshape(-1, self.job.kernel_hw[1])
        ]
        return self

    def __call__(self, band: Array, target: Array, scratch: Scratch) -> None:
        """Correlate ``band`` (1, rows, columns, lanes) into ``target`` (n_out, rows, W, lanes)."""
        n_out, n_rows, width, lanes = target.shape
        between = scratch.get("between", (n_out * self.rank, n_rows, self._width, lanes), self.job.dtype)
        between[:, :, self.job.columns :] = 0
        self._column_pass(band, between[:, :, : self.job.columns], scratch)
        term = scratch.get("rank", (1, n_rows, width, lanes), self.job.dtype)
        for index, row_pass in enumerate(self._row_passes):
            o, turn = divmod(index, self.rank)
            into = target[o : o + 1] if turn == 0 else term
            row_pass(between[index : index + 1], into, scratch)
            if turn:
                target[o] += term[0]

    def matrix_bytes(self) -> int:
        """Return the bytes of the passes' matrices."""
        n_rows = self.job.n_out * self.rank
        return self._column_pass.matrix_bytes() + n_rows * self._row_passes[0].matrix_bytes()

    def scratch_bytes(self, n_rows: int) -> int:
        """Return the columns' sums, one term, and what the passes take."""
        lines = n_rows * self.job.lanes * (self._width * self.job.n_out * self.rank + self.job.output_w)
        passes = self._column_pass.scratch_bytes(n_rows) + self._row_passes[0].scratch_bytes(n_rows)
        return np.dtype(self.job.dtype).itemsize * lines + passes
