"""Many inputs of ``convcli apply``: their list, a line or a bar for each, a summary; reports, dry runs of any number.

A report has the command line that makes its outputs again.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convcli.errors import EXIT_PARTIAL, ImageError, UsageError
from convcli.images import formats
from convcli.pipeline.report import to_json
from convcli.pipeline.request import OPTIONS
from convcli.process import ending
from convcli.process.system import is_url, local_path, read_input
from convcli.render.text import complain, interrupted_json, say, tell, warn

if TYPE_CHECKING:
    from convcli.pipeline.batch import BatchPlan
    from convcli.pipeline.inputs import ApplyCall
    from convcli.pipeline.request import ApplyRequest, RunFlags
    from convcli.pipeline.run import Outcome
    from convcli.render.progress import Tally

#: How long a thread keeps Python to itself while another waits, in seconds.
SWITCH_S = 0.0002


def finish_batch(
    batch: BatchPlan, outcomes: Generator[Outcome, None, None], request: ApplyRequest, call: ApplyCall
) -> None:
    """Print a line per input, then notes, warnings and a summary; exit 7 if an input failed."""
    started, run = time.perf_counter(), call.run
    tally, reports = _follow(batch, outcomes, run)
    summary = {**tally.summary(batch.n_inputs, time.perf_counter() - started), "not_read": batch.not_read}
    if run.report:
        order = {plan.input.label: index for index, plan in enumerate(batch.plans)}
        # Inputs end in any order; the report has the order of the command line, failures of planning first.
        reports.sort(key=lambda one: order.get(one["input"]["path"], -1))
        write_reports(batch, [*reports, summary], request, call)
    if run.json:
        say(to_json(summary))
    for failed in tally.failed:
        if failed.error is not None:
            complain(failed.error)
    if not run.quiet:
        warn("note", *tally.notes())
        warn("warning", *tally.warnings())
        say(tally.line(batch.n_inputs, summary["seconds"]), err=run.json or request.to_stdout)
    bugs = [failed.bug for failed in tally.failed if failed.bug]
    if bugs:
        say(f"{bugs[0]}convcli: this is a bug; please report it with the lines above", err=True)
    if tally.exit_code:
        raise SystemExit(tally.exit_code)


def _follow(
    batch: BatchPlan, outcomes: Generator[Outcome, None, None], run: RunFlags
) -> tuple[Tally, list[dict[str, Any]]]:
    """Run a batch to its end, with a line or a bar; return its tally and, for ``--report``, the reports."""
    from convcli.render.progress import Progress, Tally

    # Objects of start-up stay to the end: without freeze every collection would search them again.
    gc.freeze()
    gc.enable()  # start-up went without it
    # Threads alternate between Python and a few hundred microseconds of NumPy or codecs: with Python's interval of
    # 5 ms, each would wait far too long for its next turn.
    sys.setswitchinterval(SWITCH_S)
    tally = Tally()
    reports = []
    try:
        with closing(outcomes), Progress(batch.n_inputs, shown=not run.quiet) as progress:
            for outcome in outcomes:
                tally.add(outcome)
                if run.json:
                    say(to_json(outcome.as_dict()))
                if run.report:
                    reports.append(outcome.as_dict())
                progress.advance(outcome)
    except KeyboardInterrupt:  # caught here: Typer would exit without a word
        raise interrupted(tally.n_done, batch.n_inputs, run) from None
    return tally, reports


def print_plan(batch: BatchPlan, request: ApplyRequest, run: RunFlags, *, single: bool) -> None:
    """Print the plan of a dry run; exit 7 if an input of several failed."""
    from convcli.render.apply import plan_as_dict, render_plan

    if run.report and os.path.lexists(run.report):
        batch = batch._replace(existing=(*batch.existing, run.report))
    failed = [outcome.error for outcome in batch.settled if outcome.error is not None]
    if single and failed:
        raise failed[0]
    # JSON comes first and even for failures, so that a script that reads it learns of them.
    if run.json:
        say(to_json(plan_as_dict(batch)))
    if not run.quiet and not run.json:
        tell(render_plan(batch, overwrite=request.overwrite))
    for error in failed:
        complain(error)
    if failed:
        raise SystemExit(EXIT_PARTIAL)


def write_reports(batch: BatchPlan, reports: list[dict[str, Any]], request: ApplyRequest, call: ApplyCall) -> None:
    """Write the file of ``--report``, if it is asked for."""
    path = call.run.report
    if path is None:
        return
    from convcli.render.reports import report_text, write_report

    line = command_line(call.words, {**call.flags, **call.run._asdict()})
    text = report_text(reports, Path(path).suffix, plans=batch.plans, command=line)
    if is_url(path):
        from convcli.pipeline.places import open_objects, split_url

        place, name = split_url(path)
        open_objects(place).put(name, text.encode("utf-8", "surrogateescape"))
    else:
        write_report(text, local_path(path), overwrite=request.overwrite)


def interrupted(n_done: int, n_inputs: int, run: RunFlags) -> SystemExit:
    """Say how many inputs are done; the others have left no partial files."""
    message = f"interrupted, {n_done} of {n_inputs} done"
    if run.json:
        say(interrupted_json(message))
    say(f"convcli: {message}", err=True)
    return SystemExit(ending.EXIT_INTERRUPTED)


def command_line(words: Sequence[str | os.PathLike[str]], flags: Mapping[str, Any]) -> str:
    """Return the command of names of inputs and of flags by field; ``None`` and ``False`` are flags not given.

    Examples
    --------
    >>> command_line(["my cat.png"], {"kernels": ("sobel", "box"), "stride": "2", "bias": "-1", "quiet": True})
    "convcli apply 'my cat.png' -k sobel -k box --stride 2 --bias=-1 -q"
    """
    import shlex

    names = [os.fspath(word) for word in words]
    parts: list[str] = []
    for row in OPTIONS:
        value, flag = flags.get(row.key), row.short or row.flag
        if value is None or value is False:
            continue
        if row.kind is bool:
            parts.append(flag)
            continue
        for text in map(str, value if row.kind is list and not isinstance(value, str) else [value]):
            # A value that looks like a flag goes with its own, by the long name.
            parts += [f"{row.flag}={text}"] if text.startswith("-") and text != "-" else [flag, text]
    # Names that look like flags stand behind a mark that ends the flags.
    tell = [*parts, "--", *names] if any(one.startswith("-") and one != "-" for one in names) else [*names, *parts]
    return shlex.join(["convcli", "apply", *tell])


def read_list(name: str, *, null: bool, allow_empty: bool = False) -> list[str]:
    """Return the names in a list file, one a line, or ending in NUL as ``find -print0`` writes them.

    Raises
    ------
    ImageError
        The list cannot be read.
    UsageError
        It names nothing, and that is not allowed.
    """
    try:
        data = read_input() if name == "-" else local_path(name).read_bytes()
    except OSError as error:
        raise ImageError(f"--files-from {name}: {error.strerror}", hint="a text file of names, or -") from None
    if (row := formats.sniff(data[:16])) is not None and b"\0" in data:
        raise UsageError(f"--files-from {name} is a picture ({row.name}), not a list", hint=f"convcli apply {name}")
    # Without this check a list from find -print0 would be read as a single absurd name.
    if not null and b"\0" in data:
        raise UsageError(f"--files-from {name} holds NUL characters", hint="-0 where names end in NUL")
    data = data.removeprefix(b"\xef\xbb\xbf")  # as some editors begin a file
    names = [os.fsdecode(part) for part in data.split(b"\0" if null else b"\n")]
    # Editors on Windows end lines in CR LF; with -0 a CR belongs to the name.
    names = [part if null else part.rstrip("\r") for part in names]
    names = [part for part in names if part]
    if not names and not allow_empty:
        hint = "one name a line, or -0 for names that end in NUL; --allow-empty accepts none"
        raise UsageError(f"--files-from {name} names no file", hint=hint)
    return names
