"""Writers of maps: one an output file.

A writer encodes a band of maps in the thread that computed it and appends the result in order, so that tone, filter
and deflate share the thread, and the cache, of the convolution.
"""

from __future__ import annotations

from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from convcli.engine.store import ToneCounts
from convcli.images import formats
from convcli.images.files import vanished
from convcli.images.planes import select_planes, view_planes
from convcli.images.write import open_picture
from convcli.pipeline.names import PAGES, PICTURES
from convcli.pipeline.report import conventions, to_json
from convcli.pipeline.tones import WHITE, Tone, ToneSpec
from convcli.pipeline.transforms.base import Band, Ranges
from convcli.version import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from convcli.images.info import Image, LargeImage, Metadata
    from convcli.images.planes import PlaneSource
    from convcli.images.write import PictureWriter
    from convcli.pipeline.output_files import OutputFiles
    from convcli.pipeline.outputs import OutputFile
    from convcli.pipeline.plan import Plan


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


def n_bytes(output: OutputFile) -> int | None:
    """Return the bytes of a finished file, if it has a place."""
    if output.path is None:
        return None
    try:
        if formats.BY_NAME[output.format].folder:
            return sum(file.stat().st_size for file in output.path.rglob("*") if file.is_file())
        return output.path.stat().st_size
    except FileNotFoundError:
        raise vanished(output.path) from None


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


class Writer:
    """The common part: an encoder that takes band after band."""

    is_raw = False
    one_pass = False
    tile_px = 0
    band_px = 1
    notes: tuple[str, ...] = ()
    _encoder: PictureWriter

    def __init__(self, plan: Plan, output: OutputFile, tone: Tone) -> None:
        self.output, self.tone, self._plan = output, tone, plan
        self.facts: Mapping[str, object] = {}  # more about its file for the report
        self.counts = ToneCounts.zero(len(output.maps))

    def append(self, band: Band) -> None:
        """Write a band."""
        self._encoder.append(band.payload)
        self.counts += band.counts

    def encode_samples(self, samples: NDArray[Any], counts: ToneCounts, top: int) -> Band:
        """Make a band of stored samples ready, where they may be made in one pass."""
        raise NotImplementedError

    def join(self, bands: Sequence[Band]) -> Band:
        """Make neighbouring bands one, where there is a ``band_px``."""
        return Band(self._encoder.join([band.payload for band in bands]), reduce(add, (band.counts for band in bands)))

    def put(self, maps: NDArray[Any], top: int, left: int) -> ToneCounts:
        """Write a tile, where there is a ``tile_px``."""
        raise NotImplementedError

    def finish(self) -> int | None:
        """Put the file in its place; return its bytes, if it has a place."""
        self._encoder.close()
        self.notes = self._encoder.notes
        return n_bytes(self.output)


class PictureOutput(Writer):
    """A picture of one map, or of a map per plane, with its alpha.

    Parameters
    ----------
    job, output
    encoder : PictureWriter, optional
        Frames of an animation share one, from :func:`open_encoder`.
    """

    def __init__(self, job: Job, output: OutputFile, encoder: PictureWriter | None = None) -> None:
        plan = job.plan
        super().__init__(plan, output, bind_tone(plan, output, job.ranges))
        self._alpha: NDArray[Any] | PlaneSource | None = None
        if _keeps_alpha(plan, output):
            alpha = select_planes(plan.info.plane_names, ("a",), alpha=True)
            self._alpha = view_planes(job.image.planes, alpha, white=plan.info.white)
        self._alpha_scale = WHITE.get(output.depth, 1) / plan.info.white
        self.divides_by_alpha = plan.alpha == "premultiply"
        self.one_pass = self.tone.depth == "8" and not self.divides_by_alpha
        self._colormap = _colormap(plan, output)
        self._encoder = encoder or open_encoder(job, output)
        self.band_px = self._encoder.band_px

    def encode(self, maps: NDArray[Any], top: int) -> Band:
        """Tone the maps into interleaved samples and let the writer encode them."""
        if self.divides_by_alpha:
            maps = unpremultiply(self._plan, maps)
        samples = np.empty((*maps.shape[1:], len(maps)), self.tone.dtype)
        _, counts = self.tone.apply(maps, samples.transpose(2, 0, 1), inplace=True)
        return self.encode_samples(samples, counts, top)

    def encode_samples(self, samples: NDArray[Any], counts: ToneCounts, top: int) -> Band:
        """Let the writer encode finished samples (H, W, maps), alpha beside them or in colours."""
        if self._alpha is not None:
            left, first, *_ = self._plan.request.region or (0, 0)
            top, bottom = top + first, top + first + len(samples)
            is_array = isinstance(self._alpha, np.ndarray)
            alpha = self._alpha[0, top:bottom] if is_array else self._alpha.rows(top, bottom)[0]  # type: ignore[index,union-attr]
            alpha = alpha[:, left : left + samples.shape[1]]
            stored = alpha if self._alpha_scale == 1 else np.rint(alpha * self._alpha_scale)
            samples = np.concatenate([samples, stored[..., None].astype(samples.dtype)], axis=2)
        if self._colormap:
            from convcli.images.colormaps import apply_colormap

            samples = apply_colormap(samples[..., 0], self._colormap)
        return Band(self._encoder.encode(samples), counts)


def unpremultiply(plan: Plan, maps: NDArray[Any]) -> NDArray[Any]:
    """Divide sums of colour times alpha by filtered alpha, in float64, and add the bias; without alpha, colour is 0."""
    white, bias = plan.white, plan.transform.late_bias
    alpha = np.clip(maps[-1].astype(np.float64), 0, white)
    colour = np.divide(maps[:-1], alpha, out=np.zeros((len(maps) - 1, *alpha.shape)), where=alpha > white * 1e-6)
    if bias is not None:
        colour += bias[:, None, None]
    return np.concatenate([colour, alpha[None]])


class RawOutput(Writer):
    """All maps as float32, as they are before any tone."""

    is_raw = True

    def __init__(self, job: Job, output: OutputFile) -> None:
        plan = job.plan
        super().__init__(plan, output, Tone(ToneSpec("clip"), white=1.0, depth="float"))
        from convcli.images.arrays import open_raw

        height, width = output.size_hw
        self._encoder = open_raw(
            job.files.open(output.path, output.format),
            raw_format=output.format,
            names=tuple(plan.maps[index].label for index in output.maps),
            height_px=height,
            width_px=width,
            stamp=metadata_of(job, output).stamp,
            dtype=plan.request.dtype,
            leading=plan.transform.leading if output.kind == "raw" else (),
            tile=plan.request.tile,
        )
        self.tile_px = self._encoder.tile_px

    def encode(self, maps: NDArray[Any], top: int) -> Band:
        """Convert to the stored type and count."""
        del top
        _, counts = self.tone.apply(maps)  # nothing is clipped: maps are stored as they are
        return Band(self._encoder.encode(maps), counts)

    def put(self, maps: NDArray[Any], top: int, left: int) -> ToneCounts:
        """Write a tile of the maps; safe in any thread."""
        _, counts = self.tone.apply(maps)
        self._encoder.put(maps, top, left)
        return counts
