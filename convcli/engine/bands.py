"""Threads that share the bands of a convolution: they take them in order, and stop at the first error."""

from __future__ import annotations

import _thread
import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from convcli.engine.algorithms.base import Scratch, ScratchPool

#: A function of a band and a scratch, and the band.
Task: TypeAlias = tuple[Callable[[Any, Scratch], None], Any]


class _Crew:
    """Threads that take tasks in order. The calling one begins at once and never waits for another to start."""

    def __init__(self, tasks: Sequence[Task], pool: ScratchPool) -> None:
        self._queue, self._pool = iter(tasks), pool
        self._state = threading.Condition()
        self._n_busy = 0
        self.errors: list[BaseException] = []

    def help(self) -> None:
        """Do tasks until none are left, or one has failed."""
        task = self._next(begins=True)
        if task is None:  # started too late: nobody waits for this thread
            return
        try:
            with self._pool.borrow() as scratch:
                while task is not None:
                    work, band = task
                    work(band, scratch)
                    task = self._next()
        except BaseException as error:  # noqa: BLE001  (raised again by the calling thread)
            self.errors.append(error)
        finally:
            with self._state:
                self._n_busy -= 1
                self._state.notify_all()

    def _next(self, *, begins: bool = False) -> Task | None:
        with self._state:
            task = None if self.errors else next(self._queue, None)
            self._n_busy += begins and task is not None
            return task

    def wait(self) -> None:
        """Wait until no thread works."""
        with self._state:
            self._state.wait_for(lambda: self._n_busy == 0)


def run_bands(tasks: Sequence[Task], pool: ScratchPool, threads: int) -> None:
    """Run tasks, in order, on up to ``threads`` threads, the calling one among them; raise the first error."""
    crew = _Crew(tasks, pool)
    for _ in range(min(threads, len(tasks)) - 1):
        with contextlib.suppress(RuntimeError):  # no more threads than the system allows
            # Not threading.Thread, whose start waits until the thread runs.
            _thread.start_new_thread(crew.help, ())
    crew.help()
    crew.wait()
    if crew.errors:
        raise crew.errors[0]
