"""Targets beside plain new files: a folder that appears whole, and a file that takes the place of another."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from convcli.errors import OutputError
from convcli.images.files import PART_SUFFIX, FileState, TargetFile, give_new_name, part_begin, part_name, remove


class InPlaceFile(TargetFile):
    """A file that replaces the one that it was made from, or leaves it as it is on any error.

    Parameters
    ----------
    path : Path
        The file itself: a link to it would be replaced by a file.
    planned : FileState
        The file as it was read; one that has changed since is not replaced.
    backup : Path, optional
        The name under which the old file stays.
    overwrite : bool
        Whether the backup may replace a file.
    """

    def __init__(self, path: Path, *, planned: FileState, backup: Path | None = None, overwrite: bool = False) -> None:
        super().__init__(path)
        self._planned, self._backup, self._may_replace = planned, backup, overwrite

    def _place(self, part: Path, path: Path) -> None:
        if change := self._planned.change(FileState.of(path, follow=False)):
            raise OutputError(f"{path} has changed since it was read, and is left alone: {change}", hint="run it again")
        _take_over(path, part)
        with part.open("rb") as file:
            os.fsync(file.fileno())  # after a power cut the name must not lead to an empty file
        if self._backup is not None:
            self._keep(path, self._backup)
        part.replace(path)

    def _keep(self, path: Path, backup: Path) -> None:
        """Give the old file another name besides its own, a copy where the disk has no links."""
        second = part_name(path)
        try:
            try:
                os.link(path, second)
            except OSError:
                shutil.copy2(path, second)
            if self._may_replace:
                second.replace(backup)
            else:
                give_new_name(second, backup)
        except FileExistsError:
            raise backup_exists(backup) from None
        finally:
            with contextlib.suppress(OSError):  # of a link to the same file, rename keeps both names
                second.unlink(missing_ok=True)


def _take_over(old: Path, new: Path) -> None:
    """Give a file the mode, owner and attributes of another; refuse where the owner cannot be kept."""
    was, now = old.stat(), new.stat()
    shutil.copystat(old, new)  # with extended attributes, where access lists are
    os.utime(new)
    if (was.st_uid, was.st_gid) != (now.st_uid, now.st_gid):
        try:
            os.chown(new, was.st_uid, was.st_gid)
        except PermissionError:
            raise OutputError(
                f"{old} is of user {was.st_uid} and group {was.st_gid}, which a file of yours cannot be given",
                hint="run it as that user, or --out-dir DIR for copies",
            ) from None
        new.chmod(was.st_mode & 0o7777)  # a new owner takes setuid and setgid away


def backup_exists(backup: Path) -> OutputError:
    """Return the refusal of a backup whose name is taken."""
    return OutputError(f"{backup} exists", hint="another --backup SUFFIX, or --overwrite replaces it", n_existing=1)


class TargetFolder(TargetFile):
    """A folder that appears under its own name only when :meth:`commit` is called.

    Options are those of :class:`~convcli.images.files.TargetFile`.

    Attributes
    ----------
    folder : Path
        Where its files are written until then.
    """

    folder: Path
    #: A folder changes with the files in it.
    _same = slice(2)

    def _begin(self, part: Path, makes_folder: bool) -> None:
        if makes_folder:
            part.parent.mkdir(parents=True, exist_ok=True)
        part.mkdir()
        self.folder, self.file = part, io.BytesIO()

    def _place(self, part: Path, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            if self._overwrite or FileState.of(path, follow=False) == self._replaces:
                # No system replaces a folder that has files in one step: the old one makes way first.
                old = part.with_suffix(".old")
                path.rename(old)
                part.rename(path)
                remove(old)
                return
        state = FileState.of(part)
        # An empty folder of that name would be replaced, any other is refused.
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        part.rename(path)
        self._new = state


def discard_parts(folders: Iterable[Path], pid: int) -> None:
    """Remove unfinished files and folders of a process of this run that has died."""
    for folder in folders:
        for part in folder.glob(f"{part_begin(pid)}*{PART_SUFFIX}"):
            with contextlib.suppress(OSError):
                remove(part)
