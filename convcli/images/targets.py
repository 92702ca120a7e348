"""Where a file is written: to a temporary name beside its own, renamed when it is whole, removed when it is not."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

from convcli.errors import OutputError

Target = str | os.PathLike[str] | BinaryIO
#: Temporary files end so; a run that was killed leaves them, the next one may remove them.
PART_SUFFIX = ".convcli-part"
#: Tells this run's parts from those of others; processes that are forked have the same.
_RUN = os.urandom(4).hex()


class TargetFile:
    """A file that appears under its own name only when :meth:`commit` is called.

    Parameters
    ----------
    target : path or binary file
        A path is written atomically; an open file (standard output) is written to directly and left open.

    Raises
    ------
    OutputError
        The folder does not exist, cannot be written, or the disk is full.
    """

    def __init__(self, target: Target) -> None:
        self.path: Path | None = Path(target) if isinstance(target, (str, os.PathLike)) else None
        self._part: Path | None = None
        if self.path is None:
            self.file: BinaryIO = target  # type: ignore[assignment]
            return
        # A name of its own, so that two runs never share one; short, so that a long name stays a valid one.
        self._part = self.path.with_name(f"{_part_begin(os.getpid())}{os.urandom(3).hex()}{PART_SUFFIX}")
        with self.explained():
            self.file = self._part.open("xb")

    @property
    def is_seekable(self) -> bool:
        """Whether earlier bytes can be changed later."""
        return self.file.seekable()

    def commit(self) -> None:
        """Give the file its name; it replaces a file of that name."""
        if self._part is None or self.path is None:
            with self.explained():
                self.file.flush()
            return
        try:
            with self.explained():
                self.file.close()
                self._part.replace(self.path)
        except OutputError:
            self.discard()
            raise
        self._part = None

    def discard(self) -> None:
        """Remove what was written; nothing happens after :meth:`commit`."""
        if self._part is None:
            return
        with contextlib.suppress(OSError):
            self.file.close()
        with contextlib.suppress(OSError):
            self._part.unlink(missing_ok=True)
        self._part = None

    @contextlib.contextmanager
    def explained(self):  # type: ignore[no-untyped-def]
        """Turn an ``OSError`` of writing into an ``OutputError`` that says what to do."""
        try:
            yield
        except BrokenPipeError as error:
            raise OutputError("the reader of standard output has gone", hint="it took only a part of it") from error
        except OSError as error:
            raise explain_os_error(error, self.path) from error


def explain_os_error(error: OSError, path: Path | None) -> OutputError:
    """Return the failure to write ``path`` in words."""
    import errno

    where = str(path) if path else "standard output"
    folder = str(path.parent) if path else "."
    hints = {
        errno.ENOENT: f"make the folder first: mkdir -p {folder}",
        errno.EACCES: f"no permission to write into {folder}; choose another with --out-dir",
        errno.EROFS: f"{folder} is read-only; choose another with --out-dir",
        errno.ENOSPC: "the disk is full; free some space, or --out-dir on another disk",
        errno.EDQUOT: "the disk quota is used up; free some space, or --out-dir on another disk",
        errno.ENAMETOOLONG: "the name is too long; give a shorter one with -o or --name",
        errno.EMFILE: "too many files are open: -j 1, or raise ulimit -n",
        errno.EISDIR: "a directory has that name",
        errno.ENOTDIR: f"part of {folder} is a file",
    }
    reason = os.strerror(error.errno) if error.errno else str(error)
    return OutputError(f"cannot write {where}: {reason}", hint=hints.get(error.errno or 0, "check the path"))


def save_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all, its folder made.

    Raises
    ------
    OutputError
        The folder cannot be made or written, or the disk is full.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain_os_error(error, path) from None
    target = TargetFile(path)
    try:
        with target.explained():
            target.file.write(text.encode("utf-8", "surrogateescape"))
    except BaseException:
        target.discard()
        raise
    target.commit()


def _part_begin(pid: int) -> str:
    return f".{_RUN}-{pid}-"


def discard_parts(folders: Iterable[Path], pid: int) -> None:
    """Remove what a process of this run that has died was writing into ``folders``."""
    for folder in folders:
        for part in folder.glob(f"{_part_begin(pid)}*{PART_SUFFIX}"):
            with contextlib.suppress(OSError):
                part.unlink()
