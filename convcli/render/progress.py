"""Progress of a batch on standard error: a bar on a terminal, a line a minute elsewhere (Rich, only for the bar)."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from convcli.errors import EXIT_PARTIAL, ConvcliError
from convcli.pipeline.report import clip_messages, printable
from convcli.render.text import say

if TYPE_CHECKING:
    from convcli.pipeline.run import Outcome

#: The bar of a single input comes no sooner than that, in seconds.
START_S = 0.3
#: The bar is drawn no more often than that, in seconds.
REDRAW_S = 0.1
#: A log gets a line no more often than that, in seconds.
LINE_S = 60.0


class _Bar:
    """Rich's bar, from when it is begun to the end of the block; ``clock`` is another one in tests."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._started = self._told = clock()
        self._bar: Any = None

    def _begin(self, name: str, total: float, *more: Any) -> None:
        """Show the name of a file, a bar, ``more`` columns, share, rate and the time that is left."""
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
        from rich.table import Column

        # markup=False: names of files may hold square brackets.
        column = Column(ratio=1, no_wrap=True, overflow="ellipsis")
        self._bar = Progress(
            TextColumn("{task.description}", markup=False, table_column=column),
            BarColumn(bar_width=16),
            *more,
            TaskProgressColumn(),
            TextColumn("{task.fields[rate]}", table_column=Column(no_wrap=True)),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
            auto_refresh=False,  # no thread beside a batch that forks
            expand=True,
        )
        self._bar.start()
        self._task = self._bar.add_task(printable(name), total=total, rate="")

    def __exit__(self, *raised: object) -> None:
        if self._bar is not None:
            self._bar.stop()


class Progress(_Bar):
    """Counts outcomes of a batch of ``total`` inputs; shows nothing unless ``shown``."""

    def __init__(self, total: int, *, shown: bool, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._total, self._shown = total, shown
        self._done = self._n_failed = 0
        self._drawn = 0.0

    def __enter__(self) -> Progress:
        if self._shown and sys.stderr is not None and sys.stderr.isatty():
            from rich.progress import MofNCompleteColumn

            self._begin("convcli", self._total, MofNCompleteColumn())
            self._bar.refresh()
        return self

    def advance(self, outcome: Outcome) -> None:
        """Count one outcome."""
        self.step(outcome.input.label.rpartition("/")[2], failed=outcome.error is not None)

    def step(self, name: str, *, failed: bool) -> None:
        """Count one of all, by its name."""
        self._done += 1
        self._n_failed += failed
        if self._bar is not None:
            task = self._bar.tasks[0]
            rate = f"{task.finished_speed or task.speed or 0:.1f}/s"
            self._bar.update(self._task, advance=1, rate=rate, description=printable(name))
            # Small files end faster than a terminal can draw: the bar must not slow the batch down.
            if self._done == self._total or time.monotonic() > self._drawn + REDRAW_S:
                self._bar.refresh()
                self._drawn = time.monotonic()
        elif self._shown and self._done < self._total and self._clock() >= self._told + LINE_S:
            self._told = self._clock()
            say(f"convcli: {self._line(self._told - self._started)}", err=True)

    def _line(self, seconds: float) -> str:
        """Return what is done, and how long the rest will take at that speed."""
        rate = self._done / seconds
        left_s = (self._total - self._done) / rate
        unit, length_s = ("s", 1) if left_s < 100 else ("min", 60) if left_s < 6000 else ("h", 3600)
        left = f"{left_s / length_s:.0f} {unit}"
        failed = f", {self._n_failed} failed" if self._n_failed else ""
        return f"{self._done} of {self._total}{failed}, {rate:.3g} a second, about {left} left"


class JobBar(_Bar):
    """A bar for the only input of a run, from when it turns out to take long; its value takes the share that is done.

    Its rate is that of samples, ``n_samples`` in all outputs together.
    """

    def __init__(self, name: str, n_samples: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(clock)
        self._name, self._n_samples = name, n_samples

    def __enter__(self) -> Callable[[float], None]:
        return self._advance

    def _advance(self, share: float) -> None:
        """Draw the share of the work that is done, at most as often as an eye can follow."""
        now = self._clock()
        if now < self._told + (START_S if self._bar is None else REDRAW_S):
            return
        self._told = now
        if self._bar is None:
            self._begin(self._name, 1.0)
        rate = share * self._n_samples / 1e6 / max(now - self._started, 1e-9)
        self._bar.update(self._task, completed=share, rate=f"{rate:.3g} M samples/s")
        self._bar.refresh()


class Tally:
    """Counts of outcomes of a batch, with notes and warnings."""

    def __init__(self) -> None:
        self.n_done = self.n_skipped = 0
        self.failed: list[Outcome] = []
        self._notes: dict[str, list[str]] = {}
        #: Name and maps of the inputs of which the tone clipped much.
        self._clipped: list[tuple[str, list[dict[str, Any]]]] = []

    def add(self, outcome: Outcome) -> None:
        """Count one outcome, and remember its notes and warnings with the first input that has them."""
        self.n_skipped += outcome.skipped is not None
        if outcome.error is not None:
            self.failed.append(outcome)
        if outcome.report is None:
            return
        self.n_done += 1
        # Inputs of one batch mostly have the same notes: they are told once, with a count.
        maps = outcome.report["maps"]
        # Numbers of samples differ from input to input: they are added up.
        clip_notes, warnings = clip_messages(maps)
        for note in outcome.report["notes"]:
            if note not in clip_notes:
                self._notes.setdefault(note, []).append(outcome.input.label)
        if clip_notes or warnings:
            self._clipped.append((outcome.input.label, maps))

    def notes(self) -> list[str]:
        """Return each note once, with how many inputs it is about."""
        notes = [
            f"{note} ({len(names)} of {self.n_done} inputs, first {names[0]})" for note, names in self._notes.items()
        ]
        return notes + self._clip_messages()[0]

    def warnings(self) -> list[str]:
        """Return the count of samples clipped or not a number, in all inputs together."""
        return self._clip_messages()[1]

    def _clip_messages(self) -> tuple[list[str], list[str]]:
        if not self._clipped:
            return [], []
        return clip_messages([one for _, maps in self._clipped for one in maps], where=self._where)

    def _where(self, chosen: Sequence[Mapping[str, Any]]) -> str:
        """Return which inputs have some of the chosen maps."""
        ids = set(map(id, chosen))
        names = [name for name, maps in self._clipped if any(id(one) in ids for one in maps)]
        return f" in {len(names)} of {self.n_done} inputs (first {names[0]})"

    @property
    def exit_code(self) -> int:
        """The exit code of the batch."""
        if any(outcome.bug for outcome in self.failed):
            return ConvcliError.exit_code
        return EXIT_PARTIAL if self.failed else 0

    def summary(self, n_inputs: int, seconds: float) -> dict[str, object]:
        """Return the totals as plain data."""
        return {
            "status": "summary",
            "inputs": n_inputs,
            "done": self.n_done,
            "skipped": self.n_skipped,
            "failed": len(self.failed),
            "exit_code": self.exit_code,
            "failures": [outcome.as_dict() for outcome in self.failed],
            "seconds": round(seconds, 3),
        }

    def line(self, n_inputs: int, seconds: object) -> str:
        """Return the totals as one line."""
        return f"{self.n_done} of {n_inputs} done, {self.n_skipped} left alone, {len(self.failed)} failed, {seconds} s"
