"""``convcli apply``: find inputs, plan, run, say what happened.

Annotations are not postponed, so that Typer can read those of a command that is defined where Typer is imported.
"""

import gc
import os
import signal
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from convcli.cli.options import ApplyCall, make_call, with_options
from convcli.errors import EXIT_INTERRUPTED, EXIT_PARTIAL, ConvcliError, OutputError, UsageError
from convcli.pipeline.inputs import find_inputs, read_list
from convcli.pipeline.report import printable, to_json
from convcli.pipeline.request import ApplyRequest, RunFlags, parse_request
from convcli.render.messages import complain, say

if TYPE_CHECKING:
    import typer

    from convcli.pipeline.batch import BatchPlan
    from convcli.pipeline.outcome import Outcome


#: How long an interrupted run may take to end before another signal cuts it short, in seconds.
PATIENCE_S = 2.0
#: How long a thread keeps Python to itself while another waits, in seconds.
SWITCH_S = 0.0002


def register(app: "typer.Typer") -> None:
    """Add the command to the program; the context's object runs the call that Typer has read."""
    import typer

    help_of_inputs = "Images, quoted globs, folders with --recursive; - is standard input."

    def apply(
        context: typer.Context,
        inputs: Annotated[list[str] | None, typer.Argument(metavar="INPUT...", help=help_of_inputs)] = None,
        **flags: object,
    ) -> None:
        """Apply a kernel bank to images: one feature map per kernel and plane, and a shape report.

        \b
        convcli apply photo.jpg -k sobel                 maps and a report in photo_sobel/
        convcli apply photo.jpg -k sharpen -o sharp.jpg  one picture
        """  # noqa: D301 - the mark that keeps the lines below apart
        context.obj(make_call(inputs, flags))

    app.command("apply")(with_options(apply))


def run_apply(call: ApplyCall, *, owns_process: bool = False) -> None:
    """Run ``apply``.

    Parameters
    ----------
    call : ApplyCall
    owns_process : bool
        Whether nothing else runs in this process: a batch then works in processes of its own.

    Raises
    ------
    ConvcliError
        Whatever stops the whole batch, or the failure of its only input.
    SystemExit
        With 7 where some inputs of several failed.
    """
    words, flags, run = call
    request = parse_request(flags)
    if "" in words:
        raise UsageError("an input name is empty", hint="a variable of the shell that is not set? name a file, or .")
    _refuse(request, words, run)
    listed = read_list(run.files_from, null=run.null) if run.files_from else []
    own: list[Path] = []
    sources = find_inputs(words, recursive=run.recursive, out_dir=request.out_dir, listed=listed, skipped=own)
    if own and not run.quiet:
        outputs = "1 output of an earlier run is" if len(own) == 1 else f"{len(own)} outputs of earlier runs are"
        _say([f"{outputs} not read again (first {own[0]}); name its folder to read it"], "note")
    if request.is_one_file and len(sources) > 1:
        name = "- is one stream" if request.to_stdout else f"{request.output} is one file"
        raise UsageError(f"-o {name} for {len(sources)} inputs", hint="--layout picture --out-dir DIR")
    one_asked = len(words) == 1 and not listed and not run.recursive and not os.path.isdir(words[0])  # noqa: PTH112 - no exception
    _raise_file_limit()
    from convcli.pipeline.batch import plan_batch, run_batch

    batch = plan_batch(request, sources, resume=run.resume)
    _refuse_report(batch, request, run)
    single = one_asked and batch.n_inputs == 1
    if run.dry_run:
        _print_plan(batch, run, single=single)
        return
    _end_in_order(owns_process)
    outcomes = run_batch(batch, jobs=run.jobs, fail_fast=run.fail_fast, owns_process=owns_process)
    if single:
        try:
            outcome = next(outcomes)
        except KeyboardInterrupt:
            raise _interrupted(0, 1) from None
        _finish_single(outcome, request, run)
    else:
        _finish_batch(batch, outcomes, request, run)


def _raise_file_limit() -> None:
    """Allow as many open files as the system lets us: every map of a bank is one."""
    try:
        import resource
    except ImportError:  # not a POSIX system
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _refuse_report(batch: "BatchPlan", request: ApplyRequest, run: RunFlags) -> None:
    """Name the report against all other files before anything is written."""
    if run.report is None:
        return
    path = Path(run.report)
    taken = {os.path.realpath(other) for plan in batch.plans for other in plan.written_paths}
    taken |= {os.path.realpath(plan.source.path) for plan in batch.plans if plan.source.path is not None}
    if os.path.realpath(path) in taken:
        raise OutputError(f"--report {path} is an input or another output", hint="choose another name")
    if os.path.lexists(path) and not request.overwrite:
        raise OutputError(f"--report {path} exists", hint="--overwrite replaces it")


def _end_in_order(owns_process: bool) -> None:
    """Have SIGTERM, and Ctrl-C in a process of ours, end the run in order, once.

    A second signal would end the ending, and leave what is half-written. Whoever has waited for long may send one more.
    """
    first: list[float] = []

    def interrupt(_signal: int, _frame: object) -> None:
        if not first:
            first.append(time.monotonic())
            raise KeyboardInterrupt
        if time.monotonic() > first[0] + PATIENCE_S:
            os._exit(EXIT_INTERRUPTED)  # processes of the batch end with this one

    signal.signal(signal.SIGTERM, interrupt)
    if owns_process and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, interrupt)


def _refuse(request: ApplyRequest, words: Sequence[str], run: RunFlags) -> None:
    if request.to_stdout and run.json:
        raise UsageError("-o - and --json both want standard output", hint="--report FILE.json")
    if "-" in words and run.files_from == "-":
        raise UsageError("standard input cannot be the image and the list", hint="name one of them")
    if run.null and not run.files_from:
        raise UsageError("-0 goes with --files-from", hint="find ... -print0 | convcli apply --files-from - -0")
    if run.resume and request.skip_existing:
        raise UsageError("--resume and --skip-existing exclude each other", hint="--resume also sees what changed")
    if run.resume and request.is_one_file:
        raise UsageError("--resume is for batches into --out-dir, not for -o", hint="--layout picture --out-dir DIR")
    if run.jobs is not None and run.jobs < 1:
        raise UsageError(f"--jobs {run.jobs} is less than 1", hint="--jobs 1, or leave it out for all cores")
    if run.report and Path(run.report).suffix not in (".json", ".md", ".csv", ".html"):
        raise UsageError(f"--report {run.report}: unknown suffix", hint="FILE.json, FILE.md, FILE.csv or FILE.html")


def _print_plan(batch: "BatchPlan", run: RunFlags, *, single: bool) -> None:
    from convcli.render.apply import plan_as_dict, render_plan

    failed = [outcome.error for outcome in batch.settled if outcome.error is not None]
    if run.json:
        say(to_json(plan_as_dict(batch)))
    if single and failed:
        raise failed[0]
    if not run.quiet and not run.json:
        say(render_plan(batch))
    for error in failed:
        complain(error)
    if failed:
        raise SystemExit(EXIT_PARTIAL)


def _finish_single(outcome: "Outcome", request: ApplyRequest, run: RunFlags) -> None:
    """One input: its whole report, or its own exit code."""
    if run.json:
        say(to_json(outcome.as_dict()))
    if run.report:
        _write_report([outcome.as_dict()], Path(run.report))
    if outcome.error is not None:
        raise outcome.error
    if run.quiet:
        return
    if outcome.report is None:
        say(f"{printable(outcome.source.label)}: left alone, {outcome.skipped}", err=True)
    elif not run.json and not request.to_stdout:
        from convcli.render.apply import render_image

        say(render_image(outcome.report))
    elif not run.json:
        _say(outcome.report["notes"], "note")
    if outcome.report is not None:
        _say(outcome.report["warnings"], "warning")


def _say(lines: Sequence[str], what: str) -> None:
    for line in lines:
        say(f"convcli: {what}: {printable(str(line))}", err=True)


def _interrupted(n_done: int, n_inputs: int) -> SystemExit:
    """Say how far it came; what was under way has ended by now and left only whole files."""
    say(f"convcli: interrupted, {n_done} of {n_inputs} done", err=True)
    return SystemExit(EXIT_INTERRUPTED)


def _finish_batch(
    batch: "BatchPlan", outcomes: "Generator[Outcome, None, None]", request: ApplyRequest, run: RunFlags
) -> None:
    """Many inputs: a line each, what was lost or clipped in any of them, a summary, exit 7 if one failed."""
    from convcli.render.progress import Progress, Tally

    gc.freeze()
    gc.enable()  # start-up went without it
    # Threads work in pieces of a few hundred microseconds of NumPy and codecs: at Python's 5 ms, one that comes back
    # from such a piece waits far too long for one that is between two.
    sys.setswitchinterval(SWITCH_S)
    started = time.perf_counter()
    tally = Tally()
    reports: list[dict[str, Any]] = []
    try:
        with closing(outcomes), Progress(batch.n_inputs, shown=not run.quiet) as progress:
            for outcome in outcomes:
                tally.add(outcome)
                if run.json:
                    say(to_json(outcome.as_dict()))
                if run.report:
                    reports.append(outcome.as_dict())
                progress.advance(outcome)
    except KeyboardInterrupt:  # here, for Typer makes a silent exit of it
        raise _interrupted(tally.n_done, batch.n_inputs) from None
    summary = tally.summary(batch.n_inputs, time.perf_counter() - started)
    if run.report:
        order = {plan.source.label: index for index, plan in enumerate(batch.plans)}
        reports.sort(key=lambda one: order.get(one["input"]["path"], -1))
        _write_report([*reports, summary], Path(run.report))
    if run.json:
        say(to_json(summary))
    for failed in tally.failed:
        if failed.error is not None:
            complain(failed.error)
    if not run.quiet:
        _say(tally.notes(), "note")
        _say(tally.warnings(), "warning")
        say(tally.line(batch.n_inputs, summary["seconds"]), err=run.json or request.to_stdout)
    bugs = [failed.bug for failed in tally.failed if failed.bug]
    if bugs:
        say(f"{bugs[0]}convcli: this is a bug; please report it with the lines above", err=True)
        raise SystemExit(ConvcliError.exit_code)
    if tally.failed:
        raise SystemExit(EXIT_PARTIAL)


def _write_report(reports: Sequence[Mapping[str, Any]], path: Path) -> None:
    from convcli.render.reports import write_report

    write_report(reports, path)
