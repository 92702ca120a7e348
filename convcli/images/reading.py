"""Reading images: :func:`probe` for the header, :func:`read` for the samples; every failure is an ``ImageError``."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from convcli.errors import ImageError
from convcli.images import formats
from convcli.images.info import (
    Image,
    ImageInfo,
    LargeImage,
    Limits,
    check_count,
    check_plausible,
    check_size,
    decoder_bytes,
)
from convcli.images.opening import RemoteZarr, Source, name_of, open_file, opened, translating, zarr_of
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


def probe_frames(
    source: Source, frames: Sequence[int], *, orientation: str = "apply", **limits: Any
) -> list[ImageInfo]:
    """Return the facts in the headers of several frames or pages, in one pass.

    Parameters
    ----------
    source, orientation, **limits
        As for :func:`probe`.
    frames : sequence of int
        Frames, from 0; any order, rising is fastest. The first bad one raises as :func:`probe`.
    """
    asked = Limits(**limits)
    with opened(source) as file:
        return [decoder.info for decoder in _at_frames(file, frames, orientation, asked)]


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
        return _decoded(open_decoder(file, frame, orientation, asked), file, asked)


def read_frames(
    source: Source, *, orientation: str = "apply", frames: Sequence[int] | None = None, **limits: Any
) -> Iterator[Image]:
    """Read the frames of an animation or the pages of a file, one after the other, in one pass.

    Parameters
    ----------
    source, orientation, **limits
        As for :func:`read`.
    frames : sequence of int, optional
        Frames, from 0, rising; all by default.

    Yields
    ------
    Image
        Each frame complete, as it is shown; pages may differ in size and type. A bad one raises as :func:`read`.
    """
    asked = Limits(**limits)
    with opened(source) as file:
        if frames is None:
            frames = range(open_decoder(file, 0, orientation, asked).info.n_frames)
        for decoder in _at_frames(file, frames, orientation, asked):
            yield _decoded(decoder, file, asked)


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
                opened = _decoded(decoder, file, asked)
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


def _at_frames(file: BinaryIO, frames: Sequence[int], orientation: str, limits: Limits) -> Iterator[Decoder]:
    """Yield a decoder at each frame, the same one where it can go on."""
    decoder: Decoder | None = None
    for frame in frames:
        if decoder is None or not decoder.seek(frame):
            decoder = open_decoder(file, frame, orientation, limits)
            row = formats.BY_NAME.get(decoder.info.format)
            if row is None or not row.windows:  # frames that are composed whole, one after the other
                check_size(decoder.info, limits.max_pixels, len(frames))
        yield decoder


def _decoded(decoder: Decoder, file: BinaryIO, limits: Limits) -> Image:
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
