"""Direct convolution: one program per kernel width, in machine code made for it, with its sums in vector registers.

Nothing is unfolded and nothing copied that lies in memory as it is needed: the program is told where each row of samples
begins (:mod:`convcli.engine.direct_code`), so rows beyond the image are the border's index map and cost nothing. Only
outputs whose windows leave the image to the left or right, and samples of another type, are gathered first. Libraries
do the same: libvips made its convolutions with a run-time compiler for ten years (Orc, now Highway), oneDNN does (Xbyak).
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convcli.engine.direct_code import PAIRS_IN_ORDER, Arguments, Shape, write_program
from convcli.engine.job import Job, Weight
from convcli.engine.machine import load_code, vector_bytes
from convcli.engine.source import Array, BandSource, Columns, Scratch

#: Samples gathered at once: what stays in a core's second-level cache beside its outputs.
BAND_BYTES = 400_000
#: Columns of a kernel whose program still fits into a first-level instruction cache.
MOST_COLUMNS = 256
#: Programs kept.
N_PROGRAMS = 64
Addresses = NDArray[np.int64]


@functools.lru_cache(N_PROGRAMS)
def _program(shape: Shape) -> Callable[[Any], None]:
    return load_code(write_program(shape))


class Direct:
    """Correlation of one group, output row by output row.

    Parameters
    ----------
    job : Job
        ``output_w`` times ``lanes`` outputs are a vector at least; ``lanes`` more than 1 only where the horizontal
        stride is 1.
    vector : {32, 64}, optional
        Bytes of a vector; by default the processor's.
    """

    def __init__(self, job: Job, vector: int = 0) -> None:
        self.job, self.band_dtype = job, np.dtype(job.dtype)
        item = self.band_dtype.itemsize
        vector = vector or vector_bytes()
        stride, gap = job.stride_hw[1], job.dilation_hw[1]
        taps = [tap * gap for tap in range(job.kernel_hw[1])]
        #: Fewest output columns in one go.
        self.least = -(-vector // (item * job.lanes))
        #: Every how many samples are neighbours: wider strides are gathered so, as ``n_parts`` rows beside another.
        self.n_parts = stride if stride > 2 else 1
        #: Samples from an output's first tap to the last sample it reads.
        self.reach = max(taps) | 1 if stride == 2 else max(taps)
        self.columns = (job.output_w - 1) * stride + self.reach + 1
        self.part = job.output_w + max(taps) // stride
        if self.n_parts > 1:
            taps = [tap % stride * self.part + tap // stride for tap in taps]
        step = 2 if stride == 2 else 1
        self.shape = Shape(tuple(tap * job.lanes * item for tap in taps), step, item, vector)
        self.taps = np.empty((0, 0, 0))

    def load(self, weight: Weight) -> Direct:
        """Take ``weight`` (n_out, n_in, kH, kW) as rows of taps, and write the program."""
        n_out, _, _, kernel_w = weight.shape
        self.taps = np.ascontiguousarray(weight.reshape(n_out, -1, kernel_w), self.band_dtype)
        _program(self.shape)
        return self

    def __call__(self, band: Array, target: Array, scratch: Scratch) -> None:
        """Correlate ``band`` (n_in, rows, columns, lanes) into ``target`` (n_out, rows, W, lanes)."""
        step = self.job.stride_hw[1]
        if self.n_parts == 1:
            self._correlate(band[:, :, None], target, scratch)
            return
        rows = scratch.get("parts", (*band.shape[:2], self.n_parts, self.part, 1), band.dtype)
        for part in range(self.n_parts):
            samples = band[:, :, part::step][:, :, : self.part]
            rows[:, :, part, : samples.shape[2]] = samples
        self._correlate(rows, target, scratch)

    def gather(self, source: BandSource, channels: slice, first: int, target: Array, scratch: Scratch) -> None:
        """Correlate padded rows from ``first`` on into ``target``, where possible from the samples as they lie."""
        width = target.shape[2]
        samples = source.dense(channels, self.band_dtype) if self.n_parts == 1 else None
        low, high = self._inside(source, width) if samples is not None else (0, 0)
        if samples is None or high - low < self.least:
            self._gather(source, channels, first, target, 0, scratch)
            return
        if low > 0:
            self._gather(source, channels, first, target[:, :, : max(low, self.least)], 0, scratch)
        if high < width:
            left = min(high, width - self.least)
            self._gather(source, channels, first, target[:, :, left:], left, scratch)
        self._in_place(source, samples, first, target[:, :, low:high], low, scratch)

    def _inside(self, source: BandSource, width: int) -> tuple[int, int]:
        """Return the first output column and the last, exclusive, that read nothing beyond the image's sides."""
        stride = self.job.stride_hw[1]
        low = min(max(-(-source.left // stride), 0), width)
        return low, max(min((source.width - 1 - self.reach + source.left) // stride + 1, width), low)

    def _in_place(
        self, source: BandSource, samples: Array, first: int, target: Array, left: int, scratch: Scratch
    ) -> None:
        """Correlate rows of the image where they lie; outputs from column ``left`` on, none beyond its sides."""
        job = self.job
        plane, line, column, _ = samples.strides
        begin = samples.ctypes.data + (left * job.stride_hw[1] - source.left) * column
        at = source.row_positions(first, job.rows(target.shape[1])).astype(np.int64)
        planes = begin + plane * np.arange(samples.shape[0], dtype=np.int64)[:, None]
        rows = planes + line * at
        if (at < 0).any():
            n_columns = (target.shape[2] - 1) * job.stride_hw[1] + self.reach + 1
            beyond = scratch.get("beyond", (n_columns, job.lanes), self.band_dtype)
            beyond[...] = source.border.value
            rows[:, at < 0] = beyond.ctypes.data
        at_once = target.shape[1] if job.n_out == 1 else self._rows_at_once(samples.shape[2])
        self._run(rows, target, at_once, scratch)

    def _gather(
        self, source: BandSource, channels: slice, first: int, target: Array, left: int, scratch: Scratch
    ) -> None:
        """Correlate a copy of what the outputs from column ``left`` on read."""
        job, stride = self.job, self.job.stride_hw[1]
        wide = self.n_parts > 1
        count = self.part if wide else (target.shape[2] - 1) * stride + self.reach + 1
        at_once = self._rows_at_once(self.n_parts * count)
        for top in range(0, target.shape[1], at_once):
            into = target[:, top : top + at_once]
            shape = (job.n_in, job.rows(into.shape[1]), self.n_parts, count, job.lanes)
            band = scratch.get("band", shape, self.band_dtype)
            columns = Columns(left * stride, 1, stride if wide else 1)
            source.fill_taps(band, channels, first + top * job.stride_hw[0], columns)
            self._correlate(band, into, scratch)

    def _correlate(self, band: Array, target: Array, scratch: Scratch) -> None:
        """Correlate ``band`` (n_in, rows, parts, columns, lanes)."""
        planes, rows = (np.arange(size, dtype=np.int64) for size in band.shape[:2])
        begin = band.ctypes.data + planes[:, None] * band.strides[0] + rows * band.strides[1]
        self._run(begin, target, target.shape[1], scratch)

    def _run(self, rows: Addresses, target: Array, at_once: int, scratch: Scratch) -> None:
        """Run the program on padded rows that begin at ``rows`` (n_in, rows), ``at_once`` output rows at a time."""
        job = self.job
        outputs, taps = np.arange(target.shape[1]), np.arange(job.kernel_hw[0])
        window = outputs[:, None] * job.stride_hw[0] + taps * job.dilation_hw[0]
        table = np.ascontiguousarray(rows[:, window].swapaxes(0, 1))  # (output rows, n_in, kH)
        dense = target.dtype == self.band_dtype and target[0, 0].flags.c_contiguous
        at_once = at_once if dense else min(at_once, self._rows_at_once(target.shape[2]))
        for top in range(0, target.shape[1], at_once):
            into = target[:, top : top + at_once]
            maps = into if dense else scratch.get("product", into.shape, self.band_dtype)
            self._run_maps(table[top : top + at_once], maps)
            if not dense:
                np.copyto(into, maps, casting="unsafe")

    def _run_maps(self, table: Addresses, maps: Array) -> None:
        program = _program(self.shape)
        _, n_rows, width, lanes = maps.shape
        arguments = Arguments(
            rows=table.ctypes.data,
            rows_step=table.strides[0],
            out_step=maps.strides[1],
            out_bytes=width * lanes * maps.itemsize,
            n_rows=n_rows,
            order=PAIRS_IN_ORDER[self.shape.vector_bytes],
        )
        for kernel, one in zip(self.taps, maps, strict=True):
            arguments.taps, arguments.out = kernel.ctypes.data, one.ctypes.data
            program(ctypes.byref(arguments))

    def _rows_at_once(self, n_columns: int) -> int:
        """Return how many output rows to make from one band of so many columns."""
        line = self.job.n_in * n_columns * self.job.lanes * self.band_dtype.itemsize
        return max((BAND_BYTES // line - self.job.rows(1)) // self.job.stride_hw[0] + 1, self.job.kernel_hw[0] // 4, 8)

    def matrix_bytes(self) -> int:
        """Return the bytes of the taps."""
        return self.job.n_out * self.job.taps * self.band_dtype.itemsize

    def scratch_bytes(self, n_rows: int) -> int:
        """One band as gathered, its parts, and its outputs; addresses."""
        job, item = self.job, self.band_dtype.itemsize
        columns = max(self.columns, self.n_parts * self.part)
        at_once = min(self._rows_at_once(columns), n_rows)
        band = job.n_in * job.rows(at_once) * columns * job.lanes * item
        product = job.n_out * at_once * job.output_w * job.lanes * item
        return band + product + 16 * n_rows * job.n_in * job.kernel_hw[0]
