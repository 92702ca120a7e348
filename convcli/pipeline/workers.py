"""Work on threads, results in the caller's thread as they come; Ctrl-C in between ends it cleanly.

Python raises ``KeyboardInterrupt`` in the main thread wherever it is. Inside a wait of :mod:`concurrent.futures` that
may be while a lock is being taken again, which then is released by a thread that does not have it. Results travel
through a ``SimpleQueue`` instead, whose waiting is one step: it is interrupted or it is not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from itertools import islice
from queue import SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class _Crew(Generic[T, R]):
    """Threads that take tasks until they are told to stop, and put each result where its task says."""

    def __init__(self, work: Callable[[T], R], n_threads: int) -> None:
        self._work = work
        self._tasks: SimpleQueue[tuple[T, SimpleQueue[R | BaseException]] | None] = SimpleQueue()
        self._is_stopping = False
        # Daemons: a thread that hangs in a codec must not keep the process from ending.
        self._threads = [Thread(target=self._serve, name=f"worker-{i}", daemon=True) for i in range(n_threads)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def give(self, task: T, results: SimpleQueue[R | BaseException]) -> None:
        self._tasks.put((task, results))

    def stop(self) -> None:
        self._is_stopping = True
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            # start() may have failed half-way, and a thread that never started cannot be joined.
            if thread.ident is not None:
                thread.join()

    def _serve(self) -> None:
        while (entry := self._tasks.get()) is not None and not self._is_stopping:
            task, results = entry
            try:
                results.put(self._work(task))
            except BaseException as error:  # noqa: BLE001 - it is raised where the result is taken
                results.put(error)


def _take(results: SimpleQueue[R | BaseException]) -> R:
    result = results.get()
    if isinstance(result, BaseException):
        raise result
    return result


def work_together(
    tasks: Sequence[T], work: Callable[[T], R], n_threads: int, *, stop: Callable[[], None]
) -> Generator[R, None, None]:
    """Yield ``work(task)`` of every task in order of completion; a task or two more than threads are under way.

    Parameters
    ----------
    tasks : sequence
    work : callable
        Its exceptions are raised here, and end the others.
    n_threads : int
    stop : callable
        Called when the iterator ends or is closed: makes ``work`` that is under way raise an exception.

    Examples
    --------
    >>> sorted(work_together([1, 2, 3], lambda task: task * task, 2, stop=lambda: None))
    [1, 4, 9]
    """
    crew = _Crew(work, n_threads)
    waiting = iter(tasks)
    results: SimpleQueue[R | BaseException] = SimpleQueue()
    n_running = 0
    try:
        crew.start()
        # One more than threads, so that none is idle while the caller handles a result.
        for task in islice(waiting, n_threads + 1):
            crew.give(task, results)
            n_running += 1
        while n_running:
            result = _take(results)
            n_running -= 1
            yield result
            for task in islice(waiting, 1):
                crew.give(task, results)
                n_running += 1
    finally:
        # stop() comes first: crew.stop() joins, and would otherwise wait for whole files.
        stop()
        crew.stop()


def work_in_order(tasks: Iterable[T], work: Callable[[T], R], n_threads: int) -> Generator[R, None, None]:
    """Yield ``work(task)`` of every task in the order of the tasks; two for each thread are done ahead.

    Parameters
    ----------
    tasks : iterable
        Taken one by one as there is room; its exceptions are raised here, after work that is under way.
    work : callable
        Its exceptions are raised here, and the tasks behind it are left undone.
    n_threads : int

    Examples
    --------
    >>> list(work_in_order(range(5), lambda task: task * task, 2))
    [0, 1, 4, 9, 16]
    """
    crew = _Crew(work, n_threads)
    waiting: deque[SimpleQueue[R | BaseException]] = deque()
    try:
        crew.start()
        for task in tasks:
            waiting.append(SimpleQueue())
            crew.give(task, waiting[-1])
            # Finished strips wait in memory for their turn: this bounds them.
            if len(waiting) > 2 * n_threads:
                yield _take(waiting.popleft())
        while waiting:
            yield _take(waiting.popleft())
    finally:
        # No stop() here: each thread has one strip under way, which takes milliseconds.
        crew.stop()
