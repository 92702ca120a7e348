"""Pictures as the bytes that draw them on a terminal: kitty's and iTerm2's protocols, and sixels.

A terminal is asked what it speaks in two ways that disturb nobody: by what it writes into the environment of its
programs, and by the question for its attributes (DA1), which every terminal since the VT100 answers.
"""

from __future__ import annotations

import base64
import io
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Seconds to wait for a terminal's answer; those that answer do so within a few milliseconds.
ANSWER_S = 0.2
#: Bytes of base64 in one message of kitty's protocol.
_CHUNK = 4096
#: Levels of red, green and blue in the palette of sixels, which has 252 colours.
_LEVELS = (6, 7, 6)
#: Thresholds of an ordered dither (Bayer, 4 x 4), 0 to 1.
_DITHER = (np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]]) + 0.5) / 16


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
    from convcli.images.write import write_picture

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
