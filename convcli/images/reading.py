"""Reading images: :func:`probe` for the header, :func:`read` for the samples; every failure is an ``ImageError``."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from convcli.errors import ImageError
from convcli.images.failures import translating
from convcli.images.info import Image, ImageInfo, LargeImage
from convcli.images.limits import check_plausible, check_size, decoder_bytes
from convcli.images.sniff import sniff

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convcli.images.arriving import ArrivingPlanes
    from convcli.images.windows import RawRows, SegmentRows

Source = str | os.PathLike[str] | bytes | bytearray | memoryview
ORIENTATIONS = ("apply", "keep", "ignore")
#: Images of more bytes than this are decoded while they are convolved.
ARRIVING_BYTES = 1 << 21


def probe(source: Source, *, frame: int = 0, orientation: str = "apply") -> ImageInfo:
    """Return what an image's header says; no pixel is decoded.

    Parameters
    ----------
    source : path or bytes
        A file, or the bytes of one.
    frame : int
        Page or frame, from 0.
    orientation : {"apply", "keep", "ignore"}
        ``apply`` gives the upright size and resets the EXIF tag, ``keep`` leaves pixels and tag, ``ignore`` leaves the
        pixels and resets the tag.

    Raises
    ------
    ImageError
        The file is missing, unreadable, not an image, or its header is damaged.
    """
    with _opened(source) as file:
        return open_decoder(file, frame, orientation).info


def probe_frames(source: Source, frames: Sequence[int], *, orientation: str = "apply") -> list[ImageInfo]:
    """Return what the headers of several frames or pages say, in one pass.

    Parameters
    ----------
    source, orientation
        As for :func:`probe`.
    frames : sequence of int
        Which, from 0; any order, rising is fastest.

    Raises
    ------
    ImageError
        As for :func:`probe`, of the first frame that is bad.
    """
    with _opened(source) as file:
        return [decoder.info for decoder in _at_frames(file, frames, orientation)]


def read(source: Source, *, frame: int = 0, orientation: str = "apply", max_pixels: int | None = None) -> Image:
    """Read an image.

    Parameters
    ----------
    source : path or bytes
    frame : int
        Page or frame, from 0.
    orientation : {"apply", "keep", "ignore"}
        As for :func:`probe`.
    max_pixels : int, optional
        Refuse larger images before memory is taken; ``DEFAULT_MAX_PIXELS`` if None.

    Returns
    -------
    Image
        ``samples`` (H, W, P), read-only, in the file's own type and range.

    Raises
    ------
    ImageError
        As for :func:`probe`; also truncated or damaged data, and more pixels than ``max_pixels``.
    """
    with _opened(source) as file:
        decoder = open_decoder(file, frame, orientation)
        return _decoded(decoder, file, max_pixels)


def read_frames(
    source: Source, *, orientation: str = "apply", max_pixels: int | None = None, frames: Sequence[int] | None = None
) -> Iterator[Image]:
    """Read the frames of an animation or the pages of a file, one after the other, in one pass.

    Parameters
    ----------
    source, orientation, max_pixels
        As for :func:`read`.
    frames : sequence of int, optional
        Which, from 0, rising; all by default.

    Yields
    ------
    Image
        Each frame complete, as it is shown; pages may differ in size and type.

    Raises
    ------
    ImageError
        As for :func:`read`, when the bad frame is reached.
    """
    with _opened(source) as file:
        if frames is None:
            frames = range(open_decoder(file, 0, orientation).info.n_frames)
        for decoder in _at_frames(file, frames, orientation):
            yield _decoded(decoder, file, max_pixels)


def _at_frames(file: BinaryIO, frames: Sequence[int], orientation: str) -> Iterator[Decoder]:
    """Yield a decoder at each frame, the same one as far as it can go on."""
    decoder: Decoder | None = None
    for frame in frames:
        if decoder is None or not decoder.seek(frame):
            decoder = open_decoder(file, frame, orientation)
        yield decoder


@contextmanager
def open_planes(
    source: Source,
    *,
    frame: int = 0,
    orientation: str = "apply",
    max_pixels: int | None = None,
    window_bytes: int = 256 << 20,
) -> Iterator[Image | LargeImage]:
    """Open an image so that its rows can be used as soon as possible, and with as little memory as possible.

    A large file of a format that allows it stays in its file and is read by windows; a photograph of a few megapixels
    is decoded in the background while its first rows are used; anything else is read.

    Parameters
    ----------
    source, frame, orientation, max_pixels
        As for :func:`read`. Windows take no memory, so only an explicit ``max_pixels`` limits them.
    window_bytes : int
        Images of more bytes than this are left in their file: binary PGM, PPM, PFM; TIFF in strips or tiles.

    Yields
    ------
    Image or LargeImage
        Both have ``info`` and ``planes``, shape (P, H, W); windows live as long as the ``with``.
    """
    where = _name_of(source)
    with ExitStack() as stack:
        with translating(where):
            file = stack.enter_context(_open_file(source))
            decoder = open_decoder(file, frame, orientation)
            is_large = decoder.info.format == "tiff" and decoder_bytes(decoder.info) > window_bytes
            if is_large and decoder.window() is None:
                other = _open_tifffile(file, frame, orientation)
                decoder = other if other is not None and other.window() is not None else decoder
            opened = _open_planes(stack, file, where, decoder, max_pixels, window_bytes)
        yield opened  # outside of translating: what the caller does wrong is not the image's fault


def _open_planes(
    stack: ExitStack, file: BinaryIO, where: str, decoder: Decoder, max_pixels: int | None, window_bytes: int
) -> Image | LargeImage:
    n_bytes = decoder_bytes(decoder.info)
    if n_bytes > window_bytes and (window := decoder.window()) is not None:
        if max_pixels is not None:
            check_size(decoder.info, max_pixels)
        window.where = where
        return LargeImage(decoder.info, window)
    check_size(decoder.info, max_pixels)
    check_plausible(decoder.info, file)
    arriving = decoder.arrive(where) if n_bytes > ARRIVING_BYTES else None
    if arriving is not None:
        stack.callback(arriving.close)
        return LargeImage(decoder.info, arriving)
    return Image(decoder.info, decoder.decode())


def _decoded(decoder: Decoder, file: BinaryIO, max_pixels: int | None) -> Image:
    check_size(decoder.info, max_pixels)
    check_plausible(decoder.info, file)
    return Image(decoder.info, decoder.decode())


class Decoder(Protocol):
    """An opened image of any format."""

    info: ImageInfo

    def seek(self, frame: int) -> bool:
        """Go to a later frame; False if it must be opened anew."""

    def decode(self) -> NDArray[Any]:
        """Return the samples, shape (H, W, P)."""

    def window(self) -> RawRows | SegmentRows | None:
        """Return the rows without reading them, if that is possible."""

    def arrive(self, where: str) -> ArrivingPlanes | None:
        """Begin to decode in the background, if that is possible."""


def open_decoder(file: BinaryIO, frame: int, orientation: str) -> Decoder:
    """Open an image at a frame with the decoder that reads it best."""
    if orientation not in ORIENTATIONS:
        raise ValueError(f"orientation {orientation!r}: one of {', '.join(ORIENTATIONS)}")
    file.seek(0)
    head = file.read(32)
    if not head:
        raise ImageError("is empty (0 bytes)", hint="the file was not written, or not to its end")
    decoder = _best_decoder(file, head, frame, orientation)
    if decoder.info.width_px < 1 or decoder.info.height_px < 1:
        size = f"{decoder.info.width_px} x {decoder.info.height_px}"
        raise ImageError(f"is {size} pixels large", hint="the header is damaged")
    return decoder


def _best_decoder(file: BinaryIO, head: bytes, frame: int, orientation: str) -> Decoder:
    found = sniff(head)
    if found.name in ("ppm", "pfm") and head[:2] in (b"P5", b"P6", b"Pf", b"PF"):
        from convcli.images.netpbm_read import NetpbmDecoder

        return NetpbmDecoder(file, frame)
    from convcli.images.decode import PillowDecoder

    try:
        return PillowDecoder(file, found, frame, orientation)
    except SyntaxError:
        other = _open_tifffile(file, frame, orientation) if found.name == "tiff" else None
        if other is None:
            raise
        return other


def _open_tifffile(file: BinaryIO, frame: int, orientation: str) -> Decoder | None:
    """Return tifffile's view of a page, or None if it is not installed."""
    try:
        from convcli.images.tiff_read import TifffileDecoder
    except ImportError:
        return None
    return TifffileDecoder(file, frame, orientation)


@contextmanager
def _opened(source: Source) -> Iterator[BinaryIO]:
    """Open a source; whatever goes wrong inside the ``with`` is an ``ImageError`` that names it."""
    with translating(_name_of(source)), _open_file(source) as file:
        yield file


def _name_of(source: Source) -> str:
    return "" if isinstance(source, (bytes, bytearray, memoryview)) else os.fspath(source)


def _open_file(source: Source) -> BinaryIO:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return io.BytesIO(source)
    path = Path(source)
    try:
        kind = path.stat().st_mode
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
            raise ImageError("is a pipe or a device, not a file", hint="convcli apply - reads standard input")
        return path.open("rb")
    except FileNotFoundError:
        raise ImageError("no such file", hint="check the name; quote names with spaces") from None
    except IsADirectoryError:
        raise ImageError("is a directory", hint="name a file in it") from None
    except PermissionError:
        raise ImageError("permission denied", hint=f"make it readable: chmod u+r {path.name!r}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageError(f"cannot be opened: {reason}", hint="check the name") from None
