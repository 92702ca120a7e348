"""Shards on a Dask cluster; nothing else imports ``distributed``.

A task that Dask gives up says nothing about the task: of a worker that dies, all its tasks are told as killed. So each
is :class:`~convcli.pipeline.job_drive.Lost`, and the commits of the job say what is done.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import islice
from typing import Any

from convcli.errors import ConvcliError, UsageError
from convcli.pipeline.job_drive import Lost, R, T
from convcli.process.system import available_threads

try:
    import dask
    from distributed import Client, LocalCluster, WorkerPlugin, as_completed
except ImportError:
    dask, WorkerPlugin = None, object

_FORMS = "local:8, tcp://host:8786, tls://host:8786, scheduler.json or slurm:8"
#: One task a thread, and no retries of Dask's own: a task that kills its worker must not take others with it. Dask's
#: profile and its eager return of memory to the system would cost a fifth of the time of a photograph.
_SETTINGS = {
    "distributed.scheduler.worker-saturation": 1.0,
    "distributed.scheduler.allowed-failures": 0,
    "distributed.worker.profile.enabled": False,
    "distributed.nanny.pre-spawn-environ.MALLOC_TRIM_THRESHOLD_": 256 << 20,
    "distributed.nanny.pre-spawn-environ.MALLOC_MMAP_THRESHOLD_": 32 << 20,
}


def check_cluster(text: str) -> None:
    """Refuse what ``--cluster`` cannot name, before a job is planned for it.

    Raises
    ------
    UsageError
        The text names no cluster, or what it takes is not installed.
    """
    if dask is None:
        raise UsageError(f"--cluster {text} needs the package distributed", hint="pip install 'convcli[cluster]'")
    word, colon, number = text.partition(":")
    counted = word in ("local", "slurm") and (not colon or (number.isdecimal() and int(number) > 0))
    if not counted and not text.startswith(("tcp://", "tls://")) and not text.endswith(".json"):
        raise UsageError(f"--cluster {text!r} is no cluster", hint=_FORMS)
    if text.endswith(".json") and not os.path.isfile(text):  # noqa: PTH113 - no exception; Dask would wait for it
        raise UsageError(f"--cluster {text}: no such file", hint="dask scheduler --scheduler-file writes it")
    if word == "slurm" and shutil.which("sbatch") is None:  # Dask would wait for workers that nobody starts
        raise UsageError("--cluster slurm needs the program sbatch", hint="run it on a machine that submits to SLURM")


@contextmanager
def open_cluster(
    text: str, say: Callable[[str], None] = lambda _line: None, *, timeout_s: float = 30
) -> Iterator[DaskRunner]:
    """Start or join the cluster that ``--cluster`` names; one that was started ends with the ``with`` block.

    Parameters
    ----------
    text : str
        ``local:N``, ``tcp://…``, ``tls://…``, a scheduler file, or ``slurm:N``.
    say : callable
        Gets a line about what is submitted or waited for.
    timeout_s : float
        How long a scheduler may take to answer.

    Raises
    ------
    UsageError
        The extra is not installed, no scheduler answers, or the text is none of these.
    """
    check_cluster(text)
    with ExitStack() as stack:
        stack.enter_context(dask.config.set(_SETTINGS))
        word, _, number = text.partition(":")
        if word in ("local", "slurm"):
            started = _start(word, int(number) if number else None, say)
            cluster = stack.enter_context(started)
            client = stack.enter_context(Client(cluster, set_as_default=False))
            if word == "local":
                client.register_plugin(_NoInterrupts())
        else:
            client = stack.enter_context(_join(text, timeout_s))
        yield DaskRunner(client, say)


def _start(word: str, number: int | None, say: Callable[[str], None]) -> Any:
    if word == "slurm":
        return _submit(number or 1, say)
    n_workers = number or available_threads()
    # Workers are spawned, as Dask does by itself: what is forked may hold a lock, or threads of a store.
    return LocalCluster(
        n_workers=n_workers,
        threads_per_worker=1,
        dashboard_address=None,
        # Any port: the usual one may be another cluster's.
        scheduler_kwargs={"dashboard_address": ":0"},
        silence_logs=logging.CRITICAL + 1,
    )


class _NoInterrupts(WorkerPlugin):  # type: ignore[misc]
    """Has the workers of this machine ignore Ctrl-C, which a terminal sends to all: the client decides."""

    def setup(self, worker: object) -> None:
        """Run in every worker, also in one that replaces another."""
        del worker
        with suppress(ValueError):  # not the main thread, where no signals arrive
            signal.signal(signal.SIGINT, signal.SIG_IGN)


def _submit(number: int, say: Callable[[str], None]) -> Any:
    try:
        from dask_jobqueue import SLURMCluster
    except ImportError:
        raise UsageError(
            "--cluster slurm needs the package dask-jobqueue", hint="pip install 'convcli[cluster]'"
        ) from None
    # Queue, account, time and memory are the site's: ~/.config/dask/jobqueue.yaml names them.
    ours = {"cores": 1, "processes": 1, "memory": "4GiB"}
    options = {key: dask.config.get(f"jobqueue.slurm.{key}", None) or value for key, value in ours.items()}
    # No dashboard: its usual port may be another's, on a node where many work.
    cluster = SLURMCluster(**options, scheduler_options={"dashboard": False, "dashboard_address": ":0"})
    say(f"sbatch gets {number} of this job; ~/.config/dask/jobqueue.yaml changes it:")
    for line in cluster.job_script().splitlines():
        say(f"  {line}")
    cluster.scale(jobs=number)
    return cluster


def _join(text: str, timeout_s: float) -> Client:
    where = {"scheduler_file": text} if text.endswith(".json") else {"address": text}
    try:
        return Client(**where, timeout=timeout_s, set_as_default=False)
    except (OSError, TimeoutError, ValueError, TypeError, RuntimeError) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        hint = "start one with `dask scheduler`; tls:// needs certificates in Dask's configuration"
        raise UsageError(f"--cluster {text}: no scheduler answers ({reason})", hint=hint) from None


class DaskRunner:
    """Runs tasks on the workers of a client.

    Parameters
    ----------
    client : distributed.Client
    say : callable
        Gets a line where no worker is there yet.
    """

    def __init__(self, client: Client, say: Callable[[str], None] = lambda _line: None) -> None:
        self.client = client
        self.n_workers = sum(client.nthreads().values())
        if not self.n_workers:
            say("no worker is there yet: waiting for one")
            client.wait_for_workers(1)
            self.n_workers = sum(client.nthreads().values())

    def run(self, work: Callable[[T], R], tasks: Iterable[T], *, room: int) -> Iterator[tuple[T, R | Lost]]:
        """Yield every task with its result in order of completion."""
        waiting = iter(tasks)
        running: dict[Any, T] = {}
        done = as_completed(loop=self.client.loop, raise_errors=False)

        def refill() -> None:
            for task in islice(waiting, room - len(running)):
                # pure=False: equal tasks are not one task. Dask's own retries would hide which input kills a worker.
                future = self.client.submit(work, task, pure=False, retries=0)
                running[future] = task
                done.add(future)

        try:
            refill()
            while running:
                future = next(done)
                task = running.pop(future)
                answer = self._answer(future)
                future.release()
                yield task, answer
                refill()
        finally:
            with suppress(Exception):  # the scheduler may have gone: there is nothing left to cancel
                self.client.cancel(list(running), force=True)

    def _answer(self, future: Any) -> Any:
        if future.status == "finished":
            return future.result()
        if self.client.status not in ("running", "newly-created"):
            raise ConvcliError("the scheduler of the cluster has gone", hint="--resume goes on with what is missing")
        if future.status != "error":
            return Lost(f"the task was {future.status}")
        error = future.exception()
        if isinstance(error, ConvcliError):
            raise error
        return Lost(f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"[:300])
