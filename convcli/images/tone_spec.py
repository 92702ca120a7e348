"""Which tone was asked for, and what it did to the samples."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from convcli.errors import UsageError, near_names
from convcli.record import NamedTuple

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PLAIN = ("auto", "clip", "abs", "signed", "stretch")
_WITH_VALUE = ("offset", "scale")


class ToneSpec(NamedTuple):
    """A tone in its normal form: its name, and V for ``offset`` and ``scale``."""

    name: str
    value: float = 0.0

    @property
    def needs_range(self) -> bool:
        """Whether minimum and maximum of each whole map must be known before a sample is stored."""
        return self.name in ("signed", "stretch")

    def resolve(self, *, zero_sum: bool) -> ToneSpec:
        """Return what ``auto`` means for a map: ``abs`` if its taps sum to zero, else ``clip``."""
        if self.name != "auto":
            return self
        return ToneSpec("abs") if zero_sum else ToneSpec("clip")

    def __str__(self) -> str:
        return f"{self.name}:{self.value:g}" if self.name in _WITH_VALUE else self.name


def parse_tone(text: str) -> ToneSpec:
    """Parse ``auto|clip|abs|signed|stretch|offset:V|scale:V``.

    Raises
    ------
    UsageError
        The word is unknown, V is missing, superfluous or not a finite number.

    Examples
    --------
    >>> parse_tone("offset:128")
    ToneSpec(name='offset', value=128.0)
    >>> str(parse_tone("Abs").resolve(zero_sum=False))
    'abs'
    """
    name, colon, value_text = text.strip().lower().partition(":")
    if name not in _PLAIN + _WITH_VALUE:
        near = near_names(name, _PLAIN + _WITH_VALUE)
        known = "one of auto, clip, abs, signed, stretch, offset:V, scale:V"
        raise UsageError(f"--tone {text!r} is not a tone", hint=f"{near} {known}".strip())
    if name in _PLAIN:
        if colon:
            raise UsageError(f"--tone {text!r}: {name} takes no value", hint=f"--tone {name}")
        return ToneSpec(name)
    try:
        value = float(value_text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or (name == "scale" and value == 0):
        raise UsageError(f"--tone {text!r}: {name} needs a finite number", hint=f"--tone {name}:128")
    return ToneSpec(name, value)


class ToneCounts(NamedTuple):
    """What happened to the samples of each map; adds up over bands with ``+``.

    Attributes
    ----------
    n : int
        Samples in each map so far.
    n_low, n_high : ndarray of int64, shape (O,)
        Samples clipped to 0 and to the highest value.
    n_nan : ndarray of int64, shape (O,)
        Samples that were not a number, toned as 0 (kept with depth ``float``).
    minimum, maximum, total : ndarray of float64, shape (O,)
        Of the values before the tone, NaN left out.
    """

    n: int
    n_low: NDArray[np.int64]
    n_high: NDArray[np.int64]
    n_nan: NDArray[np.int64]
    minimum: NDArray[np.float64]
    maximum: NDArray[np.float64]
    total: NDArray[np.float64]

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean value of each map before the tone."""
        counted: NDArray[np.float64] = self.total / np.maximum(self.n - self.n_nan, 1)
        return counted

    def __add__(self, other: object) -> ToneCounts:
        """Return the counts of two bands together."""
        if not isinstance(other, ToneCounts):
            return NotImplemented
        return ToneCounts(
            self.n + other.n,
            self.n_low + other.n_low,
            self.n_high + other.n_high,
            self.n_nan + other.n_nan,
            np.minimum(self.minimum, other.minimum),
            np.maximum(self.maximum, other.maximum),
            self.total + other.total,
        )

    @classmethod
    def zero(cls, n_maps: int) -> ToneCounts:
        """Return the counts of no samples at all."""
        low, high, nan = np.zeros((3, n_maps), np.int64)
        return cls(0, low, high, nan, np.full(n_maps, np.inf), np.full(n_maps, -np.inf), np.zeros(n_maps))
