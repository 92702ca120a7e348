"""Reading images: :func:`probe` for the header, :func:`read` for the samples; every failure is an ``ImageError``."""

from __future__ import annotations

import io
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from convcli.errors import ImageError
from convcli.images.decode import Decoder, decode, open_decoder
from convcli.images.info import DEFAULT_MAX_PIXELS, Image, ImageInfo
from convcli.images.sniff import Format, sniff

Source = str | os.PathLike[str] | bytes | bytearray | memoryview
ORIENTATIONS = ("apply", "keep", "ignore")
#: A deflate stream cannot expand by more than this (zlib's technical notes): what a PNG's size allows at most.
_MAX_INFLATION = 1032


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
    with _decoding(source, frame, orientation) as decoder:
        return decoder.info


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
    with _decoding(source, frame, orientation) as decoder:
        info = decoder.info
        check_size(info, max_pixels)
        _check_plausible(decoder, source)
        return Image(info, decode(decoder, orientation))


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


@contextmanager
def _decoding(source: Source, frame: int, orientation: str) -> Iterator[Decoder]:
    """Open a source and turn whatever goes wrong inside the ``with`` into an ``ImageError``."""
    if orientation not in ORIENTATIONS:
        raise ValueError(f"orientation {orientation!r}: one of {', '.join(ORIENTATIONS)}")
    where = "" if isinstance(source, (bytes, bytearray, memoryview)) else os.fspath(source)
    # Pillow warns about damaged metadata; what cannot be read of it is absent, samples are checked by decoding.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        with _open_file(source) as file:
            head = file.read(32)
            found = _recognise(head)
            decoder = open_decoder(file, found, frame, orientation)
            _check_header(decoder)
            yield decoder
    except ImageError as error:
        raise (error.within(where) if where else error) from None
    except _DECODER_ERRORS as error:
        raised = _explain(error, frame, where)
        raise (raised.within(where) if where else raised) from error


#: What Pillow and its plugins raise for damaged files, as found by feeding them thousands.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    EOFError,
    OverflowError,
    MemoryError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
    struct.error,
    zlib.error,
)


def _open_file(source: Source) -> BinaryIO:
    if isinstance(source, (bytes, bytearray, memoryview)):
        return io.BytesIO(source)
    path = Path(source)
    try:
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


def _recognise(head: bytes) -> Format:
    if not head:
        raise ImageError("is empty (0 bytes)", hint="the file was not written, or not to its end")
    return sniff(head)


def _check_header(decoder: Decoder) -> None:
    info = decoder.info
    if info.width_px < 1 or info.height_px < 1:
        raise ImageError(f"is {info.width_px} x {info.height_px} pixels large", hint="the header is damaged")


def _check_plausible(decoder: Decoder, source: Source) -> None:
    """Refuse a PNG that cannot hold the pixels its header claims, before memory is taken for them."""
    info = decoder.info
    if info.format != "png" or info.n_frames > 1:
        return
    n_file = len(source) if isinstance(source, (bytes, bytearray, memoryview)) else Path(source).stat().st_size
    n_least = info.width_px * info.height_px // 8  # one bit a pixel
    if n_file * _MAX_INFLATION < n_least:
        raise ImageError(
            f"is truncated: {n_file:,} bytes cannot hold {info.width_px} x {info.height_px} pixels",
            hint="copy or download the file again",
        )


def _explain(error: BaseException, frame: int, where: str) -> ImageError:
    text = " ".join(str(error).split()) or type(error).__name__
    lower = text.lower()
    if "cannot identify image file" in lower or "unidentified" in type(error).__name__.lower():
        return ImageError("is not an image that convcli reads", hint=_name_hint(where))
    if isinstance(error, EOFError) and frame:
        return ImageError(f"has no frame {frame}", hint="frames count from 0")
    if isinstance(error, MemoryError):
        return ImageError("does not fit into memory", hint="a smaller image, or more memory")
    if any(word in lower for word in ("truncated", "not enough", "unexpected end", "broken")):
        return ImageError(f"is truncated or damaged ({text})", hint="copy or download the file again")
    return ImageError(f"cannot be decoded ({text})", hint="the file is damaged, or of a kind that Pillow does not read")


def _name_hint(where: str) -> str:
    suffix = Path(where).suffix
    kinds = "PNG, JPEG, TIFF, WebP, BMP, PPM, GIF and what else Pillow reads"
    return f"its first bytes are not those of {suffix} or of {kinds}" if suffix else f"convcli reads {kinds}"


def is_image(head: bytes) -> bool:
    """Return whether a file that begins with ``head`` is of a format with a known beginning."""
    return bool(sniff(head).name)


__all__: list[Any] = ["check_size", "is_image", "probe", "read"]
