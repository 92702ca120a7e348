"""Files, bytes and stores as they are opened to be read; every failure on the way is an ``ImageError``."""

from __future__ import annotations

import io
import os
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from convcli.errors import ConvcliError, ImageError

#: Files of which a folder has one if it is a Zarr array or group: of Zarr 3, and of Zarr 2.
STORE_HEADERS = ("zarr.json", ".zarray", ".zgroup")


class RemoteZarr(NamedTuple):
    """A Zarr store that is no folder here: its name, its header, and its objects as ``obstore`` has them."""

    url: str
    header: bytes
    objects: Any


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


def store_header(path: Path) -> Path:
    """Return the header of a Zarr store, or ``path`` itself if it is another folder."""
    return next((path / name for name in STORE_HEADERS if (path / name).is_file()), path)


def is_zarr_url(name: str) -> bool:
    """Return whether a name is the URL of a Zarr store, or of an array in one: a part of it ends in ``.zarr``.

    Examples
    --------
    >>> is_zarr_url("s3://b/big.zarr"), is_zarr_url("s3://b/a.ome.zarr/0/"), is_zarr_url("s3://b/photos")
    (True, True, False)
    """
    return "://" in name and any(part.lower().endswith(".zarr") for part in name.split("/"))


def zarr_of(file: object) -> Path | RemoteZarr | None:
    """Return the Zarr store of which an open file is the header, if it is one."""
    if isinstance(file, HeaderFile):
        return file.place
    name = str(getattr(file, "name", ""))  # may be a number
    return Path(name).parent if os.path.basename(name) in STORE_HEADERS else None  # noqa: PTH119


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Whether this is a folder of images: one that is no Zarr store."""
    # os.path, not Path: a name too long or in a locked folder is False there, and no exception.
    if not os.path.isdir(path):  # noqa: PTH112
        return False
    return store_header(Path(path)) == Path(path)


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
