"""Many inputs: plan all, refuse clashes, run them in parallel and yield the outcome of each."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from convcli.errors import ConvcliError, UsageError
from convcli.pipeline.batch_files import (
    Outcome,
    existing_outputs,
    failed_by_bug,
    leave_done,
    leave_existing,
    leave_own_outputs,
    leave_second_names,
    note_altered,
    refuse_bad_names,
    refuse_existing,
    while_there,
    with_replaceable,
)
from convcli.pipeline.batch_plan import plan_each
from convcli.pipeline.names import MANIFEST_NAME, InputFile
from convcli.pipeline.plan import Plan, Planner
from convcli.pipeline.run import Pipeline
from convcli.pipeline.transforms.base import Stopped
from convcli.process.system import shortage

if TYPE_CHECKING:
    from convcli.pipeline.manifest import Manifest
    from convcli.pipeline.request import ApplyRequest

__all__ = ["BatchPlan", "Outcome", "plan_batch", "run_batch"]


class BatchPlan(NamedTuple):
    """Plans that will run, outcomes of inputs that failed or were skipped already, and the record of the folder."""

    plans: tuple[Plan, ...]
    settled: tuple[Outcome, ...]
    manifest: Manifest | None = None
    resume: bool = False
    #: Called with the plan and the report of every input that is done, in the process that did it.
    finish: Callable[[Plan, dict[str, Any]], None] | None = None
    #: Files that a search has passed over, by kind.
    not_read: Mapping[str, int] = MappingProxyType({})
    #: Of a dry run: outputs that exist, which the run would refuse, or replace with ``--overwrite``.
    existing: tuple[object, ...] = ()
    #: Whether a bug with a single input is its outcome too.
    tolerant: bool = False
    #: Cores to use; all if absent.
    cores: int | None = None

    @property
    def n_inputs(self) -> int:
        """Number of inputs, failed ones included."""
        return len(self.plans) + len(self.settled)


def plan_batch(
    request: ApplyRequest, sources: Sequence[InputFile], *, resume: bool = False, dry_run: bool = False
) -> BatchPlan:
    """Read every header, plan every image and name every file before anything is written.

    Parameters
    ----------
    request : ApplyRequest
    sources : sequence of InputFile
    resume : bool
        Skip inputs that the manifest of ``--out-dir`` has as done; replace outputs that it has as begun.
    dry_run : bool
        List outputs that exist, and do not refuse them.

    Returns
    -------
    BatchPlan
        Inputs that cannot be read or planned are in it as failed; they do not stop the others. A file that a search
        found and that this batch itself writes is no input, and left alone.

    Raises
    ------
    OutputError
        Two inputs would write one file, an output is an input, or a file exists and may not be replaced.
    UsageError
        The flags fit none of several inputs, for the same reason.
    """
    planner = Planner(request)
    photographs = [source for source in sources if not source.is_output]
    plans, settled = plan_each(planner, photographs, tolerant=len(sources) > 1)
    _refuse_misuse(plans, settled)
    # Before names are checked: an output of the last run that a search found is an input that would be replaced.
    plans, skipped = leave_own_outputs(plans, [source for source in sources if source.is_output])
    settled += skipped
    if request.in_place:
        plans, skipped = leave_second_names(plans)
        settled += skipped
    own = {outcome.source.path for outcome in skipped}
    refuse_bad_names(plans, [source for source in sources if source.path not in own])
    manifest = _open_manifest(request, resume or len(sources) > 1)
    # Before existing files are refused: the outputs of finished inputs exist and must not stop the run.
    if manifest is not None and resume:
        plans, skipped = leave_done(plans, manifest)
        plans = note_altered(plans, manifest)
        settled += skipped
    plans = with_replaceable(plans, manifest if resume else None)
    if request.skip_existing:
        plans, skipped = leave_existing(plans)
        settled += skipped
    elif not (request.overwrite or dry_run):
        refuse_existing(plans, resume=resume)
    there = existing_outputs(plans) if dry_run else ()
    batch = BatchPlan(tuple(plans), tuple(settled), manifest=manifest, resume=resume, existing=there)
    if not request.out_url:
        return batch
    from convcli.pipeline.publish import publish

    return batch._replace(finish=publish)


def _refuse_misuse(plans: Sequence[Plan], settled: Sequence[Outcome]) -> None:
    """Raise an error about the flags once where each of several inputs has it."""
    errors = [outcome.error for outcome in settled if isinstance(outcome.error, UsageError)]
    # One message instead of a hundred equal ones; whatever differs is told input by input.
    if plans or len(settled) < 2 or len(errors) < len(settled):
        return
    if len({error.message for error in errors}) == 1:
        raise UsageError(errors[0].message, hint=errors[0].hint, **errors[0].facts)


def _open_manifest(request: ApplyRequest, wanted: bool) -> Manifest | None:
    """Return the record of the output folder, where there is one or it is wanted."""
    if request.is_one_file or request.out_url or request.in_place:
        return None
    # A single input needs no record. One that is there must learn of it, or --resume would trust an old entry.
    if not wanted and not os.path.lexists(request.out_dir / MANIFEST_NAME):
        return None
    from convcli.pipeline.manifest import Manifest

    return Manifest(request.out_dir)


def run_batch(
    batch: BatchPlan,
    *,
    jobs: int | None = None,
    fail_fast: bool = False,
    owns_process: bool = False,
    watch: Callable[[float], None] | None = None,
) -> Generator[Outcome, None, None]:
    """Run every plan and yield outcomes as they come; inputs that were settled by planning come first.

    Parameters
    ----------
    batch : BatchPlan
    jobs : int, optional
        Files at a time; the number of cores if absent. Threads within a file share the other cores.
    fail_fast : bool
        Start nothing more after the first failure.
    owns_process : bool
        Whether nothing else runs in this process, so that it may be forked: files at a time then do not share Python.
    watch : callable, optional
        Called with the share of the work that is done, while a batch of a single plan runs.

    Yields
    ------
    Outcome

    Raises
    ------
    OutputError
        Another run is writing into the output folder.
    """
    # Nothing runs in that case, so the output folder and its record must not be made.
    failed = fail_fast and any(outcome.error is not None for outcome in batch.settled)
    if batch.plans and batch.manifest is not None and not failed:
        with closing(batch.manifest):
            # Runs that only add inputs may share a folder; --resume decides from the record and needs it unchanged.
            batch.manifest.lock(alone=batch.resume)
            batch.manifest.sweep({path.parent for plan in batch.plans for path in plan.written_paths})
            yield from while_there(_run(batch, jobs, fail_fast, owns_process, watch), batch.manifest)
    else:
        yield from _run(batch, jobs, fail_fast, owns_process, watch)


def _run(
    batch: BatchPlan, jobs: int | None, fail_fast: bool, owns_process: bool, watch: Callable[[float], None] | None
) -> Generator[Outcome, None, None]:
    for outcome in batch.settled:
        yield outcome
        if fail_fast and outcome.error is not None:
            return
    if not batch.plans:
        return
    # A container or taskset grants fewer cores than os.cpu_count() reports.
    granted = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    cores = batch.cores or granted
    n_jobs = max(1, min(jobs or cores, len(batch.plans)))
    # Files at a time scale better than strips within one: threads get the cores that files leave over.
    pipeline = Pipeline(threads=max(1, cores // n_jobs), settle=partial(_settle, batch), watch=watch)

    def run_one(plan: Plan) -> Outcome:
        return _run_one(plan, pipeline, batch)

    outcomes = (run_one(plan) for plan in batch.plans)
    # One copy of torch is enough, and neither its threads nor those of a store survive a fork.
    may_fork = owns_process and sys.platform == "linux" and not sys.modules.keys() & {"torch", "obstore"}
    if n_jobs > 1 and may_fork and not any(plan.uses_torch for plan in batch.plans):
        outcomes = _run_apart(batch.plans, run_one, n_jobs, pipeline)
    elif n_jobs > 1:
        from convcli.pipeline.workers import work_together

        outcomes = work_together(batch.plans, run_one, n_jobs, stop=pipeline.stop)
    with closing(outcomes):
        for outcome in outcomes:
            yield outcome
            if fail_fast and outcome.error is not None:
                return


def _settle(batch: BatchPlan, plan: Plan, report: dict[str, Any]) -> None:
    if batch.finish is not None:
        batch.finish(plan, report)
    if batch.manifest is not None:
        batch.manifest.done(plan)


def _run_apart(
    plans: Sequence[Plan], run_one: Callable[[Plan], Outcome], n_jobs: int, pipeline: Pipeline
) -> Generator[Outcome, None, None]:
    """Run plans in processes; outcomes come back without their source, which may be a whole file."""
    from convcli.pipeline.pool import work_apart
    from convcli.process import ending

    ending.unwatch()

    def run_far(plan: Plan) -> tuple[Any, ...]:
        return run_one(plan)[1:]

    def lost(plan: Plan, pid: int, code: int) -> tuple[Any, ...]:
        from convcli.pipeline.output_files import discard_lost

        # A killed child cannot remove its unfinished files; their names hold its process number.
        discard_lost(plan, pid)
        return _lost(code)

    results = work_apart(plans, run_far, n_jobs, stop=pipeline.stop, lost=lost)
    with closing(results):
        for plan, result in results:
            outcome = Outcome(plan.source, *result)
            # The error of a lost process names no input yet; the other errors keep the name they have.
            if outcome.error is not None:
                outcome.error.within(plan.source.label)
            yield outcome


def _lost(code: int) -> tuple[Any, ...]:
    """Return the outcome, without its source, of an input whose process has died."""
    number = -code if code < 0 else code - 128
    how = f"was killed (signal {number})" if number > 0 else f"ended early (exit code {code})"
    hint = "not enough memory for several files at a time? -j 1 runs one"
    return Outcome(InputFile(None), error=ConvcliError(f"the process that worked on it {how}", hint=hint))[1:]


def _run_one(plan: Plan, pipeline: Pipeline, batch: BatchPlan) -> Outcome:
    """Run one plan; errors become its outcome, except for a bug with a single input, which has its own exit code."""
    manifest = batch.manifest
    try:
        if manifest is None:
            return Outcome(source=plan.source, report=pipeline.run(plan))
        # The record comes first: a run that is killed after it leaves files that --resume knows to be ours.
        manifest.begin(plan)
        try:
            return Outcome(source=plan.source, report=pipeline.run(plan))
        except BaseException:
            manifest.failed(plan)
            raise
    except Stopped:
        # Stopped is an Exception: without this clause an interrupted input would be told as a bug.
        raise
    except ConvcliError as error:
        # Two runs with --skip-existing: the one that comes later leaves what the other has made meanwhile.
        if plan.request.skip_existing and "n_existing" in error.facts:
            return Outcome(source=plan.source, skipped="another run has made its outputs meanwhile")
        return Outcome(source=plan.source, error=error.within(plan.source.label))
    except Exception as error:
        if batch.n_inputs == 1 and not batch.tolerant and shortage(error) is None:
            raise
        return failed_by_bug(plan.source, error)
