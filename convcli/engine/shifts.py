"""Shift and add: one pass over the band per non-zero tap, in a buffer that stays in the cache.

A kernel becomes a short program of whole-buffer additions. The band is one flat row of samples: a tap is an offset into
it, and the columns where a window would run over the end of a line are computed and thrown away, which costs less than
leaving them out. Taps of equal size share one multiplication; a kernel that is exactly a column times a row runs as
the two; ``1 4 6 4 1`` and its like run as repeated sums of neighbours.

Integer taps on 8-bit samples run in 16-bit integers where no sum can leave their range: exact, and twice as fast as
float32.
"""

from __future__ import annotations

import numpy as np

from convcli.engine.job import Job, Weight
from convcli.engine.source import Array, Scratch
from convcli.record import NamedTuple


class Term(NamedTuple):
    """Taps of one magnitude: ``size · (Σ plus - Σ minus)``; a tap is (plane, row, column)."""

    size: float
    plus: tuple[tuple[int, int, int], ...]
    minus: tuple[tuple[int, int, int], ...]


class Step(NamedTuple):
    """One pass: ``terms`` summed, or neighbours along ``axis`` added (1) or subtracted (-1) for each of ``pairs``."""

    terms: tuple[Term, ...]
    axis: int = 0
    pairs: tuple[int, ...] = ()

    @property
    def n_operations(self) -> int:
        """Passes over the buffer."""
        return len(self.pairs) + sum(len(t.plus) + len(t.minus) + (t.size != 1) for t in self.terms) - bool(self.terms)


def terms_of(weight: Weight) -> tuple[Term, ...]:
    """Return the non-zero taps of (n_in, kH, kW) by magnitude, the largest group first.

    Examples
    --------
    >>> [(t.size, len(t.plus), len(t.minus)) for t in terms_of(np.array([[[1.0, 0, -1], [2, 0, -2], [1, 0, -1]]]))]
    [(1.0, 2, 2), (2.0, 1, 1)]
    """
    groups: dict[float, tuple[list[tuple[int, int, int]], list[tuple[int, int, int]]]] = {}
    for at in np.argwhere(weight):
        plane, row, column = (int(n) for n in at)
        tap = float(weight[plane, row, column])
        groups.setdefault(abs(tap), ([], []))[tap < 0].append((plane, row, column))
    ordered = sorted(groups.items(), key=lambda item: (-len(item[1][0]) - len(item[1][1]), item[0]))
    return tuple(Term(size, tuple(plus), tuple(minus)) for size, (plus, minus) in ordered)


def neighbour_factors(taps: Weight) -> tuple[int, ...] | None:
    """Return the signs s whose product of (1 + s·z) has exactly these taps, or None.

    Examples
    --------
    >>> neighbour_factors(np.array([1.0, 4, 6, 4, 1])), neighbour_factors(np.array([1.0, 3, 1])) is None
    ((1, 1, 1, 1), True)
    """
    n = len(taps) - 1
    for n_minus in range(n + 1):
        signs = (1,) * (n - n_minus) + (-1,) * n_minus
        product = np.ones(1)
        for sign in signs:
            product = np.convolve(product, [1.0, float(sign)])
        if np.array_equal(product, taps):
            return signs
    return None


def exact_factors(kernel: Weight) -> tuple[Weight, Weight] | None:
    """Return an integer column and row whose outer product is exactly ``kernel``, or None.

    Examples
    --------
    >>> column, row = exact_factors(np.array([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]]))
    >>> column.tolist(), row.tolist()
    ([1.0, 2.0, 1.0], [1.0, 0.0, -1.0])
    """
    if not kernel.any() or not np.array_equal(kernel, np.rint(kernel)) or np.abs(kernel).max() > 2**24:
        return None
    lead = kernel[np.flatnonzero(kernel.any(axis=1))[0]]
    row = lead / np.gcd.reduce(lead.astype(np.int64))
    pivot = int(np.flatnonzero(row)[0])
    column = kernel[:, pivot] / row[pivot]
    if not np.array_equal(np.outer(column, row), kernel) or not np.array_equal(column, np.rint(column)):
        return None
    return column, row


def _line_step(taps: Weight, axis: int) -> Step:
    shape = (1, -1, 1) if axis == 0 else (1, 1, -1)
    direct = Step(terms_of(taps.reshape(shape)))
    pairs = neighbour_factors(taps)
    if pairs is None or len(pairs) >= direct.n_operations:
        return direct
    return Step((), axis, pairs)


def program_of(weight: Weight, *, stride_one: bool) -> tuple[Step, ...]:
    """Return the cheapest passes for one map's kernel (n_in, kH, kW)."""
    direct = (Step(terms_of(weight)),)
    factors = exact_factors(weight[0]) if stride_one and weight.shape[0] == 1 and min(weight.shape[1:]) > 1 else None
    if factors is None:
        return direct
    two = (_line_step(factors[0], 0), _line_step(factors[1], 1))
    return two if sum(s.n_operations for s in two) < direct[0].n_operations else direct


class ShiftAdd:
    """Correlation of one group by shifted additions.

    Parameters
    ----------
    job : Job
    band_dtype : str
        ``job.dtype``, or ``int16`` where no sum can leave its range.
    """

    def __init__(self, job: Job, band_dtype: str) -> None:
        self.job, self.band_dtype, self.columns = job, np.dtype(band_dtype), job.columns
        self.programs: list[tuple[Step, ...]] = []

    def load(self, weight: Weight) -> ShiftAdd:
        """Write the programs for ``weight`` (n_out, n_in, kH, kW)."""
        self.programs = [program_of(kernel, stride_one=self.job.stride_hw == (1, 1)) for kernel in weight]
        return self

    def __call__(self, band: Array, target: Array, scratch: Scratch) -> None:
        """Correlate ``band`` (n_in, rows, columns, lanes) into ``target`` (n_out, rows, W, lanes)."""
        one = self.job.stride_hw == (1, 1)
        parts = band.reshape(1, 1, *band.shape[:2], -1) if one else self._apart(band, scratch)
        flat = _FlatBand(parts, self.job, scratch)
        n_rows, width, lanes = target.shape[1:]
        for o, program in enumerate(self.programs):
            total = flat.run(program, n_rows, width * lanes)
            shown = total.reshape(n_rows, flat.line)[:, : width * lanes].reshape(n_rows, width, lanes)
            np.copyto(target[o], shown, casting="unsafe")

    def _apart(self, band: Array, scratch: Scratch) -> Array:
        """Return the band by residues of the stride, (stride_h, stride_w, n_in, rows, columns · lanes)."""
        stride_h, stride_w = self.job.stride_hw
        n_in, rows, columns, lanes = band.shape  # several lanes only where stride_w is 1
        n_rows, n_columns = -(-rows // stride_h), -(-columns // stride_w)
        parts = scratch.get("apart", (stride_h, stride_w, n_in, n_rows, n_columns, lanes), self.band_dtype)
        for r, c in np.ndindex(stride_h, stride_w):
            piece = band[:, r::stride_h, c::stride_w]
            parts[r, c, :, : piece.shape[1], : piece.shape[2]] = piece
        return parts.reshape(stride_h, stride_w, n_in, n_rows, n_columns * lanes)

    def matrix_bytes(self) -> int:
        """Nothing worth counting: a program is a few tuples."""
        return 0

    def scratch_bytes(self, n_rows: int) -> int:
        """Three sums, and the band taken apart where there is a stride."""
        stride_h, stride_w = self.job.stride_hw
        rows, columns = -(-self.job.rows(n_rows) // stride_h), -(-self.job.columns // stride_w) * self.job.lanes
        apart = self.job.n_in * stride_h * stride_w if stride_h * stride_w > 1 else 0
        return self.band_dtype.itemsize * rows * columns * (3 + apart)


class _FlatBand:
    """A band as one row of samples, line after line, in which a tap is an offset."""

    def __init__(self, parts: Array, job: Job, scratch: Scratch) -> None:
        self.stride_h, self.stride_w, self.n_in, self.rows, self.line = parts.shape
        self.samples = parts.reshape(-1)
        self.job = job
        size = (self.rows * self.line,)
        self.sums = [scratch.get(f"sum{i}", size, parts.dtype) for i in range(2)]
        self.term = scratch.get("term", size, parts.dtype)

    def run(self, program: tuple[Step, ...], n_rows: int, width: int) -> Array:
        """Return the sums as ``n_rows`` lines; what lies beyond ``width`` in a line means nothing."""
        samples, turn = self.samples, 0
        length = n_rows * self.line
        for index, step in enumerate(program):
            last = index == len(program) - 1
            # The column pass keeps every column, because the row pass still looks to the right.
            count = length - self.line + width if last else length
            for sign, keep in self._turns(step, count):
                out = self.sums[turn % 2]
                gap = keep[1]
                (np.add if sign > 0 else np.subtract)(samples[: keep[0]], samples[gap : gap + keep[0]], out[: keep[0]])
                samples, turn = out, turn + 1
            if not step.pairs:
                out = self.sums[turn % 2]
                self._sum_terms(step.terms, samples, out[:count])
                samples, turn = out, turn + 1
        return samples[:length]

    def _turns(self, step: Step, count: int) -> list[tuple[int, tuple[int, int]]]:
        """Return (sign, (samples to make, gap)) of each sum of neighbours; each still needs those to come."""
        gap = self.job.dilation_hw[0] * self.line if step.axis == 0 else self.job.dilation_hw[1] * self.job.lanes
        after = range(len(step.pairs) - 1, -1, -1)
        return [(sign, (count + gap * left, gap)) for sign, left in zip(step.pairs, after, strict=True)]

    def _tap(self, samples: Array, tap: tuple[int, int, int], count: int) -> Array:
        plane, row, column = tap
        row, column = row * self.job.dilation_hw[0], column * self.job.dilation_hw[1]
        part = (row % self.stride_h * self.stride_w + column % self.stride_w) * self.n_in + plane
        start = (part * self.rows + row // self.stride_h) * self.line + column // self.stride_w * self.job.lanes
        return samples[start : start + count]

    def _sum_terms(self, terms: tuple[Term, ...], samples: Array, out: Array) -> None:
        if not terms:
            out[:] = 0
        for index, term in enumerate(terms):
            views = [self._tap(samples, tap, len(out)) for tap in (*term.plus, *term.minus)]
            total = out if index == 0 else self.term[: len(out)]
            # Taps that are all negative are summed as positive ones, and the sum is taken away.
            negative = not term.plus
            n_plus = len(views) if negative else len(term.plus)
            value = views[0]
            for position, view in enumerate(views[1:], start=1):
                (np.add if position < n_plus else np.subtract)(value, view, total)
                value = total
            size = -term.size if negative and index == 0 else term.size
            if size != 1 or (index == 0 and value is not total):
                np.multiply(value, out.dtype.type(size), total)
                value = total
            if index > 0:
                (np.subtract if negative else np.add)(out, value, out)
