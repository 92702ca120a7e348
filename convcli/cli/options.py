"""Rows of :data:`convcli.pipeline.request.OPTIONS` as a command line that is read without Typer.

Typer takes 30 ms to load and to read a line, a third of the time of ``apply`` for a small photograph. A line in which
every word is an input, a whole flag or a flag's value is read here; Typer reads all others, and reports every mistake.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from convcli.pipeline.request import OPTIONS, RunFlags

_BY_FLAG = {flag: row for row in OPTIONS for flag in (row.flag, row.short) if flag}


class ApplyCall(NamedTuple):
    """A command line of ``apply``: names of inputs, arguments of ``parse_request``, and how the batch runs."""

    words: Sequence[str]
    flags: Mapping[str, object]
    run: RunFlags


def make_call(inputs: Sequence[str] | None, values: Mapping[str, Any]) -> ApplyCall:
    """Return the call of inputs and flags by key; ``None`` and ``False`` mean that a flag was not given."""
    given = {key: value for key, value in values.items() if value is not None and value is not False}
    given["kernels"] = tuple(given.get("kernels", ()))
    run = RunFlags(**{key: given.pop(key) for key in RunFlags._fields if key in given})
    return ApplyCall(list(inputs or ()), given, run)


def read_plain(arguments: Sequence[str]) -> ApplyCall | None:
    """Return the call that the arguments of ``apply`` state; ``None`` if Typer has to read them.

    Examples
    --------
    >>> call = read_plain(["cat.png", "-k", "sobel", "--stride=2", "-q"])
    >>> call.words, call.flags["kernels"], call.flags["stride"], call.run.quiet
    (['cat.png'], ('sobel',), '2', True)
    >>> read_plain(["cat.png", "--help"]) is None
    True
    """
    inputs: list[str] = []
    values: dict[str, Any] = {}
    rest = iter(arguments)
    for word in rest:
        if word == "-" or not word.startswith("-"):
            inputs.append(word)
            continue
        flag, equals, value = word.partition("=")
        row = _BY_FLAG.get(flag)
        if row is None or (equals and (row.kind is bool or flag == row.short)):
            return None
        if row.kind is bool:
            values[row.key] = True
            continue
        # A missing value becomes "--", which the next line leaves to Typer and its message.
        value = value if equals else next(rest, "--")
        if (value.startswith("-") and value != "-") or (row.kind is int and not _is_number(value)):
            return None
        if row.kind is list:
            values[row.key] = (*values.get(row.key, ()), value)
        else:
            values[row.key] = row.kind(value)
    return make_call(inputs, values)


def command_line(words: Sequence[str | os.PathLike[str]], flags: Mapping[str, Any]) -> str:
    """Return the command of names of inputs and of flags by field; ``None`` and ``False`` are flags not given.

    Examples
    --------
    >>> command_line(["my cat.png"], {"kernels": ("sobel", "box"), "stride": "2", "bias": "-1", "quiet": True})
    "convcli apply 'my cat.png' -k sobel -k box --stride 2 --bias=-1 -q"
    """
    import shlex

    names = [os.fspath(word) for word in words]
    parts: list[str] = []
    for row in OPTIONS:
        value, flag = flags.get(row.key), row.short or row.flag
        if value is None or value is False:
            continue
        if row.kind is bool:
            parts.append(flag)
            continue
        for text in map(str, value if row.kind is list and not isinstance(value, str) else [value]):
            # A value that looks like a flag goes with its own, by the long name.
            parts += [f"{row.flag}={text}"] if text.startswith("-") and text != "-" else [flag, text]
    # Names that look like flags stand behind a mark that ends the flags.
    tell = [*parts, "--", *names] if any(one.startswith("-") and one != "-" for one in names) else [*names, *parts]
    return shlex.join(["convcli", "apply", *tell])


def _is_number(value: str) -> bool:
    # isdigit() takes superscripts, which int() does not read; 18 digits fit 64 bits.
    return value.isascii() and value.isdigit() and len(value) < 19
