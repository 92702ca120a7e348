"""Separable kernels: a column, then a row, for each rank of the kernel.

A kernel is taken apart into columns times rows (:mod:`convcli.engine.algorithms.lowrank`); one that needs too many is
refused. Compiled, both passes are direct convolutions; else they are matrix products.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self

import numpy as np

from convcli.engine import native
from convcli.engine.algorithms.base import BandAlgorithm, band_bytes
from convcli.engine.algorithms.direct import core_bytes, correlate, direct_ns
from convcli.engine.algorithms.gemm import (
    ROWS_AT_ONCE,
    ColumnProduct,
    Gemm,
    best_block,
    block_columns,
    block_cost,
    mac_ns,
    product_bytes,
)
from convcli.engine.algorithms.lowrank import LARGE_RANK, factors
from convcli.engine.bands import READABLE, Array, Scratch, Source
from convcli.engine.job import Job
from convcli.engine.problem import CACHE_BYTES, CALL_NS, GATHER_NS, Candidate, Problem, fit_band


def column_job(job: Job, rank: int) -> Job:
    """Return the first pass: every column is kept."""
    return job._replace(
        kernel_hw=(job.kernel_hw[0], 1),
        stride_hw=(job.stride_hw[0], 1),
        dilation_hw=(job.dilation_hw[0], 1),
        n_out=job.n_out * rank,
        output_w=job.columns,
    )


def row_job(job: Job, rank: int) -> Job:
    """Return the second pass, of one map: every row is kept, and the ranks are added up."""
    return job._replace(
        n_in=rank,
        n_out=1,
        kernel_hw=(1, job.kernel_hw[1]),
        stride_hw=(1, job.stride_hw[1]),
        dilation_hw=(1, job.dilation_hw[1]),
    )


class Separable(BandAlgorithm):
    """Correlation of one plane by columns, then rows.

    Parameters
    ----------
    job : Job
        ``n_in`` is 1.
    rank : int
        Products per kernel, the most of any.
    """

    name = "separable"
    smears = True

    def __init__(self, job: Job, rank: int) -> None:
        super().__init__(job)
        self.rank = rank
        self._row_job = row_job(job, rank)
        self._block = best_block(self._row_job)
        self._width = block_columns(self._row_job, self._block)
        self.columns = job.columns
        self._column_taps, self._row_taps = np.empty((0, 0, 0, 0)), np.empty((0, 0, 0, 0))
        self._products: list[Gemm] = []

    @classmethod
    def offer(cls, problem: Problem) -> Candidate | str:
        """Return the offer, or why the kernels are not taken apart."""
        rank = rank_of(problem)
        if isinstance(rank, str):
            return rank
        job = problem.job
        first, second = column_job(job, rank), row_job(job, rank)
        if native.core is None:
            n_bytes, each = _numpy_bytes_and_cost(job, rank)
            calls = 20 + 15 * job.n_out * rank
        else:
            each = direct_ns(first, n_rows=1) + job.n_out * direct_ns(second, n_rows=1)
            calls = 10 + 6 * job.n_out
            taken = core_bytes(first) + core_bytes(second)
            converted = 0 if problem.input_dtype in READABLE else 2

            def n_bytes(rows: int) -> int:
                between = rows * job.n_out * (rank * job.columns + 2 * job.output_w)
                return job.itemsize * (between + converted * job.rows(rows) * job.columns) + taken + 64 * job.columns

        cost = problem.group_rows * each + problem.n_inputs * GATHER_NS
        matrix_bytes = job.itemsize * job.n_out * rank * (sum(job.kernel_hw) + _matrix_taps(job))
        rows, threads, memory, most = fit_band(problem, n_bytes, matrix_bytes, cost, cache=2 * CACHE_BYTES)
        cost += -(-problem.group_rows // rows) * calls * CALL_NS
        method = f"columns then rows, rank {rank}"
        return Candidate(
            cls.name,
            method,
            cost / threads,
            rows,
            threads,
            memory,
            most,
            sums=job.dtype,
            rank=rank,
            adds_products=False,
        )

    def load(self, weight: Array) -> Self:
        """Take ``weight`` (n_out, 1, kH, kW) apart."""
        super().load(weight)
        n_out = len(weight)
        columns = np.zeros((n_out, self.rank, self.job.kernel_hw[0]), self.dtype)
        rows = np.zeros((n_out, self.rank, self.job.kernel_hw[1]), self.dtype)
        for o, kernel in enumerate(weight[:, 0]):
            found = factors(kernel, self.job.dtype)
            assert found is not None, "the plan has taken this kernel apart"
            column, row = found
            columns[o, : len(column)], rows[o, : len(row)] = column, row
        self._column_taps = columns.reshape(n_out * self.rank, 1, -1, 1)
        self._row_taps = rows.reshape(n_out, 1, self.rank, 1, -1)
        if native.core is None:
            stride, dilation = self.job.stride_hw[0], self.job.dilation_hw[0]
            self._column_pass = ColumnProduct(self._column_taps[:, 0, :, 0], stride, dilation)
            self._products = [Gemm(self._row_job, self._block).load(taps) for taps in self._row_taps]
        return self

    def run(
        self, source: Source, channels: slice, first: int, target: Array, scratch: Scratch, bias: Array | None
    ) -> None:
        """Do both passes by the compiled loops; without them gather a band."""
        if native.core is None:
            super().run(source, channels, first, target, scratch, bias)
            return
        job, n_rows = self.job, target.shape[1]
        samples, rows = source.window(channels, first * job.stride_hw[0], job.rows(n_rows), self.dtype)
        between = scratch.get("between", (job.n_out * self.rank, n_rows, job.columns), self.dtype)
        first_pass = column_job(job, self.rank)
        columns = source.column_positions(job.columns)
        correlate(samples, rows, columns, self._column_taps, None, between, first_pass, source.border.value)
        own = target.dtype == self.dtype and (target.shape[2] == 1 or target.strides[2] == target.itemsize)
        into = target if own else scratch.get("maps", target.shape, self.dtype)
        all_rows, all_columns = np.arange(n_rows, dtype=np.int32), np.arange(job.columns, dtype=np.int32)
        for o, taps in enumerate(self._row_taps):
            part = between[o * self.rank : (o + 1) * self.rank]
            shift = None if bias is None else bias[o : o + 1]
            correlate(part, all_rows, all_columns, taps, shift, into[o : o + 1], self._row_job, 0.0)
        # Infinities of two ranks would cancel, and so would those beside a zero tap.
        if source.planes.dtype.kind not in "biu" and not np.isfinite(into.sum(dtype=np.float64)):
            self.exact().run(source, channels, first, target, scratch, bias)
        elif not own:
            np.copyto(target, into, casting="unsafe")

    def correlate(self, band: Array, target: Array, scratch: Scratch) -> None:
        """Do both passes as matrix products."""
        n_out, n_rows, _ = target.shape
        between = scratch.get("between", (n_out * self.rank, n_rows, self._width), self.dtype)
        between[:, :, self.job.columns :] = 0
        self._column_pass(band[0], between[:, :, : self.job.columns])
        for o, product in enumerate(self._products):
            product.correlate(between[o * self.rank : (o + 1) * self.rank], target[o : o + 1], scratch)


def rank_of(problem: Problem) -> int | str:
    """Return into how many columns and rows the kernels are taken apart, or why they are not."""
    facts = problem.facts
    kernel_h, kernel_w = facts.kernel_hw
    if facts.n_in > 1:
        return f"{facts.n_in} planes are added up: only kernels on one plane are taken apart"
    if min(kernel_h, kernel_w) == 1:
        return "the kernel is a single row or column already"
    most = kernel_h * kernel_w // (kernel_h + kernel_w)
    rank = 0
    for kernel in (problem.weight[: facts.n_out] if facts.shared else problem.weight)[:, 0]:
        found = factors(kernel, problem.dtype)
        if found is None:
            return f"a {kernel_h}×{kernel_w} kernel is more than {LARGE_RANK} columns times rows"
        rank = max(rank, len(found[0]))
        if rank > most:
            return f"a {kernel_h}×{kernel_w} kernel has rank {rank}: more work than its {kernel_h * kernel_w} taps"
    return rank


def _numpy_bytes_and_cost(job: Job, rank: int) -> tuple[Callable[[int], int], float]:
    """Return the bytes for so many rows, and nanoseconds a row, of both passes as matrix products."""
    second = row_job(job, rank)
    block = best_block(second)
    width = block_columns(second, block)
    depth = (ROWS_AT_ONCE - 1) * job.stride_hw[0] + job.rows(1)
    each = job.n_out * rank * width * depth * mac_ns(64, job.dtype) + job.n_out * block_cost(second, block)

    def n_bytes(rows: int) -> int:
        between = job.itemsize * job.n_out * rank * rows * width
        return band_bytes(job, job.columns, rows) + between + product_bytes(second, block, rows)

    return n_bytes, each


def _matrix_taps(job: Job) -> int:
    """Return the numbers of the passes' matrices beyond the taps, where there are any."""
    if native.core is not None:
        return 0
    second = row_job(job, 1)
    block = best_block(second)
    depth = (ROWS_AT_ONCE - 1) * job.stride_hw[0] + job.rows(1)
    return ROWS_AT_ONCE * depth + block * ((block - 1) * job.stride_hw[1] + job.kernel_hw[1] * job.dilation_hw[1])
