"""``apply --cluster`` and ``job run --cluster``: a job, driven on a cluster until every shard is committed."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from convcli.cli.options import ApplyCall
from convcli.errors import EXIT_PARTIAL
from convcli.pipeline.contradictions import refuse
from convcli.pipeline.inputs import read_list
from convcli.pipeline.job_drive import drive
from convcli.pipeline.jobs import Batch, job_status, plan_job, resume_job
from convcli.pipeline.places import join, open_objects, split_url
from convcli.pipeline.report import printable, to_json
from convcli.pipeline.runners.dask import open_cluster
from convcli.process.ending import EXIT_INTERRUPTED
from convcli.process.system import is_url
from convcli.render.messages import interrupted_json, say
from convcli.render.progress import Progress

#: Where ``apply --cluster`` keeps its job.
JOB_FOLDER = ".convcli-job"


class Counts(NamedTuple):
    """Inputs of the shards that a run has seen committed."""

    n_done: int
    n_failed: int


def apply_on_cluster(call: ApplyCall) -> None:
    """Plan a job, or find the one of an earlier run, and drive it to its end.

    Raises
    ------
    ConvcliError
        The job cannot be planned, or no cluster answers.
    SystemExit
        With 7 if some inputs failed, with 130 after Ctrl-C.
    """
    words, flags, run = call
    # Reports of inputs stay on the workers: the client sees counts and commits only.
    refuse([
        (run.dry_run, "--dry-run does nothing with --cluster", "convcli job plan, and look at its folder"),
        (run.report, "--report does nothing with --cluster", "convcli job report JOB -o rows.csv"),
        (run.jobs is not None, "--jobs does nothing with --cluster", "--cluster local:8 says how many"),
        (run.fail_fast, "--fail-fast does nothing with --cluster", "leave it out: failed inputs are rows"),
    ])  # fmt: skip
    listed = read_list(run.files_from, null=run.null) if run.files_from else []
    batch = Batch(words, flags, listed, run.recursive, run.stats or "jsonl")
    place = run.job or _usual_place(batch)
    # An interrupted plan has lists and no job.json: there is nothing to resume, and it is refused below.
    if run.resume and open_objects(place).exists("job.json"):
        job = resume_job(open_objects(place), batch)
    else:
        job = plan_job(open_objects(place), batch, batch.shard_size(run.shard))
    started = time.perf_counter()
    counts = run_shards(place, job_status(job).missing, run.cluster or "", quiet=run.quiet, json=run.json)
    seconds = round(time.perf_counter() - started, 3)
    if run.json:
        totals = {"inputs": job.facts["inputs"], "done": counts.n_done, "failed": counts.n_failed}
        say(to_json({"status": "summary", "job": place, **totals, "seconds": seconds}))
    elif not run.quiet:
        say(
            f"{counts.n_done} inputs done, {counts.n_failed} failed, {seconds} s; convcli job report {printable(place)}"
        )
    if counts.n_failed:
        raise SystemExit(EXIT_PARTIAL)


def _usual_place(batch: Batch) -> str:
    """Return the folder of a job: within its outputs, or beside its one output."""
    # Hidden: a search of the outputs passes over it.
    if batch.is_tiled:
        output = str(batch.flags["output"])
        folder, name = split_url(output) if is_url(output) else os.path.split(output)
        return join(folder, f"{JOB_FOLDER}-{name}")
    refuse([("out_dir" not in batch.flags, "a job needs a folder for its outputs", "--out-dir DIR, or -o FILE.zarr")])
    return join(str(batch.flags["out_dir"]).rstrip("/"), JOB_FOLDER)


def run_shards(place: str, shards: Sequence[int], cluster: str, *, quiet: bool, json: bool = False) -> Counts:
    """Run shards of a job on a cluster.

    Raises
    ------
    ConvcliError
        No cluster answers, or a worker has other versions than the job.
    SystemExit
        With 130 after Ctrl-C.
    """
    n_done = n_failed = n_shards = 0
    if not shards:  # a cluster takes seconds to start
        return Counts(0, 0)

    def tell(line: str) -> None:
        if not quiet:
            say(f"convcli: {printable(line)}", err=True)

    # Workers on other machines, and those in other folders, must find the job too.
    where = place if "://" in place else _absolute(place)
    with (
        open_cluster(cluster, tell) as runner,
        closing(drive(where, runner, shards)) as outcomes,
        Progress(len(shards), shown=not quiet) as progress,
    ):
        try:
            for shard, result in outcomes:
                n_shards += 1
                n_failed += result.n_failed
                n_done += result.n_inputs - result.n_failed
                progress.step(f"shard {shard}", failed=result.n_failed > 0)
                if json:
                    counts = {"inputs": result.n_inputs, "failed": result.n_failed, "committed": result.committed}
                    say(to_json({"shard": shard, **counts}))
        except KeyboardInterrupt:
            # Said before the cluster is closed, which may take longer than a signal leaves.
            how = f"convcli job run {printable(place)} goes on, or the same command with --resume"
            message = f"interrupted, {n_shards} of {len(shards)} shards done"
            if json:
                say(interrupted_json(message))
            say(f"convcli: {message}; {how}", err=True)
            raise SystemExit(EXIT_INTERRUPTED) from None
    return Counts(n_done, n_failed)


def _absolute(place: str) -> str:
    return str(Path(place).absolute())
