"""Run the shards of a job on an engine until every one is committed, whatever becomes of workers.

A shard that is lost is asked for in the store first: it may be done. Lost twice, it is halved, and its halves run as
parts that return their rows; a single input that is lost twice becomes a failed row. So an input that kills its worker
ends as a row, and the shard is committed here when its last part is back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Iterator
from typing import NamedTuple

from convcli.pipeline.places import open_objects
from convcli.pipeline.runners.base import Lost, Runner
from convcli.pipeline.shard_run import ShardResult, ShardTask, failed_row, run_apart
from convcli.pipeline.shards import Job

#: Tries of a task before it is halved.
TRIES = 2


class _Parts(NamedTuple):
    """The parts of a shard that are back, by their first entry: how many they are, and what came of them."""

    entries: dict[int, int]
    results: dict[int, ShardResult]


def drive(place: str, runner: Runner, shards: Iterable[int]) -> Generator[tuple[int, ShardResult], None, None]:
    """Yield each shard, once it is committed, with its counts; at most two a worker are under way.

    Parameters
    ----------
    place : str
        The job, as workers find it too.
    runner : Runner
    shards : iterable of int
        Taken one by one as there is room.

    Raises
    ------
    UsageError
        A worker has other versions than the job was planned with.
    """
    driver = _Driver(Job(open_objects(place)), place)
    tasks: Iterable[ShardTask] = (ShardTask(place, shard) for shard in shards)
    while True:
        lost: list[tuple[ShardTask, str]] = []
        for task, answer in runner.run(run_apart, tasks, room=2 * runner.n_workers):
            if isinstance(answer, Lost):
                lost.append((task, answer.reason))
            else:
                yield from driver.take(task, answer)
        if not lost:
            return
        again: list[ShardTask] = []
        for task, reason in lost:
            yield from driver.lose(task, reason, again)
        tasks = again


class _Driver:
    """Knows the tasks that were lost, and the parts that are back."""

    def __init__(self, job: Job, place: str) -> None:
        self._job, self._place = job, place
        self._losses: Counter[ShardTask] = Counter()
        self._parts: dict[int, _Parts] = {}

    def take(self, task: ShardTask, result: ShardResult) -> Iterator[tuple[int, ShardResult]]:
        """Count a result; a shard is done with its last part."""
        if task.is_whole:
            yield task.shard, result
            return
        parts = self._parts[task.shard]
        assert task.end is not None
        parts.entries[task.first] = task.end - task.first
        parts.results[task.first] = result
        if sum(parts.entries.values()) == len(self._job.entries(task.shard)):
            results = [parts.results[first] for first in sorted(parts.results)]
            committed = self._job.commit(task.shard, [row for one in results for row in one.rows])
            del self._parts[task.shard]
            counts = (sum(one.n_inputs for one in results), sum(one.n_failed for one in results))
            yield task.shard, ShardResult(*counts, committed=committed)

    def lose(self, task: ShardTask, reason: str, again: list[ShardTask]) -> Iterator[tuple[int, ShardResult]]:
        """Decide about a task that was lost, and add to ``again`` what has to run."""
        if task.is_whole and self._job.is_committed(task.shard):
            rows = self._job.shard_rows(task.shard)
            n_failed = len({row["input"] for row in rows if "error" in row})
            yield task.shard, ShardResult(len({row["input"] for row in rows}), n_failed, committed=True)
            return
        self._losses[task] += 1
        if self._losses[task] < TRIES:
            again.append(task)
            return
        entries = self._job.entries(task.shard)
        end = len(entries) if task.end is None else task.end
        self._parts.setdefault(task.shard, _Parts({}, {}))
        if end - task.first > 1:
            middle = (task.first + end) // 2
            again += [task._replace(end=middle), task._replace(first=middle, end=end)]
            return
        row = failed_row(entries[task.first], f"its worker was lost {TRIES} times: {reason}")
        yield from self.take(task._replace(end=end), ShardResult(1, 1, committed=False, rows=(row,)))
