"""Which files a command line means: names, quoted globs, folders, lists. No image is opened."""

from __future__ import annotations

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from convcli.errors import ImageError, UsageError, is_url
from convcli.images import formats
from convcli.pipeline.names import MANIFEST_NAME, InputFile


def find_inputs(
    words: Sequence[str],
    *,
    recursive: bool = False,
    out_dir: Path | None = None,
    listed: Sequence[str] = (),
    skipped: list[Path] | None = None,
    out_url: str = "",
) -> list[InputFile]:
    """Return the inputs that the words of a command line mean, in order, each once.

    Names are not opened: missing and locked files are inputs too, and fail when they are read.

    Parameters
    ----------
    words : sequence of str
        Files, ``-`` for standard input, folders, or glob patterns that the shell did not expand.
    recursive : bool
        Search folders below folders; their tree is kept in ``InputFile.below``. A linked folder is searched once, if
        it is not part of the tree already.
    out_dir : Path, optional
        Outputs go there. Files that earlier batches wrote into this folder, or into others within a searched folder,
        are left out.
    listed : sequence of str
        Names from a list: files only, no patterns.
    skipped : list of Path, optional
        Receives the files left out: pictures that batches into ``out_dir`` wrote, ``out_dir`` itself as one entry.
    out_url : str
        Where outputs go if that is a store; objects below it are left out.

    Raises
    ------
    ImageError
        A pattern matches nothing, or a folder has no image.
    UsageError
        There is no input at all.
    """
    left_out: list[Path] = [] if skipped is None else skipped
    # By name and tree: a file found through two folders has two places below --out-dir.
    found: dict[tuple[str, str], InputFile] = {}
    for source in _each(words, recursive, out_dir, left_out, out_url):
        found.setdefault((source.label, str(source.below)), source)
    for name in listed:
        source = _named(name)
        found.setdefault((source.label, str(source.below)), source)
    if not found:
        raise UsageError("no input given", hint="convcli apply photo.jpg -k sobel")
    return list(found.values())


def _each(
    words: Sequence[str], recursive: bool, out_dir: Path | None, skipped: list[Path], out_url: str
) -> Iterator[InputFile]:
    # os.path, not Path: a name too long or in a locked folder is False there, and no exception
    for word in words:
        if word == "-":
            yield InputFile(path=None, data=sys.stdin.buffer.read())
        elif is_folder_url(word):
            yield from _search_store(word, out_url)
        elif os.path.isdir(word):  # noqa: PTH112
            yield from _search(_Search(Path(word), recursive, out_dir), skipped)
        # A file may be called "a[1].png": a name that exists is not a pattern.
        elif not os.path.lexists(word) and glob.has_magic(word):
            matches = glob.glob(word, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute patterns
            names = sorted(name for name in matches if not (os.path.isdir(name) or is_special(name)))  # noqa: PTH112
            if not names:
                raise ImageError(f"no file matches {word!r}", hint="quote the pattern and check the folder's name")
            yield from (InputFile(path=Path(name)) for name in names)
        else:
            yield _named(word)


def _named(name: str) -> InputFile:
    return InputFile(path=None, url=name) if is_url(name) else InputFile(path=Path(name))


def is_folder_url(name: str) -> bool:
    """Return whether a name is a URL, and not of a picture: objects are listed below it.

    Examples
    --------
    >>> is_folder_url("s3://b/photos"), is_folder_url("s3://b/a.jpg"), is_folder_url("photos")
    (True, False, False)
    """
    return is_url(name) and PurePosixPath(name).suffix.lower() not in formats.PICTURE_SUFFIXES


def _search_store(url: str, out_url: str) -> Iterator[InputFile]:
    """Yield the pictures below a URL, all of them, for a store has no folders; leave outputs out."""
    from convcli.pipeline.places import join, open_objects

    place, is_empty = url.rstrip("/"), True
    for page in open_objects(place).pages():
        for entry in page:
            name = PurePosixPath(entry.name)
            is_output = bool(out_url) and join(place, entry.name).startswith(f"{out_url}/")
            if name.suffix.lower() in formats.PICTURE_SUFFIXES and not is_output:
                is_empty = False
                yield InputFile(path=None, url=join(place, entry.name), below=name.parent, etag=entry.etag)
    if is_empty:
        raise ImageError(f"{url}: no image below this URL", hint="check the bucket and the prefix")


def _search(search: _Search, skipped: list[Path]) -> Iterator[InputFile]:
    """Yield the images of a folder in sorted order, then the folders below it that cannot be read."""
    folder, n_found, n_skipped = search.folder, 0, len(skipped)
    for place, name in search.files():
        path = place / name
        if Path(name).suffix.lower() not in formats.PICTURE_SUFFIXES or name.startswith(".") or is_special(path):
            continue
        # realpath asks the system about every folder of a path: only worth it where a record exists.
        if search.written and os.path.realpath(path) in search.written:
            skipped.append(path)
            continue
        n_found += 1
        below = PurePosixPath(place.relative_to(folder).as_posix())
        yield InputFile(path=path, below=below, searched=True)
    for path in search.unreadable:  # as inputs: reading them fails with the reason, and the others go on
        n_found += 1
        yield InputFile(path=path)
    skipped += search.left_out
    if n_found == 0:
        hint = "name its files" if search.recursive else "--recursive searches the folders below it"
        but = ""
        if n_skipped < len(skipped):
            but, hint = f" but {len(skipped) - n_skipped} written into --out-dir", "choose another --out-dir"
            if search.others:
                but = f" but {len(skipped) - n_skipped} that an earlier batch wrote into {search.others[0]}"
                hint = "name that folder to read it"
        raise ImageError(f"{folder}: no image in this folder{but}", hint=hint)


def is_special(path: str | os.PathLike[str]) -> bool:
    """Return whether this is a pipe or a device, which would be waited for; a broken link is not."""
    return os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path))  # noqa: PTH110, PTH112, PTH113


class _Search:
    """One walk through a folder.

    Attributes
    ----------
    written : frozenset of str
        Real paths of files that earlier batches wrote, as far as the walk may meet them.
    left_out : list of Path
        The output folder, once it was met.
    others : list of Path
        Output folders of other batches that were met.
    unreadable : list of Path
        Folders that could not be listed.
    """

    def __init__(self, folder: Path, recursive: bool, out_dir: Path | None) -> None:
        self.folder, self.recursive = folder, recursive
        self.left_out: list[Path] = []
        self.others: list[Path] = []
        self.unreadable: list[Path] = []
        self._root = os.path.realpath(folder)
        self._own = os.path.realpath(out_dir) if out_dir is not None else None
        self._seen = {self._root}
        self.written: frozenset[str] = frozenset()
        if out_dir is not None and self._own == self._root and os.path.lexists(out_dir / MANIFEST_NAME):
            self._leave_out_outputs_of(out_dir)

    def files(self) -> Iterator[tuple[Path, str]]:
        """Yield folder and name of every file, sorted within each folder."""
        # Photo collections link to other disks, so links are followed; _is_wanted breaks the cycles.
        for here, folders, files in os.walk(self.folder, onerror=self._note, followlinks=True):
            place = Path(here)
            # The record of the searched folder itself does not count: a user who names a folder of outputs wants them.
            if MANIFEST_NAME in files and place != self.folder and os.path.isfile(place / MANIFEST_NAME):  # noqa: PTH113
                self.others.append(place)
                self._leave_out_outputs_of(place)
            # Assigned in place: os.walk descends into this very list.
            folders[:] = sorted(name for name in folders if self._is_wanted(place, name))
            for name in sorted(files):
                yield place, name

    def _leave_out_outputs_of(self, out_dir: Path) -> None:
        from convcli.pipeline.manifest import Manifest

        self.written |= Manifest(out_dir).outputs()

    def _note(self, error: OSError) -> None:
        self.unreadable.append(Path(os.fsdecode(error.filename)))

    def _is_wanted(self, place: Path, name: str) -> bool:
        # Hidden folders hold thumbnails, caches and version control.
        if not self.recursive or name.startswith("."):
            return False
        path = place / name
        real = os.path.realpath(path)
        if real == self._own:
            self.left_out.append(path)
            return False
        linked = Path(real)
        if os.path.islink(path) and (linked.is_relative_to(self._root) or Path(self._root).is_relative_to(linked)):  # noqa: PTH114
            return False  # found under its own name, or a way back to where the search came from
        if real in self._seen:
            return False
        self._seen.add(real)
        return True


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
    # Without this check a list from find -print0 would be read as a single absurd name.
    if not null and b"\0" in data:
        raise UsageError(f"--files-from {name} holds NUL characters", hint="-0 where names end in NUL")
    data = data.removeprefix(b"\xef\xbb\xbf")  # as some editors begin a file
    names = [os.fsdecode(part) for part in data.split(b"\0" if null else b"\n")]
    # Editors on Windows end lines in CR LF; with -0 a CR belongs to the name.
    names = [part if null else part.rstrip("\r") for part in names]
    names = [part for part in names if part]
    if not names:
        raise UsageError(f"--files-from {name} names no file", hint="one name a line, or -0 for names that end in NUL")
    return names
