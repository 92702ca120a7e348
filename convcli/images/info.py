"""Facts of an image from its header (:class:`ImageInfo`), the image with its samples, and limits on its size.

A Zarr store is an image that is a folder, here or in an object store.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from convcli.errors import ImageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convcli.images.planes import PlaneSource

#: Pixels that are read without ``--max-pixels``; 16384 x 16384, which takes 1 GiB as RGB.
DEFAULT_MAX_PIXELS = 2**28
#: Planes of an image, and frames or pages of a file, that are read unless a caller allows more.
DEFAULT_COUNTS = {"planes": 1024, "frames": 100_000}
#: A deflate stream cannot expand by more than 1032 (zlib's technical notes); LZW by at most 4096 bytes a code of 12
#: bits. Other compressions of a TIFF may do more on an empty picture; faxes, of mode 1, are let through.
_MOST_INFLATION = {"png": 1032, "tiff": 4096, "gif": 4096}
#: Files of which a folder has one if it is a Zarr array or group: of Zarr 3, and of Zarr 2.
STORE_HEADERS = ("zarr.json", ".zarray", ".zgroup")


class Metadata(NamedTuple):
    """Metadata that travels with the pixels.

    Attributes
    ----------
    icc, exif : bytes or None
        ICC profile; EXIF block, beginning with its TIFF header (no ``Exif`` prefix).
    dpi : tuple of (float, float) or None
        Horizontal and vertical dots per inch.
    stamp : str
        A text that says how the file was made, in one or several lines.
    left_out : tuple of str
        Names of other metadata in the file, which no picture keeps: ``XMP``, ``IPTC``, the ``EXIF`` of a TIFF.
    """

    icc: bytes | None = None
    dpi: tuple[float, float] | None = None
    exif: bytes | None = None
    stamp: str = ""
    left_out: tuple[str, ...] = ()


NO_METADATA = Metadata()


class ImageInfo(NamedTuple):
    """An image as its header describes it, after orientation and the conversions of reading.

    Attributes
    ----------
    format : str
        A name of :data:`convcli.images.formats.FORMATS`, or Pillow's name for another format.
    mode : str
        How the file stores its samples: Pillow's word (``P``, ``CMYK``, ``RGB;16B``), or ``3xuint16`` of a TIFF.
    width_px, height_px : int
        Size as it will be read: after EXIF orientation if that is applied.
    plane_names : tuple of str
        ``("r", "g", "b")``, ``("l",)``, either with ``"a"``.
    dtype : str
        ``uint8`` to ``uint32``, ``int8`` to ``int32``, ``float32``, ``float64``.
    white : float
        The sample value of white, from the stored bits: 255, 4095 for 12 bits, a PGM's maxval, 1.0 for float.
    n_frames : int
        Pages or frames in the file.
    orientation : int
        EXIF orientation 1..8 as found in the file.
    metadata : Metadata
    notes : tuple of str
        Conversions and losses of reading, one line each.
    duration_ms : float or None
        How long this frame of an animation is shown.
    loop : int or None
        How often an animation is played, 1 for once; 0 is for ever; None if the file does not say.
    """

    format: str
    mode: str
    width_px: int
    height_px: int
    plane_names: tuple[str, ...]
    dtype: str
    white: float
    n_frames: int = 1
    orientation: int = 1
    metadata: Metadata = NO_METADATA
    notes: tuple[str, ...] = ()
    duration_ms: float | None = None
    loop: int | None = None

    @property
    def header(self) -> tuple[object, ...]:
        """Facts that decide the samples: an image with another header is another image."""
        size = (self.width_px, self.height_px, self.plane_names)
        return (self.format, self.mode, *size, self.dtype, self.white, self.n_frames, self.orientation)

    @property
    def n_planes(self) -> int:
        """Number of planes, alpha included."""
        return len(self.plane_names)

    @property
    def has_alpha(self) -> bool:
        """Whether the last plane is alpha."""
        return self.plane_names[-1] == "a"


class Image(NamedTuple):
    """An image with its samples.

    Attributes
    ----------
    info : ImageInfo
    samples : ndarray of shape (H, W, P)
        In the file's own type and range; read-only, any strides (where possible a view of the decoder's memory).
    """

    info: ImageInfo
    samples: NDArray[Any]

    @property
    def planes(self) -> NDArray[Any]:
        """The same samples as planes, a view of shape (P, H, W)."""
        return self.samples.transpose(2, 0, 1)


class LargeImage(NamedTuple):
    """An image whose samples stay in the file until a band of rows is asked for.

    Attributes
    ----------
    info : ImageInfo
    planes : PlaneSource
        ``.shape`` (P, H, W), ``.dtype``, ``.rows(top, bottom)``; safe to call from any thread.
    """

    info: ImageInfo
    planes: PlaneSource


class Limits(NamedTuple):
    """Limits of reading; None stands for the default above."""

    max_pixels: int | None = None
    max_planes: int | None = None
    max_frames: int | None = None
    accept_damaged: bool = False


def check_count(what: str, n_found: int, most: int | None) -> None:
    """Refuse a file that claims more planes or frames than the limit; None: the default."""
    limit = DEFAULT_COUNTS[what] if most is None else most
    if n_found > limit:
        raise ImageError(
            f"has {n_found:,} {what}; the limit is {limit:,}",
            hint=f"--max-{what} {n_found} if you trust the file",
            **{f"n_{what}": n_found, f"max_{what}": limit},
        )


def decoder_bytes(info: ImageInfo) -> int:
    """Return the bytes that the samples of an image take."""
    return info.width_px * info.height_px * info.n_planes * int(info.dtype.strip("uintfloa")) // 8


def check_size(info: ImageInfo, max_pixels: int | None, n_frames: int = 1) -> None:
    """Refuse an image of more pixels than the limit, or an animation of more than 128 times the limit.

    Raises
    ------
    ImageError
        With ``n_pixels`` and ``max_pixels``.
    """
    is_one = n_frames == 1
    limit = (max_pixels or DEFAULT_MAX_PIXELS) * (1 if is_one else 128)
    n_pixels = info.width_px * info.height_px * n_frames
    if n_pixels > limit:
        frames = "" if is_one else f"{n_frames:,} frames of "
        raise ImageError(
            f"{frames}{info.width_px} x {info.height_px} is {n_pixels:,} pixels; the limit is {limit:,}",
            hint=f"--max-pixels {n_pixels} if you trust the file" if is_one else "--frames takes some of them",
            n_pixels=n_pixels,
            max_pixels=limit,
        )


def check_plausible(info: ImageInfo, file: BinaryIO) -> None:
    """Refuse a PNG, TIFF or GIF that cannot hold the pixels its header claims, before memory is taken for them.

    Raises
    ------
    ImageError
        The file is too small by far.
    """
    is_shared = info.n_frames > 1 and info.format != "gif"  # other pages may be small, a GIF's have one canvas
    if info.format not in _MOST_INFLATION or is_shared or info.mode == "1":  # a blank fax is a bit a row
        return
    place = file.tell()
    n_file = file.seek(0, 2)
    file.seek(place)
    if n_file * _MOST_INFLATION[info.format] < info.width_px * info.height_px // 8:  # at least one bit a pixel
        raise ImageError(
            f"is truncated: {n_file:,} bytes cannot hold {info.width_px} x {info.height_px} pixels",
            hint="copy or download the file again",
        )


class RemoteZarr(NamedTuple):
    """A Zarr store that is no folder here: its name, its header, and its objects as ``obstore`` has them."""

    url: str
    header: bytes
    objects: Any


def store_header(path: Path) -> Path:
    """Return the header of a Zarr store, or ``path`` itself if it is another folder."""
    return next((path / name for name in STORE_HEADERS if (path / name).is_file()), path)


def digest_of(path: Path | RemoteZarr) -> str:
    """Return a digest of a file's bytes, or of the names and bytes of all files of a store (BLAKE2b, 128 bits).

    Of a remote store it is the header's: the array may be larger than the network carries in a day.

    Raises
    ------
    OSError
        A file cannot be read.
    """
    import hashlib

    whole = hashlib.blake2b(digest_size=16)
    if isinstance(path, RemoteZarr):
        whole.update(path.header)
        return whole.hexdigest()
    is_store = path.is_dir()
    for file in sorted(each for each in path.rglob("*") if each.is_file()) if is_store else [path]:
        if is_store:
            whole.update(os.fsencode(f"{file.relative_to(path)}\0{file.stat().st_size}\0"))
        # In blocks: an image may be larger than memory.
        with file.open("rb") as opened:
            hashlib.file_digest(opened, lambda: whole)
    return whole.hexdigest()
