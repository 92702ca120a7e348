"""Which frames of a file ``--frames`` means."""

from __future__ import annotations

import re

from convcli.errors import UsageError

#: A frame, or a range of them whose end may be open; more digits are no frame of any file.
_PART = re.compile(r"([0-9]{1,9})(?:\s*(-)\s*([0-9]{1,9})?)?")
_HINT = "all, first, 3, 2-5 or 0,4,8-"


def check_frames(text: str) -> str:
    """Return ``--frames`` in its normal form, without knowing the file.

    Raises
    ------
    UsageError
        It does not parse, or a range runs backwards.

    Examples
    --------
    >>> check_frames(" All "), check_frames("0, 4,8-")
    ('all', '0,4,8-')
    """
    word = text.strip().lower()
    if word in ("all", "first"):
        return word
    return ",".join(f"{first}{dash}{last}" for first, dash, last in _parts(text))


def _parts(text: str) -> list[tuple[str, str, str]]:
    """Return (first, "-" or "", last or "") of every part between commas."""
    parts = []
    for part in text.split(","):
        found = _PART.fullmatch(part.strip())
        if found is None:
            raise UsageError(f"--frames {text!r}: {part!r} is not a frame", hint=_HINT)
        first, dash, last = found.group(1), found.group(2) or "", found.group(3) or ""
        if last and int(last) < int(first):
            raise UsageError(f"--frames {text!r}: {part!r} runs backwards", hint=f"{last}-{first}")
        parts.append((first, dash, last))
    return parts


def parse_frames(text: str, n_frames: int) -> tuple[int, ...]:
    """Return the frames that ``--frames`` means, counted from 0, each once and in the order of the file.

    Parameters
    ----------
    text : str
        ``all``, ``first``, ``3``, ``2-5``, ``0,4,8-``.
    n_frames : int
        Frames that the file has.

    Raises
    ------
    UsageError
        It does not parse, or names a frame that the file does not have.

    Examples
    --------
    >>> parse_frames("all", 3), parse_frames("1-", 4), parse_frames("2,0", 3)
    ((0, 1, 2), (1, 2, 3), (0, 2))
    """
    word = check_frames(text)
    if word == "all":
        return tuple(range(n_frames))
    if word == "first":
        return (0,)
    frames: set[int] = set()
    for first, dash, last in _parts(word):
        end = int(last) if last else n_frames - 1 if dash else int(first)
        if end >= n_frames or int(first) > end:
            count = f"has {n_frames} frames" if n_frames > 1 else "has one frame"
            raise UsageError(
                f"--frames {text!r}: there is no {first}{dash}{last}, the file {count}, counted from 0",
                hint=f"0 to {n_frames - 1}" if n_frames > 1 else "0, first or all",
            )
        frames.update(range(int(first), end + 1))
    return tuple(sorted(frames))
