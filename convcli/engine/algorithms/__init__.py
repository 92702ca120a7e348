"""The algorithms: one file each, with what it offers and how it runs. ``ALL`` is the registry, the reference first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convcli.engine import native
from convcli.engine.algorithms.base import Algorithm, BandAlgorithm
from convcli.engine.algorithms.direct import Direct
from convcli.engine.algorithms.fft import NARROW_INPUTS, OverlapSave, good_size
from convcli.engine.algorithms.gemm import Gemm
from convcli.engine.algorithms.im2col import Im2col
from convcli.engine.algorithms.reference import Reference
from convcli.engine.algorithms.separable import Separable
from convcli.engine.algorithms.torch import Torch
from convcli.geometry import window_px

if TYPE_CHECKING:
    from convcli.engine.job import Job
    from convcli.engine.plan import ConvPlan

__all__ = ["ALL", "Algorithm", "exact_algorithm", "make_algorithm"]

ALL: tuple[type[Algorithm], ...] = (Reference, Im2col, Gemm, Direct, Separable, OverlapSave, Torch)


def make_algorithm(plan: ConvPlan, job: Job) -> Algorithm:
    """Return the algorithm that ``plan`` names, for one phase.

    A plan made where the loops are compiled runs where they are not: the blocked product does the work.
    """
    made: Algorithm
    if plan.engine == "fft":
        tile_h = good_size(job.rows(plan.band_rows))
        tile_w = max(plan.block, good_size(window_px(job.kernel_hw[1], job.dilation_hw[1])))
        made = OverlapSave(job, (tile_h, tile_w), wide=plan.input_dtype not in NARROW_INPUTS)
    elif plan.engine == "separable":
        made = Separable(job, plan.rank)
    elif plan.engine == "torch":
        made = Torch(job, plan.device, plan.threads, plan.input_dtype if plan.border.value == 0 else plan.dtype)
    elif plan.engine == "gemm":
        made = Gemm(job, plan.block)
    elif plan.engine == "direct":
        made = Gemm(job) if native.core is None else Direct(job)
    else:
        made = {"reference": Reference, "im2col": Im2col}[plan.engine](job)
    if isinstance(made, BandAlgorithm):
        made.make_exact = exact_algorithm
    return made


def exact_algorithm(job: Job) -> Algorithm:
    """Return an algorithm whose outputs depend on nothing outside their windows, with sums in float64."""
    return Reference(job) if native.core is None else Direct(job._replace(dtype="float64"))
