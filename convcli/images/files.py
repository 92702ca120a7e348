"""Files that appear whole or not at all, under names that nothing else has.

A file is written under a temporary name. :meth:`TargetFile.commit` gives it its own name in one step, which the system
refuses where something of that name exists: whoever made it, and when. So of two runs that write one name, one fails.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from convcli.errors import OutputError
from convcli.process import ending

#: Temporary files end so; a run that was killed leaves them, the next one may remove them.
PART_SUFFIX = ".convcli-part"
#: Files that this process has begun, for a signal that comes at any step.
_begun: set[Path] = set()
#: Marks this run's parts; processes that are forked have the same.
_RUN = os.urandom(4).hex()
#: How often a folder is made again that another run removes, empty, before a file is in it.
_TRIES = 5


class FileState(NamedTuple):
    """A file as it was at some time: another file of that name, or other content, has another state."""

    device: int
    inode: int
    n_bytes: int
    mtime_ns: int

    @classmethod
    def of(cls, path: str | os.PathLike[str], *, follow: bool = True) -> FileState:
        """Return the state of the file that has this name now; raises ``OSError`` where there is none."""
        found = Path(path).stat(follow_symlinks=follow)
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)

    def change(self, now: FileState) -> str:
        """Return what differs, in words; empty if nothing does.

        Examples
        --------
        >>> FileState(1, 2, 300, 0).change(FileState(1, 2, 400, 5))
        'it had 300 bytes and has 400'
        """
        if self.n_bytes != now.n_bytes:
            return f"it had {self.n_bytes} bytes and has {now.n_bytes}"
        if self[:2] != now[:2]:
            return "it is another file of the same name"
        return "" if self == now else "it was written to"


class TargetFile:
    """A file that appears under its own name only when :meth:`commit` is called.

    Parameters
    ----------
    target : path or binary file
        A path is written atomically; an open file (standard output) is written to directly and left open.
    overwrite : bool
        Whether it may replace any file of that name.
    replaces : FileState, optional
        The one file that it may replace, as it was when that was decided.
    makes_folder : bool
        Whether the folder is made where there is none.

    Raises
    ------
    OutputError
        The folder does not exist, cannot be written, or the disk is full.
    """

    #: Fields of a state by which :meth:`discard` knows its own file again.
    _same = slice(None)

    def __init__(
        self,
        target: str | os.PathLike[str] | BinaryIO,
        *,
        overwrite: bool = False,
        replaces: FileState | None = None,
        makes_folder: bool = False,
    ) -> None:
        self.path: Path | None = Path(target) if isinstance(target, (str, os.PathLike)) else None
        self._part: Path | None = None
        self._overwrite, self._replaces = overwrite, replaces
        #: The file, once it has its name and nothing was replaced by it.
        self._new: FileState | None = None
        if self.path is None:
            self.file: BinaryIO = target  # type: ignore[assignment]
            return
        self._part = part_name(self.path)
        _begun.add(self._part)
        with self.explained():
            self._begin(self._part, makes_folder)

    def _begin(self, part: Path, makes_folder: bool) -> None:
        self.file = _open_new(part, makes_folder)

    @property
    def is_seekable(self) -> bool:
        """Whether earlier bytes can be changed later."""
        return self.file.seekable()

    def commit(self) -> None:
        """Give the file its name.

        Raises
        ------
        OutputError
            Something of that name exists and may not be replaced, or the folder is gone; nothing is left of the file.
        """
        if self._part is None or self.path is None:
            with self.explained():
                self.file.flush()
            return
        try:
            with self.explained():
                self.file.close()
            with _placing(self.path):
                self._place(self._part, self.path)
        except BaseException:
            self.discard()
            raise
        _begun.discard(self._part)
        self._part = None

    def _place(self, part: Path, path: Path) -> None:
        if self._overwrite:
            part.replace(path)
            return
        if self._replaces is not None:
            with contextlib.suppress(FileNotFoundError):
                if FileState.of(path, follow=False) == self._replaces:
                    part.replace(path)
                    return
        state = FileState.of(part)
        give_new_name(part, path)
        self._new = state

    def discard(self) -> None:
        """Remove what was written: the unfinished file, or after :meth:`commit` the one that replaced none."""
        if self._part is not None:
            with contextlib.suppress(OSError):
                self.file.close()
            with contextlib.suppress(OSError):
                remove(self._part)
            _begun.discard(self._part)
            self._part = None
        if self._new is not None and self.path is not None:
            with contextlib.suppress(OSError):
                if FileState.of(self.path, follow=False)[self._same] == self._new[self._same]:
                    remove(self.path)
            self._new = None

    def explained(self) -> contextlib.AbstractContextManager[None]:
        """Turn an ``OSError`` inside the ``with`` into an ``OutputError``, as :func:`explained`."""
        return explained(self.path)


def _open_new(part: Path, makes_folder: bool) -> BinaryIO:
    for _ in range(_TRIES if makes_folder else 0):
        part.parent.mkdir(parents=True, exist_ok=True)
        # Another run that fails removes the folders that it has made, if they are empty.
        with contextlib.suppress(FileNotFoundError):
            return part.open("xb")
    return part.open("xb")


@contextlib.contextmanager
def _placing(path: Path) -> Iterator[None]:
    """Turn errors of giving a file its name into an ``OutputError``."""
    try:
        with explained(path):
            yield
    except OutputError as error:
        if isinstance(error.__cause__, FileExistsError):
            raise OutputError(
                f"{path} exists: it was made while this run was at work",
                hint="--overwrite replaces it; two runs at once need names or folders of their own",
                n_existing=1,
            ) from None
        if isinstance(error.__cause__, FileNotFoundError):
            raise vanished(path) from None
        raise


def vanished(path: Path) -> OutputError:
    """Return the failure of a file whose folder was removed or renamed under it."""
    return OutputError(f"{path} is gone: it, or its folder, was removed or renamed meanwhile", hint="run it again")


@contextlib.contextmanager
def explained(path: Path | None) -> Iterator[None]:
    """Turn an ``OSError`` of writing ``path`` into an ``OutputError`` with a hint."""
    try:
        yield
    except OSError as error:
        from convcli.images.failures import explain_writing

        raise explain_writing(error, path) from error


@contextlib.contextmanager
def opened_target(target: str | os.PathLike[str] | BinaryIO | TargetFile) -> Iterator[TargetFile]:
    """Open a file to write; an error inside the ``with`` removes it."""
    file = target if isinstance(target, TargetFile) else TargetFile(target)
    try:
        with file.explained():
            yield file
    except BaseException:
        file.discard()
        raise


def fill(file: TargetFile, data: bytes) -> None:
    """Write the whole content of a file and give it its name; an error removes it."""
    with opened_target(file):
        file.file.write(data)
    file.commit()


def save_bytes(path: Path, data: bytes, *, overwrite: bool = False, makes_folder: bool = False) -> None:
    """Write a file whole or not at all.

    Raises
    ------
    OutputError
        It exists and may not be replaced, its folder cannot be written, or the disk is full.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder", hint="name a file", path=str(path))
    # Said early and in other words than of a file that appears while this one is written.
    if not overwrite and os.path.lexists(path):
        raise OutputError(f"{path} exists", hint="--overwrite, or another name", path=str(path))
    fill(TargetFile(path, overwrite=overwrite, makes_folder=makes_folder), data)


def give_new_name(part: Path, path: Path) -> None:
    """Rename a file unless something has the new name; atomic, and safe against every other program.

    Hard links do it on most disks, a system call on others. Where neither works (some network and FUSE disks) an empty
    file claims the name first: a process that is killed in that moment leaves it, empty, and no content is lost.

    Raises
    ------
    FileExistsError
        Something has that name.
    """
    try:
        os.link(part, path)
    except FileExistsError:
        # NFS may repeat a request that was carried out: then the name exists and is this file's.
        if os.stat(part).st_nlink < 2 or not os.path.samestat(os.lstat(path), os.lstat(part)):  # noqa: PTH116
            raise
    except FileNotFoundError:
        raise
    except OSError:
        from convcli.images.rename import rename_without_link

        rename_without_link(part, path)
        return
    part.unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Remove a file or a folder with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        import shutil

        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def part_name(path: Path) -> Path:
    """Return a temporary name beside a file: two runs never share one, and it is short, as long names stay valid."""
    return path.with_name(f"{part_begin(os.getpid())}{os.urandom(3).hex()}{PART_SUFFIX}")


def _discard_begun() -> None:
    for part in tuple(_begun):
        with contextlib.suppress(OSError):
            remove(part)


ending.at_end(_discard_begun)


def part_begin(pid: int) -> str:
    """Return how the names of unfinished files of a process of this run begin."""
    return f".{_RUN}-{pid}-"
