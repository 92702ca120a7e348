"""The report of one image: its plan, and what the run found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convcli.describe import describe
from convcli.report import plain
from convcli.sinks import RawSink, Sink

if TYPE_CHECKING:
    from convcli.outputs import Plan

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
                "samples": counts.n,
            }
    report["maps"] = [maps[index] for index in sorted(maps)]
    report["warnings"] = _warnings(report["maps"])
    report["seconds"] = round(seconds, 4)
    plain_report = plain(report)
    assert isinstance(plain_report, dict)
    return plain_report


def _warnings(maps: list[dict[str, Any]]) -> list[str]:
    """Say where the tone clipped more than one sample in a thousand, and which flag avoids it."""
    clipped = [one for one in maps if one["clipped_low"] + one["clipped_high"] > CLIP_WARNING * one["samples"]]
    if not clipped:
        return []
    low, high = sum(one["clipped_low"] for one in clipped), sum(one["clipped_high"] for one in clipped)
    share = 100 * (low + high) / sum(one["samples"] for one in clipped)
    worst = min(one["min"] for one in clipped), max(one["max"] for one in clipped)
    return [
        f"{low} samples clipped low and {high} high ({share:.2g} % of {len(clipped)} of {len(maps)} maps, values "
        f"{worst[0]:.4g} to {worst[1]:.4g}); --tone stretch or signed, --depth 16 with --tone offset:V, or -o maps.npy "
        "keep them"
    ]
