"""Each input of a batch by itself: planned, taken through steps that may leave it alone, and its outcome."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from convcli.errors import ConvcliError, OutputError
from convcli.images.files import FileState
from convcli.pipeline.clashes import existence, real_path
from convcli.pipeline.names import InputFile
from convcli.pipeline.plan import Plan, Planner
from convcli.process.system import shortage

if TYPE_CHECKING:
    from convcli.images.info import ImageInfo
    from convcli.pipeline.manifest import Manifest

OWN = "an output of this command"


class Outcome(NamedTuple):
    """The outcome of one input: a report, an error, or the reason why it was skipped.

    ``bug`` is the traceback where the error is not the input's fault but ours.
    """

    source: InputFile
    report: dict[str, Any] | None = None
    error: ConvcliError | None = None
    skipped: str | None = None
    bug: str | None = None

    def as_dict(self) -> dict[str, object]:
        """Return the outcome as plain data."""
        if self.error is not None:
            return {"status": "failed", "input": {"path": self.source.label}, "error": self.error.as_dict()}
        if self.skipped is not None:
            return {"status": "skipped", "input": {"path": self.source.label}, "reason": self.skipped}
        return {"status": "done", **(self.report or {})}


def failed_by_bug(source: InputFile, error: Exception) -> Outcome:
    """Return the outcome of an input on which the program broke; memory that runs out is no bug."""
    if (scarce := shortage(error)) is not None:
        return Outcome(source=source, error=scarce.within(source.label))
    import traceback

    failure = ConvcliError(
        f"this is a bug ({type(error).__name__}: {error})", hint="please report it with the lines above"
    )
    failure.__cause__ = error
    # The traceback travels as text: a child process cannot pickle the object.
    return Outcome(source=source, error=failure.within(source.label), bug="".join(traceback.format_exception(error)))


#: What becomes of an input: its plan, perhaps changed, or the reason why it is left alone.
Step = Callable[[Plan], Plan | str]


def set_aside(plans: Sequence[Plan], *steps: Step) -> tuple[list[Plan], list[Outcome]]:
    """Take every plan through steps; return the plans to run, and the skipped outcomes of the others."""
    kept: list[Plan] = []
    skipped = []
    for plan in plans:
        found: Plan | str = plan
        for step in steps:
            if isinstance(found, Plan):
                found = step(found)
        if isinstance(found, Plan):
            kept.append(found)
        else:
            skipped.append(Outcome(source=plan.source, skipped=found))
    return kept, skipped


def owned_by(plans: Sequence[Plan]) -> Callable[[InputFile], bool]:
    """Return the question whether a search found a file that this batch itself writes."""
    # Real paths: the input folder and --out-dir may reach one place by different links.
    written = {os.path.realpath(path) for plan in plans if not plan.request.in_place for path in plan.written_paths}

    def is_own(source: InputFile) -> bool:
        if not source.searched or source.path is None or real_path(source) not in written:
            return False
        from convcli.pipeline.search import is_output

        return is_output(source.path)

    return is_own


def once_each() -> Step:
    """Return the step that leaves other names of a file to be replaced: it must not be changed twice."""
    firsts: dict[str, Plan] = {}

    def step(plan: Plan) -> Plan | str:
        first = firsts.setdefault(real_path(plan.source), plan)
        return plan if first is plan else f"the same file as {first.source.label}"

    return step


def undone(manifest: Manifest) -> Step:
    """Return the step that leaves what the record has as done, with the same bytes and flags, and notes changes."""
    note = "an output had been changed since it was written: it is made again"

    def step(plan: Plan) -> Plan | str:
        if manifest.is_done(plan):
            return "done before"
        return plan.noted(note) if manifest.is_altered(plan) else plan

    return step


def replacing(manifest: Manifest | None) -> Step:
    """Return the step that lets a plan replace files that the record has as ours, and reports whose files are gone."""

    def step(plan: Plan) -> Plan:
        found = {}
        for path in () if plan.request.in_place else plan.written_paths:
            with contextlib.suppress(OSError):  # nothing of that name
                state = FileState.of(path, follow=False)
                if manifest is not None and manifest.owns(path):
                    found[path] = state
                elif path == plan.report_path:
                    from convcli.pipeline.search import is_orphan

                    if is_orphan(path):
                        found[path] = state
        return replace(plan, replaces=found) if found else plan

    return step


def missing(plans: Sequence[Plan]) -> Step:
    """Return the step that keeps only the outputs that are missing, and leaves an input without any."""
    is_there = existence(plans)

    def step(plan: Plan) -> Plan | str:
        wanted = tuple(output for output in plan.outputs if output.path is None or not is_there(output.path))
        n_there, n_outputs = len(plan.outputs) - len(wanted), len(plan.outputs)
        if n_there == n_outputs:
            return "its outputs exist"
        # The report there describes every map: a report of the missing ones must not replace it.
        note = f"{n_there} of {n_outputs} outputs exist: they and their report stay"
        return plan.noted(note, outputs=wanted, keeps_report=True) if n_there else plan

    return step


def plan_each(
    planner: Planner, sources: Sequence[InputFile], *, tolerant: bool = True
) -> tuple[list[Plan], list[Outcome]]:
    """Plan every input by itself; return the plans, and the outcomes of inputs that cannot be planned.

    A bug is raised, for its own exit code, unless ``tolerant``: the other inputs of a batch go on.
    """
    plans: list[Plan] = []
    settled: list[Outcome] = []
    every: Iterable[InputFile] = sources
    if any(source.is_stored for source in sources):
        from convcli.pipeline.publish import ahead

        every = ahead(sources)
    for source in every:
        try:
            plans += _plan_file(planner, source)
        except ConvcliError as error:
            settled.append(Outcome(source=source, error=error.within(source.label)))
        except Exception as error:
            if not tolerant:
                raise
            settled.append(failed_by_bug(source, error))
    return plans, settled


def _plan_file(planner: Planner, source: InputFile) -> list[Plan]:
    """Read the headers of one file and plan its frames: by themselves, as one picture or as a volume."""
    from convcli.images.reading import probe, probe_frames

    request = planner.request
    if source.path is not None:
        with contextlib.suppress(OSError, ValueError):  # what cannot be read fails below, with a reason
            source = source._replace(state=FileState.of(source.path))
    info = probe(source.readable, **request.reading)
    frames = tuple(range(info.n_frames))
    if request.frames is not None:
        from convcli.pipeline.frames import parse_frames

        frames = parse_frames(request.frames, info.n_frames)
    if info.n_frames == 1:
        return [planner.plan(source, info)]

    def headers(frames: Sequence[int]) -> list[ImageInfo]:
        # One pass for all: a frame is found by walking from the first, so single look-ups take quadratic time.
        return probe_frames(source.readable, frames, **request.reading)

    if planner.is_volume:
        return [planner.plan_volume(source, headers(frames), frames)]
    from convcli.pipeline.animation import plan_frames

    return plan_frames(planner.plan, source, frames, headers)


def while_there(outcomes: Generator[Outcome, None, None], manifest: Manifest) -> Generator[Outcome, None, None]:
    """Pass outcomes on while the output folder is there, and refuse an end at which outputs have gone."""
    written: list[str] = []
    with contextlib.closing(outcomes):
        for outcome in outcomes:
            manifest.check()
            written += [str(one["path"]) for one in (outcome.report or {}).get("outputs", ()) if one["path"] != "-"]
            yield outcome
    gone = [path for path in written if not os.path.lexists(path)]
    if gone:
        more = f" and {len(gone) - 1} more outputs have" if len(gone) > 1 else " has"
        hint = "--resume makes what is missing"
        raise OutputError(f"{gone[0]}{more} gone since this run wrote them: somebody removed them", hint=hint)
