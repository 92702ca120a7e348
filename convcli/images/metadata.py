"""Metadata of a header: orientation, EXIF, profile and resolution, and the names of what no picture keeps."""

from __future__ import annotations

import re
import struct
from collections.abc import Container, Mapping
from typing import TYPE_CHECKING, Any

from convcli.images.info import Metadata
from convcli.images.unread import unread_tags

if TYPE_CHECKING:
    from PIL.Image import Exif

ORIENTATION_TAG = 0x0112  # of TIFF, and so of EXIF
#: Begins the description that convcli writes into XMP where a format has no other text.
_OWN_XMP = b">convcli "
#: White point and primaries of sRGB, as a PNG's cHRM has them.
_SRGB = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
#: Tags of a TIFF that point to EXIF and GPS, that hold XMP and IPTC; Photoshop's number of IPTC within a JPEG.
_EXIF_TAGS, _XMP_TAG, _IPTC_TAG, _IPTC_RESOURCE = (34665, 34853), 700, 33723, 0x0404


def left_out(info: Mapping[Any, Any], tags: Container[int]) -> tuple[str, ...]:
    """Name the metadata in a file that no picture keeps."""
    photoshop, gamma, primaries = info.get("photoshop"), info.get("gamma"), info.get("chromaticity")
    # A profile outranks gAMA and cHRM, and those of sRGB tell nothing new (PNG specification).
    is_srgb = primaries is None or all(abs(one - two) < 0.001 for one, two in zip(primaries, _SRGB, strict=False))
    has = {
        "EXIF": any(tag in tags for tag in _EXIF_TAGS),
        "XMP": (_xmp(info) != b"" and _OWN_XMP not in _xmp(info)) or _XMP_TAG in tags,
        "IPTC": _IPTC_TAG in tags or (isinstance(photoshop, dict) and _IPTC_RESOURCE in photoshop),
        "gAMA": isinstance(gamma, float) and "icc_profile" not in info and abs(gamma - 1 / 2.2) > 0.001,
        "cHRM": "icc_profile" not in info and not is_srgb,
    }
    return tuple(name for name, there in has.items() if there)


def orientation_block(orientation: int) -> bytes:
    """Return an EXIF block of an orientation alone."""
    return b"II*\0\x08\0\0\0" + struct.pack("<HHHIII", 1, ORIENTATION_TAG, 3, 1, orientation, 0)


def parse_exif(block: bytes | None) -> tuple[int, Exif | None]:
    """Return the orientation 1..8 of an EXIF block and the block parsed; (1, None) where it is absent or nonsense."""
    if not block:
        return 1, None
    from PIL import Image

    exif = Image.Exif()
    try:
        exif.load(block)
        found = exif.get(ORIENTATION_TAG, 1)
    except (SyntaxError, ValueError, TypeError, KeyError, IndexError, OSError, struct.error):
        return 1, None
    return (int(found) if found in range(1, 9) else 1), exif


def read_metadata(info: Mapping[Any, Any], mode: str, *, keep: bool) -> tuple[int, Metadata]:
    """Return orientation and metadata from Pillow's view of a header; nonsense counts as absent.

    The orientation in the EXIF is reset to 1 unless ``keep``.
    """
    icc = info.get("icc_profile")
    block = (info.get("exif") or _raw_profile(info)).removeprefix(b"Exif\0\0")
    block = block if block[:4] in (b"II*\0", b"MM\0*") else None
    orientation, exif = parse_exif(block)
    if exif is None or ORIENTATION_TAG not in exif:
        orientation = _xmp_orientation(info)
        block = orientation_block(orientation) if keep and orientation != 1 and block is None else block
    if exif is not None and orientation != 1 and not keep:
        block = _upright(block)
    # A CMYK profile describes inks that are gone after the conversion.
    icc = icc if isinstance(icc, bytes) and icc and mode != "CMYK" else None
    return orientation, Metadata(icc=icc, dpi=_dpi(info), exif=block, left_out=left_out(info, ()))


def _upright(block: bytes | None) -> bytes | None:
    """Return an EXIF block with orientation 1 and no other byte changed; Pillow would drop the thumbnail."""
    order = "<" if block and block[:2] == b"II" else ">"
    try:
        copy = bytearray(block or b"")
        (first,) = struct.unpack_from(f"{order}I", copy, 4)
        (n_entries,) = struct.unpack_from(f"{order}H", copy, first)
        for at in range(first + 2, first + 2 + 12 * n_entries, 12):
            tag, kind = struct.unpack_from(f"{order}HH", copy, at)
            if tag == ORIENTATION_TAG:
                struct.pack_into(f"{order}I" if kind == 4 else f"{order}H", copy, at + 8, 1)
                return bytes(copy)
    except struct.error:
        pass
    return None


def _raw_profile(info: Mapping[Any, Any]) -> bytes:
    """Return the EXIF that ImageMagick writes into a PNG as text: a name, a length, and hexadecimal digits."""
    try:
        return bytes.fromhex("".join(str(info.get("Raw profile type exif", "")).split("\n")[3:]))
    except ValueError:
        return b""


def _xmp_orientation(info: Mapping[Any, Any]) -> int:
    """Return the orientation that stands in XMP, which counts where EXIF has none."""
    found = re.search(rb"tiff:Orientation(?:=\"|>)([1-8])", _xmp(info))
    return int(found[1]) if found else 1


def _xmp(info: Mapping[Any, Any]) -> bytes:
    xmp = info.get("xmp", info.get("XML:com.adobe.xmp", b""))
    return xmp if isinstance(xmp, bytes) else str(xmp).encode("utf-8", "replace")


def _dpi(info: Mapping[Any, Any]) -> tuple[float, float] | None:
    try:
        across, down = (float(value) for value in info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return (across, down) if 1 < across < 1e6 and 1 < down < 1e6 else None


def tiff_metadata(page: Any, orientation: int) -> Metadata:
    """Return the metadata of a page as tifffile sees it, with an orientation that pictures keep."""
    icc, dpi, exif = page.tags.valueof(34675), None, None
    try:
        across, down = page.get_resolution(unit=2)
        if 1 < across < 1e6 and 1 < down < 1e6:
            dpi = (float(across), float(down))
    except (KeyError, ValueError, ZeroDivisionError, TypeError):
        pass
    if orientation != 1:
        exif = orientation_block(orientation)
    icc = icc if isinstance(icc, bytes) and icc else None
    return Metadata(icc=icc, dpi=dpi, exif=exif, left_out=(*left_out({}, page.tags), *unread_tags(page.tags)))
