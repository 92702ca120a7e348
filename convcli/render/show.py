"""Results drawn in the terminal: as pictures where it can, as half blocks of colour elsewhere (Rich)."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convcli.pipeline.report import printable
from convcli.process.system import columns, takes_colours
from convcli.render.messages import say

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Maps that are drawn, and the columns that each of several has at least.
MOST_SHOWN, LEAST_WIDE = 6, 38
#: Columns that all of them take at most, and those between two.
_WIDEST, _GAP = 120, 2
#: Letters from dark to bright, for terminals without colours.
_RAMP = " .:-=+*#%@"
#: Pixels of a column where a terminal does not tell.
_CELL_PX = 10


def show_outputs(report: Mapping[str, Any]) -> None:
    """Draw the pictures that a report lists: one large, several in rows under one another, each with its name."""
    from convcli.render.graphics import protocol

    outputs = report["outputs"]
    shown = outputs[:MOST_SHOWN]
    names = {one["path"]: one["name"] for one in report["maps"]}
    room = min(columns() or _WIDEST, _WIDEST)
    across = max(1, min(len(shown), (room + _GAP) // (LEAST_WIDE + _GAP)))
    width = (room - _GAP * (across - 1)) // across
    spoken = protocol() if takes_colours() else ""
    for at in range(0, len(shown), across):
        row = shown[at : at + across]
        draw_row([load_picture(Path(one["path"])) for one in row], width, spoken)
        if len(shown) > 1:
            labels = [printable(names.get(one["path"], ""))[:width].ljust(width) for one in row]
            say((" " * _GAP).join(labels).rstrip())
    if len(outputs) > len(shown):
        say(f"... and {len(outputs) - len(shown)} more maps")


def load_picture(path: Path) -> NDArray[np.uint8]:
    """Return a picture file as red, green and blue, (H, W, 3); what is transparent is black."""
    from convcli.images.reading import read

    image = read(path)
    samples = np.asarray(image.samples, np.float32) / image.info.white
    names = image.info.plane_names
    if names[-1] == "a":
        samples = samples[..., :-1] * samples[..., -1:]
    samples = samples[..., :3] if samples.shape[2] >= 3 else samples[..., :1]
    whole = np.broadcast_to(np.clip(np.nan_to_num(samples), 0, 1), (*samples.shape[:2], 3))
    picture: NDArray[np.uint8] = np.rint(whole * 255).astype(np.uint8)
    return picture


def draw_row(pictures: Sequence[NDArray[np.uint8]], width: int, spoken: str) -> None:
    """Draw pictures side by side, each over ``width`` columns, by the protocol that the terminal speaks, if any."""
    from convcli.render.graphics import encoded

    # Half a column is as high as it is wide: two samples stand in one letter.
    across = width if not spoken else width * _column_px()
    gap = _GAP if not spoken else _GAP * _column_px()
    height = max(ceil(across * one.shape[0] / one.shape[1]) for one in pictures)
    made = [resized(one, max(1, round(across * one.shape[0] / one.shape[1])), across) for one in pictures]
    row = np.zeros((height, across * len(made) + gap * (len(made) - 1), 3), np.uint8)
    for index, one in enumerate(made):
        left = index * (across + gap)
        row[: len(one), left : left + across] = one[:height]
    if spoken:
        say(encoded(row, spoken, width * len(made) + _GAP * (len(made) - 1)))
    elif takes_colours():
        _draw_blocks(row)
    else:
        say(letters(row))


def _column_px() -> int:
    """Return how many pixels wide a column of the terminal is."""
    try:
        import fcntl
        import struct
        import termios

        _, n_columns, width_px, _ = struct.unpack(
            "HHHH", fcntl.ioctl(sys.stdout.fileno(), termios.TIOCGWINSZ, b"\0" * 8)
        )
    except (ImportError, OSError):
        return _CELL_PX
    return max(1, width_px // n_columns) if width_px and n_columns else _CELL_PX


def resized(picture: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Return a picture (H, W, 3) in another size: means of the samples of each cell, or samples repeated.

    Examples
    --------
    >>> resized(np.uint8([[[0] * 3, [100] * 3, [50] * 3, [60] * 3]]), 1, 2)[0, :, 0].tolist()
    [50, 55]
    """
    for axis, size in ((0, height), (1, width)):
        edges = np.arange(size) * picture.shape[axis] // size
        if size >= picture.shape[axis]:
            picture = picture.take(edges, axis=axis)
            continue
        counts = np.diff(edges, append=picture.shape[axis])
        sums = np.add.reduceat(picture, edges, axis=axis, dtype=np.float32)
        picture = np.rint(sums / (counts[:, None, None] if axis == 0 else counts[:, None])).astype(np.uint8)
    return picture


def _draw_blocks(row: NDArray[np.uint8]) -> None:
    """Draw two samples in each letter: the upper one as its ink, the lower one as its paper."""
    from rich.color import Color
    from rich.console import Console
    from rich.segment import Segment, Segments
    from rich.style import Style

    rows = row.tolist()
    segments = []
    for top in range(0, len(rows), 2):
        papers = rows[top + 1] if top + 1 < len(rows) else [None] * len(rows[top])
        for ink, paper in zip(rows[top], papers, strict=True):
            below = None if paper is None else Color.from_rgb(*paper)
            segments.append(Segment("▀", Style(color=Color.from_rgb(*ink), bgcolor=below)))
        segments.append(Segment.line())
    # soft_wrap: a line is as wide as was asked for.
    Console(soft_wrap=True, width=shutil.get_terminal_size().columns).print(Segments(segments), end="")


def letters(row: NDArray[np.uint8]) -> str:
    """Return a picture as letters from dark to bright, for terminals without colours.

    Examples
    --------
    >>> letters(np.uint8([[[0] * 3, [255] * 3]] * 2))
    ' @'
    """
    grey = row @ np.array([0.299, 0.587, 0.114])
    grey = grey[: len(grey) // 2 * 2].reshape(-1, 2, grey.shape[1]).mean(axis=1)
    places = np.minimum(grey / 255 * len(_RAMP), len(_RAMP) - 1).astype(int)
    return "\n".join("".join(_RAMP[place] for place in line).rstrip() for line in places.tolist())
