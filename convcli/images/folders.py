"""Folders of files that appear whole or not at all, as a Zarr store is written."""

from __future__ import annotations

import contextlib
import errno
import io
import os
from pathlib import Path
from typing import Any, NamedTuple

from convcli.images.files import FileState, TargetFile

#: Files of which a folder has one if it is a Zarr array or group: of Zarr 3, and of Zarr 2.
STORE_HEADERS = ("zarr.json", ".zarray", ".zgroup")


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


class TargetFolder(TargetFile):
    """A folder that appears under its own name only when :meth:`commit` is called.

    Options are those of :class:`~convcli.images.files.TargetFile`.

    Attributes
    ----------
    folder : Path
        Where its files are written until then.
    """

    folder: Path

    def __init__(self, target: str | os.PathLike[str], **options: Any) -> None:
        super().__init__(target, **options)

    def _begin(self, part: Path, makes_folder: bool) -> None:
        if makes_folder:
            part.parent.mkdir(parents=True, exist_ok=True)
        part.mkdir()
        self.folder, self.file = part, io.BytesIO()

    def _place(self, part: Path, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self._overwrite or FileState.of(path, follow=False) == self._replaces:
                # No system replaces a folder that has files in one step: the old one makes way first.
                old = part.with_suffix(".old")
                path.rename(old)
                part.rename(path)
                remove(old)
                return
        state = FileState.of(part)
        # An empty folder of that name would be replaced, any other is refused.
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        part.rename(path)
        self._new = state

    def discard(self) -> None:
        """Remove what was written, as for a file."""
        if self._part is not None:
            remove(self._part)
            self._part = None
        if self._new is not None and self.path is not None:
            with contextlib.suppress(OSError):
                if FileState.of(self.path, follow=False)[:2] == self._new[:2]:
                    remove(self.path)
            self._new = None


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        import shutil

        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
