"""What each engine offers for a problem: a method with its sizes and its estimated cost, or why it does not take it."""

from __future__ import annotations

import sys
from collections.abc import Callable

from convcli.engine.blocked import BlockedProduct
from convcli.engine.costs import (
    CACHE_BYTES,
    CALL_NS,
    GATHER_NS,
    MAC_NS,
    PASS_NS,
    REFERENCE_THREADS,
    TAP_NS,
    TORCH_CALL_NS,
    TORCH_DENSE_NS,
    TORCH_DEPTHWISE_NS,
    TORCH_FEW_NS,
    TORCH_IMPORT_NS,
    TORCH_LARGE_NS,
    TORCH_LARGE_PX,
    TORCH_THIN_NS,
    Candidate,
    Problem,
    TooLittleMemory,
    best_block,
    block_cost,
    fit_band,
    format_bytes,
    mac_ns,
    stack_cost,
)
from convcli.engine.im2col import Im2col
from convcli.engine.lowrank import LARGE_RANK, factors
from convcli.engine.offer_direct import offer_direct
from convcli.engine.offer_fft import offer_fft
from convcli.engine.separable import Separable
from convcli.engine.shifts import ShiftAdd, program_of
from convcli.engine.stacked import StackedProduct
from convcli.engine.taps import Taps

#: Taps of a kernel that are worth looking through for sums to be shared; a product of many is always quicker.
MOST_SHIFTS = 256


def candidates(problem: Problem) -> tuple[list[Candidate], list[tuple[str, str]], dict[str, int]]:
    """Return the offers, cheapest first; (engine, why) of those that make none; bytes that would change its mind."""
    offers: list[Candidate] = []
    refused: list[tuple[str, str]] = []
    short: dict[str, int] = {}
    for engine, offer in OFFERS.items():
        if problem.device != "cpu" and engine != "torch":
            refused.append((engine, "runs on the CPU only"))
            continue
        try:
            answer = offer(problem)
        except TooLittleMemory as shortage:
            short[engine] = shortage.n_bytes
            answer = f"needs {format_bytes(shortage.n_bytes)} of memory"
        if isinstance(answer, str):
            refused.append((engine, answer))
        else:
            offers.append(answer)
    return sorted(offers, key=lambda c: c.score), refused, short


def _offer_taps(problem: Problem) -> Candidate:
    job = problem.job()
    cost = problem.n_outputs * (job.taps * TAP_NS + 4) + problem.facts.n_groups * 10 * CALL_NS
    rows, threads, taken, most = fit_band(problem, Taps(job), job, cost, cache=4 * CACHE_BYTES)
    return Candidate(
        "taps",
        "one matrix product per tap, float64",
        cost / threads,
        rows,
        threads,
        taken,
        "float64",
        automatic=False,
        most_threads=most,
    )


def _offer_blocked(problem: Problem) -> Candidate:
    job = problem.job()
    block = best_block(job)
    product = BlockedProduct(job, block)
    rows = (
        problem.output_shape[1] * problem.facts.n_groups * len(problem.phases) // max(p[0].step for p in problem.phases)
    )
    cost = rows * block_cost(job, block) + problem.n_inputs * GATHER_NS + problem.facts.n_groups * 30 * CALL_NS
    band, threads, taken, most = fit_band(problem, product, job, cost, cache=7 * CACHE_BYTES)
    return Candidate(
        "banded",
        f"blocked matrix product of {block} outputs",
        cost / threads,
        band,
        threads,
        taken,
        problem.dtype,
        block,
        most_threads=most,
    )


def _offer_shifts(problem: Problem) -> Candidate | str:
    job, sums = problem.job(), "int16" if problem.int16 else problem.dtype
    stride_one = problem.phases[0][0].stride == problem.phases[0][1].stride == 1
    kernels = problem.weight[: problem.facts.n_out] if problem.facts.shared else problem.weight
    if problem.facts.n_nonzero > MOST_SHIFTS or problem.facts.n_nonzero * len(kernels) > 16 * MOST_SHIFTS:
        return "too many taps to add one by one"
    programs = [program_of(kernel, stride_one=stride_one and len(problem.phases) == 1) for kernel in kernels]
    passes = sum(step.n_operations for program in programs for step in program) / len(programs)
    per_output = (passes + 1) * PASS_NS[sums] + GATHER_NS
    shifts = ShiftAdd(job, sums)
    cost = problem.n_outputs * per_output + problem.n_inputs * GATHER_NS
    if not stride_one:  # each residue is taken apart in steps
        cost += problem.n_inputs * 3 * PASS_NS[sums]
    band, threads, taken, most = fit_band(problem, shifts, job, cost, cache=6 * CACHE_BYTES)
    calls = problem.facts.n_groups * -(-problem.rows // band) * len(problem.phases) * (passes * job.n_out + 10)
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
        lanes=problem.lanes > 1,
        most_threads=most,
    )


def _offer_stacked(problem: Problem) -> Candidate:
    job = problem.job()
    at_once = min((1, 2, 4, 6, 8, 12, 16), key=lambda n: stack_cost(job, n) if n <= problem.rows else float("inf"))
    product = StackedProduct(job, at_once, problem.band_dtype)
    n_rows = sum(phase[0].n_outputs for phase in problem.phases) * problem.facts.n_groups
    cost = n_rows * stack_cost(job, at_once) + problem.n_inputs * GATHER_NS
    band, threads, taken, most = fit_band(problem, product, job, cost, cache=7 * CACHE_BYTES)
    cost += -(-n_rows // band) * (8 + job.kernel_hw[1]) * CALL_NS
    return Candidate(
        "banded",
        f"matrix product of {at_once} rows at once",
        cost / threads,
        band,
        threads,
        taken,
        problem.dtype,
        rows_at_once=at_once,
        lanes=problem.lanes > 1,
        most_threads=most,
    )


def _offer_banded(problem: Problem) -> Candidate | str:
    offers: list[Candidate] = []
    least: list[TooLittleMemory] = []
    for offer in (_offer_shifts, _offer_stacked, _offer_blocked):
        try:
            answer = offer(problem)
        except TooLittleMemory as shortage:
            least.append(shortage)
        else:
            offers += [answer] if isinstance(answer, Candidate) else []
    if not offers:
        raise min(least, key=lambda shortage: shortage.n_bytes)
    return min(offers, key=lambda c: c.score)


def _offer_im2col(problem: Problem) -> Candidate:
    job = problem.job()
    multiply = job.taps * mac_ns(MAC_NS, job.n_out, job.dtype)
    cost = problem.n_outputs * (multiply + job.taps / job.n_out * 2 * GATHER_NS + 2 * GATHER_NS)
    cost += problem.n_inputs * GATHER_NS + problem.facts.n_groups * 10 * CALL_NS
    rows, threads, taken, most = fit_band(problem, Im2col(job), job, cost, cache=8 * CACHE_BYTES)
    return Candidate(
        "im2col",
        "every window a column, one matrix product",
        cost / threads,
        rows,
        threads,
        taken,
        problem.dtype,
        automatic=False,
        most_threads=most,
    )


def _offer_separable(problem: Problem) -> Candidate | str:
    facts = problem.facts
    kernel_h, kernel_w = facts.kernel_hw
    if facts.n_in > 1:
        return f"{facts.n_in} planes are added up: only kernels on one plane are taken apart"
    if min(kernel_h, kernel_w) == 1:
        return "the kernel is a single row or column already"
    most = kernel_h * kernel_w // (kernel_h + kernel_w)
    kernels = problem.weight[: facts.n_out] if facts.shared else problem.weight
    rank = 0
    for kernel in kernels[:, 0]:
        found = factors(kernel, problem.dtype)
        if found is None:
            return f"a {kernel_h}×{kernel_w} kernel is more than {LARGE_RANK} columns times rows"
        rank = max(rank, len(found[0]))
        if rank > most:
            return f"a {kernel_h}×{kernel_w} kernel has rank {rank}: more work than its {kernel_h * kernel_w} taps"
    job = problem.job()
    column_job = job._replace(
        kernel_hw=(job.kernel_hw[0], 1),
        stride_hw=(job.stride_hw[0], 1),
        dilation_hw=(job.dilation_hw[0], 1),
        n_out=job.n_out * rank,
        output_w=job.columns,
    )
    row_job = job._replace(
        kernel_hw=(1, job.kernel_hw[1]), stride_hw=(1, job.stride_hw[1]), dilation_hw=(1, job.dilation_hw[1]), n_out=1
    )
    block = best_block(row_job)
    at_once = min((1, 2, 4, 8, 16, 32), key=lambda n: stack_cost(column_job, n) if n <= problem.rows else float("inf"))
    separable = Separable(job, rank, problem.band_dtype, rows_at_once=at_once, block=block)
    n_rows = sum(phase[0].n_outputs for phase in problem.phases) * facts.n_groups
    each = stack_cost(column_job, at_once) + job.n_out * rank * block_cost(row_job, block)
    cost = n_rows * each + problem.n_inputs * GATHER_NS
    band, threads, taken, most = fit_band(problem, separable, job, cost, cache=10 * CACHE_BYTES)
    cost += -(-n_rows // band) * (20 + 15 * job.n_out * rank) * CALL_NS
    return Candidate(
        "separable",
        f"columns then rows, rank {rank}",
        cost / threads,
        band,
        threads,
        taken,
        problem.dtype,
        block,
        lanes=problem.lanes > 1,
        adds_products=False,
        rank=rank,
        rows_at_once=at_once,
        most_threads=most,
    )


def _offer_torch(problem: Problem) -> Candidate:
    from convcli.engine.torch_engine import TorchConv

    job, facts = problem.job(), problem.facts
    large = max(facts.kernel_hw) > TORCH_LARGE_PX
    if large:
        price = TORCH_LARGE_NS
    elif facts.n_in > 1:
        price = TORCH_DENSE_NS if facts.n_in >= 16 else TORCH_THIN_NS
    else:
        price = TORCH_DEPTHWISE_NS if facts.n_groups >= 16 else TORCH_FEW_NS
    fixed = (problem.n_outputs * 4 + problem.n_inputs * 2) * GATHER_NS + TORCH_CALL_NS
    if "torch" not in sys.modules:
        fixed += TORCH_IMPORT_NS
    work = problem.n_outputs * job.taps * price
    cost = work / problem.threads + fixed
    # One band after the other: torch brings its own threads.
    cache = 64 * 2**20
    torch_conv = TorchConv(job, problem.device, problem.threads)
    rows, _, taken, _ = fit_band(problem, torch_conv, job, cost, cache=cache, threads=1)
    return Candidate(
        "torch",
        f"torch conv2d on {problem.device}",
        cost,
        rows,
        problem.threads,
        taken,
        problem.dtype,
        # Which algorithm runs is the library's choice: some multiply with rounded factors.
        adds_products=False,
        automatic=not large,
        score_ns=work / REFERENCE_THREADS + fixed,
    )


OFFERS: dict[str, Callable[[Problem], Candidate | str]] = {
    "taps": _offer_taps,
    "im2col": _offer_im2col,
    "banded": _offer_banded,
    "direct": offer_direct,
    "separable": _offer_separable,
    "fft": offer_fft,
    "torch": _offer_torch,
}
