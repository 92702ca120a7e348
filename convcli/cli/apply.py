"""``convcli apply``: find inputs, plan, run; the end of a single input. :mod:`convcli.cli.batch` has that of many."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convcli.errors import OutputError, UsageError
from convcli.pipeline.inputs import ApplyCall, Search, is_folder, is_folder_url
from convcli.pipeline.naming import refuse
from convcli.pipeline.report import printable, to_json
from convcli.pipeline.request import ApplyRequest, RunFlags, parse_request
from convcli.process import ending, system
from convcli.process.system import is_url, local_path, raise_file_limit
from convcli.render.text import columns, say, tell, warn

if TYPE_CHECKING:
    from convcli.pipeline.batch import BatchPlan
    from convcli.pipeline.inputs import InputFile
    from convcli.pipeline.run import Outcome


def run_apply(call: ApplyCall, *, owns_process: bool = False) -> None:
    """Run ``apply``; a batch works in processes of its own if nothing else runs in this one."""
    words, values, run = call
    _refuse_kernels(words)
    if run.cluster is not None:
        from convcli.cli.job import apply_on_cluster

        ending.in_order()
        apply_on_cluster(call)
        return
    request = parse_request(values)
    _refuse(request, words, run)
    search = Search(run.recursive, None if request.in_place else request.out_dir, request.out_url, run.allow_empty)
    inputs, single = _find(request, words, run, search)
    # Before workers are forked: they inherit the limit.
    raise_file_limit()
    from convcli.pipeline.batch import plan_batch, run_batch

    batch = plan_batch(request, inputs, resume=run.resume, dry_run=run.dry_run)._replace(not_read=search.passed)
    # A file of several frames may have become several inputs.
    single = single and batch.n_inputs == 1
    if run.show and not single:
        raise UsageError(f"--show draws the result of one input, not of {batch.n_inputs}", hint="name one file")
    _refuse_report(batch, request, run)
    if run.dry_run:
        from convcli.cli.batch import print_plan

        print_plan(batch, request, run, single=single)
        return
    # After the dry run, which has nothing to end in order.
    ending.in_order()
    options: dict[str, Any] = {"jobs": run.jobs, "fail_fast": run.fail_fast, "owns_process": owns_process}
    if not single:
        from convcli.cli.batch import finish_batch

        finish_batch(batch, run_batch(batch, **options), request, call)
        return
    outcome = _run_single(batch, request, run, options)
    if run.report:
        from convcli.cli.batch import write_reports

        write_reports(batch, [outcome.as_dict()], request, call)
    _finish_single(outcome, request, run)


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


def _find(request: ApplyRequest, words: Sequence[str], run: RunFlags, search: Search) -> tuple[list[InputFile], bool]:
    """Return the inputs, and whether one file was named, by itself; say what is not read."""
    from convcli.pipeline.batch import find_inputs

    listed: list[str] = []
    if run.files_from:
        from convcli.cli.batch import read_list

        listed = read_list(run.files_from, null=run.null, allow_empty=run.allow_empty)
    inputs, own = find_inputs(words, search, listed=listed), search.skipped
    if own and not run.quiet:
        outputs = "1 output of an earlier run is" if len(own) == 1 else f"{len(own)} outputs of earlier runs are"
        warn("note", f"{outputs} not read again (first {own[0]}); another --out-dir reads them")
    if search.passed and not run.quiet:
        from convcli.pipeline.search import count_passed

        warn("note", f"not read: {count_passed(search.passed)}")
    if request.is_one_file and len(inputs) > 1:
        name = "- is one stream" if request.to_stdout else f"{request.output} is one file"
        raise UsageError(f"-o {name} for {len(inputs)} inputs", hint="--layout picture --out-dir DIR")
    named = len(words) == 1 and not listed and not is_folder_url(words[0])
    return inputs, named and not is_folder(words[0])


def _refuse_report(batch: BatchPlan, request: ApplyRequest, run: RunFlags) -> None:
    """Refuse a report that would replace an input, an output or an existing file."""
    if run.report is None:
        return
    if is_url(run.report):
        from convcli.pipeline.places import open_objects, split_url

        open_objects(split_url(run.report)[0])  # its scheme is known, before anything runs
        return
    path = local_path(run.report)
    taken = {os.path.realpath(other) for plan in batch.plans for other in plan.written_paths}
    taken |= {os.path.realpath(plan.input.path) for plan in batch.plans if plan.input.path is not None}
    if os.path.realpath(path) in taken:
        raise OutputError(f"--report {path} is an input or another output", hint="choose another name")
    if os.path.lexists(path) and not (request.overwrite or run.dry_run):
        raise OutputError(f"--report {path} exists", hint="--overwrite replaces it")


def _run_single(batch: BatchPlan, request: ApplyRequest, run: RunFlags, options: dict[str, Any]) -> Outcome:
    """Run the only input; its plan is told before it runs, and a bar is shown while it takes long."""
    from convcli.pipeline.batch import run_batch

    if batch.plans and not run.quiet and not run.json and not request.to_stdout:
        from convcli.pipeline.report import describe
        from convcli.render.apply import shape_lines

        tell("\n".join(shape_lines(describe(batch.plans[0]))))
    try:
        with _bar(batch, run) as watch, closing(run_batch(batch, watch=watch, **options)) as outcomes:
            return next(outcomes)  # the record is unlocked before anything more is said
    except KeyboardInterrupt:
        from convcli.cli.batch import interrupted

        raise interrupted(0, 1, run) from None


def _bar(batch: BatchPlan, run: RunFlags) -> AbstractContextManager[Callable[[float], None] | None]:
    """Return the bar of a single input, which only people at a terminal see."""
    if run.quiet or not batch.plans or columns(err=True) is None:
        return nullcontext()
    from convcli.render.progress import JobBar

    plan = batch.plans[0]
    n_samples = sum(len(one.maps) * one.size_hw[0] * one.size_hw[1] for one in plan.outputs)
    return JobBar(plan.input.label.rpartition("/")[2], n_samples)


def _finish_single(outcome: Outcome, request: ApplyRequest, run: RunFlags) -> None:
    """Print the report of the only input, or raise its error."""
    if run.json:
        say(to_json(outcome.as_dict()))
    if outcome.error is not None:
        outcome.error.is_told = run.json
        raise outcome.error
    if run.quiet:
        pass
    elif outcome.report is None:
        say(f"{printable(outcome.input.label)}: left alone, {outcome.skipped}", err=True)
    elif not run.json and not request.to_stdout:
        from convcli.render.apply import render_result

        tell(render_result(outcome.report))
    elif not run.json:
        warn("note", *outcome.report["notes"])
    if outcome.report is None:
        return
    if not run.quiet:
        warn("warning", *outcome.report["warnings"])
    if run.show:
        _show(outcome.report)


def _show(report: Mapping[str, Any]) -> None:
    """Draw the pictures of a report, unless no terminal is there to draw on."""
    if not system.is_terminal():
        warn("note", "--show draws on a terminal, and standard output is none")
        return
    from convcli.render.show import show_outputs

    show_outputs(report)
