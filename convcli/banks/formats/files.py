"""Writing one kernel file whole or not at all, and looking a file over (stdlib until a reader is needed)."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from convcli.errors import OutputError


def write_whole(path: Path, data: bytes, *, overwrite: bool) -> None:
    """Write a file by way of a temporary one beside it.

    Raises
    ------
    OutputError
        It exists and may not be overwritten, or it cannot be written.
    """
    if path.is_dir():
        raise OutputError(f"{path} is a folder", hint="name a file", path=str(path))
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists", hint="--overwrite, or another name", path=str(path))
    name = ""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name[:40]}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)  # noqa: PTH101 - mkstemp makes it private
        os.replace(name, path)  # noqa: PTH105
    except OSError as error:
        if name:
            with contextlib.suppress(OSError):
                os.unlink(name)  # noqa: PTH108
        raise OutputError(f"cannot write {path}: {error.strerror or error}", path=str(path)) from None
