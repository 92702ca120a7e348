"""The algorithms, by name, the reference first: each has its offer and the way it runs.

``ALL`` is the registry. It says where a class is, so that a plan loads only the algorithms that it asks
(:func:`convcli.engine.algorithms.base.load_algorithm`), and how little any of its offers can cost.
"""

from __future__ import annotations

from math import inf

#: Module and class; the fewest maps of a group for which it is picked; the least nanoseconds on one thread, for an
#: output sample and for a group beside them. Where another's offer costs less, an algorithm is not asked; the reference
#: never is.
ALL: dict[str, tuple[str, str, int, float, float]] = {
    "reference": ("direct", "Reference", 1, inf, 0.0),
    "im2col": ("gemm", "Im2col", 16, 0.3, 15e3),
    "gemm": ("gemm", "Gemm", 1, 0.7, 45e3),
    "direct": ("direct", "Direct", 1, 0.0, 0.0),
    "separable": ("separable", "Separable", 1, 0.7, 24e3),
    "fft": ("fft", "OverlapSave", 1, 3.0, 90e3),
    "torch": ("torch", "Torch", 1, 2.4, 0.0),
}
