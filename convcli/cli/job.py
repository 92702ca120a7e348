"""``convcli job``: plan a job of shards, run some of them, count and merge what is done; and ``apply --cluster``."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import closing
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convcli.cli.flags import option, with_options
from convcli.errors import EXIT_PARTIAL, OutputError, UsageError
from convcli.pipeline.inputs import ApplyCall, make_call
from convcli.pipeline.naming import refuse
from convcli.pipeline.report import printable, to_json
from convcli.pipeline.request import ApplyRequest
from convcli.process.ending import EXIT_INTERRUPTED
from convcli.process.system import is_url, local_path
from convcli.render.text import complain, interrupted_json, say

if TYPE_CHECKING:
    from convcli.pipeline.jobs import Batch
    from convcli.pipeline.shard_run import ShardResult
    from convcli.pipeline.shards import Job

#: Where ``apply --cluster`` keeps its job.
JOB_FOLDER = ".convcli-job"
#: Fields of the flags that decide the results, and of those that find the inputs.
_PLANNED = {*ApplyRequest._fields, "recursive", "files_from", "null", "quiet", "json", "shard", "stats"}
_Place = Annotated[str, typer.Argument(metavar="JOB", help="The folder of the job, or its URL.")]

commands = typer.Typer(
    name="job", no_args_is_help=True, rich_markup_mode=None, help="Cut a batch into shards that any scheduler can run."
)


@commands.command("plan")
@with_options(_PLANNED)
def plan(
    job: _Place,
    inputs: Annotated[list[str] | None, typer.Argument(metavar="INPUT...", help="Folders, files or URLs.")] = None,
    **flags: Any,
) -> None:
    """List the inputs and cut them into shards.

    \b
    Examples:
      convcli job plan JOB photos/ -r -k sobel --out-dir edges
      convcli job run JOB --shard 17
    """  # noqa: D301 - the mark that keeps the lines below apart
    # Here and not at the top, as below: the help needs no NumPy.
    from convcli.pipeline.jobs import plan_job
    from convcli.pipeline.places import open_objects

    call = make_call(inputs, flags)
    batch, how = _batch_of(call), call.run
    planned = plan_job(open_objects(job), batch, batch.shard_size(how.shard))
    facts, last = planned.facts, planned.n_shards - 1
    if how.json:
        say(to_json({"inputs": facts["inputs"], "bytes": facts["bytes"], "shards": planned.n_shards}))
    elif not how.quiet:
        say(f"{facts['inputs']} inputs, {facts['bytes']} bytes, {planned.n_shards} shards: 0 to {last}")
        say(f"convcli job run {printable(quote(job))} --shard N")


def _batch_of(call: ApplyCall) -> Batch:
    from convcli.cli.batch import read_list
    from convcli.pipeline.jobs import Batch

    how = call.run
    listed = read_list(how.files_from, null=how.null) if how.files_from else []
    return Batch(call.words, call.flags, listed, how.recursive, how.stats or "jsonl")


def apply_on_cluster(call: ApplyCall) -> None:
    """Plan a job, or find the one of an earlier run, and drive it to its end."""
    from convcli.pipeline.cluster import check_cluster
    from convcli.pipeline.jobs import job_status, plan_job, resume_job
    from convcli.pipeline.places import open_objects

    run = call.run
    # Reports of inputs stay on the workers: the client sees counts and commits only.
    refuse([
        (run.dry_run, "--dry-run does nothing with --cluster", "convcli job plan, and look at its folder"),
        (run.report, "--report does nothing with --cluster", "convcli job report JOB -o rows.csv"),
        (run.jobs is not None, "--jobs does nothing with --cluster", "--cluster local:8 says how many"),
        (run.fail_fast, "--fail-fast does nothing with --cluster", "leave it out: failed inputs are rows"),
    ])  # fmt: skip
    check_cluster(run.cluster or "")
    batch = _batch_of(call)
    place = run.job or _usual_place(batch)
    # An interrupted plan has lists and no job.json: there is nothing to resume, and it is refused below.
    if run.resume and open_objects(place).exists("job.json"):
        job = resume_job(open_objects(place), batch)
    else:
        job = plan_job(open_objects(place), batch, batch.shard_size(run.shard))
    started = time.perf_counter()
    n_done, n_failed = _run_on(run.cluster or "", place, job_status(job).missing, quiet=run.quiet, json=run.json)
    seconds = round(time.perf_counter() - started, 3)
    if run.json:
        totals = {"inputs": job.facts["inputs"], "done": n_done, "failed": n_failed}
        say(to_json({"status": "summary", "job": place, **totals, "seconds": seconds}))
    elif not run.quiet:
        say(f"{n_done} inputs done, {n_failed} failed, {seconds} s; convcli job report {printable(quote(place))}")
    if n_failed:
        raise SystemExit(EXIT_PARTIAL)


def _usual_place(batch: Batch) -> str:
    """Return the folder of a job: within its outputs, or beside its one output."""
    from convcli.pipeline.places import join, split_url

    # Hidden: a search of the outputs passes over it.
    if batch.is_tiled:
        output = str(batch.flags["output"])
        folder, name = split_url(output) if is_url(output) else os.path.split(output)
        return join(folder, f"{JOB_FOLDER}-{name}")
    refuse([("out_dir" not in batch.flags, "a job needs a folder for its outputs", "--out-dir DIR, or -o FILE.zarr")])
    return join(str(batch.flags["out_dir"]).rstrip("/"), JOB_FOLDER)


@commands.command("run")
def run(
    context: typer.Context,
    job: _Place,
    *,
    shard: Annotated[
        str | None, option("--shard", metavar="N|A-B", help="Which shards [all that are missing].")
    ] = None,
    cluster: Annotated[
        str | None, option("--cluster", metavar="WHERE", help="On a Dask cluster: see convcli apply --help.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, metavar="N", help="Inputs at a time [cores].")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
    json: Annotated[bool, typer.Option("--json", help="A line of JSON per shard.")] = False,
) -> None:
    """Run shards that are not done.

    A shard that is done is left alone: any number of runs may be started.

    Exit code 7 means that the shards are done, and that some of their inputs failed: see convcli job report.
    """
    from convcli.pipeline.jobs import job_status, open_job

    opened = open_job(job)
    # Others may run some of these meanwhile: run_shard then leaves them alone.
    shards = job_status(opened).missing if shard is None else _parse_shards(shard, opened.n_shards)
    if not shards and not quiet and not json:
        say(f"all {opened.n_shards} shards are done", err=True)
    if cluster is not None:
        _, n_failed = _run_on(cluster, job, shards, quiet=quiet, json=json)
    else:
        how: dict[str, Any] = {"quiet": quiet, "json": json, "owns_process": context.obj}
        n_failed = sum(_run_one(job, number, jobs, **how) for number in shards)
    if n_failed:
        raise typer.Exit(EXIT_PARTIAL)


def _run_on(cluster: str, place: str, shards: Sequence[int], *, quiet: bool, json: bool = False) -> tuple[int, int]:
    """Run shards of a job on a cluster; return how many of their inputs are done, and how many failed."""
    from convcli.pipeline.cluster import open_cluster
    from convcli.pipeline.job_drive import drive
    from convcli.pipeline.job_facts import whole_name
    from convcli.render.progress import Progress

    n_done = n_failed = n_shards = 0
    if not shards:  # a cluster takes seconds to start
        return 0, 0

    def tell(line: str) -> None:
        if not quiet:
            say(f"convcli: {printable(line)}", err=True)

    # Workers on other machines, and those in other folders, must find the job too.
    with (
        open_cluster(cluster, tell) as runner,
        closing(drive(whole_name(place), runner, shards)) as outcomes,
        Progress(len(shards), shown=not quiet) as progress,
    ):
        try:
            for shard, result in outcomes:
                n_shards += 1
                n_failed += result.n_failed
                n_done += result.n_inputs - result.n_failed
                progress.step(f"shard {shard}", failed=result.n_failed > 0)
                if json:
                    say(_counts(shard, result))
        except KeyboardInterrupt:
            # Said before the cluster is closed, which may take longer than a signal leaves.
            how = f"convcli job run {printable(quote(place))} goes on, or the same command with --resume"
            message = f"interrupted, {n_shards} of {len(shards)} shards done"
            if json:
                say(interrupted_json(message))
            say(f"convcli: {message}; {how}", err=True)
            raise SystemExit(EXIT_INTERRUPTED) from None
    return n_done, n_failed


def _counts(shard: int, result: ShardResult) -> str:
    """Return a shard that was run, as a line of JSON."""
    counts = {"inputs": result.n_inputs, "failed": result.n_failed, "committed": result.committed}
    return to_json({"shard": shard, **counts})


def _run_one(job: str, number: int, jobs: int | None, *, quiet: bool, json: bool, owns_process: bool) -> int:
    """Run one shard, say how it went, and return the number of its failed inputs."""
    from convcli.pipeline.shard_run import ShardTask, run_shard

    started = time.monotonic()
    result = run_shard(
        ShardTask(job, number),
        jobs=jobs,
        owns_process=owns_process,
        watch=lambda outcome: complain(outcome.error) if outcome.error else None,
    )
    if json:
        say(_counts(number, result))
    elif not quiet and not result.committed:
        say(f"shard {number}: done before", err=True)
    elif not quiet:
        seconds, done = time.monotonic() - started, result.n_inputs - result.n_failed
        say(f"shard {number}: {done} of {result.n_inputs} inputs done, {seconds:.1f} s", err=True)
    return result.n_failed


def _parse_shards(text: str, n_shards: int) -> range:
    """Return the shards of ``17`` or ``10-19``."""
    first, dash, last = text.strip().partition("-")
    # isdigit would take ², which int refuses.
    if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
        raise UsageError(f"--shard {text!r} is no shard", hint="a number such as 17, or a range such as 10-19")
    found = range(int(first), int(last or first) + 1)
    if found[-1] >= n_shards:
        raise UsageError(f"--shard {text}: the job ends with shard {n_shards - 1}", hint=f"0 to {n_shards - 1}")
    return found


@commands.command("status")
def status(
    job: _Place,
    *,
    json: Annotated[bool, typer.Option("--json", help="Machine-readable, with every missing shard.")] = False,
) -> None:
    """Count the shards that are done, from their commits."""
    from convcli.pipeline.jobs import job_status, open_job

    found = job_status(open_job(job))
    missing, n_done = found.missing, found.n_shards - len(found.missing)
    if json:
        say(to_json({"shards": found.n_shards, "inputs": found.n_inputs, "done": n_done, "missing": [*missing]}))
        return
    say(f"{n_done} of {found.n_shards} shards done ({found.n_inputs} inputs in all)")
    if missing:
        say(f"missing: {', '.join(map(str, missing[:10]))}{' ...' if len(missing) > 10 else ''}")


@commands.command("report")
def report(
    job: _Place,
    *,
    output: Annotated[
        str | None, option("--output", "-o", metavar="FILE.jsonl|csv", help="Write every row there.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Totals as JSON.")] = False,
) -> None:
    """Merge the rows of all shards that are done.

    Prints totals and failed inputs; -o writes one row per map.
    """
    from convcli.pipeline.jobs import open_job, summarise

    opened = open_job(job)
    # Row by row: a job may have more of them than memory.
    if output is not None:
        _write_rows(opened, output)
    totals = summarise(opened.rows())
    if json:
        say(to_json(totals))
    else:
        for one in totals["failures"]:
            say(printable(f"{one['input']}: {one['error']}"))
        say("{inputs_done} inputs done, {inputs_failed} failed, {maps} maps in {bytes} bytes".format(**totals))
    if totals["failures"]:
        raise typer.Exit(EXIT_PARTIAL)


def _write_rows(job: Job, name: str) -> None:
    from convcli.render.reports import write_rows

    path = local_path(name)
    if path.suffix not in (".jsonl", ".csv"):
        raise UsageError(f"-o {name}: unknown suffix", hint="FILE.jsonl or FILE.csv")
    if path.exists():
        raise OutputError(f"{path} exists", hint="choose another name")
    write_rows(path, job.rows())
