"""Tones of the maps of a bank: what ``--tone auto`` means for each."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convcli.pipeline.binding import MapName
    from convcli.pipeline.combine import Combination
    from convcli.pipeline.tone_spec import ToneSpec

_WHITE = {"8": 255, "16": 65535}


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
    from convcli.pipeline.tone_spec import ToneSpec, parse_tone

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
