"""Which files a command line means: names, quoted globs, folders, lists. Nothing is opened but lists and stamps."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from convcli.errors import ImageError, UsageError
from convcli.naming import InputFile

#: Files of a folder that count as images; a file named on the command line needs no suffix at all.
IMAGE_SUFFIXES = (
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".tif", ".tiff", ".webp", ".bmp", ".dib", ".gif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".pfm"),
)
#: Every picture that convcli writes says so near its start, every folder of maps in its report.
STAMP = b"convcli"
_STAMP_BYTES = 4096


def find_inputs(
    words: Sequence[str], *, recursive: bool = False, out_dir: Path | None = None, listed: Sequence[str] = ()
) -> list[InputFile]:
    """Return the inputs that the words of a command line mean, in order, each once.

    Parameters
    ----------
    words : sequence of str
        Files, ``-`` for standard input, folders, or glob patterns that the shell did not expand.
    recursive : bool
        Search folders below folders; their tree is kept in ``InputFile.below``.
    out_dir : Path, optional
        Outputs go there; it is not searched where it lies inside a folder that is.
    listed : sequence of str
        Names from a list: files only, no patterns.

    Raises
    ------
    ImageError
        A name does not exist, a pattern or folder has no image, or a folder cannot be read.
    """
    found: dict[tuple[str, str], InputFile] = {}
    for source in _each(words, recursive, out_dir):
        found.setdefault((source.label, str(source.below)), source)
    for name in listed:
        source = InputFile(path=Path(name))
        found.setdefault((source.label, str(source.below)), source)
    if not found:
        raise UsageError("no input given", hint="convcli apply photo.jpg -k sobel")
    return list(found.values())


def _each(words: Sequence[str], recursive: bool, out_dir: Path | None) -> Iterator[InputFile]:
    for word in words:
        path = Path(word)
        if word == "-":
            yield InputFile(path=None, data=sys.stdin.buffer.read())
        elif path.is_dir():
            yield from _search(path, recursive, out_dir)
        elif not path.exists() and glob.has_magic(word):
            matches = glob.glob(word, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute patterns
            names = sorted(name for name in matches if not Path(name).is_dir())
            if not names:
                raise ImageError(f"no file matches {word!r}", hint="quote the pattern and check the folder's name")
            yield from (InputFile(path=Path(name)) for name in names)
        else:
            yield InputFile(path=path)


def _search(folder: Path, recursive: bool, out_dir: Path | None) -> Iterator[InputFile]:
    """Yield the images of a folder in sorted order, without our own outputs."""
    own = out_dir.resolve() if out_dir is not None else None
    n_found = 0

    def refuse(error: OSError) -> None:
        raise ImageError(f"{error.filename}: {error.strerror}", hint="check the folder's permissions")

    for here, folders, files in os.walk(folder, onerror=refuse):
        place = Path(here)
        folders[:] = sorted(f for f in folders if recursive and (place / f).resolve() != own and not f.startswith("."))
        if place != folder and _is_our_folder(place):
            folders.clear()
            continue
        for name in sorted(files):
            path = place / name
            if path.suffix.lower() in IMAGE_SUFFIXES and not name.startswith(".") and not _is_our_picture(path):
                n_found += 1
                yield InputFile(path=path, below=PurePosixPath(place.relative_to(folder).as_posix()))
    if n_found == 0:
        hint = "name its files" if recursive else "--recursive searches the folders below it"
        raise ImageError(f"{folder}: no image in this folder", hint=hint)


def _is_our_folder(folder: Path) -> bool:
    return _starts_with_stamp(folder / "report.json")


def _is_our_picture(path: Path) -> bool:
    return path.suffix.lower() in (".png", ".jpg") and _starts_with_stamp(path)


def _starts_with_stamp(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return STAMP in file.read(_STAMP_BYTES)
    except OSError:
        return False  # not readable: whoever reads it as an image says so


def read_list(name: str, *, null: bool) -> list[str]:
    """Return the names in a list file, one a line, or ending in NUL as ``find -print0`` writes them.

    Raises
    ------
    ImageError
        The list cannot be read.
    UsageError
        It names nothing.
    """
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise ImageError(f"--files-from {name}: {error.strerror}", hint="a text file of names, or -") from None
    names = [os.fsdecode(part) for part in data.split(b"\0" if null else b"\n")]
    names = [part if null else part.rstrip("\r") for part in names]
    names = [part for part in names if part]
    if not names:
        raise UsageError(f"--files-from {name} names no file", hint="one name a line, or -0 for names that end in NUL")
    return names
