"""Direct convolution, tap by tap: by the compiled loops, and in NumPy as the reference.

The loops keep sums in vector registers and read rows through the border's index maps. Nothing is unfolded: they read
samples in place, or convert one line at a time. See ``convcli/engine/native/core.h`` for the contract.
"""

from __future__ import annotations

from typing import Self

import numpy as np

import convcli.engine.native as native
from convcli.engine.algorithms.base import (
    CALL_NS,
    GATHER_NS,
    THREAD_NS,
    Algorithm,
    BandAlgorithm,
    Candidate,
    Declined,
    Piece,
    Scratch,
    TooLittleMemory,
)
from convcli.engine.borders import READABLE, Array, Source, interleaved
from convcli.engine.problem import Job, Problem
from convcli.engine.store import Tones

#: One multiply-add, and numbers in the vectors that finish a row, by instruction set. AVX2 does as many a nanosecond as
#: AVX-512 on some processors, and half as many on others.
MAC_NS = {"AVX-512": 0.0195, "AVX2": 0.0215, "NEON": 0.04}
PLAIN_MAC_NS = 0.075
NARROW = {"AVX-512": 32, "NEON": 8}
#: Fixed price of one output sample.
OUTPUT_NS = 0.25
#: Extra cost of a tap in a row of one, as a part of its price.
SHORT_ROW = 1.1
#: Columns of a kernel, and bytes of its lines that stay near; beyond, a sample comes from further away.
MOST_COLUMNS, NEAR_BYTES, FAR = 4096, 1_000_000, 1.3
#: Multiply-adds of a band, some 10 ms because nothing can interrupt it; bytes of samples that it reads.
BAND_MACS, BAND_BYTES = 500_000_000, 2_000_000
#: Bytes of maps that are made before they are copied to their place.
PRODUCT_BYTES = 500_000
#: One tap of the reference, per sample and plane, and bytes of its bands.
TAP_NS, REFERENCE_BYTES = 1.5, 2_400_000


def line_bytes(job: Job) -> int:
    """Return the bytes of one converted row of a plane; see ``lay_out`` in core.c."""
    reach, stride = (job.kernel_hw[1] - 1) * job.dilation_hw[1], job.stride_hw[1]
    # Samples are sorted by residue of the stride; the slack of 191 is there because vectors read past the last output.
    part = (job.output_w + reach // stride + 1 + 191) // 16 * 16
    return job.itemsize * (part * min(stride, reach + 1) + 16)


def core_bytes(job: Job) -> int:
    """Return the bytes that one call of the core takes."""
    (stride, dilation), kernel = (job.stride_hw[0], job.dilation_hw[0]), job.kernel_hw[0]
    # The core makes four rows together, except where stride and dilation leave windows without a line in common.
    rows = 1 if stride > 1 and dilation > 1 else 4
    ring = (rows * (dilation if stride == 1 else 1) - 1) * stride + (kernel - 1) * dilation + 1
    tables = 17 * job.n_in * ((rows - 1) * stride + kernel)
    return job.n_in * ring * line_bytes(job) + tables + 128


def band_rows(job: Job, n_rows: int) -> int:
    """Return how many output rows to make in one call: a few windows, limited in work and in samples to convert."""
    macs, row = job.taps * job.n_out * job.output_w, job.n_in * job.columns * 4
    window, stride = job.rows(1), job.stride_hw[0]
    rows = min(BAND_MACS // macs, (BAND_BYTES // row - window) // stride + 1)
    return min(max(rows, 4 * window // stride, 16), n_rows)


def direct_ns(job: Job, *, n_rows: int) -> float:
    """Return nanoseconds for ``n_rows`` output rows of one group, without gathering."""
    price = MAC_NS.get(native.simd, PLAIN_MAC_NS) * (1 + SHORT_ROW / job.kernel_hw[1] ** 2)
    if job.n_in * job.rows(4) * line_bytes(job) > NEAR_BYTES:
        price *= FAR
    narrow = NARROW.get(native.simd, 8)
    width = -(-job.output_w // narrow) * narrow
    each = width * job.taps * price * (2 if job.dtype == "float64" else 1) + job.output_w * OUTPUT_NS
    return n_rows * job.n_out * each


class Direct(Algorithm):
    """Correlation of one group by the compiled loops."""

    name = "direct"

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.taps: Array = np.empty((0, 0, 0, 0))

    @classmethod
    def offer(cls, problem: Problem) -> Candidate:
        """Return the offer."""
        job = problem.job
        if native.core is None:
            raise Declined(f"not compiled: {native.reason}")
        if job.kernel_hw[1] > MOST_COLUMNS:
            raise Declined(f"takes kernels of at most {MOST_COLUMNS} columns")
        fixed = job.itemsize * job.n_out * job.taps * problem.n_matrices
        # Bytes of a padded row of samples that the core does not read as they are.
        converted = 0 if problem.input_dtype in READABLE else job.n_in * job.columns * 2 * job.itemsize
        each = (24 + converted) * job.stride_hw[0]
        row_bytes = job.n_out * job.output_w * job.itemsize
        least = core_bytes(job) + 24 * job.columns + max(PRODUCT_BYTES // row_bytes, 1) * row_bytes
        least += converted * job.rows(1) + each
        if fixed + least > problem.memory:
            raise TooLittleMemory(fixed + least)
        rows = min(band_rows(job, problem.rows), (problem.memory - fixed - least) // each + 1)
        most = (problem.memory - fixed) // (least + (rows - 1) * each)
        n_bands = problem.n_groups * sum(-(-phase[0].n_outputs // rows) for phase in problem.phases)
        cost = direct_ns(job, n_rows=problem.group_rows) + problem.n_inputs * GATHER_NS + n_bands * 10 * CALL_NS
        # Maps of several phases are put in their place one by one.
        cost += problem.n_outputs * 3 * GATHER_NS * (len(problem.phases) > 1)
        threads = min(problem.threads, max(int(cost // THREAD_NS), 1), most)
        taken = fixed + (least + (rows - 1) * each) * threads
        return Candidate(cls.name, native.loops(), cost / threads, rows, threads, taken, most, sums=job.dtype)

    def load(self, weight: Array) -> Self:
        """Keep the taps in the type of the sums."""
        self.taps = np.ascontiguousarray(weight, self.dtype)
        return self

    def run(self, piece: Piece, scratch: Scratch) -> None:
        """Correlate into the target, or through a copy where its rows are of another type or apart."""
        source, channels, first, target, bias = piece
        job, n_rows = self.job, target.shape[1]
        samples, rows = source.window(channels, first * job.stride_hw[0], job.rows(n_rows), self.dtype)
        columns = source.column_positions(job.columns)
        own = target.dtype == self.dtype and (target.shape[2] == 1 or target.strides[2] == target.itemsize)
        # A small copy stays in the cache until it is moved.
        at_once = n_rows if own else max(PRODUCT_BYTES // (job.n_out * job.output_w * job.itemsize), 1)
        for top in range(0, n_rows, at_once):
            part = target[:, top : top + at_once]
            into = part if own else scratch.get("maps", part.shape, self.dtype)
            begin = top * job.stride_hw[0]
            needed = rows[begin : begin + job.rows(part.shape[1])]
            correlate(samples, needed, columns, self.taps, bias, into, job, source.border.value)
            if not own:
                np.copyto(part, into, casting="unsafe")

    def picture(
        self, source: Source, channels: slice, first: int, out: Array, bias: Array | None, tones: Tones, kernels: slice
    ) -> list[tuple[float, ...]] | None:
        """Correlate, combine two maps and store bytes (rows, W, lanes); None where planes do not lie side by side."""
        job, lanes = self.job, out.shape[2]
        samples, rows = source.window(channels, first * job.stride_hw[0], job.rows(len(out)), self.dtype)
        together = interleaved(samples) if lanes > 1 else samples
        if together is None or samples.dtype.kind == "f":
            return None
        planes = together[None] if lanes > 1 else samples[..., None]
        columns, taps = source.column_positions(job.columns), self.taps[kernels]
        shift = None if bias is None else bias[kernels].astype(np.float32)
        steps = (*job.stride_hw, *job.dilation_hw)
        assert native.core is not None
        found: list[tuple[float, ...]] = native.core.picture(
            planes, rows, columns, taps, shift, out, *steps, source.border.value, list(tones)
        )
        return found


def correlate(
    samples: Array, rows: Array, columns: Array, taps: Array, bias: Array | None, out: Array, job: Job, constant: float
) -> None:
    """Call the core on planes (n_in, H, W) for maps (n_out, h, w)."""
    assert native.core is not None
    shift = None if bias is None else np.ascontiguousarray(bias, taps.dtype)
    steps = (*job.stride_hw, *job.dilation_hw)
    native.core.conv(samples[..., None], rows, columns, taps, shift, out[..., None], *steps, constant)


class Reference(BandAlgorithm):
    """The per-tap product in float64, written to be read: for each tap (r, c) ``output += weight[:, :, r, c] @ pixel``.

    ``pixel`` holds the samples that the tap meets, for all outputs.
    """

    name = "reference"

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        # float64 holds float32 samples exactly, so nothing is rounded before the products.
        self.band_dtype = np.dtype(np.float64)

    @classmethod
    def offer(cls, problem: Problem) -> Candidate:
        """Return the offer; it is never picked."""
        job = problem.job
        cost = problem.n_outputs * (job.taps * TAP_NS + 4) + problem.n_groups * 10 * CALL_NS

        def n_bytes(rows: int) -> int:
            sums = rows * job.output_w * (2 * job.n_out + job.n_in)  # so far, one product, one shifted copy of pixels
            return 8 * (job.n_in * job.rows(rows) * job.columns + sums)

        method = "one matrix product per tap, float64"
        return cls.band_offer(method, problem, cost, n_bytes, cache=REFERENCE_BYTES, sums="float64", automatic=False)

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


def exact_algorithm(job: Job) -> Algorithm:
    """Return an algorithm whose outputs depend on nothing outside their windows, with sums in float64."""
    return Reference(job) if native.core is None else Direct(job._replace(dtype="float64"))
