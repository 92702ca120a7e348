"""One input: read → compute → tone → write; returns its report and prints nothing."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from convcli import __version__
from convcli.describe import describe_conv, describe_plan
from convcli.images import open_planes
from convcli.images.planes import select_planes, view_planes
from convcli.planning import ImagePlan
from convcli.report import plain, save_text, to_json
from convcli.runs import ConvRun, Run
from convcli.sinks import PictureSink, RawSink, SheetSink, Sink, bind_tone

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convcli.engine import Runner
    from convcli.images import Image, LargeImage, Metadata
    from convcli.images.planes import PlaneSource
    from convcli.outputs import Plan

#: Share of clipped samples above which the report warns.
CLIP_WARNING = 0.001


class Pipeline:
    """Runs plans of one batch; keeps prepared kernels for images of the same shape.

    Parameters
    ----------
    threads : int
        Strips at a time within one file, where the request does not say.
    """

    def __init__(self, *, threads: int = 1) -> None:
        self._threads = threads
        self._stop = threading.Event()
        self._runners: dict[object, Runner] = {}
        self._lock = threading.Lock()

    def stop(self) -> None:
        """Let every run end at its next strip, leaving nothing half-written."""
        self._stop.set()

    def run(self, plan: Plan) -> dict[str, Any]:
        """Run one plan and return its report.

        Raises
        ------
        ImageError
            The pixels cannot be decoded.
        OutputError
            A file cannot be written.
        KeyboardInterrupt
            :meth:`stop` was called meanwhile.
        """
        started = time.perf_counter()
        request = plan.request
        with open_planes(
            plan.source.readable,
            frame=plan.source.frame or 0,
            orientation=request.orientation,
            max_pixels=request.max_pixels,
        ) as image:
            run = self._start(plan, _planes(plan, image))
            ranges = run.ranges() if any(spec.needs_range for spec in plan.tones("8")) else None
            sinks: list[Sink] = []
            try:
                _open_sinks(plan, image, ranges, sinks)
                run.fill(sinks)
                sizes = [sink.finish() for sink in sinks]
            except BaseException:
                for sink in sinks:
                    sink.abort()
                raise
        report = _report(plan, sinks, sizes, time.perf_counter() - started)
        if plan.report_path is not None:
            save_text(plan.report_path, to_json(report, indent=1) + "\n")
        return report

    def _start(self, plan: Plan, planes: NDArray[Any] | PlaneSource) -> Run:
        if isinstance(plan, ImagePlan):
            threads = plan.request.threads or self._threads
            return ConvRun(plan, planes, self._runner(plan), threads=threads, check=self._check)
        from convcli.runs import StackRun
        from convcli.stack_plan import StackPlan

        assert isinstance(plan, StackPlan)
        return StackRun(plan, planes, check=self._check)

    def _runner(self, plan: ImagePlan) -> Runner:
        from convcli.engine import prepare

        with self._lock:
            if plan.conv not in self._runners:
                if len(self._runners) >= 8:
                    self._runners.clear()
                self._runners[plan.conv] = prepare(plan.conv, plan.bound.weight, plan.bound.bias)
            return self._runners[plan.conv]

    def _check(self) -> None:
        if self._stop.is_set():
            raise KeyboardInterrupt


def _planes(plan: Plan, image: Image | LargeImage) -> NDArray[Any] | PlaneSource:
    request = plan.request
    mean, std = request.normalize or ((), ())
    return view_planes(
        image.planes,
        plan.selection,
        white=plan.info.white,
        unit=request.unit,
        mean=_per_plane(mean, plan),
        std=_per_plane(std, plan),
        premultiply=plan.info.plane_names.index("a") if str(plan.alpha).startswith("premultiply") else None,
        dtype=request.dtype,
    )


def _per_plane(values: tuple[float, ...], plan: Plan) -> tuple[float, ...]:
    """Refuse means of three planes on an image of one; grey takes a single value."""
    if len(values) in (0, 1, len(plan.selection.names)):
        return values
    from convcli.errors import UsageError

    raise UsageError(
        f"--normalize has {len(values)} means for {len(plan.selection.names)} planes "
        f"({','.join(plan.selection.names)})",
        hint="one value for all planes, or one per plane",
    )


def _open_sinks(
    plan: Plan, image: Image | LargeImage, ranges: tuple[NDArray[Any], NDArray[Any]] | None, sinks: list[Sink]
) -> None:
    """Open every output; appended one by one, so that a failure half-way aborts those before it."""
    stamp = f"convcli {__version__} {to_json(_conventions(plan))}"
    for output in plan.outputs:
        metadata: Metadata = _metadata(image, output.kind)._replace(stamp=stamp)
        if output.kind == "raw" or output.format in ("npy", "npz", "safetensors"):
            sinks.append(RawSink(plan, output, metadata))
            continue
        tone = bind_tone(plan, output, ranges)
        if output.kind == "sheet":
            sinks.append(SheetSink(plan, output, tone, metadata))
            continue
        keeps = output.kind == "picture" and plan.alpha in ("keep", "premultiply-keep")
        alpha = select_planes(plan.info.plane_names, ("a",), alpha=True) if keeps else None
        source = None if alpha is None else view_planes(image.planes, alpha, white=plan.info.white)
        sinks.append(PictureSink(plan, output, tone, source, metadata))


def describe(plan: Plan) -> dict[str, Any]:
    """Return everything known about a plan before it runs, as plain data."""
    if isinstance(plan, ImagePlan):
        return describe_plan(plan)
    from convcli.stack_plan import StackPlan, describe_stack

    assert isinstance(plan, StackPlan)
    return describe_stack(plan)


def _conventions(plan: Plan) -> dict[str, object]:
    """Return what a file says about how it was made."""
    if not isinstance(plan, ImagePlan):
        return {"stack": str(plan.request.stack), "input": plan.source.stem, "tone": plan.request.tone}
    conv = describe_conv(plan)
    del conv["reason"]  # how many cores there were says nothing about the samples
    return {"kernel": plan.bank.name, "input": plan.source.stem, **conv}


def _metadata(image: Image | LargeImage, kind: str) -> Metadata:
    """Profile, resolution and EXIF stay with pictures; a map is data, whose colours mean nothing."""
    from convcli.images import Metadata

    return image.info.metadata if kind == "picture" else Metadata()


def _report(plan: Plan, sinks: list[Sink], sizes: list[int | None], seconds: float) -> dict[str, Any]:
    """Return the plan's description with what the run found: values, clipped samples, bytes, seconds."""
    report: dict[str, Any] = describe(plan)
    maps: dict[int, dict[str, Any]] = {}
    for sink, size, entry in zip(sinks, sizes, report["outputs"], strict=True):
        entry["bytes"] = size
        counts = sink.counts
        assert counts is not None
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
