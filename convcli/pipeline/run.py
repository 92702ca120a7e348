"""One input: read → compute → tone → write; returns its report and prints nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from convcli.errors import ConvcliError, ImageError
from convcli.images.files import FileState, fill
from convcli.images.frames import read_frames
from convcli.images.planes import view_planes
from convcli.images.reading import WINDOW_BYTES, open_planes
from convcli.images.write import timing_notes
from convcli.pipeline.inputs import InputFile
from convcli.pipeline.naming import PAGES
from convcli.pipeline.report import image_report, to_json
from convcli.pipeline.transforms.base import Run, Stopped, Tools, Writer
from convcli.pipeline.writers import Job, OutputFiles, PictureOutput, RawOutput, make_stamp, open_encoder, output_files
from convcli.process.system import shortage

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convcli.engine.plan import ConvPlan
    from convcli.engine.runner import Runner
    from convcli.images.info import Image, ImageInfo, LargeImage
    from convcli.images.planes import PlaneSource
    from convcli.pipeline.outputs import OutputFile
    from convcli.pipeline.plan import Plan

Settle = Callable[["Plan", dict[str, Any]], None]

#: A little less than the largest block that the C library of GNU learns from (32 MiB, mallopt(3)).
_BLOCK_BYTES = 31 << 20


def open_writer(job: Job, output: OutputFile) -> Writer:
    """Open one output: a page, raw maps (also a map in a raw format), or a picture."""
    if output.kind in PAGES:  # they draw with Pillow, which others do without
        from convcli.pipeline.sheets import Tiles

        return Tiles(job, output)
    return RawOutput(job, output) if output.is_raw else PictureOutput(job, output)


class Outcome(NamedTuple):
    """The outcome of one input: a report, an error, or the reason why it was skipped.

    ``bug`` is the traceback where the error is not the input's fault but ours.
    """

    input: InputFile
    report: dict[str, Any] | None = None
    error: ConvcliError | None = None
    skipped: str | None = None
    bug: str | None = None

    def as_dict(self) -> dict[str, object]:
        """Return the outcome as plain data."""
        if self.error is not None:
            return {"status": "failed", "input": {"path": self.input.label}, "error": self.error.as_dict()}
        if self.skipped is not None:
            return {"status": "skipped", "input": {"path": self.input.label}, "reason": self.skipped}
        return {"status": "done", **(self.report or {})}


def failed_by_bug(file: InputFile, error: Exception) -> Outcome:
    """Return the outcome of an input on which the program broke; memory that runs out is no bug."""
    if (scarce := shortage(error)) is not None:
        return Outcome(input=file, error=scarce.within(file.label))
    import traceback

    failure = ConvcliError(
        f"this is a bug ({type(error).__name__}: {error})", hint="please report it with the lines above"
    )
    failure.__cause__ = error
    # The traceback travels as text: a child process cannot pickle the object.
    return Outcome(input=file, error=failure.within(file.label), bug="".join(traceback.format_exception(error)))


class Pipeline:
    """Runs plans of one batch; keeps prepared kernels for images of the same shape.

    Parameters
    ----------
    threads : int
        Strips at a time within one file, where the request does not say.
    settle : callable
        Called with plan and report when all files have their names; if it fails, the run has failed.
    watch : callable, optional
        Called with the share of a run that is done, from 0 to 1; for one run at a time.
    """

    def __init__(
        self,
        *,
        threads: int = 1,
        settle: Settle = lambda _plan, _report: None,
        watch: Callable[[float], None] | None = None,
    ) -> None:
        self._threads, self._settle, self._watch = threads, settle, watch
        self._done, self._n_passes = 0.0, 1
        self._is_stopping = False
        self._runners: dict[object, Runner] = {}
        self._lock = threading.Lock()
        # A block that is given back teaches the C library to keep freed memory up to its size for the next arrays:
        # pages returned and asked for again, file by file, are a sixth of a folder's time. It is not touched itself.
        with suppress(MemoryError):
            np.empty(_BLOCK_BYTES, np.uint8)

    def stop(self) -> None:
        """Let every run end at its next strip, leaving nothing half-written.

        Signal handlers call it, also within one another: it takes no lock.
        """
        self._is_stopping = True

    def run(self, plan: Plan) -> dict[str, Any]:
        """Run one plan and return its report; where it fails, nothing is left of its files.

        Raises
        ------
        ImageError
            The pixels cannot be decoded.
        OutputError
            A file cannot be written.
        Stopped
            :meth:`stop` was called meanwhile.
        """
        started = time.perf_counter()
        # Some tones read everything twice; every frame is a pass of its own.
        self._done, self._n_passes = 0.0, (1 + _needs_ranges(plan)) * max(1, len(plan.frames))
        with output_files(plan) as files:
            writers = self._run_frames(plan, files) if plan.frames else self.run_picture(plan, files)
            report = image_report(plan, writers, time.perf_counter() - started)
            if plan.report_path is not None:
                fill(files.open(plan.report_path), f"{to_json(report, indent=1)}\n".encode())
            files.check()
            files.leave()
            self._settle(plan, report)
        return report

    def run_picture(
        self, plan: Plan, files: OutputFiles, open_one: Callable[[Job, OutputFile], Writer] = open_writer
    ) -> list[Writer]:
        """Run one picture, or the frames of a volume; return the writers of its files."""
        first, *others = plan.transform.frames or (plan.input.frame or 0,)
        # Of a store, chunks outside the region stay where they are: a job asks for a tile at a time.
        least = 0 if plan.info.format == "zarr" and plan.request.region else WINDOW_BYTES
        with open_planes(plan.input.readable, frame=first, window_bytes=least, **plan.request.reading) as image:
            _refuse_changed(plan, image.info)
            run = self._start(plan, image, others)
            # Some tones need the whole range first, which costs a pass before a sample can be stored.
            ranges = run.ranges() if _needs_ranges(plan) else None
            job = Job(plan, image, ranges, make_stamp(plan), files)
            writers = [open_one(job, output) for output in plan.outputs]
            run.fill(writers)
            _refuse_changed(plan)
            for writer in writers:
                writer.finish()
            return writers

    def _run_frames(self, plan: Plan, files: OutputFiles) -> list[Writer]:
        """Run every frame by itself and join the results in one file; tones take the range of all frames."""
        from convcli.pipeline.animation import Frames

        output, ranges, stamp = plan.outputs[0], None, make_stamp(plan)
        if _needs_ranges(plan):
            # The frames are read twice: all their maps in memory at once would have no bound.
            lows, highs = zip(*(self._start(part, image).ranges() for part, image in _frames(plan)), strict=True)
            ranges = np.min(lows, axis=0), np.max(highs, axis=0)
        first: PictureOutput | None = None
        times: list[float | None] = []
        for part, image in _frames(plan):
            times.append(image.info.duration_ms)
            job = Job(part, image, ranges, stamp, files)
            if first is None:
                options = {"n_frames": len(plan.frames), "durations_ms": times, "loop": plan.info.loop}
                first = writer = PictureOutput(job, output, open_encoder(job, output, **options))
            else:
                writer = PictureOutput(job, output, first.encoder)
            self._start(part, image).fill([writer])
            if writer is not first:
                first.counts += writer.counts
                first.alpha_lost += writer.alpha_lost
        assert first is not None, "a plan of frames has one at least"
        _refuse_changed(plan)
        first.finish()
        if isinstance(plan.frames, Frames) and not plan.frames.is_planned:
            first.notes += timing_notes(output.format, times, plan.info.loop)
        return [first]

    def _start(self, plan: Plan, image: Image | LargeImage, others: Sequence[int] = ()) -> Run:
        def other_frames() -> Iterator[NDArray[Any] | PlaneSource]:
            for frame in read_frames(plan.input.readable, frames=others, **plan.request.reading):
                yield _planes(plan, frame)

        tools = Tools(self._threads, self._check, self._prepare, other_frames, self._advance)
        return plan.transform.start(_planes(plan, image), tools)

    def _prepare(self, conv: ConvPlan, weight: NDArray[Any], bias: NDArray[Any] | None) -> Runner:
        from convcli.engine.runner import prepare

        # Threads that work on files of one shape ask at once; the kernels are prepared for the first.
        with self._lock:
            if conv not in self._runners:
                # Prepared kernels can be large: a folder of pictures of many sizes must not fill the memory.
                if len(self._runners) >= 8:
                    self._runners.clear()
                self._runners[conv] = prepare(conv, weight, bias)
            return self._runners[conv]

    def _advance(self, share: float) -> None:
        if self._watch is not None:
            self._done += share / self._n_passes
            self._watch(self._done)

    def _check(self) -> None:
        if self._is_stopping:
            raise Stopped


def _frames(plan: Plan) -> Iterator[tuple[Plan, Image]]:
    """Yield plan and image of every frame, read in one pass."""
    from convcli.pipeline.animation import Frames

    numbers = [part.input.frame or 0 for part in plan.frames]
    images = read_frames(plan.input.readable, frames=numbers, **plan.request.reading)
    for index, (part, image) in enumerate(zip(plan.frames, images, strict=True)):
        is_planned = not isinstance(plan.frames, Frames) or plan.frames.check(index, image.info)
        _refuse_changed(part, image.info if is_planned else None)
        yield part, image


def _refuse_changed(plan: Plan, info: ImageInfo | None = None) -> None:
    """Refuse an input that is not the planned one any more; with its header, as it is about to be used."""
    path, planned = plan.input.path, plan.input.state
    if path is None or planned is None:
        return
    try:
        change = planned.change(FileState.of(path))
    except OSError:  # removed: what has been opened can still be read
        change = ""
    if info is not None and info.header != plan.info.header:
        change = change or "its header says something else"
    if change:
        raise ImageError(f"has changed since it was planned: {change}", hint="run it again when nothing writes to it")


def _needs_ranges(plan: Plan) -> bool:
    is_raw = all(output.is_raw for output in plan.outputs)
    return not is_raw and any(spec.needs_range for spec in plan.tones("8"))


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
        is_divided=plan.alpha != "premultiply" or request.unit,
        nodata=request.nodata,
        dtype=request.dtype,
    )
