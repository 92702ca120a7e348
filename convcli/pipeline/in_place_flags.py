"""Flags of replacing inputs: their values, the names that they mean, and the flags that they exclude."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convcli.errors import UsageError

#: The end of a ``--name`` whose outputs have the suffix, and so the format, of their input.
SUFFIX_END = ".{suffix}"


def place_of(path: Path) -> Path:
    """Return the file to replace: a link stays, and the file that it names is replaced."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def backup_of(request: Any, path: Path) -> Path | None:
    """Return the name under which the old file stays, if it does."""
    return None if request.backup is None else path.with_name(f"{path.name}{request.backup}")


def parse_backup(text: str) -> str:
    """Return the end of a backup's name.

    Raises
    ------
    UsageError
        It would lead to another folder, or to the file itself.

    Examples
    --------
    >>> parse_backup(".orig")
    '.orig'
    """
    if not text.strip(". ") or any(mark in text for mark in ("/", "\\", "\0")):
        raise UsageError(f"--backup {text!r} is no end of a name", hint="--backup .orig, or --backup '~'")
    return text


def contradictions(request: Any) -> Sequence[tuple[object, str, str]]:
    """Return what contradicts ``--in-place`` and ``--backup``: whether it holds, the message, the hint.

    ``request`` is an ``ApplyRequest``.
    """
    asked = request.in_place
    others = {
        "-o": request.is_one_file,
        "--out-dir": request.out_dir != Path() or request.out_url,
        "--name": request.name is not None,
        "--format": request.format is not None,
        "--skip-existing": request.skip_existing,
        "--frames": request.frames not in (None, "all"),
    }
    named = next((flag for flag, given in others.items() if given), "")
    return (
        (asked and named, f"--in-place and {named} exclude each other", "keep one of them"),
        (asked and request.layout not in (None, "picture"), f"--in-place writes no {request.layout}", "no --layout"),
        (request.backup is not None and not asked, "--backup is for --in-place", "add --in-place"),
    )
