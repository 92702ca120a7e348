"""The plan: which algorithm, in which pieces, and why, from integers alone.

:func:`plan_conv` checks everything that can be wrong, asks the algorithms that could be the cheapest whether they take
the job and at what price (:mod:`convcli.engine.algorithms`), and picks the cheapest.
"""

from __future__ import annotations

from itertools import product
from math import inf
from typing import Any, NamedTuple

import numpy as np

import convcli.engine.native as native
from convcli.engine.algorithms import ALL
from convcli.engine.algorithms.base import REFERENCE_THREADS, Candidate, Declined, TooLittleMemory, load_algorithm
from convcli.engine.borders import Array, Border
from convcli.engine.problem import (
    SAMPLE_LIMITS,
    Job,
    Phase,
    Problem,
    as_correlation,
    axis_phases,
    check_conv,
    check_range,
    tap_facts,
)
from convcli.errors import UsageError, near_names
from convcli.geometry.arithmetic import Pair
from convcli.process.system import available_threads

#: Bytes of working memory beyond input and output that a plan may take by default.
DEFAULT_MEMORY = 512 * 2**20
#: Names of the algorithms, the reference first; those that run only when they are asked for.
ENGINES = tuple(ALL)
NOT_PICKED = ("reference", "im2col", "torch")
#: What a plan keeps of the problem, and of the offer taken.
ASKED = ("input_shape", "output_shape", "phases", "input_dtype", "device", "shared")
OFFERED = ("engine", "method", "sums", "block", "settings", "band_rows", "threads", "memory_bytes")


class ConvPlan(NamedTuple):
    """One convolution, decided before a pixel is read: integers and names only.

    Attributes
    ----------
    input_shape, output_shape : tuple of int
        (C, H, W) and (O, oH, oW).
    kernel_hw, stride_hw, padding, dilation_hw, groups, border, transposed, dtype, input_dtype, device
        The job, as given to :func:`plan_conv`.
    phases : tuple of pairs
        The correlations that it consists of (:mod:`convcli.engine.problem`).
    engine, method, sums, block, settings, band_rows, threads, memory_bytes
        The offer taken: see :class:`convcli.engine.algorithms.base.Candidate`.
    reason : str
        Why the engine was picked, in a sentence.
    exact : bool
        Whole-number samples and taps give the exact sums.
    bound : float
        Largest magnitude of a map before the bias; float samples count as at most 1.
    shared : bool
        Every group has the same kernels, and one plane.
    estimates : tuple of (str, float)
        Engine and its estimated milliseconds here, in the order of choice: cheapest first on a machine of four threads.
    excluded : tuple of (str, str)
        Engines that decline this job, with the reason; under ``auto`` also those that cannot be the cheapest.
    """

    input_shape: tuple[int, int, int]
    output_shape: tuple[int, int, int]
    kernel_hw: Pair
    stride_hw: Pair
    padding: tuple[Pair, Pair]
    dilation_hw: Pair
    groups: int
    border: Border
    transposed: bool
    phases: tuple[Phase, ...]
    dtype: str
    input_dtype: str
    engine: str
    method: str
    reason: str
    exact: bool
    sums: str
    block: int
    settings: tuple[Any, ...]
    band_rows: int
    threads: int
    memory_bytes: int
    device: str
    bound: float
    shared: bool
    estimates: tuple[tuple[str, float], ...]
    excluded: tuple[tuple[str, str], ...]

    @property
    def loops(self) -> str:
        """The loops in use, in words."""
        return native.loops()

    def as_dict(self) -> dict[str, object]:
        """Return the plan as plain data, in the words of the flags."""
        return {
            "engine": self.engine,
            "method": self.method,
            "reason": self.reason,
            "exact": self.exact,
            "sums": self.sums,
            "loops": self.loops,
            "dtype": self.dtype,
            "device": self.device,
            "threads": self.threads,
            "band_rows": self.band_rows,
            "block": self.block,
            "memory_bytes": self.memory_bytes,
            "padding_mode": str(self.border),
            "pattern": self.border.pattern,
            "estimates_ms": {name: round(ms, 3) for name, ms in self.estimates},
            "excluded": dict(self.excluded),
        }


def plan_conv(
    input_shape: tuple[int, int, int],
    weight: Array,
    stride: Pair = (1, 1),
    padding: tuple[Pair, Pair] = ((0, 0), (0, 0)),
    dilation: Pair = (1, 1),
    groups: int = 1,
    border: Border = Border("constant"),  # noqa: B008  (a tuple: immutable)
    *,
    transposed: bool = False,
    output_padding: Pair = (0, 0),
    dtype: str = "float32",
    input_dtype: str = "float32",
    engine: str = "auto",
    threads: int | None = None,
    memory: int | None = None,
    maps_kept: int = 0,
    device: str = "cpu",
) -> ConvPlan:
    """Plan one 2-D convolution; nothing is computed yet.

    Parameters
    ----------
    input_shape : (C, H, W)
    weight : ndarray
        Correlation taps ``(O, C/groups, kH, kW)``; transposed ``(C, O/groups, kH, kW)``, as in torch.
    stride, dilation, output_padding : (int, int)
        Rows, columns.
    padding : ((top, bottom), (left, right))
        Pixels added; for a transposed convolution, cut from the result.
    groups, transposed
    border : Border
        Samples of the padding. A transposed convolution has only zeros.
    dtype : {"float32", "float64"}
        Type of the maps and, except where ``plan.sums`` says otherwise, of the sums.
    input_dtype : str
        Type of the samples to come: whole samples and whole taps give exact sums up to a limit.
    engine : str
        ``auto`` or one of :data:`ENGINES`.
    threads, memory : int, optional
        Workers, by default as many as this process may use; bytes beyond input and output, by default 512 MiB.
    maps_kept : int
        Copies of a band of all maps that each thread of the caller holds: they count where bands cannot be divided, as
        in a transform.
    device : {"cpu", "cuda", "mps"}
        Other than ``cpu`` means torch.

    Raises
    ------
    GeometryError
        The window does not fit, groups do not divide, or shapes do not belong together.
    UsageError
        The engine is unknown or does not take this job, not even one row fits into ``memory``, or sums overflow.

    Examples
    --------
    >>> plan = plan_conv((3, 480, 640), np.ones((3, 1, 3, 3)), padding=((1, 1), (1, 1)), groups=3, input_dtype="uint8")
    >>> plan.output_shape, plan.sums, plan.exact
    ((3, 480, 640), 'float32', True)
    """
    weight = np.asarray(weight)
    output_shape = check_conv(
        input_shape, weight, stride, padding, dilation, groups, border, transposed, output_padding
    )
    if dtype not in ("float32", "float64"):
        raise UsageError(f"dtype {dtype!r} is not known", hint="float32 or float64")
    if threads is not None and threads < 1:
        raise UsageError(f"threads {threads} is too few", hint="at least 1")
    if device != "cpu" and engine not in ("auto", "torch"):
        raise UsageError(f"--engine {engine} runs on the CPU only", hint=f"--engine torch, or no --device {device}")
    if transposed:
        weight = as_correlation(weight, groups)  # from here on both kinds are correlations
    facts = tap_facts(weight, groups)
    axes = zip(weight.shape[2:], padding, stride, dilation, output_shape[1:], strict=True)
    phases = tuple(product(*(axis_phases(*axis, transposed=transposed) for axis in axes)))
    bound = facts.magnitude * max(SAMPLE_LIMITS.get(input_dtype, 1), abs(border.value))
    check_range(abs(border.value), dtype, f"padding of {border.value:.4g}")
    meet = f"{input_dtype} samples" + (f" and padding of {border.value:.4g}" if border.value else "")
    total = f"taps whose magnitudes add up to {facts.magnitude:.4g}, on {meet}"
    check_range(bound, dtype, total, taps=facts.magnitude)
    busiest = max(phases, key=lambda p: len(p[0].taps) * len(p[1].taps) * p[0].n_outputs * p[1].n_outputs)
    problem = Problem(
        weight=weight,
        n_groups=groups,
        shared=facts.shared,
        input_shape=input_shape,
        output_shape=output_shape,
        phases=phases,
        job=Job.of(weight.shape[1], len(weight) // groups, busiest, dtype),
        input_dtype=input_dtype,
        threads=threads or available_threads(),
        memory=memory or DEFAULT_MEMORY,
        kept_row_bytes=maps_kept * output_shape[0] * output_shape[2] * np.dtype(dtype).itemsize,
        device=device,
        border_value=border.value,
    )
    possible, declined = _candidates(problem, all_of_them=engine != "auto")
    chosen, reason = _choose(possible, declined, engine, device)
    whole = input_dtype in SAMPLE_LIMITS and facts.integer and border.value == round(border.value)
    # Whole numbers have no gaps up to there.
    exact_below = {"float32": 2.0**24, "float64": 2.0**53}[chosen.sums]
    return ConvPlan(
        kernel_hw=(weight.shape[2], weight.shape[3]),
        stride_hw=stride,
        padding=padding,
        dilation_hw=dilation,
        groups=groups,
        border=border,
        transposed=transposed,
        dtype=dtype,
        reason=reason,
        exact=load_algorithm(chosen.engine).adds_products and whole and bound < exact_below,
        bound=bound,
        estimates=tuple((c.engine, c.nanoseconds / 1e6) for c in possible),
        excluded=tuple((name, str(why)) for name, why in declined.items()),
        **{name: getattr(problem, name) for name in ASKED},
        **{name: getattr(chosen, name) for name in OFFERED},
    )


def _candidates(problem: Problem, *, all_of_them: bool) -> tuple[list[Candidate], dict[str, Declined]]:
    """Return the offers, cheapest first, and why the others decline; ask ``all_of_them``, or those that could win."""
    offers: list[Candidate] = []
    declined: dict[str, Declined] = {}
    least = {
        name: problem.n_groups * group_ns + problem.n_outputs * output_ns if problem.job.n_out >= n_maps else inf
        for name, (_, _, n_maps, output_ns, group_ns) in ALL.items()
    }
    for name in sorted(ALL, key=least.__getitem__):
        cheapest = min((c.score for c in offers if c.automatic), default=inf) * REFERENCE_THREADS
        try:
            if problem.device != "cpu" and name != "torch":
                raise Declined("runs on the CPU only")
            if least[name] > cheapest and not all_of_them:
                raise Declined("takes longer")
            offers.append(load_algorithm(name).offer(problem))
        except Declined as refusal:
            declined[name] = refusal
    return sorted(offers, key=lambda c: c.score), declined


def _next_best(best: Candidate, other: Candidate | None = None) -> str:
    """Name the next best engine and its time: here, or if it is quicker here, on the four threads of the comparison."""
    if other is None:
        return ""
    if best.nanoseconds <= other.nanoseconds:
        return f"; next {other.engine} at {other.nanoseconds / 1e6:.3g}"
    four = (best.score / 1e6, other.score / 1e6)
    return f" ({four[0]:.3g} on {REFERENCE_THREADS} threads); next {other.engine} ({four[1]:.3g})"


def _choose(
    possible: list[Candidate], declined: dict[str, Declined], engine: str, device: str
) -> tuple[Candidate, str]:
    """Return the candidate to run and why; ``possible`` is sorted by cost."""
    if device != "cpu":
        engine = "torch"
    if engine == "auto":
        pick = [c for c in possible if c.automatic]
        if not pick:
            short = (why for name, why in declined.items() if name not in NOT_PICKED)
            least = min((why for why in short if isinstance(why, TooLittleMemory)), key=lambda why: why.n_bytes)
            raise least.refusal("this convolution")
        best = pick[0]
        return best, f"{best.method}: estimated {best.nanoseconds / 1e6:.3g} ms{_next_best(*pick[:2])}"
    if engine not in ENGINES:
        hint = near_names(engine, ENGINES) or f"auto, {', '.join(ENGINES)}"
        raise UsageError(f"unknown engine {engine!r}", hint=hint)
    found = next((candidate for candidate in possible if candidate.engine == engine), None)
    if found is not None:
        return found, f"{'asked for' if device == 'cpu' else f'device {device}'}; {found.method}"
    why = declined[engine]
    if isinstance(why, TooLittleMemory):
        raise why.refusal(f"engine {engine}")
    raise UsageError(f"engine {engine} does not take this job: {why}", hint="--engine auto")
