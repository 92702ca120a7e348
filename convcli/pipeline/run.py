"""One input: read → compute → tone → write; returns its report and prints nothing."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from convcli.errors import GeometryError
from convcli.images import formats, open_planes, read_frames
from convcli.images.planes import select_planes, view_planes
from convcli.images.write import save_text
from convcli.pipeline.animation import AnimationPlan
from convcli.pipeline.plan import ImagePlan
from convcli.pipeline.report import conventions, image_report, to_json
from convcli.pipeline.strips import ConvRun, Ranges, Run
from convcli.pipeline.workers import Stopped
from convcli.pipeline.writers import PictureSink, RawSink, SheetSink, Sink, bind_tone, open_writer
from convcli.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from convcli.engine import Runner
    from convcli.images import Image, LargeImage, Metadata
    from convcli.images.planes import PlaneSource
    from convcli.pipeline.outputs import OutputFile, Plan


class Pipeline:
    """Runs plans of one batch; keeps prepared kernels for images of the same shape.

    Parameters
    ----------
    threads : int
        Strips at a time within one file, where the request does not say.
    """

    def __init__(self, *, threads: int = 1) -> None:
        self._threads = threads
        self._is_stopping = False
        self._runners: dict[object, Runner] = {}
        self._lock = threading.Lock()

    def stop(self) -> None:
        """Let every run end at its next strip, leaving nothing half-written.

        Signal handlers call it, also within one another: it takes no lock.
        """
        self._is_stopping = True

    def run(self, plan: Plan) -> dict[str, Any]:
        """Run one plan and return its report.

        Raises
        ------
        ImageError
            The pixels cannot be decoded.
        OutputError
            A file cannot be written.
        Stopped
            :meth:`stop` was called meanwhile.
        """
        if isinstance(plan, AnimationPlan):
            with _leaving_no_folders(plan):
                return self._run_frames(plan)
        started = time.perf_counter()
        request = plan.request
        with open_planes(
            plan.source.readable,
            frame=_first_frame(plan),
            orientation=request.orientation,
            max_pixels=request.max_pixels,
        ) as image:
            run = self._start(plan, _planes(plan, image))
            ranges = run.ranges() if any(spec.needs_range for spec in plan.tones("8")) else None
            sinks: list[Sink] = []
            with _leaving_no_folders(plan):
                try:
                    _open_sinks(plan, image, ranges, sinks)
                    run.fill(sinks)
                    sizes = [sink.finish() for sink in sinks]
                except BaseException:
                    for sink in sinks:
                        sink.abort()
                    raise
        report = image_report(plan, sinks, sizes, time.perf_counter() - started)
        if plan.report_path is not None:
            save_text(plan.report_path, to_json(report, indent=1) + "\n")
        return report

    def _run_frames(self, plan: AnimationPlan) -> dict[str, Any]:
        """Run every frame by itself and join the results in one file; tones take the range of all frames."""
        started = time.perf_counter()
        output = plan.outputs[0]
        ranges = None
        if any(spec.needs_range for spec in plan.tones("8")):
            lows, highs = zip(*(self._start(part, planes).ranges() for part, _, planes in _frames(plan)), strict=True)
            ranges = np.min(lows, axis=0), np.max(highs, axis=0)
        sinks: list[Sink] = []
        writer = None
        try:
            for part, image, planes in _frames(plan):
                alpha = _kept_alpha(part, image, output)
                if writer is None:
                    times = [one.info.duration_ms for one in plan.frames]
                    options = {"n_frames": len(plan.frames), "durations_ms": times, "loop": plan.info.loop}
                    metadata = _metadata(image, output, _stamp(plan))
                    writer = open_writer(plan, output, metadata, keeps_alpha=alpha is not None, frames=options)
                sink = PictureSink(part, output, bind_tone(part, output, ranges), alpha, writer)
                self._start(part, planes).fill([sink])
                if sinks:
                    sinks[0].counts += sink.counts
                else:
                    sinks.append(sink)
            sizes = [sink.finish() for sink in sinks]
        except BaseException:
            if writer is not None:
                writer.abort()
            raise
        return image_report(plan, sinks, sizes, time.perf_counter() - started)

    def _start(self, plan: Plan, planes: NDArray[Any] | PlaneSource) -> Run:
        if isinstance(plan, ImagePlan):
            threads = plan.request.threads or self._threads
            return ConvRun(plan, planes, self._runner(plan), threads=threads, check=self._check)
        from convcli.pipeline.stack import StackPlan
        from convcli.pipeline.strips import WholeRun
        from convcli.pipeline.volume import VolumePlan

        samples = planes if isinstance(planes, np.ndarray) else planes.rows(0, planes.shape[1])
        if isinstance(plan, StackPlan):
            results = plan.run(samples.astype(plan.request.dtype))
            return WholeRun([(span, results[name]) for name, span in plan.wanted], check=self._check)
        assert isinstance(plan, VolumePlan)
        others = [_whole(plan, image) for image in _read_frames(plan, plan.frames[1:])]
        volume = np.stack([samples.astype(plan.request.dtype), *others], axis=1)
        return WholeRun([(slice(0, len(plan.maps)), plan.run(volume))], check=self._check)

    def _runner(self, plan: ImagePlan) -> Runner:
        from convcli.engine import prepare

        with self._lock:
            if plan.conv not in self._runners:
                if len(self._runners) >= 8:
                    self._runners.clear()
                self._runners[plan.conv] = prepare(plan.conv, plan.bound.weight, plan.bound.bias)
            return self._runners[plan.conv]

    def _check(self) -> None:
        if self._is_stopping:
            raise Stopped


def _first_frame(plan: Plan) -> int:
    frames: tuple[int, ...] = getattr(plan, "frames", ())
    return frames[0] if frames else plan.source.frame or 0


@contextlib.contextmanager
def _leaving_no_folders(plan: Plan) -> Iterator[None]:
    """Remove the folders of a plan's outputs again if they were made for a run that fails."""
    missing = [folder for folder in _folders(plan) if not os.path.exists(folder)]  # noqa: PTH110 - an error is no folder
    try:
        yield
    except BaseException:
        for folder in missing:
            with contextlib.suppress(OSError):  # not empty: another input has put something there
                folder.rmdir()
        raise


def _folders(plan: Plan) -> list[Path]:
    """Return the folders of the outputs, the deepest first."""
    paths = {output.path.parent for output in plan.outputs if output.path is not None}
    every = {
        folder for path in paths for folder in (path, *path.parents) if folder.is_relative_to(plan.request.out_dir)
    }
    return sorted(every, key=lambda folder: len(folder.parts), reverse=True)


def _frames(plan: AnimationPlan) -> Iterator[tuple[Plan, Image, NDArray[Any] | PlaneSource]]:
    """Yield plan, image and planes of every frame, read in one pass."""
    images = _read_frames(plan, [part.source.frame or 0 for part in plan.frames])
    for part, image in zip(plan.frames, images, strict=True):
        yield part, image, _planes(part, image)


def _read_frames(plan: Plan, frames: Sequence[int]) -> Iterator[Image]:
    request = plan.request
    return read_frames(
        plan.source.readable, orientation=request.orientation, max_pixels=request.max_pixels, frames=frames
    )


def _whole(plan: Plan, image: Image) -> NDArray[Any]:
    """Return the planes of a frame of a volume, which all have one size."""
    planes = _planes(plan, image)
    samples = planes if isinstance(planes, np.ndarray) else planes.rows(0, planes.shape[1])
    if samples.shape[1:] != (plan.info.height_px, plan.info.width_px):
        raise GeometryError(
            f"a frame is {samples.shape[1]}x{samples.shape[2]} and the first is "
            f"{plan.info.height_px}x{plan.info.width_px}: they are no volume",
            hint="--frames picks those of one size",
        )
    return samples.astype(plan.request.dtype)


def _planes(plan: Plan, image: Image | LargeImage) -> NDArray[Any] | PlaneSource:
    request = plan.request
    mean, std = request.normalize or ((), ())
    return view_planes(
        image.planes,
        plan.selection,
        white=plan.info.white,
        unit=request.unit,
        mean=mean,
        std=std,
        premultiply=plan.info.plane_names.index("a") if str(plan.alpha).startswith("premultiply") else None,
        dtype=request.dtype,
    )


def _open_sinks(plan: Plan, image: Image | LargeImage, ranges: Ranges | None, sinks: list[Sink]) -> None:
    """Open every output; appended one by one, so that a failure half-way aborts those before it."""
    stamp = _stamp(plan)
    for output in plan.outputs:
        metadata = _metadata(image, output, stamp)
        if output.kind == "raw" or output.format in formats.RAW:
            sinks.append(RawSink(plan, output, metadata))
            continue
        tone = bind_tone(plan, output, ranges)
        if output.kind == "sheet":
            sinks.append(SheetSink(plan, output, tone, metadata))
            continue
        alpha = _kept_alpha(plan, image, output)
        writer = open_writer(plan, output, metadata, keeps_alpha=alpha is not None)
        sinks.append(PictureSink(plan, output, tone, alpha, writer))


def _kept_alpha(plan: Plan, image: Image | LargeImage, output: OutputFile) -> NDArray[Any] | PlaneSource | None:
    """Return the input's alpha plane where the picture keeps it as it is."""
    if output.kind != "picture" or plan.alpha not in ("keep", "premultiply-keep"):
        return None
    alpha = select_planes(plan.info.plane_names, ("a",), alpha=True)
    return view_planes(image.planes, alpha, white=plan.info.white)


def _stamp(plan: Plan) -> str:
    """Return what every output says about how it was made."""
    return f"convcli {__version__} {to_json(conventions(plan))}"


def _metadata(image: Image | LargeImage, output: OutputFile, stamp: str) -> Metadata:
    """Return stamp, profile, resolution and EXIF; a map has only the stamp, for its colours mean nothing."""
    from convcli.images import Metadata

    metadata = image.info.metadata if output.kind == "picture" else Metadata()
    return metadata._replace(stamp=stamp)
