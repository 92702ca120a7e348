"""Work in forked processes, results in the caller as they come; threads would wait for each other's Python.

A file of a third of a megapixel is a few hundred short calls; on two threads they wait for each other's Python, and two
cores do the work of 1.4. A child has everything that was planned by being forked, and is sent numbers of tasks; which
ones is known here, whatever becomes of it. It ends with its parent, however that one dies. Linux only: elsewhere some
libraries do not survive being forked.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkContext, ForkProcess
from typing import Any, Generic, TypeVar

from convcli.errors import ConvcliError
from convcli.images.targets import discard_parts
from convcli.pipeline.plan import Plan
from convcli.pipeline.run import Outcome
from convcli.pipeline.transforms.base import Stopped
from convcli.pipeline.writers import folders_of
from convcli.process import ending

T = TypeVar("T")
R = TypeVar("R")

_PR_SET_PDEATHSIG = 1


class _Worker:
    """One child, seen from the parent: both pipes, and the numbers it has been sent and has not answered."""

    def __init__(self, process: ForkProcess, orders: Connection, answers: Connection) -> None:
        self.process, self.orders, self.answers = process, orders, answers
        self.pending: deque[int] = deque()

    def give(self, number: int) -> None:
        self.pending.append(number)
        with contextlib.suppress(BrokenPipeError):  # it has died, which is seen where answers are taken
            self.orders.send(number)

    def close(self) -> None:
        self.orders.close()
        self.answers.close()


class _Crew(Generic[T, R]):
    """Children that do the tasks they are sent until they are told to stop."""

    def __init__(
        self,
        tasks: Sequence[T],
        work: Callable[[T], R],
        stop: Callable[[], None],
        lost: Callable[[T, int, int], R],
    ) -> None:
        self._tasks, self._work, self._stop, self.lost = tasks, work, stop, lost
        self.workers: list[_Worker] = []
        self._stopped_by = 0

    def start_one(self) -> None:
        """Fork one more child."""
        context = ForkContext()
        receiving, orders = context.Pipe(duplex=False)
        answers, sending = context.Pipe(duplex=False)
        ends = (receiving, sending, os.getpid())
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ending.SIGNALS)  # until both sides have handlers
        try:
            process = context.Process(target=self._serve, args=ends, daemon=True)
            worker = _Worker(process, orders, answers)
            self.workers.append(worker)
            try:
                process.start()
            except OSError:
                self.workers.remove(worker)
                worker.close()
                raise
            finally:
                receiving.close()
                sending.close()  # the child's death is the end of its answers
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def feed(self, todo: deque[int]) -> None:
        """Send numbers of ``todo``: one to each child, and one more that it need not wait for while there are many."""
        while todo and self.workers:
            worker = min(self.workers, key=lambda worker: len(worker.pending))
            if len(worker.pending) >= (2 if len(todo) > len(self.workers) else 1):
                return
            worker.give(todo.popleft())

    def take(self) -> tuple[_Worker, Any]:
        """Return who has answered, and what; ``None`` where that one has died."""
        ready = wait([worker.answers for worker in self.workers])
        worker = next(worker for worker in self.workers if worker.answers is ready[0])
        try:
            return worker, worker.answers.recv()
        except (EOFError, OSError):  # before an answer, or within one
            worker.process.join()
            worker.close()
            self.workers.remove(worker)
            return worker, None

    def stop(self) -> None:
        """Let every child end its task, and wait for that, though not long."""
        for worker in self.workers:
            worker.close()  # one that is about to answer must not wait for a reader
            worker.process.terminate()
        end = time.monotonic() + ending.GRACE_S
        for worker in self.workers:
            worker.process.join(max(end - time.monotonic(), 0))
        self.kill()

    def kill(self) -> None:
        """Kill the children that are at work, and remove what they leave."""
        for worker in self.workers:
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
                for number in worker.pending:
                    self.lost(self._tasks[number], worker.process.pid or 0, -signal.SIGKILL)

    def _serve(self, receiving: Connection, sending: Connection, parent: int) -> None:
        """Do tasks, in the child, until there are no more."""
        for number in ending.SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                # Ctrl-C goes to all; the parent decides.
                signal.signal(number, signal.SIG_IGN if number in ending.OF_TERMINAL else self._stop_for)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ending.SIGNALS)
        # A killed parent cannot end its children: the kernel does it.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        # The parent died before prctl: no signal will come any more.
        if os.getppid() != parent:
            return
        for worker in self.workers:  # the parent's ends, this child's too
            worker.close()
        with contextlib.suppress(EOFError, BrokenPipeError, Stopped):  # nobody asks, nobody waits, or it was stopped
            while True:
                number = receiving.recv()
                sending.send((number, self._answer(self._tasks[number])))
        # Seen by the parent only where it has not sent the signal itself.
        if self._stopped_by:
            raise SystemExit(128 + self._stopped_by)

    def _stop_for(self, number: int, _frame: object) -> None:
        self._stopped_by = number
        self._stop()

    def _answer(self, task: T) -> R | BaseException:
        try:
            return self._work(task)
        except Stopped:
            raise
        except BaseException as error:  # noqa: BLE001 - it is raised where the answer is taken
            return error


def work_apart(
    tasks: Sequence[T],
    work: Callable[[T], R],
    n_processes: int,
    *,
    stop: Callable[[], None],
    lost: Callable[[T, int, int], R],
) -> Generator[tuple[T, R], None, None]:
    """Yield every task with ``work(task)`` in order of completion; at most two tasks a process are under way.

    Parameters
    ----------
    tasks : sequence
    work : callable
        Runs in a child that knows all objects of the time when the iterator was started. Its result is pickled; what it
        raises is raised here, and ends the others.
    n_processes : int
    stop : callable
        Called in every child when the iterator ends or is closed: makes ``work`` that is under way raise
        :class:`~convcli.pipeline.transforms.base.Stopped`.
    lost : callable
        Gives the result of a task whose process has died, from the task, that process's number, and its exit code
        (negative: minus the signal).

    Notes
    -----
    Where the system starts fewer processes than that, those do all; where it starts none, the caller's does.

    Examples
    --------
    >>> sorted(work_apart([1, 2, 3], lambda task: task * task, 2, stop=lambda: None, lost=lambda *_: None))
    [(1, 1), (2, 4), (3, 9)]
    """
    crew = _Crew(tasks, work, stop, lost)
    ending.at_end(crew.kill)
    todo = deque(range(len(tasks)))
    try:
        with contextlib.suppress(OSError):  # no more processes, memory or files than the system allows
            for _ in range(min(n_processes, len(tasks))):
                crew.start_one()
        crew.feed(todo)
        while any(worker.pending for worker in crew.workers):
            worker, message = crew.take()
            if message is None:
                with contextlib.suppress(OSError):
                    crew.start_one()
                if worker.pending:
                    number = worker.pending.popleft()
                    message = number, crew.lost(tasks[number], worker.process.pid or 0, worker.process.exitcode or 0)
                # The task that its process died of is not tried again; the task behind it is.
                todo.extendleft(reversed(worker.pending))
            else:
                worker.pending.popleft()
            if message is not None:
                number, answer = message
                if isinstance(answer, BaseException):
                    raise answer
                yield tasks[number], answer
            crew.feed(todo)
        # Tasks are left only where no child runs and none could be started: this process does them.
        for number in todo:
            yield tasks[number], work(tasks[number])
    finally:
        crew.stop()
        ending.no_more(crew.kill)


def run_apart(
    plans: Sequence[Plan], run_one: Callable[[Plan], Outcome], n_jobs: int, stop: Callable[[], None]
) -> Generator[Outcome, None, None]:
    """Run plans in processes; outcomes come back without their input, which may be a whole file."""
    ending.unwatch()
    results = work_apart(plans, lambda plan: run_one(plan)[1:], n_jobs, stop=stop, lost=_lost)
    with contextlib.closing(results):
        for plan, result in results:
            outcome = Outcome(plan.input, *result)
            # The error of a lost process names no input yet; the other errors keep the name they have.
            if outcome.error is not None:
                outcome.error.within(plan.input.label)
            yield outcome


def _lost(plan: Plan, pid: int, code: int) -> tuple[Any, ...]:
    """Return the outcome, without its input, of one whose process has died, and remove what it has left."""
    # A killed child cannot remove its unfinished files; their names hold its process number.
    folders = folders_of(plan)
    discard_parts(folders, pid)
    for folder in folders:
        if folder != plan.request.out_dir:
            with contextlib.suppress(OSError):
                folder.rmdir()
    number = -code if code < 0 else code - 128
    how = f"was killed (signal {number})" if number > 0 else f"ended early (exit code {code})"
    hint = "not enough memory for several files at a time? -j 1 runs one"
    return Outcome(plan.input, error=ConvcliError(f"the process that worked on it {how}", hint=hint))[1:]
