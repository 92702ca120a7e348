"""Many inputs: find them, plan all, refuse clashes, run them in parallel and yield the outcome of each."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from convcli.errors import ConvcliError, UsageError
from convcli.pipeline.batch_files import (
    OWN,
    existing_outputs,
    owned_by,
    plan_each,
    refuse_bad_names,
    refuse_existing,
    replacing,
    set_aside,
)
from convcli.pipeline.batch_steps import missing, once_each, undone, while_there
from convcli.pipeline.inputs import InputFile, Search, is_folder, is_folder_url, matches, named
from convcli.pipeline.naming import MANIFEST_NAME
from convcli.pipeline.plan import Plan, Planner
from convcli.pipeline.run import Outcome, Pipeline, failed_by_bug
from convcli.pipeline.transforms.base import Stopped
from convcli.process.system import available_threads, read_input, shortage

if TYPE_CHECKING:
    from convcli.pipeline.manifest import Manifest
    from convcli.pipeline.request import ApplyRequest


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

    def settle(self, plan: Plan, report: dict[str, Any]) -> None:
        """Record that all files of an input have their names."""
        if self.finish is not None:
            self.finish(plan, report)
        if self.manifest is not None:
            self.manifest.done(plan)


def find_inputs(words: Sequence[str], search: Search | None = None, *, listed: Sequence[str] = ()) -> list[InputFile]:
    """Return the inputs that the words of a command line mean, in order, each once.

    Names are not opened: missing and locked files are inputs too, and fail when they are read.

    Parameters
    ----------
    words : sequence of str
        Files, ``-`` for standard input, folders, or glob patterns that the shell did not expand.
    search : Search, optional
        How folders are searched; it learns what was left out.
    listed : sequence of str
        Names from a list: files only, no patterns.

    Raises
    ------
    ImageError
        A pattern matches nothing, or a folder has no image.
    UsageError
        There is no input at all.
    """
    search = search or Search()
    # By name and tree: a file found through two folders has two places below --out-dir.
    found: dict[tuple[str, str], InputFile] = {}
    for file in (*_each(words, search), *map(named, listed)):
        found.setdefault((file.label, str(file.below)), file)
    if not found and not search.allow_empty:
        raise UsageError("no input given", hint="convcli apply photo.jpg -k sobel")
    return list(found.values())


def _each(words: Sequence[str], search: Search) -> Iterator[InputFile]:
    for word in words:
        if word == "-":
            yield InputFile(path=None, data=read_input())
        elif is_folder_url(word):
            from convcli.pipeline.search import search_store

            yield from search_store(word, search)
        elif is_folder(word):
            from convcli.pipeline.search import search_folder

            yield from search_folder(Path(word), search)
        elif (names := matches(word, allow_empty=search.allow_empty)) is not None:
            yield from (InputFile(path=Path(name)) for name in names)
        else:
            yield named(word)


def plan_batch(
    request: ApplyRequest, inputs: Sequence[InputFile], *, resume: bool = False, dry_run: bool = False
) -> BatchPlan:
    """Read every header, plan every image and name every file before anything is written.

    Parameters
    ----------
    request : ApplyRequest
    inputs : sequence of InputFile
    resume : bool
        Skip inputs that the manifest of ``--out-dir`` has as done; replace outputs that it has as begun.
    dry_run : bool
        List outputs that exist, and do not refuse them.

    Returns
    -------
    BatchPlan
        Inputs that cannot be read or planned are in it as failed; they do not stop the others.

    Raises
    ------
    OutputError
        Two inputs would write one file, an output is an input, or a file exists and may not be replaced.
    UsageError
        The flags fit none of several inputs, for the same reason.
    """
    photographs = [file for file in inputs if not file.is_output]
    plans, settled = plan_each(Planner(request), photographs, tolerant=len(inputs) > 1)
    _refuse_misuse(plans, settled)
    # Before names are checked: an output of the last run that a search found is an input that would be replaced.
    is_own = owned_by(plans)
    plans, skipped = set_aside(
        plans, lambda plan: OWN if is_own(plan.input) else plan, *([once_each()] if request.in_place else [])
    )
    earlier = [file for file in inputs if file.is_output]
    skipped += [Outcome(one, skipped=OWN if is_own(one) else "an output of an earlier run") for one in earlier]
    own = {outcome.input.path for outcome in skipped}
    refuse_bad_names(plans, [file for file in inputs if file.path not in own])
    manifest = _open_manifest(request, resume or len(inputs) > 1)
    # Before existing files are refused: the outputs of finished inputs exist and must not stop the run.
    known = manifest if resume else None
    plans, done = set_aside(
        plans,
        *([undone(known)] if known is not None else []),
        replacing(known),
        *([missing(plans)] if request.skip_existing else []),
    )
    if not (request.skip_existing or request.overwrite or dry_run):
        refuse_existing(plans, resume=resume)
    there = existing_outputs(plans) if dry_run else ()
    settled += [*skipped, *done]
    batch = BatchPlan(tuple(plans), tuple(settled), manifest=manifest, resume=resume, existing=there)
    if request.out_url:
        from convcli.pipeline.publish import publish

        return batch._replace(finish=publish)
    return batch


def _refuse_misuse(plans: Sequence[Plan], settled: Sequence[Outcome]) -> None:
    """Raise an error about the flags once where each of several inputs has it."""
    errors = [outcome.error for outcome in settled if isinstance(outcome.error, UsageError)]
    # One message instead of a hundred equal ones; whatever differs is told input by input.
    if not plans and 1 < len(settled) == len(errors) and len({error.message for error in errors}) == 1:
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
    # After such a failure nothing runs, so the output folder and its record must not be made.
    failed = fail_fast and any(outcome.error is not None for outcome in batch.settled)
    manifest = batch.manifest if batch.plans and not failed else None
    with nullcontext() if manifest is None else closing(manifest):
        outcomes = _run(batch, jobs, owns_process, watch)
        if manifest is not None:
            # Runs that only add inputs may share a folder; --resume decides from the record and needs it unchanged.
            manifest.lock(alone=batch.resume)
            manifest.sweep({path.parent for plan in batch.plans for path in plan.written_paths})
            outcomes = while_there(outcomes, manifest)
        with closing(outcomes):
            for outcome in outcomes:
                yield outcome
                if fail_fast and outcome.error is not None:
                    return


def _run(
    batch: BatchPlan, jobs: int | None, owns_process: bool, watch: Callable[[float], None] | None
) -> Generator[Outcome, None, None]:
    yield from batch.settled
    if not batch.plans:
        return
    cores = batch.cores or available_threads()
    n_jobs = max(1, min(jobs or cores, len(batch.plans)))
    # Files at a time scale better than strips within one: threads get the cores that files leave over.
    pipeline = Pipeline(threads=max(1, cores // n_jobs), settle=batch.settle, watch=watch)

    run_one = partial(_run_one, pipeline, batch)
    outcomes = (run_one(plan) for plan in batch.plans)
    # One copy of torch is enough, and neither its threads nor those of a store survive a fork.
    has_threads = sys.modules.keys() & {"torch", "obstore", "huggingface_hub"}
    may_fork = owns_process and sys.platform == "linux" and not has_threads
    if n_jobs > 1 and may_fork and not any(plan.uses_torch for plan in batch.plans):
        from convcli.pipeline.pool import run_apart

        outcomes = run_apart(batch.plans, run_one, n_jobs, pipeline.stop)
    elif n_jobs > 1:
        from convcli.pipeline.workers import work_together

        outcomes = work_together(batch.plans, run_one, n_jobs, stop=pipeline.stop)
    yield from outcomes


def _run_one(pipeline: Pipeline, batch: BatchPlan, plan: Plan) -> Outcome:
    """Run one plan; errors become its outcome, except for a bug with a single input, which has its own exit code."""
    try:
        with nullcontext() if batch.manifest is None else batch.manifest.recording(plan):
            return Outcome(input=plan.input, report=pipeline.run(plan))
    except Stopped:
        # Stopped is an Exception: without this clause an interrupted input would be told as a bug.
        raise
    except ConvcliError as error:
        # Two runs with --skip-existing: the one that comes later leaves what the other has made meanwhile.
        if plan.request.skip_existing and "n_existing" in error.facts:
            return Outcome(input=plan.input, skipped="another run has made its outputs meanwhile")
        return Outcome(input=plan.input, error=error.within(plan.input.label))
    except Exception as error:
        if batch.n_inputs == 1 and not batch.tolerant and shortage(error) is None:
            raise
        return failed_by_bug(plan.input, error)
