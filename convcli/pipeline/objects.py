"""Objects by name: listed page by page, read, put whole, created once; and a local folder of them."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol

from convcli.errors import ImageError, OutputError
from convcli.images.files import TargetFile, fill
from convcli.images.info import store_header

#: A hint: how a store learns who asks.
CREDENTIALS = "credentials come from the environment: AWS_ACCESS_KEY_ID, GOOGLE_SERVICE_ACCOUNT, AZURE_STORAGE_…"
#: Entries of one page of a listing.
PAGE = 1000


class Entry(NamedTuple):
    """One object of a listing: its name below the place, its bytes, and a text that changes with its content."""

    name: str
    size: int
    etag: str


class Objects(Protocol):
    """A place that holds objects."""

    #: The place as messages name it: a path or a URL.
    text: str

    def pages(self, below: str = "") -> Iterator[list[Entry]]:
        """Yield the objects under a name, a page at a time, hidden ones left out; none if there is no such place."""

    def get(self, name: str) -> tuple[bytes, str]:
        """Return the bytes and the ETag of an object, or raise an ImageError."""

    def exists(self, name: str) -> bool:
        """Return whether there is an object of this name."""

    def put(self, name: str, data: bytes) -> None:
        """Store an object whole, in place of another."""

    def create(self, name: str, data: bytes) -> bool:
        """Store an object whole unless there is one of this name; return whether it was stored."""


def in_pages(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Yield entries, taken as they are needed, a page at a time."""
    rest = iter(entries)
    while page := list(islice(rest, PAGE)):
        yield page


def for_inputs_only(place: str) -> OutputError:
    """Return the refusal to write into a store that has no conditional writes."""
    hint = "outputs go to s3://, gs://, az:// or a folder"
    return OutputError(f"{place}: this kind of store is for inputs only", hint=hint)


def file_etag(path: Path) -> str:
    """Return a text that changes with a file, or the header of a Zarr store; empty if it is not there."""
    try:
        facts = path.stat()
        if stat.S_ISDIR(facts.st_mode):
            facts = store_header(path).stat()
    except (OSError, ValueError):  # ValueError: a NUL in it, from a list
        return ""
    return f"{facts.st_mtime_ns:x}-{facts.st_size:x}"


def is_hidden(name: str) -> bool:
    """Return whether a name below a place, or a folder on its way, begins with a dot.

    Examples
    --------
    >>> is_hidden(".cache/a.png"), is_hidden("a/.b.png"), is_hidden("a/b.png")
    (True, True, False)
    """
    return name.startswith(".") or "/." in name


class Folder:
    """A local folder, made when something is stored.

    Examples
    --------
    >>> import tempfile
    >>> folder = Folder(Path(tempfile.mkdtemp()))
    >>> folder.create("done/1", b"first"), folder.create("done/1", b"second"), folder.get("done/1")[0]
    (True, False, b'first')
    >>> [entry.name for page in folder.pages() for entry in page]
    ['done/1']
    """

    def __init__(self, path: Path) -> None:
        self.path, self.text = path, str(path)

    def pages(self, below: str = "") -> Iterator[list[Entry]]:
        """Yield files in sorted order, hidden ones left out; links to files count, links to folders do not."""
        return in_pages(self._files(below))

    def _files(self, below: str) -> Iterator[Entry]:
        for here, folders, files in os.walk(self.path / below):
            # Assigned in place: os.walk descends into this very list.
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for path in (Path(here, name) for name in sorted(files) if not name.startswith(".")):
                if path.is_file():
                    yield self.entry(path.relative_to(self.path).as_posix())

    def entry(self, name: str) -> Entry:
        """Return a file's entry; one that is not there has no bytes and no ETag."""
        etag = file_etag(self.path / name)
        return Entry(name, (self.path / name).stat().st_size if etag else 0, etag)

    def get(self, name: str) -> tuple[bytes, str]:
        """Return the bytes and the ETag of a file."""
        try:
            return (self.path / name).read_bytes(), self.entry(name).etag
        except OSError as error:
            raise ImageError(f"{self.path / name}: {error.strerror}", hint="check its name and permissions") from None

    def exists(self, name: str) -> bool:
        """Return whether there is a file of this name."""
        return (self.path / name).exists()

    def put(self, name: str, data: bytes) -> None:
        """Store a file whole, in place of another."""
        fill(TargetFile(self.path / name, overwrite=True, makes_folder=True), data)

    def create(self, name: str, data: bytes) -> bool:
        """Store a file whole unless there is one; return whether it was stored."""
        try:
            fill(TargetFile(self.path / name, makes_folder=True), data)
        except OutputError as error:
            if "n_existing" in error.facts:
                return False
            raise
        return True
