"""Convolution of images with missing samples: normalised over the samples that are there.

A missing sample counts as the mean of the others in its window, weighted by the kernel's absolute taps. Where taps have
one sign that is the renormalised convolution of Knutsson and Westin ("Normalized and differential convolution", CVPR
1993, with the certainty 0 or 1): the sum over the samples that are there, times all taps over those taps. For taps that
sum to zero the same rule gives 0 on a constant image, whatever is missing, where zeros in the gaps would draw edges.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from convcli.engine.borders import Array, Border, Planes, parse_border, read_rows
from convcli.engine.plan import ConvPlan, plan_conv
from convcli.engine.runner import Runner


class _Changed:
    """Planes whose rows are changed as they are read."""

    def __init__(self, planes: Planes, change: Callable[[Array], Array]) -> None:
        self.planes, self.change = planes, change
        self.shape, self.dtype = planes.shape, planes.dtype

    def rows(self, top: int, bottom: int) -> Array:
        return self.change(read_rows(self.planes, top, bottom))


def _replan(plan: ConvPlan, weight: Array, border: Border) -> ConvPlan:
    """Plan the same convolution with other taps and another border, in float64."""
    return plan_conv(
        plan.input_shape,
        weight,
        plan.stride_hw,
        plan.padding,
        plan.dilation_hw,
        plan.groups,
        border,
        dtype="float64",
        input_dtype=plan.input_dtype,
        threads=plan.threads,
    )


class MaskedRunner(Runner):
    """A plan for planes in which NaN marks missing samples; an output is NaN where its whole window is missing.

    Its parameters are those of :class:`Runner`: the plan is of an ordinary convolution.

    Examples
    --------
    >>> from convcli.engine import plan_conv
    >>> ones = np.ones((1, 1, 1, 3))
    >>> plan = plan_conv((1, 1, 4), ones, padding=((0, 0), (1, 1)), border=parse_border("replicate"))
    >>> MaskedRunner(plan, ones).run(np.array([[[1.0, np.nan, 3.0, 5.0]]], np.float32))
    array([[[ 3.,  6., 12., 13.]]], dtype=float32)
    """

    def __init__(self, plan: ConvPlan, weight: Array, bias: Array | None = None) -> None:
        super().__init__(plan, weight, bias)
        present = (weight != 0).astype(np.float64)
        absolute = np.abs(weight)
        # A constant beyond the edge is a sample that is there: it counts as 0 gaps.
        edge = parse_border("zeros") if plan.border.mode == "constant" else plan.border
        self._count, self._plain, self._lost = (
            Runner(_replan(plan, taps, edge), taps) for taps in (present, weight, absolute)
        )
        self._absolute = Runner(_replan(plan, absolute, plan.border), absolute)
        # Sums of all taps of a window, per map; the padding counts as samples that are there.
        self._n_taps = present.reshape(len(weight), -1).sum(axis=1)[:, None, None]
        self._norm = np.abs(weight).reshape(len(weight), -1).sum(axis=1)[:, None, None]

    def rows(self, planes: Planes, top: int, bottom: int, out: Array | None = None) -> Array:
        """Compute output rows as :meth:`Runner.rows`; planes are floats with NaN where a sample is missing."""
        filled = _Changed(planes, lambda rows: np.where(np.isnan(rows), rows.dtype.type(0), rows))
        missing = _Changed(planes, lambda rows: np.isnan(rows).astype(rows.dtype))
        maps = super().rows(filled, top, bottom, out)
        n_missing = self._count.rows(missing, top, bottom)
        if not n_missing.any():
            return maps
        mean = self._absolute.rows(filled, top, bottom).astype(np.float64)
        there = self._norm - self._lost.rows(missing, top, bottom)
        # Counts are sums in floats: half a sample is far from their rounding and from the next count.
        is_empty = n_missing >= self._n_taps - 0.5
        mean = np.divide(mean, there, out=np.full(mean.shape, np.nan), where=~is_empty)
        # Windows without a gap keep their sums to the last bit.
        gap = np.where(n_missing > 0.5, self._plain.rows(missing, top, bottom) * mean, 0)
        maps += gap.astype(maps.dtype)
        return maps

    def run(self, planes: Planes, out: Array | None = None) -> Array:
        """Compute every output row, as :meth:`Runner.run`."""
        return self.rows(planes, 0, self.plan.output_shape[1], out)

    def makes_bytes(self, dtype: np.dtype[Any]) -> bool:
        """Return False: bytes have no NaN."""
        del dtype
        return False
