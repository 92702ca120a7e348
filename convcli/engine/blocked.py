"""Blocked GEMM: N neighbouring outputs of a row are one row of a matrix product.

Textbook im2col unfolds the window of every output. Here a block of N outputs shares its inputs: kH rows of
``L = (N - 1)·stride + kW`` samples. The taps become a banded (Toeplitz) matrix of kH·L rows and N·maps columns, so that
stride, several planes and whole banks are only another matrix, and BLAS does the rest.

Two things keep copying small. Blocks are cut once, each as a column of rows ``(block, row, plane, L)``: the kH rows of
an output row then lie one after the other, and moving down a row is only an offset (the leading dimension of the
matrix), so vertical windows are never copied. And dilation never widens a block: samples are taken apart by
``position mod dilation`` first.
"""

from __future__ import annotations

from math import ceil

import numpy as np
from numpy.lib.stride_tricks import as_strided

from convcli.engine.job import Job, Weight
from convcli.engine.source import Array, Scratch


class BlockedProduct:
    """Correlation of one group as matrix products of ``block`` outputs each.

    Parameters
    ----------
    job : Job
        ``lanes`` may be more than 1 where the horizontal stride is 1: lanes are a dilation like any other.
    block : int
        Outputs of a row in one product, N above.
    """

    def __init__(self, job: Job, block: int) -> None:
        self.job, self.block = job, block
        self.band_dtype = np.dtype(job.dtype)
        stride_w, dilation_w = job.stride_hw[1], job.dilation_hw[1]
        # With a stride, samples of one residue do not line up with one output residue: keep the gaps in the block.
        self.apart = dilation_w if stride_w == 1 else 1
        gap = dilation_w // self.apart
        self.length = (block - 1) * stride_w + gap * (job.kernel_hw[1] - 1) + 1
        self.n_blocks = ceil(job.output_w / (self.apart * block))
        self.columns = max(job.columns, ((self.n_blocks - 1) * block * stride_w + self.length) * self.apart)
        self.gap = gap
        self.matrix = np.empty((0, 0))

    def load(self, weight: Weight) -> BlockedProduct:
        """Lay ``weight`` (n_out, n_in, kH, kW) out as the banded matrix."""
        self.matrix = _banded_matrix(
            weight.astype(self.job.dtype), self.block, self.length, self.job.stride_hw[1], self.gap
        )
        return self

    def __call__(self, band: Array, target: Array, scratch: Scratch) -> None:
        """Correlate ``band`` (n_in, rows, columns, lanes) into ``target`` (n_out, rows, W, lanes)."""
        job = self.job
        if self._one_product(band, target, scratch):
            return
        blocks = self._cut(band, scratch)
        n_lines, apart_h, _, n_in, length = blocks.shape
        n_rows, depth = target.shape[1], job.kernel_hw[0] * n_in * length
        line, _, row = blocks.strides[:3]
        if apart_h == 1 and self._in_place(blocks, target, scratch):
            return
        product = scratch.get("product", (n_rows, n_lines, self.matrix.shape[1]), job.dtype)
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

    def _one_product(self, band: Array, target: Array, scratch: Scratch) -> bool:
        """Do a single row of taps on one plane as one product for all rows; else do nothing and return False."""
        job, (n_out, n_rows, width, lanes) = self.job, target.shape
        if job.kernel_hw[0] * job.n_in * n_out * lanes * self.apart * job.stride_hw[0] > 1 or target.dtype != job.dtype:
            return False
        line, step = band.strides[1], self.block * job.stride_hw[1] * band.itemsize
        blocks = scratch.get("blocks", (n_rows, self.n_blocks, self.length), self.band_dtype)
        np.copyto(blocks, as_strided(band, blocks.shape, (line, step, band.itemsize)))
        whole = width == self.n_blocks * self.block and target[0, ..., 0].flags.c_contiguous
        maps = target if whole else scratch.get("product", (n_rows, self.n_blocks * self.block), job.dtype)
        np.matmul(blocks.reshape(-1, self.length), self.matrix, out=maps.reshape(-1, self.block))
        if not whole:
            target[0, ..., 0] = maps[:, :width]
        return True

    def _in_place(self, blocks: Array, target: Array, scratch: Scratch) -> bool:
        """Multiply into ``target`` itself if its rows are runs of blocks; else do nothing and return False."""
        n_out, n_rows, width, lanes = target.shape
        line_bytes, item = target.strides[1], target.itemsize
        if n_out * lanes * self.apart > 1 or target.dtype != blocks.dtype or target.strides[2] != item:
            return False
        n_lines, _, _, n_in, length = blocks.shape
        line, _, row = blocks.strides[:3]
        depth, pace = self.job.kernel_hw[0] * n_in * length, self.job.stride_hw[0] * row
        windows = as_strided(blocks, (n_rows, n_lines, depth), (pace, line, item))
        full = width // self.block
        if full:
            into = as_strided(target, (n_rows, full, self.block), (line_bytes, self.block * item, item))
            np.matmul(windows[:, :full], self.matrix, out=into)
        if width > full * self.block:
            rest = scratch.get("product", (n_rows, 1, self.block), blocks.dtype)
            np.matmul(windows[:, full:], self.matrix, out=rest)
            target[0, :, full * self.block :, 0] = rest[:, 0, : width - full * self.block]
        return True

    def _cut(self, band: Array, scratch: Scratch) -> Array:
        """Return (lanes · residues · blocks, row residues, rows, planes, L): the one copy of this algorithm."""
        n_in, n_rows, _, lanes = band.shape
        apart_h, apart = self.job.dilation_hw[0], self.apart
        parts = -(-n_rows // apart_h)
        blocks = scratch.get(
            "blocks", (lanes, apart, self.n_blocks, apart_h, parts, n_in, self.length), self.band_dtype
        )
        size, step = band.itemsize, self.block * self.job.stride_hw[1]
        for residue in range(apart_h):
            rows = band[:, residue::apart_h]
            plane, line = rows.strides[:2]
            source = as_strided(
                rows,
                (lanes, apart, self.n_blocks, rows.shape[1], n_in, self.length),
                (size, lanes * size, step * apart * lanes * size, line, plane, apart * lanes * size),
            )
            np.copyto(blocks[:, :, :, residue, : rows.shape[1]], source)
        return blocks.reshape(lanes * apart * self.n_blocks, apart_h, parts, n_in, self.length)

    def _place(self, product: Array, target: Array) -> None:
        """Move (rows, lanes · residues · blocks, n_out · N) to (n_out, rows, W, lanes)."""
        n_out, n_rows, _, lanes = target.shape
        split = product.reshape(n_rows, lanes, self.apart, self.n_blocks, n_out, self.block)
        for residue in range(self.apart):
            part = target[:, :, residue :: self.apart]
            count = part.shape[2]
            full = count // self.block
            shape = (n_out, n_rows, full, self.block, lanes)
            head = part[:, :, : full * self.block]
            strides = (*head.strides[:2], head.strides[2] * self.block, *head.strides[2:])
            blocks = as_strided(head, shape, strides, writeable=True)
            np.copyto(blocks, split[:, :, residue, :full].transpose(3, 0, 2, 4, 1))
            if count > full * self.block:
                tail = split[:, :, residue, full, :, : count - full * self.block]
                np.copyto(part[:, :, full * self.block :], tail.transpose(2, 0, 3, 1))

    def matrix_bytes(self) -> int:
        """Return the bytes of the banded matrix."""
        depth = self.job.kernel_hw[0] * self.job.n_in * self.length
        return self.band_dtype.itemsize * depth * self.job.n_out * self.block

    def scratch_bytes(self, n_rows: int) -> int:
        """Blocks and products."""
        lines = self.job.lanes * self.apart * self.n_blocks
        blocks = lines * (self.job.rows(n_rows) + self.job.dilation_hw[0]) * self.job.n_in * self.length
        return self.band_dtype.itemsize * (blocks + n_rows * lines * self.job.n_out * self.block)


def _banded_matrix(weight: Array, block: int, length: int, stride: int, gap: int) -> Array:
    """Return the taps as (kH · n_in · length, n_out · block): column (o, n) holds kernel o, moved by n strides."""
    n_out, n_in, kernel_h, kernel_w = weight.shape
    matrix = np.zeros((kernel_h, n_in, length, n_out, block), weight.dtype)
    for n in range(block):
        for c in range(kernel_w):
            matrix[:, :, n * stride + c * gap, :, n] = weight[:, :, :, c].transpose(2, 1, 0)
    return matrix.reshape(kernel_h * n_in * length, n_out * block)
