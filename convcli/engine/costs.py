"""What each engine would cost, from a small table of prices measured on one core.

Prices are nanoseconds on a 2.6 GHz AVX-512 core with NumPy 2.4 and OpenBLAS; only their ratios matter for the choice,
and those hold across machines far better than the numbers do. ``benchmarks/engine.py`` prints how far the choice was
from the best of all engines in every case, which is how this table is kept honest.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from convcli.engine.blocked import BlockedProduct
from convcli.engine.facts import TapFacts
from convcli.engine.job import Correlator, Job
from convcli.engine.phases import Phase
from convcli.engine.stacked import StackedProduct
from convcli.record import NamedTuple

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Engines by name, the reference first.
ENGINES = ("taps", "im2col", "banded", "direct", "separable", "fft", "torch")

#: One pass of a whole-buffer operation, per sample.
PASS_NS = {"int16": 0.05, "float32": 0.10, "float64": 0.20}
#: Converting a sample while gathering it, and copying one into place.
GATHER_NS = 0.12
#: One multiply-add in a matrix product of at least so many columns (blocks), or rows (stacks: one row is a product of
#: matrix and vector, which reads each stack where it lies and packs nothing). float64 is half as fast.
MAC_NS = ((64, 0.0165), (16, 0.0195), (8, 0.023), (4, 0.03), (1, 0.06))
STACK_MAC_NS = ((64, 0.018), (16, 0.026), (8, 0.034), (4, 0.04), (2, 0.06), (1, 0.055))
#: One multiply-add in vector registers, by bytes of a vector, and with a stride of 2 (float64 is half as fast); writing
#: a program, per column of the kernel.
DIRECT_MAC_NS, DIRECT_STRIDE_2_NS, DIRECT_WRITE_NS = {64: 0.0165, 32: 0.024}, {64: 0.03, 32: 0.045}, 8_000.0
#: Rows of taps whose samples, a group of vectors wide, stay in a first-level cache; with more, each costs so many times
#: that.
DIRECT_NEAR_ROWS, DIRECT_FAR = 64, 3.0
#: Several planes or maps cost so many times one of one, a row of taps as much as so many taps more, short rows more.
DIRECT_MANY, DIRECT_ROW_TAPS, DIRECT_SHORT = 1.1, 3.0, 1.5
#: One run of neighbouring samples in a copy, whatever its length; one call of a NumPy function.
RUN_NS, CALL_NS = 5.0, 1500.0
#: One of the four passes of a transform and its inverse, per sample of a tile; one product of spectra.
FFT_NS, SPECTRUM_NS = {"float32": 0.95, "float64": 1.9}, 0.12
#: One tap of the reference, per sample and plane.
TAP_NS = 1.5
#: One multiply-add of torch: many planes or few to add up, many planes apart or few, kernels above 49 × 49.
TORCH_DENSE_NS, TORCH_THIN_NS, TORCH_DEPTHWISE_NS, TORCH_FEW_NS, TORCH_LARGE_NS = 0.009, 0.024, 0.1, 1.0, 1.0
TORCH_LARGE_PX = 49
TORCH_CALL_NS = 60_000.0
#: Importing torch, once a process.
TORCH_IMPORT_NS = 1.0e9

#: Working set that stays in a core's second-level cache.
CACHE_BYTES = 600_000
#: Threads for which engines are compared.
REFERENCE_THREADS = 4
#: Below this much work a second thread costs more than it brings.
THREAD_NS = 150_000


class Problem(NamedTuple):
    """One convolution to be planned: integers, and the taps to be counted."""

    facts: TapFacts
    weight: NDArray[Any]
    input_shape: tuple[int, int, int]
    output_shape: tuple[int, int, int]
    phases: tuple[Phase, ...]
    dtype: str
    input_dtype: str
    int16: bool
    threads: int
    memory: int
    kept_row_bytes: int
    device: str
    band_dtype: str

    def job(self, lanes: int = 1) -> Job:
        """Return the largest phase as the job of one group."""
        rows, columns = max(
            self.phases, key=lambda p: len(p[0].taps) * len(p[1].taps) * p[0].n_outputs * p[1].n_outputs
        )
        return Job(
            n_in=self.facts.n_in,
            n_out=self.facts.n_out,
            kernel_hw=(max(len(rows.taps), 1), max(len(columns.taps), 1)),
            stride_hw=(rows.stride, columns.stride),
            dilation_hw=(rows.dilation, columns.dilation),
            output_w=columns.n_outputs,
            dtype=self.dtype,
            lanes=lanes,
        )

    @property
    def n_matrices(self) -> int:
        """Sets of kernels that are prepared: one a phase where all groups share theirs."""
        return len(self.phases) * (1 if self.facts.shared else self.facts.n_groups)

    @property
    def lanes(self) -> int:
        """Planes that may lie side by side: all where they share their kernels and no column is skipped."""
        return self.input_shape[0] if self.facts.shared and self.phases[0][1].stride == 1 else 1

    @property
    def rows(self) -> int:
        """Output rows of the largest phase."""
        return max(phase[0].n_outputs for phase in self.phases)

    @property
    def n_outputs(self) -> int:
        """Output samples in all."""
        return self.output_shape[0] * self.output_shape[1] * self.output_shape[2]

    @property
    def n_inputs(self) -> int:
        """Input samples in all."""
        return self.input_shape[0] * self.input_shape[1] * self.input_shape[2]


class Candidate(NamedTuple):
    """One engine's offer."""

    engine: str
    method: str
    nanoseconds: float
    band_rows: int
    threads: int
    memory_bytes: int
    sums: str
    block: int = 0
    lanes: bool = False
    adds_products: bool = True
    automatic: bool = True
    rank: int = 0
    rows_at_once: int = 0
    most_threads: int = REFERENCE_THREADS
    score_ns: float = 0.0

    @property
    def score(self) -> float:
        """Nanoseconds on a machine of four threads, or as many as the memory allows.

        The choice may not depend on the threads that this machine has: engines round differently, and a batch gives the
        same pictures everywhere.
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
    problem: Problem, correlator: Correlator, job: Job, cost_ns: float, *, cache: int = CACHE_BYTES, threads: int = 0
) -> tuple[int, int, int, int]:
    """Return (band rows, threads, bytes, most threads): a band that stays in the cache and, for all, inside the memory.

    Raises
    ------
    TooLittleMemory
        If one row on one thread does not fit.
    """

    def taken(rows: int) -> int:
        band = job.n_in * job.rows(rows) * correlator.columns * job.lanes * correlator.band_dtype.itemsize
        return band + correlator.scratch_bytes(rows)

    fixed = correlator.matrix_bytes() * problem.n_matrices
    memory = problem.memory - fixed
    if taken(1) > memory:
        raise TooLittleMemory(taken(1) + fixed)
    workers = min(threads or problem.threads, max(int(cost_ns // THREAD_NS), 1), memory // taken(1))
    allowed = min(memory // workers, max(cache, taken(1)))
    # Windows overlap from band to band: tall kernels want tall bands, also where they leave the cache.
    tall = min(job.rows(1) * 2, 64, _most_rows(taken, problem.rows, memory // workers))
    rows = max(_most_rows(taken, problem.rows, allowed), min(tall, problem.rows))
    share = -(-problem.rows * problem.facts.n_groups // workers) if workers > 1 else rows
    rows = min(rows, max(share, 1))
    return rows, workers, taken(rows) * workers + fixed, memory // taken(1)


def _most_rows(taken: Callable[[int], int], most: int, n_bytes: int) -> int:
    """Return the most rows, at least 1, that take no more than ``n_bytes``."""
    return max(bisect_right(range(1, most + 1), n_bytes, key=taken), 1)


def mac_ns(prices: tuple[tuple[int, float], ...], columns: int, dtype: str) -> float:
    """Return the price of one multiply-add in a product with so many columns."""
    return next(price for least, price in prices if columns >= least) * (2 if dtype == "float64" else 1)


def block_cost(job: Job, block: int) -> float:
    """Return nanoseconds per output row of one group for blocks of ``block`` outputs."""
    product = BlockedProduct(job, block)
    lines = job.lanes * product.apart * product.n_blocks
    depth = job.kernel_hw[0] * job.n_in * product.length
    multiply = lines * depth * job.n_out * block * mac_ns(MAC_NS, job.n_out * block, job.dtype)
    copied = lines * job.n_in * job.stride_hw[0]
    scattered = 1 if product.apart * job.lanes == 1 else 4
    copy = copied * (RUN_NS + product.length * GATHER_NS * scattered)
    place = lines * job.n_out * (RUN_NS + block * GATHER_NS * scattered)
    return multiply + copy + place


def best_block(job: Job) -> int:
    """Return the cheapest number of outputs per block."""
    sizes = [n for n in (1, 2, 4, 8, 12, 16, 24, 32, 48, 64) if n == 1 or n < 2 * job.output_w]
    return min(sizes, key=lambda n: block_cost(job, n))


def stack_cost(job: Job, rows_at_once: int) -> float:
    """Return nanoseconds per output row of one group for ``rows_at_once`` rows in one product."""
    product = StackedProduct(job, rows_at_once, job.dtype)
    samples = job.output_w * job.lanes
    stacks = (rows_at_once - 1) * product.pace + job.kernel_hw[0]
    depth = stacks * job.n_in * job.kernel_hw[1]
    multiply = depth * job.n_out * mac_ns(STACK_MAC_NS, job.n_out * rows_at_once, job.dtype)
    # With a stride each residue is taken apart once, in steps, and copied for its other taps.
    apart = 0 if job.stride_hw[1] == 1 else min(job.stride_hw[1], job.kernel_hw[1])
    copy = job.stride_hw[0] * job.n_in * (job.kernel_hw[1] + 3 * apart) * PASS_NS[job.dtype]
    place = job.n_out * PASS_NS[job.dtype] * (job.n_out > 1 and rows_at_once > 1)
    return samples * (multiply + copy * 1.3 + place)
