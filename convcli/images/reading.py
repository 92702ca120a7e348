"""Reading images: :func:`probe` for the header, :func:`read` for the samples; every failure is an ``ImageError``."""

from __future__ import annotations

import io
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from convcli.errors import ConvcliError, ImageError
from convcli.images import formats
from convcli.images.info import (
    STORE_HEADERS,
    Image,
    ImageInfo,
    LargeImage,
    Limits,
    RemoteZarr,
    check_count,
    check_plausible,
    check_size,
    decoder_bytes,
    store_header,
)
from convcli.images.planes import check_white

if TYPE_CHECKING:
    from convcli.images.apng import ApngDecoder
    from convcli.images.netpbm import NetpbmDecoder
    from convcli.images.pillow import PillowDecoder
    from convcli.images.tiff_read import TiffDecoder
    from convcli.images.zarr_store import ZarrDecoder

    #: Each has ``info``, ``seek(frame)`` (False if the file must be opened anew), ``decode()`` and ``window()``.
    Decoder = ApngDecoder | NetpbmDecoder | PillowDecoder | TiffDecoder | ZarrDecoder

#: Images of more bytes than this are read by windows, where their format allows it.
WINDOW_BYTES = 256 << 20
ORIENTATIONS = ("apply", "keep", "ignore")


class HeaderFile(io.BytesIO):
    """The header of a remote store, opened as the one of a folder is."""

    def __init__(self, place: RemoteZarr) -> None:
        super().__init__(place.header)
        self.place = place


Source = str | os.PathLike[str] | bytes | bytearray | memoryview | RemoteZarr


@contextmanager
def translating(where: str) -> Iterator[None]:
    """Turn errors of decoders inside the ``with`` into an ``ImageError`` that names ``where``.

    >>> with translating("a.gif"):
    ...     raise OSError("image file is truncated")
    Traceback (most recent call last):
    convcli.errors.ImageError: a.gif: is truncated or damaged (image file is truncated)
    """
    # Pillow warns about damaged metadata, which counts as absent; samples are checked by decoding.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        yield
    except ConvcliError as error:
        raise (error.within(where) if where else error) from None
    except Exception as error:
        from convcli.images.failures import explain

        explained = explain(error, where)
        if explained is None:
            raise
        raise (explained.within(where) if where else explained) from error


@contextmanager
def opened(source: Source) -> Iterator[BinaryIO]:
    """Open a source; an error inside the ``with`` becomes an ``ImageError`` that names it."""
    with translating(name_of(source)), open_file(source) as file:
        yield file


def name_of(source: Source) -> str:
    """Return the name for messages; bytes have none."""
    if isinstance(source, RemoteZarr):
        return source.url
    return "" if isinstance(source, (bytes, bytearray, memoryview)) else os.fspath(source)


def open_file(source: Source) -> BinaryIO:
    """Open a file, or the header of a Zarr store; refuse pipes and devices, which would be waited for."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return io.BytesIO(source)
    if isinstance(source, RemoteZarr):
        return HeaderFile(source)
    path = Path(source)
    try:
        kind = path.stat().st_mode
        if not stat.S_ISREG(kind) and not stat.S_ISDIR(kind):
            raise ImageError("is a pipe or a device, not a file", hint="convcli apply - reads standard input")
        return (store_header(path) if stat.S_ISDIR(kind) else path).open("rb")
    except (OSError, ValueError) as error:
        from convcli.images.failures import explain_opening

        raise explain_opening(error, path) from None


def zarr_of(file: object) -> Path | RemoteZarr | None:
    """Return the Zarr store of which an open file is the header, if it is one."""
    if isinstance(file, HeaderFile):
        return file.place
    name = str(getattr(file, "name", ""))  # may be a number
    return Path(name).parent if os.path.basename(name) in STORE_HEADERS else None  # noqa: PTH119


def probe(source: Source, *, frame: int = 0, orientation: str = "apply", **limits: Any) -> ImageInfo:
    """Return the facts in an image's header; no pixel is decoded.

    Parameters
    ----------
    source : path or bytes
        A file, or the bytes of one.
    frame : int
        Page or frame, from 0.
    orientation : {"apply", "keep", "ignore"}
        ``apply`` gives the upright size and resets the EXIF tag, ``keep`` leaves pixels and tag, ``ignore`` leaves the
        pixels and resets the tag.
    **limits : int
        ``max_planes``, ``max_frames``: refuse files that claim more.

    Raises
    ------
    ImageError
        The file is missing, unreadable, not an image, its header is damaged, or it claims too much.
    """
    asked = Limits(**limits)
    with opened(source) as file:
        return open_decoder(file, frame, orientation, asked).info


def read(source: Source, *, frame: int = 0, orientation: str = "apply", **limits: Any) -> Image:
    """Read an image.

    Parameters
    ----------
    source, frame, orientation
        As for :func:`probe`.
    **limits : int or bool
        Fields of :class:`~convcli.images.info.Limits`; larger images are refused before memory is taken.

    Returns
    -------
    Image
        ``samples`` (H, W, P), read-only, in the file's own type and range.

    Raises
    ------
    ImageError
        As for :func:`probe`; also truncated or damaged data, and more pixels than ``max_pixels``.
    """
    asked = Limits(**limits)
    with opened(source) as file:
        return decoded(open_decoder(file, frame, orientation, asked), file, asked)


@contextmanager
def open_planes(
    source: Source, *, frame: int = 0, orientation: str = "apply", window_bytes: int = WINDOW_BYTES, **limits: Any
) -> Iterator[Image | LargeImage]:
    """Open an image so that as little memory as possible is taken.

    A large file of a format that allows it stays in its file and is read by windows; any other is read.

    Parameters
    ----------
    source, frame, orientation, **limits
        As for :func:`read`. Windows take no memory, so only an explicit ``max_pixels`` limits them.
    window_bytes : int
        Images of more bytes than this are left in their file: binary PGM, PPM, PFM; TIFF in strips or tiles. Remote
        Zarr stores always are.

    Yields
    ------
    Image or LargeImage
        Both have ``info`` and ``planes``, shape (P, H, W); windows live as long as the ``with``.
    """
    where, asked = name_of(source), Limits(**limits)
    with translating(where):
        file = open_file(source)
    with file:
        with translating(where):
            decoder = open_decoder(file, frame, orientation, asked)
            stays = isinstance(source, RemoteZarr) or decoder_bytes(decoder.info) > window_bytes
            window = decoder.window() if stays else None
            if window is not None:
                from convcli.images.windows import NamedRows

                if asked.max_pixels is not None:
                    check_size(decoder.info, asked.max_pixels)
                rows = NamedRows(window, decoder.info.white, partial(translating, where))
                opened: Image | LargeImage = LargeImage(decoder.info, rows)
            else:
                opened = decoded(decoder, file, asked)
        yield opened  # outside of translating: an error of the caller is not the image's fault


def open_decoder(file: BinaryIO, frame: int, orientation: str, limits: Limits = Limits()) -> Decoder:  # noqa: B008
    """Open an image at a frame with the decoder of its format."""
    if orientation not in ORIENTATIONS:
        raise ValueError(f"orientation {orientation!r}: one of {', '.join(ORIENTATIONS)}")
    file.seek(0)
    head = file.read(32)
    if not head:
        raise ImageError("is empty (0 bytes)", hint="the file was not written, or not to its end")
    row = formats.sniff(head)
    if limits.accept_damaged and row is not None and row.name == "jpeg":
        # With an end marker the decoder fills what is missing with grey, where it would refuse a cut file.
        file.seek(0)
        file = io.BytesIO(file.read() + b"\xff\xd9")
    decoder = _decoder_of(file, row, frame, orientation, limits.max_planes)
    info = decoder.info
    if limits.accept_damaged and info.format == "jpeg":
        decoder.info = info = info._replace(notes=(*info.notes, "damaged data are accepted: what is missing is grey"))
    if info.width_px < 1 or info.height_px < 1:
        raise ImageError(f"is {info.width_px} x {info.height_px} pixels large", hint="the header is damaged")
    check_count("planes", info.n_planes, limits.max_planes)
    check_count("frames", info.n_frames, limits.max_frames)
    return decoder


def _decoder_of(
    file: BinaryIO, row: formats.Format | None, frame: int, orientation: str, max_planes: int | None
) -> Decoder:
    name = row.name if row is not None else ""
    if (store := zarr_of(file)) is not None:
        from convcli.images.zarr_store import ZarrDecoder

        return ZarrDecoder(store, frame, max_planes)
    if name in ("ppm", "pfm"):
        from convcli.images.netpbm import NetpbmDecoder

        return NetpbmDecoder(file, frame)
    if name == "tiff":
        from convcli.images.tiff_read import TiffDecoder

        return TiffDecoder(file, frame, orientation, max_planes)
    if name == "png":
        from convcli.images.png import is_animated

        if is_animated(file):
            from convcli.images.apng import ApngDecoder

            return ApngDecoder(file, frame, orientation)
    from convcli.images.pillow import PillowDecoder

    return PillowDecoder(file, row, frame, orientation)


def decoded(decoder: Decoder, file: BinaryIO, limits: Limits) -> Image:
    """Decode, and check that the samples are what the header promised."""
    info = decoder.info
    check_size(info, limits.max_pixels)
    check_plausible(info, file)
    if info.format == "jpeg" and not limits.accept_damaged:
        from convcli.images.jpeg import decode_checked

        samples = decode_checked(cast("PillowDecoder", decoder), file)
    else:
        samples = decoder.decode()
    if info.format == "tiff" and not limits.accept_damaged:
        from convcli.images.jpeg import check_strips

        check_strips(cast("TiffDecoder", decoder).jpegs())
    promised = (info.height_px, info.width_px, info.n_planes)
    if samples.shape != promised or samples.dtype != info.dtype:
        raise ImageError(
            f"decodes to {samples.dtype} of {samples.shape} and its header promises {info.dtype} of {promised}",
            hint="the file is damaged",
        )
    check_white(samples, info.white)
    samples.flags.writeable = False
    return Image(info, samples)
