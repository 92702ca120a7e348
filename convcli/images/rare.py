"""Rare formats: fields of their headers that Pillow's plugins pass over, and that change the samples.

Each row is a function of a format by Pillow's name. It returns notes on what is lost, and refuses a file of which
Pillow would give wrong samples without a word. Its standard is what ImageMagick and FFmpeg read.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, BinaryIO

from convcli.errors import ImageError

if TYPE_CHECKING:
    from PIL.Image import Image

_HINT = "convert it to PNG or TIFF first"
_HEAD_BYTES = 1 << 16
#: Planes that Pillow takes of a PSD, by its colour mode; all others: one.
_PSD_PLANES = {3: 3, 4: 4, 9: 3}
_PSD_MULTICHANNEL = 7
#: The version of PCX that has a palette at its end, and the bytes of that.
_PCX_WITH_PALETTE, _PCX_PALETTE_BYTES = 5, 769
#: A colour of an XPM that Pillow misreads: ``#`` and other than six digits.
_XPM_COLOUR = re.compile(rb"\sc\s+#(?![0-9A-Fa-f]{6}[\s\"])[0-9A-Fa-f]+")
#: BMP: samples by masks; a profile in the file, or beside it, both words backwards.
_BIT_FIELDS, _BMP_PROFILES = 3, (b"DEBM", b"KNIL")
#: DDS: BC6H, whose samples are half floats; a cube's faces and a volume, in the second word of its capabilities.
_BC6H, _CUBE, _VOLUME = (94, 95, 96), 0x200, 0x200000


def heed(file: BinaryIO, image: Image, name: str, target: str, notes: list[str]) -> str:
    """Note what is lost of a file that Pillow opened as the format ``name``; return the mode that its samples have.

    ``target`` is that mode by Pillow's word.

    Raises
    ------
    ImageError
        Pillow would give wrong samples.
    """
    if len(sizes := image.info.get("sizes", ())) > 1:
        notes.append(f"{len(sizes) - 1} smaller pictures in the file are not read")
    if name not in _HEEDED:
        return target
    place = file.tell()
    file.seek(0)
    head = file.read(_HEAD_BYTES).ljust(_HEAD_BYTES, b"\0")
    file.seek(place)
    notes += _HEEDED[name](head, image)
    # Pillow takes the 16th bit for alpha, whether the header counts it or not.
    has_junk = name == "tga" and head[16] == 16 and target == "RGBA" and not head[17] & 15
    return "RGB" if has_junk else target


def _fits(head: bytes, _: Image) -> list[str]:
    cards = _cards(head)
    scale, zero = (float(cards.get(name, otherwise)) for name, otherwise in ((b"BSCALE", b"1"), (b"BZERO", b"0")))
    bits, n_axes = int(cards.get(b"BITPIX", b"8")), int(cards.get(b"NAXIS", b"2"))
    if bits == 16 or (scale, zero) != (1, 0):
        fact = f"BITPIX {bits}, BSCALE {scale:g}, BZERO {zero:g}"
        raise ImageError(f"cannot be decoded (signed or scaled FITS: {fact})", hint="save the array as .npy or TIFF")
    n_planes = math.prod(int(cards.get(b"NAXIS%d" % axis, b"1")) for axis in range(3, n_axes + 1))
    notes = [f"{n_planes - 1} of {n_planes} planes of the FITS are not read"] if n_planes > 1 else []
    return notes + (["float64 samples are read as float32"] if bits == -64 else [])


def _cards(head: bytes) -> dict[bytes, bytes]:
    """Return the values of the first header that has an array, by name; the first one may have none."""
    found: dict[bytes, bytes] = {}
    for at in range(0, len(head) - 79, 80):
        name, value = head[at : at + 8].strip(), head[at + 10 : at + 80].partition(b"/")[0].strip()
        if name == b"END":
            if found.get(b"NAXIS", b"0") != b"0":
                break
        elif head[at + 8 : at + 10] == b"= ":
            found[name] = value
    return found


def _psd(head: bytes, _: Image) -> list[str]:
    n_channels, mode = struct.unpack_from(">H", head, 12)[0], struct.unpack_from(">H", head, 24)[0]
    n_left = n_channels - _PSD_PLANES.get(mode, 1)
    # Pillow takes the fourth channel of RGB for alpha where there are exactly four.
    n_left -= mode == 3 and n_channels == 4
    kind = " of a multichannel file" if mode == _PSD_MULTICHANNEL else ""
    return [f"{n_left} further channels{kind} are not read: alpha, masks or spot colours"] if n_left > 0 else []


def _sun(head: bytes, _: Image) -> list[str]:
    (depth,) = struct.unpack_from(">I", head, 12)
    if depth == 32:
        raise ImageError("cannot be decoded (Sun raster of 32 bits)", hint=_HINT)
    return []


def _xpm(head: bytes, _: Image) -> list[str]:
    if found := _XPM_COLOUR.search(head):
        colour = found[0].split(b"#")[1].decode()
        raise ImageError(f"cannot be decoded (XPM colour #{colour}, not of six digits)", hint=_HINT)
    return []


def _sgi(head: bytes, _: Image) -> list[str]:
    (colormap,) = struct.unpack_from(">I", head, 104)
    if colormap:
        raise ImageError(f"cannot be decoded (SGI with colour map {colormap})", hint=_HINT)
    return []


def _pcx(head: bytes, image: Image) -> list[str]:
    # Pillow reads indexes as grey where it misses the palette: a byte of 12 and 256 colours, at the end.
    file: BinaryIO | None = getattr(image, "fp", None)
    if image.mode == "L" and head[1] == _PCX_WITH_PALETTE and file is not None:
        file.seek(-_PCX_PALETTE_BYTES, 2)
        if file.read(1) != b"\x0c":
            raise ImageError("is truncated: its palette is not at its end", hint="copy or download the file again")
    return []


def _jp2(head: bytes, _: Image) -> list[str]:
    at = head.find(b"\xff\x4f\xff\x51")
    if at < 0 or at + 42 >= len(head):
        return []
    (n_parts,) = struct.unpack_from(">H", head, at + 40)
    sizes = head[at + 42 : at + 42 + 3 * n_parts : 3]
    # Ssiz: bits less one, and a bit for the sign; OpenJPEG makes all of them unsigned.
    bits = {(size & 0x7F) + 1 for size in sizes}
    added = sorted(1 << (size & 0x7F) for size in set(sizes) if size & 0x80)
    notes = [f"samples are signed in the file and read with {added[0]} added"] if added else []
    depths = " and ".join(map(str, sorted(bits)))
    return notes + ([f"planes of {depths} bits are read alike"] if len(bits) > 1 else [])


def _cur(_: bytes, image: Image) -> list[str]:
    return [] if "A" in image.mode else ["the mask of the pointer is not read: all of it counts as opaque"]


def _dds(head: bytes, _: Image) -> list[str]:
    notes = []
    (flags,) = struct.unpack_from("<I", head, 80)
    masks = struct.unpack_from("<4I", head, 92)
    n_bits = max(mask.bit_count() for mask in masks) if flags & 0x40 else 0
    if head[84:88] == b"DX10" and struct.unpack_from("<I", head, 128)[0] in _BC6H:
        notes.append("half floats (BC6H) are read with 8 bits, cut at white")
    if n_bits > 8:
        notes.append(f"{n_bits}-bit samples are read with 8 bits")
    (caps,) = struct.unpack_from("<I", head, 112)
    if caps & (_CUBE | _VOLUME):
        notes.append(f"further {'faces of the cube' if caps & _CUBE else 'slices of the volume'} are not read")
    return notes


def _im(_: bytes, image: Image) -> list[str]:
    is_mapped = image.mode in ("L", "LA") and getattr(image, "lut", None)
    return ["the table of greys in the file is not applied"] if is_mapped else []


def _tga(head: bytes, _: Image) -> list[str]:
    n_alpha_bits = head[17] & 15
    if head[1] and head[7] == 32:
        return ["alpha of the palette is not read"]
    is_claimed = head[16] == 32 and not n_alpha_bits
    return ["the header counts no bits of alpha: the fourth plane is taken for it"] if is_claimed else []


def _bmp(head: bytes, image: Image) -> list[str]:
    start, n_header = struct.unpack_from("<I", head, 10)[0], struct.unpack_from("<I", head, 14)[0]
    if n_header < 40:
        return []
    n_bits, packing = struct.unpack_from("<HI", head, 28)
    has_profile = n_header >= 124 and head[70:74] in _BMP_PROFILES
    notes = ["the ICC profile in the file is not read"] if has_profile else []
    # The fourth byte is reserved; some programs store alpha there.
    spare = set(head[start + 3 :: 4]) if n_bits == 32 and packing == 0 else set()
    if "A" in image.mode:
        return notes
    if n_header >= 56 and packing == _BIT_FIELDS and struct.unpack_from("<I", head, 66)[0]:
        notes.append(f"alpha in pixels of {n_bits} bits is not read")
    elif len(spare) > 1:
        notes.append("the fourth byte of each pixel is not read: it may be alpha")
    return notes


_HEEDED: dict[str, Callable[[bytes, Image], list[str]]] = {
    "fits": _fits, "psd": _psd, "sun": _sun, "xpm": _xpm, "sgi": _sgi, "cur": _cur, "pcx": _pcx, "jp2": _jp2,
    "dds": _dds, "im": _im, "tga": _tga, "bmp": _bmp,
}  # fmt: skip
