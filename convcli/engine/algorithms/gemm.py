"""Matrix products: textbook im2col, and blocks of N neighbouring outputs. They take every job, in NumPy.

A block of N outputs of a row shares its inputs: kH rows of ``L = (N - 1)·stride + kW`` samples. The taps become a
banded (Toeplitz) matrix of kH·L rows and N·maps columns, so that stride, several planes and whole banks are only
another matrix, and BLAS does the rest.

Two things keep copying small. Blocks are cut once, each as a column of rows ``(block, row, plane, L)``: moving down a
row is only an offset (the leading dimension of the matrix), so vertical windows are never copied. And dilation never
widens a block: samples are taken apart by ``position mod dilation`` first.
"""

from __future__ import annotations

from math import ceil
from typing import Self

import numpy as np
from numpy.lib.stride_tricks import as_strided

from convcli.engine.algorithms import ALL
from convcli.engine.algorithms.base import CACHE_BYTES, CALL_NS, GATHER_NS, BandAlgorithm, Candidate, Scratch
from convcli.engine.borders import Array
from convcli.engine.problem import Job, Problem

#: Least columns of a matrix product, and the price of one multiply-add in it; float64 is half as fast.
MAC_NS = ((64, 0.0185), (16, 0.021), (8, 0.025), (4, 0.035), (1, 0.06))
#: One run of neighbouring samples in a copy, of any length.
RUN_NS = 5.0
#: Output rows that a kernel of one column makes in one product.
ROWS_AT_ONCE = 16


def mac_ns(columns: int, dtype: str) -> float:
    """Return the price of one multiply-add in a product of ``columns`` columns."""
    return next(price for least, price in MAC_NS if columns >= least) * (2 if dtype == "float64" else 1)


def block_sizes(job: Job, block: int) -> tuple[int, int, int]:
    """Return (residues of a row worked on apart, blocks of each, samples of a block).

    Examples
    --------
    >>> block_sizes(Job(1, 1, (3, 3), (1, 1), (1, 1), 100, "float32"), 16)
    (1, 7, 18)
    """
    stride, dilation = job.stride_hw[1], job.dilation_hw[1]
    # With a stride, samples of one residue do not line up with one output residue: keep the gaps in the block.
    apart = dilation if stride == 1 else 1
    length = (block - 1) * stride + dilation // apart * (job.kernel_hw[1] - 1) + 1
    return apart, ceil(job.output_w / (apart * block)), length


def block_columns(job: Job, block: int) -> int:
    """Return the columns of a band that is cut into blocks."""
    apart, n_blocks, length = block_sizes(job, block)
    return max(job.columns, ((n_blocks - 1) * block * job.stride_hw[1] + length) * apart)


def block_cost(job: Job, block: int) -> float:
    """Return nanoseconds per output row of one group for blocks of ``block`` outputs."""
    apart, n_blocks, length = block_sizes(job, block)
    lines = apart * n_blocks
    multiply = job.kernel_hw[0] * job.n_in * length * job.n_out * block * mac_ns(job.n_out * block, job.dtype)
    scattered = 1 if apart == 1 else 4
    copy = job.n_in * job.stride_hw[0] * (RUN_NS + length * GATHER_NS * scattered)
    place = job.n_out * (RUN_NS + block * GATHER_NS * scattered)
    return lines * (multiply + copy + place)


def best_block(job: Job) -> int:
    """Return the cheapest number of outputs per block."""
    # Blocks far wider than a row would multiply mostly padding.
    sizes = [n for n in (1, 4, 8, 16, 24, 32, 48, 64) if n == 1 or n < 2 * job.output_w]
    return min(sizes, key=lambda n: block_cost(job, n))


def product_bytes(job: Job, block: int, n_rows: int) -> int:
    """Return the bytes of blocks and products for ``n_rows`` output rows."""
    apart, n_blocks, length = block_sizes(job, block)
    # Each row residue is rounded up to whole parts, at most dilation rows more.
    blocks = apart * n_blocks * (job.rows(n_rows) + job.dilation_hw[0]) * job.n_in * length
    return job.itemsize * (blocks + n_rows * apart * n_blocks * job.n_out * block)


class Im2col(BandAlgorithm):
    """Textbook im2col: every window becomes a column, then one product with ``weight (O, C·kH·kW)``.

    Each sample is copied kH·kW times. It serves comparisons, and layers of many maps, where the one large product
    outweighs the copies.
    """

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
        cost += problem.n_inputs * GATHER_NS + problem.n_groups * 10 * CALL_NS

        def n_bytes(rows: int) -> int:
            unfolded = rows * job.output_w * (job.taps + job.n_out)
            return job.band_bytes(job.columns, rows) + job.itemsize * unfolded

        _, _, fewest_maps, *_ = ALL[cls.name]
        matrix_bytes, may = job.itemsize * job.n_out * job.taps, job.n_out >= fewest_maps
        method, cache = "every window a column, one matrix product", 8 * CACHE_BYTES
        return cls.band_offer(method, problem, cost, n_bytes, matrix_bytes, cache=cache, automatic=may)

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


class Gemm(BandAlgorithm):
    """Correlation of one group as matrix products of ``block`` outputs (N above) each; by default the cheapest."""

    name = "gemm"
    smears = True

    def __init__(self, job: Job, block: int = 0) -> None:
        super().__init__(job)
        self.block = block or best_block(job)
        self.apart, self.n_blocks, self.length = block_sizes(job, self.block)
        self.columns = block_columns(job, self.block)
        self.matrix = np.empty((0, 0))

    @classmethod
    def offer(cls, problem: Problem) -> Candidate:
        """Return the offer with the cheapest block."""
        job = problem.job
        block = best_block(job)
        cost = problem.group_rows * block_cost(job, block) + problem.n_inputs * GATHER_NS
        cost += problem.n_groups * 30 * CALL_NS
        columns = block_columns(job, block)

        def n_bytes(rows: int) -> int:
            return job.band_bytes(columns, rows) + product_bytes(job, block, rows)

        method, cache = f"blocked matrix product of {block} outputs", 7 * CACHE_BYTES
        of_matrix = job.itemsize * job.kernel_hw[0] * job.n_in * block_sizes(job, block)[2] * job.n_out * block
        return cls.band_offer(method, problem, cost, n_bytes, of_matrix, cache=cache, block=block, settings=(block,))

    def load(self, weight: Array) -> Self:
        """Lay ``weight`` (n_out, n_in, kH, kW) out as the banded matrix."""
        super().load(weight)
        gap = self.job.dilation_hw[1] // self.apart
        self.matrix = _banded_matrix(weight.astype(self.dtype), self.block, self.length, self.job.stride_hw[1], gap)
        return self

    def correlate(self, band: Array, target: Array, scratch: Scratch) -> None:
        """Cut the band into blocks, multiply, put the products in their place."""
        job = self.job
        blocks = self._cut(band, scratch)
        n_lines, apart_h, _, n_in, length = blocks.shape
        n_rows, depth = target.shape[1], job.kernel_hw[0] * n_in * length
        line, _, row = blocks.strides[:3]
        product = scratch.get("product", (n_rows, n_lines, self.matrix.shape[1]), self.dtype)
        for phase in range(apart_h):
            # Output rows whose first input row has this residue; their starts are an arithmetic progression.
            rows = [y for y in range(min(n_rows, apart_h)) if y * job.stride_hw[0] % apart_h == phase]
            for first in rows:
                step = apart_h // np.gcd(apart_h, job.stride_hw[0])
                count = len(range(first, n_rows, step))
                start, pace = first * job.stride_hw[0] // apart_h, step * job.stride_hw[0] // apart_h
                windows = as_strided(
                    blocks[:, phase, start:], (count, n_lines, depth), (pace * row, line, blocks.itemsize)
                )
                np.matmul(windows, self.matrix, out=product[first::step])
        self._place(product, target)

    def _cut(self, band: Array, scratch: Scratch) -> Array:
        """Return (residues · blocks, row residues, rows, planes, L): the one copy of this algorithm."""
        n_in, n_rows, _ = band.shape
        apart_h, apart = self.job.dilation_hw[0], self.apart
        parts = -(-n_rows // apart_h)
        blocks = scratch.get("blocks", (apart, self.n_blocks, apart_h, parts, n_in, self.length), self.dtype)
        size, step = band.itemsize, self.block * self.job.stride_hw[1]
        for residue in range(apart_h):
            rows = band[:, residue::apart_h]
            plane, line = rows.strides[:2]
            source = as_strided(
                rows,
                (apart, self.n_blocks, rows.shape[1], n_in, self.length),
                (size, step * apart * size, line, plane, apart * size),
            )
            np.copyto(blocks[:, :, residue, : rows.shape[1]], source)
        return blocks.reshape(apart * self.n_blocks, apart_h, parts, n_in, self.length)

    def _place(self, product: Array, target: Array) -> None:
        """Move (rows, residues · blocks, n_out · N) to (n_out, rows, W)."""
        n_out, n_rows, _ = target.shape
        split = product.reshape(n_rows, self.apart, self.n_blocks, n_out, self.block)
        for residue in range(self.apart):
            part = target[:, :, residue :: self.apart]
            full, rest = divmod(part.shape[2], self.block)
            head = part[:, :, : full * self.block]
            strides = (*head.strides[:2], head.strides[2] * self.block, head.strides[2])
            blocks = as_strided(head, (n_out, n_rows, full, self.block), strides, writeable=True)
            np.copyto(blocks, split[:, residue, :full].transpose(2, 0, 1, 3))
            if rest:
                tail = split[:, residue, full, :, :rest]
                np.copyto(part[:, :, full * self.block :], tail.transpose(1, 0, 2))


def _banded_matrix(weight: Array, block: int, length: int, stride: int, gap: int) -> Array:
    """Return the taps as (kH · n_in · length, n_out · block): column (o, n) holds kernel o, moved by n strides."""
    n_out, n_in, kernel_h, kernel_w = weight.shape
    matrix = np.zeros((kernel_h, n_in, length, n_out, block), weight.dtype)
    for n in range(block):
        for c in range(kernel_w):
            matrix[:, :, n * stride + c * gap, :, n] = weight[:, :, :, c].transpose(2, 1, 0)
    return matrix.reshape(kernel_h * n_in * length, n_out * block)


class ColumnProduct:
    """Kernels of one column (n_out, kH) on one plane: output rows are a banded matrix times the rows of the band.

    Nothing is copied. ``stride`` and ``dilation`` are vertical; the horizontal stride is 1.
    """

    def __init__(self, kernels: Array, stride: int, dilation: int) -> None:
        n_out, taps = kernels.shape
        self._stride = stride
        self.depth = (ROWS_AT_ONCE - 1) * stride + (taps - 1) * dilation + 1
        self.matrix = np.zeros((n_out, ROWS_AT_ONCE, self.depth), kernels.dtype)
        for row in range(ROWS_AT_ONCE):
            self.matrix[:, row, row * stride : row * stride + (taps - 1) * dilation + 1 : dilation] = kernels

    def __call__(self, rows: Array, target: Array) -> None:
        """Correlate ``rows`` (rows, W), contiguous, into ``target`` (n_out, rows, W), contiguous rows."""
        n_rows = target.shape[1]
        for first in range(0, n_rows, ROWS_AT_ONCE):
            count = min(ROWS_AT_ONCE, n_rows - first)
            # The last product has fewer rows, and the band ends with the samples that they need.
            depth = self.depth - (ROWS_AT_ONCE - count) * self._stride
            samples = rows[first * self._stride : first * self._stride + depth]
            for matrix, into in zip(self.matrix, target, strict=True):
                np.matmul(matrix[:count, :depth], samples, out=into[first : first + count])
