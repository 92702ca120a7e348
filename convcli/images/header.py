"""What Pillow's header of an image means to us: the samples it will have, its profile, resolution and orientation."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

from convcli.images.exif import find_orientation, split_exif
from convcli.images.info import Metadata

if TYPE_CHECKING:
    from PIL import Image as PillowImage

ORIENTATION_TAG = 0x0112
#: Tags of a TIFF that point to EXIF and GPS, that hold XMP and IPTC; Photoshop's number of IPTC within a JPEG.
EXIF_TAGS, XMP_TAG, IPTC_TAG, IPTC_RESOURCE = (34665, 34853), 700, 33723, 0x0404
WHITE = {"uint8": 255.0, "uint16": 65535.0, "int32": 2.0**31 - 1, "uint32": 2.0**32 - 1, "float32": 1.0}
#: Pillow mode -> (mode after conversion, dtype); modes that need no conversion stay themselves
_TARGET = {
    "1": ("1", "uint8"),
    "L": ("L", "uint8"),
    "LA": ("LA", "uint8"),
    "La": ("LA", "uint8"),
    "RGB": ("RGB", "uint8"),
    "RGBA": ("RGBA", "uint8"),
    "RGBa": ("RGBA", "uint8"),
    "RGBX": ("RGB", "uint8"),
    "CMYK": ("RGB", "uint8"),
    "YCbCr": ("RGB", "uint8"),
    "HSV": ("RGB", "uint8"),
    "LAB": ("LAB", "uint8"),
    "I;16": ("I;16", "uint16"),
    "I;16L": ("I;16", "uint16"),
    "I;16B": ("I;16B", "uint16"),
    "I": ("I", "int32"),
    "F": ("F", "float32"),
}
PLANES = {"LA": ("l", "a"), "RGB": ("r", "g", "b"), "RGBA": ("r", "g", "b", "a"), "LAB": ("l", "a*", "b*")}
SAID = {
    "1": "1-bit samples are read as 0 and 255",
    "CMYK": "CMYK is converted to RGB without its ICC profile",
    "YCbCr": "YCbCr is converted to RGB",
    "HSV": "HSV is converted to RGB",
    "La": "premultiplied alpha is divided out",
    "RGBa": "premultiplied alpha is divided out",
}


def rawmode_of(image: PillowImage.Image) -> str:
    """Return how the file packs its samples, in Pillow's words, or an empty string."""
    tile = getattr(image, "tile", None)
    if not tile:
        return ""
    args = tile[0][3]
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else ""


def _tile_rawmode(tile: Any) -> object:
    return tile[3][0] if isinstance(tile[3], tuple) else tile[3]


def is_deep(image: PillowImage.Image, stored: str) -> bool:
    """Return whether the two-pass trick applies: 16-bit colour, one rawmode, nothing animated or colour-keyed."""
    if stored not in ("LA;16B", "RGB;16B", "RGB;16L", "RGB;16N", "RGBA;16B", "RGBA;16L", "RGBA;16N"):
        return False
    return all(_tile_rawmode(tile) == stored for tile in image.tile) and "transparency" not in image.info  # type: ignore[attr-defined]


def target_of(image: PillowImage.Image, name: str, n_frames: int, notes: list[str]) -> tuple[str, str]:
    """Return the mode and dtype that the samples will have, saying what changes."""
    mode = image.mode
    if name == "gif" and n_frames > 1 and mode in ("P", "L"):
        mode = "P"  # later frames bring colours of their own
    if mode in ("P", "PA"):
        has_alpha = mode == "PA" or "transparency" in image.info
        notes.append(f"palette is expanded to {'RGBA' if has_alpha else 'RGB'}")
        return ("RGBA" if has_alpha else "RGB"), "uint8"
    if mode not in _TARGET:
        raise OSError(f"mode {mode} is not supported")
    target, dtype = _TARGET[mode]
    if rawmode_of(image) == "LA;16B":
        return "LA", dtype
    if "transparency" in image.info and target in ("L", "1", "RGB", "I;16"):
        if dtype == "uint16":
            notes.append("the colour that the file declares transparent is kept as a colour")
        else:
            notes.append("the colour that the file declares transparent becomes an alpha plane")
            return ("RGBA" if target == "RGB" else "LA"), dtype
    if rawmode_of(image) == "I;32N":
        dtype = "uint32"
    elif rawmode_of(image).startswith("F;64"):
        notes.append("float64 is read as float32")
    if target == "LAB":
        notes.append("CIELAB planes stay as they are stored")
    return target, dtype


def ends_well(file: BinaryIO) -> bool:
    """Return whether a GIF ends with its trailer, give or take padding."""
    place = file.tell()
    size = file.seek(0, 2)
    file.seek(max(0, size - 64))
    tail = file.read().rstrip(b"\0")
    file.seek(place)
    return tail.endswith(b";")


def photometric_of(image: PillowImage.Image) -> object:
    """Return the TIFF tag of the meaning of 0 (0: white, 1: black, 2: RGB), or None."""
    tags = getattr(image, "tag_v2", None)
    return tags.get(262) if tags is not None else None


def read_metadata(image: PillowImage.Image) -> tuple[int, Metadata]:
    """Return (orientation, metadata); nonsense in a header counts as absent."""
    info = image.info
    icc = info.get("icc_profile")
    exif = split_exif(info.get("exif"))
    tags = getattr(image, "tag_v2", None)
    if tags is not None:
        found = tags.get(ORIENTATION_TAG, 1)
        orientation = found if found in range(1, 9) else 1
    else:
        orientation = find_orientation(exif)
    icc = icc if isinstance(icc, bytes) and icc else None
    return orientation, Metadata(icc=icc, dpi=_dpi(info), exif=exif, left_out=left_out(info, tags or ()))


def left_out(info: Mapping[Any, Any], tags: Container[int]) -> tuple[str, ...]:
    """Name what Pillow has read, or seen, and no picture of ours keeps."""
    photoshop = info.get("photoshop")
    has = {
        "EXIF": any(tag in tags for tag in EXIF_TAGS),
        "XMP": "xmp" in info or "XML:com.adobe.xmp" in info or XMP_TAG in tags,
        "IPTC": IPTC_TAG in tags or (isinstance(photoshop, dict) and IPTC_RESOURCE in photoshop),
    }
    return tuple(name for name, there in has.items() if there)


def _dpi(info: dict[Any, Any]) -> tuple[float, float] | None:
    try:
        across, down = (float(value) for value in info["dpi"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    # 1 is what Pillow reports for a TIFF that does not say
    return (across, down) if 1 < across < 1e6 and 1 < down < 1e6 else None


def positive(value: object) -> float | None:
    """Return a number of milliseconds that can be one, else None."""
    return float(value) if isinstance(value, (int, float)) and 0 < value < 1e9 else None
