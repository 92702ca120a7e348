"""Pictures and animations that Pillow encodes: JPEG, WebP, AVIF, JPEG 2000, BMP, TGA, GIF and animated PNG."""

from __future__ import annotations

import importlib
import io
import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from convcli.errors import OutputError
from convcli.images.formats import BY_NAME, Picture, stored_ms

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image as PillowImage

_MODE = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_PILLOW_NAME = {"jp2": "JPEG2000"}
#: Effort of WebP and AVIF (AVIF: 0 slowest, 10 quickest).
_WEBP_METHOD = {"fast": 0, "default": 4, "small": 6}
_AVIF_SPEED = {"fast": 9, "default": 6, "small": 2}


class PillowWriter:
    """Collect the bands of one or several frames and have Pillow encode them.

    With ``durations_ms`` it is an animation, played ``loop`` times; 0 is for ever, None once.
    """

    def __init__(
        self,
        file: BinaryIO,
        picture: Picture,
        durations_ms: Sequence[float | None] | None = None,
        loop: int | None = None,
    ) -> None:
        self._file, self._picture, self._metadata = file, picture, picture.metadata
        self._format = picture.picture_format
        self._quality = BY_NAME[self._format].quality if picture.quality is None else picture.quality
        self._durations, self._loop = durations_ms, loop
        self._bands: list[NDArray[Any]] = []
        self._n_half_clear = self._n_alpha = 0
        #: Losses that show in the samples only; complete after :meth:`finish`.
        self.notes: list[str] = []

    def encode(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return a copy of the rows, as the caller may reuse their memory."""
        dtype = np.uint16 if rows.dtype == np.uint16 else np.uint8
        return np.array(rows.reshape(*rows.shape[:2], -1), dtype=dtype, order="C")

    def append(self, band: NDArray[Any]) -> None:
        """Keep rows until all are there."""
        self._bands.append(band)

    def finish(self) -> None:
        """Encode the picture or the animation."""
        importlib.import_module(f"PIL.{BY_NAME[self._format].plugin[0]}")  # which registers how to save
        samples = np.concatenate(self._bands) if len(self._bands) > 1 else self._bands[0]
        self._bands = []
        step = self._picture.height_px
        first, *others = (self._image(samples[top : top + step]) for top in range(0, len(samples), step))
        options = getattr(self, f"_{self._format}")()
        buffer = io.BytesIO()  # Pillow seeks while it writes; standard output cannot
        name = _PILLOW_NAME.get(self._format, self._format.upper())
        if self._durations is None:
            first.save(buffer, name, **options)
        else:
            self._save_frames(buffer, [first, *others], options)
        if self._n_half_clear:
            counts = f"{self._n_half_clear:,} of {self._n_alpha:,} alpha samples"
            self.notes.append(f"{counts} were neither clear nor opaque, and are stored as one of them")
        self._file.write(buffer.getbuffer())

    def _save_frames(self, buffer: io.BytesIO, frames: list[PillowImage.Image], options: dict[str, Any]) -> None:
        """Encode an animation; Pillow joins frames that equal the one before."""
        known = [*(self._durations or ()), *[None] * len(frames)]
        times = [stored_ms(self._format, ms) for ms in known[: len(frames)]]
        plays = 1 if self._loop is None else min(self._loop, BY_NAME[self._format].most_plays)
        loop = {"gif": {"loop": max(plays - 1, 0)} if plays != 1 else {}, "avif": {}}  # a GIF counts repetitions
        options |= {"save_all": True, "append_images": frames[1:], "duration": times}
        options |= loop.get(self._format, {"loop": plays})
        try:
            frames[0].save(buffer, self._format.upper(), **options)
        except (struct.error, OverflowError):
            most = BY_NAME[self._format].most_ms
            raise OutputError(
                f"{self._format} cannot show equal frames, which it joins, for more than {most:,} ms",
                hint="--frames leaves some of them out, or --format tiff",
            ) from None
        if self._format == "avif" and plays:
            from convcli.images.plays import set_plays

            set_plays(buffer.getbuffer(), plays)
        from convcli.images.pillow import open_plugin

        with open_plugin(io.BytesIO(buffer.getbuffer()), BY_NAME[self._format]) as written:
            n_joined = len(frames) - int(getattr(written, "n_frames", 1))
        if n_joined:
            self.notes.append(f"{n_joined} frames equal the one before and are joined with it; their times are added")

    def _image(self, samples: NDArray[Any]) -> PillowImage.Image:
        from PIL import Image

        height, width, n_planes = samples.shape
        if samples.dtype == np.uint16:
            return Image.frombuffer("I;16", (width, height), samples.astype("<u2"), "raw", "I;16", 0, 1)
        # A colour of a GIF is clear or it is not.
        if self._format == "gif" and n_planes in (2, 4):
            alpha = samples[..., -1]
            self._n_alpha += alpha.size
            self._n_half_clear += int(np.count_nonzero((alpha > 0) & (alpha < 255)))
            alpha[:] = np.where(alpha < 128, 0, 255)
        image = Image.frombuffer(_MODE[n_planes], (width, height), samples, "raw", _MODE[n_planes], 0, 1)
        # WebP has no grey, GIF no grey with alpha.
        if n_planes < 3 and (self._format == "webp" or (self._format == "gif" and n_planes == 2)):
            image = image.convert("RGB" if n_planes == 1 else "RGBA")
        return image

    def _jpeg(self) -> dict[str, Any]:
        # Pillow's own default, 4:2:0, halves the resolution of colours.
        chroma = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}[self._picture.subsampling or "4:4:4"]
        options = {
            "quality": self._quality,
            "subsampling": chroma,
            "optimize": self._picture.compress == "small",
        }
        return options | self._profile() | self._dots() | self._comment()

    def _webp(self) -> dict[str, Any]:
        compress, quality = self._picture.compress, self._quality
        options: dict[str, Any] = {"method": _WEBP_METHOD[compress], "exact": True, "lossless": quality is None}
        # Of a lossless picture, quality is the effort.
        options["quality"] = (100 if compress == "small" else 50) if quality is None else quality
        return options | self._profile() | self._description()

    def _avif(self) -> dict[str, Any]:
        options: dict[str, Any] = {"quality": self._quality, "speed": _AVIF_SPEED[self._picture.compress]}
        options["subsampling"] = self._picture.subsampling or "4:4:4"
        return options | self._profile() | self._description()

    def _jp2(self) -> dict[str, Any]:
        """Return lossless settings, or those of a signal-to-noise ratio of 20 + 0.3 quality decibels."""
        options: dict[str, Any] = self._comment()
        if self._quality is not None:
            ratio = 20 + 0.3 * self._quality
            options |= {"irreversible": True, "quality_mode": "dB", "quality_layers": [ratio]}
        return options

    def _bmp(self) -> dict[str, Any]:
        return self._dots()

    def _tga(self) -> dict[str, Any]:
        return {} if self._picture.compress == "fast" else {"compression": "tga_rle"}

    def _gif(self) -> dict[str, Any]:
        # Frames stand alone: one must not shine through the next.
        alone = {} if self._durations is None else {"disposal": 2, "optimize": False}
        return self._comment() | alone

    def _png(self) -> dict[str, Any]:
        from PIL.PngImagePlugin import PngInfo

        text = PngInfo()
        text.add_itxt("Description", self._metadata.stamp)
        return {"pnginfo": text} | self._profile() | self._dots()

    def _profile(self) -> dict[str, Any]:
        icc, exif = self._metadata.icc, self._metadata.exif
        # The prefix is JPEG's; for other formats Pillow takes it off.
        return ({"icc_profile": icc} if icc else {}) | ({"exif": b"Exif\0\0" + exif} if exif else {})

    def _dots(self) -> dict[str, Any]:
        dpi = self._metadata.dpi
        is_whole = BY_NAME[self._format].has_whole_dpi
        return {"dpi": tuple(round(dots) if is_whole else dots for dots in dpi)} if dpi else {}

    def _comment(self) -> dict[str, Any]:
        stamp = self._metadata.stamp
        # A segment of a JPEG holds 65,533 bytes.
        return {"comment": stamp.encode("utf-8", "replace")[:65000]} if stamp else {}

    def _description(self) -> dict[str, Any]:
        """Return the stamp as XMP: WebP and AVIF have no other place for text."""
        return {"xmp": _xmp(self._metadata.stamp)} if self._metadata.stamp else {}


def _xmp(stamp: str) -> bytes:
    """Return an XMP packet whose dc:description is the stamp."""
    from xml.sax.saxutils import escape

    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:description><rdf:Alt>'
        f'<rdf:li xml:lang="x-default">{escape(stamp)}</rdf:li>'
        "</rdf:Alt></dc:description></rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode("utf-8", "replace")
