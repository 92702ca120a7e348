"""The experiment "is my convolution the same as PyTorch's?": every engine on one job, measured.

Time is the shortest of a few runs of a prepared engine; memory is allocated by one run beyond input and output, with
the kernels' matrices; the difference is from the float64 reference, which adds up tap by tap.
"""

from __future__ import annotations

import re
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from convcli.engine.borders import Array, Planes, read_rows
from convcli.engine.plan import ENGINES, ConvPlan
from convcli.engine.runner import Runner, prepare
from convcli.errors import UsageError

#: Engines are run until this many seconds are over, at least once, at most this many times.
REPEAT_SECONDS, MOST_REPEATS = 0.6, 9
#: Evenly sampled rows of the reference are computed where all of them would take longer than this.
REFERENCE_SECONDS = 5.0
#: Rows of each sample.
SAMPLE_ROWS = 4


class Measurement(NamedTuple):
    """One engine on one job; the numbers are ``None`` where it did not run, and ``why_not`` says why.

    ``seconds`` is the shortest run; ``memory_bytes`` is allocated beyond input and output, for torch the growth of the
    process where the system tells; ``max_difference`` is the largest absolute difference from the reference, and
    ``relative`` the same as a part of its largest value; ``picked``: the planner's choice.
    """

    engine: str
    method: str = ""
    seconds: float | None = None
    memory_bytes: int | None = None
    max_difference: float | None = None
    relative: float | None = None
    picked: bool = False
    why_not: str | None = None


class Comparison(NamedTuple):
    """All engines on one job, in the order of :data:`convcli.engine.ENGINES`, and the plan as asked for.

    ``n_compared`` of the ``n_rows`` output rows were compared with the reference; its largest magnitude is ``largest``,
    and ``reach`` is the largest that products of the samples and taps can add up to without cancelling.
    """

    measurements: tuple[Measurement, ...]
    plan: ConvPlan
    n_rows: int
    n_compared: int
    largest: float
    reach: float = 0.0

    @property
    def agree(self) -> bool:
        """Whether every engine that ran is within rounding of the reference."""
        # Sums in another order differ by some roundings (6e-8 in float32); 1e-5 leaves room for thousands of terms.
        bound = 1e-5 if self.plan.dtype == "float32" else 1e-12
        # On a flat image an edge kernel's products cancel: what is rounded is as large as they are, not as the sum.
        allowed = bound * max(self.largest, self.reach)
        return all(m.max_difference is None or m.max_difference <= allowed for m in self.measurements)


def compare_engines(
    planner: Callable[..., ConvPlan], planes: Planes, weight: Array, bias: Array | None, *, limit_s: float = 30.0
) -> Comparison:
    """Run every engine that takes the job, and is not estimated to take longer than ``limit_s``.

    ``planner(engine=..., dtype=...)`` returns the plan; without arguments the plan as asked.
    """
    chosen = planner()
    asked = planner(engine="reference")  # which asks all: the cheapest needs no offers of the dearer ones
    estimates, refusals = dict(asked.estimates), dict(asked.excluded)
    rows, reference = _reference(planner(engine="reference", dtype="float64"), planes, weight, bias)
    largest = max(float(np.abs(part[np.isfinite(part)]).max(initial=0.0)) for part in reference)
    found = []
    for engine in ENGINES:
        if estimates.get(engine, 0.0) > limit_s * 1e3:
            why = f"would take about {estimates[engine] / 1e3:.0f} s; --limit {estimates[engine] / 900:.0f} runs it"
            found.append(Measurement(engine, why_not=why))
            continue
        try:
            plan = planner(engine=engine)
            runner = prepare(plan, weight, bias)
        except UsageError as refusal:
            found.append(Measurement(engine, why_not=refusals.get(engine, refusal.message)))
            continue
        maps = np.empty(plan.output_shape, plan.dtype)
        memory_bytes = _memory(plan, planes, weight, bias, maps)
        seconds = _shortest(runner, planes, maps)
        worst = max(
            _largest_difference(maps[:, top:bottom], part) for (top, bottom), part in zip(rows, reference, strict=True)
        )
        relative = worst / largest if largest else worst
        picked = engine == chosen.engine
        found.append(Measurement(engine, plan.method, seconds, memory_bytes, worst, relative, picked))
    n_compared = sum(bottom - top for top, bottom in rows)
    return Comparison(tuple(found), chosen, chosen.output_shape[1], n_compared, largest, _reach(planes, weight))


def _reach(planes: Planes, weight: Array) -> float:
    samples = read_rows(planes, 0, planes.shape[1])
    # No abs() of a whole image, nor of its integers: -128 has none in 8 bits.
    finite = samples if samples.dtype.kind != "f" else samples[np.isfinite(samples)]
    most = max(abs(float(finite.min(initial=0))), abs(float(finite.max(initial=0))))
    return most * float(np.abs(weight).reshape(len(weight), -1).sum(axis=1).max())


def _largest_difference(maps: Array, reference: Array) -> float:
    """Return the largest absolute difference; equal infinities, and NaN in both, do not differ."""
    same = (maps == reference) | (np.isnan(maps) & np.isnan(reference))
    with np.errstate(invalid="ignore"):
        return float(np.where(same, 0.0, np.abs(maps - reference)).max())


def _reference(
    plan: ConvPlan, planes: Planes, weight: Array, bias: Array | None
) -> tuple[list[tuple[int, int]], list[Array]]:
    """Return row ranges and their float64 maps: all rows, or samples from top to bottom if all would take long."""
    height = plan.output_shape[1]
    seconds = dict(plan.estimates)["reference"] / 1e3
    runner = prepare(plan, weight, bias)
    if seconds <= REFERENCE_SECONDS or height <= SAMPLE_ROWS:
        return [(0, height)], [runner.run(planes)]
    n_samples = max(int(height * REFERENCE_SECONDS / seconds) // SAMPLE_ROWS, 3)
    tops = np.unique(np.linspace(0, height - SAMPLE_ROWS, n_samples).astype(int)).tolist()
    rows = [(top, top + SAMPLE_ROWS) for top in tops]
    return rows, [runner.rows(planes, top, bottom) for top, bottom in rows]


def _shortest(runner: Runner, planes: Planes, maps: Array) -> float:
    runner.run(planes, maps)  # warm up: touch the memory, load libraries
    times: list[float] = []
    while not times or (sum(times) < REPEAT_SECONDS and len(times) < MOST_REPEATS):
        start = time.perf_counter()
        runner.run(planes, maps)
        times.append(time.perf_counter() - start)
    return min(times)


def _memory(plan: ConvPlan, planes: Planes, weight: Array, bias: Array | None, maps: Array) -> int | None:
    """Return the most bytes allocated at once by preparing and running."""
    if plan.engine == "torch":
        # torch allocates outside Python's allocator, where tracemalloc sees nothing.
        before = _resident(peak=False)
        if before is None or not _forget_peak():
            return None
        prepare(plan, weight, bias).run(planes, maps)
        after = _resident(peak=True)
        return None if after is None else max(after - before, 0)
    # Tracing slows Python down, so this is a separate run.
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        prepare(plan, weight, bias).run(planes, maps)
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def _resident(*, peak: bool) -> int | None:
    """Return the process's resident bytes on Linux, the present or the peak."""
    if sys.platform != "linux":
        return None
    status = Path("/proc/self/status").read_text(encoding="ascii")
    found = re.search(r"^VmHWM:\s+(\d+)" if peak else r"^VmRSS:\s+(\d+)", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _forget_peak() -> bool:
    try:
        # 5 resets the peak of resident memory (man 5 proc); containers may forbid it.
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True
