"""Names from users and files, made safe to be part of a file name."""

from __future__ import annotations

import re
from collections.abc import Iterable

_RESERVED = frozenset(
    ["con", "prn", "aux", "nul", *(f"com{digit}" for digit in "0123456789"), *(f"lpt{digit}" for digit in "0123456789")]
)
_LONGEST = 80


def safe_name(text: str) -> str:
    """Return a file-name part made from ``text``: never a path, never reserved, never empty.

    Letters, digits and ``. _ = + @`` stay; every run of anything else becomes one ``-``. Leading dots and dashes go,
    names that Windows keeps for devices get an underscore, and at most 80 characters are left.

    Parameters
    ----------
    text : str
        Any text, for example a kernel's name from a file.

    Returns
    -------
    str
        A name that is one path component on every common file system.

    Examples
    --------
    >>> safe_name("../../x"), safe_name("a/b"), safe_name("con"), safe_name("")
    ('x', 'a-b', 'con_', 'kernel')
    >>> safe_name("gaussian:sigma=2,size=9")
    'gaussian-sigma=2-size=9'
    """
    kept = re.sub(r"[^\w.=+@]+", "-", text, flags=re.UNICODE)
    kept = re.sub(r"\.{2,}", ".", kept)[:_LONGEST].strip(".- ")
    stem = kept.split(".", 1)[0].lower()
    if stem in _RESERVED:
        kept = stem + "_" + kept[len(stem) :]
    return kept or "kernel"


def unique_names(names: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Make names different by numbers where they would become the same file, upper and lower case alike.

    Returns
    -------
    tuple of (tuple of str, tuple of str)
        The names, all different as files, and one note for each that had to be renamed.

    Examples
    --------
    >>> unique_names(["x", "X", "a/b"])
    (('x', 'X-2', 'a/b'), ("kernel 2 is named 'X-2': 'X' would be the same file as an earlier kernel",))
    """
    taken: set[str] = set()
    result: list[str] = []
    notes: list[str] = []
    for index, name in enumerate(names):
        candidate, number = name, 1
        while safe_name(candidate).casefold() in taken:
            number += 1
            candidate = f"{name[:60]}-{number}"
        if number > 1:
            notes.append(
                f"kernel {index + 1} is named '{candidate}': '{name}' would be the same file as an earlier kernel"
            )
        taken.add(safe_name(candidate).casefold())
        result.append(candidate)
    return tuple(result), tuple(notes)
