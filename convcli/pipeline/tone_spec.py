"""Which tone was asked for."""

from __future__ import annotations

import math
from typing import NamedTuple

from convcli.errors import UsageError, near_names

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
