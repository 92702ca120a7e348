"""Search folders, and stores, for images: what is found, what earlier runs wrote, and what is passed over.

Outputs of earlier runs are known by what they say: the text of how they were made, or the report beside them. A name
proves nothing: a photograph may be called ``a_box.png``.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from convcli.errors import ImageError
from convcli.images import formats
from convcli.images.files import PART_SUFFIX
from convcli.images.info import STORE_HEADERS
from convcli.images.recognise import HIDDEN, NO_SUFFIX, SPECIAL, TAR, TAR_ADVICE, extra_for, passed_over
from convcli.pipeline.inputs import InputFile, Search, is_folder, is_special
from convcli.pipeline.naming import MANIFEST_NAME

#: Kinds of files that a search counts by name; the rest is one number.
MOST_KINDS = 6
FOLDER = "subfolder"
_ADVICE = {FOLDER: " (--recursive searches them)", TAR: f" ({TAR_ADVICE})"}
#: A stamp as :func:`convcli.pipeline.writers.make_stamp` writes it, in any format that has room for text.
_STAMP = re.compile(rb'convcli [0-9]\S* (?=\{"input": ")')
#: Text stands before the pixels, in some formats behind them.
_HEAD_BYTES, _TAIL_BYTES = 1 << 18, 1 << 16
_MOST_REPORT_BYTES = 1 << 26
_REPORT_BEGIN = b'{\n "convcli": "'


def search_store(url: str, search: Search) -> Iterator[InputFile]:
    """Yield the pictures below a URL, all of them, for a store has no folders; leave outputs out."""
    from convcli.pipeline.places import join, open_objects

    place, is_empty = url.rstrip("/"), True
    stores: set[PurePosixPath] = set()
    for page in open_objects(url).pages():
        for entry in page:
            name = PurePosixPath(entry.name)
            if search.out_url and join(place, entry.name).startswith(f"{search.out_url}/"):
                continue
            store = next((part for part in reversed((name, *name.parents)) if part.suffix.lower() == ".zarr"), None)
            if store is not None:  # an object of a store, which is one input
                if store not in stores:
                    is_empty = False
                    stores.add(store)
                    yield InputFile(path=None, url=join(place, str(store)), below=store.parent)
            elif name.suffix.lower() in formats.PICTURE_SUFFIXES:
                is_empty = False
                yield InputFile(path=None, url=join(place, entry.name), below=name.parent, etag=entry.etag)
            else:  # a store is not asked for the first bytes of every object
                search.passed[name.suffix.lower() or NO_SUFFIX] += 1
    if is_empty and not search.allow_empty:
        raise no_image_below(place, search.passed)


def no_image_below(url: str, passed: Counter[str] | None = None) -> ImageError:
    """Return the failure of a URL that is no picture, and below which there is none."""
    from convcli.pipeline.places import open_objects

    hint = TAR_ADVICE if url.lower().endswith(TAR) else "check the bucket and the prefix"
    objects = open_objects(url)
    if header := next((name for name in STORE_HEADERS if objects.exists(name)), ""):
        hint = f"it is a Zarr store: {url}/{header} reads it"
    but = f" (not read: {count_passed(passed)})" if passed else ""
    return ImageError(f"{url}: no image below this URL{but}", hint=hint)


def search_folder(folder: Path, search: Search) -> Iterator[InputFile]:
    """Yield the images of a folder in sorted order, then the folders below it that cannot be read."""
    walk, n_found, skipped = _Walk(folder, search), 0, search.skipped
    n_skipped, n_own = len(skipped), 0
    for place, name in walk.files():
        path = place / name
        kind = HIDDEN if name.startswith(".") else SPECIAL if is_special(path) else passed_over(path)
        if kind and path not in walk.stores:
            if not is_record(path):
                search.passed[kind] += 1
            continue
        if walk.is_recorded(path):
            skipped.append(path)
            continue
        below = PurePosixPath(place.relative_to(folder).as_posix())
        # Where outputs go, a file that says how it was made is no photograph; elsewhere it is what was asked for.
        is_own = walk.is_own and is_output(path)
        n_own += is_own
        n_found += not is_own
        yield InputFile(path=path, below=below, searched=True, is_output=is_own)
    for path in walk.unreadable:  # as inputs: reading them fails with the reason, and the others go on
        n_found += 1
        yield InputFile(path=path)
    skipped += walk.left_out
    if n_found == 0 and not search.allow_empty:
        raise _nothing(walk, len(skipped) - n_skipped + n_own, search)


def _nothing(walk: _Walk, n_outputs: int, search: Search) -> ImageError:
    """Return the failure of a search that has found no image, with what it has found instead."""
    hint = "name its files" if search.recursive else "--recursive searches the folders below it"
    but = ""
    if n_outputs:
        but, hint = f" but {n_outputs} written into --out-dir", "choose another --out-dir"
        if walk.others:
            but = f" but {n_outputs} that an earlier batch wrote into {walk.others[0]}"
            hint = "name that folder to read it"
    elif search.passed:
        but = f" (not read: {count_passed(search.passed)})"
    return ImageError(f"{walk.folder}: no image in this folder{but}", hint=f"{hint}; --allow-empty accepts that")


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


class _Walk:
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

    def __init__(self, folder: Path, search: Search) -> None:
        self.folder, self._search = folder, search
        self.left_out: list[Path] = []
        self.others: list[Path] = []
        self.unreadable: list[Path] = []
        self.stores: set[Path] = set()
        self._root = os.path.realpath(folder)
        out_dir = search.out_dir
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
        if not self._search.recursive or name.startswith("."):
            self._search.passed["hidden folder" if name.startswith(".") else FOLDER] += 1
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


def read_stamp(path: Path) -> dict[str, Any] | None:
    """Return how a picture was made, as it says itself; None where it does not.

    Examples
    --------
    >>> read_stamp(Path("examples/camera.png")) is None
    True
    """
    try:
        with path.open("rb") as file:
            data = file.read(_HEAD_BYTES)
            if len(data) == _HEAD_BYTES and (size := os.fstat(file.fileno()).st_size) > _HEAD_BYTES:
                file.seek(max(_HEAD_BYTES, size - _TAIL_BYTES))
                data += file.read(_TAIL_BYTES)
    except (OSError, ValueError):
        return None
    for found in _STAMP.finditer(data):
        text = data[found.end() : found.end() + _TAIL_BYTES].decode("ascii", "replace")
        try:
            words, _ = json.JSONDecoder().raw_decode(text)
        except ValueError:
            continue
        return dict(words)
    return None


def _listed_in(report: Path) -> frozenset[str]:
    """Return the names of the files that a report of ours lists; empty where it is no such report."""
    try:
        if report.stat().st_size > _MOST_REPORT_BYTES:
            return frozenset()
        found = json.loads(report.read_bytes())
        return frozenset(Path(one["path"]).name for one in found["outputs"] if found["convcli"])
    except (OSError, ValueError, TypeError, KeyError):
        return frozenset()


def is_output(path: Path) -> bool:
    """Return whether a picture is an output of an earlier run, which a search does not take for a photograph."""
    stamp = read_stamp(path)
    if stamp is not None:
        return "in_place" not in stamp  # a photograph that was changed in its place is still one
    reports = (path.with_name(f"{path.name}.json"), path.with_name("report.json"))
    return any(path.name in _listed_in(report) for report in reports)


def is_record(path: Path) -> bool:
    """Return whether a file is a record of ours, or unfinished: nobody expects a search to take it."""
    if path.suffix == ".json":
        try:
            with path.open("rb") as file:
                return file.read(len(_REPORT_BEGIN)) == _REPORT_BEGIN
        except OSError:
            return False
    return path.name == MANIFEST_NAME or path.suffix == PART_SUFFIX


def is_orphan(report: Path) -> bool:
    """Return whether a report of ours was left alone: none of the files that it lists is beside it."""
    names = _listed_in(report)
    return bool(names) and not any(os.path.lexists(report.with_name(name)) for name in names)
