"""What ``convcli apply`` does once its flags are read: find inputs, plan, run, say what happened."""

from __future__ import annotations

import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from convcli.errors import EXIT_PARTIAL, UsageError
from convcli.inputs import find_inputs, read_list
from convcli.report import printable, to_json
from convcli.request import ApplyRequest, parse_request

if TYPE_CHECKING:
    from convcli.batch import BatchPlan, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFlags:
    """Flags that say how the batch runs and what it prints, not what is computed."""

    recursive: bool
    files_from: str | None
    null: bool
    report: str | None
    json: bool
    quiet: bool
    dry_run: bool
    jobs: int | None
    fail_fast: bool
    resume: bool


def run_apply(words: Sequence[str], flags: Mapping[str, object], run: RunFlags) -> None:
    """Run ``apply`` and leave with its exit code.

    Raises
    ------
    ConvcliError
        Whatever stops the whole batch, or the failure of its only input.
    typer.Exit
        With 7 where some inputs of several failed.
    """
    request = parse_request(flags)
    _refuse(request, words, run)
    listed = read_list(run.files_from, null=run.null) if run.files_from else []
    sources = find_inputs(words, recursive=run.recursive, out_dir=request.out_dir, listed=listed)
    if request.output is not None and len(sources) > 1:
        raise UsageError(
            f"-o {request.output} is one file for {len(sources)} inputs", hint="--layout picture --out-dir DIR"
        )
    if request.to_stdout and len(sources) > 1:
        raise UsageError(f"-o - is one stream for {len(sources)} inputs", hint="--layout picture --out-dir DIR")

    from convcli.batch import plan_batch, run_batch

    batch = plan_batch(request, sources, resume=run.resume)
    single = len(sources) == 1 == batch.n_inputs and not run.recursive
    if single and batch.settled and batch.settled[0].error is not None:
        raise batch.settled[0].error
    if run.dry_run:
        _print_plan(batch, run)
        return
    signal.signal(signal.SIGTERM, _interrupt)
    outcomes = run_batch(batch, jobs=run.jobs, fail_fast=run.fail_fast)
    if single:
        _finish_single(next(iter(outcomes)), request, run)
    else:
        _finish_batch(batch, outcomes, run)


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _refuse(request: ApplyRequest, words: Sequence[str], run: RunFlags) -> None:
    if request.to_stdout and run.json:
        raise UsageError("-o - and --json both want standard output", hint="--report FILE.json")
    if "-" in words and run.files_from == "-":
        raise UsageError("standard input cannot be the image and the list", hint="name one of them")
    if run.null and not run.files_from:
        raise UsageError("-0 goes with --files-from", hint="find ... -print0 | convcli apply --files-from - -0")
    if run.resume and (request.output is not None or request.to_stdout):
        raise UsageError("--resume is for batches into --out-dir, not for -o", hint="--layout picture --out-dir DIR")
    if run.jobs is not None and run.jobs < 1:
        raise UsageError(f"--jobs {run.jobs} is less than 1", hint="--jobs 1, or leave it out for all cores")
    if run.report and Path(run.report).suffix not in (".json", ".md", ".csv", ".html"):
        raise UsageError(f"--report {run.report}: unknown suffix", hint="FILE.json, FILE.md, FILE.csv or FILE.html")


def _print_plan(batch: BatchPlan, run: RunFlags) -> None:
    from convcli.render.apply import plan_as_dict, render_plan

    if run.json:
        typer.echo(to_json(plan_as_dict(batch)))
    elif not run.quiet:
        typer.echo(render_plan(batch))
    failed = [outcome for outcome in batch.settled if outcome.error is not None]
    for outcome in failed:
        typer.echo(f"convcli: error: {printable(str(outcome.error))}", err=True)
    if failed:
        raise typer.Exit(EXIT_PARTIAL)


def _finish_single(outcome: Outcome, request: ApplyRequest, run: RunFlags) -> None:
    """One input: its whole report, or its own exit code."""
    if outcome.error is not None:
        raise outcome.error
    if run.report:
        _write_report([outcome.as_dict()], Path(run.report), request)
    if run.json:
        typer.echo(to_json(outcome.as_dict()))
    elif not run.quiet and outcome.report is None:
        typer.echo(f"{printable(outcome.source.label)}: left alone, {outcome.skipped}", err=True)
    elif not run.quiet and not request.to_stdout and outcome.report is not None:
        from convcli.render.apply import render_image

        typer.echo(render_image(outcome.report))
    _warn(outcome, run)


def _finish_batch(batch: BatchPlan, outcomes: Any, run: RunFlags) -> None:
    """Many inputs: a line each, a summary, exit 7 if one failed."""
    from convcli.render.progress import Progress

    started = time.perf_counter()
    n_done = n_skipped = 0
    failed: list[Outcome] = []
    reports: list[dict[str, object]] = []
    with Progress(batch.n_inputs, shown=not run.quiet) as progress:
        for outcome in outcomes:
            n_done += outcome.report is not None
            n_skipped += outcome.skipped is not None
            if outcome.error is not None:
                failed.append(outcome)
            if run.json:
                typer.echo(to_json(outcome.as_dict()))
            if run.report:
                reports.append(outcome.as_dict())
            progress.advance(outcome)
    summary = {
        "status": "summary",
        "inputs": batch.n_inputs,
        "done": n_done,
        "skipped": n_skipped,
        "failed": len(failed),
        "failures": [outcome.as_dict() for outcome in failed],
        "seconds": round(time.perf_counter() - started, 3),
    }
    if run.report:
        _write_report([*reports, summary], Path(run.report), None)
    if run.json:
        typer.echo(to_json(summary))
    for outcome in failed:
        typer.echo(f"convcli: error: {printable(str(outcome.error))}", err=True)
        if outcome.error is not None and outcome.error.hint:
            typer.echo(f"hint: {printable(outcome.error.hint)}", err=True)
    if not run.quiet:
        typer.echo(
            f"{n_done} of {batch.n_inputs} done, {n_skipped} left alone, {len(failed)} failed, {summary['seconds']} s",
            err=run.json,
        )
    if failed:
        raise typer.Exit(EXIT_PARTIAL)


def _warn(outcome: Outcome, run: RunFlags) -> None:
    warnings = (outcome.report or {}).get("warnings", [])
    if not run.quiet:
        for warning in warnings:
            typer.echo(f"convcli: warning: {printable(str(warning))}", err=True)


def _write_report(reports: list[dict[str, object]], path: Path, request: ApplyRequest | None) -> None:
    from convcli.render.reports import write_report

    write_report(reports, path, overwrite=request is None or request.overwrite)
