"""The report of one image: its plan, and what the run found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convcli.pipeline.describe import describe
from convcli.pipeline.report import plain
from convcli.pipeline.writers import RawSink, Sink

if TYPE_CHECKING:
    from convcli.pipeline.outputs import Plan

#: Share of clipped samples above which the report warns.
CLIP_WARNING = 0.001


def image_report(plan: Plan, sinks: list[Sink], sizes: list[int | None], seconds: float) -> dict[str, Any]:
    """Return the plan's description with what the run found: values, clipped samples, bytes, seconds."""
    report: dict[str, Any] = describe(plan)
    maps: dict[int, dict[str, Any]] = {}
    for sink, size, entry in zip(sinks, sizes, report["outputs"], strict=True):
        entry["bytes"] = size
        counts = sink.counts
        raw = isinstance(sink, RawSink)
        tones = plan.tones(sink.output.depth)
        for place, index in enumerate(sink.output.maps):
            named = plan.maps[index]
            maps[index] = {
                "name": named.label,
                "kernel": named.kernel,
                "channel": named.channel,
                "path": entry["path"],
                "min": float(counts.minimum[place]),
                "max": float(counts.maximum[place]),
                "mean": float(counts.mean[place]),
                "tone": "none" if raw else str(tones[index]),
                "clipped_low": int(counts.n_low[place]),
                "clipped_high": int(counts.n_high[place]),
                "not_a_number": int(counts.n_nan[place]),
                **_gain(sink, place),
                "samples": counts.n,
            }
    report["maps"] = [maps[index] for index in sorted(maps)]
    report["warnings"] = _warnings(report["maps"])
    report["seconds"] = round(seconds, 4)
    plain_report = plain(report)
    assert isinstance(plain_report, dict)
    return plain_report


def _gain(sink: Sink, place: int) -> dict[str, float]:
    r"""Return how a value became a sample: gain * v + offset, or of \|v\| where the tone is abs."""
    if isinstance(sink, RawSink):
        return {}
    gain, offset, _ = sink.tone.gain_offset(place)
    return {"gain": gain, "offset": offset}


def _warnings(maps: list[dict[str, Any]]) -> list[str]:
    """Say where the tone clipped more than one sample in a thousand, and which flag avoids it."""
    n_nan = sum(one["not_a_number"] for one in maps)
    nan = [f"{n_nan} samples are not a number (stored as 0 in integers)"] if n_nan else []
    clipped = [one for one in maps if one["clipped_low"] + one["clipped_high"] > CLIP_WARNING * one["samples"]]
    if not clipped:
        return nan
    low, high = sum(one["clipped_low"] for one in clipped), sum(one["clipped_high"] for one in clipped)
    share = 100 * (low + high) / sum(one["samples"] for one in clipped)
    values = f"{min(one['min'] for one in clipped):.5g} to {max(one['max'] for one in clipped):.5g}"
    fact = f"{low} samples clipped low and {high} high ({_percent(share)}, values {values})"
    return [*nan, f"{fact}; --tone stretch or signed, or -o maps.npy keep them"]


def _percent(share: float) -> str:
    """Return a share in percent as text, with two digits.

    Examples
    --------
    >>> _percent(100.0), _percent(62.4), _percent(0.123)
    ('100 %', '62 %', '0.12 %')
    """
    return f"{share:.0f} %" if share >= 10 else f"{share:.2g} %"
