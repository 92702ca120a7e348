"""One shard of a job: read its list, run its inputs, return a row a map; what engines and schedulers call.

A task is a job and numbers, never a plan: a plan that was made for one processor may fail on another. Planner and bank
are kept for the next shard of the same job in this process.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from collections.abc import Callable
from dataclasses import fields
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from convcli.errors import UsageError, is_url
from convcli.images.folders import digest_of
from convcli.pipeline.batch import BatchPlan, run_batch
from convcli.pipeline.batch_files import Outcome
from convcli.pipeline.batch_plan import plan_each
from convcli.pipeline.names import InputFile
from convcli.pipeline.objects import Entry
from convcli.pipeline.places import join, open_objects
from convcli.pipeline.plan import Plan, Planner
from convcli.pipeline.report import to_json
from convcli.pipeline.request import ApplyRequest, parse_request
from convcli.pipeline.shards import Job

if TYPE_CHECKING:
    from convcli.banks.bank import KernelBank
    from convcli.layers.stack import Stack

Row = dict[str, object]


class ShardTask(NamedTuple):
    """One shard to run, or a part of it that is not committed; ``job`` is a path or a URL."""

    job: str
    shard: int
    first: int = 0
    end: int | None = None

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
    sources = [_source(job.facts["input"], entry) for entry in entries]
    labels = {source.label: entry for source, entry in zip(sources, entries, strict=True)}
    plans, settled = plan_each(_planner(to_json(job.facts, exact=True)), sources)
    batch = BatchPlan(plans=tuple(plans), settled=tuple(settled), finish=_finish, tolerant=True, cores=cores)
    found: dict[str, list[Row]] = {entry.name: [] for entry in entries}
    failed = set()
    for outcome in run_batch(batch, jobs=jobs, owns_process=owns_process):
        watch(outcome)
        entry = labels[outcome.source._replace(frame=None).label]
        found[entry.name] += _rows(entry, outcome)
        if outcome.error is not None:
            failed.add(entry.name)
    rows = [row for entry in entries for row in found[entry.name]]  # in the order of the list, whoever was first
    if not task.is_whole:
        return ShardResult(len(entries), len(failed), committed=False, rows=tuple(rows))
    return ShardResult(len(entries), len(failed), committed=job.commit(task.shard, rows))


def failed_row(entry: Entry, error: str) -> Row:
    """Return the row of an input that failed."""
    return {"input": entry.name, "etag": entry.etag, "error": error}


@lru_cache(maxsize=4)
def _planner(facts: str) -> Planner:
    """Return the planner of a job's facts, as text: another job in the same place must not find this one's bank."""
    job = json.loads(facts)
    return Planner(request_of(job), decode(job["loaded"]))


def request_of(facts: dict[str, Any]) -> ApplyRequest:
    """Return the request of a job: earlier tries are replaced, and a.jpg and a.png get names that differ."""
    return parse_request(facts["flags"])._replace(overwrite=True, whole_names=True)


def versions() -> dict[str, str]:
    """Return the versions on which the samples may depend."""
    import numpy

    from convcli.engine import loops
    from convcli.version import __version__

    python = f"{sys.version_info[0]}.{sys.version_info[1]}"
    # The engine that "auto" picks is a function of integers and of whether the core is compiled.
    core = "compiled" if loops().startswith("compiled") else "NumPy"
    return {"convcli": __version__, "numpy": ".".join(numpy.__version__.split(".")[:2]), "python": python, "core": core}


def refuse_other_versions(planned: dict[str, str]) -> None:
    """Refuse to run a job that was planned with other versions: its samples could differ.

    Raises
    ------
    UsageError
        With both versions.
    """
    here = versions()
    for name, version in planned.items():
        if here.get(name) != version:
            raise UsageError(
                f"the job was planned with {name} {version}, and here is {here.get(name)}",
                hint="install what job.json names, or plan the job again",
            )


def encode(loaded: KernelBank | Stack) -> dict[str, object]:
    """Return a bank, every bit of its taps, or the text of a stack, as plain data."""
    from convcli.layers.dump import dump_stack
    from convcli.layers.stack import Stack

    if isinstance(loaded, Stack):
        # Files of weights stay where they are: workers must see them under the same name.
        return {"stack": dump_stack(loaded), "folder": os.path.abspath(loaded.folder or "")}  # noqa: PTH100
    values = {field.name: getattr(loaded, field.name) for field in fields(loaded)}
    weight = values.pop("weight")
    return {**values, "shape": weight.shape, "weight": base64.b64encode(weight.tobytes()).decode()}


def decode(data: dict[str, Any]) -> KernelBank | Stack:
    """Return what :func:`encode` wrote."""
    if "stack" in data:
        from convcli.layers.stack import parse_stack

        return parse_stack(data["stack"], n_axes=2, folder=Path(data["folder"]))
    import numpy as np

    from convcli.banks.bank import KernelBank

    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    shape = values.pop("shape")
    values["weight"] = np.frombuffer(base64.b64decode(values.pop("weight")), np.float64).reshape(shape)
    if values["reduction"]:
        values["reduction"] = tuple((name, tuple(indices)) for name, indices in values["reduction"])
    return KernelBank(**values)


def _source(root: str, entry: Entry) -> InputFile:
    name = join(root, entry.name) if root else entry.name
    where: dict[str, Any] = {"path": None, "url": name} if is_url(name) else {"path": Path(name)}
    return InputFile(**where, below=below(entry.name), etag=entry.etag)


def below(name: str) -> PurePosixPath:
    """Return the folder of an input's outputs below ``--out-dir``.

    Examples
    --------
    >>> below("2020/a.jpg"), below("/data/a.jpg"), below("s3://b/a.jpg")
    (PurePosixPath('2020'), PurePosixPath('data'), PurePosixPath('s3/b'))
    """
    return PurePosixPath(name.replace("://", "/", 1).lstrip("/")).parent


def _finish(plan: Plan, report: dict[str, Any]) -> None:
    """Add digests of the files, and their names below the output folder; put them into their store."""
    for output, entry in zip(plan.outputs, report["outputs"], strict=True):
        assert output.path is not None, "a job has a folder of outputs"
        entry["digest"] = digest_of(output.path)
        entry["name"] = Path(os.path.relpath(output.path, plan.request.out_dir)).as_posix()
    if plan.request.out_url:
        from convcli.pipeline.publish import publish

        publish(plan, report)


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
        row["digest"] = file["digest"]
        values = ("kernel", "channel", "min", "max", "mean", "std", "clipped_low", "clipped_high", "not_a_number")
        rows.append(row | {key: one[key] for key in values})
    return rows
