"""Reports as plain data: one dict per image, written as JSON, CSV, Markdown or HTML by ``convcli.render``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from convcli.errors import OutputError


def printable(text: str) -> str:
    r"""Return ``text`` with control characters as escapes, so that a file name cannot drive the terminal.

    Examples
    --------
    >>> printable("a\x1b[31m b\n")
    'a\\x1b[31m b\\n'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def plain(value: object) -> object:
    """Return ``value`` as JSON types: NumPy scalars and paths become numbers and text, NaN and inf become text.

    Examples
    --------
    >>> plain({"shape": (3, 4), "mean": float("nan")})
    {'shape': [3, 4], 'mean': 'nan'}
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence | set | frozenset):
        return [plain(item) for item in value]
    item = getattr(value, "item", None)
    return plain(item()) if callable(item) else str(value)


def to_json(value: object, *, indent: int | None = None) -> str:
    """Return ``value`` as JSON text; one line unless ``indent`` is given.

    Examples
    --------
    >>> to_json({"stride": (2, 2)})
    '{"stride": [2, 2]}'
    """
    return json.dumps(plain(value), indent=indent, ensure_ascii=False, allow_nan=False)


def save_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all: under a temporary name, then renamed.

    Raises
    ------
    OutputError
        The folder cannot be made or written, or the disk is full.
    """
    partial = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8", errors="surrogateescape")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OutputError(f"{path}: {error.strerror}", hint="check the folder and the space left") from None
