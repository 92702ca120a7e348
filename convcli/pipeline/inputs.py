"""Which files a command line means: names, quoted globs, folders, lists. No image is opened."""

from __future__ import annotations

import glob
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from convcli.errors import ImageError, UsageError, local_path
from convcli.images.recognise import HIDDEN, NO_SUFFIX, SPECIAL, extra_for, passed_over
from convcli.pipeline.names import MANIFEST_NAME, InputFile
from convcli.pipeline.own import is_output, is_record

#: Kinds of files that a search counts by name; the rest is one number.
MOST_KINDS = 6
FOLDER = "subfolder"
_ADVICE = {FOLDER: " (--recursive searches them)"}


def find_inputs(
    words: Sequence[str],
    *,
    recursive: bool = False,
    out_dir: Path | None = None,
    listed: Sequence[str] = (),
    skipped: list[Path] | None = None,
    passed: Counter[str] | None = None,
    allow_empty: bool = False,
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
        Receives the files left out: pictures that earlier runs wrote into ``out_dir``, ``out_dir`` itself as one entry.
    passed : Counter, optional
        Counts the other files that a search passes over, by suffix or in words.
    allow_empty : bool
        Whether folders without images, patterns that match nothing and empty lists are no mistake.

    Raises
    ------
    ImageError
        A pattern matches nothing, or a folder has no image.
    UsageError
        There is no input at all.
    """
    left_out: list[Path] = [] if skipped is None else skipped
    asked = _Asked(recursive, out_dir, left_out, Counter() if passed is None else passed, allow_empty)
    # By name and tree: a file found through two folders has two places below --out-dir.
    found: dict[tuple[str, str], InputFile] = {}
    for source in _each(words, asked):
        found.setdefault((source.label, str(source.below)), source)
    for name in listed:
        source = InputFile(path=local_path(name))
        found.setdefault((source.label, str(source.below)), source)
    if not found and not allow_empty:
        raise UsageError("no input given", hint="convcli apply photo.jpg -k sobel")
    return list(found.values())


class _Asked(NamedTuple):
    """How folders are searched, and what is counted meanwhile; see :func:`find_inputs`."""

    recursive: bool
    out_dir: Path | None
    skipped: list[Path]
    passed: Counter[str]
    allow_empty: bool


def _each(words: Sequence[str], asked: _Asked) -> Iterator[InputFile]:
    # os.path, not Path: a name too long or in a locked folder is False there, and no exception
    for word in words:
        if word == "-":
            yield InputFile(path=None, data=sys.stdin.buffer.read())
        elif os.path.isdir(word):  # noqa: PTH112
            yield from _search(_Search(Path(word), asked), asked)
        # A file may be called "a[1].png": a name that exists is not a pattern.
        elif not os.path.lexists(word) and glob.has_magic(word):
            matches = glob.glob(word, recursive=True)  # noqa: PTH207 - Path.glob takes no absolute patterns
            names = sorted(name for name in matches if not (os.path.isdir(name) or is_special(name)))  # noqa: PTH112
            if not names and not asked.allow_empty:
                raise ImageError(f"no file matches {word!r}", hint="quote the pattern and check the folder's name")
            yield from (InputFile(path=Path(name)) for name in names)
        else:
            yield InputFile(path=local_path(word))


def _search(search: _Search, asked: _Asked) -> Iterator[InputFile]:
    """Yield the images of a folder in sorted order, then the folders below it that cannot be read."""
    folder, n_found, skipped = search.folder, 0, asked.skipped
    n_skipped = len(skipped)
    for place, name in search.files():
        path = place / name
        kind = HIDDEN if name.startswith(".") else SPECIAL if is_special(path) else passed_over(path)
        if kind:
            asked.passed[kind] += not is_record(path)
            continue
        if search.is_output(path):
            skipped.append(path)
            continue
        n_found += 1
        below = PurePosixPath(place.relative_to(folder).as_posix())
        yield InputFile(path=path, below=below, searched=True)
    for path in search.unreadable:  # as inputs: reading them fails with the reason, and the others go on
        n_found += 1
        yield InputFile(path=path)
    skipped += search.left_out
    if n_found == 0 and not asked.allow_empty:
        raise _nothing(search, len(skipped) - n_skipped, asked)


def _nothing(search: _Search, n_outputs: int, asked: _Asked) -> ImageError:
    """Return the failure of a search that has found no image, with what it has found instead."""
    hint = "name its files" if asked.recursive else "--recursive searches the folders below it"
    but = ""
    if n_outputs:
        but, hint = f" but {n_outputs} written into --out-dir", "choose another --out-dir"
        if search.others:
            but = f" but {n_outputs} that an earlier batch wrote into {search.others[0]}"
            hint = "name that folder to read it"
    elif asked.passed:
        but = f" (not read: {count_passed(asked.passed)})"
    return ImageError(f"{search.folder}: no image in this folder{but}", hint=f"{hint}; --allow-empty accepts that")


def count_passed(passed: Counter[str]) -> str:
    """Return what a search has passed over in words, the most frequent first.

    Examples
    --------
    >>> count_passed(Counter({"without suffix": 2, ".heic": 1, "hidden file": 3}))
    "1 .heic (pip install 'convcli[heif]' reads it), 3 hidden files, 2 without suffix"
    """
    # Pictures that a package would read come first: the others are mostly meant to be passed over.
    kinds = sorted(passed, key=lambda kind: (not extra_for(kind), -passed[kind]))
    words = []
    for kind in kinds[:MOST_KINDS]:
        plural = "s" if passed[kind] > 1 and kind[0].isalpha() and kind != NO_SUFFIX else ""
        advice = f" (pip install 'convcli[{extra_for(kind)}]' reads it)" if extra_for(kind) else _ADVICE.get(kind, "")
        words.append(f"{passed[kind]} {kind}{plural}{advice}")
    if rest := sum(passed[kind] for kind in kinds[MOST_KINDS:]):
        words.append(f"{rest} others")
    return ", ".join(words)


def is_special(path: str | os.PathLike[str]) -> bool:
    """Return whether this is a pipe or a device, which would be waited for; a broken link is not."""
    return os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path))  # noqa: PTH110, PTH112, PTH113


class _Search:
    """One walk through a folder.

    Attributes
    ----------
    left_out : list of Path
        The output folder, once it was met.
    others : list of Path
        Output folders of other batches that were met.
    unreadable : list of Path
        Folders that could not be listed.
    """

    def __init__(self, folder: Path, asked: _Asked) -> None:
        self.folder, self._asked = folder, asked
        self.left_out: list[Path] = []
        self.others: list[Path] = []
        self.unreadable: list[Path] = []
        self._root = os.path.realpath(folder)
        out_dir = asked.out_dir
        self._own = os.path.realpath(out_dir) if out_dir is not None else None
        self._seen = {self._root}
        self._written: frozenset[str] = frozenset()
        if out_dir is not None and self._own == self._root and os.path.lexists(out_dir / MANIFEST_NAME):
            self._leave_out_outputs_of(out_dir)

    def is_output(self, path: Path) -> bool:
        """Return whether an earlier run wrote a file: by its record, or where outputs go by what the file says."""
        # realpath asks the system about every folder of a path: only worth it where a record exists.
        is_recorded = bool(self._written) and os.path.realpath(path) in self._written
        return is_recorded or (self._own == self._root and is_output(path))

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

        self._written |= Manifest(out_dir).outputs()

    def _note(self, error: OSError) -> None:
        self.unreadable.append(Path(os.fsdecode(error.filename)))

    def _is_wanted(self, place: Path, name: str) -> bool:
        # Hidden folders hold thumbnails, caches and version control.
        if not self._asked.recursive or name.startswith("."):
            self._asked.passed["hidden folder" if name.startswith(".") else FOLDER] += 1
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
    if not names and not allow_empty:
        hint = "one name a line, or -0 for names that end in NUL; --allow-empty accepts none"
        raise UsageError(f"--files-from {name} names no file", hint=hint)
    return names
