"""Errors of decoders and of the file system, turned into expected failures with a reason and a hint.

Imported when there is an error to explain.
"""

from __future__ import annotations

import errno
import os
import struct
import zlib
from pathlib import Path

from convcli.errors import ConvcliError, ImageError, OutputError, unpack_hint
from convcli.images import formats
from convcli.images.recognise import TAR, TAR_ADVICE
from convcli.process.system import is_missing, not_loading, shortage, unwritable

#: Errors that Pillow and its plugins raise for damaged files, found by feeding them thousands.
_DECODER_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    EOFError,
    MemoryError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
    ImportError,
    struct.error,
    zlib.error,
)

#: The same of other packages, by name, so that they need not be imported here.
_OTHER_ERRORS = ("DecompressionBombError", "TiffFileError", "LZMAError")


def explain(error: Exception, where: str) -> ConvcliError | None:
    """Return the expected failure for an error of a decoder; None for any other error."""
    if type(error).__module__.startswith("obstore"):
        reason = str(error).strip().partition("\n")[0]
        return ImageError(f"cannot be read ({reason})", hint="check the network and the credentials")
    if not isinstance(error, _DECODER_ERRORS) and type(error).__name__ not in _OTHER_ERRORS:
        return None
    text = " ".join(str(error).split()) or type(error).__name__
    lower = text.lower()
    if "cannot identify image file" in lower or "unidentified" in type(error).__name__.lower():
        return ImageError("is not an image that convcli reads", hint=_name_hint(where))
    # Pillow's word for a frame behind the last one.
    if isinstance(error, EOFError):
        return ImageError(f"has no such frame ({text})", hint="frames count from 0")
    if type(error).__name__ == "DecompressionBombError":
        # Twice Image.MAX_IMAGE_PIXELS, where a warning of Pillow becomes an error.
        return ImageError("has more pixels than Pillow decodes (178,956,970)", hint="convert it to TIFF or PPM first")
    if isinstance(error, ImportError):
        if not is_missing(error, error.name or ""):
            return not_loading(error, error.name or "Pillow")
        return ImageError(f"cannot be decoded without the package {error.name}", hint=f"pip install {error.name}")
    if "imagecodecs" in lower:
        return ImageError(f"cannot be decoded ({text})", hint="pip install imagecodecs, or store it uncompressed")
    if isinstance(error, MemoryError):
        return shortage(error)
    if any(word in lower for word in ("truncated", "not enough", "unexpected end", "broken")):
        return ImageError(f"is truncated or damaged ({text})", hint="copy or download the file again")
    if "max_text" in lower:  # Pillow's bounds against texts that unpack into gigabytes
        size = "64 MiB of texts" if "memory" in lower else "1 MiB of colour profile, XMP or text in one piece"
        return ImageError(
            f"holds more than {size}, which Pillow does not read", hint="magick IN.png -strip OUT.png takes it out"
        )
    if isinstance(error, ValueError):
        text = f"its header makes no sense to Pillow: {text}"
    elif isinstance(error, (TypeError, KeyError, IndexError, AttributeError, AssertionError)):
        text = "its header makes no sense"
    return ImageError(f"cannot be decoded ({text})", hint="the file is damaged, or of a kind that Pillow does not read")


def explain_opening(error: OSError | ValueError, path: Path) -> ImageError:
    """Return why a file cannot be opened."""
    if isinstance(error, FileNotFoundError) and path.is_symlink():
        return ImageError(
            f"is a link to {path.readlink()}, which is not there",
            hint=f"put {path.readlink()} there, or name another file",
        )
    if isinstance(error, FileNotFoundError):
        return ImageError("no such file", hint="check the name; quote names with spaces")
    if isinstance(error, IsADirectoryError):
        return ImageError("is a directory", hint="name a file in it")
    if isinstance(error, PermissionError):
        return ImageError("permission denied", hint=f"make it readable: chmod u+r {path.name!r}")
    reason = getattr(error, "strerror", None) or str(error)
    return ImageError(f"cannot be opened: {reason}", hint="check the name")


def explain_writing(error: OSError, path: Path | None) -> OutputError:
    """Return the failure to write ``path`` in words."""
    if path is None:
        return unwritable(error)
    folder = str(path.parent)
    hints = {
        errno.ENOENT: f"make the folder first: mkdir -p {folder}",
        errno.EACCES: f"no permission to write into {folder}; choose another folder",
        errno.EROFS: f"{folder} is read-only; choose another folder",
        errno.ENOSPC: "the disk is full; free some space, or write to another disk",
        errno.EDQUOT: "the disk quota is used up; free some space, or write to another disk",
        errno.EFBIG: "a file may not be so large: ulimit -f unlimited, or another file system",
        errno.ENAMETOOLONG: "the name is too long; give a shorter one with -o or --name",
        errno.EMFILE: "too many files are open: -j 1, or raise ulimit -n",
        errno.EISDIR: "a directory has that name",
        errno.ENOTDIR: f"part of {folder} is a file",
    }
    reason = os.strerror(error.errno) if error.errno else str(error)
    return OutputError(f"cannot write {path}: {reason}", hint=hints.get(error.errno or 0, "check the path"))


def _name_hint(where: str) -> str:
    suffix = Path(where).suffix
    if command := unpack_hint(where):
        return "it is compressed as a whole" if "://" in where else f"it is compressed as a whole: {command}"
    if suffix.lower() == TAR:
        return TAR_ADVICE
    kinds = "PNG, JPEG, TIFF, WebP, AVIF, BMP, PPM, GIF and others that Pillow reads"
    if suffix.lower() in formats.PICTURE_SUFFIXES:
        return f"its first bytes are not those of {suffix} or of {kinds}"
    return f"{suffix} is no picture: convcli reads {kinds}" if suffix else f"convcli reads {kinds}"
