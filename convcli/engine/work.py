"""Bands of one image: gathered, correlated, put where they belong, and handed out to threads."""

from __future__ import annotations

import _thread
import contextlib
import threading
from collections.abc import Iterator

import numpy as np

from convcli.engine.direct import Direct
from convcli.engine.direct_rows import Edge, RowsInPlace
from convcli.engine.job import Correlator, Job
from convcli.engine.phases import Phase
from convcli.engine.plan import ConvPlan
from convcli.engine.source import Array, BandSource, Planes, Scratch, ScratchPool
from convcli.engine.stacked import StackedProduct
from convcli.engine.taps import Taps
from convcli.record import NamedTuple


class Band(NamedTuple):
    """Rows of a phase, ``first`` to ``last``, of one group; read in place, all but the edges or only those."""

    group: int
    first: int
    last: int
    edges: bool = False


class Work:
    """One phase of one image: its bands, and how each is done."""

    def __init__(
        self,
        correlators: list[Correlator | Direct],
        job: Job,
        phase: Phase,
        planes: Planes,
        plan: ConvPlan,
        out: Array,
        top: int,
        bias: Array | None,
        weight: Array,
    ) -> None:
        self.correlators, self.job, self.phase, self.out, self.top, self.bias = correlators, job, phase, out, top, bias
        self.source = BandSource(planes, phase[0].before, phase[1].before, plan.border, lanes=job.lanes)
        self.n_groups = 1 if job.lanes > 1 else plan.groups
        self.weight = weight
        self.in_place: RowsInPlace | None = None
        # Zero taps times infinity, and everything in a tile of a transform, would smear what is not finite.
        # One stacked row at a time has no such zeros.
        smears = plan.engine in ("separable", "fft") or (plan.engine == "banded" and plan.rows_at_once != 1)
        self.watch = smears and correlators[0].band_dtype.kind == "f"

    def bands(self, top: int, bottom: int, n_rows: int, pieces: int) -> Iterator[Band]:
        """Yield bands of ``n_rows``, or ``pieces``, in rows of the phase, for output rows ``top`` to ``bottom``."""
        axis = self.phase[0]
        start = max(-(-(top - axis.first) // axis.step), 0)
        stop = min(-(-(bottom - axis.first) // axis.step), axis.n_outputs)
        self.in_place = self._rows_in_place(start, stop) if start < stop else None
        if self.in_place is not None:  # nothing is gathered: bands need not fit into a cache
            n_rows = max(n_rows, -(-(stop - start) // pieces))
        for group in range(self.n_groups):
            if self.in_place is not None and self.in_place.has_edges:
                yield Band(group, start, stop, edges=True)
            for first in range(start, stop, n_rows):
                yield Band(group, first, min(first + n_rows, stop))

    def _rows_in_place(self, start: int, stop: int) -> RowsInPlace | None:
        direct = self.correlators[0]
        if not isinstance(direct, Direct) or direct.n_parts > 1:
            return None
        samples, edge = self.source.dense(direct.band_dtype), Edge(direct, self.source.left, self.source.width)
        if samples is None or not edge.leaves_inside:
            return None
        return RowsInPlace(direct, edge, self.source, samples, start, stop)

    def __call__(self, band: Band, scratch: Scratch) -> None:
        """Gather one band, correlate it, add the bias.

        Sums that integers could overflow were refused by the plan; float samples may be as large as they like, and
        infinity is then the right answer.
        """
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            self._run(band, scratch)

    def _run(self, band: Band, scratch: Scratch) -> None:
        group, first, last, edges = band
        job, correlator = self.job, self.correlators[group]
        channels = slice(0, 1) if job.lanes > 1 else slice(group * job.n_in, (group + 1) * job.n_in)
        target = self._target(group, first, last)
        bias = self._bias(group)
        if isinstance(correlator, Direct):
            if self.in_place is None:
                correlator.gather(self.source, channels, first * job.stride_hw[0], target, scratch, bias)
            else:
                make = self.in_place.edges if edges else self.in_place.inside
                make(correlator, channels, first, target, scratch, bias)
            return
        if isinstance(correlator, StackedProduct) and correlator.gathers and self.source.in_memory:
            correlator.gather(self.source, channels, first * job.stride_hw[0], target, scratch)
        else:
            self._correlate(correlator, band, channels, target, scratch)
        if bias is not None:
            target += bias[:, None, None].astype(target.dtype)

    def _bias(self, group: int) -> Array | None:
        """Return the bias of a group's maps, (n_out, lanes)."""
        if self.bias is None:
            return None
        bias = self.bias.reshape(-1, self.job.n_out)
        return bias[group][:, None] if self.job.lanes == 1 else bias.T

    def _correlate(self, correlator: Correlator, band: Band, channels: slice, target: Array, scratch: Scratch) -> None:
        job, first = self.job, band.first
        shape = (job.n_in, job.rows(band.last - first), correlator.columns, job.lanes)
        samples = scratch.get("band", shape, correlator.band_dtype)
        self.source.fill(samples[:, :, : job.columns], channels, first * job.stride_hw[0])
        samples[:, :, job.columns :] = 0  # never NaN: zero taps meet these
        if self.watch and not np.isfinite(np.vdot(samples, samples)):
            self._reference(band.group, first, band.last, target, scratch)
        else:
            correlator(samples, target, scratch)

    def _reference(self, group: int, first: int, last: int, target: Array, scratch: Scratch) -> None:
        """Do a band that holds NaN or infinity (or squares to it) tap by tap."""
        job = self.job
        channels = slice(0, 1) if job.lanes > 1 else slice(group * job.n_in, (group + 1) * job.n_in)
        band = scratch.get("reference", (job.n_in, job.rows(last - first), job.columns, job.lanes), np.float64)
        self.source.fill(band, channels, first * job.stride_hw[0])
        taps = Taps(job).load(self.weight[group * job.n_out : (group + 1) * job.n_out])
        for lane in range(job.lanes):
            taps(band[..., lane : lane + 1], target[..., lane : lane + 1], scratch)

    def _target(self, group: int, first: int, last: int) -> Array:
        """Return where one band goes, (n_out, rows, W, lanes)."""
        rows, columns = self.phase
        n_out, lanes = self.job.n_out, self.job.lanes
        begin = rows.first + first * rows.step - self.top
        area = self.out[
            ..., begin : begin + (last - first - 1) * rows.step + 1 : rows.step, columns.first :: columns.step
        ]
        if lanes > 1:
            grouped = area if area.ndim == 4 else area.reshape(lanes, n_out, *area.shape[1:])
            return grouped.transpose(1, 2, 3, 0)
        if area.ndim == 4:
            return area[group, ..., None]
        return area[group * n_out : (group + 1) * n_out, ..., None]


class _Crew:
    """Threads that share bands out in order. The calling one begins at once and never waits for one to wake up."""

    def __init__(self, bands: list[tuple[Work, Band]], pool: ScratchPool) -> None:
        self._queue, self._pool = iter(bands), pool
        self._state = threading.Condition()
        self._n_busy = 0
        self.errors: list[BaseException] = []

    def help(self) -> None:
        """Do bands until there are none, or one has failed."""
        entry = self._next(begins=True)
        if entry is None:  # woken too late: nobody waits for this thread
            return
        scratch = self._pool.take()
        try:
            while entry is not None:
                work, band = entry
                work(band, scratch)
                entry = self._next()
        except BaseException as error:  # noqa: BLE001  (raised again by the calling thread)
            self.errors.append(error)
        finally:
            self._pool.put(scratch)
            with self._state:
                self._n_busy -= 1
                self._state.notify_all()

    def _next(self, *, begins: bool = False) -> tuple[Work, Band] | None:
        with self._state:
            entry = None if self.errors else next(self._queue, None)
            self._n_busy += begins and entry is not None
            return entry

    def wait(self) -> None:
        """Wait until nobody is at a band."""
        with self._state:
            self._state.wait_for(lambda: self._n_busy == 0)


def run_bands(bands: list[tuple[Work, Band]], pool: ScratchPool, threads: int) -> None:
    """Hand bands out, in order, to so many threads (the calling one is the first); the first error is raised."""
    crew = _Crew(bands, pool)
    for _ in range(min(threads, len(bands)) - 1):
        with contextlib.suppress(RuntimeError):  # no more threads than the system allows
            # Not threading.Thread, whose start waits until the thread runs.
            _thread.start_new_thread(crew.help, ())
    crew.help()
    crew.wait()
    if crew.errors:
        raise crew.errors[0]
