"""Direct convolution: one program per width of a kernel, in machine code, with its sums in vector registers.

Nothing is unfolded, and nothing is copied that lies in memory as it is needed (:mod:`convcli.engine.direct_rows`): the
program is told where each row of samples begins (:mod:`convcli.engine.direct_code`). Libraries do the same: libvips
made its convolutions with a run-time compiler for ten years (Orc, now Highway), oneDNN does (Xbyak).
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from convcli.engine.direct_code import PAIRS_IN_ORDER, Arguments, Shape, write_program
from convcli.engine.job import Job, Weight
from convcli.engine.source import Array, BandSource, Columns, Scratch
from convcli.errors import UsageError
from convcli.machine.processor import load_code, vector_bytes

if TYPE_CHECKING:
    from numpy.typing import NDArray

Addresses: TypeAlias = "NDArray[np.int64]"

#: Samples gathered at once: what stays in a core's second-level cache beside its outputs.
BAND_BYTES = 1_200_000
#: Multiply-adds in one call; some 60 ms.
MOST_MACS = 4_000_000_000
#: Columns of a kernel whose loop still fits into a first-level instruction cache.
MOST_COLUMNS = 256
#: Programs kept.
N_PROGRAMS = 64


@functools.lru_cache(N_PROGRAMS)
def _program(shape: Shape) -> Callable[[Any], None]:
    try:
        return load_code(write_program(shape))
    except OSError as error:
        why = f"engine direct: the system gives no memory for its program ({error.strerror})"
        raise UsageError(why, hint="--engine banded") from None


def rows_within(n_bytes: int, row_bytes: int, job: Job) -> int:
    """Return how many output rows read no more than so many bytes; windows overlap, so it is never only a few rows."""
    window, stride = job.rows(1), job.stride_hw[0]
    return max((n_bytes // row_bytes - window) // stride + 1, window // stride, 8)


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
        self.order = (PAIRS_IN_ORDER[vector] * 2)[:16]
        self.taps, self._no_bias = np.empty((0, 0, 0)), np.empty(0)

    def load(self, weight: Weight) -> Direct:
        """Take ``weight`` (n_out, n_in, kH, kW) as rows of taps, and write the program."""
        n_out, _, _, kernel_w = weight.shape
        self.taps = np.ascontiguousarray(weight.reshape(n_out, -1, kernel_w), self.band_dtype)
        self._no_bias = np.zeros(n_out, self.band_dtype)
        _program(self.shape)
        return self

    def gather(
        self, source: BandSource, channels: slice, first: int, target: Array, scratch: Scratch, bias: Array | None
    ) -> None:
        """Correlate padded rows from ``first`` on into ``target``: copies of a few at a time, as they are needed."""
        job, wide = self.job, self.n_parts > 1
        columns = Columns(0, 1, job.stride_hw[1] if wide else 1)
        count = self.part if wide else self.columns
        at_once = self.rows_at_once
        for top in range(0, target.shape[1], at_once):
            into = target[:, top : top + at_once]
            shape = (job.n_in, job.rows(into.shape[1]), self.n_parts, count, job.lanes)
            band = scratch.get("band", shape, self.band_dtype)
            source.fill_taps(band, channels, first + top * job.stride_hw[0], columns)
            plane, row = band.strides[:2]
            rows = band.ctypes.data + plane * np.arange(job.n_in)[:, None] + row * np.arange(band.shape[1])
            self.run(rows, into, scratch, bias)

    def run(self, rows: Addresses, target: Array, scratch: Scratch, bias: Array | None = None) -> None:
        """Run the program on padded rows that begin at ``rows`` (n_in, rows), addresses in memory, into ``target``.

        ``bias`` (n_out, lanes or 1) is added to the sums, in the type of the target.
        """
        dense = target.dtype == self.band_dtype and target[0, 0].flags.c_contiguous
        own = dense and (bias is None or bias.shape[1] == 1)
        n_rows, step = target.shape[1], self.job.stride_hw[0]
        # What is put elsewhere is put there while it is in the cache.
        at_once = self._rows_a_call(target.shape[2]) if dense else self.rows_at_once
        for top in range(0, n_rows, at_once):
            into = target[:, top : top + at_once]
            maps = into if dense else scratch.get("product", into.shape, self.band_dtype)
            self._run_maps(rows[:, top * step :], maps, bias if own else None)
            if not own:
                self.put(maps, into, bias)

    def put(self, maps: Array, target: Array, bias: Array | None) -> None:
        """Put finished sums (n_out, rows, W, lanes) in their place, if they are not there, and add the bias."""
        if maps is not target:
            np.copyto(target, maps, casting="unsafe")
        if bias is not None:
            target += bias[:, None, None].astype(target.dtype)

    def _run_maps(self, rows: Addresses, maps: Array, bias: Array | None) -> None:
        program, job = _program(self.shape), self.job
        tap_step = job.dilation_hw[0] * rows.itemsize
        window_step = job.kernel_hw[0] * tap_step
        added = self._no_bias if bias is None else np.ascontiguousarray(bias[:, 0], self.band_dtype)
        arguments = Arguments(
            rows=rows.ctypes.data,
            plane_step=rows.strides[0] - window_step,
            row_step=job.stride_hw[0] * rows.itemsize,
            tap_step=tap_step,
            window_step=window_step,
            n_planes=job.n_in,
            taps=self.taps.ctypes.data,
            taps_step=self.taps.strides[0],
            biases=added.ctypes.data,
            n_maps=job.n_out,
            out=maps.ctypes.data,
            out_map_step=maps.strides[0],
            out_step=maps.strides[1],
            out_bytes=maps.shape[2] * maps.shape[3] * maps.itemsize,
            n_rows=maps.shape[1],
        )
        if self.shape.step == 2:
            arguments.order[:] = self.order
        program(ctypes.byref(arguments))

    @property
    def rows_at_once(self) -> int:
        """How many output rows to make while the samples that they read are in the cache."""
        line = self.job.n_in * max(self.columns, self.part * self.n_parts) * self.job.lanes * self.band_dtype.itemsize
        return rows_within(BAND_BYTES, line, self.job)

    def _rows_a_call(self, n_columns: int) -> int:
        """Return how many rows to make in one call: nobody can interrupt it."""
        return max(MOST_MACS // (n_columns * self.job.lanes * self.job.taps * self.job.n_out), 1)

    def matrix_bytes(self) -> int:
        """Return the bytes of the taps."""
        return self.job.n_out * self.job.taps * self.band_dtype.itemsize

    def scratch_bytes(self, n_rows: int, input_dtype: str) -> int:
        """Return the bytes of one band as gathered, of copies made on the way, and of its outputs."""
        job, item = self.job, self.band_dtype.itemsize
        at_once = min(self.rows_at_once, n_rows)
        band = job.rows(at_once) * max(self.columns, self.part * self.n_parts)
        product = job.n_out * at_once * job.output_w
        gathered = band * job.n_in * (item + np.dtype(input_dtype).itemsize)
        return job.lanes * (gathered + product * item) + 32 * job.rows(at_once) * job.n_in
