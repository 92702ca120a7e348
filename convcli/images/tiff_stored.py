"""Uncompressed TIFFs of the plain kind, read where their samples lie.

One page of 8 or 16 bits, grey, RGB or RGBA, or of 32-bit float grey, in strips one behind the other: what most programs
write. It needs neither Pillow, which would copy every sample, nor tifffile. Whatever is not plain, damaged files among
it, is left to them and to their words for it.

Source: TIFF Revision 6.0, Adobe 1992, sections 2 to 8; of other tags only those that would not change a sample.
"""

from __future__ import annotations

import struct
from typing import BinaryIO

import numpy as np

from convcli.images.header import left_out
from convcli.images.info import ImageInfo, Metadata
from convcli.images.stored import StoredDecoder
from convcli.images.windows import RawRows
from convcli.record import NamedTuple

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _STRIPS = 256, 257, 258, 259, 262, 273
_PER_PIXEL, _STRIP_ROWS, _STRIP_BYTES, _ACROSS, _DOWN, _UNIT, _EXTRA, _FORMAT, _ICC = (
    *(277, 278, 279),
    *(282, 283, 296, 338, 339, 34675),
)
#: Tags that are not plain unless they say what they would if they were absent: subfile type, fill order, orientation,
#: planar configuration.
_DEFAULTS = {_COMPRESSION: 1, 254: 0, 266: 1, 274: 1, 284: 1}
#: Tags that only tell: texts, dates, least and most sample, page name and number, chromaticities; XMP, IPTC, Photoshop,
#: EXIF, GPS.
_TELLING = {
    *(269, 270, 271, 272, 280, 281, 285, 297, 305, 306, 315, 316, 318, 319, 33432),
    *(700, 33723, 34377, 34665, 34853),
}
#: Tags of one whole number; of several; and the others, with how their values are packed (a rational is two numbers).
_SINGLE = {_WIDTH, _HEIGHT, _PHOTOMETRIC, _PER_PIXEL, _STRIP_ROWS, _UNIT, *_DEFAULTS}
_SEVERAL = {_BITS, _STRIPS, _STRIP_BYTES, _EXTRA, _FORMAT}
_WHOLE = {3: "H", 4: "I"}
_PACKED = {_ACROSS: {5: "II"}, _DOWN: {5: "II"}, _ICC: {7: "B"}} | dict.fromkeys(_SINGLE | _SEVERAL, _WHOLE)
_MOST_ENTRIES, _MOST_BYTES = 64, 2**24


class _Kind(NamedTuple):
    """Samples that are read here: Pillow's words for them, little and big endian, their type and planes."""

    modes: tuple[str, str]
    dtype: str
    white: float
    plane_names: tuple[str, ...]


_RGB, _RGBA = ("r", "g", "b"), ("r", "g", "b", "a")
#: (photometric, sample format, bits, samples a pixel, extra samples) -> kind
_KINDS = {
    (1, 1, 8, 1, ()): _Kind(("L", "L"), "u1", 255.0, ("l",)),
    (1, 1, 16, 1, ()): _Kind(("I;16", "I;16B"), "u2", 65535.0, ("l",)),
    (1, 3, 32, 1, ()): _Kind(("F", "F"), "f4", 1.0, ("l",)),
    (2, 1, 8, 3, ()): _Kind(("RGB", "RGB"), "u1", 255.0, _RGB),
    (2, 1, 8, 4, (2,)): _Kind(("RGBA", "RGBA"), "u1", 255.0, _RGBA),
    (2, 1, 16, 3, ()): _Kind(("RGB;16L", "RGB;16B"), "u2", 65535.0, _RGB),
    (2, 1, 16, 4, (2,)): _Kind(("RGBA;16L", "RGBA;16B"), "u2", 65535.0, _RGBA),
}


def open_stored_tiff(file: BinaryIO, frame: int) -> StoredDecoder | None:
    """Return the decoder of a plain TIFF, or None if this one is not plain, or not whole.

    Parameters
    ----------
    file : seekable binary file
    frame : int
        Page, from 0; plain files have one.

    Examples
    --------
    >>> import io
    >>> from convcli.images.tiff import TiffWriter
    >>> file = io.BytesIO()
    >>> writer = TiffWriter(file, 3, 2, 1, np.dtype("float32"))
    >>> writer.append(writer.encode(np.ones((2, 3), np.float32)))
    >>> writer.finish()
    >>> decoder = open_stored_tiff(file, 0)
    >>> decoder.info.mode, decoder.decode().shape
    ('F', (2, 3, 1))
    """
    file.seek(0)
    head = file.read(8)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(head[:4])
    if order is None or frame:
        return None
    try:
        tags = _read_tags(file, order, *struct.unpack_from(order + "I", head, 4))
        return None if tags is None else _decoder(file, order, tags)
    except (struct.error, KeyError, IndexError, ValueError, ZeroDivisionError):
        return None


def _read_tags(file: BinaryIO, order: str, start: int) -> dict[int, tuple[int, ...]] | None:
    """Return the values of the tags that matter, or None if one is not plain or another page follows."""
    file.seek(start)
    (n_entries,) = struct.unpack(order + "H", file.read(2))
    if n_entries > _MOST_ENTRIES:
        return None
    directory = file.read(12 * n_entries + 4)
    (another,) = struct.unpack_from(order + "I", directory, 12 * n_entries)
    if another:
        return None
    tags: dict[int, tuple[int, ...]] = {}
    for index in range(n_entries):
        tag, kind, count = struct.unpack_from(order + "HHI", directory, 12 * index)
        if tag in _TELLING:
            tags.setdefault(tag, ())
            continue
        packed = _PACKED[tag][kind]  # KeyError: not plain
        size = count * struct.calcsize(order + packed)
        if tag in tags or (tag in _SINGLE and count != 1):
            return None
        place = directory[12 * index + 8 : 12 * index + 12]
        if size > 4:
            file.seek(*struct.unpack(order + "I", place))
            place = file.read(min(size, _MOST_BYTES))
        tags[tag] = struct.unpack_from(f"{order}{count * len(packed)}{packed[0]}", place)
        if tag in _DEFAULTS and tags[tag] != (_DEFAULTS[tag],):
            return None
    return tags


def _decoder(file: BinaryIO, order: str, tags: dict[int, tuple[int, ...]]) -> StoredDecoder | None:
    width, height, n_planes = tags[_WIDTH][0], tags[_HEIGHT][0], tags.get(_PER_PIXEL, (1,))[0]
    bits, formats = tags[_BITS], tags.get(_FORMAT, (1,))
    key = (tags[_PHOTOMETRIC][0], formats[0], bits[0], n_planes, tags.get(_EXTRA, ()))
    kind = _KINDS.get(key)
    if kind is None or len(bits) != n_planes or len({*bits}) > 1 or len({*formats}) > 1 or width < 1 or height < 1:
        return None
    stored = np.dtype(order + kind.dtype)
    first = _where_rows_begin(file, tags, height, width * n_planes * stored.itemsize)
    if first is None:
        return None
    rows = RawRows(file, first, (height, width, n_planes), stored)
    info = ImageInfo(
        format="tiff",
        mode=kind.modes[order == ">"],
        width_px=width,
        height_px=height,
        plane_names=kind.plane_names,
        dtype=rows.dtype.name,
        white=kind.white,
        metadata=Metadata(icc=bytes(tags.get(_ICC, ())) or None, dpi=_dpi(tags), left_out=left_out({}, tags)),
    )
    return StoredDecoder(info, rows)


def _where_rows_begin(file: BinaryIO, tags: dict[int, tuple[int, ...]], height: int, row_bytes: int) -> int | None:
    """Return the offset of the first row if all others follow it, to the last one; else None."""
    offsets, sizes = tags[_STRIPS], tags[_STRIP_BYTES]
    strip_rows = min(tags.get(_STRIP_ROWS, (height,))[0], height)
    if len(offsets) != -(-height // strip_rows) or len(sizes) != len(offsets):
        return None
    for index, (offset, size) in enumerate(zip(offsets, sizes, strict=True)):
        n_rows = min(strip_rows, height - index * strip_rows)
        if offset != offsets[0] + index * strip_rows * row_bytes or size != n_rows * row_bytes:
            return None
    return offsets[0] if file.seek(0, 2) >= offsets[0] + height * row_bytes else None


def _dpi(tags: dict[int, tuple[int, ...]]) -> tuple[float, float] | None:
    unit = {1: 0.0, 2: 1.0, 3: 2.54}[tags.get(_UNIT, (2,))[0]]
    if _ACROSS not in tags or _DOWN not in tags:
        return None
    across, down = (numerator / denominator * unit for numerator, denominator in (tags[_ACROSS], tags[_DOWN]))
    return (across, down) if 1 < across < 1e6 and 1 < down < 1e6 else None
