"""JPEG, WebP, BMP and GIF through Pillow, one plugin each."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from convcli.images.info import Metadata

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PLUGIN = {"jpeg": "JpegImagePlugin", "webp": "WebPImagePlugin", "bmp": "BmpImagePlugin", "gif": "GifImagePlugin"}
_MODE = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}


class PillowWriter:
    """Collect the bands of a picture and have Pillow encode it."""

    def __init__(
        self,
        file: BinaryIO,
        picture_format: str,
        metadata: Metadata,
        compress: str,
        quality: int | None,
        subsampling: str | None,
    ) -> None:
        self._file, self._format, self._metadata, self._compress = file, picture_format, metadata, compress
        self._quality, self._subsampling = quality, subsampling
        self._bands: list[NDArray[np.uint8]] = []

    def encode(self, rows: NDArray[Any]) -> NDArray[np.uint8]:
        """Return a copy of the rows, for the caller may reuse their memory."""
        return np.array(rows, dtype=np.uint8, order="C")

    def append(self, band: NDArray[np.uint8]) -> None:
        """Keep rows until all are there."""
        self._bands.append(band)

    def finish(self) -> None:
        """Encode the picture."""
        from PIL import Image

        samples = np.concatenate(self._bands) if len(self._bands) > 1 else self._bands[0]
        self._bands = []
        samples = samples.reshape(*samples.shape[:2], -1)
        height, width, n_planes = samples.shape
        image = Image.frombuffer(_MODE[n_planes], (width, height), samples, "raw", _MODE[n_planes], 0, 1)
        if self._format == "webp" and n_planes < 3:
            image = image.convert("RGB" if n_planes == 1 else "RGBA")
        importlib.import_module(f"PIL.{_PLUGIN[self._format]}")
        name = self._format.upper()
        # Image.save would import the plugins of five formats first
        image.encoderinfo = self._options()
        image.encoderconfig = ()
        Image.SAVE[name](image, self._file, "")

    def _options(self) -> dict[str, Any]:
        meta = self._metadata
        options: dict[str, Any] = {}
        if meta.icc and self._format in ("jpeg", "webp"):
            options["icc_profile"] = meta.icc
        if meta.exif and self._format in ("jpeg", "webp"):
            options["exif"] = b"Exif\0\0" + meta.exif
        if meta.dpi and self._format in ("jpeg", "bmp"):
            options["dpi"] = tuple(round(dots) for dots in meta.dpi)
        if meta.stamp and self._format in ("jpeg", "gif"):
            options["comment"] = meta.stamp.encode("utf-8", "replace")[:65000]
        if self._format == "jpeg":
            chroma = {"4:4:4": 0, "4:2:2": 1, "4:2:0": 2}[self._subsampling or "4:4:4"]
            options |= {"quality": self._quality or 92, "subsampling": chroma, "optimize": self._compress == "small"}
        if self._format == "webp":
            effort = {"fast": 0, "default": 4, "small": 6}[self._compress]
            options |= {
                "lossless": self._quality is None,
                "exact": True,
                "quality": self._quality or (100 if self._compress == "small" else 50),
                "method": effort,
            }
            if meta.stamp:
                options["xmp"] = _xmp(meta.stamp)
        return options


def _xmp(stamp: str) -> bytes:
    """Return an XMP packet whose dc:description is the stamp: WebP has no other place for text."""
    from xml.sax.saxutils import escape

    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        '<rdf:Description xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:description><rdf:Alt>'
        f'<rdf:li xml:lang="x-default">{escape(stamp)}</rdf:li>'
        "</rdf:Alt></dc:description></rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode("utf-8", "replace")
