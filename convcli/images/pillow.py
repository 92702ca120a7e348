"""Images through Pillow: header, metadata and samples, each sample with all of its bits where Pillow can.

Pillow converts 16-bit colour to 8 bits. The ``tile`` list of an opened image says which byte of a sample to keep, so
decoding twice, for the high bytes and for the low bytes, gives all 16.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from convcli.errors import ImageError
from convcli.images.formats import Format
from convcli.images.headers import bits_notes, read_metadata, stored_bits, unread
from convcli.images.info import ImageInfo
from convcli.images.planes import check_palette, turn_upright
from convcli.process.system import import_optional

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image as PillowImage

logging.getLogger("PIL").addHandler(logging.NullHandler())  # without a handler Python prints Pillow's log
#: Pillow plugins that start other programs or only know that a format exists.
_REFUSED = frozenset({"EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG", "FPX", "MIC"})
#: Pillow mode -> (mode to convert to, dtype)
_TARGET = {
    **{mode: (mode, "uint8") for mode in ("1", "L", "LA", "RGB", "RGBA", "LAB")},
    **dict.fromkeys(("RGBX", "CMYK", "YCbCr", "HSV"), ("RGB", "uint8")),
    **{mode: (mode, "uint16") for mode in ("I;16", "I;16L", "I;16B", "I;16N")},
    "La": ("LA", "uint8"),
    "RGBa": ("RGBA", "uint8"),
    "I": ("I", "int32"),
    "F": ("F", "float32"),
}
_WHITE = {"uint8": 255.0, "uint16": 65535.0, "int32": 2.0**31 - 1, "float32": 1.0}
_PLANES = {"LA": ("l", "a"), "RGB": ("r", "g", "b"), "RGBA": ("r", "g", "b", "a"), "LAB": ("l", "a*", "b*")}
_NOTES = {
    "1": "1-bit samples are read as 0 and 255",
    "CMYK": "CMYK is converted to RGB without its ICC profile",
    "YCbCr": "YCbCr is converted to RGB",
    "HSV": "HSV is converted to RGB",
    "La": "premultiplied alpha is divided out",
    "RGBa": "premultiplied alpha is divided out",
    "LAB": "CIELAB planes stay as they are stored",
    "I": "white of 32-bit integers is taken to be 2,147,483,647",
}
#: Pillow mode -> (type of a sample in ``tobytes``, samples a pixel)
_PACKED = {
    **{mode: ("u1", len(mode)) for mode in ("L", "LA", "RGB", "RGBA", "LAB", "CMYK")},
    **{"I;16": ("<u2", 1), "I;16L": ("<u2", 1), "I;16B": (">u2", 1), "I;16N": ("=u2", 1), "I": ("=i4", 1)},
    "F": ("=f4", 1),
}
#: rawmode suffix that takes the other byte of each 16-bit sample
_OTHER_BYTE = {";16B": ";16L", ";16L": ";16B", ";16N": ";16B" if np.little_endian else ";16L"}
#: Raw modes of 16-bit colour, of which Pillow would keep 8 bits.
_DEEP = {f"{mode}{order}" for mode in ("RGB", "RGBA") for order in _OTHER_BYTE} | {"LA;16B"}
#: Bytes copied at once, which stay in the cache; see :func:`pixels_of`.
_STRIP_BYTES = 1 << 16
#: Formats of which Pillow heeds every field that counts here; :mod:`convcli.images.rare` knows others.
_HEEDED = ("png", "jpeg", "gif", "webp", "avif", "heic")


class PillowDecoder:
    """An image opened by Pillow at a frame: facts from its header, and its samples on demand.

    Raises Pillow's own errors for a damaged file; :mod:`convcli.images.reading` turns them into an ``ImageError``.
    Without a format's ``row``, Pillow looks for a plugin.
    """

    def __init__(self, file: BinaryIO, row: Format | None, frame: int, orientation: str) -> None:
        self._file, self._row, self._orientation = file, row, orientation
        self._image = self._open(frame)
        self._name = row.name if row else (self._image.format or "unknown").lower()
        self._plays: int | None = None
        self._animation_notes: tuple[str, ...] = ()
        if int(getattr(self._image, "n_frames", 1)) > 1:
            from convcli.images.plays import of_animation

            self._plays, self._animation_notes = of_animation(file, self._name, self._image.info.get("loop"))
        self._unread = unread(file, self._name, self._image.info)
        self._describe(frame)

    def seek(self, frame: int) -> bool:
        """Go to a later frame; cheaper than opening the file anew, as frames of animations build on each other."""
        self._image.seek(frame)
        self._describe(frame)
        return True

    def reopen(self, file: BinaryIO) -> None:
        """Decode from another file of the same picture."""
        self._file = file
        self._image = self._open(self._frame)

    def decode(self) -> NDArray[Any]:
        """Return the samples, shape (H, W, P), in ``info.dtype``."""
        info = self.info
        samples = self._decode_deep() if self._deep else pixels_of(_converted(self._image, info))
        if self._name == "png":
            from convcli.images.png import check_rows

            check_rows(self._file, samples)
        if self._name == "xbm":
            samples = 255 - samples  # bits that are set are black: Pillow has them white
        if self._shift:
            samples >>= self._shift
        if self._key is not None:
            alpha = (samples != self._key).any(axis=2, keepdims=True) * samples.dtype.type(info.white)
            samples = np.concatenate([samples, alpha], axis=2)
        return turn_upright(samples, info.orientation if self._orientation == "apply" else 1)

    def window(self) -> None:
        """Pillow decodes whole images only."""

    def _open(self, frame: int) -> PillowImage.Image:
        self._file.seek(0)
        image = open_plugin(self._file, self._row)
        if frame:
            image.seek(frame)
        return image

    def _describe(self, frame: int) -> None:
        """Read the header of the frame: :attr:`info`, and how to decode it."""
        image, notes = self._image, list[str]()
        self._frame = frame
        name = self._name
        n_frames = max(1, int(getattr(image, "n_frames", 1)))
        if name == "psd" and n_frames > 1:
            notes.append(f"{n_frames} layers are not read: the merged picture is")
            n_frames = 1
        if frame >= n_frames:
            raise ImageError(f"has no frame {frame}", hint="frames count from 0")
        if n_frames > 1 and name in ("webp", "avif"):
            image.load()  # these decoders know a frame's time once it is decoded
        mode = image.mode
        planes, dtype, white = self._plan_samples(name, n_frames, notes)
        orientation, metadata = read_metadata(image.info, mode, keep=self._orientation == "keep")
        metadata = metadata._replace(left_out=(*metadata.left_out, *self._unread))
        width, height = image.size
        if self._orientation == "apply" and orientation >= 5:
            width, height = height, width
        if self._orientation == "ignore" and orientation != 1:
            notes.append(f"orientation {orientation} is ignored")
        notes += self._animation_notes
        if "mp" in image.info:
            notes.append("further pictures in the file (MPO) are not read")
        self.info = ImageInfo(
            format=name,
            mode=_rawmode_of(image) if self._deep else mode,
            width_px=width,
            height_px=height,
            plane_names=planes,
            dtype=dtype,
            white=white,
            n_frames=n_frames,
            orientation=orientation,
            metadata=metadata,
            notes=tuple(notes),
            duration_ms=_positive(image.info.get("duration")),
            loop=self._plays,
        )

    def _plan_samples(self, name: str, n_frames: int, notes: list[str]) -> tuple[tuple[str, ...], str, float]:
        """Return names of the planes, dtype and white, and set how they are decoded."""
        image = self._image
        mode, stored = image.mode, _rawmode_of(image) or image.mode
        target, dtype = _target_of(image, name, n_frames, notes)
        if name not in _HEEDED:
            from convcli.images.rare import heed

            target = heed(self._file, image, name, target, notes)
        tiles = range(len(getattr(image, "tile", ())))
        self._deep = dtype == "uint8" and stored in _DEEP and all(_rawmode_of(image, i) == stored for i in tiles)
        if self._deep:
            dtype = "uint16"
        otherwise = 16 if stored in _DEEP or stored[:4] == "I;16" else 8
        bits = stored_bits(self._file, name, image.info.get("bit_depth") or otherwise)
        notes += bits_notes(bits if dtype in ("uint8", "uint16") else 0, dtype)
        held = 16 if dtype == "uint16" else 8
        self._shift = held - bits if name == "jp2" and bits < held and mode != "P" else 0  # Pillow shifts to the left
        if self._shift:
            notes.append(f"white is {2**bits - 1} ({bits} bits)")
        planes = _PLANES.get(target, ("l",))
        self._key = _colour_key(image, bits if name == "png" else 8, dtype)
        if self._key is not None:
            notes.append("the colour that the file declares transparent becomes an alpha plane")
            planes = (*planes, "a")
        if mode in _NOTES:
            notes.append(_NOTES[mode])
        return planes, dtype, float(2**bits - 1) if self._shift else _WHITE[dtype]

    def _decode_deep(self) -> NDArray[np.uint16]:
        """Decode 16-bit colour: high bytes, then low bytes (grey + alpha: both at once, as four 8-bit samples)."""
        image = self._image
        rawmode = _rawmode_of(image)
        if rawmode == "LA;16B":
            _set_rawmode(image, "RGBA")
            return pixels_of(image).view(">u2").astype(np.uint16)
        stem, kind = rawmode[:-4], rawmode[-4:]
        _set_rawmode(image, stem + kind)
        samples = pixels_of(image).astype(np.uint16)
        samples <<= 8
        other = self._open(self._frame)
        _set_rawmode(other, stem + _OTHER_BYTE[kind])
        samples |= pixels_of(other)
        return samples


def open_plugin(file: BinaryIO, row: Format | None) -> PillowImage.Image:
    """Open a file with the one Pillow plugin of its format: ``PIL.Image.open`` would import five to look at it."""
    if row is not None and row.plugin:
        module, name = row.plugin
        needs, hint = f"is {row.name.upper()}, which needs {module}", f"pip install 'convcli[{row.extra}]'"
        found = import_optional(module if row.extra else f"PIL.{module}", ImageError, needs, hint=hint)
        image: PillowImage.Image = getattr(found, name)(file)
        return image
    from PIL import Image

    # No row of ours: every plugin may look at the file.
    Image.init()
    return Image.open(file, formats=[name for name in Image.ID if name not in _REFUSED])


def pixels_of(image: PillowImage.Image) -> NDArray[Any]:
    """Return the samples of an image, shape (H, W, P); mode ``1`` gives 0 and 255.

    Copied by strips that fit into the cache: a third of the time of ``numpy.asarray``.
    """
    image.load()
    if image.mode == "1":
        image = image.convert("L")
    width, height = image.size
    packed, n_planes = _PACKED[image.mode]
    dtype = np.dtype(packed)
    samples = np.empty((height, width, n_planes), dtype.newbyteorder("="))
    step = max(1, _STRIP_BYTES // max(1, width * n_planes * dtype.itemsize))
    for top in range(0, height, step):
        strip = image.crop((0, top, width, min(top + step, height)))
        samples[top : top + step] = np.frombuffer(strip.tobytes(), dtype).reshape(-1, width, n_planes)
    return samples


def _rawmode_of(image: PillowImage.Image, index: int = 0) -> str:
    """Return how the file packs the samples of a tile, in Pillow's words, or an empty string."""
    tiles = getattr(image, "tile", None) or []
    args = tiles[index].args if index < len(tiles) else ""
    first = args[0] if isinstance(args, tuple) and args else args
    return first if isinstance(first, str) else ""


def _set_rawmode(image: PillowImage.Image, rawmode: str) -> None:
    image.tile = [  # type: ignore[attr-defined]
        tile._replace(args=(rawmode, *tile.args[1:]) if isinstance(tile.args, tuple) else rawmode)
        for tile in image.tile  # type: ignore[attr-defined]
    ]


def _target_of(image: PillowImage.Image, name: str, n_frames: int, notes: list[str]) -> tuple[str, str]:
    """Return the mode and dtype that the samples will have; conversions are noted."""
    mode = image.mode
    if mode in ("P", "PA") or (name == "gif" and n_frames > 1 and mode == "L"):  # later frames bring their own colours
        has_alpha = mode == "PA" or "transparency" in image.info
        notes.append(f"palette is expanded to {'RGBA' if has_alpha else 'RGB'}")
        return ("RGBA" if has_alpha else "RGB"), "uint8"
    if mode not in _TARGET:
        raise OSError(f"mode {mode} is not supported")
    target, dtype = _TARGET[mode]
    return ("LA" if _rawmode_of(image) == "LA;16B" else target), dtype


def _converted(image: PillowImage.Image, info: ImageInfo) -> PillowImage.Image:
    """Decode, and convert to the mode that ``info`` promises; a colour key is not looked at."""
    key = image.info.pop("transparency", None) if image.mode in ("1", "L", "RGB") and info.n_frames == 1 else None
    image.load()
    if image.mode == "P":
        check_palette(image.histogram(), len(image.getpalette() or ()) // 3, image.info.get("transparency"))
    planes = info.plane_names if key is None else info.plane_names[:-1]
    target = {("l",): "L", ("l", "a"): "LA", ("r", "g", "b"): "RGB", ("r", "g", "b", "a"): "RGBA"}.get(planes)
    same = info.dtype != "uint8" or target in (None, image.mode)
    return image if same else image.convert(target)


def _colour_key(image: PillowImage.Image, bits: int, dtype: str) -> NDArray[Any] | None:
    """Return the colour that counts as transparent, in the units of the samples; None where there is no such key."""
    key = image.info.get("transparency")
    # Pillow composes the frames of other animations itself, colour key included.
    is_composed = int(getattr(image, "n_frames", 1)) > 1 and image.format != "PNG"
    if image.mode not in ("1", "L", "RGB", "I;16") or is_composed:
        return None
    if not isinstance(key, (int, tuple)):
        return None
    kept: NDArray[Any] = np.asarray(key) & (2**bits - 1)
    return (kept * (255 // (2**bits - 1)) if bits < 8 else kept).astype(dtype)


def _positive(value: object) -> float | None:
    """Return a sensible number of milliseconds, else None."""
    return float(value) if isinstance(value, (int, float)) and 0 < value < 1e9 else None
