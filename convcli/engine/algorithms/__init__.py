"""The algorithms: each with its offer and the way it runs. ``ALL`` is the registry, the reference first.

A row says where its class is, so that a plan loads only the algorithms that it asks.
"""

from __future__ import annotations

from importlib import import_module
from math import inf
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from convcli.engine.algorithms.base import Algorithm


class Row(NamedTuple):
    """An algorithm: its module and class, and the least nanoseconds on one thread that any of its offers names.

    ``output_ns`` for an output sample; ``window_ns`` for a sample of a window that it copies, which the maps of a group
    share. A plan that has a cheaper offer does not ask it.
    """

    module: str
    class_name: str
    output_ns: float
    window_ns: float = 0.0

    def load(self) -> type[Algorithm]:
        """Return the class."""
        found: type[Algorithm] = getattr(import_module(f"{__name__}.{self.module}"), self.class_name)
        return found


ALL = {
    "reference": Row("direct", "Reference", inf),  # never picked unasked
    "im2col": Row("gemm", "Im2col", 0.3, 0.3),
    "gemm": Row("gemm", "Gemm", 0.7),
    "direct": Row("direct", "Direct", 0.0),
    "separable": Row("separable", "Separable", 0.7),
    "fft": Row("fft", "OverlapSave", 3.0),
    "torch": Row("torch", "Torch", 2.4),
}
