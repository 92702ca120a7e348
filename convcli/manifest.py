"""What a batch has done, so that ``--resume`` does only what is missing or changed.

One JSON line before the first file of an input is put in its place (``begin``), one after the last (``done``): after
any kind of death the files that exist are either recorded as whole, or known to be ours and made again.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convcli import __version__
from convcli.errors import ImageError, OutputError
from convcli.report import to_json

if TYPE_CHECKING:
    from convcli.naming import InputFile
    from convcli.outputs import Plan

NAME = ".convcli-manifest.jsonl"
#: Flags that say where and how, but not what: a change of them makes nothing out of date.
_NOT_PARAMETERS = ("out_dir", "overwrite", "skip_existing", "threads", "memory", "max_pixels", "max_taps", "compress")


def content_key(source: InputFile) -> str:
    """Return a digest of an input's bytes (BLAKE2b, 128 bits).

    Raises
    ------
    OSError
        The file cannot be read.
    """
    if source.path is None:
        return hashlib.blake2b(source.data, digest_size=16).hexdigest()
    with source.path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def parameter_key(plan: Plan) -> str:
    """Return a digest of everything that decides an output's bytes besides the input: flags, taps, version."""
    flags = {key: value for key, value in plan.request.as_dict().items() if key not in _NOT_PARAMETERS}
    digest = hashlib.blake2b(to_json([__version__, flags]).encode(), digest_size=16)
    digest.update(plan.weight_bytes())
    return digest.hexdigest()


class Manifest:
    """The record of one output folder; safe to write from several threads.

    Parameters
    ----------
    folder : Path
        ``--out-dir``; the file is made when the first line is written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._lock = threading.Lock()
        self._begun: dict[str, dict[str, Any]] = {}
        self._sizes: dict[str, dict[str, int]] = {}
        self._ours: set[str] = set()
        for line in self._lines():
            name = line.get("input", "")
            if line.get("event") == "begin":
                self._begun[name] = line
                self._sizes.pop(name, None)
                self._ours.update(line.get("outputs", ()))
            elif line.get("event") == "done":
                self._sizes[name] = line.get("bytes", {})

    def _lines(self) -> Iterator[dict[str, Any]]:
        """Yield the whole lines; the last one may have been cut short."""
        try:
            text = self.path.read_text(encoding="utf-8", errors="surrogateescape")
        except OSError:
            return
        for line in text.splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict):
                yield entry

    def is_done(self, plan: Plan) -> bool:
        """Whether this input was done with these parameters, and its files are there in the size they had."""
        begun, sizes = self._begun.get(plan.source.label), self._sizes.get(plan.source.label)
        if begun is None or sizes is None or begun.get("parameters") != parameter_key(plan):
            return False
        if set(sizes) != {str(path) for path in plan.written_paths}:
            return False
        try:
            whole = all(Path(path).stat().st_size == size for path, size in sizes.items())
            return whole and begun.get("content") == content_key(plan.source)
        except OSError:
            return False

    def owns(self, path: Path) -> bool:
        """Whether an earlier run began to write this file, so that it may be made again."""
        return str(path) in self._ours

    def begin(self, plan: Plan) -> None:
        """Record, before the input is read, that its files are about to appear.

        Raises
        ------
        ImageError
            The input cannot be read.
        OutputError
            The record cannot be written.
        """
        try:
            content = content_key(plan.source)
        except OSError as error:
            raise ImageError(f"cannot read it: {error.strerror}", hint="check the file's permissions") from None
        outputs = [str(path) for path in plan.written_paths]
        keys = {"content": content, "parameters": parameter_key(plan)}
        self._append({"event": "begin", "input": plan.source.label, **keys, "outputs": outputs})

    def done(self, plan: Plan) -> None:
        """Record that all files of an input are in their place."""
        sizes = {str(path): path.stat().st_size for path in plan.written_paths}
        self._append({"event": "done", "input": plan.source.label, "bytes": sizes})

    def _append(self, entry: dict[str, object]) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._lock, self.path.open("a", encoding="utf-8", errors="surrogateescape") as file:
                file.write(to_json(entry) + "\n")
        except OSError as error:
            raise OutputError(f"{self.path}: {error.strerror}", hint="check the folder and the space left") from None


def remove_leftovers(folders: Iterable[Path]) -> int:
    """Remove temporary files that a killed run left in ``folders``; return how many."""
    from convcli.images.targets import PART_SUFFIX

    n_removed = 0
    for folder in folders:
        for path in folder.glob(f".*{PART_SUFFIX}"):
            path.unlink(missing_ok=True)
            n_removed += 1
    return n_removed
