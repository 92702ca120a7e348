"""Pixels in and out: probe, read, write, sheets, metadata. Pillow, tifffile and isal are used here only.

Names load on first use (PEP 562), so ``import convcli.images`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convcli.images.animation import open_animation
    from convcli.images.arrays import open_raw, write_raw
    from convcli.images.colormaps import COLORMAPS, apply_colormap
    from convcli.images.info import DEFAULT_MAX_PIXELS, Image, ImageInfo, LargeImage, Metadata
    from convcli.images.losses import picture_notes
    from convcli.images.reading import open_planes, probe, probe_frames, read, read_frames
    from convcli.images.write import open_picture, write_picture

#: Module → names that are loaded from it.
_NAMES = {
    "animation": ("open_animation",),
    "arrays": ("open_raw", "write_raw"),
    "colormaps": ("COLORMAPS", "apply_colormap"),
    "losses": ("picture_notes",),
    "info": ("DEFAULT_MAX_PIXELS", "Image", "ImageInfo", "LargeImage", "Metadata"),
    "reading": ("open_planes", "probe", "probe_frames", "read", "read_frames"),
    "write": ("open_picture", "write_picture"),
}
_HOME = {name: module for module, names in _NAMES.items() for name in names}

__all__ = [
    "COLORMAPS",
    "DEFAULT_MAX_PIXELS",
    "Image",
    "ImageInfo",
    "LargeImage",
    "Metadata",
    "apply_colormap",
    "open_animation",
    "open_picture",
    "open_planes",
    "open_raw",
    "picture_notes",
    "probe",
    "probe_frames",
    "read",
    "read_frames",
    "write_picture",
    "write_raw",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
