"""Many inputs: plan all of them, refuse what clashes, then run them in parallel and yield what became of each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from convcli.errors import ConvcliError, OutputError
from convcli.frames import join_frames, parse_frames, split_frames
from convcli.naming import InputFile, refuse_clashes
from convcli.outputs import Plan
from convcli.pipeline import Pipeline
from convcli.planning import Planner

if TYPE_CHECKING:
    from convcli.manifest import Manifest
    from convcli.request import ApplyRequest
    from convcli.stack_plan import StackPlanner


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcome:
    """What became of one input: a report, an error, or the reason why it was left alone."""

    source: InputFile
    report: dict[str, Any] | None = None
    error: ConvcliError | None = None
    skipped: str | None = None

    def as_dict(self) -> dict[str, object]:
        """Return the outcome as plain data."""
        if self.error is not None:
            return {"status": "failed", "input": {"path": self.source.label}, "error": self.error.as_dict()}
        if self.skipped is not None:
            return {"status": "skipped", "input": {"path": self.source.label}, "reason": self.skipped}
        return {"status": "done", **(self.report or {})}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BatchPlan:
    """Every input planned: what will run, what has failed already or is left alone, and where it is recorded."""

    plans: tuple[Plan, ...]
    settled: tuple[Outcome, ...]
    manifest: Manifest | None = None

    @property
    def n_inputs(self) -> int:
        """Number of inputs, failed ones included."""
        return len(self.plans) + len(self.settled)


def plan_batch(request: ApplyRequest, sources: Sequence[InputFile], *, resume: bool = False) -> BatchPlan:
    """Read every header, plan every image and name every file before anything is written.

    Parameters
    ----------
    request : ApplyRequest
    sources : sequence of InputFile
    resume : bool
        Leave inputs alone that the manifest of ``--out-dir`` has as done, and replace what it has as begun.

    Returns
    -------
    BatchPlan
        Inputs that cannot be read or planned are in it as failed; they do not stop the others.

    Raises
    ------
    OutputError
        Two inputs would write one file, an output is an input, or a file exists and may not be replaced.
    """
    from convcli.images import probe

    planner = make_planner(request)
    plans: list[Plan] = []
    settled: list[Outcome] = []
    for source in sources:
        try:
            info = probe(source.readable, orientation=request.orientation)
            bank = getattr(planner, "bank", None)
            if bank is not None and bank.weight.ndim == 5 and info.n_frames > 1:
                from convcli.volume import plan_volume

                chosen = parse_frames(request.frames or "all", info.n_frames)
                plans.append(plan_volume(request, bank, source, info, chosen))
                continue
            frames: list[Plan] = []
            for part in split_frames(source, info.n_frames, request.frames):
                if part.frame:
                    info = probe(source.readable, frame=part.frame, orientation=request.orientation)
                frames.append(planner.plan(part, info))
            plans += join_frames(source, frames)
        except ConvcliError as error:
            settled.append(Outcome(source=source, error=error.within(source.label)))
    _refuse_bad_names(plans, sources)
    manifest = _open_manifest(request, resume or len(sources) > 1)
    if manifest is not None and resume:
        plans, skipped = _leave_done(plans, manifest)
        settled += skipped
    if request.skip_existing:
        plans, skipped = _leave_existing(plans)
        settled += skipped
    elif not request.overwrite:
        _refuse_existing(plans, manifest if resume else None)
    return BatchPlan(plans=tuple(plans), settled=tuple(settled), manifest=manifest)


def _open_manifest(request: ApplyRequest, wanted: bool) -> Manifest | None:
    if not wanted or request.output is not None or request.to_stdout:
        return None
    from convcli.manifest import Manifest

    return Manifest(request.out_dir)


def _leave_done(plans: Sequence[Plan], manifest: Manifest) -> tuple[list[Plan], list[Outcome]]:
    """Keep what is missing or changed; sweep up what a killed run left half-written."""
    from convcli.manifest import remove_leftovers

    remove_leftovers({path.parent for plan in plans for path in plan.written_paths})
    kept = [plan for plan in plans if not manifest.is_done(plan)]
    left = {id(plan) for plan in kept}
    return kept, [Outcome(source=plan.source, skipped="done before") for plan in plans if id(plan) not in left]


def make_planner(request: ApplyRequest) -> Planner | StackPlanner:
    """Return what plans the inputs of a request: of a bank, or of a stack."""
    if request.stack is None:
        return Planner(request)
    from convcli.stack_plan import StackPlanner

    return StackPlanner(request)


def _refuse_bad_names(plans: Sequence[Plan], sources: Sequence[InputFile]) -> None:
    wanted = [(path, f"{plan.source.label}") for plan in plans for path in plan.written_paths]
    refuse_clashes(wanted, hint="--name '{dir}/{stem}/...' or another --out-dir keeps them apart")
    for plan in plans:  # within one input, a template without {kernel} or {channel} makes maps share a file
        named = [(output.path, f"map {index}") for index, output in enumerate(plan.outputs) if output.path]
        refuse_clashes(named, hint="put {kernel}, {channel} or {index} into --name")
    inputs = {os.path.realpath(source.path) for source in sources if source.path is not None}
    for path, owner in wanted:
        if os.path.realpath(path) in inputs:
            raise OutputError(f"{path} is an input and would be replaced (from {owner})", hint="choose another output")


def _refuse_existing(plans: Sequence[Plan], manifest: Manifest | None) -> None:
    existing = [
        path
        for plan in plans
        for path in plan.written_paths
        if os.path.lexists(path) and not (manifest and manifest.owns(path))
    ]
    if existing:
        more = f" and {len(existing) - 1} more outputs exist" if len(existing) > 1 else " exists"
        raise OutputError(
            f"{existing[0]}{more}", hint="--overwrite replaces, --skip-existing leaves them", n_existing=len(existing)
        )


def _leave_existing(plans: Sequence[Plan]) -> tuple[list[Plan], list[Outcome]]:
    """Keep only the outputs that are missing; an input without any is left alone."""
    kept, skipped = [], []
    for plan in plans:
        missing = tuple(output for output in plan.outputs if output.path is None or not os.path.lexists(output.path))
        if missing:
            kept.append(replace(plan, outputs=missing))
        else:
            skipped.append(Outcome(source=plan.source, skipped="its outputs exist"))
    return kept, skipped


def run_batch(batch: BatchPlan, *, jobs: int | None = None, fail_fast: bool = False) -> Iterator[Outcome]:
    """Run every plan and yield outcomes as they come; inputs that were settled by planning come first.

    Parameters
    ----------
    batch : BatchPlan
    jobs : int, optional
        Files at a time; the number of cores if absent. Threads within a file share what is left.
    fail_fast : bool
        Start nothing more after the first failure.

    Yields
    ------
    Outcome
    """
    for outcome in batch.settled:
        yield outcome
        if fail_fast and outcome.error is not None:
            return
    if not batch.plans:
        return
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    n_jobs = max(1, min(jobs or cores, len(batch.plans)))
    pipeline = Pipeline(threads=max(1, cores // n_jobs))

    def run_one(plan: Plan) -> Outcome:
        return _run_one(plan, pipeline, batch.manifest)

    if n_jobs == 1:
        yield from _run_in_turn(batch.plans, run_one, fail_fast)
    else:
        yield from _run_together(batch.plans, run_one, n_jobs, fail_fast, stop=pipeline.stop)


def _run_one(plan: Plan, pipeline: Pipeline, manifest: Manifest | None) -> Outcome:
    try:
        if manifest is not None:
            manifest.begin(plan)
        report = pipeline.run(plan)
        if manifest is not None:
            manifest.done(plan)
        return Outcome(source=plan.source, report=report)
    except ConvcliError as error:
        return Outcome(source=plan.source, error=error.within(plan.source.label))


def _run_in_turn(plans: Sequence[Plan], run_one: Callable[[Plan], Outcome], fail_fast: bool) -> Iterator[Outcome]:
    for plan in plans:
        outcome = run_one(plan)
        yield outcome
        if fail_fast and outcome.error is not None:
            return


def _run_together(
    plans: Sequence[Plan],
    run_one: Callable[[Plan], Outcome],
    jobs: int,
    fail_fast: bool,
    *,
    stop: Callable[[], None],
) -> Iterator[Outcome]:
    """Keep ``jobs`` files under way and no more in memory; on the way out, stop at the next band."""
    waiting = iter(plans)
    running: set[Future[Outcome]] = set()
    pool = ThreadPoolExecutor(jobs, thread_name_prefix="file")
    try:
        exhausted = False
        while True:
            while not exhausted and len(running) < jobs + 1:
                plan = next(waiting, None)
                exhausted = plan is None
                if plan is not None:
                    running.add(pool.submit(run_one, plan))
            if not running:
                return
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                outcome = future.result()
                yield outcome
                if fail_fast and outcome.error is not None:
                    return
    finally:
        stop()
        pool.shutdown(wait=True, cancel_futures=True)
