"""How large an image may be: asked for, claimed by its header, and possible for a file of its size."""

from __future__ import annotations

from typing import BinaryIO

from convcli.errors import ImageError
from convcli.images.info import DEFAULT_MAX_PIXELS, ImageInfo

#: A deflate stream cannot expand by more than 1032 (zlib's technical notes); one of LZW by at most 4096 bytes a code of
#: 12 bits. Other compressions of a TIFF may do more where nothing is in a picture; faxes, of mode 1, are let through.
_MOST_INFLATION = {"png": 1032, "tiff": 4096}


def decoder_bytes(info: ImageInfo) -> int:
    """Return the bytes that the samples of an image take."""
    return info.width_px * info.height_px * info.n_planes * int(info.dtype.strip("uintfloa")) // 8


def check_size(info: ImageInfo, max_pixels: int | None) -> None:
    """Refuse an image of more pixels than the limit.

    Raises
    ------
    ImageError
        With ``n_pixels`` and ``max_pixels``.
    """
    limit = DEFAULT_MAX_PIXELS if max_pixels is None else max_pixels
    n_pixels = info.width_px * info.height_px
    if n_pixels > limit:
        raise ImageError(
            f"{info.width_px} x {info.height_px} is {n_pixels:,} pixels; the limit is {limit:,}",
            hint=f"--max-pixels {n_pixels} if you trust the file",
            n_pixels=n_pixels,
            max_pixels=limit,
        )


def check_plausible(info: ImageInfo, file: BinaryIO) -> None:
    """Refuse a PNG or TIFF that cannot hold the pixels its header claims, before memory is taken for them.

    Raises
    ------
    ImageError
        The file is too small by far.
    """
    if info.format not in _MOST_INFLATION or info.n_frames > 1 or info.mode == "1":  # a blank fax is a bit a row
        return
    place = file.tell()
    n_file = file.seek(0, 2)
    file.seek(place)
    if n_file * _MOST_INFLATION[info.format] < info.width_px * info.height_px // 8:  # at least one bit a pixel
        raise ImageError(
            f"is truncated: {n_file:,} bytes cannot hold {info.width_px} x {info.height_px} pixels",
            hint="copy or download the file again",
        )
