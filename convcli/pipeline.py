"""One input: read → convolve → combine → tone → write, a band of rows at a time; returns its report.

Every band is computed, toned and encoded in one thread while it is in that core's cache, and appended in order. Tones
that need the range of a whole map (``signed``, ``stretch``) take one pass more over the bands.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from convcli import __version__
from convcli.describe import describe_conv, describe_plan
from convcli.engine import prepare
from convcli.images import read
from convcli.images.planes import view_planes
from convcli.report import plain, save_text, to_json
from convcli.sinks import Band, PictureSink, RawSink, SheetSink, Sink, bind_tone, map_tones

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convcli.engine.runner import Runner
    from convcli.images import Image, Metadata
    from convcli.images.planes import PlaneSource
    from convcli.planning import ImagePlan

T = TypeVar("T")

#: Samples of all maps in one strip of rows: enough to make Python's share small, few enough for the cache.
STRIP_SAMPLES = 1 << 19
#: Share of clipped samples above which the report warns, as product documentation promises.
CLIP_WARNING = 0.001


class Pipeline:
    """Runs plans of one batch; keeps prepared kernels for images of the same shape.

    Parameters
    ----------
    threads : int
        Bands at a time within one file, where the request does not say.
    """

    def __init__(self, *, threads: int = 1) -> None:
        self._threads = threads
        self._stop = threading.Event()
        self._runners: dict[object, Runner] = {}
        self._lock = threading.Lock()

    def stop(self) -> None:
        """Let every run end at its next band, leaving nothing half-written."""
        self._stop.set()

    def run(self, plan: ImagePlan) -> dict[str, Any]:
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
        image = read(plan.source.readable, orientation=request.orientation, max_pixels=request.max_pixels)
        planes = _planes(plan, image)
        runner = self._runner(plan)
        ranges = None
        if any(spec.needs_range for spec in map_tones(plan, "8")):
            ranges = self._measure(plan, runner, planes)
        sinks: list[Sink] = []
        try:
            _open_sinks(plan, image, ranges, sinks)
            self._fill(plan, runner, planes, sinks)
            sizes = [sink.finish() for sink in sinks]
        except BaseException:
            for sink in sinks:
                sink.abort()
            raise
        report = _report(plan, sinks, sizes, time.perf_counter() - started)
        if plan.report_path is not None:
            save_text(plan.report_path, to_json(report, indent=1) + "\n")
        return report

    def _runner(self, plan: ImagePlan) -> Runner:
        with self._lock:
            if plan.conv not in self._runners:
                if len(self._runners) >= 8:
                    self._runners.clear()
                self._runners[plan.conv] = prepare(plan.conv, plan.bound.weight, plan.bound.bias)
            return self._runners[plan.conv]

    def _measure(
        self, plan: ImagePlan, runner: Runner, planes: NDArray[Any] | PlaneSource
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """Return minimum and maximum of each combined map."""

        def extremes(top: int, bottom: int) -> tuple[NDArray[Any], NDArray[Any]]:
            maps = _maps(plan, runner, planes, top, bottom)
            return maps.min(axis=(1, 2)), maps.max(axis=(1, 2))

        lows, highs = zip(*self._bands(plan, extremes), strict=True)
        return np.min(lows, axis=0), np.max(highs, axis=0)

    def _fill(self, plan: ImagePlan, runner: Runner, planes: NDArray[Any] | PlaneSource, sinks: list[Sink]) -> None:
        def encode(top: int, bottom: int) -> list[Band]:
            maps = _maps(plan, runner, planes, top, bottom)
            return [sink.encode(maps, top) for sink in sinks]

        for bands in self._bands(plan, encode):
            for sink, band in zip(sinks, bands, strict=True):
                sink.append(band)

    def _bands(self, plan: ImagePlan, work: Callable[[int, int], T]) -> Iterator[T]:
        """Yield ``work(top, bottom)`` of every strip in order, a few strips ahead on other threads."""
        height, width = plan.conv.output_shape[-2:]
        step = plan.conv.band_rows
        n_samples = plan.conv.output_shape[0] * width * step
        step *= max(1, STRIP_SAMPLES // n_samples)
        strips = ((top, min(top + step, height)) for top in range(0, height, step))
        threads = plan.request.threads or self._threads
        if threads == 1 or step >= height:
            for top, bottom in strips:
                self._check()
                yield work(top, bottom)
            return
        waiting: deque[Future[T]] = deque()
        with ThreadPoolExecutor(threads, thread_name_prefix="band") as pool:
            try:
                for top, bottom in strips:
                    self._check()
                    waiting.append(pool.submit(work, top, bottom))
                    if len(waiting) > 2 * threads:
                        yield waiting.popleft().result()
                while waiting:
                    self._check()
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _check(self) -> None:
        if self._stop.is_set():
            raise KeyboardInterrupt


def _maps(plan: ImagePlan, runner: Runner, planes: NDArray[Any] | PlaneSource, top: int, bottom: int) -> NDArray[Any]:
    """Return a strip of combined maps (M, h, W), in the type that costs the engine least."""
    n_maps, _, width = plan.conv.output_shape
    out = np.empty((n_maps, bottom - top, width), runner.native_dtype)
    return plan.combination.apply(runner.rows(planes, top, bottom, out=out), plan.bound.n_kernels)


def _planes(plan: ImagePlan, image: Image) -> NDArray[Any] | PlaneSource:
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


def _per_plane(values: tuple[float, ...], plan: ImagePlan) -> tuple[float, ...]:
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
    plan: ImagePlan, image: Image, ranges: tuple[NDArray[Any], NDArray[Any]] | None, sinks: list[Sink]
) -> None:
    """Open every output; appended one by one, so that a failure half-way aborts those before it."""
    conv = describe_conv(plan)
    del conv["reason"]  # how many cores there were says nothing about the samples
    stamp = f"convcli {__version__} " + to_json({"kernel": plan.bank.name, "input": plan.source.stem, **conv})
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
        alpha = image.samples[..., plan.info.plane_names.index("a")] if keeps else None
        sinks.append(PictureSink(plan, output, tone, alpha, metadata))


def _metadata(image: Image, kind: str) -> Metadata:
    """Profile, resolution and EXIF stay with pictures; a map is data, whose colours mean nothing."""
    from convcli.images import Metadata

    return image.info.metadata if kind == "picture" else Metadata()


def _report(plan: ImagePlan, sinks: list[Sink], sizes: list[int | None], seconds: float) -> dict[str, Any]:
    """Return the plan's description with what the run found: values, clipped samples, bytes, seconds."""
    report: dict[str, Any] = describe_plan(plan)
    maps: dict[int, dict[str, Any]] = {}
    for sink, size, entry in zip(sinks, sizes, report["outputs"], strict=True):
        entry["bytes"] = size
        counts = sink.counts
        assert counts is not None
        raw = isinstance(sink, RawSink)
        tones = map_tones(plan, sink.output.depth)
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
