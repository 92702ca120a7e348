"""What machine code offers for a problem: its cost, and the bands that it gathers."""

from __future__ import annotations

import numpy as np

from convcli.engine.costs import (
    CALL_NS,
    DIRECT_FAR,
    DIRECT_MAC_NS,
    DIRECT_MANY,
    DIRECT_NEAR_ROWS,
    DIRECT_ROW_TAPS,
    DIRECT_SHORT,
    DIRECT_STRIDE_2_NS,
    DIRECT_WRITE_NS,
    GATHER_NS,
    THREAD_NS,
    Candidate,
    Problem,
    TooLittleMemory,
)
from convcli.engine.direct import MOST_COLUMNS, Direct
from convcli.engine.direct_code import GROUP_VECTORS
from convcli.engine.direct_rows import Edge
from convcli.machine.processor import vector_bytes

#: How far from the first sample of a window its last may lie: the program has it in 32 bits, with some to spare.
MOST_BYTES = 2**30


def offer_direct(problem: Problem) -> Candidate | str:
    """Return the offer, or why there is none; see :mod:`convcli.engine.direct`."""
    vector = vector_bytes()
    refusal = _refusal(problem, vector)
    if refusal is not None:
        return refusal
    direct = Direct(problem.job(problem.lanes))
    # Samples of the maps' type are read where they lie.
    in_place = problem.input_dtype == problem.dtype and direct.n_parts == 1
    rows = min(direct.rows_at_once, problem.rows)
    cost = _cost(
        problem,
        vector,
        n_bands=8 * problem.facts.n_groups - 4 if in_place else _n_bands(problem, rows),
        copies=1 if in_place else 2,
    )
    fixed = direct.matrix_bytes() * problem.n_matrices
    each = max(
        Direct(problem.job(lanes)).scratch_bytes(rows, problem.input_dtype) + _edge_bytes(problem, lanes)
        for lanes in {1, problem.lanes}
    )
    if fixed + each > problem.memory:
        raise TooLittleMemory(fixed + each)
    most = (problem.memory - fixed) // each
    threads = min(problem.threads, max(int(cost // THREAD_NS), 1), most)
    return Candidate(
        "direct",
        f"machine code for vectors of {8 * vector} bits",
        cost / threads,
        rows,
        threads,
        fixed + each * threads,
        problem.dtype,
        lanes=problem.lanes > 1,
        most_threads=most,
    )


def _refusal(problem: Problem, vector: int) -> str | None:
    if not vector:
        return "needs an x86-64 processor with AVX2 and FMA, and memory that may be executed"
    if problem.job().kernel_hw[1] > MOST_COLUMNS:
        return f"its program is for kernels of at most {MOST_COLUMNS} columns"
    direct = Direct(problem.job(problem.lanes))
    if max(direct.shape.places) > MOST_BYTES:
        return f"its program reaches {MOST_BYTES} bytes into a row at most"
    least, shortest = vector // np.dtype(problem.dtype).itemsize, min(phase[1].n_outputs for phase in problem.phases)
    return f"rows of {shortest} outputs are shorter than a vector of {least}" if shortest < least else None


def _edge_bytes(problem: Problem, lanes: int) -> int:
    direct, (_, columns) = Direct(problem.job(lanes)), problem.phases[0]
    edge = Edge(direct, columns.before, problem.input_shape[2])
    return edge.n_bytes() if edge.leaves_inside and direct.n_parts == 1 else 0


def _n_bands(problem: Problem, rows: int) -> int:
    return problem.facts.n_groups * sum(-(-phase[0].n_outputs // rows) for phase in problem.phases)


def _cost(problem: Problem, vector: int, *, n_bands: int, copies: int) -> float:
    """Return nanoseconds on one thread; ``copies`` is how often an input sample is touched."""
    job = problem.job()
    price = (DIRECT_MAC_NS if job.stride_hw[1] == 1 else DIRECT_STRIDE_2_NS)[vector]
    if job.n_in > 1 or job.n_out > 1:
        price *= DIRECT_MANY * (1 + DIRECT_ROW_TAPS / job.kernel_hw[1])
    if job.n_in * job.kernel_hw[0] > DIRECT_NEAR_ROWS:
        price *= DIRECT_FAR
    if job.output_w * job.lanes * np.dtype(problem.dtype).itemsize < GROUP_VECTORS[1][0] * vector:
        price *= DIRECT_SHORT
    # Maps of several phases are put in their place, one by one.
    place = GATHER_NS * (3 if len(problem.phases) > 1 else 1)
    cost = problem.n_outputs * (job.taps * price * (2 if problem.dtype == "float64" else 1) + place)
    return cost + problem.n_inputs * GATHER_NS * copies + job.kernel_hw[1] * DIRECT_WRITE_NS + n_bands * 10 * CALL_NS
