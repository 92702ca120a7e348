"""What the planner needs to know about the taps: counts, not values."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from convcli.record import NamedTuple

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Largest magnitude of samples of each integer type (of what comes in; floats have no bound).
SAMPLE_LIMITS = {
    "bool": 1,
    "uint8": 255,
    "int8": 2**7,
    "uint16": 65535,
    "int16": 2**15,
    "uint32": 2**32 - 1,
    "int32": 2**31,
    "uint64": 2**64 - 1,
    "int64": 2**63,
}
#: Kernels are looked at so many taps at a time: no copies of a huge one.
TAPS_AT_ONCE = 2**20


class TapFacts(NamedTuple):
    """Numbers about a weight ``(O, I/groups, kH, kW)`` with its groups.

    Attributes
    ----------
    n_out, n_in : int
        Maps and planes per group.
    kernel_hw : tuple of int
    n_groups : int
    shared : bool
        Every group has the same kernels (and one plane): planes may be read as they lie, interleaved.
    n_nonzero : int
        Non-zero taps per map, on average, rounded up.
    integer : bool
        All taps are whole numbers.
    positive, negative : float
        Largest sum of positive taps, and of magnitudes of negative taps, of one map.
    magnitude : float
        Largest sum of magnitudes of one map.
    """

    n_out: int
    n_in: int
    kernel_hw: tuple[int, int]
    n_groups: int
    shared: bool
    n_nonzero: int
    integer: bool
    positive: float
    negative: float
    magnitude: float

    @property
    def taps(self) -> int:
        """Taps per output sample."""
        return self.n_in * self.kernel_hw[0] * self.kernel_hw[1]


def tap_facts(weight: NDArray[Any], groups: int) -> TapFacts:
    """Count what matters in ``weight``.

    Examples
    --------
    >>> sobel = np.tile([[[[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]]], (3, 1, 1, 1))
    >>> facts = tap_facts(sobel, 3)
    >>> facts.shared, facts.n_nonzero, facts.integer, facts.positive
    (True, 6, True, 4.0)
    """
    n_out, n_in, kernel_h, kernel_w = weight.shape
    by_group = weight.reshape(groups, n_out // groups, n_in, kernel_h, kernel_w)
    shared = n_in == 1 and all(np.array_equal(kernels, by_group[0]) for kernels in by_group[1:])
    counts = [_count(kernel) for kernel in (by_group[0] if shared else weight)]
    return TapFacts(
        n_out=n_out // groups,
        n_in=n_in,
        kernel_hw=(kernel_h, kernel_w),
        n_groups=groups,
        shared=shared,
        n_nonzero=-(-sum(count.n_nonzero for count in counts) // len(counts)),
        integer=all(count.integer for count in counts),
        positive=max(count.positive for count in counts),
        negative=max(count.negative for count in counts),
        magnitude=max(count.positive + count.negative for count in counts),
    )


class _Count(NamedTuple):
    """What one map's taps add up to."""

    n_nonzero: int
    integer: bool
    positive: float
    negative: float


def _count(kernel: NDArray[Any]) -> _Count:
    n_nonzero, integer, positive, negative = 0, True, 0.0, 0.0
    taps = kernel.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        for first in range(0, taps.size, TAPS_AT_ONCE):
            some = taps[first : first + TAPS_AT_ONCE]
            n_nonzero += int(np.count_nonzero(some))
            integer = integer and bool((some == np.rint(some)).all())
            positive += float(np.maximum(some, 0).sum(dtype=np.float64))
            negative -= float(np.minimum(some, 0).sum(dtype=np.float64))
    return _Count(n_nonzero, integer, positive, negative)


def sum_limit(facts: TapFacts, input_dtype: str, border_value: float) -> float | None:
    """Return a bound on every partial sum's magnitude if taps, samples and border are whole numbers, else None."""
    limit = SAMPLE_LIMITS.get(input_dtype)
    if limit is None or not facts.integer or border_value != round(border_value):
        return None
    return max(limit, abs(border_value)) * (facts.positive + facts.negative)


def map_bound(facts: TapFacts, input_dtype: str, border_value: float) -> float:
    """Return what no map's magnitude exceeds: of samples up to their type's largest, or up to 1 where they are floats.

    Examples
    --------
    >>> map_bound(tap_facts(np.full((1, 1, 3, 3), 2.0), 1), "uint8", 0.0)
    4590.0
    """
    with np.errstate(over="ignore"):
        return facts.magnitude * max(SAMPLE_LIMITS.get(input_dtype, 1), abs(border_value))


def held_by(input_dtype: str, border_value: float) -> bool:
    """Whether bands can be gathered in the samples' own small type: it holds the border's constant too."""
    limit = {"uint8": 255, "uint16": 65535}.get(input_dtype)
    return limit is not None and 0 <= border_value <= limit and border_value == round(border_value)


def fits_int16(facts: TapFacts, input_dtype: str, border_value: float) -> bool:
    """Whether 16-bit integers hold every sum of 8-bit samples exactly.

    Sums on the way may wrap; the last one is right because integers wrap around 2**16 and it lies inside.
    """
    if input_dtype != "uint8" or not facts.integer or border_value != round(border_value):
        return False
    low, high = min(0.0, border_value), max(255.0, border_value)
    largest = facts.positive * high - facts.negative * low
    smallest = facts.positive * low - facts.negative * high
    return -32768 <= low <= high <= 32767 and -32768 <= smallest <= largest <= 32767
