"""``convcli apply``: find inputs, plan, run, say what happened."""

from __future__ import annotations

import gc
import os
import sys
import time
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convcli.cli.options import ApplyCall
from convcli.cli.single import finish_single, interrupted, run_single, say_each
from convcli.errors import EXIT_PARTIAL, OutputError, UsageError
from convcli.images.folders import is_folder
from convcli.pipeline.contradictions import refuse
from convcli.pipeline.inputs import find_inputs, is_folder_url, read_list
from convcli.pipeline.report import to_json
from convcli.pipeline.request import ApplyRequest, RunFlags, parse_request
from convcli.process import ending, system
from convcli.process.system import is_url, raise_file_limit
from convcli.render.text import complain, say, tell

if TYPE_CHECKING:
    from convcli.pipeline.batch import BatchPlan
    from convcli.pipeline.batch_files import Outcome
    from convcli.pipeline.names import InputFile
    from convcli.render.progress import Tally


#: How long a thread keeps Python to itself while another waits, in seconds.
SWITCH_S = 0.0002


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
        The batch cannot be planned, or its only input failed.
    SystemExit
        With 7 if some inputs of several failed.
    """
    words, values, run = call
    _refuse_kernels(words)
    if run.cluster is not None:
        from convcli.cli.job import apply_on_cluster

        ending.in_order()
        apply_on_cluster(call)
        return
    request = parse_request(values)
    _refuse(request, words, run)
    passed: Counter[str] = Counter()
    sources, single = _find(request, words, run, passed)
    # Before workers are forked: they inherit the limit.
    raise_file_limit()
    from convcli.pipeline.batch import plan_batch, run_batch

    batch = plan_batch(request, sources, resume=run.resume, dry_run=run.dry_run)._replace(not_read=passed)
    # A file of several frames may have become several inputs.
    single = single and batch.n_inputs == 1
    if run.show and not single:
        raise UsageError(f"--show draws the result of one input, not of {batch.n_inputs}", hint="name one file")
    _refuse_report(batch, request, run)
    if run.dry_run:
        _print_plan(batch, request, run, single=single)
        return
    # After the dry run, which has nothing to end in order.
    ending.in_order()
    options: dict[str, Any] = {"jobs": run.jobs, "fail_fast": run.fail_fast, "owns_process": owns_process}
    if single:
        outcome = run_single(batch, request, run, options)
        _write_report(batch, [outcome.as_dict()], request, call)
        finish_single(outcome, request, run)
    else:
        _finish_batch(batch, run_batch(batch, **options), request, call)


def _refuse_kernels(words: Sequence[str]) -> None:
    """Refuse inputs that are no files but names of kernels: ``-k`` takes one name, not all behind it."""
    for word in words:
        if word.replace("-", "").isalnum() and not os.path.lexists(word):
            from convcli.banks.library import is_known

            if is_known(word):
                raise UsageError(f"there is no file {word!r}; a kernel has that name", hint=f"-k {word}")


def _refuse(request: ApplyRequest, words: Sequence[str], run: RunFlags) -> None:
    loose = [word for word in words if request.layers is not None and _is_layer(word)]
    is_report = run.report is None or Path(run.report).suffix in (".json", ".md", ".csv", ".html")
    refuse([
        ("" in words, "an input name is empty", "a variable of the shell that is not set? name a file, or ."),
        (request.to_stdout and system.is_terminal() and not run.dry_run,
         "-o - writes a picture, and standard output is a terminal", "-o FILE, or a pipe: -o - | display"),
        (request.to_stdout and run.json, "-o - and --json both want standard output", "--report FILE.json"),
        (loose, f"{' '.join(loose)} stands among the inputs",
         f"layers are one value, in quotes: --layers '{' '.join([request.layers or '', *loose])}'"),
        ("-" in words and request.stack == "-", "standard input cannot be the image and the stack", "name one of them"),
        ("-" in words and run.files_from == "-", "standard input cannot be the image and the list", "name one of them"),
        (run.null and not run.files_from, "-0 goes with --files-from",
         "find ... -print0 | convcli apply --files-from - -0"),
        (run.show and (request.to_stdout or run.json), "--show and another flag want standard output",
         "no -o -, no --json"),
        (run.show and request.is_raw, f"--show draws pictures, and {request.format} holds raw maps",
         "a picture format, or no --show"),
        (run.show and request.out_url, "--show draws files of this machine", "a local --out-dir, or no --show"),
        (run.resume and request.skip_existing, "--resume and --skip-existing exclude each other",
         "--resume also sees what changed"),
        (run.resume and request.is_one_file, "--resume is for batches into --out-dir, not for -o",
         "--layout picture --out-dir DIR"),
        (run.resume and request.out_url, "--resume is for local folders",
         "--cluster local:8, or --skip-existing"),
        (run.shard or run.job or run.stats, "--shard, --job and --stats go with --cluster",
         "--cluster local:8"),
        (run.resume and request.in_place, "--resume cannot tell a picture that is changed from one that is not yet",
         "--backup SUFFIX keeps the old files"),
        (run.jobs is not None and run.jobs < 1, f"--jobs {run.jobs} is less than 1",
         "--jobs 1, or leave it out for all cores"),
        (not is_report, f"--report {run.report}: unknown suffix", "FILE.json, FILE.md, FILE.csv or FILE.html"),
    ])  # fmt: skip


def _is_layer(word: str) -> bool:
    """Whether a word that is no file begins as a layer does."""
    from convcli.layers.text import find_kind

    try:
        return not os.path.exists(word) and bool(find_kind(word.partition(":")[0].partition("(")[0], 2))  # noqa: PTH110
    except UsageError:
        return False


def _find(
    request: ApplyRequest, words: Sequence[str], run: RunFlags, passed: Counter[str]
) -> tuple[list[InputFile], bool]:
    """Return the inputs, and whether one file was named, by itself; count what a search passes over."""
    listed = read_list(run.files_from, null=run.null, allow_empty=run.allow_empty) if run.files_from else []
    own: list[Path] = []
    where: dict[str, Any] = {
        "out_dir": None if request.in_place else request.out_dir,
        "out_url": request.out_url,
        "skipped": own,
        "passed": passed,
    }
    sources = find_inputs(words, recursive=run.recursive, listed=listed, allow_empty=run.allow_empty, **where)
    if own and not run.quiet:
        outputs = "1 output of an earlier run is" if len(own) == 1 else f"{len(own)} outputs of earlier runs are"
        say_each([f"{outputs} not read again (first {own[0]}); another --out-dir reads them"], "note")
    if passed and not run.quiet:
        from convcli.pipeline.search import count_passed

        say_each([f"not read: {count_passed(passed)}"], "note")
    if request.is_one_file and len(sources) > 1:
        name = "- is one stream" if request.to_stdout else f"{request.output} is one file"
        raise UsageError(f"-o {name} for {len(sources)} inputs", hint="--layout picture --out-dir DIR")
    named = len(words) == 1 and not listed and not is_folder_url(words[0])
    return sources, named and not is_folder(words[0])


def _refuse_report(batch: BatchPlan, request: ApplyRequest, run: RunFlags) -> None:
    """Refuse a report that would replace an input, an output or an existing file."""
    if run.report is None:
        return
    if is_url(run.report):
        from convcli.pipeline.places import open_objects, split_url

        open_objects(split_url(run.report)[0])  # its scheme is known, before anything runs
        return
    path = Path(run.report)
    taken = {os.path.realpath(other) for plan in batch.plans for other in plan.written_paths}
    taken |= {os.path.realpath(plan.source.path) for plan in batch.plans if plan.source.path is not None}
    if os.path.realpath(path) in taken:
        raise OutputError(f"--report {path} is an input or another output", hint="choose another name")
    if os.path.lexists(path) and not (request.overwrite or run.dry_run):
        raise OutputError(f"--report {path} exists", hint="--overwrite replaces it")


def _print_plan(batch: BatchPlan, request: ApplyRequest, run: RunFlags, *, single: bool) -> None:
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


def _finish_batch(
    batch: BatchPlan, outcomes: Generator[Outcome, None, None], request: ApplyRequest, call: ApplyCall
) -> None:
    """Print a line per input, then notes, warnings and a summary; exit 7 if an input failed."""
    started, run = time.perf_counter(), call.run
    tally, reports = _follow(batch, outcomes, run)
    summary = {**tally.summary(batch.n_inputs, time.perf_counter() - started), "not_read": batch.not_read}
    if run.report:
        order = {plan.source.label: index for index, plan in enumerate(batch.plans)}
        # Inputs end in any order; the report has the order of the command line, failures of planning first.
        reports.sort(key=lambda one: order.get(one["input"]["path"], -1))
        _write_report(batch, [*reports, summary], request, call)
    if run.json:
        say(to_json(summary))
    for failed in tally.failed:
        if failed.error is not None:
            complain(failed.error)
    if not run.quiet:
        say_each(tally.notes(), "note")
        say_each(tally.warnings(), "warning")
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


def _write_report(batch: BatchPlan, reports: list[dict[str, Any]], request: ApplyRequest, call: ApplyCall) -> None:
    path = call.run.report
    if path is None:
        return
    from convcli.pipeline.command import command_line
    from convcli.render.reports import report_text, write_report

    line = command_line(call.words, {**call.flags, **call.run._asdict()})
    text = report_text(reports, Path(path).suffix, plans=batch.plans, command=line)
    if is_url(path):
        from convcli.pipeline.places import open_objects, split_url

        place, name = split_url(path)
        open_objects(place).put(name, text.encode("utf-8", "surrogateescape"))
    else:
        write_report(text, Path(path), overwrite=request.overwrite)
