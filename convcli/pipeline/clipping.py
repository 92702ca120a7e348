"""Advice on clipped samples: whether the clipping was to be expected, and the tone that avoids it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from convcli.pipeline.tones import WHITE

#: Share of clipped samples above which the report warns.
CLIP_WARNING = 0.001


def clip_messages(maps: Sequence[Mapping[str, Any]], *, where: str = "") -> tuple[list[str], list[str]]:
    """Return (notes, warnings) on what the tones of maps clipped and could not store.

    Parameters
    ----------
    maps : sequence of mapping
        Entries of a report's ``maps``, of one image or of several.
    where : str
        Put behind the fact of a warning: which inputs it is about.
    """
    warnings = []
    if n_nan := sum(one["not_a_number"] for one in maps):
        stored = "" if all(one["tone"] == "none" or one["depth"] == "float" for one in maps) else ", taken as 0"
        warnings.append(f"{n_nan} samples are not a number{stored}{where}")
    clipped = [one for one in maps if one["clipped_low"] + one["clipped_high"] > CLIP_WARNING * one["samples"]]
    expected = [one for one in clipped if one["keeps_brightness"]]
    others = [one for one in clipped if not one["keeps_brightness"]]
    notes = (
        [f"{_fact(expected)}{where}, as kernels that keep brightness do; -o maps.npy keeps them"] if expected else []
    )
    if others:
        warnings.append(f"{_fact(others)}{where}; --tone {helping_tone(maps)} keeps them, and so does -o maps.npy")
    return notes, warnings


def helping_tone(maps: Sequence[Mapping[str, Any]]) -> str:
    """Return the tone under which no sample of ``maps`` is clipped and that differs least from theirs.

    A number serves all maps, for ``--tone`` is about all of them: where their tones differ, each map is stretched.

    Examples
    --------
    >>> one = {"tone": "abs", "depth": "8", "min": -1009.0, "max": 991.0}
    >>> helping_tone([one]), helping_tone([{**one, "tone": "clip", "min": 0.0}])
    ('abs:0.252', 'scale:0.257')
    >>> helping_tone([{**one, "tone": "clip"}])
    'signed'
    """
    tones = {one["tone"].partition(":")[0] for one in maps}
    low, high = min(one["min"] for one in maps), max(one["max"] for one in maps)
    full = WHITE.get(maps[0]["depth"], 1)
    if len(tones) > 1 or not math.isfinite(high - low):
        return "stretch"
    (tone,) = tones
    if tone == "offset":
        return f"offset:{-low:g}" if high - low <= full else "signed"
    peak = max(-low, high) if tone == "abs" else high
    # With a sign there is no gain that helps: the middle of the scale becomes 0.
    if (tone != "abs" and low < 0) or peak <= 0:
        return "signed"
    return f"{'abs' if tone == 'abs' else 'scale'}:{_rounded_down(full / peak):g}"


def _rounded_down(value: float) -> float:
    """Return ``value`` with three digits, not above it.

    Examples
    --------
    >>> _rounded_down(0.22889), _rounded_down(0.0031499)
    (0.228, 0.00314)
    """
    unit = 10.0 ** (math.floor(math.log10(value)) - 2)
    return float(f"{math.floor(value / unit * (1 + 1e-12)) * unit:.3g}")


def _fact(maps: Sequence[Mapping[str, Any]]) -> str:
    low, high = sum(one["clipped_low"] for one in maps), sum(one["clipped_high"] for one in maps)
    share = 100 * (low + high) / sum(one["samples"] for one in maps)
    values = f"{min(one['min'] for one in maps):.5g} to {max(one['max'] for one in maps):.5g}"
    both = f"{low} samples clipped low and {high} high"
    text = both if low and high else f"{low + high} samples clipped {'low' if low else 'high'}"
    return f"{text} ({_percent(share)}, values {values})"


def _percent(share: float) -> str:
    """Return a share in percent as text, with two digits.

    Examples
    --------
    >>> _percent(100.0), _percent(62.4), _percent(0.123)
    ('100 %', '62 %', '0.12 %')
    """
    return f"{share:.0f} %" if share >= 10 else f"{share:.2g} %"
