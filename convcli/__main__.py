"""``convcli`` and ``python -m convcli``: where a process starts."""

from __future__ import annotations

import gc

#: Start-up makes a hundred thousand objects that all stay: looking through them for garbage takes a tenth of it.
GC_THRESHOLD = 100_000


def main() -> None:
    """Run the command line and leave with its exit code."""
    gc.set_threshold(GC_THRESHOLD, 20, 100)
    from convcli.cli import main as run

    run()


if __name__ == "__main__":
    main()
