"""Frames and pages: which of a file's are meant, each an input by itself."""

from __future__ import annotations

from dataclasses import replace

from convcli.errors import UsageError
from convcli.naming import InputFile


def parse_frames(text: str, n_frames: int) -> tuple[int, ...]:
    """Return the frames that ``--frames`` means: ``all``, ``first``, ``3``, ``2-5``, ``0,4,8-``; counted from 0.

    Raises
    ------
    UsageError
        It does not parse, or names a frame that the file does not have.

    Examples
    --------
    >>> parse_frames("all", 3), parse_frames("1-", 4), parse_frames("0,2", 3)
    ((0, 1, 2), (1, 2, 3), (0, 2))
    """
    word = text.strip().lower()
    if word == "all":
        return tuple(range(n_frames))
    if word == "first":
        return (0,)
    frames: list[int] = []
    for part in word.split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        if not first.isdecimal() or (dash and last and not last.isdecimal()):
            raise UsageError(f"--frames {text!r}: {part!r} is not a frame", hint="all, first, 3, 2-5 or 0,4,8-")
        end = (int(last) if last else n_frames - 1) if dash else int(first)
        if end >= n_frames or int(first) > end:
            raise UsageError(
                f"--frames {text!r}: there is no {part!r} in {n_frames} frames", hint=f"0 to {n_frames - 1}"
            )
        frames += range(int(first), end + 1)
    return tuple(dict.fromkeys(frames))


def split_frames(source: InputFile, n_frames: int, frames: str | None) -> list[InputFile]:
    """Return one input per frame that is meant; a file of one frame is itself."""
    if n_frames == 1 and frames in (None, "all", "first"):
        return [source]
    return [replace(source, frame=frame) for frame in parse_frames(frames or "all", n_frames)]
