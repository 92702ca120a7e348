"""im2col as a textbook has it: every window a column, then one matrix product.

Simple, and wasteful: each sample is copied kH·kW times. It is here to be compared with.
"""

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import as_strided

from convcli.engine.job import Job, Weight
from convcli.engine.source import Array, Scratch


class Im2col:
    """Unfold the band, multiply: ``weight (O, C·kH·kW) @ columns (C·kH·kW, windows)``."""

    def __init__(self, job: Job) -> None:
        self.job, self.columns, self.band_dtype = job, job.columns, np.dtype(job.dtype)
        self.matrix: Array = np.empty((0, 0))

    def load(self, weight: Weight) -> Im2col:
        """Write each kernel out as a row."""
        self.matrix = weight.reshape(weight.shape[0], -1).astype(self.job.dtype)
        return self

    def __call__(self, band: Array, target: Array, scratch: Scratch) -> None:
        """Correlate ``band`` (n_in, rows, columns, 1) into ``target`` (n_out, rows, W, 1)."""
        (kernel_h, kernel_w), (stride_h, stride_w) = self.job.kernel_hw, self.job.stride_hw
        dilation_h, dilation_w = self.job.dilation_hw
        height, width = target.shape[1:3]
        plane, row, column = band.strides[:3]
        windows = as_strided(
            band,
            (self.job.n_in, kernel_h, kernel_w, height, width),
            (plane, row * dilation_h, column * dilation_w, row * stride_h, column * stride_w),
        )
        columns = scratch.get("columns", windows.shape, self.band_dtype)
        np.copyto(columns, windows)
        product = scratch.get("product", (self.job.n_out, height * width), self.band_dtype)
        np.matmul(self.matrix, columns.reshape(self.job.taps, -1), out=product)
        target[..., 0] = product.reshape(self.job.n_out, height, width)

    def matrix_bytes(self) -> int:
        """Return the bytes of the kernels as rows."""
        return self.band_dtype.itemsize * self.job.n_out * self.job.taps

    def scratch_bytes(self, n_rows: int) -> int:
        """Columns and products."""
        return self.band_dtype.itemsize * n_rows * self.job.output_w * (self.job.taps + self.job.n_out)
