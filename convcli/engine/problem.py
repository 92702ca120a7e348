"""What a planner knows: one convolution in integers, counts of its taps, and what an algorithm offers for it.

Prices are nanoseconds on one core of 3.5 GHz; only their ratios matter. They are those of AVX2 and AVX-512 alike unless
an algorithm says otherwise, and ``benchmarks/engine.py`` prints how far each choice was from the best.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from convcli.engine.job import Job
from convcli.engine.phases import Phase

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Converting a sample while gathering it, or copying one into place; one call of a NumPy function.
GATHER_NS, CALL_NS = 0.15, 1500.0
#: Working set that stays in a core's second-level cache.
CACHE_BYTES = 600_000
#: Threads for which algorithms are compared.
REFERENCE_THREADS = 4
#: Below this much work a second thread costs more than it brings.
THREAD_NS = 150_000
#: Largest magnitude of samples of each integer type; floats have no bound.
_BITS = (8, 16, 32, 64)
SAMPLE_LIMITS: dict[str, int] = {
    "bool": 1,
    **{f"uint{n}": 2**n - 1 for n in _BITS},
    **{f"int{n}": 2 ** (n - 1) for n in _BITS},
}
#: Kernels are looked at so many taps at a time: no copies of a huge one.
TAPS_AT_ONCE = 2**20


class TapFacts(NamedTuple):
    """Numbers about a weight ``(O, I/groups, kH, kW)`` with its groups.

    Attributes
    ----------
    n_out, n_in : int
        Maps and planes per group.
    kernel_hw : tuple of int
    n_groups : int
    shared : bool
        Every group has the same kernels, and one plane.
    integer : bool
        All taps are whole numbers.
    magnitude : float
        Largest sum of magnitudes of one map.
    """

    n_out: int
    n_in: int
    kernel_hw: tuple[int, int]
    n_groups: int
    shared: bool
    integer: bool
    magnitude: float


def tap_facts(weight: NDArray[Any], groups: int) -> TapFacts:
    """Count what matters in ``weight``.

    Examples
    --------
    >>> sobel = np.tile([[[[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]]], (3, 1, 1, 1))
    >>> facts = tap_facts(sobel, 3)
    >>> facts.shared, facts.integer, facts.magnitude
    (True, True, 8.0)
    """
    n_out, n_in, kernel_h, kernel_w = weight.shape
    by_group = weight.reshape(groups, n_out // groups, n_in, kernel_h, kernel_w)
    shared = n_in == 1 and all(np.array_equal(kernels, by_group[0]) for kernels in by_group[1:])
    counts = [_count(kernel) for kernel in (by_group[0] if shared else weight)]
    return TapFacts(
        n_out=n_out // groups,
        n_in=n_in,
        kernel_hw=(kernel_h, kernel_w),
        n_groups=groups,
        shared=shared,
        integer=all(integer for integer, _ in counts),
        magnitude=max(magnitude for _, magnitude in counts),
    )


def _count(kernel: NDArray[Any]) -> tuple[bool, float]:
    """Return whether one map's taps are whole numbers, and the sum of their magnitudes."""
    integer, magnitude, taps = True, 0.0, kernel.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        for first in range(0, taps.size, TAPS_AT_ONCE):
            some = taps[first : first + TAPS_AT_ONCE]
            integer = integer and bool((some == np.rint(some)).all())
            magnitude += float(np.abs(some).sum(dtype=np.float64))
    return integer, magnitude


def sum_limit(facts: TapFacts, input_dtype: str, border_value: float) -> float | None:
    """Return a bound on every partial sum's magnitude if taps, samples and border are whole numbers, else None."""
    limit = SAMPLE_LIMITS.get(input_dtype)
    if limit is None or not facts.integer or border_value != round(border_value):
        return None
    return max(limit, abs(border_value)) * facts.magnitude


def map_bound(facts: TapFacts, input_dtype: str, border_value: float) -> float:
    """Return what no map's magnitude exceeds: of samples up to their type's largest, or up to 1 where they are floats.

    Examples
    --------
    >>> map_bound(tap_facts(np.full((1, 1, 3, 3), 2.0), 1), "uint8", 0.0)
    4590.0
    """
    with np.errstate(over="ignore"):
        return facts.magnitude * max(SAMPLE_LIMITS.get(input_dtype, 1), abs(border_value))


class Problem(NamedTuple):
    """One convolution to be planned: integers, and the taps to be looked at."""

    facts: TapFacts
    weight: NDArray[Any]
    input_shape: tuple[int, int, int]
    output_shape: tuple[int, int, int]
    phases: tuple[Phase, ...]
    job: Job
    dtype: str
    input_dtype: str
    threads: int
    memory: int
    kept_row_bytes: int
    device: str

    @property
    def n_matrices(self) -> int:
        """Sets of kernels that are prepared: one a phase where all groups share theirs."""
        return len(self.phases) * (1 if self.facts.shared else self.facts.n_groups)

    @property
    def rows(self) -> int:
        """Output rows of the largest phase."""
        return max(phase[0].n_outputs for phase in self.phases)

    @property
    def group_rows(self) -> int:
        """Output rows of all phases and groups."""
        return sum(phase[0].n_outputs for phase in self.phases) * self.facts.n_groups

    @property
    def n_outputs(self) -> int:
        """Output samples in all."""
        return self.output_shape[0] * self.output_shape[1] * self.output_shape[2]

    @property
    def n_inputs(self) -> int:
        """Input samples in all."""
        return self.input_shape[0] * self.input_shape[1] * self.input_shape[2]


def largest_job(phases: tuple[Phase, ...], facts: TapFacts, dtype: str) -> Job:
    """Return the largest phase as the job of one group."""
    return job_of(
        max(phases, key=lambda p: len(p[0].taps) * len(p[1].taps) * p[0].n_outputs * p[1].n_outputs), facts, dtype
    )


def job_of(phase: Phase, facts: TapFacts, dtype: str) -> Job:
    """Return one phase as the job of one group; steps that are never taken are 1, and cost nothing."""
    rows, columns = phase
    return Job(
        n_in=facts.n_in,
        n_out=facts.n_out,
        kernel_hw=(max(len(rows.taps), 1), max(len(columns.taps), 1)),
        stride_hw=(rows.stride if rows.n_outputs > 1 else 1, columns.stride if columns.n_outputs > 1 else 1),
        dilation_hw=(rows.dilation if len(rows.taps) > 1 else 1, columns.dilation if len(columns.taps) > 1 else 1),
        output_w=columns.n_outputs,
        dtype=dtype,
    )


class Candidate(NamedTuple):
    """One algorithm's offer.

    Attributes
    ----------
    engine, method : str
        The algorithm, and how it goes about it.
    nanoseconds : float
        Estimated time on ``threads`` threads.
    band_rows, threads, memory_bytes : int
        Output rows at once, and what all threads take.
    most_threads : int
        As many as the memory allows.
    sums : str
        Type of the sums.
    block, rank : int
        Outputs in a row of a matrix product, or columns of a transform's tile; columns and rows of a separable kernel.
    adds_products : bool
        Whole numbers are added up exactly.
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
    rank: int = 0
    adds_products: bool = True
    automatic: bool = True
    score_ns: float = 0.0

    @property
    def score(self) -> float:
        """Nanoseconds on a machine of four threads, or as many as the memory allows.

        The choice may not depend on the threads that this machine has: algorithms round differently, and a batch gives
        the same pictures everywhere.
        """
        if self.score_ns:
            return self.score_ns
        return self.nanoseconds * self.threads / max(min(self.most_threads, REFERENCE_THREADS), 1)


class TooLittleMemory(Exception):  # noqa: N818
    """Not even one row fits; carries the bytes that would do."""

    def __init__(self, n_bytes: int) -> None:
        super().__init__(n_bytes)
        self.n_bytes = n_bytes


def format_bytes(n_bytes: int) -> str:
    """Return so many bytes in words, rounded up: what is printed is enough.

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


def format_size(n_bytes: int) -> str:
    """Return so many bytes as a flag takes them, rounded up as in :func:`format_bytes`.

    Examples
    --------
    >>> format_size(900), format_size(2049), format_size(600 * 2**20)
    ('900', '3K', '600M')
    """
    number, _, unit = format_bytes(n_bytes).partition(" ")
    return number + {"bytes": "", "KiB": "K", "MiB": "M"}[unit]


def fit_band(
    problem: Problem,
    n_bytes: Callable[[int], int],
    matrix_bytes: int,
    cost_ns: float,
    *,
    cache: int = CACHE_BYTES,
    threads: int = 0,
) -> tuple[int, int, int, int]:
    """Return (band rows, threads, bytes, most threads): a band that stays in the cache and, for all, inside the memory.

    Parameters
    ----------
    problem : Problem
    n_bytes : callable
        Bytes that one thread takes for so many output rows: a constant and so much a row.
    matrix_bytes : int
        What one set of kernels takes.
    cost_ns : float
        On one thread.
    cache : int
        Bytes that a band may take where there is more memory.
    threads : int
        Workers, if not as many as the work is worth.

    Raises
    ------
    TooLittleMemory
        If one row on one thread does not fit.
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
    return rows, workers, (least + (rows - 1) * each) * workers + fixed, memory // least
