"""One convolution in integers: what is refused, its phases, the correlation of one group, and facts about its taps.

A convolution is one phase. A transposed convolution with stride s writes every s-th output from every s-th tap: it is
s correlations per axis, one per residue, of stride 1 over the same input; no zeros are inserted or multiplied. With
dilation d only residues that gcd(s, d) divides have taps; the others keep only the bias.
"""

from __future__ import annotations

from math import gcd, prod
from typing import NamedTuple

import numpy as np

from convcli.engine.borders import Array, Border
from convcli.errors import GeometryError, UsageError
from convcli.geometry.arithmetic import Pair, check_groups, conv_output_px, window_px
from convcli.geometry.transposed import conv_transpose_output_px

#: Largest magnitude of samples of each integer type; floats have no bound.
SAMPLE_LIMITS: dict[str, int] = {
    "bool": 1,
    **{f"uint{n}": 2**n - 1 for n in (8, 16, 32, 64)},
    **{f"int{n}": 2 ** (n - 1) for n in (8, 16, 32, 64)},
}
#: Taps looked at in one step, so that a huge kernel is not copied.
TAPS_AT_ONCE = 2**20


def check_conv(
    input_shape: tuple[int, int, int],
    weight: Array,
    stride: Pair,
    padding: tuple[Pair, Pair],
    dilation: Pair,
    groups: int,
    border: Border,
    transposed: bool,
    output_padding: Pair,
) -> tuple[int, int, int]:
    """Return the output's shape; refuse shapes that do not belong together."""
    if weight.ndim != 4 or min(weight.shape) < 1:
        raise GeometryError(f"weight of shape {weight.shape}: four axes of at least 1 are needed (O, I/groups, kH, kW)")
    if min(input_shape) < 1:
        raise GeometryError(f"input of shape {input_shape} has no samples")
    if min(stride) < 1 or min(dilation) < 1:
        raise GeometryError(f"stride {stride} and dilation {dilation} must be at least 1")
    channels = input_shape[0]
    n_out, found = (weight.shape[1] * groups, weight.shape[0]) if transposed else weight.shape[:2]
    check_groups(channels, n_out, groups)
    expected = channels if transposed else channels // groups
    if found != expected:
        raise GeometryError(
            f"weight {weight.shape} takes {found} planes per {'input' if transposed else 'group'}, "
            f"but {channels} planes in {groups} groups give {expected}",
            hint=f"groups={channels // found}" if not transposed and channels % found == 0 else None,
            in_channels=channels,
            groups=groups,
        )
    if transposed and border != Border("constant"):
        raise UsageError("a transposed convolution has no border but zeros", hint="--padding-mode zeros")
    axes = zip(input_shape[1:], weight.shape[2:], stride, dilation, padding, output_padding, strict=True)
    height, width = (
        output_px(size, kernel, stride=step, dilation=gap, pads=pads, extra=extra if transposed else None)
        for size, kernel, step, gap, pads, extra in axes
    )
    return (n_out, height, width)


def output_px(size: int, kernel: int, *, stride: int, dilation: int, pads: Pair, extra: int | None) -> int:
    """Return the output's length along one axis; transposed where there is an ``extra``, the output padding."""
    window = {"stride": stride, "dilation": dilation, "pad_px": sum(pads)}
    if extra is None:
        return conv_output_px(size, kernel, **window)
    return conv_transpose_output_px(size, kernel, output_padding=extra, **window)


def check_range(bound: float, dtype: str, what: str, *, taps: float = 0.0) -> None:
    """Refuse maps whose magnitude, at most ``bound``, may leave the range of ``dtype``; ``what`` names the cause.

    A bound that overflowed to infinity is refused; NaN, which only taps that are NaN cause, passes. ``taps``, the sum
    of magnitudes of a map, is refused where it is not 0 and below the least number that has all its digits.
    """
    largest, least = float(np.finfo(dtype).max), float(np.finfo(dtype).tiny)
    if 0 < taps < least:
        hint = "--dtype float64" if taps >= np.finfo(np.float64).tiny else "larger numbers, and --tone scale:V"
        raise UsageError(f"{what}: {dtype} begins at {least:.4g}, and they lose their digits", hint=hint)
    # Not "bound <= largest": NaN must pass.
    if not bound > largest:
        return
    hint = "--dtype float64" if dtype == "float32" and bound <= np.finfo(np.float64).max else "smaller numbers"
    raise UsageError(f"{what}: maps may reach {bound:.4g}, and {dtype} ends at {largest:.4g}", hint=hint)


class AxisPhase(NamedTuple):
    """One axis of a phase.

    ``taps`` are indices of the kernel's taps in the order in which they meet the input, possibly none; ``before`` is
    the position of the first input sample on the padded axis (negative: samples cut). The phase writes ``n_outputs``
    outputs: ``first, first + step, …``.
    """

    taps: tuple[int, ...]
    before: int
    stride: int
    dilation: int
    first: int
    step: int
    n_outputs: int


Phase = tuple[AxisPhase, ...]


def axis_phases(
    kernel_px: int, pads: Pair, stride: int, dilation: int, output_px: int, *, transposed: bool
) -> tuple[AxisPhase, ...]:
    """Return the phases of one axis: one, or of a transposed convolution one per output residue that occurs.

    Output y stands at Y = y + before of the uncut result, where ``Y = stride·i + dilation·r`` for input i and tap r.

    Examples
    --------
    >>> phases = axis_phases(3, (1, 0), stride=2, dilation=1, output_px=4, transposed=True)
    >>> [(p.taps, p.before, p.first, p.n_outputs) for p in phases]
    [((1,), 0, 0, 2), ((2, 0), 0, 1, 2)]
    """
    if not transposed:
        return (AxisPhase(tuple(range(kernel_px)), pads[0], stride, dilation, 0, 1, output_px),)
    apart = gcd(stride, dilation)
    phases = []
    for first in range(min(stride, output_px)):
        at = first + pads[0]
        taps = [r for r in range(kernel_px) if (at - dilation * r) % stride == 0]
        # Larger taps meet earlier inputs: reverse them so that the window runs forward.
        start = (at - dilation * taps[-1]) // stride if taps else 0
        count = -(-(output_px - first) // stride)
        phases.append(AxisPhase(tuple(taps[::-1]), -start, 1, dilation // apart, first, stride, count))
    return tuple(phases)


def phase_weight(weight: Array, phase: Phase) -> Array:
    """Return the taps of one phase; an axis without any gets a single zero."""
    if any(not axis.taps for axis in phase):
        return np.zeros((*weight.shape[:2], *[max(len(axis.taps), 1) for axis in phase]))
    for position, axis in enumerate(phase, start=2):
        if axis.taps != tuple(range(weight.shape[position])):  # a huge kernel is not copied for nothing
            weight = np.take(weight, axis.taps, axis=position)
    return weight


def as_correlation(weight: Array, groups: int) -> Array:
    """Return transposed weights ``(I, O/g, …)`` in the order of ordinary ones, ``(O, I/g, …)``, not flipped."""
    n_in, n_out, *kernel = weight.shape
    split = weight.reshape(groups, n_in // groups, n_out, *kernel)
    return split.swapaxes(1, 2).reshape(groups * n_out, n_in // groups, *kernel)


class Job(NamedTuple):
    """One valid correlation: a group of planes, all its kernels, full output width. Every algorithm is given one."""

    n_in: int
    n_out: int
    kernel_hw: Pair
    stride_hw: Pair
    dilation_hw: Pair
    output_w: int
    dtype: str

    @classmethod
    def of(cls, n_in: int, n_out: int, phase: Phase, dtype: str) -> Job:
        """Return the job of one group in ``phase``; steps that are never taken are 1, and cost nothing."""
        rows, columns = phase
        return cls(
            n_in=n_in,
            n_out=n_out,
            kernel_hw=(max(len(rows.taps), 1), max(len(columns.taps), 1)),
            stride_hw=(rows.stride if rows.n_outputs > 1 else 1, columns.stride if columns.n_outputs > 1 else 1),
            dilation_hw=(rows.dilation if len(rows.taps) > 1 else 1, columns.dilation if len(columns.taps) > 1 else 1),
            output_w=columns.n_outputs,
            dtype=dtype,
        )

    @property
    def window_hw(self) -> Pair:
        """Rows and columns that a window covers."""
        return window_px(self.kernel_hw[0], self.dilation_hw[0]), window_px(self.kernel_hw[1], self.dilation_hw[1])

    @property
    def columns(self) -> int:
        """Padded columns that the outputs of one row read."""
        return (self.output_w - 1) * self.stride_hw[1] + window_px(self.kernel_hw[1], self.dilation_hw[1])

    def rows(self, n_output: int) -> int:
        """Return the padded rows that ``n_output`` rows of output read."""
        return (n_output - 1) * self.stride_hw[0] + window_px(self.kernel_hw[0], self.dilation_hw[0])

    @property
    def taps(self) -> int:
        """Taps per output sample."""
        return self.n_in * self.kernel_hw[0] * self.kernel_hw[1]

    @property
    def itemsize(self) -> int:
        """Bytes of a sum."""
        return 8 if self.dtype == "float64" else 4

    def band_bytes(self, columns: int, n_output: int) -> int:
        """Return the bytes of a band of so many columns for ``n_output`` rows of output, in the type of the sums."""
        return self.itemsize * self.n_in * self.rows(n_output) * columns


class TapFacts(NamedTuple):
    """``shared``: every group has the same kernels, and one plane; ``integer``: all taps are whole numbers.

    ``magnitude`` is the largest sum of magnitudes of one map.
    """

    shared: bool
    integer: bool
    magnitude: float


def tap_facts(weight: Array, groups: int) -> TapFacts:
    """Return the facts about a weight ``(O, I/groups, kH, kW)`` that a plan needs.

    Examples
    --------
    >>> sobel = np.tile([[[[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]]], (3, 1, 1, 1))
    >>> facts = tap_facts(sobel, 3)
    >>> facts.shared, facts.integer, facts.magnitude
    (True, True, 8.0)
    """
    n_out, n_in, kernel_h, kernel_w = weight.shape
    by_group = weight.reshape(groups, n_out // groups, n_in, kernel_h, kernel_w)
    # Kernels that all groups share are prepared once.
    shared = n_in == 1 and all(np.array_equal(kernels, by_group[0]) for kernels in by_group[1:])
    counts = [_count(kernel) for kernel in (by_group[0] if shared else weight)]
    return TapFacts(shared, all(integer for integer, _ in counts), max(magnitude for _, magnitude in counts))


def _count(kernel: Array) -> tuple[bool, float]:
    """Return whether one map's taps are whole numbers, and the sum of their magnitudes."""
    integer, magnitude, taps = True, 0.0, kernel.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        for first in range(0, taps.size, TAPS_AT_ONCE):
            some = taps[first : first + TAPS_AT_ONCE]
            # NaN equals nothing, so such taps count as not whole.
            integer = integer and bool((some == np.rint(some)).all())
            # In float64: a float32 sum of many taps could fall below the true bound.
            magnitude += float(np.abs(some).sum(dtype=np.float64))
    return integer, magnitude


class Problem(NamedTuple):
    """One convolution to be planned: integers, and the taps to be looked at."""

    weight: Array
    n_groups: int
    shared: bool
    input_shape: tuple[int, int, int]
    output_shape: tuple[int, int, int]
    phases: tuple[Phase, ...]
    job: Job
    input_dtype: str
    threads: int
    memory: int
    kept_row_bytes: int
    device: str
    border_value: float

    @property
    def n_matrices(self) -> int:
        """Sets of kernels that are prepared: one a phase where all groups share theirs."""
        return len(self.phases) * (1 if self.shared else self.n_groups)

    @property
    def rows(self) -> int:
        """Output rows of the largest phase."""
        return max(phase[0].n_outputs for phase in self.phases)

    @property
    def group_rows(self) -> int:
        """Output rows of all phases and groups."""
        return sum(phase[0].n_outputs for phase in self.phases) * self.n_groups

    @property
    def n_outputs(self) -> int:
        """Output samples in all."""
        return prod(self.output_shape)

    @property
    def n_inputs(self) -> int:
        """Input samples in all."""
        return prod(self.input_shape)
