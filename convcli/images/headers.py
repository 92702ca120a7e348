"""Facts of a header beside its pixels: metadata that a picture keeps, names of all else, bits of stored samples.

Texts that convcli wrote itself do not count as unread: an output gets its own.
"""

from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Container, Iterable, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from convcli.images.info import Metadata

if TYPE_CHECKING:
    from PIL.Image import Exif

ORIENTATION_TAG = 0x0112  # of TIFF, and so of EXIF
#: Begins the description that convcli writes into XMP where a format has no other text.
_OWN_XMP = b">convcli "
#: White point and primaries of sRGB, as a PNG's cHRM has them.
_SRGB = (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
#: Tags of a TIFF that point to EXIF and GPS, that hold XMP and IPTC; Photoshop's number of IPTC within a JPEG.
_EXIF_TAGS, _XMP_TAG, _IPTC_TAG, _IPTC_RESOURCE = (34665, 34853), 700, 33723, 0x0404
_STAMP = b"convcli "
#: Tags of a TIFF that hold texts of people, GeoTIFF's keys, and Photoshop's layers.
_TEXT_TAGS = {269: "DocumentName", 270: "ImageDescription", 315: "Artist", 33432: "Copyright"}
_GEO_TAG, _LAYERS_TAG, _SUB_IFDS_TAG = 34735, 37724, 330
_COMPRESSION_TAG, _FAXES = 259, (2, 3, 4)
#: NewSubfileType: which kind of page it is, by its bits; GDAL's tags of missing samples and of what values mean.
_KIND_TAG, _KINDS = 254, {1: "a smaller copy of another page", 4: "the mask of another page"}
_NODATA_TAG, _MEANING_TAG = 42113, 42112
_SCALED = re.compile(r'role="(?:scale|offset)"')
#: Descriptions in which programs keep the shape of an array.
_SHAPES = (b'{"shape"', b"shape=", b"ImageJ=")
#: Keys of a PNG's texts that are other metadata.
_NO_TEXTS = (b"XML:com.adobe.xmp", b"Raw profile type ")
#: Chunks of a PNG that say what its samples mean or where they lie: colours, units, place, a pair for two eyes.
_UNREAD_CHUNKS = (b"cICP", b"mDCV", b"mDCv", b"cLLI", b"cLLi", b"pCAL", b"sCAL", b"oFFs", b"sTER")
#: Transfer functions of H.273 that are taken for sRGB: BT.709, unspecified, sRGB.
_USUAL_TRANSFERS = (1, 2, 6, 13)
_MOST_NAMES = 5


def left_out(info: Mapping[Any, Any], tags: Container[int]) -> tuple[str, ...]:
    """Name the metadata in a file that no picture keeps."""
    photoshop, gamma, primaries = info.get("photoshop"), info.get("gamma"), info.get("chromaticity")
    # A profile outranks gAMA and cHRM, and those of sRGB tell nothing new (PNG specification).
    is_srgb = primaries is None or all(abs(one - two) < 0.001 for one, two in zip(primaries, _SRGB, strict=False))
    has = {
        "EXIF": any(tag in tags for tag in _EXIF_TAGS),
        "XMP": (_xmp(info) != b"" and _OWN_XMP not in _xmp(info)) or _XMP_TAG in tags,
        "IPTC": _IPTC_TAG in tags or (isinstance(photoshop, dict) and _IPTC_RESOURCE in photoshop),
        "gAMA": isinstance(gamma, float) and not {"icc_profile", "srgb"} & info.keys() and abs(gamma - 1 / 2.2) > 0.001,
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
        return _sensible(info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None


def _sensible(dpi: Iterable[Any]) -> tuple[float, float] | None:
    across, down = map(float, dpi)
    return (across, down) if 1 < across < 1e6 and 1 < down < 1e6 else None


def unread(file: BinaryIO, name: str, info: Mapping[Any, Any]) -> tuple[str, ...]:
    """Name what an image that Pillow opened holds and no picture keeps; ``info`` is Pillow's view of it."""
    found, texts = [], list[str]()
    if name == "png":
        from convcli.images.png import chunks

        for kind, n_bytes, _ in chunks(file):
            if kind in _UNREAD_CHUNKS:
                found.append(kind.decode())
            elif kind in (b"tEXt", b"zTXt", b"iTXt"):
                key, _, text = file.read(min(n_bytes, 120)).partition(b"\0")
                if not key.startswith(_NO_TEXTS) and not _is_stamp(text):
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


def stored_bits(file: BinaryIO, name: str, otherwise: int) -> int:
    """Return the bits of a stored sample; PNG §11.2.2, ISO 15444-1 §A.5.1, AV1 in ISOBMFF §2.3, SGI 1.0."""
    if name not in ("png", "sgi", "avif", "jp2"):
        return otherwise
    file.seek(0)
    # Zeros behind it: a header that is cut gives a wrong number here and an error of its decoder later.
    head = file.read(1 << 16).ljust(64, b"\0") + bytes(64)
    if name in ("png", "sgi"):
        # SGI counts bytes; a PNG's palette has 8 bits a colour, whatever its indexes have.
        return 8 * head[3] if name == "sgi" else head[24] if head[25] != 3 else 8
    at = head.find(b"av1C" if name == "avif" else b"\xff\x4f\xff\x51")
    if at < 0:
        return otherwise
    if name == "avif":
        # Third byte of av1C: tier, high_bitdepth, twelve_bit.
        return 12 if head[at + 6] & 0x20 else 10 if head[at + 6] & 0x40 else 8
    # Ssiz of the first component: its bits less one, and a bit for the sign.
    return (head[at + 42] & 0x7F) + 1


def bits_notes(stored_bits: int, dtype: str) -> tuple[str, ...]:
    """Note when stored samples have more bits than those they are read with, or than float32 sums hold.

    Examples
    --------
    >>> bits_notes(10, "uint8"), bits_notes(12, "uint16"), bits_notes(32, "int32")
    (('10-bit samples are read with 8 bits',), (), ('int32 samples are rounded to 24 bits unless --dtype float64',))
    """
    held = int(dtype.strip("uintfloa"))
    if stored_bits > held:
        return (f"{stored_bits}-bit samples are read with {held} bits",)
    is_wide = dtype in ("uint32", "int32", "float64")
    return (f"{dtype} samples are rounded to 24 bits unless --dtype float64",) if is_wide else ()


def tiff_metadata(page: Any, orientation: int) -> Metadata:
    """Return the metadata of a page as tifffile sees it, with an orientation that pictures keep."""
    icc, dpi = page.tags.valueof(34675), None
    with contextlib.suppress(KeyError, ValueError, ZeroDivisionError, TypeError):
        dpi = _sensible(page.get_resolution(unit=2))
    exif = orientation_block(orientation) if orientation != 1 else None
    icc = icc if isinstance(icc, bytes) and icc else None
    return Metadata(icc=icc, dpi=dpi, exif=exif, left_out=(*left_out({}, page.tags), *unread_tags(page.tags)))


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
    kind = tags.valueof(_KIND_TAG, default=0)
    notes += [f"this page is {what}" for bit, what in _KINDS.items() if kind & bit]
    if missing := str(tags.valueof(_NODATA_TAG) or "").strip():
        notes.append(f"the file marks missing samples with {missing}: --nodata {missing} leaves them out")
    if _SCALED.search(str(tags.valueof(_MEANING_TAG) or "")):
        notes.append("scale and offset of the file (GDAL) are not applied: samples stay as they are stored")
    return notes
