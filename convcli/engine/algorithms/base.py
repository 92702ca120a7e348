"""The interface of an algorithm: an offer from integers, matrices or spectra from taps, and the work of a band.

Prices are nanoseconds on one core of 3.5 GHz; only their ratios matter. They are those of AVX2 and AVX-512 alike unless
an algorithm says otherwise, and ``benchmarks/engine.py`` prints how far each choice was from the best.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from convcli.engine.bands import Scratch
from convcli.engine.borders import Array, Source
from convcli.engine.problem import Job, Problem

#: Converting a sample while gathering it, or copying one into place; one call of a NumPy function.
GATHER_NS, CALL_NS = 0.15, 1500.0
#: Working set that stays in a core's second-level cache.
CACHE_BYTES = 600_000
#: Threads for which algorithms are compared.
REFERENCE_THREADS = 4
#: Below this much work a second thread costs more than it brings.
THREAD_NS = 150_000


class TooLittleMemory(Exception):  # noqa: N818
    """Not even one row fits; ``n_bytes`` would."""

    def __init__(self, n_bytes: int) -> None:
        super().__init__(n_bytes)
        self.n_bytes = n_bytes


class RangeTooLarge(Exception):  # noqa: N818
    """Samples span a range that this algorithm's sums are too coarse for."""


class Candidate(NamedTuple):
    """One algorithm's offer.

    Attributes
    ----------
    engine, method : str
        The algorithm's name, and how it works, in a few words.
    nanoseconds : float
        Estimated time on ``threads`` threads.
    band_rows, threads, memory_bytes, most_threads : int
        See :class:`Fit`.
    sums : str
        Type of the sums.
    block : int
        Outputs in a row of a matrix product, or columns of a transform's tile; 0 where there is neither.
    settings : tuple
        Arguments of the algorithm's class after the job.
    automatic : bool
        May be picked without being asked for.
    score_ns : float
        Time on a machine of :data:`REFERENCE_THREADS` threads, where that does not follow from the rest.
    """

    engine: str
    method: str
    nanoseconds: float
    band_rows: int
    threads: int
    memory_bytes: int
    most_threads: int = REFERENCE_THREADS
    sums: str = "float32"
    block: int = 0
    settings: tuple[Any, ...] = ()
    automatic: bool = True
    score_ns: float = 0.0

    @property
    def score(self) -> float:
        """Nanoseconds on a machine of four threads, or as many as the memory allows.

        The choice must not depend on this machine's threads: algorithms round differently, and a batch gives the same
        pictures everywhere.
        """
        if self.score_ns:
            return self.score_ns
        return self.nanoseconds * self.threads / max(min(self.most_threads, REFERENCE_THREADS), 1)


class Fit(NamedTuple):
    """A band's output rows, the threads, the bytes they take together, and the most threads that the memory allows."""

    band_rows: int
    threads: int
    memory_bytes: int
    most_threads: int


def fit_band(
    problem: Problem,
    n_bytes: Callable[[int], int],
    matrix_bytes: int,
    cost_ns: float,
    *,
    cache: int = CACHE_BYTES,
    threads: int = 0,
) -> Fit:
    """Return the largest band that stays in the cache and within the memory, or raise :class:`TooLittleMemory`.

    ``n_bytes`` gives the bytes that one thread takes for a number of output rows: a constant and an amount per row.
    ``matrix_bytes`` are those of one set of kernels, ``cost_ns`` is the time on one thread, ``cache`` the bytes of a
    band where there is more memory, ``threads`` the workers (0: as many as the work is worth).
    """
    least, fixed = n_bytes(1), matrix_bytes * problem.n_matrices
    each, memory = max(n_bytes(2) - least, 1), problem.memory - fixed
    if least > memory:
        raise TooLittleMemory(least + fixed)
    workers = min(threads or problem.threads, max(int(cost_ns // THREAD_NS), 1), memory // least)
    within_memory = (memory // workers - least) // each + 1
    # Windows overlap from band to band: tall kernels want tall bands, also where they leave the cache.
    rows = min(max((cache - least) // each + 1, min(problem.job.rows(1) * 2, 64)), within_memory, problem.rows)
    share = -(-problem.rows * problem.facts.n_groups // workers) if workers > 1 else rows
    rows = min(rows, max(share, 1))
    return Fit(rows, workers, (least + (rows - 1) * each) * workers + fixed, memory // least)


class Algorithm:
    """One algorithm with its kernels, without state between bands; safe on several threads at once.

    It is made of a job and of the ``settings`` of its :class:`Candidate`.
    """

    #: Its name for ``--engine``.
    name: ClassVar[str]
    #: May do all planes as one group where they have the same kernels.
    folds: ClassVar[bool] = False
    #: Adds up products as they are, so that whole numbers give exact sums.
    adds_products: ClassVar[bool] = True

    def __init__(self, job: Job) -> None:
        self.job = job
        self.dtype = np.dtype(job.dtype)

    @classmethod
    def offer(cls, problem: Problem) -> Candidate | str:
        """Return the price and the settings, or the reason to decline.

        Raises
        ------
        TooLittleMemory
            If not even one row fits.
        """
        raise NotImplementedError

    def load(self, weight: Array) -> Self:
        """Make the matrices or spectra of ``weight`` (n_out, n_in, kH, kW), float64."""
        raise NotImplementedError

    def run(
        self, source: Source, channels: slice, first: int, target: Array, scratch: Scratch, bias: Array | None
    ) -> None:
        """Correlate a group's ``channels`` into ``target`` (n_out, rows, W), from the phase's output row ``first`` on.

        ``target`` has any strides and floating type; ``bias`` (n_out,) is float64.
        """
        raise NotImplementedError


class BandAlgorithm(Algorithm):
    """An algorithm that works on a band of padded samples, gathered beforehand."""

    #: A sample that is not finite reaches outputs whose windows miss it, through zeros of a matrix or a transform.
    smears: ClassVar[bool] = False

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        #: Columns of the band: at least :attr:`Job.columns`; those beyond hold zeros.
        self.columns = job.columns
        self.band_dtype = self.dtype
        #: Makes the algorithm for bands whose samples are not finite or span too large a range.
        self.make_exact: Callable[[Job], Algorithm] | None = None
        self._exact: Algorithm | None = None
        self.weight = np.empty((0, 0, 0, 0))

    def load(self, weight: Array) -> Self:
        """Keep the taps, for bands that need the exact algorithm."""
        self.weight = weight
        return self

    def correlate(self, band: Array, target: Array, scratch: Scratch) -> None:
        """Correlate ``band`` (n_in, rows, columns), contiguous, into ``target`` (n_out, rows, W).

        Raises
        ------
        RangeTooLarge
            If the sums would be too coarse.
        """
        raise NotImplementedError

    def run(
        self, source: Source, channels: slice, first: int, target: Array, scratch: Scratch, bias: Array | None
    ) -> None:
        """Gather the band, correlate it and add the bias."""
        job = self.job
        shape = (channels.stop - channels.start, job.rows(target.shape[1]), self.columns)
        band = scratch.get("band", shape, self.band_dtype)
        source.fill(band[:, :, : job.columns], channels, first * job.stride_hw[0])
        band[:, :, job.columns :] = 0  # never NaN: zero taps meet these
        is_float = source.planes.dtype.kind not in "biu"
        try:
            if self.smears and is_float and not np.isfinite(np.vdot(band, band)):
                raise RangeTooLarge
            self.correlate(band, target, scratch)
        except RangeTooLarge:
            self.exact().run(source, channels, first, target, scratch, bias)
            return
        if bias is not None:
            target += bias[:, None, None].astype(target.dtype)

    def exact(self) -> Algorithm:
        """Return the algorithm whose outputs depend on nothing outside their windows."""
        if self._exact is None:
            assert self.make_exact is not None, f"{self.name} was made without an exact algorithm"
            self._exact = self.make_exact(self.job).load(self.weight)
        return self._exact


def band_bytes(job: Job, columns: int, n_rows: int) -> int:
    """Return the bytes of a band for a number of output rows, in the type of the sums."""
    return job.itemsize * job.n_in * job.rows(n_rows) * columns
