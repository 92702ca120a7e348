"""What each engine would cost, from a small table of prices measured on one core.

Prices are nanoseconds on a 2.6 GHz AVX-512 core with NumPy 2.4 and OpenBLAS; only their ratios matter for the choice,
and those hold across machines far better than the numbers do. ``benchmarks/engine.py`` prints how far the choice was
from the best of all engines in every case, which is how this table is kept honest.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, NamedTuple

from numpy.typing import NDArray

from convcli.engine.blocked import BlockedProduct
from convcli.engine.facts import TapFacts
from convcli.engine.job import Correlator, Job
from convcli.engine.phases import Phase
from convcli.engine.shifts import ShiftAdd, program_of
from convcli.engine.stacked import StackedProduct
from convcli.engine.taps import Taps

#: Engines by name, the reference first.
ENGINES = ("taps", "im2col", "banded", "separable", "fft", "torch")

#: One pass of a whole-buffer operation, per sample.
PASS_NS = {"int16": 0.05, "float32": 0.10, "float64": 0.20}
#: Converting a sample while gathering it, and copying one into place.
GATHER_NS = 0.12
#: One multiply-add in a matrix product of at least so many columns (blocks), or rows (stacks: one row is a product of
#: matrix and vector, which reads each stack where it lies and packs nothing). float64 is half as fast.
MAC_NS = ((64, 0.0165), (16, 0.0195), (8, 0.023), (4, 0.03), (1, 0.06))
STACK_MAC_NS = ((64, 0.018), (16, 0.026), (8, 0.034), (4, 0.04), (2, 0.06), (1, 0.055))
#: One run of neighbouring samples in a copy, whatever its length; one call of a NumPy function.
RUN_NS, CALL_NS = 5.0, 1500.0
#: One tap of the reference, per sample and plane.
TAP_NS = 1.5
#: One multiply-add of oneDNN on several channels, of its depthwise path, and of kernels above 49 × 49.
TORCH_NS, TORCH_DEPTHWISE_NS, TORCH_LARGE_NS = 0.03, 0.25, 1.0
TORCH_LARGE_PX = 49
TORCH_CALL_NS = 60_000.0
#: Importing torch, once a process.
TORCH_IMPORT_NS = 1.0e9

#: Working set that stays in a core's second-level cache.
CACHE_BYTES = 600_000
#: Below this much work a second thread costs more than it brings.
THREAD_NS = 150_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Problem:
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


class TooLittleMemory(Exception):  # noqa: N818
    """Not even one row fits; carries the bytes that one row takes."""


def candidates(problem: Problem) -> tuple[list[Candidate], list[tuple[str, str]]]:
    """Return the offers, cheapest first, and (engine, why) of those that make none."""
    offers: list[Candidate] = []
    refused: list[tuple[str, str]] = []
    for engine, offer in OFFERS.items():
        if problem.device != "cpu" and engine != "torch":
            refused.append((engine, "runs on the CPU only"))
            continue
        try:
            answer = offer(problem)
        except TooLittleMemory as shortage:
            answer = f"one row takes {shortage} bytes, more than memory {problem.memory}"
        if isinstance(answer, str):
            refused.append((engine, answer))
        else:
            offers.append(answer)
    return sorted(offers, key=lambda c: c.nanoseconds), refused


def fit_band(
    problem: Problem, correlator: Correlator, job: Job, cost_ns: float, *, cache: int = CACHE_BYTES, threads: int = 0
) -> tuple[int, int, int]:
    """Return (band rows, threads, bytes): a band that stays in the cache, inside the memory bound, for every thread.

    Raises
    ------
    TooLittleMemory
        If one row on one thread does not fit.
    """

    def taken(rows: int) -> int:
        band = job.n_in * job.rows(rows) * correlator.columns * job.lanes * correlator.band_dtype.itemsize
        return band + correlator.scratch_bytes(rows)

    if taken(1) > problem.memory:
        raise TooLittleMemory(taken(1))
    workers = min(threads or problem.threads, max(int(cost_ns // THREAD_NS), 1), problem.memory // taken(1))
    allowed = min(problem.memory // workers, max(cache, taken(1)))
    rows = 1
    # Windows overlap from band to band: tall kernels want tall bands, also where they leave the cache.
    tall = min(job.rows(1) * 2, 64)
    while rows < problem.rows and (
        taken(rows + 1) <= allowed or (rows < tall and taken(rows + 1) * workers <= problem.memory)
    ):
        rows += 1
    share = -(-problem.rows * problem.facts.n_groups // workers) if workers > 1 else rows
    rows = min(rows, max(share, 1))
    return rows, workers, taken(rows) * workers


def _offer_taps(problem: Problem) -> Candidate:
    job = problem.job()
    cost = problem.n_outputs * (job.taps * TAP_NS + 4) + problem.facts.n_groups * 10 * CALL_NS
    rows, threads, taken = fit_band(problem, Taps(job), job, cost, cache=4 * CACHE_BYTES)
    return Candidate("taps", "one matrix product per tap, float64", cost / threads, rows, threads, taken, "float64")


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


def _offer_blocked(problem: Problem) -> Candidate:
    job = problem.job()
    block = best_block(job)
    product = BlockedProduct(job, block)
    rows = (
        problem.output_shape[1] * problem.facts.n_groups * len(problem.phases) // max(p[0].step for p in problem.phases)
    )
    cost = rows * block_cost(job, block) + problem.n_inputs * GATHER_NS + problem.facts.n_groups * 30 * CALL_NS
    band, threads, taken = fit_band(problem, product, job, cost, cache=7 * CACHE_BYTES)
    return Candidate(
        "banded",
        f"blocked matrix product of {block} outputs",
        cost / threads,
        band,
        threads,
        taken,
        problem.dtype,
        block,
    )


def _offer_shifts(problem: Problem) -> Candidate | str:
    lanes = problem.lanes
    job, sums = problem.job(lanes), "int16" if problem.int16 else problem.dtype
    stride_one = problem.phases[0][0].stride == problem.phases[0][1].stride == 1
    kernels = problem.weight[: problem.facts.n_out] if problem.facts.shared else problem.weight
    if problem.facts.n_nonzero * len(kernels) > 4096:
        return "too many taps to add one by one"
    programs = [program_of(kernel, stride_one=stride_one and len(problem.phases) == 1) for kernel in kernels]
    passes = sum(step.n_operations for program in programs for step in program) / len(programs)
    per_output = (passes + 1) * PASS_NS[sums] + GATHER_NS
    groups = 1 if lanes > 1 else problem.facts.n_groups
    shifts = ShiftAdd(job, sums)
    cost = problem.n_outputs * per_output + problem.n_inputs * GATHER_NS
    band, threads, taken = fit_band(problem, shifts, job, cost, cache=6 * CACHE_BYTES)
    calls = groups * -(-problem.rows // band) * len(problem.phases) * (passes * job.n_out + 10)
    cost += calls * CALL_NS
    method = f"shift and add over {problem.facts.n_nonzero} taps"
    return Candidate(
        "banded",
        f"{method}, 16-bit integers" if sums == "int16" else method,
        cost / threads,
        band,
        threads,
        taken,
        sums,
        lanes=lanes > 1,
    )


def stack_cost(job: Job, rows_at_once: int) -> float:
    """Return nanoseconds per output row of one group for ``rows_at_once`` rows in one product."""
    product = StackedProduct(job, rows_at_once, job.dtype)
    samples = job.output_w * job.lanes
    stacks = (rows_at_once - 1) * product.pace + job.kernel_hw[0]
    depth = stacks * job.n_in * job.kernel_hw[1]
    multiply = depth * job.n_out * mac_ns(STACK_MAC_NS, job.n_out * rows_at_once, job.dtype)
    copy = job.stride_hw[0] * job.n_in * job.kernel_hw[1] * PASS_NS[job.dtype] * (1 if job.stride_hw[1] == 1 else 3)
    place = job.n_out * PASS_NS[job.dtype] * (job.n_out > 1 and rows_at_once > 1)
    return samples * (multiply + copy * 1.3 + place)


def _offer_stacked(problem: Problem) -> Candidate:
    lanes = problem.lanes
    job = problem.job(lanes)
    at_once = min((1, 2, 4, 6, 8, 12, 16), key=lambda n: stack_cost(job, n) if n <= problem.rows else float("inf"))
    product = StackedProduct(job, at_once, problem.band_dtype)
    groups = 1 if lanes > 1 else problem.facts.n_groups
    n_rows = sum(phase[0].n_outputs for phase in problem.phases) * groups
    cost = n_rows * stack_cost(job, at_once) + problem.n_inputs * GATHER_NS
    band, threads, taken = fit_band(problem, product, job, cost, cache=4 * CACHE_BYTES)
    cost += -(-n_rows // band) * (8 + job.kernel_hw[1]) * CALL_NS
    return Candidate(
        "banded",
        f"matrix product of {at_once} rows at once",
        cost / threads,
        band,
        threads,
        taken,
        problem.dtype,
        -at_once,
        lanes=lanes > 1,
    )


def _offer_banded(problem: Problem) -> Candidate | str:
    offers = [offer(problem) for offer in (_offer_shifts, _offer_stacked, _offer_blocked)]
    return min((offer for offer in offers if isinstance(offer, Candidate)), key=lambda c: c.nanoseconds)


def _offer_torch(problem: Problem) -> Candidate:
    from convcli.engine.torch_engine import TorchConv

    job, facts = problem.job(), problem.facts
    large = max(facts.kernel_hw) > TORCH_LARGE_PX
    price = TORCH_LARGE_NS if large else TORCH_NS if facts.n_in > 1 or facts.n_out > 8 else TORCH_DEPTHWISE_NS
    cost = (
        problem.n_outputs * (job.taps * price / problem.threads + 1) + problem.n_inputs * 2 * GATHER_NS + TORCH_CALL_NS
    )
    if "torch" not in sys.modules:
        cost += TORCH_IMPORT_NS
    # One band after the other: torch brings its own threads.
    cache = 64 * 2**20
    rows, _, taken = fit_band(problem, TorchConv(job, problem.device), job, cost, cache=cache, threads=1)
    return Candidate(
        "torch", f"torch conv2d on {problem.device}", cost, rows, 1, taken, problem.dtype, automatic=not large
    )


OFFERS = {
    "taps": _offer_taps,
    "banded": _offer_banded,
    "torch": _offer_torch,
}
