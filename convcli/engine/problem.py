"""One convolution in integers: refused where it cannot be, the correlation of one group, and counts of its taps."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from convcli.engine.bands import Phase
from convcli.engine.borders import Border
from convcli.errors import GeometryError, UsageError
from convcli.geometry.arithmetic import Pair, check_groups, conv_output_px, conv_transpose_output_px, window_px

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
    weight: NDArray[Any],
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
    sizes = [
        output_px(
            input_shape[1 + axis],
            weight.shape[2 + axis],
            stride=stride[axis],
            dilation=dilation[axis],
            pads=padding[axis],
            extra=output_padding[axis] if transposed else None,
        )
        for axis in range(2)
    ]
    return (n_out, sizes[0], sizes[1])


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


def too_little(what: str, n_bytes: int) -> UsageError:
    """Return the refusal of a convolution that needs at least ``n_bytes`` of memory."""
    words = format_bytes(n_bytes)
    flag = words.replace(" bytes", "").replace(" KiB", "K").replace(" MiB", "M")  # as --memory reads it
    return UsageError(f"{what} needs at least {words} of memory", hint=f"--memory {flag}")


def format_bytes(n_bytes: int) -> str:
    """Return a number of bytes in words, rounded up so that the printed amount is enough.

    Examples
    --------
    >>> format_bytes(900), format_bytes(2049), format_bytes(600 * 2**20)
    ('900 bytes', '3 KiB', '600 MiB')
    """
    if n_bytes < 1024:
        return f"{n_bytes} bytes"
    if n_bytes < 100 * 2**20:
        return f"{-(-n_bytes // 2**10)} KiB"
    return f"{-(-n_bytes // 2**20)} MiB"


class Job(NamedTuple):
    """One valid correlation: a group of planes, all its kernels, full output width. Every algorithm is given one."""

    n_in: int
    n_out: int
    kernel_hw: Pair
    stride_hw: Pair
    dilation_hw: Pair
    output_w: int
    dtype: str

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


class TapFacts(NamedTuple):
    """Numbers about a weight ``(O, I/groups, kH, kW)`` with its groups.

    ``n_out`` and ``n_in`` are the maps and planes of a group; ``shared``: every group has the same kernels, and one
    plane; ``integer``: all taps are whole numbers; ``magnitude``: the largest sum of magnitudes of one map.
    """

    n_out: int
    n_in: int
    kernel_hw: Pair
    n_groups: int
    shared: bool
    integer: bool
    magnitude: float

    def job(self, phase: Phase, dtype: str) -> Job:
        """Return the job of one group in ``phase``; steps that are never taken are 1, and cost nothing."""
        rows, columns = phase
        return Job(
            n_in=self.n_in,
            n_out=self.n_out,
            kernel_hw=(max(len(rows.taps), 1), max(len(columns.taps), 1)),
            stride_hw=(rows.stride if rows.n_outputs > 1 else 1, columns.stride if columns.n_outputs > 1 else 1),
            dilation_hw=(rows.dilation if len(rows.taps) > 1 else 1, columns.dilation if len(columns.taps) > 1 else 1),
            output_w=columns.n_outputs,
            dtype=dtype,
        )

    def largest_job(self, phases: tuple[Phase, ...], dtype: str) -> Job:
        """Return the job of the phase with the most work."""
        return self.job(
            max(phases, key=lambda p: len(p[0].taps) * len(p[1].taps) * p[0].n_outputs * p[1].n_outputs), dtype
        )

    def map_bound(self, input_dtype: str, border_value: float) -> float:
        """Return the largest magnitude a map can have; float samples count as at most 1.

        Examples
        --------
        >>> tap_facts(np.full((1, 1, 3, 3), 2.0), 1).map_bound("uint8", 0.0)
        4590.0
        """
        with np.errstate(over="ignore"):
            return self.magnitude * max(SAMPLE_LIMITS.get(input_dtype, 1), abs(border_value))

    def sum_limit(self, input_dtype: str, border_value: float) -> float | None:
        """Return a bound on every partial sum's magnitude if taps, samples and border are whole numbers, else None."""
        limit = SAMPLE_LIMITS.get(input_dtype)
        if limit is None or not self.integer or border_value != round(border_value):
            return None
        return max(limit, abs(border_value)) * self.magnitude


def tap_facts(weight: NDArray[Any], groups: int) -> TapFacts:
    """Return the facts about ``weight`` that a plan needs.

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
    return TapFacts(
        n_out=n_out // groups,
        n_in=n_in,
        kernel_hw=(kernel_h, kernel_w),
        n_groups=groups,
        shared=shared,
        integer=all(integer for integer, _ in counts),
        magnitude=max(magnitude for _, magnitude in counts),
    )


def _count(kernel: NDArray[Any]) -> tuple[bool, float]:
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

    facts: TapFacts
    weight: NDArray[Any]
    input_shape: tuple[int, int, int]
    output_shape: tuple[int, int, int]
    phases: tuple[Phase, ...]
    job: Job
    dtype: str
    input_dtype: str
    threads: int
    memory: int
    kept_row_bytes: int
    device: str
    border_value: float

    @property
    def n_matrices(self) -> int:
        """Sets of kernels that are prepared: one a phase where all groups share theirs."""
        return len(self.phases) * (1 if self.facts.shared else self.facts.n_groups)

    @property
    def rows(self) -> int:
        """Output rows of the largest phase."""
        return max(phase[0].n_outputs for phase in self.phases)

    @property
    def group_rows(self) -> int:
        """Output rows of all phases and groups."""
        return sum(phase[0].n_outputs for phase in self.phases) * self.facts.n_groups

    @property
    def n_outputs(self) -> int:
        """Output samples in all."""
        return self.output_shape[0] * self.output_shape[1] * self.output_shape[2]

    @property
    def n_inputs(self) -> int:
        """Input samples in all."""
        return self.input_shape[0] * self.input_shape[1] * self.input_shape[2]
