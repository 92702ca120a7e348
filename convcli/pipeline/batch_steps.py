"""Steps of a batch that does only a part: what was done before, exists, or is the same file; and its end."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING

from convcli.errors import OutputError
from convcli.pipeline.batch_files import Step, existence, real_path
from convcli.pipeline.plan import Plan
from convcli.pipeline.run import Outcome

if TYPE_CHECKING:
    from convcli.pipeline.manifest import Manifest


def once_each() -> Step:
    """Return the step that leaves other names of a file to be replaced: it must not be changed twice."""
    firsts: dict[str, Plan] = {}

    def step(plan: Plan) -> Plan | str:
        first = firsts.setdefault(real_path(plan.input), plan)
        return plan if first is plan else f"the same file as {first.input.label}"

    return step


def undone(manifest: Manifest) -> Step:
    """Return the step that leaves what the record has as done, with the same bytes and flags, and notes changes."""
    note = "an output had been changed since it was written: it is made again"

    def step(plan: Plan) -> Plan | str:
        if manifest.is_done(plan):
            return "done before"
        return plan.noted(note) if manifest.is_altered(plan) else plan

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
