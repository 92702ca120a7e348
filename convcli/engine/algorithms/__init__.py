"""The algorithms: one file each, with what it offers and how it runs. ``ALL`` is the registry, the reference first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convcli.engine import native
from convcli.engine.algorithms.base import Algorithm
from convcli.engine.algorithms.direct import Direct
from convcli.engine.algorithms.fft import OverlapSave
from convcli.engine.algorithms.gemm import Gemm
from convcli.engine.algorithms.im2col import Im2col
from convcli.engine.algorithms.reference import Reference
from convcli.engine.algorithms.separable import Separable
from convcli.engine.algorithms.torch import Torch

if TYPE_CHECKING:
    from convcli.engine.job import Job

__all__ = ["ALL", "Algorithm", "exact_algorithm"]

ALL: tuple[type[Algorithm], ...] = (Reference, Im2col, Gemm, Direct, Separable, OverlapSave, Torch)


def exact_algorithm(job: Job) -> Algorithm:
    """Return an algorithm whose outputs depend on nothing outside their windows, with sums in float64."""
    return Reference(job) if native.core is None else Direct(job._replace(dtype="float64"))
