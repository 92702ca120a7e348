"""Contents of a file that nothing reads, by name: texts, colour spaces and pixel shapes that no output keeps.

Texts that convcli wrote itself do not count: an output gets its own.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

_STAMP = b"convcli "
#: Tags of a TIFF that hold texts of people, GeoTIFF's keys, and Photoshop's layers.
_TEXT_TAGS = {269: "DocumentName", 270: "ImageDescription", 315: "Artist", 33432: "Copyright"}
_GEO_TAG, _LAYERS_TAG, _SUB_IFDS_TAG = 34735, 37724, 330
_COMPRESSION_TAG, _FAXES = 259, (2, 3, 4)
#: Descriptions in which programs keep the shape of an array.
_SHAPES = (b'{"shape"', b"shape=", b"ImageJ=")
#: Keys of a PNG's texts that are other metadata.
_NO_TEXTS = (b"XML:com.adobe.xmp", b"Raw profile type ")
#: Transfer functions of H.273 that are taken for sRGB: BT.709, unspecified, sRGB.
_USUAL_TRANSFERS = (1, 2, 6, 13)
_MOST_NAMES = 5


def unread(file: BinaryIO, name: str, info: Mapping[Any, Any]) -> tuple[str, ...]:
    """Name what an image that Pillow opened holds and no picture keeps; ``info`` is Pillow's view of it."""
    found, texts = [], list[str]()
    if name == "png":
        for kind, body in _chunks(file):
            key, _, text = body.partition(b"\0")
            if kind == b"cICP":
                found.append("cICP")
            elif kind in (b"tEXt", b"zTXt", b"iTXt") and not key.startswith(_NO_TEXTS) and not _is_stamp(text):
                texts.append(key.decode("latin-1"))
    comment = info.get("comment") if name in ("jpeg", "gif") else None  # JPEG 2000 has that of its encoder
    if isinstance(comment, bytes) and comment.strip(b"\0 ") and not _is_stamp(comment):
        texts.append("comment")
    if name in ("avif", "heic"):
        found += _colour_space(file)
    across, down = info.get("aspect", info.get("jfif_density", (1, 1)) if info.get("jfif_unit") == 0 else (1, 1))
    if across != down and across > 0 and down > 0:
        found.append(f"pixel aspect {across}:{down}")
    return (*found, *named_texts(texts))


def unread_tags(tags: Any) -> tuple[str, ...]:
    """Name what a TIFF page holds in tags (tifffile's) that no picture keeps."""
    texts = []
    for tag, name in _TEXT_TAGS.items():
        value = str(tags.valueof(tag) or "").encode("utf-8", "replace")
        if value and not _is_stamp(value) and not value.startswith(_SHAPES):
            texts.append(name)
    return (*(("GeoTIFF",) if _GEO_TAG in tags else ()), *named_texts(texts))


def parts_notes(tags: Any) -> list[str]:
    """Note pictures within a TIFF page that are not read, and data that are not checked, by its tags (tifffile's)."""
    notes = []
    if tags.valueof(_COMPRESSION_TAG) in _FAXES:
        notes.append("damage of fax data is not noticed: libtiff tells the terminal only")
    if _SUB_IFDS_TAG in tags:
        notes.append(f"pictures below the page are not read (SubIFDs: {tags.get(_SUB_IFDS_TAG).count})")
    if _LAYERS_TAG in tags:
        notes.append("the layers of Photoshop in the file are not read: the merged picture is")
    return notes


def named_texts(names: Iterable[str]) -> tuple[str, ...]:
    """Return one entry for all texts, the first few by name.

    Examples
    --------
    >>> named_texts(["Title", "Author", "Title"]), named_texts([])
    (('text (Title, Author)',), ())
    """
    each = list(dict.fromkeys(names))
    more = f" and {len(each) - _MOST_NAMES} more" if len(each) > _MOST_NAMES else ""
    return (f"text ({', '.join(each[:_MOST_NAMES])}{more})",) if each else ()


def _is_stamp(text: bytes) -> bool:
    return text.lstrip(b"\0").startswith(_STAMP)


def _chunks(file: BinaryIO) -> Iterator[tuple[bytes, bytes]]:
    """Yield kind and first bytes of the chunks of a PNG, those behind its pixels too."""
    file.seek(8)
    while len(head := file.read(8)) == 8:
        n_bytes, kind = struct.unpack(">I4s", head)
        is_pixels = kind in (b"IDAT", b"fdAT")
        body = b"" if is_pixels else file.read(min(n_bytes, 120))
        yield kind, body
        file.seek(n_bytes + 4 - len(body), 1)


def _colour_space(file: BinaryIO) -> list[str]:
    """Name a colour space that a header gives in numbers, where they are not those of sRGB."""
    file.seek(0)
    head = file.read(1 << 16)
    at = head.find(b"colrnclx")
    if at < 0 or at + 14 > len(head):
        return []
    primaries, transfer, _ = struct.unpack_from(">HHH", head, at + 8)
    is_usual = primaries in (1, 2) and transfer in _USUAL_TRANSFERS
    return [] if is_usual else [f"colour space (primaries {primaries}, transfer {transfer} of H.273)"]
