"""A convolution, or a transposed one, as correlations whose outputs interleave.

A convolution is one phase. A transposed convolution with stride s writes every s-th output from every s-th tap: it is
s correlations per axis, one per residue, of stride 1 over the same input; no zeros are inserted or multiplied. With
dilation d only residues that gcd(s, d) divides have taps; the others keep only the bias.
"""

from __future__ import annotations

import itertools
from math import gcd
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class AxisPhase(NamedTuple):
    """One axis of a phase.

    Attributes
    ----------
    taps : tuple of int
        Which taps of the kernel, in the order in which they meet the input; empty: none.
    before : int
        Position of the first input sample on the padded axis (negative: samples cut).
    stride, dilation : int
    first, step, n_outputs : int
        Outputs written: ``first, first + step, …``, ``n_outputs`` of them.
    """

    taps: tuple[int, ...]
    before: int
    stride: int
    dilation: int
    first: int
    step: int
    n_outputs: int


Phase = tuple[AxisPhase, ...]


def conv_axis(kernel_px: int, *, before_px: int, stride: int, dilation: int, output_px: int) -> tuple[AxisPhase, ...]:
    """Return the one phase of an ordinary convolution."""
    return (AxisPhase(tuple(range(kernel_px)), before_px, stride, dilation, 0, 1, output_px),)


def transposed_axis(
    kernel_px: int, *, before_px: int, stride: int, dilation: int, output_px: int
) -> tuple[AxisPhase, ...]:
    """Return the phases of a transposed convolution, one per output residue that occurs.

    Output y stands at Y = y + before of the uncut result, where ``Y = stride·i + dilation·r`` for input i and tap r.

    Examples
    --------
    >>> phases = transposed_axis(3, before_px=1, stride=2, dilation=1, output_px=4)
    >>> [(p.taps, p.before, p.first, p.n_outputs) for p in phases]
    [((1,), 0, 0, 2), ((2, 0), 0, 1, 2)]
    """
    apart = gcd(stride, dilation)
    phases = []
    for first in range(min(stride, output_px)):
        at = first + before_px
        taps = [r for r in range(kernel_px) if (at - dilation * r) % stride == 0]
        # Larger taps meet earlier inputs: turn them round so that the window runs forward.
        start = (at - dilation * taps[-1]) // stride if taps else 0
        count = -(-(output_px - first) // stride)
        phases.append(AxisPhase(tuple(taps[::-1]), -start, 1, dilation // apart, first, stride, count))
    return tuple(phases)


def phases_of(axes: list[tuple[AxisPhase, ...]]) -> tuple[Phase, ...]:
    """Return every combination of the axes' phases."""
    return tuple(itertools.product(*axes))


def phase_weight(weight: NDArray[Any], phase: Phase) -> NDArray[Any]:
    """Return the taps of one phase; an axis without any gets a single zero."""
    if any(not axis.taps for axis in phase):
        return np.zeros((*weight.shape[:2], *[max(len(axis.taps), 1) for axis in phase]))
    for position, axis in enumerate(phase, start=2):
        if axis.taps != tuple(range(weight.shape[position])):  # a huge kernel is not copied for nothing
            weight = np.take(weight, axis.taps, axis=position)
    return weight


def as_correlation(weight: NDArray[Any], groups: int) -> NDArray[Any]:
    """Return transposed weights ``(I, O/g, …)`` in the order of ordinary ones, ``(O, I/g, …)``; taps stay."""
    n_in, n_out, *kernel = weight.shape
    split = weight.reshape(groups, n_in // groups, n_out, *kernel)
    return split.swapaxes(1, 2).reshape(groups * n_out, n_in // groups, *kernel)
