"""Separable kernels: a column, then a row, for each rank of the kernel.

A kernel is taken apart into columns times rows (:mod:`convcli.engine.lowrank`); one that needs too many is refused.
Both passes are products of :mod:`convcli.engine.stacked` and :mod:`convcli.engine.blocked`.
"""

from __future__ import annotations

import numpy as np

from convcli.engine.blocked import BlockedProduct
from convcli.engine.job import Job, Weight
from convcli.engine.lowrank import factors
from convcli.engine.source import Array, Scratch
from convcli.engine.stacked import StackedProduct


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
            found = factors(kernel, self.job.dtype)
            assert found is not None, "the plan has taken this kernel apart"
            column, row = found
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
