"""Progress of a batch on standard error: a bar on a terminal, plain lines elsewhere (Rich, only for the bar)."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import TYPE_CHECKING, Any

from convcli.report import printable

if TYPE_CHECKING:
    from convcli.batch import Outcome


class Progress:
    """Counts outcomes of a batch of ``total`` inputs; shows nothing unless ``shown``."""

    def __init__(self, total: int, *, shown: bool) -> None:
        self._total = total
        self._done = 0
        self._shown = shown
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if self._shown and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as RichProgress

            self._bar = RichProgress(
                TextColumn("convcli"),
                BarColumn(),
                MofNCompleteColumn(),
                TaskProgressColumn(show_speed=True),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("", total=self._total, rate="")
        return self

    def advance(self, outcome: Outcome) -> None:
        """Count one outcome."""
        self._done += 1
        if self._bar is not None:
            task = self._bar.tasks[0]
            rate = f"{task.finished_speed or task.speed or 0:.1f}/s"
            self._bar.update(self._task, advance=1, rate=rate)
        elif self._shown:
            state = "failed" if outcome.error else "left alone" if outcome.skipped else "done"
            sys.stderr.write(f"{self._done}/{self._total} {printable(outcome.source.label)}: {state}\n")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
