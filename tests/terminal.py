"""A terminal for tests: a process whose standard streams are one, of a given width."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

from conftest import REPOSITORY

#: Runs several command lines in one process, for each start takes a while.
SEVERAL = """
import sys
from convcli.cli import main
for command in {commands!r}:
    try:
        main(command)
    except SystemExit:
        print("=====", flush=True)
"""
#: Words of the environment that say what a terminal can do.
_TOLD = ("COLUMNS", "LINES", "NO_COLOR", "COLORTERM", "TERM_PROGRAM", "LC_TERMINAL", "KITTY_WINDOW_ID", "TMUX", "STY")


class Terminal:
    """A process at a terminal of its own, of so many columns; ``attributes`` is its answer to DA1."""

    def __init__(self, script: str, columns: int, cwd: Path, *, attributes: bytes = b"", **environment: str) -> None:
        self._own, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, columns * 10, 800))

        def take() -> None:
            os.setsid()
            fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)  # /dev/tty is then this terminal

        kept = {name: value for name, value in os.environ.items() if name not in _TOLD}
        path = {"PYTHONPATH": str(REPOSITORY), "TERM": "xterm-256color"}
        command = [sys.executable, "-c", script]
        streams = {"stdin": theirs, "stdout": theirs, "stderr": theirs}
        self._process = subprocess.Popen(
            command, **streams, cwd=cwd, env={**kept, **path, **environment}, preexec_fn=take
        )
        os.close(theirs)
        self._attributes, self._decoder = attributes, codecs.getincrementaldecoder("utf-8")()
        self.seen = ""

    def read(self, until: str | None = None) -> str:
        """Return what was shown, up to a word or to the end."""
        while until is None or until not in self.seen:
            try:
                data = os.read(self._own, 65536)
            except OSError:  # Linux: the other side is closed
                data = b""
            if not data:
                break
            if b"\x1b[c" in data and self._attributes:
                os.write(self._own, self._attributes)
            self.seen += self._decoder.decode(data).replace("\r\n", "\n")
        if until is None:
            self._process.wait()
            os.close(self._own)
        return self.seen


def show(
    commands: list[list[str]], columns: int, cwd: Path, *, attributes: bytes = b"", **environment: str
) -> list[str]:
    """Return what each command shows."""
    terminal = Terminal(SEVERAL.format(commands=commands), columns, cwd, attributes=attributes, **environment)
    return terminal.read().split("=====\n")[:-1]
