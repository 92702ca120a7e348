"""Disks that differ: those without hard links, and those where names are the same in capitals."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from pathlib import Path

#: renameat2(2) of Linux, renamex_np(2) of macOS: relative to the current folder; fail where the new name exists.
_AT_FDCWD, _RENAME_NOREPLACE, _RENAME_EXCL = -100, 1, 4


def rename_without_link(part: Path, path: Path) -> None:
    """Rename a file unless something has the new name, on a disk without hard links."""
    if not _renamed(part, path):
        _claim(part, path)


def _renamed(part: Path, path: Path) -> bool:
    """Rename with a system call that refuses a name that exists; return whether there is such a call for this disk."""
    if sys.platform == "win32":
        part.rename(path)  # which refuses an existing name there
        return True
    import ctypes

    library = ctypes.CDLL(None, use_errno=True)
    old, new = os.fsencode(part), os.fsencode(path)
    if hasattr(library, "renameat2"):
        code = library.renameat2(_AT_FDCWD, old, _AT_FDCWD, new, _RENAME_NOREPLACE)
    elif hasattr(library, "renamex_np"):
        code = library.renamex_np(old, new, _RENAME_EXCL)
    else:
        return False
    if code and ctypes.get_errno() == errno.EEXIST:
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
    return not code


def _claim(part: Path, path: Path) -> None:
    """Make an empty file of that name, which fails where there is one, and replace it."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    try:
        part.replace(path)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def folds_case(folder: Path) -> bool:
    """Return whether names in a folder, which need not exist yet, are the same in capitals.

    The folder is asked by a name in it, or by its own, and its parents where neither has a letter; nothing is written.

    Examples
    --------
    >>> folds_case(Path("examples/none/yet"))
    False
    """
    for place in (folder, *folder.absolute().parents):
        if not os.path.isdir(place):  # noqa: PTH112 - no exception
            continue
        with contextlib.suppress(OSError), os.scandir(place) as entries:
            name = next((entry.name for entry in entries if entry.name != entry.name.swapcase()), None)
            if name is not None:
                return _is_same(place / name)
        if place.name != place.name.swapcase():
            return _is_same(place)
    return False


def _is_same(path: Path) -> bool:
    """Return whether a file has its name in the other case too."""
    with contextlib.suppress(OSError):
        return os.path.samefile(path, path.with_name(path.name.swapcase()))  # noqa: PTH121
    return False
