"""Writers of maps, one an output file, and the files themselves: all of them are removed again where one fails.

A writer encodes a band of maps in the thread that computed it and appends the result in order, so that tone, filter
and deflate share the thread, and the cache, of the convolution.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from convcli.engine.store import ToneCounts
from convcli.images import formats
from convcli.images.files import TargetFile, vanished
from convcli.images.planes import read_window, select_planes, view_planes
from convcli.images.write import open_picture
from convcli.pipeline.naming import PAGES, PICTURES
from convcli.pipeline.report import conventions, to_json
from convcli.pipeline.tones import Tone, ToneSpec
from convcli.pipeline.transforms.base import Band, Ranges, Writer
from convcli.process import ending
from convcli.process.system import binary_output
from convcli.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from convcli.images.info import Image, LargeImage, Metadata
    from convcli.images.planes import PlaneSource
    from convcli.images.write import PictureWriter
    from convcli.pipeline.outputs import OutputFile
    from convcli.pipeline.plan import Plan


class OutputFiles:
    """The files that one plan writes."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._opened: list[TargetFile] = []
        #: Called where a signal ends the process.
        self.clean: Callable[[], None] | None = None

    def open(self, path: Path | None, output_format: str = "png") -> TargetFile:
        """Open a file, or a folder where that is the format; or standard output."""
        request, state = self._plan.request, self._plan.input.state
        if request.in_place and path is not None and state is not None:
            from convcli.images.targets import InPlaceFile

            backup = request.backup_of(path)
            self._opened.append(InPlaceFile(path, planned=state, backup=backup, overwrite=request.overwrite))
            return self._opened[-1]
        # Without --overwrite only a file that the plan knows may be replaced: not one that has appeared since.
        replaces = self._plan.replaces.get(path) if path else None
        stream = path or binary_output()
        kind: type[TargetFile] = TargetFile
        if formats.BY_NAME[output_format].folder:
            from convcli.images.targets import TargetFolder

            kind = TargetFolder
        file = kind(stream, overwrite=request.overwrite, replaces=replaces, makes_folder=True)
        self._opened.append(file)
        return file

    def check(self) -> None:
        """Refuse to call the plan done if one of its files has gone: somebody removed or renamed its folder."""
        for path in self._plan.written_paths:
            if not os.path.lexists(path):
                raise vanished(path)

    def leave(self) -> None:
        """Let no signal remove the files any more: they are about to be recorded as done."""
        if self.clean is not None:
            ending.no_more(self.clean)
            self.clean = None

    def discard(self) -> None:
        """Remove every file, those with names too: half of the maps would look like all of them."""
        for file in self._opened:
            file.discard()


@contextlib.contextmanager
def output_files(plan: Plan) -> Iterator[OutputFiles]:
    """Open the files of a plan inside the ``with``; an error removes them, and the folders made for them."""
    # Noted before the run: folders that exist already are not ours to remove.
    missing = [folder for folder in folders_of(plan) if not os.path.exists(folder)]  # noqa: PTH110 - an error is no folder
    files = OutputFiles(plan)

    def discard() -> None:
        files.discard()
        for folder in missing:
            with contextlib.suppress(OSError):  # not empty: another input has put something there
                folder.rmdir()

    files.clean = discard
    ending.at_end(discard)
    try:
        yield files
    except BaseException:
        # BaseException: Ctrl-C leaves no half of the maps either.
        discard()
        raise
    finally:
        # A signal may have come before a file was known here; its folder goes after it, at the end.
        if not ending.was_asked():
            files.leave()


def folders_of(plan: Plan) -> list[Path]:
    """Return the folders of the outputs, the deepest first."""
    paths = {output.path.parent for output in plan.outputs if output.path is not None}
    every = {
        folder for path in paths for folder in (path, *path.parents) if folder.is_relative_to(plan.request.out_dir)
    }
    return sorted(every, key=lambda folder: len(folder.parts), reverse=True)


class Job(NamedTuple):
    """One picture under way: its plan, the open image, minimum and maximum of all maps if tones need them."""

    plan: Plan
    image: Image | LargeImage
    ranges: Ranges | None
    stamp: str
    files: OutputFiles


def make_stamp(plan: Plan) -> str:
    """Return the line in which every output states how it was made."""
    return f"convcli {__version__} {to_json(conventions(plan))}"


def bind_tone(plan: Plan, output: OutputFile, ranges: Ranges | None) -> Tone:
    """Return the tone of the maps of one output; ``ranges`` are of all maps."""
    depth = "8" if output.kind in PAGES else output.depth
    if ranges is not None and output.kind in PICTURES:  # one scale for its colours
        lows, highs = (part.copy() for part in ranges)
        colours = slice(output.maps[0], output.maps[-1] + 1 - (plan.alpha in ("premultiply", "filter")))
        lows[colours], highs[colours] = lows[colours].min(), highs[colours].max()
        ranges = lows, highs
    return Tone(
        plan.tones(depth)[output.span],
        white=plan.white,
        depth=depth,
        ranges=None if ranges is None else (ranges[0][output.span], ranges[1][output.span]),
    )


def open_encoder(job: Job, output: OutputFile, **frames: Any) -> PictureWriter:
    """Open the file of a picture or map; ``frames`` are the options of an animation."""
    plan = job.plan
    options: dict[str, Any] = {
        "picture_format": output.format,
        "height_px": output.size_hw[0],
        "width_px": output.size_hw[1],
        "n_planes": 3 if _colormap(plan, output) else len(output.maps) + _keeps_alpha(plan, output),
        "depth": output.depth,
        "metadata": metadata_of(job, output),
        **plan.request.encoding,
    }
    if not frames:
        return open_picture(job.files.open(output.path), **options)
    from convcli.images.animation import open_animation

    return open_animation(job.files.open(output.path), **options, **frames)


def _keeps_alpha(plan: Plan, output: OutputFile) -> bool:
    """Whether the picture keeps the input's alpha plane as it is."""
    return output.kind == "picture" and plan.alpha in ("keep", "premultiply-keep")


def metadata_of(job: Job, output: OutputFile) -> Metadata:
    """Return stamp, profile, resolution and EXIF; a map has only the stamp, for its colours mean nothing."""
    from convcli.images.info import Metadata

    metadata = job.image.info.metadata if output.kind == "picture" else Metadata()
    return metadata._replace(stamp=job.stamp)


def _colormap(plan: Plan, output: OutputFile) -> str | None:
    """Return the colours of a map; a picture has its own."""
    return plan.request.colormap if output.kind == "map" or len(output.maps) == 1 else None


class PictureOutput(Writer):
    """A picture of one map, or of a map per plane, with its alpha; frames of an animation share an encoder."""

    def __init__(self, job: Job, output: OutputFile, encoder: PictureWriter | None = None) -> None:
        plan = job.plan
        super().__init__(plan, output, bind_tone(plan, output, job.ranges))
        self._alpha: NDArray[Any] | PlaneSource | None = None
        if _keeps_alpha(plan, output):
            alpha = select_planes(plan.info.plane_names, ("a",), alpha=True)
            self._alpha = view_planes(job.image.planes, alpha, white=plan.info.white)
        # Alpha keeps its units where colours do; of signed and float samples it may lie outside of them.
        self._alpha_tone = Tone(ToneSpec("clip"), white=plan.info.white, depth=output.depth)
        self._is_alpha_exact = self._alpha_tone.gain_offset(0)[0] == 1 and plan.info.dtype[0] == "u"
        #: Samples of it that were clipped, a band each.
        self.alpha_lost: list[int] = []
        self.one_pass = self.tone.depth == "8"
        self._colormap = _colormap(plan, output)
        self.encoder = encoder or open_encoder(job, output)
        self.band_px = self.encoder.band_px

    def encode(self, maps: NDArray[Any], top: int) -> Band:
        """Tone the maps into interleaved samples and let the writer encode them."""
        samples = np.empty((*maps.shape[1:], len(maps)), self.tone.dtype)
        _, counts = self.tone.apply(maps, samples.transpose(2, 0, 1), inplace=True)
        return self.encode_samples(samples, counts, top)

    def encode_samples(self, samples: NDArray[Any], counts: ToneCounts, top: int) -> Band:
        """Let the writer encode finished samples (H, W, maps), alpha beside them or in colours."""
        if self._alpha is not None:
            left, first, *_ = self._plan.request.region or (0, 0)
            n_rows, n_columns = samples.shape[:2]
            rows, columns = slice(top + first, top + first + n_rows), slice(left, left + n_columns)
            stored = read_window(self._alpha, rows, columns)
            if not self._is_alpha_exact:
                stored, lost = self._alpha_tone.apply(stored)
                self.alpha_lost.append(int((lost.n_low + lost.n_high + lost.n_nan).sum()))
            samples = np.concatenate([samples, stored[0, ..., None].astype(samples.dtype)], axis=2)
        if self._colormap:
            from convcli.images.colormaps import apply_colormap

            samples = apply_colormap(samples[..., 0], self._colormap)
        return Band(self.encoder.encode(samples), counts)

    def finish(self) -> None:
        """Put the file in its place, and say how much of a kept alpha was clipped, and where white is not 1."""
        super().finish()
        is_plain = self.output.kind == "picture" and self.output.depth == "float" and self.tone.gain_offset(0)[0] == 1
        if is_plain and self._plan.white != 1:
            white = f"white is {self._plan.white:.10g} in the file, and 1 in float pictures of other programs"
            self.notes = (*self.notes, f"{white}: --unit makes it 1")
        if n_lost := sum(self.alpha_lost):
            self.notes = (*self.notes, f"{n_lost} samples of alpha lie outside 0 to white and are clipped")


class RawOutput(Writer):
    """All maps as float32, as they are before any tone."""

    is_raw = True

    def __init__(self, job: Job, output: OutputFile) -> None:
        plan = job.plan
        super().__init__(plan, output, Tone(ToneSpec("clip"), white=1.0, depth="float"))
        from convcli.images.arrays import open_raw

        height, width = output.size_hw
        self.encoder = open_raw(
            job.files.open(output.path, output.format),
            raw_format=output.format,
            names=tuple(plan.maps[index].label for index in output.maps),
            height_px=height,
            width_px=width,
            stamp=job.stamp,
            dtype=plan.request.dtype,
            leading=plan.transform.leading if output.kind == "raw" else (),
            tile=plan.request.tile,
        )
        self.tile_px = self.encoder.tile_px

    def encode(self, maps: NDArray[Any], top: int) -> Band:
        """Convert to the stored type and count."""
        del top
        _, counts = self.tone.apply(maps)  # nothing is clipped: maps are stored as they are
        return Band(self.encoder.encode(maps), counts)

    def put(self, maps: NDArray[Any], top: int, left: int) -> ToneCounts:
        """Write a tile of the maps; safe in any thread."""
        _, counts = self.tone.apply(maps)
        self.encoder.put(maps, top, left)
        return counts
