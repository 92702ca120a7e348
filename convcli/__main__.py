"""``convcli`` and ``python -m convcli``: where a process starts and ends.

Both ends are tuned, for a shell loop pays them every time. Start-up makes a hundred thousand objects that all stay, and
looking through them for garbage takes 5 ms; taking them apart one by one at the end takes 20 ms more.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    gc.disable()  # a batch enables it again
    from convcli.cli import main as run

    try:
        run(owns_process=True)
    except SystemExit as stop:
        _leave(stop.code)


def _leave(code: str | int | None) -> None:
    """End the process at once: files are closed and threads joined by those who opened and started them."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or there never was one
            stream.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


if __name__ == "__main__":
    main()
