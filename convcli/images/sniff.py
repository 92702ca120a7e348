"""Which format a file is, by its first bytes, and the one Pillow plugin that reads it.

``PIL.Image.open`` imports five plugins to look at one file; a shell loop pays that every time. Names are lower case
and the words of ``--format``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile


class Format(NamedTuple):
    """A format Pillow reads: our name, Pillow's plugin module and its class."""

    name: str
    module: str
    class_name: str

    def load_class(self) -> type[ImageFile]:
        """Import the plugin and return its image class."""
        found: type[ImageFile] = getattr(importlib.import_module(f"PIL.{self.module}"), self.class_name)
        return found


_TIFF = Format("tiff", "TiffImagePlugin", "TiffImageFile")
_PPM = Format("ppm", "PpmImagePlugin", "PpmImageFile")
_BY_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", Format("png", "PngImagePlugin", "PngImageFile")),
    (b"\xff\xd8\xff", Format("jpeg", "JpegImagePlugin", "JpegImageFile")),
    (b"II*\0", _TIFF),
    (b"MM\0*", _TIFF),
    (b"II+\0", _TIFF),
    (b"MM\0+", _TIFF),
    (b"GIF87a", Format("gif", "GifImagePlugin", "GifImageFile")),
    (b"GIF89a", Format("gif", "GifImagePlugin", "GifImageFile")),
    (b"BM", Format("bmp", "BmpImagePlugin", "BmpImageFile")),
)
_WEBP = Format("webp", "WebPImagePlugin", "WebPImageFile")
_ANY = Format("", "Image", "")
#: Pillow plugins that start other programs or only know that a format exists.
REFUSED_PLUGINS = frozenset({"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG", "FPX", "MIC"})


def sniff(head: bytes) -> Format:
    """Return the format of a file that begins with ``head`` (16 bytes are enough).

    Anything unknown is left to Pillow's own search: ``name`` is then empty.

    Examples
    --------
    >>> sniff(b"BM....").name, sniff(b"P5 2 2 255 ").name, sniff(b"hello").name
    ('bmp', 'ppm', '')
    """
    for magic, found in _BY_MAGIC:
        if head.startswith(magic):
            return found
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return _WEBP
    if head[:1] == b"P" and head[1:2] in b"123456Ff" and head[2:3] in b" \t\r\n\v\f#" and len(head) > 2:
        return _PPM._replace(name="pfm") if head[1:2] in b"Ff" else _PPM
    return _ANY
