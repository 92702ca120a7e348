"""``convcli job``: plan a job of shards, run some of them, count and merge what is done."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from convcli.cli.options import make_call, option, with_options
from convcli.pipeline.request import ApplyRequest

if TYPE_CHECKING:
    from convcli.pipeline.shards import Job

_JOB = typer.Argument(metavar="JOB", help="The folder of the job.")


def register(app: typer.Typer) -> None:
    """Add the group of commands to the program."""
    summary = "Cut a batch into shards that any scheduler can run."
    group = typer.Typer(name="job", no_args_is_help=True, rich_markup_mode=None, help=summary)
    # Options that decide the results, and those that find the inputs.
    keys = {*ApplyRequest._fields, "recursive", "files_from", "null", "quiet", "json", "shard", "stats"}
    group.command(name="plan")(with_options(plan, keys))
    group.command(name="run")(run)
    group.command(name="status")(status)
    group.command(name="report")(report)
    app.add_typer(group)


def plan(
    job: Annotated[str, _JOB],
    inputs: Annotated[list[str] | None, typer.Argument(metavar="INPUT...", help="A folder, or names of files.")] = None,
    **flags: Any,
) -> None:
    """List the inputs and cut them into shards; prints the line that runs one.

    \b
    convcli job plan JOB photos/ -r -k sobel --out-dir edges
    convcli job run JOB --shard 17
    """  # noqa: D301 - the mark that keeps the lines below apart
    from convcli.pipeline.inputs import read_list
    from convcli.pipeline.jobs import Batch, plan_job
    from convcli.pipeline.places import open_objects
    from convcli.pipeline.report import to_json

    words, values, how = make_call(inputs, flags)
    listed = read_list(how.files_from, null=how.null) if how.files_from else []
    batch = Batch(words, values, listed, how.recursive, how.stats or "jsonl")
    planned = plan_job(open_objects(job), batch, batch.shard_size(how.shard))
    facts, last = planned.facts, planned.n_shards - 1
    if how.json:
        typer.echo(to_json({"inputs": facts["inputs"], "bytes": facts["bytes"], "shards": planned.n_shards}))
    elif not how.quiet:
        typer.echo(f"{facts['inputs']} inputs, {facts['bytes']} bytes, {planned.n_shards} shards: 0 to {last}")
        typer.echo(f"convcli job run {job} --shard N")


def run(
    context: typer.Context,
    job: Annotated[str, _JOB],
    *,
    shard: Annotated[
        str | None, option("--shard", metavar="N|A-B", help="Which shards [all that are missing].")
    ] = None,
    cluster: Annotated[
        str | None,
        option("--cluster", metavar="WHERE", help="On a Dask cluster: see convcli apply --help."),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, metavar="N", help="Inputs at a time [cores].")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but errors.")] = False,
    json: Annotated[bool, typer.Option("--json", help="A line of JSON a shard.")] = False,
) -> None:
    """Run shards that are not done; a shard that is done is left alone, so any number of runs may be started.

    Exit code 7 means that the shards are done, and that some of their inputs failed: see convcli job report.
    """
    from convcli.errors import EXIT_PARTIAL
    from convcli.pipeline.jobs import job_status, open_job

    opened = open_job(job)
    # Others may run some of these meanwhile: run_shard then leaves them alone.
    shards = job_status(opened).missing if shard is None else _parse_shards(shard, opened.n_shards)
    if not shards and not quiet and not json:
        typer.echo(f"all {opened.n_shards} shards are done", err=True)
    if cluster is not None and shards:
        from convcli.cli.cluster import run_shards

        n_failed = run_shards(job, shards, cluster, quiet=quiet, json=json).n_failed
    else:
        how: dict[str, Any] = {"quiet": quiet, "json": json, "owns_process": context.obj.owns_process}
        n_failed = sum(_run_one(job, number, jobs, **how) for number in shards)
    if n_failed:
        raise typer.Exit(EXIT_PARTIAL)


def _run_one(job: str, number: int, jobs: int | None, *, quiet: bool, json: bool, owns_process: bool) -> int:
    """Run one shard, say how it went, and return the number of its failed inputs."""
    from convcli.pipeline.report import to_json
    from convcli.pipeline.shard_run import ShardTask, run_shard
    from convcli.render.messages import complain

    started = time.monotonic()
    result = run_shard(
        ShardTask(job, number),
        jobs=jobs,
        owns_process=owns_process,
        watch=lambda outcome: complain(outcome.error) if outcome.error else None,
    )
    if json:
        counts = {"inputs": result.n_inputs, "failed": result.n_failed, "committed": result.committed}
        typer.echo(to_json({"shard": number, **counts}))
    if quiet or json:
        return result.n_failed
    if not result.committed:
        typer.echo(f"shard {number}: done before", err=True)
    else:
        seconds, done = time.monotonic() - started, result.n_inputs - result.n_failed
        typer.echo(f"shard {number}: {done} of {result.n_inputs} inputs done, {seconds:.1f} s", err=True)
    return result.n_failed


def _parse_shards(text: str, n_shards: int) -> range:
    """Return the shards of ``17`` or ``10-19``."""
    from convcli.errors import UsageError

    first, dash, last = text.strip().partition("-")
    # isdigit would take ², which int refuses.
    if not first.isdecimal() or (dash and not last.isdecimal()) or (dash and int(last) < int(first)):
        raise UsageError(f"--shard {text!r} is no shard", hint="a number such as 17, or a range such as 10-19")
    found = range(int(first), int(last or first) + 1)
    if found[-1] >= n_shards:
        raise UsageError(f"--shard {text}: the job has {n_shards} shards", hint=f"0 to {n_shards - 1}")
    return found


def status(
    job: Annotated[str, _JOB],
    *,
    json: Annotated[bool, typer.Option("--json", help="Machine-readable, with every missing shard.")] = False,
) -> None:
    """Count the shards that are done, from their commits."""
    from convcli.pipeline.jobs import job_status, open_job
    from convcli.pipeline.report import to_json

    found = job_status(open_job(job))
    missing, n_done = found.missing, len(found.committed)
    if json:
        typer.echo(to_json({"shards": found.n_shards, "inputs": found.n_inputs, "done": n_done, "missing": missing}))
        return
    typer.echo(f"{n_done} of {found.n_shards} shards done ({found.n_inputs} inputs in all)")
    if missing:
        typer.echo(f"missing: {', '.join(map(str, missing[:10]))}{' ...' if len(missing) > 10 else ''}")


def report(
    job: Annotated[str, _JOB],
    *,
    output: Annotated[
        str | None, option("--output", "-o", metavar="FILE.jsonl|csv", help="Write every row there.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Totals as JSON.")] = False,
) -> None:
    """Merge the rows of all shards that are done: totals and failed inputs, or a row a map with -o."""
    from convcli.errors import EXIT_PARTIAL
    from convcli.pipeline.jobs import open_job, summarise
    from convcli.pipeline.report import printable, to_json

    opened = open_job(job)
    # Row by row: a job may have more of them than memory.
    if output is not None:
        _write_rows(opened, output)
    totals = summarise(opened.rows())
    if json:
        typer.echo(to_json(totals))
    else:
        for one in totals["failures"]:
            typer.echo(printable(f"{one['input']}: {one['error']}"))
        done, failed = totals["inputs_done"], totals["inputs_failed"]
        typer.echo(f"{done} inputs done, {failed} failed, {totals['maps']} maps in {totals['bytes']} bytes")
    if totals["failures"]:
        raise typer.Exit(EXIT_PARTIAL)


def _write_rows(job: Job, name: str) -> None:
    from convcli.errors import OutputError, UsageError
    from convcli.process.system import local_path
    from convcli.render.job import write_rows

    path: Path = local_path(name)
    if path.suffix not in (".jsonl", ".csv"):
        raise UsageError(f"-o {name}: unknown suffix", hint="FILE.jsonl or FILE.csv")
    if path.exists():
        raise OutputError(f"{path} exists", hint="choose another name")
    write_rows(path, job.rows())
