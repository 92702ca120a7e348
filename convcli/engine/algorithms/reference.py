"""The reference: one matrix product per tap, in float64, written to be read."""

from __future__ import annotations

import numpy as np

from convcli.engine.algorithms.base import CACHE_BYTES, CALL_NS, BandAlgorithm, Candidate, fit_band
from convcli.engine.bands import Scratch
from convcli.engine.borders import Array
from convcli.engine.problem import Job, Problem

#: One tap, per sample and plane.
TAP_NS = 1.5


class Reference(BandAlgorithm):
    """For each tap (r, c): ``output += weight[:, :, r, c] @ pixel``, over all pixels that the tap meets."""

    name = "reference"

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        # float64 holds float32 samples exactly, so nothing is rounded before the products.
        self.band_dtype = np.dtype(np.float64)

    @classmethod
    def offer(cls, problem: Problem) -> Candidate:
        """Return the offer; it is never picked."""
        job = problem.job
        cost = problem.n_outputs * (job.taps * TAP_NS + 4) + problem.facts.n_groups * 10 * CALL_NS

        def n_bytes(rows: int) -> int:
            sums = rows * job.output_w * (2 * job.n_out + job.n_in)  # so far, one product, one shifted copy of pixels
            return 8 * (job.n_in * job.rows(rows) * job.columns + sums)

        fit = fit_band(problem, n_bytes, 0, cost, cache=4 * CACHE_BYTES)
        method = "one matrix product per tap, float64"
        return Candidate(cls.name, method, cost / fit.threads, *fit, sums="float64", automatic=False)

    def correlate(self, band: Array, target: Array, scratch: Scratch) -> None:  # noqa: ARG002
        """Correlate tap by tap."""
        stride_h, stride_w = self.job.stride_hw
        dilation_h, dilation_w = self.job.dilation_hw
        height, width = target.shape[1:]
        output = np.zeros((self.job.n_out, height * width))
        for r, c in np.ndindex(*self.job.kernel_hw):
            rows = slice(r * dilation_h, r * dilation_h + (height - 1) * stride_h + 1, stride_h)
            columns = slice(c * dilation_w, c * dilation_w + (width - 1) * stride_w + 1, stride_w)
            pixel = band[:, rows, columns].reshape(self.job.n_in, -1)
            output += self.weight[:, :, r, c] @ pixel
        target[...] = output.reshape(target.shape)
