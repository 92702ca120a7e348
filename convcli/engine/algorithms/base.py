"""The interface of an algorithm: an offer from integers, matrices or spectra from taps, and the work of a band.

Prices are nanoseconds on one core of 3.5 GHz; only their ratios matter. They are those of AVX2 and AVX-512 alike unless
an algorithm says otherwise, and ``benchmarks/engine.py`` prints how far each choice was from the best.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from importlib import import_module
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Self

import numpy as np

from convcli.engine.algorithms import ALL
from convcli.engine.borders import Array, Source
from convcli.engine.problem import Job, Problem
from convcli.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import DTypeLike

#: Converting a sample while gathering it, or copying one into place; one call of a NumPy function.
GATHER_NS, CALL_NS = 0.15, 1500.0
#: Working set that stays in a core's second-level cache.
CACHE_BYTES = 600_000
#: Threads for which algorithms are compared.
REFERENCE_THREADS = 4
#: Below this much work a second thread costs more than it brings.
THREAD_NS = 150_000


def format_bytes(n_bytes: int) -> str:
    """Return a number of bytes in words, rounded up so that the printed amount is enough.

    Examples
    --------
    >>> format_bytes(900), format_bytes(2049), format_bytes(600 * 2**20)
    ('900 bytes', '3 KiB', '600 MiB')
    """
    if n_bytes < 1024:
        return f"{n_bytes} bytes"
    if n_bytes < 100 * 2**20:
        return f"{-(-n_bytes // 2**10)} KiB"
    return f"{-(-n_bytes // 2**20)} MiB"


class Declined(Exception):  # noqa: N818
    """An algorithm does not take the job; the message says why."""


class TooLittleMemory(Declined):
    """Not even one row fits; ``n_bytes`` would."""

    def __init__(self, n_bytes: int) -> None:
        super().__init__(f"needs {format_bytes(n_bytes)} of memory")
        self.n_bytes = n_bytes

    def refusal(self, what: str) -> UsageError:
        """Return the error that says how much memory ``what`` needs."""
        words = format_bytes(self.n_bytes)
        flag = words.replace(" bytes", "").replace(" KiB", "K").replace(" MiB", "M")  # as --memory reads it
        # Beyond a TiB a flag was mistyped: more memory is no advice.
        hint = f"--memory {flag}" if self.n_bytes < 2**40 else "less padding or dilation"
        return UsageError(f"{what} needs at least {words} of memory", hint=hint)


class RangeTooLarge(Exception):  # noqa: N818
    """Samples are not finite, or span a range that this algorithm's sums are too coarse for."""


class Scratch:
    """Named buffers of one worker, reused from band to band so that memory is touched once.

    Examples
    --------
    >>> scratch = Scratch()
    >>> scratch.get("a", (2, 3), "float32").shape
    (2, 3)
    >>> scratch.get("a", (6,), "float32").base is scratch.get("a", (2, 2), "float32").base
    True
    """

    def __init__(self) -> None:
        self._buffers: dict[str, Array] = {}

    def get(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> Array:
        """Return an uninitialised contiguous array; reuse the memory of the last one of that name if it is enough."""
        # Bytes, so that one buffer serves arrays of several types.
        n_bytes = prod(shape) * np.dtype(dtype).itemsize
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < n_bytes:
            buffer = None
            self._buffers.pop(name, None)  # never hold the old one and the new one
            buffer = self._buffers[name] = np.empty(n_bytes, np.uint8)
        return buffer[:n_bytes].view(dtype).reshape(shape)


class ScratchPool:
    """Scratches that workers borrow and reuse from image to image; as many as there were workers at once."""

    def __init__(self) -> None:
        self._free: deque[Scratch] = deque()

    @contextlib.contextmanager
    def borrow(self) -> Iterator[Scratch]:
        """Lend one."""
        try:
            # deque's pop and append are atomic: no lock is needed between threads.
            scratch = self._free.pop()
        except IndexError:
            scratch = Scratch()
        try:
            yield scratch
        finally:
            self._free.append(scratch)


class Candidate(NamedTuple):
    """One algorithm's offer: ``engine`` is its name, and ``method`` how it works, in a few words.

    It takes ``nanoseconds`` on ``threads`` threads, in bands of ``band_rows`` output rows and with ``memory_bytes`` in
    all; the memory allows ``most_threads``. ``sums`` is the type of the sums; ``block`` are the outputs in a row of a
    matrix product, or the columns of a transform's tile, else 0; ``settings`` are arguments of the algorithm's class
    after the job. ``automatic``: it may be picked without being asked for. ``score_ns`` is the time on a machine of
    :data:`REFERENCE_THREADS` threads, where that does not follow from the rest.
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


class Piece(NamedTuple):
    """A band to make: ``target`` (n_out, rows, W) gets the rows of a group, from the phase's output row ``first`` on.

    ``channels`` are the group's planes. The target has any strides and floating type; ``bias`` (n_out,) is float64.
    """

    source: Source
    channels: slice
    first: int
    target: Array
    bias: Array | None


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
        self.weight = np.empty((0, 0, 0, 0))

    @classmethod
    def offer(cls, problem: Problem) -> Candidate:
        """Return the price and the settings; raise :class:`Declined` for a job that it does not take."""
        raise NotImplementedError

    @classmethod
    def band_offer(
        cls,
        method: str,
        problem: Problem,
        cost_ns: float,
        n_bytes: Callable[[int], int],
        matrix_bytes: int = 0,
        *,
        cache: int = CACHE_BYTES,
        threads: int = 0,
        **more: Any,
    ) -> Candidate:
        """Return the offer with the largest band that stays in the cache and within the memory.

        ``cost_ns`` is the time on one thread; ``n_bytes`` gives the bytes that one thread takes for a number of output
        rows: a constant and an amount per row. ``matrix_bytes`` are those of one set of kernels, ``cache`` the bytes of
        a band where there is more memory, ``threads`` the workers (0: as many as the work is worth).
        """
        least, fixed = n_bytes(1), matrix_bytes * problem.n_matrices
        each, memory = max(n_bytes(2) - least, 1), problem.memory - fixed
        if least > memory:
            raise TooLittleMemory(least + fixed)
        workers = min(threads or problem.threads, max(int(cost_ns // THREAD_NS), 1), memory // least)
        within_memory = (memory // workers - least) // each + 1
        # Windows overlap from band to band: tall kernels want tall bands, also where they leave the cache.
        rows = min(max((cache - least) // each + 1, min(problem.job.rows(1) * 2, 64)), within_memory, problem.rows)
        share = -(-problem.rows * problem.n_groups // workers) if workers > 1 else rows
        rows = min(rows, max(share, 1))
        taken = (least + (rows - 1) * each) * workers + fixed
        more = {"sums": problem.job.dtype, **more}
        return Candidate(cls.name, method, cost_ns / workers, rows, workers, taken, memory // least, **more)

    def load(self, weight: Array) -> Self:
        """Make the matrices or spectra of ``weight`` (n_out, n_in, kH, kW), float64.

        Algorithms that may raise :class:`RangeTooLarge` keep the taps for the one that replaces them.
        """
        self.weight = weight
        return self

    def run(self, piece: Piece, scratch: Scratch) -> None:
        """Correlate; the target is undefined after :class:`RangeTooLarge`."""
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

    def correlate(self, band: Array, target: Array, scratch: Scratch) -> None:
        """Correlate ``band`` (n_in, rows, columns), contiguous, into ``target`` (n_out, rows, W)."""
        raise NotImplementedError

    def run(self, piece: Piece, scratch: Scratch) -> None:
        """Gather the band, correlate it and add the bias."""
        job, (source, channels, first, target, bias) = self.job, piece
        shape = (channels.stop - channels.start, job.rows(target.shape[1]), self.columns)
        band = scratch.get("band", shape, self.band_dtype)
        source.fill(band[:, :, : job.columns], channels, first * job.stride_hw[0])
        band[:, :, job.columns :] = 0  # never NaN: zero taps meet these
        if self.smears and source.planes.dtype.kind not in "biu" and not np.isfinite(np.vdot(band, band)):
            raise RangeTooLarge
        self.correlate(band, target, scratch)
        if bias is not None:
            target += bias[:, None, None].astype(target.dtype)


def load_algorithm(name: str) -> type[Algorithm]:
    """Return the class of an algorithm.

    Examples
    --------
    >>> load_algorithm("gemm").name
    'gemm'
    """
    module, class_name, *_ = ALL[name]
    found: type[Algorithm] = getattr(import_module(f"convcli.engine.algorithms.{module}"), class_name)
    return found
