"""The algorithms: each with its offer and the way it runs. ``ALL`` is the registry, the reference first."""

from __future__ import annotations

from convcli.engine.algorithms.base import Algorithm
from convcli.engine.algorithms.direct import Direct, Reference
from convcli.engine.algorithms.fft import OverlapSave
from convcli.engine.algorithms.gemm import Gemm, Im2col
from convcli.engine.algorithms.separable import Separable
from convcli.engine.algorithms.torch import Torch

ALL: tuple[type[Algorithm], ...] = (Reference, Im2col, Gemm, Direct, Separable, OverlapSave, Torch)
