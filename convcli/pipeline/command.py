"""The line of ``convcli apply`` that does what a call asked for, for reports."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from convcli.pipeline.request import OPTIONS


def command_line(words: Sequence[str | os.PathLike[str]], flags: Mapping[str, Any]) -> str:
    """Return the command of names of inputs and of flags by field; ``None`` and ``False`` are flags not given.

    Examples
    --------
    >>> command_line(["my cat.png"], {"kernels": ("sobel", "box"), "stride": "2", "bias": "-1", "quiet": True})
    "convcli apply 'my cat.png' -k sobel -k box --stride 2 --bias=-1 -q"
    """
    names = [os.fspath(word) for word in words]
    parts: list[str] = []
    for row in OPTIONS:
        value, flag = flags.get(row.key), row.short or row.flag
        if value is None or value is False:
            continue
        if row.kind is bool:
            parts.append(flag)
            continue
        for text in map(_text, value if row.kind is list and not isinstance(value, str) else [value]):
            # A value that looks like a flag goes with its own, by the long name.
            parts += [f"{row.flag}={text}"] if text.startswith("-") and text != "-" else [flag, text]
    # Names that look like flags stand behind a mark that ends the flags.
    tell = [*parts, "--", *names] if any(one.startswith("-") and one != "-" for one in names) else [*names, *parts]
    return shlex.join(["convcli", "apply", *tell])


def _text(value: object) -> str:
    return os.fspath(value) if isinstance(value, os.PathLike) else str(value)
