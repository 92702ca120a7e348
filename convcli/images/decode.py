"""Files to samples through Pillow: one plugin, no conversion that is not said, 16-bit colour in full.

Pillow stores colour with 8 bits, so 16-bit RGB would silently lose half its precision. Its unpackers can however be
told which byte of each sample to keep: decoding twice, once for the high and once for the low bytes, gives all 16.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from convcli.images.exif import reset_orientation, turn_upright
from convcli.images.header import (
    ORIENTATION_TAG,
    PLANES,
    SAID,
    WHITE,
    ends_well,
    is_deep,
    photometric_of,
    positive,
    rawmode_of,
    read_metadata,
    target_of,
)
from convcli.images.info import ImageInfo
from convcli.images.pixels import lend_memory, silence_libtiff, view_pixels
from convcli.images.sniff import REFUSED_PLUGINS, Format

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image as PillowImage

    from convcli.images.arriving import ArrivingPlanes

#: rawmode that takes the other byte of each 16-bit sample
_OTHER_BYTE = {";16B": ";16L", ";16L": ";16B", ";16N": ";16B" if np.little_endian else ";16L"}


class PillowDecoder:
    """An image opened by Pillow at a frame: what its header says, and its samples on demand.

    Raises whatever Pillow raises for a bad file; :mod:`convcli.images.reading` turns that into an ``ImageError``.

    Parameters
    ----------
    file : seekable binary file
    found : Format
    frame : int
    orientation : {"apply", "keep", "ignore"}
    """

    def __init__(self, file: BinaryIO, found: Format, frame: int, orientation: str) -> None:
        lend_memory()
        _be_quiet()
        self._file, self._found, self._orientation = file, found, orientation
        self._image = self._open(frame)
        self._describe(frame)

    def seek(self, frame: int) -> bool:
        """Go to a later frame; cheaper than opening the file anew, as frames of animations build on each other."""
        self._image.seek(frame)
        _fix_byte_order(self._image)
        self._describe(frame)
        return True

    def decode(self) -> NDArray[Any]:
        """Return the samples, shape (H, W, P), in ``info.dtype``."""
        info = self.info
        turn = info.orientation if self._orientation == "apply" else 1
        if self._deep:
            samples: NDArray[Any] = self._decode_deep(turn)
        else:
            samples = view_pixels(turn_upright(_loaded(self._image, info), turn))
            if info.dtype == "uint32":
                samples = samples.view(np.uint32)
        if self._invert:
            samples = (samples.dtype.type(info.white) - samples).astype(samples.dtype)
        return samples

    def arrive(self, where: str) -> ArrivingPlanes | None:
        """Begin to decode in the background; None for images that need more than decoding."""
        info, image = self.info, self._image
        turned = self._orientation == "apply" and info.orientation != 1
        planes = {"L": 1, "RGB": 3, "RGBA": 4}.get(rawmode_of(image))
        plain = rawmode_of(image) == image.mode and info.n_planes == planes and info.dtype == "uint8"
        if turned or not plain or self._deep or info.n_frames > 1 or info.format not in ("jpeg", "png"):
            return None
        from convcli.images.arriving import ArrivingPlanes

        return ArrivingPlanes.start(image, self._file, where)  # type: ignore[arg-type]

    def window(self) -> None:
        """Pillow decodes whole images only."""

    def _open(self, frame: int) -> PillowImage.Image:
        self._file.seek(0)
        image = _open_plugin(self._file, self._found)
        if frame:
            image.seek(frame)
        _fix_byte_order(image)
        return image

    def _describe(self, frame: int) -> None:
        """Read the header of the frame: :attr:`info`, and how to decode it."""
        image = self._image
        self._frame = frame
        n_frames = int(getattr(image, "n_frames", 1))
        name = self._found.name or (image.format or "unknown").lower()
        mode, stored = image.mode, rawmode_of(image) or image.mode
        notes: list[str] = []
        orientation, metadata = read_metadata(image)
        target, dtype = target_of(image, name, n_frames, notes)
        self._deep = dtype == "uint8" and is_deep(image, stored)
        if self._deep:
            dtype = "uint16"
        elif ";16" in stored and dtype == "uint8":
            notes.append(f"16-bit {stored.partition(';')[0]} is read with 8 bits")
        self._invert = photometric_of(image) == 0 and dtype in ("uint16", "float32")
        if mode in SAID:
            notes.append(SAID[mode])
        width, height = getattr(image, "_tile_size", image.size)
        if self._orientation == "apply" and orientation >= 5:
            width, height = height, width
        if mode == "CMYK":
            metadata = metadata._replace(icc=None)  # it describes inks that are gone
        if self._orientation != "keep":
            metadata = metadata._replace(exif=reset_orientation(metadata.exif))
        if name == "gif" and n_frames > 1 and not ends_well(self._file):
            notes.append("the GIF ends without its trailer: later frames may be missing")
        if self._orientation == "ignore" and orientation != 1:
            notes.append(f"orientation {orientation} is ignored")
        self.info = ImageInfo(
            format=name,
            mode=stored if self._deep else mode,
            width_px=width,
            height_px=height,
            plane_names=PLANES.get(target, ("l",)),
            dtype=dtype,
            white=WHITE[dtype],
            n_frames=n_frames,
            orientation=orientation,
            metadata=metadata,
            notes=tuple(notes),
            duration_ms=positive(image.info.get("duration")),
            loop=image.info.get("loop") if isinstance(image.info.get("loop"), int) else None,
        )

    def _decode_deep(self, turn: int) -> NDArray[np.uint16]:
        """Decode 16-bit colour: high bytes, then low bytes (grey + alpha: both at once, as four 8-bit samples)."""
        image = self._image
        rawmode = rawmode_of(image)
        if rawmode == "LA;16B":
            _set_rawmode(image, "RGBA")
            image.load()
            four = view_pixels(turn_upright(image, turn))
            return np.ascontiguousarray(four).view(">u2").astype(np.uint16)
        stem, kind = rawmode[:-4], rawmode[-4:]
        parts = []
        for part, suffix in ((image, kind), (self._open(self._frame), _OTHER_BYTE[kind])):
            _set_rawmode(part, stem + suffix)
            _keep_orientation(part)
            part.load()
            parts.append(view_pixels(turn_upright(part, turn)))
        high, low = parts
        samples = np.empty(high.shape, np.uint16)
        np.multiply(high, np.uint16(256), out=samples, dtype=np.uint16)
        samples += low
        return samples


def _be_quiet() -> None:
    """Keep what Pillow logs off the terminal: without any handler Python prints it there."""
    logger = logging.getLogger("PIL")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())


def _open_plugin(file: BinaryIO, found: Format) -> PillowImage.Image:
    from PIL import Image

    if found.name == "tiff":
        silence_libtiff()
    if found.name:
        return found.load_class()(file)
    Image.init()
    return Image.open(file, formats=[name for name in Image.ID if name not in REFUSED_PLUGINS])


def _fix_byte_order(image: PillowImage.Image) -> None:
    """Undo a defect of Pillow 13: libtiff's native samples are unpacked as if still in the file's order."""
    rawmode = rawmode_of(image)
    if getattr(image, "use_load_libtiff", False) and rawmode in ("F;32BF", "I;32BS", "I;16BS") and np.little_endian:
        _set_rawmode(image, rawmode.replace("B", ""))


def _loaded(image: PillowImage.Image, info: ImageInfo) -> PillowImage.Image:
    """Decode, without Pillow's own turning, and convert to the mode that ``info`` promises."""
    _keep_orientation(image)
    image.load()
    target = {("l",): "L", ("l", "a"): "LA", ("r", "g", "b"): "RGB", ("r", "g", "b", "a"): "RGBA"}.get(info.plane_names)
    if info.dtype != "uint8" or target is None or image.mode in (target, "1"):
        # the next frame of an animation is drawn into the memory of this one
        return image.copy() if info.n_frames > 1 else image
    if image.mode == "P" and target == "L":
        return image.convert("RGB").convert("L")
    return image.convert(target)


def _keep_orientation(image: PillowImage.Image) -> None:
    """Stop Pillow's TIFF reader from turning the picture while it loads; we turn every format in one place."""
    tags = getattr(image, "tag_v2", None)
    if tags is not None:
        image.info.pop("xmp", None)  # Pillow would look for an orientation there too
        image.getexif().pop(ORIENTATION_TAG, None)
        image._size = image._tile_size  # type: ignore[attr-defined]


def _set_rawmode(image: PillowImage.Image, rawmode: str) -> None:
    image.tile = [  # type: ignore[attr-defined]
        tile._replace(args=(rawmode, *tile.args[1:]) if isinstance(tile.args, tuple) else rawmode)
        for tile in image.tile  # type: ignore[attr-defined]
    ]
