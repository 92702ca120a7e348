"""Run the shards of a job on an engine until every one is committed, whatever becomes of workers.

A shard that is lost is asked for in the store first: it may be done. Lost twice, it is halved, and its halves run as
parts that return their rows; a single tar is halved by its pictures. An input that is lost twice by itself becomes a
failed row. So an input that kills its worker ends as a row, and the shard is committed here when its last part is back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeVar

from convcli.errors import ImageError
from convcli.pipeline.objects import Entry
from convcli.pipeline.packing import is_tar, pictures_in
from convcli.pipeline.places import open_objects
from convcli.pipeline.shard_run import ShardResult, ShardTask, failed_row, run_apart, source_of
from convcli.pipeline.shards import Job

T = TypeVar("T")
R = TypeVar("R")

#: Tries of a task before it is halved.
TRIES = 2


class Lost(NamedTuple):
    """A task of which no result will come; it may have been done, or have failed because of another."""

    reason: str


class Runner(Protocol):
    """An engine.

    Tasks and results are small and can be pickled; ``work`` can be imported by its name where it runs.
    """

    #: Tasks that run at a time, as far as it is known.
    n_workers: int

    def run(self, work: Callable[[T], R], tasks: Iterable[T], *, room: int) -> Iterator[tuple[T, R | Lost]]:
        """Yield every task with its result in order of completion; at most ``room`` are taken and not yielded.

        A machine that is lost is a value. A ConvcliError of ``work`` is raised, and ends the others.
        """


@dataclass
class _Parts:
    """The parts of a shard: what they have to be together, and what came of those that are back, by their place."""

    n_inputs: int
    n_back: int = 0
    results: dict[tuple[int, int], ShardResult] = field(default_factory=dict)
    #: Pictures of the tars that were taken apart, by their place.
    pictures: dict[int, list[Entry]] = field(default_factory=dict)


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
        first, last = task.inside or (task.first, task.end)
        parts.n_back += last - first
        parts.results[task.first, task.inside[0] if task.inside else 0] = result
        if parts.n_back == parts.n_inputs:
            results = [parts.results[place] for place in sorted(parts.results)]
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
        parts = self._parts.setdefault(task.shard, _Parts(len(entries)))
        if end - task.first > 1:
            middle = (task.first + end) // 2
            again += [task._replace(end=middle), task._replace(first=middle, end=end)]
            return
        entry, (low, high) = entries[task.first], task.inside or (0, self._take_apart(task.first, entries, parts))
        if high - low > 1:
            middle = (low + high) // 2
            again += [task._replace(end=end, inside=(low, middle)), task._replace(end=end, inside=(middle, high))]
            return
        if high:
            entry = parts.pictures[task.first][low]
        row = failed_row(entry, f"its worker was lost {TRIES} times: {reason}")
        yield from self.take(task._replace(end=end), ShardResult(1, 1, committed=False, rows=(row,)))

    def _take_apart(self, place: int, entries: list[Entry], parts: _Parts) -> int:
        """Return the number of pictures in an input, which from now on are inputs; 0 if it is no tar."""
        entry = entries[place]
        try:
            found = pictures_in(source_of(self._job.facts["input"], entry), entry) if is_tar(entry) else []
        except ImageError:  # not to be read from here either
            return 0
        parts.pictures[place] = found
        parts.n_inputs += max(0, len(found) - 1)
        return len(found)
