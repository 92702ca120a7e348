"""What the planner needs to know about the taps: counts, not values."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

#: Largest magnitude of samples of each integer type (of what comes in; floats have no bound).
SAMPLE_LIMITS = {"bool": 1, "uint8": 255, "int8": 128, "uint16": 65535, "int16": 32768}


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
    return TapFacts(
        n_out=n_out // groups,
        n_in=n_in,
        kernel_hw=(kernel_h, kernel_w),
        n_groups=groups,
        shared=n_in == 1 and bool((by_group == by_group[:1]).all()),
        n_nonzero=-(-int(np.count_nonzero(weight)) // n_out),
        integer=bool((weight == np.rint(weight)).all()),
        positive=float(np.maximum(weight, 0).sum(axis=(1, 2, 3)).max()),
        negative=float(np.maximum(-weight, 0).sum(axis=(1, 2, 3)).max()),
    )


def sum_limit(facts: TapFacts, input_dtype: str, border_value: float) -> float | None:
    """Return a bound on every partial sum's magnitude if taps, samples and border are whole numbers, else None."""
    limit = SAMPLE_LIMITS.get(input_dtype)
    if limit is None or not facts.integer or border_value != round(border_value):
        return None
    return max(limit, abs(border_value)) * (facts.positive + facts.negative)


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
