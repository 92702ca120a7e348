"""Work on threads, results in the caller's thread as they come; Ctrl-C in between ends it cleanly.

Python raises ``KeyboardInterrupt`` in the main thread wherever it is. Inside a wait of :mod:`concurrent.futures` that
may be while a lock is being taken again, which then is released by a thread that does not have it. Results travel
through a ``SimpleQueue`` instead, whose waiting is one step: it is interrupted or it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from itertools import islice
from queue import SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Stopped(Exception):  # noqa: N818 - no error: somebody asked for it
    """Work was asked to end; what it had begun is undone."""


class _Crew(Generic[T, R]):
    """Threads that take tasks until they are told to stop."""

    def __init__(self, work: Callable[[T], R], n_threads: int) -> None:
        self._work = work
        self._tasks: SimpleQueue[T | None] = SimpleQueue()
        self._results: SimpleQueue[R | BaseException] = SimpleQueue()
        self._is_stopping = False
        self._threads = [Thread(target=self._serve, name=f"file-{i}", daemon=True) for i in range(n_threads)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def give(self, task: T) -> None:
        self._tasks.put(task)

    def take(self) -> R:
        result = self._results.get()
        if isinstance(result, BaseException):
            raise result
        return result

    def stop(self) -> None:
        self._is_stopping = True
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def _serve(self) -> None:
        while (task := self._tasks.get()) is not None and not self._is_stopping:
            try:
                self._results.put(self._work(task))
            except BaseException as error:  # noqa: BLE001 - it is raised where the result is taken
                self._results.put(error)


def work_together(
    tasks: Sequence[T], work: Callable[[T], R], n_threads: int, *, stop: Callable[[], None]
) -> Generator[R, None, None]:
    """Yield ``work(task)`` of every task in order of completion; a task or two more than threads are under way.

    Parameters
    ----------
    tasks : sequence
    work : callable
        What it raises is raised here, and ends the others.
    n_threads : int
    stop : callable
        Called when the iterator ends or is closed: makes ``work`` that is under way raise :class:`Stopped`.

    Examples
    --------
    >>> sorted(work_together([1, 2, 3], lambda task: task * task, 2, stop=lambda: None))
    [1, 4, 9]
    """
    crew = _Crew(work, n_threads)
    waiting = iter(tasks)
    n_running = 0
    try:
        crew.start()
        for task in islice(waiting, n_threads + 1):
            crew.give(task)
            n_running += 1
        while n_running:
            result = crew.take()
            n_running -= 1
            yield result
            for task in islice(waiting, 1):
                crew.give(task)
                n_running += 1
    finally:
        stop()
        crew.stop()
