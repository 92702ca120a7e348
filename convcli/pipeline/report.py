"""Reports as plain data: one dict per image, written as JSON, CSV, Markdown or HTML by ``convcli.render``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence


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
    """Return ``value`` as JSON text in ASCII, which any stream takes; one line unless ``indent`` is given.

    Examples
    --------
    >>> to_json({"stride": (2, 2)})
    '{"stride": [2, 2]}'
    """
    return json.dumps(plain(value), indent=indent, allow_nan=False)
