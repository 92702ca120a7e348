"""Search folders, and stores, for images: what is found, what earlier runs wrote, and what is passed over."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from convcli.errors import ImageError
from convcli.images import formats
from convcli.images.folders import is_folder, is_zarr_url
from convcli.images.recognise import HIDDEN, NO_SUFFIX, SPECIAL, extra_for, passed_over
from convcli.pipeline.names import MANIFEST_NAME, Asked, InputFile, is_special
from convcli.pipeline.own import is_output, is_record

#: Kinds of files that a search counts by name; the rest is one number.
MOST_KINDS = 6
FOLDER = "subfolder"
_ADVICE = {FOLDER: " (--recursive searches them)"}


def search_store(url: str, asked: Asked) -> Iterator[InputFile]:
    """Yield the pictures below a URL, all of them, for a store has no folders; leave outputs out."""
    from convcli.pipeline.places import join, open_objects

    place, is_empty = url.rstrip("/"), True
    stores: set[PurePosixPath] = set()
    for page in open_objects(place).pages():
        for entry in page:
            name = PurePosixPath(entry.name)
            if asked.out_url and join(place, entry.name).startswith(f"{asked.out_url}/"):
                continue
            if is_zarr_url(entry.name):  # an object of a store, which is one input
                store = next(part for part in reversed((name, *name.parents)) if is_zarr_url(str(part)))
                if store not in stores:
                    is_empty = False
                    stores.add(store)
                    yield InputFile(path=None, url=join(place, str(store)), below=store.parent)
            elif name.suffix.lower() in formats.PICTURE_SUFFIXES:
                is_empty = False
                yield InputFile(path=None, url=join(place, entry.name), below=name.parent, etag=entry.etag)
            else:  # a store is not asked for the first bytes of every object
                asked.passed[name.suffix.lower() or NO_SUFFIX] += 1
    if is_empty and not asked.allow_empty:
        raise ImageError(f"{url}: no image below this URL", hint="check the bucket and the prefix")


def search_folder(folder: Path, asked: Asked) -> Iterator[InputFile]:
    """Yield the images of a folder in sorted order, then the folders below it that cannot be read."""
    search, n_found, skipped = _Search(folder, asked), 0, asked.skipped
    n_skipped, n_own = len(skipped), 0
    for place, name in search.files():
        path = place / name
        kind = HIDDEN if name.startswith(".") else SPECIAL if is_special(path) else passed_over(path)
        if kind and path not in search.stores:
            if not is_record(path):
                asked.passed[kind] += 1
            continue
        if search.is_recorded(path):
            skipped.append(path)
            continue
        below = PurePosixPath(place.relative_to(folder).as_posix())
        # Where outputs go, a file that says how it was made is no photograph; elsewhere it is what was asked for.
        is_own = search.is_own and is_output(path)
        n_own += is_own
        n_found += not is_own
        yield InputFile(path=path, below=below, searched=True, is_output=is_own)
    for path in search.unreadable:  # as inputs: reading them fails with the reason, and the others go on
        n_found += 1
        yield InputFile(path=path)
    skipped += search.left_out
    if n_found == 0 and not asked.allow_empty:
        raise _nothing(search, len(skipped) - n_skipped + n_own, asked)


def _nothing(search: _Search, n_outputs: int, asked: Asked) -> ImageError:
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
    stores : set of Path
        Folders that are Zarr stores: images, not places to search.
    """

    def __init__(self, folder: Path, asked: Asked) -> None:
        self.folder, self._asked = folder, asked
        self.left_out: list[Path] = []
        self.others: list[Path] = []
        self.unreadable: list[Path] = []
        self.stores: set[Path] = set()
        self._root = os.path.realpath(folder)
        out_dir = asked.out_dir
        self._own = os.path.realpath(out_dir) if out_dir is not None else None
        self._seen = {self._root}
        self._written: frozenset[str] = frozenset()
        if out_dir is not None and self.is_own and os.path.lexists(out_dir / MANIFEST_NAME):
            self._leave_out_outputs_of(out_dir)

    @property
    def is_own(self) -> bool:
        """Whether outputs go into the searched folder."""
        return self._own == self._root

    def is_recorded(self, path: Path) -> bool:
        """Return whether a record has a file as written by an earlier batch."""
        # realpath asks the system about every folder of a path: only worth it where a record exists.
        return bool(self._written) and os.path.realpath(path) in self._written

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
            stores = [name for name in folders if not (name.startswith(".") or is_folder(place / name))]
            self.stores.update(place / name for name in stores)
            folders[:] = sorted(name for name in folders if name not in stores and self._is_wanted(place, name))
            for name in sorted([*files, *stores]):
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
