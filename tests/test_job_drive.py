"""The driver of a job ends with every input in one row and every shard committed once, whatever is lost on the way."""

from __future__ import annotations

import json
import tarfile
import tempfile
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import run_cli, save_image
from hypothesis import given
from hypothesis import strategies as st

from convcli.pipeline import job_drive
from convcli.pipeline.job_drive import TRIES, Lost, drive
from convcli.pipeline.jobs import job_status
from convcli.pipeline.objects import Entry, Folder
from convcli.pipeline.packing import is_tar, pictures_in
from convcli.pipeline.shard_run import ShardResult, ShardTask, run_apart, source_of
from convcli.pipeline.shards import FORMAT, Job, ShardSize, write_job


def make_job(n_inputs: int, shard: int) -> Job:
    folder = Folder(Path(tempfile.mkdtemp()))
    write_job(folder, [[Entry(f"{number:03}", 1, "") for number in range(n_inputs)]], ShardSize(shard), {})
    return Job(folder)


class Fake:
    """Does tasks in an order and with losses of its own: those with a poisoned input, and some without a reason."""

    n_workers = 2

    def __init__(self, job: Job, poison: set[str], luck: Callable[[], int]) -> None:
        self.job, self.poison, self.luck = job, poison, luck
        self.commits: Counter[int] = Counter()

    def run(self, work: object, tasks: Iterable[ShardTask], *, room: int) -> Iterator[tuple[ShardTask, Any]]:
        del work
        assert room == 2 * self.n_workers
        waiting: list[ShardTask] = []
        rest = iter(tasks)
        while True:
            while len(waiting) < room and (task := next(rest, None)) is not None:
                waiting.append(task)
            if not waiting:
                return
            task = waiting.pop(self.luck() % len(waiting))
            yield task, self.answer(task)

    def answer(self, task: ShardTask) -> ShardResult | Lost:
        luck = self.luck() % 4  # 1: lost before it did anything, 2: lost after the commit
        entries = self.job.entries(task.shard)[task.first : task.end]
        if luck == 1 or any(entry.name in self.poison for entry in entries):
            return Lost("killed")
        rows = [{"input": entry.name, "output": entry.name} for entry in entries]
        if not task.is_whole:
            return ShardResult(len(rows), 0, committed=False, rows=tuple(rows))
        committed = self.job.commit(task.shard, rows)
        self.commits[task.shard] += committed
        return Lost("killed later") if luck == 2 else ShardResult(len(rows), 0, committed=committed)


@given(data=st.data(), n_inputs=st.integers(1, 13), shard=st.integers(1, 5))
def test_every_input_has_one_row(data: st.DataObject, n_inputs: int, shard: int) -> None:
    job = make_job(n_inputs, shard)
    names = [f"{number:03}" for number in range(n_inputs)]
    poison = set(data.draw(st.lists(st.sampled_from(names), max_size=3)))
    lucks = iter(data.draw(st.lists(st.integers(0, 7), max_size=60)))
    fake = Fake(job, poison, lambda: next(lucks, 0))
    results = list(drive(job.place.text, fake, range(job.n_shards)))
    assert sorted(number for number, _ in results) == list(range(job.n_shards))
    assert [*job.committed()] == [1] * job.n_shards
    rows = list(job.rows())
    assert [row["input"] for row in rows] == names
    failed = {str(row["input"]) for row in rows if "error" in row}
    assert poison <= failed
    assert sum(result.n_inputs for _, result in results) == n_inputs
    assert sum(result.n_failed for _, result in results) == len(failed)


def test_without_other_losses_only_the_poison_fails() -> None:
    job = make_job(20, 7)
    lost: Counter[ShardTask] = Counter()

    class Counting(Fake):
        def answer(self, task: ShardTask) -> ShardResult | Lost:
            answer = super().answer(task)
            lost[task] += isinstance(answer, Lost)
            return answer

    list(drive(job.place.text, Counting(job, {"009"}, lambda: 0), range(job.n_shards)))
    assert [row["input"] for row in job.rows() if "error" in row] == ["009"]
    assert max(lost.values()) == TRIES
    assert sum(lost.values()) == TRIES * 4  # the shard of 7, and its halves of 3, 2 (or 1) and 1


@pytest.mark.parametrize("form", ["npy", "tar:npy"])
def test_of_a_tar_only_the_picture_that_kills_its_worker_fails(
    tmp_path: Path, rng: np.random.Generator, form: str
) -> None:
    (tmp_path / "in").mkdir()
    for name in ("a.tar", "b.tar", "none.tar"):
        with tarfile.open(tmp_path / "in" / name, "w") as archive:
            for number in range(5 if name != "none.tar" else 0):
                picture = save_image(tmp_path / f"{number}.png", rng.integers(0, 256, (5, 6), np.uint8))
                archive.add(picture, picture.name)
                archive.add(__file__, f"{number}.txt")
    save_image(tmp_path / "in" / "c.png", rng.integers(0, 256, (5, 6), np.uint8))
    words = ["job", "plan", tmp_path / "job", tmp_path / "in", "-k", "box", "--out-dir", tmp_path / "out"]
    run_cli(*words, "--format", form, "-q").ok()
    job = Job(Folder(tmp_path / "job"))

    class Killed(Fake):
        def answer(self, task: ShardTask) -> ShardResult | Lost:
            names = []
            for entry in job.entries(task.shard)[task.first : task.end]:
                found = pictures_in(source_of(job.facts["input"], entry), entry) if is_tar(entry) else [entry]
                names += [one.name for one in found[slice(*(task.inside or (None,)))]]
            return Lost("killed") if self.poison & {*names} else run_apart(task)

    poison = {"a.tar/3.png", "b.tar/0.png"}
    [(_, result)] = drive(job.place.text, Killed(job, poison, lambda: 0), [0])
    rows = list(job.rows())
    assert [row["input"] for row in rows if "error" in row] == sorted(poison)
    assert [row["input"] for row in rows] == [f"{tar}/{n}.png" for tar in ("a.tar", "b.tar") for n in range(5)] + [
        "c.png"
    ]
    assert (result.n_inputs, result.n_failed, result.committed) == (11, 2, True)
    assert all((tmp_path / "out" / str(row["output"])).exists() for row in rows if "error" not in row)


class Trivial:
    """Does nothing, at once."""

    n_workers = 2

    def run(self, work: object, tasks: Iterable[ShardTask], *, room: int) -> Iterator[tuple[ShardTask, ShardResult]]:
        del work, room
        for task in tasks:
            yield task, ShardResult(1, 0, committed=True)


class Many:
    """A place of a job of many shards, every tenth of them done, that holds nothing in memory."""

    text = "many"

    def __init__(self, n_shards: int) -> None:
        self.n_shards = n_shards

    def get(self, _name: str) -> tuple[bytes, str]:
        return json.dumps({"format": FORMAT, "shards": self.n_shards, "inputs": self.n_shards}).encode(), ""

    def pages(self, below: str) -> Iterator[list[Entry]]:
        for first in range(0, self.n_shards, 10_000):
            yield [Entry(f"{below}/{shard:08}.jsonl", 1, "") for shard in range(first, first + 10_000, 10)]


def test_memory_does_not_grow_with_the_number_of_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    peaks = []
    for n_shards in (10_000, 100_000):
        monkeypatch.setattr(job_drive, "open_objects", lambda _text, n_shards=n_shards: Many(n_shards))
        tracemalloc.start()
        missing = job_status(Job(Many(n_shards))).missing
        n_done = sum(1 for _ in drive("many", Trivial(), missing))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert n_done == n_shards * 9 // 10
    # Beside a page of names: a byte a shard for the commits, and four for those that are missing, as an array grows.
    assert peaks[1] < peaks[0] + 90_000 * 6
