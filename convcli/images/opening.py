"""Files, bytes and stores as they are opened to be read; every failure on the way is an ``ImageError``."""

from __future__ import annotations

import io
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from convcli.errors import ConvcliError, ImageError
from convcli.images.folders import HeaderFile, RemoteZarr, store_header

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
