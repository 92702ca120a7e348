"""Bands of one image: which rows of which group, where they go, and threads that share them out."""

from __future__ import annotations

import _thread
import contextlib
import threading
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from convcli.engine.algorithms import Algorithm
from convcli.engine.bands import Array, Planes, Scratch, ScratchPool, Source
from convcli.engine.borders import Border
from convcli.engine.phases import Phase


class Band(NamedTuple):
    """Rows of a phase, ``first`` to ``last``, of one group."""

    group: int
    first: int
    last: int


class Work:
    """One phase of one image: its bands, and how each is done.

    Parameters
    ----------
    algorithms : list of Algorithm
        One a group.
    phase : Phase
    planes : ndarray of shape (C, H, W) or RowSource
    border : Border
    out : ndarray of shape (O, rows, oW)
    top : int
        The output row that is ``out[:, 0]``.
    bias : ndarray of shape (O,), float64, or None
    folded : bool
        All planes are done as one group.
    """

    def __init__(
        self,
        algorithms: list[Algorithm],
        phase: Phase,
        planes: Planes,
        border: Border,
        out: Array,
        top: int,
        bias: Array | None,
        *,
        folded: bool,
    ) -> None:
        self.algorithms = algorithms[:1] if folded else algorithms
        self.phase, self.out, self.top = phase, out, top
        self.bias = bias if bias is None else bias.reshape(len(self.algorithms), -1)
        self.source = Source(planes, phase[0].before, phase[1].before, border)

    def bands(self, top: int, bottom: int, n_rows: int) -> Iterator[Band]:
        """Yield bands of ``n_rows`` rows of the phase, for output rows ``top`` to ``bottom``."""
        axis = self.phase[0]
        start = max(-(-(top - axis.first) // axis.step), 0)
        stop = min(-(-(bottom - axis.first) // axis.step), axis.n_outputs)
        for group in range(len(self.algorithms)):
            for first in range(start, stop, n_rows):
                yield Band(group, first, min(first + n_rows, stop))

    def __call__(self, band: Band, scratch: Scratch) -> None:
        """Do one band.

        Sums that integers could overflow were refused by the plan; float samples may be as large as they like, and
        infinity is then the right answer.
        """
        n_groups = len(self.algorithms)
        per_group = self.source.planes.shape[0] // n_groups
        channels = slice(band.group * per_group, (band.group + 1) * per_group)
        bias = None if self.bias is None else self.bias[band.group]
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            self.algorithms[band.group].run(self.source, channels, band.first, self._target(band), scratch, bias)

    def _target(self, band: Band) -> Array:
        """Return where one band goes, (n_out, rows, W)."""
        rows, columns = self.phase
        per_group = self.out.shape[0] // len(self.algorithms)
        begin = rows.first + band.first * rows.step - self.top
        end = begin + (band.last - band.first - 1) * rows.step + 1
        maps = self.out[band.group * per_group : (band.group + 1) * per_group]
        return maps[:, begin : end : rows.step, columns.first :: columns.step]


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
