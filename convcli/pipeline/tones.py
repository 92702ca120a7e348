"""Tones in words: what was asked for, and what ``--tone auto`` means for each map of a bank."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from convcli.errors import UsageError, near_names

if TYPE_CHECKING:
    from convcli.pipeline.binding import MapName
    from convcli.pipeline.combine import Combination

_PLAIN = ("auto", "clip", "abs", "signed", "stretch")
_WITH_VALUE = ("offset", "scale")
_WHITE = {"8": 255, "16": 65535}


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


def resolve_tones(
    tone: str,
    maps: tuple[MapName, ...],
    depth: str,
    *,
    combination: Combination,
    n_kernels: int,
    computes_alpha: bool = False,
    on_sheet: bool = False,
) -> tuple[ToneSpec, ...]:
    """Return the tone of each map, ``auto`` resolved: zero-sum taps ``abs``, others ``clip``.

    Parameters
    ----------
    tone : str
        As asked.
    maps : tuple of MapName
        After combining.
    depth : {"8", "16", "float"}
    combination : Combination
        ``argmax`` gives indexes 0..K-1; ``auto`` spreads them over the scale, so that they can be seen.
    n_kernels : int
    computes_alpha : bool
        Maps of plane ``a`` are the alpha of a picture, which is ``clip`` whatever was asked for.
    on_sheet : bool
        A contact sheet is to be looked at: ``auto`` is ``signed`` for zero-sum taps, so that weak responses are seen
        beside strong ones.

    Examples
    --------
    >>> from convcli.pipeline.binding import MapName
    >>> from convcli.pipeline.combine import Combination
    >>> name = MapName(kernel="argmax", channel="l", zero_sum=True)
    >>> spread = Combination(combine="argmax")
    >>> str(resolve_tones("auto", (name,), "8", combination=spread, n_kernels=4)[0])
    'scale:85'
    """
    asked = parse_tone(tone)
    specs = []
    for named in maps:
        spec = asked.resolve(zero_sum=named.zero_sum)
        if asked.name == "auto" and on_sheet and named.zero_sum:
            spec = ToneSpec("signed")
        if asked.name == "auto" and combination.combine == "argmax":
            highest = max(combination.n_parts(n_kernels) - 1, 1)
            spec = ToneSpec("scale", _WHITE.get(depth, highest) / highest)
        if computes_alpha and named.channel == "a":
            spec = ToneSpec("clip")
        specs.append(spec)
    return tuple(specs)
