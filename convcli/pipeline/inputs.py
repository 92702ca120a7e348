"""Which files a command line means: names, quoted globs, folders, lists. No image is opened."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from convcli.errors import ImageError, UsageError
from convcli.images import formats
from convcli.images.opening import is_folder, is_zarr_url
from convcli.pipeline.names import InputFile, Search, is_special
from convcli.process.system import is_url, read_input


def find_inputs(words: Sequence[str], search: Search | None = None, *, listed: Sequence[str] = ()) -> list[InputFile]:
    """Return the inputs that the words of a command line mean, in order, each once.

    Names are not opened: missing and locked files are inputs too, and fail when they are read.

    Parameters
    ----------
    words : sequence of str
        Files, ``-`` for standard input, folders, or glob patterns that the shell did not expand.
    search : Search, optional
        How folders are searched; it learns what was left out.
    listed : sequence of str
        Names from a list: files only, no patterns.

    Raises
    ------
    ImageError
        A pattern matches nothing, or a folder has no image.
    UsageError
        There is no input at all.
    """
    search = search or Search()
    # By name and tree: a file found through two folders has two places below --out-dir.
    found: dict[tuple[str, str], InputFile] = {}
    for source in (*_each(words, search), *map(named, listed)):
        found.setdefault((source.label, str(source.below)), source)
    if not found and not search.allow_empty:
        raise UsageError("no input given", hint="convcli apply photo.jpg -k sobel")
    return list(found.values())


def _each(words: Sequence[str], search: Search) -> Iterator[InputFile]:
    for word in words:
        if word == "-":
            yield InputFile(path=None, data=read_input())
        elif is_folder_url(word):
            from convcli.pipeline.search import search_store

            yield from search_store(word, search)
        elif is_folder(word):
            from convcli.pipeline.search import search_folder

            yield from search_folder(Path(word), search)
        # A file may be called "a[1].png": a name that exists is not a pattern.
        elif not os.path.lexists(word) and glob.has_magic(word):
            matches = glob.glob(word, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute patterns
            names = sorted(name for name in matches if not (is_folder(name) or is_special(name)))
            if not names and not search.allow_empty:
                raise ImageError(f"no file matches {word!r}", hint="quote the pattern and check the folder's name")
            yield from (InputFile(path=Path(name)) for name in names)
        else:
            yield named(word)


def named(name: str) -> InputFile:
    """Return the input of a path or a URL.

    Raises
    ------
    UsageError
        The URL holds a password.

    Examples
    --------
    >>> named("s3://b/a.jpg").url, named("a.jpg").path.name
    ('s3://b/a.jpg', 'a.jpg')
    """
    if not is_url(name):
        return InputFile(path=Path(name))
    if "@" in name.split("/")[2]:
        from convcli.pipeline.places import open_store

        open_store(name)  # refuses it, before a message or a job names it
    return InputFile(path=None, url=name)


def is_folder_url(name: str) -> bool:
    """Return whether a name is a URL, and not of a picture or a Zarr store: objects are listed below it.

    Examples
    --------
    >>> is_folder_url("s3://b/photos"), is_folder_url("s3://b/a.jpg"), is_folder_url("photos")
    (True, False, False)
    """
    return is_url(name) and not is_zarr_url(name) and PurePosixPath(name).suffix.lower() not in formats.PICTURE_SUFFIXES


def read_list(name: str, *, null: bool, allow_empty: bool = False) -> list[str]:
    """Return the names in a list file, one a line, or ending in NUL as ``find -print0`` writes them.

    Raises
    ------
    ImageError
        The list cannot be read.
    UsageError
        It names nothing, and that is not allowed.
    """
    try:
        data = read_input() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise ImageError(f"--files-from {name}: {error.strerror}", hint="a text file of names, or -") from None
    if (row := formats.sniff(data[:16])) is not None and b"\0" in data:
        raise UsageError(f"--files-from {name} is a picture ({row.name}), not a list", hint=f"convcli apply {name}")
    # Without this check a list from find -print0 would be read as a single absurd name.
    if not null and b"\0" in data:
        raise UsageError(f"--files-from {name} holds NUL characters", hint="-0 where names end in NUL")
    data = data.removeprefix(b"\xef\xbb\xbf")  # as some editors begin a file
    names = [os.fsdecode(part) for part in data.split(b"\0" if null else b"\n")]
    # Editors on Windows end lines in CR LF; with -0 a CR belongs to the name.
    names = [part if null else part.rstrip("\r") for part in names]
    names = [part for part in names if part]
    if not names and not allow_empty:
        hint = "one name a line, or -0 for names that end in NUL; --allow-empty accepts none"
        raise UsageError(f"--files-from {name} names no file", hint=hint)
    return names
