"""The only input of ``convcli apply``: its plan comes first, then the work, then the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from typing import TYPE_CHECKING, Any

from convcli.pipeline.report import printable, to_json
from convcli.process import ending, system
from convcli.render.text import interrupted_json, say, tell, warn

if TYPE_CHECKING:
    from convcli.pipeline.batch import BatchPlan
    from convcli.pipeline.batch_files import Outcome
    from convcli.pipeline.request import ApplyRequest, RunFlags


def run_single(batch: BatchPlan, request: ApplyRequest, run: RunFlags, options: dict[str, Any]) -> Outcome:
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
        raise interrupted(0, 1, run) from None


def _bar(batch: BatchPlan, run: RunFlags) -> AbstractContextManager[Callable[[float], None] | None]:
    """Return the bar of a single input, which only people at a terminal see."""
    if run.quiet or not batch.plans or system.columns(err=True) is None:
        return nullcontext()
    from convcli.render.progress import JobBar

    plan = batch.plans[0]
    n_samples = sum(len(one.maps) * one.size_hw[0] * one.size_hw[1] for one in plan.outputs)
    return JobBar(plan.source.label.rpartition("/")[2], n_samples)


def finish_single(outcome: Outcome, request: ApplyRequest, run: RunFlags) -> None:
    """Print the report of the only input, or raise its error."""
    if run.json:
        say(to_json(outcome.as_dict()))
    if outcome.error is not None:
        outcome.error.is_told = run.json
        raise outcome.error
    if run.quiet:
        pass
    elif outcome.report is None:
        say(f"{printable(outcome.source.label)}: left alone, {outcome.skipped}", err=True)
    elif not run.json and not request.to_stdout:
        from convcli.render.apply import render_result

        tell(render_result(outcome.report))
    elif not run.json:
        say_each(outcome.report["notes"], "note")
    if outcome.report is None:
        return
    if not run.quiet:
        say_each(outcome.report["warnings"], "warning")
    if run.show:
        show(outcome.report)


def show(report: Mapping[str, Any]) -> None:
    """Draw the pictures of a report, unless no terminal is there to draw on."""
    if not system.is_terminal():
        warn("note", "--show draws on a terminal, and standard output is none")
        return
    from convcli.render.show import show_outputs

    show_outputs(report)


def say_each(lines: Sequence[str], what: str) -> None:
    """Write notes or warnings, a line each."""
    for line in lines:
        warn(what, str(line))


def interrupted(n_done: int, n_inputs: int, run: RunFlags) -> SystemExit:
    """Say how many inputs are done; the others have left no partial files."""
    message = f"interrupted, {n_done} of {n_inputs} done"
    if run.json:
        say(interrupted_json(message))
    say(f"convcli: {message}", err=True)
    return SystemExit(ending.EXIT_INTERRUPTED)
