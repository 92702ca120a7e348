"""Separable kernels: a column, then a row, for each rank of the kernel.

Kernels are written as sums of columns times rows, as few as the rounding of the sums allows. Most that qualify are one
column times one row, found in one pass. Others of ordinary size are decomposed by singular values, which would take
minutes for a large one: there a few random combinations of its columns are tested. Compiled, both passes are direct
convolutions; otherwise matrix products.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Self, TypeAlias

import numpy as np

import convcli.engine.native as native
from convcli.engine.algorithms import gemm
from convcli.engine.algorithms.base import (
    CACHE_BYTES,
    CALL_NS,
    GATHER_NS,
    BandAlgorithm,
    Candidate,
    Declined,
    Piece,
    RangeTooLarge,
    Scratch,
)
from convcli.engine.algorithms.direct import core_bytes, correlate, direct_ns
from convcli.engine.borders import READABLE, Array
from convcli.engine.problem import Job, Problem

Factors: TypeAlias = tuple[Array, Array]

#: Largest norm of the rest, relative to the kernel's.
TOLERANCE = {"float32": 2e-8, "float64": 1e-15}
#: Kernels up to this many rows or columns are decomposed whole: 5 ms.
WHOLE_PX = 129
#: Columns times rows that a larger kernel is tried with.
LARGE_RANK = 6
#: Rows compared at once, so that a kernel of 5000 × 5000 is not copied.
ROWS_COMPARED = 256


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
    """Return the second pass, of one map: every row is kept, and ranks are added up."""
    return job._replace(
        n_in=rank,
        n_out=1,
        kernel_hw=(1, job.kernel_hw[1]),
        stride_hw=(1, job.stride_hw[1]),
        dilation_hw=(1, job.dilation_hw[1]),
    )


class Separable(BandAlgorithm):
    """Correlation of one plane by columns, then rows; ``rank`` is the largest of any kernel."""

    name = "separable"
    smears = True
    adds_products = False

    def __init__(self, job: Job, rank: int) -> None:
        super().__init__(job)
        self.rank = rank
        self._row_job = row_job(job, rank)
        self._block = gemm.best_block(self._row_job)
        self._width = gemm.block_columns(self._row_job, self._block)
        self._column_taps, self._row_taps = np.empty((0, 0, 0, 0)), np.empty((0, 0, 0, 0))
        self._products: list[gemm.Gemm] = []

    @classmethod
    def offer(cls, problem: Problem) -> Candidate:
        """Return the offer."""
        job, rank = problem.job, rank_of(problem)
        if native.core is None:
            n_bytes, each, more = _product_passes(job, rank)
            calls = 20 + 15 * job.n_out * rank
        else:
            n_bytes, each, more = _compiled_passes(job, rank, problem.input_dtype)
            calls = 10 + 6 * job.n_out
        cost = problem.group_rows * each + problem.n_inputs * GATHER_NS
        matrix_bytes = job.itemsize * job.n_out * rank * (sum(job.kernel_hw) + more)
        method, cache = f"columns then rows, rank {rank}", 2 * CACHE_BYTES
        found = cls.band_offer(method, problem, cost, n_bytes, matrix_bytes, cache=cache, settings=(rank,))
        cost += -(-problem.group_rows // found.band_rows) * calls * CALL_NS
        return found._replace(nanoseconds=cost / found.threads)

    def load(self, weight: Array) -> Self:
        """Decompose ``weight`` (n_out, 1, kH, kW)."""
        super().load(weight)
        n_out = len(weight)
        columns = np.zeros((n_out, self.rank, self.job.kernel_hw[0]), self.dtype)
        rows = np.zeros((n_out, self.rank, self.job.kernel_hw[1]), self.dtype)
        for o, kernel in enumerate(weight[:, 0]):
            found = factors(kernel, self.job.dtype)
            assert found is not None, "the plan has decomposed this kernel"
            column, row = found
            # Kernels of a lower rank than the largest keep zeros in the rest.
            columns[o, : len(column)], rows[o, : len(row)] = column, row
        self._column_taps = columns.reshape(n_out * self.rank, 1, -1, 1)
        self._row_taps = rows.reshape(n_out, 1, self.rank, 1, -1)
        if native.core is None:
            stride, dilation = self.job.stride_hw[0], self.job.dilation_hw[0]
            self._column_pass = gemm.ColumnProduct(self._column_taps[:, 0, :, 0], stride, dilation)
            self._products = [gemm.Gemm(self._row_job, self._block).load(taps) for taps in self._row_taps]
        return self

    def run(self, piece: Piece, scratch: Scratch) -> None:
        """Do both passes by the compiled loops, or without them on a gathered band."""
        if native.core is None:
            super().run(piece, scratch)
            return
        source, channels, first, target, bias = piece
        job, n_rows = self.job, target.shape[1]
        samples, rows = source.window(channels, first * job.stride_hw[0], job.rows(n_rows), self.dtype)
        between = scratch.get("between", (job.n_out * self.rank, n_rows, job.columns), self.dtype)
        first_pass = column_job(job, self.rank)
        columns = source.column_positions(job.columns)
        correlate(samples, rows, columns, self._column_taps, None, between, first_pass, source.border.value)
        own = target.dtype == self.dtype and (target.shape[2] == 1 or target.strides[2] == target.itemsize)
        into = target if own else scratch.get("maps", target.shape, self.dtype)
        # The border was read by the first pass: the second one has every column it needs.
        all_rows, all_columns = np.arange(n_rows, dtype=np.int32), np.arange(job.columns, dtype=np.int32)
        for o, taps in enumerate(self._row_taps):
            part = between[o * self.rank : (o + 1) * self.rank]
            shift = None if bias is None else bias[o : o + 1]
            correlate(part, all_rows, all_columns, taps, shift, into[o : o + 1], self._row_job, 0.0)
        # Infinities of two ranks would cancel, and so would those beside a zero tap.
        if source.planes.dtype.kind not in "biu" and not np.isfinite(into.sum(dtype=np.float64)):
            raise RangeTooLarge
        if not own:
            np.copyto(target, into, casting="unsafe")

    def correlate(self, band: Array, target: Array, scratch: Scratch) -> None:
        """Do both passes as matrix products."""
        n_out, n_rows, _ = target.shape
        between = scratch.get("between", (n_out * self.rank, n_rows, self._width), self.dtype)
        between[:, :, self.job.columns :] = 0
        self._column_pass(band[0], between[:, :, : self.job.columns])
        for o, product in enumerate(self._products):
            product.correlate(between[o * self.rank : (o + 1) * self.rank], target[o : o + 1], scratch)


def rank_of(problem: Problem) -> int:
    """Return the largest rank of the kernels; decline those that are not decomposed."""
    n_in, kernel_h, kernel_w = problem.weight.shape[1:]
    if n_in > 1:
        raise Declined(f"{n_in} planes are added up: only kernels on one plane are taken apart")
    if min(kernel_h, kernel_w) == 1:
        raise Declined("the kernel is a single row or column already")
    name, most, rank = f"a {kernel_h}×{kernel_w} kernel", kernel_h * kernel_w // (kernel_h + kernel_w), 0
    for kernel in (problem.weight[: problem.job.n_out] if problem.shared else problem.weight)[:, 0]:
        found = factors(kernel, problem.job.dtype)
        if found is None:
            raise Declined(f"{name} is more than {LARGE_RANK} columns times rows")
        rank = max(rank, len(found[0]))
        if rank > most:
            raise Declined(f"{name} has rank {rank}: more work than its {kernel_h * kernel_w} taps")
    return rank


def _product_passes(job: Job, rank: int) -> tuple[Callable[[int], int], float, int]:
    """Return bytes as a function of rows, nanoseconds a row, and the matrices' numbers per column and row."""
    second = row_job(job, rank)
    block = gemm.best_block(second)
    width, length = (
        gemm.block_columns(second, block),
        (block - 1) * job.stride_hw[1] + job.kernel_hw[1] * job.dilation_hw[1],
    )
    depth = (gemm.ROWS_AT_ONCE - 1) * job.stride_hw[0] + job.rows(1)
    each = job.n_out * rank * width * depth * gemm.mac_ns(64, job.dtype) + job.n_out * gemm.block_cost(second, block)

    def n_bytes(rows: int) -> int:
        between = job.itemsize * job.n_out * rank * rows * width
        return job.band_bytes(job.columns, rows) + between + gemm.product_bytes(second, block, rows)

    return n_bytes, each, gemm.ROWS_AT_ONCE * depth + block * length


def _compiled_passes(job: Job, rank: int, input_dtype: str) -> tuple[Callable[[int], int], float, int]:
    """Return the same for direct convolutions, which need no matrices."""
    first, second = column_job(job, rank), row_job(job, rank)
    each = direct_ns(first, n_rows=1) + job.n_out * direct_ns(second, n_rows=1)
    fixed = core_bytes(first) + core_bytes(second) + 64 * job.columns
    converted = 0 if input_dtype in READABLE else 2

    def n_bytes(rows: int) -> int:
        between = rows * job.n_out * (rank * job.columns + 2 * job.output_w)
        return job.itemsize * (between + converted * job.rows(rows) * job.columns) + fixed

    return n_bytes, each, 0


def factors(kernel: Array, dtype: str) -> Factors | None:
    """Return (rank, kH) columns and (rank, kW) rows whose products add up to ``kernel``, or None.

    The rest stays below the rounding of ``dtype`` (:data:`TOLERANCE`). None only where both sides of the kernel exceed
    :data:`WHOLE_PX` and :data:`LARGE_RANK` are not enough.

    Examples
    --------
    >>> columns, rows = factors(np.outer([1.0, 2, 1], [1.0, 0, -1]), "float32")
    >>> columns.shape, rows.shape, np.allclose(columns.T @ rows, np.outer([1, 2, 1], [1, 0, -1]))
    ((1, 3), (1, 3), True)
    """
    largest = max(float(kernel.max()), -float(kernel.min()))
    if largest == 0:
        return np.zeros((1, kernel.shape[0])), np.zeros((1, kernel.shape[1]))
    # So that squares of taps of 1e200 or 1e-200 neither overflow nor vanish.
    scaled = kernel / largest
    norm = float(np.linalg.norm(scaled))
    # A decomposition cannot tell less than this from zero.
    bound = norm * max(TOLERANCE[dtype], np.finfo(np.float64).eps * max(kernel.shape))
    found = _outer_product(scaled, bound)
    if found is None:
        found = _by_values(scaled, bound) if min(kernel.shape) <= WHOLE_PX else _by_sketch(scaled, bound)
    root = np.sqrt(largest)
    return None if found is None else (found[0] * root, found[1] * root)


def _outer_product(kernel: Array, bound: float) -> Factors | None:
    """Return the column and row of the largest tap if their product is the kernel."""
    at, across = np.unravel_index(int(np.argmax(np.abs(kernel))), kernel.shape)
    column, row = kernel[:, across], kernel[at] / kernel[at, across]
    if not _is_product(kernel, column[:, None], row[None], bound):
        return None
    # Alike in size, so that float32 holds both.
    balance = np.sqrt(np.linalg.norm(row) / np.linalg.norm(column))
    return (column * balance)[None], (row / balance)[None]


def _by_values(kernel: Array, bound: float) -> Factors:
    """Return as many singular columns and rows as leave no more than ``bound``."""
    left, values, right = np.linalg.svd(kernel, full_matrices=False)
    dropped = np.sqrt(np.cumsum(values[::-1] ** 2)[::-1])  # norm of values[i:]
    rank = max(int((dropped > bound).sum()), 1)
    root = np.sqrt(values[:rank])
    return (left[:, :rank] * root).T, root[:, None] * right[:rank]


def _by_sketch(kernel: Array, bound: float) -> Factors | None:
    """Return at most :data:`LARGE_RANK` columns and rows, or None.

    Random combinations of the columns of a matrix of low rank span them (Halko, Martinsson and Tropp 2011, algorithm
    4.1); whether they do is tested, not assumed.
    """
    # A fixed seed: the same kernel must give the same picture in every run.
    mix = np.random.default_rng(0).standard_normal((kernel.shape[1], LARGE_RANK + 4))
    basis, _ = np.linalg.qr(kernel @ mix)
    small = basis.T @ kernel
    if not _is_product(kernel, basis, small, bound):
        return None
    columns, rows = _by_values(small, bound / 2)
    return (columns @ basis.T, rows) if len(rows) <= LARGE_RANK else None


def _is_product(kernel: Array, left: Array, right: Array, bound: float) -> bool:
    """Whether ``left @ right`` differs from ``kernel`` by no more than ``bound`` in norm, some rows at a time."""
    error = 0.0
    for top in range(0, len(kernel), ROWS_COMPARED):
        rest = kernel[top : top + ROWS_COMPARED] - left[top : top + ROWS_COMPARED] @ right
        error += float(np.vdot(rest, rest))
        if error > bound * bound:
            return False
    return True
