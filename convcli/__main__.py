"""``convcli`` and ``python -m convcli``: start and end of the process.

Every turn of a shell loop pays for both. Start-up makes a hundred thousand objects that all stay: searching them for
garbage takes 5 ms, and freeing them one by one at the end takes 20 ms more.
"""

from __future__ import annotations

import gc
import os
import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    # Before all other imports, within which a signal would be a traceback; Ctrl-C can come within this one too.
    try:
        from convcli.process import ending

        ending.catch()
    except KeyboardInterrupt:
        os.write(2, b"convcli: interrupted\n")
        os._exit(130)
    from convcli.process import system

    system.secure()
    gc.disable()  # a batch enables it again
    from convcli.cli import main as run

    try:
        run(owns_process=True)
    except SystemExit as stop:
        _leave(stop.code)


def _leave(code: str | int | None) -> None:
    """Flush and end the process at once; by now files are closed and threads have ended."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError, AttributeError):
            continue
    # A text in place of a code means 1 and no code 0, as for sys.exit.
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


if __name__ == "__main__":
    main()
