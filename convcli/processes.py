"""Work in forked processes, results in the caller as they come: what threads cannot share is Python itself.

A file of a third of a megapixel is a few hundred short calls; on two threads they wait for each other's Python, and two
cores do the work of 1.4. A child has everything that was planned by being forked, takes numbers of tasks from one pipe
that all share, and answers through one of its own. It ends with its parent, however that one dies. Linux only:
elsewhere some libraries do not survive being forked.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import struct
from collections.abc import Callable, Generator, Sequence
from itertools import islice
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkContext, ForkProcess
from typing import Any, Generic, TypeVar

from convcli.workers import Stopped

T = TypeVar("T")
R = TypeVar("R")

#: Number of a task in a pipe and in shared memory; writes and reads of so few bytes are never torn.
_NUMBER = struct.Struct("=i")
_NOTHING = -1
_PR_SET_PDEATHSIG = 1
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
#: Arrays of the last file serve the next one: given back and asked for again, their pages are 15 % of the time.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3


class _Worker:
    """One child: its process, where its answers come from, and what it has taken."""

    def __init__(self, process: ForkProcess, answers: Connection, taken: mmap.mmap) -> None:
        self.process, self.answers, self._taken = process, answers, taken

    @property
    def task(self) -> int:
        """Number of the task under way; -1 between two."""
        return int(_NUMBER.unpack(self._taken[: _NUMBER.size])[0])


class _Crew(Generic[T, R]):
    """Children that take tasks until they are told to stop."""

    def __init__(self, tasks: Sequence[T], work: Callable[[T], R], stop: Callable[[], None]) -> None:
        self._tasks, self._work, self._stop = tasks, work, stop
        self._reading, self._writing = os.pipe()
        self.workers: list[_Worker] = []

    def start_one(self) -> None:
        """Fork one more child."""
        context = ForkContext()
        answers, sending = context.Pipe(duplex=False)
        taken = mmap.mmap(-1, _NUMBER.size)
        taken[:] = _NUMBER.pack(_NOTHING)
        process = context.Process(target=self._serve, args=(sending, taken, os.getpid()), daemon=True)
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # until both sides know what they mean
        try:
            process.start()
            sending.close()  # the child's death is the end of its answers
            self.workers.append(_Worker(process, answers, taken))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def give(self, number: int) -> None:
        os.write(self._writing, _NUMBER.pack(number))

    def take(self) -> tuple[_Worker, Any]:
        """Return the next answer and who gave it; ``None`` where that one has died."""
        ready = wait([worker.answers for worker in self.workers])
        worker = next(worker for worker in self.workers if worker.answers is ready[0])
        try:
            return worker, worker.answers.recv()
        except (EOFError, OSError):  # before an answer, or within one
            worker.process.join()
            self.workers.remove(worker)
            return worker, None

    def stop(self) -> None:
        """Let every child end what it has begun, and wait for that."""
        os.close(self._writing)
        os.close(self._reading)
        for worker in self.workers:
            worker.answers.close()  # one that is about to answer must not wait for a reader
            worker.process.terminate()
        for worker in self.workers:
            worker.process.join()

    def _serve(self, sending: Connection, taken: mmap.mmap, parent: int) -> None:
        """Take tasks, in the child, until there are none."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all; the parent says what follows from it
        signal.signal(signal.SIGTERM, lambda _signal, _frame: self._stop())
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        libc = ctypes.CDLL(None)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            return
        if hasattr(libc, "mallopt"):  # glibc
            libc.mallopt(_M_MMAP_THRESHOLD, 32 << 20)
            libc.mallopt(_M_TRIM_THRESHOLD, 64 << 20)
        os.close(self._writing)
        for other in self.workers:
            other.answers.close()
        while len(message := os.read(self._reading, _NUMBER.size)) == _NUMBER.size:
            taken[:] = message
            number = _NUMBER.unpack(message)[0]
            try:
                answer: R | BaseException = self._work(self._tasks[number])
            except Stopped:
                return
            except BaseException as error:  # noqa: BLE001 - it is raised where the answer is taken
                answer = error
            try:
                sending.send((number, answer))
            except BrokenPipeError:  # nobody waits for it any more
                return
            taken[:] = _NUMBER.pack(_NOTHING)


def work_apart(
    tasks: Sequence[T], work: Callable[[T], R], n_processes: int, *, stop: Callable[[], None], lost: Callable[[int], R]
) -> Generator[tuple[T, R], None, None]:
    """Yield every task with ``work(task)`` in order of completion; a task or two more than processes are under way.

    Parameters
    ----------
    tasks : sequence
    work : callable
        Runs in a child that knows all there was when the iterator was started. What it returns is pickled; what it
        raises is raised here, and ends the others.
    n_processes : int
    stop : callable
        Called in every child when the iterator ends or is closed: makes ``work`` that is under way raise
        :class:`~convcli.workers.Stopped`.
    lost : callable
        Gives the result of a task whose process has died, from its exit code (negative: minus the signal).

    Raises
    ------
    OSError
        No process can be started.

    Examples
    --------
    >>> sorted(work_apart([1, 2, 3], lambda task: task * task, 2, stop=lambda: None, lost=lambda code: code))
    [(1, 1), (2, 4), (3, 9)]
    """
    crew = _Crew(tasks, work, stop)
    waiting = iter(range(len(tasks)))
    n_running = 0
    try:
        for _ in range(n_processes):
            crew.start_one()
        for number in islice(waiting, n_processes + 1):
            crew.give(number)
            n_running += 1
        while n_running:
            worker, message = crew.take()
            if message is None:
                crew.start_one()
                if worker.task == _NOTHING:
                    continue
                message = worker.task, lost(worker.process.exitcode or 0)
            number, answer = message
            if isinstance(answer, BaseException):
                raise answer
            n_running -= 1
            yield tasks[number], answer
            for further in islice(waiting, 1):
                crew.give(further)
                n_running += 1
    finally:
        crew.stop()
