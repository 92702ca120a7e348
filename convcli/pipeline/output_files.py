"""The files of one input: opened as they are needed, all of them removed again where one fails."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from convcli.images import formats
from convcli.images.files import TargetFile, discard_parts, vanished
from convcli.process import ending
from convcli.process.system import binary_output

if TYPE_CHECKING:
    from convcli.pipeline.plan import Plan


class OutputFiles:
    """The files that one plan writes.

    Parameters
    ----------
    plan : Plan
        It says which existing files may be replaced.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._opened: list[TargetFile] = []
        #: Called where a signal ends the process.
        self.clean: Callable[[], None] | None = None

    def open(self, path: Path | None, output_format: str = "png") -> TargetFile:
        """Open a file, or a folder where that is the format; or standard output."""
        request, state = self._plan.request, self._plan.source.state
        if request.in_place and path is not None and state is not None:
            from convcli.images.in_place import InPlaceFile

            backup = request.backup_of(path)
            self._opened.append(InPlaceFile(path, planned=state, backup=backup, overwrite=request.overwrite))
            return self._opened[-1]
        # Without --overwrite only a file that the plan knows may be replaced: not one that has appeared since.
        replaces = self._plan.replaces.get(path) if path else None
        stream = path or binary_output()
        kind: type[TargetFile] = TargetFile
        if formats.BY_NAME[output_format].folder:
            from convcli.images.folders import TargetFolder

            kind = TargetFolder
        file = kind(stream, overwrite=request.overwrite, replaces=replaces, makes_folder=True)
        self._opened.append(file)
        return file

    def check(self) -> None:
        """Refuse to call the plan done if one of its files has gone.

        Raises
        ------
        OutputError
            Its folder was removed or renamed while the others were written.
        """
        for path in self._plan.written_paths:
            if not os.path.lexists(path):
                raise vanished(path)

    def leave(self) -> None:
        """Let no signal remove the files any more: they are about to be recorded as done."""
        if self.clean is not None:
            ending.no_more(self.clean)
            self.clean = None

    def discard(self) -> None:
        """Remove every file, those with names too: half of the maps would look like all of them."""
        for file in self._opened:
            file.discard()


@contextlib.contextmanager
def output_files(plan: Plan) -> Iterator[OutputFiles]:
    """Open the files of a plan inside the ``with``; an error removes them, and the folders made for them."""
    # Noted before the run: folders that exist already are not ours to remove.
    missing = [folder for folder in _folders(plan) if not os.path.exists(folder)]  # noqa: PTH110 - an error is no folder
    files = OutputFiles(plan)

    def discard() -> None:
        files.discard()
        for folder in missing:
            with contextlib.suppress(OSError):  # not empty: another input has put something there
                folder.rmdir()

    files.clean = discard
    ending.at_end(discard)
    try:
        yield files
    except BaseException:
        # BaseException: Ctrl-C leaves no half of the maps either.
        discard()
        raise
    finally:
        # A signal may have come before a file was known here; its folder goes after it, at the end.
        if not ending.was_asked():
            files.leave()


def discard_lost(plan: Plan, pid: int) -> None:
    """Remove unfinished files, and empty folders below ``--out-dir``, of a process that has died at work on a plan."""
    folders = _folders(plan)
    discard_parts(folders, pid)
    for folder in folders:
        if folder != plan.request.out_dir:
            with contextlib.suppress(OSError):
                folder.rmdir()


def _folders(plan: Plan) -> list[Path]:
    """Return the folders of the outputs, the deepest first."""
    paths = {output.path.parent for output in plan.outputs if output.path is not None}
    every = {
        folder for path in paths for folder in (path, *path.parents) if folder.is_relative_to(plan.request.out_dir)
    }
    return sorted(every, key=lambda folder: len(folder.parts), reverse=True)
