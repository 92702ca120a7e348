"""Whatever decoders raise for damaged files, turned into one ``ImageError`` that says what and where."""

from __future__ import annotations

import struct
import sys
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from convcli.errors import ImageError

#: What Pillow and its plugins raise for damaged files, as found by feeding them thousands.
DECODER_ERRORS = (
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
    ImportError,
    struct.error,
    zlib.error,
)

_INSTALL = "pip install 'convcli[formats]' reads more kinds of TIFF"


def decoder_errors() -> tuple[type[BaseException], ...]:
    """Return every kind of exception that counts as a damaged file; evaluated only when one is raised."""
    pillow = sys.modules.get("PIL.Image")
    tifffile = sys.modules.get("tifffile")
    errors: list[type[BaseException]] = [*DECODER_ERRORS]
    if pillow is not None:
        errors.append(pillow.DecompressionBombError)
    if tifffile is not None:
        errors.append(tifffile.TiffFileError)
    if (lzma := sys.modules.get("lzma")) is not None:
        errors.append(lzma.LZMAError)
    return tuple(errors)


@contextmanager
def translating(where: str) -> Iterator[None]:
    """Turn what goes wrong inside the ``with`` into an ``ImageError`` that names ``where``.

    Examples
    --------
    >>> with translating("a.gif"):
    ...     raise OSError("image file is truncated")
    Traceback (most recent call last):
    convcli.errors.ImageError: a.gif: is truncated or damaged (image file is truncated)
    """
    # Pillow warns about damaged metadata; what cannot be read of it is absent, samples are checked by decoding.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    try:
        yield
    except ImageError as error:
        raise (error.within(where) if where else error) from None
    except decoder_errors() as error:
        raised = _explain(error, where)
        raise (raised.within(where) if where else raised) from error


def _explain(error: BaseException, where: str) -> ImageError:
    text = " ".join(str(error).split()) or type(error).__name__
    lower = text.lower()
    if "cannot identify image file" in lower or "unidentified" in type(error).__name__.lower():
        return ImageError("is not an image that convcli reads", hint=_name_hint(where))
    if isinstance(error, EOFError):
        return ImageError(f"has no such frame ({text})", hint="frames count from 0")
    if type(error).__name__ == "DecompressionBombError":
        return ImageError("has more pixels than Pillow decodes (178,956,970)", hint="convert it to TIFF or PPM first")
    if isinstance(error, ImportError):
        return ImageError(f"cannot be decoded without the package {error.name}", hint=_INSTALL)
    if "unknown pixel mode" in lower:  # of a TIFF, by Pillow, where tifffile is not installed
        return ImageError("is a TIFF of a kind that Pillow does not read", hint=_INSTALL)
    if "imagecodecs" in lower:
        return ImageError(f"cannot be decoded ({text})", hint="install imagecodecs, or store it uncompressed")
    if isinstance(error, MemoryError):
        return ImageError("does not fit into memory", hint="a smaller image, or more memory")
    if any(word in lower for word in ("truncated", "not enough", "unexpected end", "broken")):
        return ImageError(f"is truncated or damaged ({text})", hint="copy or download the file again")
    if isinstance(error, (TypeError, KeyError, IndexError, AttributeError, AssertionError, ValueError)):
        text = "its header makes no sense"
    return ImageError(f"cannot be decoded ({text})", hint="the file is damaged, or of a kind that Pillow does not read")


def _name_hint(where: str) -> str:
    suffix = Path(where).suffix
    if suffix in (".npy", ".npz", ".safetensors", ".json", ".toml"):
        return f"{suffix} is no picture: convcli reads PNG, JPEG, TIFF, WebP, BMP, PPM, PFM and GIF"
    kinds = "PNG, JPEG, TIFF, WebP, BMP, PPM, GIF and what else Pillow reads"
    return f"its first bytes are not those of {suffix} or of {kinds}" if suffix else f"convcli reads {kinds}"
