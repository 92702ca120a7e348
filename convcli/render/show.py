"""Results drawn in the terminal: as pictures where it can, as half blocks of colour elsewhere (Rich).

Pictures are kitty's and iTerm2's protocols, and sixels. A terminal is asked what it speaks in two ways that disturb
nobody: by what it writes into the environment of its programs, and by the question for its attributes (DA1), which
every terminal since the VT100 answers.
"""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convcli.images.reading import read
from convcli.images.write import write_picture
from convcli.pipeline.report import printable
from convcli.render.text import columns, say, takes_colours

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
#: Seconds to wait for a terminal's answer; those that answer do so within a few milliseconds.
ANSWER_S = 0.2
#: Bytes of base64 in one message of kitty's protocol.
_CHUNK = 4096
#: Levels of red, green and blue in the palette of sixels, which has 252 colours.
_LEVELS = (6, 7, 6)
#: Thresholds of an ordered dither (Bayer, 4 x 4), 0 to 1.
_DITHER = (np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]) + 0.5) / 16


def show_outputs(report: Mapping[str, Any]) -> None:
    """Draw the pictures that a report lists: one large, several in rows under one another, each with its name."""
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


def protocol(environment: Mapping[str, str] = os.environ) -> str:
    """Return ``kitty``, ``iterm2`` or ``sixel``, whichever the terminal says it speaks; else an empty text.

    Examples
    --------
    >>> protocol({"TERM": "xterm-kitty"}), protocol({"TERM_PROGRAM": "iTerm.app"})
    ('kitty', 'iterm2')
    """
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    # A multiplexer hands the environment of its terminal on, but not the pictures.
    if not environment.keys() & {"TMUX", "STY"} and not term.startswith(("screen", "tmux")):
        if "kitty" in term or "KITTY_WINDOW_ID" in environment or "ghostty" in (term, program):
            return "kitty"
        if program in ("iTerm.app", "WezTerm", "vscode") or environment.get("LC_TERMINAL") == "iTerm2":
            return "iterm2"
    return "sixel" if "4" in _attributes() else ""


def _attributes() -> list[str]:
    """Return the attributes that the terminal claims to have; 4 is sixel graphics."""
    try:
        import termios
        import tty
        from select import select
    except ImportError:  # not a POSIX system
        return []
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return []
    answer = b""
    try:
        before = termios.tcgetattr(terminal)
        tty.setcbreak(terminal)
        try:
            os.write(terminal, b"\x1b[c")
            while not re.search(rb"\x1b\[\?[0-9;]*c", answer) and select([terminal], [], [], ANSWER_S)[0]:
                answer += os.read(terminal, 64)
        finally:
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)
    except (OSError, termios.error):
        return []
    finally:
        os.close(terminal)
    found = re.search(rb"\x1b\[\?([0-9;]*)c", answer)
    return found[1].decode().split(";")[1:] if found else []


def encoded(picture: NDArray[np.uint8], name: str, columns: int) -> str:
    """Return the text that draws a picture (H, W, 3) over so many columns by a protocol.

    Parameters
    ----------
    picture : ndarray
        For sixels in the terminal's own pixels.
    name : {"kitty", "iterm2", "sixel"}
    """
    if name == "sixel":
        return sixels(picture)
    file = io.BytesIO()
    write_picture(file, picture, picture_format="png")
    data = base64.standard_b64encode(file.getvalue()).decode()
    if name == "iterm2":
        size = f"size={len(file.getvalue())};width={columns};height=auto;preserveAspectRatio=1"
        return f"\x1b]1337;File=inline=1;{size}:{data}\x07"
    parts = [data[at : at + _CHUNK] for at in range(0, len(data), _CHUNK)]
    # q=2: no answer, which would arrive as if it had been typed.
    first = f"a=T,f=100,q=2,c={columns},"
    last = len(parts) - 1
    return "".join(
        f"\x1b_G{first if index == 0 else ''}m={int(index < last)};{part}\x1b\\" for index, part in enumerate(parts)
    )


def sixels(picture: NDArray[np.uint8]) -> str:
    r"""Return a picture (H, W, 3) as sixels: bands of six rows, in each a line of characters for each colour.

    Examples
    --------
    >>> sixels(np.full((6, 5, 3), 255, np.uint8))
    '\x1bP0;1q"1;1;5;6#251;2;100;100;100#251!5~$-\x1b\\'
    """
    height, width, _ = picture.shape
    threshold = np.tile(_DITHER, (height // 4 + 1, width // 4 + 1))[:height, :width, None]
    steps = np.array(_LEVELS) - 1
    parts = np.minimum(np.floor(picture / 255 * steps + threshold), steps).astype(int)
    indexes = (parts[..., 0] * _LEVELS[1] + parts[..., 1]) * _LEVELS[2] + parts[..., 2]
    used = np.unique(indexes).tolist()
    lines = []
    for index in used:
        levels = np.array([index // (_LEVELS[1] * _LEVELS[2]), index // _LEVELS[2] % _LEVELS[1], index % _LEVELS[2]])
        red, green, blue = np.rint(levels * 100 / steps).astype(int).tolist()
        lines.append(f"#{index};2;{red};{green};{blue}")
    for top in range(0, height, 6):
        band = indexes[top : top + 6]
        weights = 1 << np.arange(len(band))[:, None]
        for index in np.unique(band).tolist():
            bits = ((band == index) * weights).sum(axis=0) + 63
            row = bits.astype(np.uint8).tobytes().decode("ascii")
            # Runs are counted: most of a colour's line is empty.
            lines.append(f"#{index}" + re.sub(r"(.)\1{3,}", lambda run: f"!{len(run[0])}{run[1]}", row) + "$")
        lines.append("-")
    return f'\x1bP0;1q"1;1;{width};{height}' + "".join(lines) + "\x1b\\"
