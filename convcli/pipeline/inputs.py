"""Inputs by their names: files, objects of stores, standard input; and a command line of ``apply`` that names them."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from convcli.errors import ImageError
from convcli.images import formats
from convcli.images.info import STORE_HEADERS, RemoteZarr, store_header
from convcli.pipeline.request import RunFlags
from convcli.process.system import is_url, local_path

if TYPE_CHECKING:
    from convcli.images.files import FileState


class InputFile(NamedTuple):
    """One input: where it is, and where it stood below the folder that was searched.

    ``path`` is ``None`` for an object of a store, which is at ``url``, for standard input and for a picture of a tar,
    whose bytes are in ``data``. ``frame`` is a page or frame of a file that has several. ``below`` keeps the tree of a
    recursive search under ``--out-dir``; ``searched`` is a file that was found in a folder, not named. ``etag`` is the
    one that a file or object must have, if any; ``state`` is that of the file when it was planned; ``is_output`` is a
    file that a search found where outputs go and that an earlier run wrote.
    """

    path: Path | None
    data: bytes | None = None
    frame: int | None = None
    below: PurePosixPath = PurePosixPath()
    searched: bool = False
    url: str = ""
    etag: str = ""
    state: FileState | None = None
    is_output: bool = False

    @property
    def readable(self) -> Path | bytes | RemoteZarr:
        """The form in which ``convcli.images`` reads it: the path, that of a local copy, a remote store, or bytes.

        Raises
        ------
        ImageError
            It has another ETag than :attr:`etag`.
        """
        if self.data is not None:
            return self.data
        path: Path | RemoteZarr
        if self.url and is_zarr_url(self.url):
            from convcli.pipeline.places import open_zarr_url

            path, etag = open_zarr_url(self.url)
        elif self.url:
            from convcli.pipeline.staging import local_copy

            path, etag = local_copy(self.url)
        elif self.path is None:
            return b""
        elif self.etag:
            from convcli.pipeline.objects import file_etag

            path, etag = self.path, file_etag(self.path)
        else:
            return self.path
        # A file that has gone has no ETag: it fails where it is read, with the reason.
        if self.etag and etag not in ("", self.etag):
            raise ImageError("it has changed since it was listed", hint="run it again, or plan another job")
        return path

    @property
    def is_stored(self) -> bool:
        """Whether it has to be copied from a store before it can be read."""
        return bool(self.url) and self.data is None and not is_zarr_url(self.url)

    @property
    def label(self) -> str:
        """Name for messages and reports; a frame of several as ``file[3]``."""
        name = self.url or ("<stdin>" if self.path is None else str(self.path))
        return name if self.frame is None else f"{name}[{self.frame}]"

    @property
    def _named(self) -> PurePath:
        """The name as a path; the scheme of a URL is a folder there."""
        if self.path is not None:
            return self.path
        name = PurePosixPath(self.url or "stdin")
        return name.parent if name.name in STORE_HEADERS else name

    @property
    def stem(self) -> str:
        """File name without its last suffix."""
        return self._named.stem or self._named.name

    @property
    def file(self) -> str:
        """File name with its suffix."""
        return self._named.name

    @property
    def suffix(self) -> str:
        """Last suffix of the file, without its dot."""
        return self._named.suffix.removeprefix(".")

    @property
    def parent(self) -> str:
        """Name of the folder that the file is in; empty for the current one and for standard input."""
        # The parent of "../a.png" is "..", which must not lead out of the output folder.
        return self._named.parent.name.replace("..", "")


@dataclass(slots=True)
class Search:
    """How inputs are searched, and what was met meanwhile.

    Attributes
    ----------
    recursive : bool
        Search folders below folders; their tree is kept in ``InputFile.below``. A linked folder is searched once, if
        it is not part of the tree already.
    out_dir : Path, optional
        Outputs go there. Files that earlier batches wrote into this folder, or into others within a searched folder,
        are left out.
    out_url : str
        Where outputs go if that is a store; objects below it are left out.
    allow_empty : bool
        Whether folders without images, patterns that match nothing and empty lists are no mistake.
    skipped : list of Path
        The files left out: pictures that earlier runs wrote into ``out_dir``, and ``out_dir`` itself as one entry.
    passed : Counter
        Numbers of the other files that were passed over, by suffix or in words.
    """

    recursive: bool = False
    out_dir: Path | None = None
    out_url: str = ""
    allow_empty: bool = False
    skipped: list[Path] = field(default_factory=list)
    passed: Counter[str] = field(default_factory=Counter)


def is_special(path: str | os.PathLike[str]) -> bool:
    """Return whether this is a pipe or a device, which would be waited for; a broken link is not."""
    return os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path))  # noqa: PTH110, PTH112, PTH113


def is_zarr_url(name: str) -> bool:
    """Return whether a name is the URL of a Zarr store, or of an array in one.

    A part of it ends in ``.zarr``, or the last one is the header of a store, which may have any name then.

    Examples
    --------
    >>> is_zarr_url("s3://b/a.ome.zarr/0/"), is_zarr_url("s3://b/big/zarr.json"), is_zarr_url("s3://b/photos")
    (True, True, False)
    """
    parts = name.split("/")
    return "://" in name and (parts[-1] in STORE_HEADERS or any(part.lower().endswith(".zarr") for part in parts))


def is_folder(path: str | os.PathLike[str]) -> bool:
    """Whether this is a folder of images: one that is no Zarr store."""
    # os.path, not Path: a name too long or in a locked folder is False there, and no exception.
    if not os.path.isdir(path):  # noqa: PTH112
        return False
    return store_header(Path(path)) == Path(path)


def matches(word: str, *, allow_empty: bool = False) -> list[str] | None:
    """Return the files that a pattern means, sorted; ``None`` for a name.

    Raises
    ------
    ImageError
        It means none, and that is not allowed.
    """
    # A file may be called "a[1].png": a name that exists is not a pattern.
    if is_url(word) or os.path.lexists(word) or not glob.has_magic(word):
        return None
    found = glob.glob(word, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute patterns
    names = sorted(name for name in found if not (is_folder(name) or is_special(name)))
    if not names and not allow_empty:
        raise ImageError(f"no file matches {word!r}", hint="quote the pattern and check the folder's name")
    return names


def named(name: str) -> InputFile:
    """Return the input of a path or a URL.

    Raises
    ------
    UsageError
        The URL holds a password, or a question to a web server.

    Examples
    --------
    >>> named("s3://b/a.jpg").url, named("a.jpg").path.name
    ('s3://b/a.jpg', 'a.jpg')
    """
    if not is_url(name):
        return InputFile(path=local_path(name))
    from convcli.pipeline.places import check_url

    check_url(name)
    return InputFile(path=None, url=name)


def is_folder_url(name: str) -> bool:
    """Return whether a name is a URL, and not of a picture or a Zarr store: objects are listed below it.

    Examples
    --------
    >>> is_folder_url("s3://b/photos"), is_folder_url("s3://b/a.jpg"), is_folder_url("photos")
    (True, False, False)
    """
    return is_url(name) and not is_zarr_url(name) and PurePosixPath(name).suffix.lower() not in formats.PICTURE_SUFFIXES


class ApplyCall(NamedTuple):
    """A command line of ``apply``: names of inputs, arguments of ``parse_request``, and how the batch runs."""

    words: Sequence[str]
    flags: Mapping[str, object]
    run: RunFlags


def make_call(inputs: Sequence[str] | None, values: Mapping[str, Any]) -> ApplyCall:
    """Return the call of inputs and flags by key; ``None`` and ``False`` mean that a flag was not given."""
    given = {key: value for key, value in values.items() if value is not None and value is not False}
    given["kernels"] = tuple(given.get("kernels", ()))
    run = RunFlags(**{key: given.pop(key) for key in RunFlags._fields if key in given})
    return ApplyCall(list(inputs or ()), given, run)
