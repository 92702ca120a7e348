"""Shards of files as one tar each, in the naming of WebDataset: ``KEY.field``, where a key has no dot.

The outputs of a shard are one object instead of thousands, whose requests would cost more than the samples. A tar among
the inputs of a job stands for the pictures in it.
"""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path, PurePosixPath

from convcli.errors import ImageError
from convcli.images import formats
from convcli.images.recognise import TAR
from convcli.pipeline.inputs import InputFile
from convcli.pipeline.objects import Entry


def member_name(name: str, output: str) -> str:
    """Return the member that holds an output of an input, both as paths below the output folder.

    Dots of the input's name are written as ``%2E``, so that different inputs have different keys.

    Examples
    --------
    >>> member_name("2020/a.jpg", "2020/a.jpg_sobel/x-r.png"), member_name("a.jpg", "a.jpg_box.png")
    ('2020/a%2Ejpg.sobel.x-r.png', 'a%2Ejpg.box.png')
    """
    place = PurePosixPath(name)
    key = place.name.replace("%", "%25").replace(".", "%2E")
    field = output.removeprefix(name).lstrip("_/").replace("/", ".")
    return str(place.parent / f"{key}.{field}")


def pack(tar: Path, members: list[tuple[Path, str]]) -> None:
    """Write files, or folders of chunks, as a tar: the same bytes whenever and by whomever it is made."""
    with tarfile.open(tar, "w") as archive:
        for path, name in members:
            for part in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if part.is_file():
                    below = part.relative_to(path).as_posix()
                    # A new TarInfo has no time, owner or mode of this machine.
                    info = tarfile.TarInfo(name if part == path else f"{name}/{below}")
                    info.size = part.stat().st_size
                    with part.open("rb") as file:
                        archive.addfile(info, file)


def pictures_in(file: InputFile, entry: Entry) -> list[Entry]:
    """Return the pictures of a tar, unread.

    Raises
    ------
    ImageError
        It is no tar, or damaged.
    """
    return [inner for inner, _ in _members(file, entry)]


def unpack(
    file: InputFile, entry: Entry, first: int = 0, end: int | None = None
) -> Iterator[tuple[Entry, InputFile | None]]:
    """Yield the pictures of a tar, from ``first`` up to ``end``, each with its entry; raises as :func:`pictures_in`.

    A picture whose outputs would have the names of another's is ``None``.
    """
    for inner, read in islice(_members(file, entry), first, end):
        if read is None:
            yield inner, None
            continue
        name = inner.name.removeprefix(f"{entry.name}/")
        below = file.below / entry.name.rpartition("/")[2] / name.lstrip("/")
        with _explained():
            data = read()
        yield inner, InputFile(path=None, data=data, url=f"{file.label}/{name}", below=below.parent)


def is_tar(entry: Entry) -> bool:
    """Return whether an input stands for the pictures in it."""
    return entry.name.lower().endswith(TAR)


def _members(file: InputFile, entry: Entry) -> Iterator[tuple[Entry, Callable[[], bytes] | None]]:
    """Yield the entry of each picture of a tar, and how it is read unless an earlier one has its place."""
    taken: set[str] = set()
    readable = file.readable
    assert isinstance(readable, Path), "a job reads no standard input"
    with _explained(), tarfile.open(readable) as archive:
        for member in archive:
            if member.isfile() and PurePosixPath(member.name).suffix.lower() in formats.PICTURE_SUFFIXES:
                opened, place = archive.extractfile(member), posixpath.normpath(member.name.lstrip("/"))
                assert opened is not None, "a plain file"
                inner = Entry(f"{entry.name}/{member.name}", member.size, entry.etag)
                yield inner, None if place in taken else opened.read
                taken.add(place)


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ImageError(f"cannot be read as a tar ({error})", hint="make it again") from None
