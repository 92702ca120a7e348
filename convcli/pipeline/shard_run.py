"""One shard of a job: read its list, run its inputs, return a row a map; what engines and schedulers call.

A task is a job and numbers, never a plan: a plan that was made for one processor may fail on another. Planner and bank
are kept for the next shard of the same job in this process.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from convcli.errors import ConvcliError
from convcli.images.info import digest_of
from convcli.images.recognise import TAR
from convcli.pipeline import packing
from convcli.pipeline.batch import BatchPlan, run_batch
from convcli.pipeline.batch_files import plan_each
from convcli.pipeline.inputs import InputFile, named
from convcli.pipeline.job_facts import decode, refuse_other_versions, request_of
from convcli.pipeline.objects import Entry
from convcli.pipeline.places import join, open_objects
from convcli.pipeline.plan import Plan, Planner
from convcli.pipeline.report import to_json
from convcli.pipeline.request import ApplyRequest
from convcli.pipeline.run import Outcome
from convcli.pipeline.shards import Job

Row = dict[str, object]


class ShardTask(NamedTuple):
    """One shard to run, or a part of it that is not committed; ``job`` is a path or a URL.

    A part is a range of the shard's inputs; of a single tar it may be the range ``inside`` of its pictures.
    """

    job: str
    shard: int
    first: int = 0
    end: int | None = None
    inside: tuple[int, int] | None = None

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole shard."""
        return self.end is None


class ShardResult(NamedTuple):
    """The outcome of a task: counts, and the rows where it is a part, or nothing was committed.

    ``committed`` is ``False`` where another run was first.
    """

    n_inputs: int
    n_failed: int
    committed: bool
    rows: tuple[Row, ...] = ()


def run_apart(task: ShardTask) -> ShardResult:
    """Run a shard on one core, as a worker of an engine does, which runs as many tasks as it has cores."""
    return run_shard(task, jobs=1, cores=1)


def run_shard(
    task: ShardTask,
    *,
    jobs: int | None = None,
    cores: int | None = None,
    owns_process: bool = False,
    watch: Callable[[Outcome], None] = lambda _outcome: None,
) -> ShardResult:
    """Run the inputs of a shard that is not committed, and commit it.

    Parameters
    ----------
    task : ShardTask
    jobs : int, optional
        Inputs at a time; the number of cores if absent.
    cores : int, optional
        Cores to use; all if absent.
    owns_process : bool
        Whether nothing else runs in this process, so that it may be forked.
    watch : callable
        Called with each outcome.

    Raises
    ------
    UsageError
        There is no such job or shard, or the program, NumPy or Python are not those of the job.
    """
    job = Job(open_objects(task.job))
    refuse_other_versions(job.facts["versions"])
    if task.is_whole and job.is_committed(task.shard):
        return ShardResult(0, 0, committed=False)
    entries = job.entries(task.shard)[task.first : task.end]
    planner, finish = _planner(to_json(job.facts, exact=True)), _finish
    if "tiles" in job.facts:
        from convcli.pipeline.tiles import run_tiles

        return _result(job, task, len(entries), run_tiles(job, planner, entries, cores=cores))
    if job.facts.get("packed"):
        planner, finish = _packing_planner(planner, task), _digest
    opened, found = _open(job.facts["input"], entries, task.inside)
    labels = {file.label: entry for entry, file in opened}
    plans, settled = plan_each(planner, [file for _, file in opened])
    batch = BatchPlan(plans=tuple(plans), settled=tuple(settled), finish=finish, tolerant=True, cores=cores)
    files: dict[str, list[tuple[Path, str]]] = {}
    for outcome in run_batch(batch, jobs=jobs, owns_process=owns_process):
        watch(outcome)
        entry = labels[outcome.input._replace(frame=None).label]
        found.setdefault(entry.name, []).extend(_rows(entry, outcome))
        files.setdefault(entry.name, []).extend((outcome.report or {}).get("files", ()))
    # In the order of the list, whoever was first.
    rows = [row for some in found.values() for row in some]
    order = [entry.name for entry, _ in opened]
    if job.facts.get("packed"):
        _put_tar(planner.request, [file for name in order for file in files.get(name, ())], rows)
    return _result(job, task, len(found), rows)


def _result(job: Job, task: ShardTask, n_inputs: int, rows: list[Row]) -> ShardResult:
    """Commit a whole shard; of a part, return the rows."""
    n_failed = len({row["input"] for row in rows if "error" in row})
    if not task.is_whole:
        return ShardResult(n_inputs, n_failed, committed=False, rows=tuple(rows))
    return ShardResult(n_inputs, n_failed, committed=job.commit(task.shard, rows))


def _open(
    root: str, entries: Sequence[Entry], inside: tuple[int, int] | None
) -> tuple[list[tuple[Entry, InputFile]], dict[str, list[Row]]]:
    """Return the inputs of entries, a tar as its pictures, and rows by name, in order, of those that are none."""
    opened: list[tuple[Entry, InputFile]] = []
    rows: dict[str, list[Row]] = {}
    for entry in entries:
        file = source_of(root, entry)
        if not packing.is_tar(entry):
            rows[entry.name] = []
            opened.append((entry, file))
            continue
        try:
            pictures = list(packing.unpack(file, entry, *(inside or ())))
        except ConvcliError as error:
            rows[entry.name] = [failed_row(entry, error.message)]
            continue
        for inner, picture in pictures:
            rows.setdefault(inner.name, [])
            if picture is None:
                rows[inner.name].append(failed_row(inner, "an earlier picture of the tar has this name"))
            else:
                opened.append((inner, picture))
    return opened, rows


def failed_row(entry: Entry, error: str) -> Row:
    """Return the row of an input that failed."""
    return {"input": entry.name, "etag": entry.etag, "error": error}


@lru_cache(maxsize=4)
def _planner(facts: str) -> Planner:
    """Return the planner of a job's facts, as text: another job in the same place must not find this one's bank."""
    job = json.loads(facts)
    return Planner(request_of(job), decode(job["loaded"]))


def source_of(root: str, entry: Entry) -> InputFile:
    """Return the input of an entry of a job."""
    name = join(root, entry.name) if root else entry.name
    return named(name)._replace(below=below(entry.name), etag=entry.etag)


def below(name: str) -> PurePosixPath:
    """Return the folder of an input's outputs below ``--out-dir``.

    Examples
    --------
    >>> below("2020/a.jpg"), below("/data/a.jpg"), below("s3://b/a.jpg")
    (PurePosixPath('2020'), PurePosixPath('data'), PurePosixPath('s3/b'))
    """
    return PurePosixPath(name.replace("://", "/", 1).lstrip("/")).parent


def _digest(plan: Plan, report: dict[str, Any]) -> None:
    """Add digests of the files, and their names below the output folder."""
    for output, entry in zip(plan.outputs, report["outputs"], strict=True):
        assert output.path is not None, "a job has a folder of outputs"
        entry["digest"] = digest_of(output.path)
        entry["name"] = Path(os.path.relpath(output.path, plan.request.out_dir)).as_posix()
    if plan.request.stage != Path():
        below = plan.input.below / plan.input.file
        names = [(path, path.relative_to(plan.request.stage).as_posix()) for path in plan.written_paths]
        report["files"] = [(path, packing.member_name(str(below), name)) for path, name in names]
        for entry in report["outputs"]:
            entry["member"] = packing.member_name(str(below), entry["name"])


def _finish(plan: Plan, report: dict[str, Any]) -> None:
    """Add digests and names; put the files into their store."""
    _digest(plan, report)
    if plan.request.out_url:
        from convcli.pipeline.publish import publish

        publish(plan, report)


def _tar_name(task: ShardTask) -> str:
    part = "" if task.is_whole else f"-{task.first:06}"
    inside = f"-{task.inside[0]:06}" if task.inside else ""
    return f"{task.shard:08}{part}{inside}{TAR}"


def _packing_planner(planner: Planner, task: ShardTask) -> Planner:
    """Return a planner whose outputs go into a folder of this process, and from there into the tar of a shard."""
    from convcli.pipeline.staging import new_folder

    request, folder = planner.request, new_folder()
    place = request.out_url or str(request.out_dir)
    request = request._replace(out_dir=folder, stage=folder, out_url=join(place, _tar_name(task)))
    return Planner(request, planner.loaded)


def _put_tar(request: ApplyRequest, files: list[tuple[Path, str]], rows: list[Row]) -> None:
    """Store the tar of a shard, in one request, in place of one that an earlier try has left."""
    place, _, name = request.out_url.rpartition("/")
    tar = request.stage / name
    packing.pack(tar, files)
    open_objects(place).put(name, tar.read_bytes())
    shutil.rmtree(request.stage, ignore_errors=True)
    for row in rows:
        if "error" not in row:
            row["output"] = name


def _rows(entry: Entry, outcome: Outcome) -> list[Row]:
    """Return a row for each map of an input, or the one that says why there is none."""
    if outcome.report is None:
        assert outcome.error is not None
        return [failed_row(entry, str(outcome.error.message))]
    files = {one["path"]: one for one in outcome.report["outputs"]}
    rows = []
    for one in outcome.report["maps"]:
        file = files[one["path"]]
        row: Row = {"input": entry.name, "etag": entry.etag, "output": file["name"], "bytes": file["bytes"]}
        row |= {key: file[key] for key in ("member", "digest") if key in file}
        values = ("kernel", "channel", "min", "max", "mean", "std", "clipped_low", "clipped_high", "not_a_number")
        rows.append(row | {key: one[key] for key in values})
    return rows
