"""What a batch has done, so that ``--resume`` does only what is missing or changed.

One JSON line before the first file of an input is put in its place (``begin``), one after the last (``done``): after
any kind of death the files that exist are either recorded as whole, or known to be ours and made again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convcli import __version__
from convcli.errors import OutputError
from convcli.report import to_json

if TYPE_CHECKING:
    from convcli.naming import InputFile
    from convcli.planning import ImagePlan

NAME = ".convcli-manifest.jsonl"
#: Flags that say where and how, but not what: a change of them makes nothing out of date.
_NOT_PARAMETERS = ("out_dir", "overwrite", "skip_existing", "threads", "memory", "max_pixels", "compress")


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


def parameter_key(plan: ImagePlan) -> str:
    """Return a digest of everything that decides an output's bytes besides the input: flags, taps, version."""
    flags = {key: value for key, value in plan.request.as_dict().items() if key not in _NOT_PARAMETERS}
    digest = hashlib.blake2b(to_json([__version__, flags]).encode(), digest_size=16)
    digest.update(plan.bank.weight.tobytes())
    return digest.hexdigest()


class Manifest:
    """The record of one output folder.

    Parameters
    ----------
    folder : Path
        ``--out-dir``; the file is made when the first line is written.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self._done: dict[str, dict[str, Any]] = {}
        self._ours: set[str] = set()
        for line in self._lines():
            self._ours.update(line.get("outputs", ()))
            if line.get("event") == "done":
                self._done[line["input"]] = line
            else:
                self._done.pop(line.get("input", ""), None)

    def _lines(self) -> Iterable[dict[str, Any]]:
        """Yield the whole lines; the last one may have been cut short."""
        try:
            text = self.path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            return
        for line in text.splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if isinstance(entry, dict):
                yield entry

    def is_done(self, plan: ImagePlan) -> bool:
        """Whether this input was done with these parameters, and its files are there in the size they had."""
        entry = self._done.get(plan.source.label)
        if entry is None or entry.get("parameters") != parameter_key(plan):
            return False
        outputs = entry.get("outputs", {})
        if set(outputs) != {str(path) for path in plan.written_paths}:
            return False
        try:
            same = all(Path(path).stat().st_size == size for path, size in outputs.items())
            return same and entry.get("content") == content_key(plan.source)
        except OSError:
            return False

    def owns(self, path: Path) -> bool:
        """Whether an earlier run began to write this file, so that it may be made again."""
        return str(path) in self._ours

    def begin(self, plan: ImagePlan) -> None:
        """Record that the files of an input are about to appear."""
        self._append({"event": "begin", "input": plan.source.label, "outputs": [str(p) for p in plan.written_paths]})

    def done(self, plan: ImagePlan) -> None:
        """Record that all files of an input are in their place."""
        self._append(
            {
                "event": "done",
                "input": plan.source.label,
                "content": content_key(plan.source),
                "parameters": parameter_key(plan),
                "outputs": {str(path): path.stat().st_size for path in plan.written_paths},
            }
        )

    def _append(self, entry: dict[str, object]) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8", errors="surrogateescape") as file:
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
