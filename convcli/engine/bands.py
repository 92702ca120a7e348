"""Threads that share the bands of a convolution: they take them in order, and stop at the first error."""

from __future__ import annotations

import _thread
import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from convcli.engine.algorithms.base import Scratch, ScratchPool

Band = TypeVar("Band")


class _Crew(Generic[Band]):
    """Threads that take bands in order. The calling one begins at once and never waits for another to start."""

    def __init__(self, work: Callable[[Band, Scratch], None], bands: Sequence[Band], pool: ScratchPool) -> None:
        self._work, self._queue, self._pool = work, iter(bands), pool
        self._state = threading.Condition()
        self._n_busy = 0
        self.errors: list[BaseException] = []

    def help(self) -> None:
        """Do bands until none are left, or one has failed."""
        band = self._next(begins=True)
        if band is None:  # started too late: nobody waits for this thread
            return
        try:
            with self._pool.borrow() as scratch:
                while band is not None:
                    self._work(band, scratch)
                    band = self._next()
        except BaseException as error:  # noqa: BLE001  (raised again by the calling thread)
            self.errors.append(error)
        finally:
            with self._state:
                self._n_busy -= 1
                self._state.notify_all()

    def _next(self, *, begins: bool = False) -> Band | None:
        with self._state:
            band = None if self.errors else next(self._queue, None)
            self._n_busy += begins and band is not None
            return band

    def wait(self) -> None:
        """Wait until no thread works."""
        with self._state:
            self._state.wait_for(lambda: self._n_busy == 0)


def run_bands(work: Callable[[Band, Scratch], None], bands: Sequence[Band], pool: ScratchPool, threads: int) -> None:
    """Do bands, in order, on up to ``threads`` threads, the calling one among them; raise the first error."""
    crew = _Crew(work, bands, pool)
    for _ in range(min(threads, len(bands)) - 1):
        with contextlib.suppress(RuntimeError):  # no more threads than the system allows
            # Not threading.Thread, whose start waits until the thread runs.
            _thread.start_new_thread(crew.help, ())
    crew.help()
    crew.wait()
    if crew.errors:
        raise crew.errors[0]
