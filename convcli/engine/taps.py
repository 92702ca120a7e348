"""The reference: one matrix product per tap, in float64, written to be read."""

from __future__ import annotations

import numpy as np

from convcli.engine.job import Job, Weight
from convcli.engine.source import Array, Scratch


class Taps:
    """For each tap (r, c): ``output += weight[:, :, r, c] @ pixel``, over all pixels that the tap meets."""

    band_dtype = np.dtype(np.float64)

    def __init__(self, job: Job) -> None:
        self.job, self.columns = job, job.columns
        self.weight: Weight = np.empty((0, 0, 0, 0))

    def load(self, weight: Weight) -> Taps:
        """Take the taps as they are."""
        self.weight = weight
        return self

    def __call__(self, band: Array, target: Array, scratch: Scratch) -> None:  # noqa: ARG002
        """Correlate ``band`` (n_in, rows, columns, 1) into ``target`` (n_out, rows, W, 1)."""
        stride_h, stride_w = self.job.stride_hw
        dilation_h, dilation_w = self.job.dilation_hw
        height, width = target.shape[1:3]
        output = np.zeros((self.job.n_out, height * width))
        for r, c in np.ndindex(*self.job.kernel_hw):
            rows = slice(r * dilation_h, r * dilation_h + (height - 1) * stride_h + 1, stride_h)
            columns = slice(c * dilation_w, c * dilation_w + (width - 1) * stride_w + 1, stride_w)
            pixel = band[:, rows, columns, 0].reshape(self.job.n_in, -1)
            output += self.weight[:, :, r, c] @ pixel
        target[..., 0] = output.reshape(self.job.n_out, height, width)

    def matrix_bytes(self) -> int:
        """Nothing: the taps are the caller's."""
        return 0

    def scratch_bytes(self, n_rows: int) -> int:
        """Sum so far, one product, one shifted copy of the pixels."""
        return 8 * n_rows * self.job.output_w * (2 * self.job.n_out + self.job.n_in)
