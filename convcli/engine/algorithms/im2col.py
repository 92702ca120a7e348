"""Textbook im2col: every window becomes a column, then one matrix product.

Each sample is copied kH·kW times. It serves comparisons, and layers of many maps, where the one large product outweighs
the copies.
"""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.lib.stride_tricks import as_strided

from convcli.engine.algorithms.base import (
    CACHE_BYTES,
    CALL_NS,
    GATHER_NS,
    BandAlgorithm,
    Candidate,
    band_bytes,
    fit_band,
)
from convcli.engine.algorithms.gemm import mac_ns
from convcli.engine.bands import Scratch
from convcli.engine.borders import Array
from convcli.engine.problem import Job, Problem

#: Fewer maps than this: never picked.
MANY_MAPS = 16


class Im2col(BandAlgorithm):
    """Unfold the band, multiply: ``weight (O, C·kH·kW) @ columns (C·kH·kW, windows)``."""

    name = "im2col"

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.matrix: Array = np.empty((0, 0))

    @classmethod
    def offer(cls, problem: Problem) -> Candidate:
        """Return the offer; it may be picked for many maps."""
        job = problem.job
        # Per output: the copy of a window serves all maps.
        copied = job.taps / job.n_out * 2 * GATHER_NS + 2 * GATHER_NS
        cost = problem.n_outputs * (job.taps * mac_ns(job.n_out, job.dtype) + copied)
        cost += problem.n_inputs * GATHER_NS + problem.facts.n_groups * 10 * CALL_NS

        def n_bytes(rows: int) -> int:
            unfolded = rows * job.output_w * (job.taps + job.n_out)
            return band_bytes(job, job.columns, rows) + job.itemsize * unfolded

        matrix_bytes = job.itemsize * job.n_out * job.taps
        fit = fit_band(problem, n_bytes, matrix_bytes, cost, cache=8 * CACHE_BYTES)
        method, may = "every window a column, one matrix product", job.n_out >= MANY_MAPS
        return Candidate(cls.name, method, cost / fit.threads, *fit, sums=job.dtype, automatic=may)

    def load(self, weight: Array) -> Self:
        """Write each kernel out as a row."""
        self.matrix = weight.reshape(weight.shape[0], -1).astype(self.dtype)
        return self

    def correlate(self, band: Array, target: Array, scratch: Scratch) -> None:
        """Copy every window, multiply."""
        (kernel_h, kernel_w), (stride_h, stride_w) = self.job.kernel_hw, self.job.stride_hw
        dilation_h, dilation_w = self.job.dilation_hw
        height, width = target.shape[1:]
        plane, row, column = band.strides
        windows = as_strided(
            band,
            (self.job.n_in, kernel_h, kernel_w, height, width),
            (plane, row * dilation_h, column * dilation_w, row * stride_h, column * stride_w),
        )
        columns = scratch.get("columns", windows.shape, self.dtype)
        np.copyto(columns, windows)
        product = scratch.get("product", (self.job.n_out, height * width), self.dtype)
        np.matmul(self.matrix, columns.reshape(self.job.taps, -1), out=product)
        target[...] = product.reshape(target.shape)
