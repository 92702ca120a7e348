"""The algorithms, by name, the reference first: each has its offer and the way it runs.

``ALL`` is the registry. It says where a class is, so that a plan loads only the algorithms that it asks
(:func:`convcli.engine.algorithms.base.load_algorithm`), and how little any of its offers can cost.
"""

from __future__ import annotations

from math import inf

#: Module and class of each; the least nanoseconds on one thread for an output sample, and for a sample of a window
#: that the maps of a group share. Where there is an offer below that, an algorithm is not asked; the reference never
#: is.
ALL: dict[str, tuple[str, str, float, float]] = {
    "reference": ("direct", "Reference", inf, 0.0),
    "im2col": ("gemm", "Im2col", 0.3, 0.3),
    "gemm": ("gemm", "Gemm", 0.7, 0.0),
    "direct": ("direct", "Direct", 0.0, 0.0),
    "separable": ("separable", "Separable", 0.7, 0.0),
    "fft": ("fft", "OverlapSave", 3.0, 0.0),
    "torch": ("torch", "Torch", 2.4, 0.0),
}
