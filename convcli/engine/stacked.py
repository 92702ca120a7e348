"""Stacked rows: a few output rows at once are one matrix product.

The band's rows are copied kW times, each copy one tap further along, so that the taps of a row lie one under the
other. ρ output rows then are a product of a small matrix, the taps as a banded (Toeplitz) matrix of ρ·maps rows, with
kH + ρ - 1 of those stacks, and what comes out are finished rows: nothing has to be put in order afterwards. All copies
are of whole rows, so this is what small kernels on one plane want, and it does not mind interleaved planes or dilation.
Wide kernels copy too much: see :mod:`convcli.engine.blocked`.
"""

from __future__ import annotations

from math import gcd

import numpy as np

from convcli.engine.job import Job, Weight
from convcli.engine.source import Array, BandSource, Columns, Scratch, take_windows

#: Bytes of one stack of rows, small enough for a core's second-level cache together with what it makes.
STACK_BYTES = 3_000_000
#: Narrower pieces of a row than this are not worth a matrix product.
LEAST_COLUMNS = 512


class StackedProduct:
    """Correlation of one group as matrix products of ``rows_at_once`` output rows each.

    Parameters
    ----------
    job : Job
        ``lanes`` may be more than 1 where the horizontal stride is 1.
    rows_at_once : int
        Output rows in one product, ρ above.
    band_dtype : str
        Type in which the band is gathered; rows are converted to ``job.dtype`` as they are stacked.
    """

    def __init__(self, job: Job, rows_at_once: int, band_dtype: str) -> None:
        self.job, self.rows_at_once, self.band_dtype = job, rows_at_once, np.dtype(band_dtype)
        # Two columns more let every second sample be read as half of a word.
        self.columns = job.columns if job.stride_hw[1] == 1 else job.columns + 2 + job.columns % 2
        stride_h, dilation_h = job.stride_hw[0], job.dilation_hw[0]
        # Rows of one residue of the dilation: every ``step``-th output row, ``pace`` stacked rows apart.
        self.step = dilation_h // gcd(dilation_h, stride_h)
        self.pace = self.step * stride_h // dilation_h
        self.matrix = np.empty((0, 0, 0))

    def load(self, weight: Weight) -> StackedProduct:
        """Lay ``weight`` (n_out, n_in, kH, kW) out as (n_out, ρ, stacked rows)."""
        n_out, n_in, kernel_h, kernel_w = weight.shape
        shape = (n_out, self.rows_at_once, self._stacks(self.rows_at_once), n_in, kernel_w)
        matrix = np.zeros(shape, self.job.dtype)
        for row in range(self.rows_at_once):
            matrix[:, row, row * self.pace : row * self.pace + kernel_h] = weight.transpose(0, 2, 1, 3)
        self.matrix = matrix.reshape(n_out, self.rows_at_once, -1)
        return self

    def _stacks(self, n_rows: int) -> int:
        return (n_rows - 1) * self.pace + self.job.kernel_hw[0]

    def __call__(self, band: Array, target: Array, scratch: Scratch) -> None:
        """Correlate ``band`` (n_in, rows, columns, lanes) into ``target`` (n_out, rows, W, lanes)."""
        width = target.shape[2]
        tile = self._tile(band.shape[1])
        for left in range(0, width, tile):
            right = min(left + tile, width)
            stack = self._stack(band, left, right, scratch)
            self._multiply(stack, target[:, :, left:right], scratch)

    @property
    def gathers(self) -> bool:
        """Whether :meth:`gather` may take the place of a band: rows are stacked as they follow, one output a time."""
        return self.job.dilation_hw[0] == 1 and self.rows_at_once == 1

    def gather(self, source: BandSource, channels: slice, first: int, target: Array, scratch: Scratch) -> None:
        """Correlate padded rows from ``first`` on into ``target``; every copy is made from the samples themselves."""
        job, n_rows, width = self.job, self.job.rows(target.shape[1]), target.shape[2]
        tile, step = self._tile(n_rows), self.job.stride_hw[1]
        for left in range(0, width, tile):
            count = min(tile, width - left)
            stack = scratch.get("stack", (n_rows, job.n_in, job.kernel_hw[1], count, job.lanes), job.dtype)
            source.fill_taps(stack.swapaxes(0, 1), channels, first, Columns(left * step, job.dilation_hw[1], step))
            rows = stack.reshape(1, n_rows, job.n_in * job.kernel_hw[1], count * job.lanes)
            self._multiply(rows, target[:, :, left : left + count], scratch)

    def _tile(self, n_rows: int) -> int:
        per_column = n_rows * self.job.n_in * self.job.kernel_hw[1] * self.job.lanes * np.dtype(self.job.dtype).itemsize
        tile = max(STACK_BYTES // per_column, LEAST_COLUMNS // self.job.lanes)
        pieces = max(round(self.job.output_w / tile), 1)
        return -(-self.job.output_w // pieces)

    def _stack(self, band: Array, left: int, right: int, scratch: Scratch) -> Array:
        """Return (row residues, rows, n_in · kW, columns · lanes)."""
        job = self.job
        (dilation_h, dilation_w), stride_w = job.dilation_hw, job.stride_hw[1]
        n_in, n_rows, _, lanes = band.shape
        parts, count = -(-n_rows // dilation_h), right - left
        stack = scratch.get("stack", (dilation_h, parts, n_in, job.kernel_hw[1], count, lanes), job.dtype)
        for residue in range(dilation_h):
            rows = band[:, residue::dilation_h]
            into = stack[residue, : rows.shape[1]].swapaxes(0, 1)
            take_windows(rows, Columns(left * stride_w, dilation_w, stride_w), into, 0, count)
        return stack.reshape(dilation_h, parts, n_in * job.kernel_hw[1], count * lanes)

    def _multiply(self, stack: Array, target: Array, scratch: Scratch) -> None:
        dilation_h, _, depth, _ = stack.shape
        for first in range(min(self.step, target.shape[1])):
            start = first * self.job.stride_hw[0]
            rows = stack[start % dilation_h, start // dilation_h :]
            maps = target[:, first :: self.step]
            whole = maps.shape[1] // self.rows_at_once
            if whole:
                self._product(rows, maps[:, : whole * self.rows_at_once], self.matrix, scratch)
            rest = maps.shape[1] - whole * self.rows_at_once
            if rest:
                done = whole * self.rows_at_once
                matrix = self.matrix[:, :rest, : self._stacks(rest) * depth]
                self._product(rows[done * self.pace :], maps[:, done:], matrix, scratch)

    def _product(self, rows: Array, maps: Array, matrix: Array, scratch: Scratch) -> None:
        """Multiply ``matrix`` (n_out, ρ, depth) with each group of stacks, into ``maps`` (n_out, rows, W, lanes)."""
        n_out, at_once, depth = matrix.shape
        count, length = maps.shape[1] // at_once, rows.shape[2]
        steps = (at_once * self.pace * rows.strides[0], rows.strides[1], rows.itemsize)
        groups: Array = np.ndarray((count, depth, length), rows.dtype, rows, strides=steps)  # overlapping groups
        flat = matrix.reshape(n_out * at_once, depth)
        into = _rows_in_place(maps, count, at_once, length) if maps.dtype == rows.dtype else None
        if into is not None:
            np.matmul(flat, groups, out=into)
            return
        product = scratch.get("product", (count, n_out, at_once, *maps.shape[2:]), rows.dtype)
        np.matmul(flat, groups, out=product.reshape(count, n_out * at_once, length))
        finished = maps.reshape(n_out, count, at_once, *maps.shape[2:])  # a view: only one axis is split
        np.copyto(finished.swapaxes(0, 1), product, casting="unsafe")

    def matrix_bytes(self) -> int:
        """Return the bytes of the banded matrix."""
        depth = self._stacks(self.rows_at_once) * self.job.n_in * self.job.kernel_hw[1]
        return np.dtype(self.job.dtype).itemsize * depth * self.job.n_out * self.rows_at_once

    def scratch_bytes(self, n_rows: int) -> int:
        """One tile of stacks and of products."""
        band_rows = self.job.rows(n_rows) + self.job.dilation_hw[0]
        columns = min(self._tile(band_rows), self.job.output_w) * self.job.lanes
        stacks = band_rows * self.job.n_in * self.job.kernel_hw[1]
        return np.dtype(self.job.dtype).itemsize * columns * (stacks + self.job.n_out * n_rows)


def _rows_in_place(maps: Array, count: int, at_once: int, length: int) -> Array | None:
    """Return ``maps`` as (groups, rows of the product, samples) if BLAS can write there, else None."""
    n_out, n_rows, _, lanes = maps.shape
    plane, line, column, lane = maps.strides
    item = maps.itemsize
    dense = column == lanes * item and (lanes == 1 or lane == item)
    if not dense or (n_out > 1 and at_once > 1) or (plane if n_out > 1 else line) < length * item:
        return None
    flat = maps[..., 0] if lanes == 1 else maps.reshape(n_out, n_rows, length)  # a view: what is joined is dense
    return flat.swapaxes(0, 1) if n_out > 1 else flat.reshape(count, at_once, length)
