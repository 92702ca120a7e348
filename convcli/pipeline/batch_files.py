"""Check a batch's outputs against each other and against existing files; the outcome of each input."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from convcli.errors import ConvcliError, OutputError
from convcli.images.files import FileState
from convcli.pipeline.names import (
    DENSE_TEMPLATE,
    MANIFEST_NAME,
    MAP_TEMPLATE,
    PICTURE_TEMPLATE,
    InputFile,
    before_end,
    how_to_tell_apart,
    is_special,
    keeps_apart,
    refuse_clashes,
)
from convcli.pipeline.plan import Plan
from convcli.process.system import shortage

if TYPE_CHECKING:
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
        if not source.searched or source.path is None or _real(source) not in written:
            return False
        from convcli.pipeline.own import is_output

        return is_output(source.path)

    return is_own


def once_each() -> Step:
    """Return the step that leaves other names of a file to be replaced: it must not be changed twice."""
    firsts: dict[str, Plan] = {}

    def step(plan: Plan) -> Plan | str:
        first = firsts.setdefault(_real(plan.source), plan)
        return plan if first is plan else f"the same file as {first.source.label}"

    return step


def undone(manifest: Manifest) -> Step:
    """Return the step that leaves what the record has as done, with the same bytes and flags, and notes changes."""
    note = "an output had been changed since it was written: it is made again"

    def step(plan: Plan) -> Plan | str:
        if manifest.is_done(plan):
            return "done before"
        return plan.noted(note) if manifest.altered(plan) else plan

    return step


def replacing(manifest: Manifest | None) -> Step:
    """Return the step that lets a plan replace files that the record has as ours, and reports whose files are gone."""

    def step(plan: Plan) -> Plan:
        found = {}
        for path in () if plan.request.in_place else plan.written_paths:
            with contextlib.suppress(OSError):  # nothing of that name
                state = FileState.of(path, follow=False)
                if (manifest is not None and manifest.owns(path)) or (path == plan.report_path and _is_orphan(path)):
                    found[path] = state
        return replace(plan, replaces=found) if found else plan

    return step


def missing(plans: Sequence[Plan]) -> Step:
    """Return the step that keeps only the outputs that are missing, and leaves an input without any."""
    is_there = _existence(plans)

    def step(plan: Plan) -> Plan | str:
        wanted = tuple(output for output in plan.outputs if output.path is None or not is_there(output.path))
        n_there, n_outputs = len(plan.outputs) - len(wanted), len(plan.outputs)
        if n_there == n_outputs:
            return "its outputs exist"
        # The report there describes every map: a report of the missing ones must not replace it.
        note = f"{n_there} of {n_outputs} outputs exist: they and their report stay"
        return plan.noted(note, outputs=wanted, keeps_report=True) if n_there else plan

    return step


def _real(source: InputFile) -> str:
    """Return the real path of an input, or its text where it cannot be a path."""
    try:
        return "" if source.path is None else os.path.realpath(source.path)
    except ValueError:  # a NUL in it, from a list
        return str(source.path)


def refuse_bad_names(plans: Sequence[Plan], sources: Sequence[InputFile]) -> None:
    """Refuse two owners of one file, and an output that is an input.

    Raises
    ------
    OutputError
        Names the file and who would write it.
    """
    wanted = [(path, f"{plan.source.label}") for plan in plans for path in plan.written_paths]
    if plans and plans[0].request.in_place:
        return
    # Without data: the hint would hash the bytes of standard input, which may be a whole file.
    sources_of = [plan.source._replace(data=b"") for plan in plans]
    refuse_clashes(wanted, hint=lambda: how_to_tell_apart(sources_of, _template(plans[0])))
    for plan in plans:  # within one input, a template without {kernel} or {channel} makes maps share a file
        named = [(output.path, f"map {index}") for index, output in enumerate(plan.outputs) if output.path]
        refuse_clashes(named, hint=partial(_keep_maps_apart, plan))
    # mkdir would fail only in the middle of the batch.
    for folder in {path.parent for path, _ in wanted}:
        _refuse_file_as_folder(folder)
    inputs = {_real(source) for source in sources}
    for path, owner in wanted:
        if os.path.realpath(path) in inputs:
            raise OutputError(
                f"{path} is an input and would be replaced (from {owner})",
                hint="choose another output; --in-place is for replacing inputs",
            )
        if _holds_no_file(path):
            raise OutputError(
                f"{path} is a pipe or a device, and would be replaced by a file", hint=f"-o - > {path} writes into it"
            )


def _template(plan: Plan) -> str:
    """Return the template by which the outputs of a plan are named, its maps told apart."""
    name, is_map = plan.request.name, plan.outputs[0].kind == "map"
    if name is None:
        return PICTURE_TEMPLATE if not is_map else MAP_TEMPLATE if plan.maps[0].channel else DENSE_TEMPLATE
    if len({output.path for output in plan.outputs}) == len(plan.outputs):
        return name
    labels = {one.label.casefold() for one in plan.maps}
    return before_end(name, "-{kernel}-{channel}" if len(labels) == len(plan.maps) else "-{index}")


def _keep_maps_apart(plan: Plan) -> str:
    return keeps_apart(_template(plan))


def _holds_no_file(path: Path) -> bool:
    """Return whether a name, or its link target, cannot hold a file: a pipe, a device, the name of a stream."""
    # A finished file is renamed to its name: /dev/stdout would be replaced and never written into.
    is_stream = os.path.abspath(path).startswith(("/dev/fd/", "/dev/std", "/proc/"))  # noqa: PTH100
    return is_special(path) or (is_stream and os.path.lexists(path))


def _refuse_file_as_folder(folder: Path) -> None:
    """Refuse a file where a folder of outputs would be made."""
    there = next((part for part in (folder, *folder.parents) if os.path.lexists(part)), None)
    if there is not None and not os.path.isdir(there):  # noqa: PTH112 - no exception
        raise OutputError(f"{there} is no folder, and outputs would go into it", hint="choose another name")


def _existence(plans: Sequence[Plan]) -> Callable[[Path], bool]:
    """Return the question whether an output is there, in its folder or its store."""
    if not plans or not plans[0].request.out_url:
        # lexists, not exists: a broken link is an entry too, and would be replaced.
        return os.path.lexists
    from convcli.pipeline.publish import published

    return published(plans).__contains__


def _is_orphan(path: Path) -> bool:
    from convcli.pipeline.own import is_orphan

    return is_orphan(path)


def existing_outputs(plans: Sequence[Plan]) -> tuple[Path | str, ...]:
    """Return the outputs that exist, except those that a plan may replace; in place, the backups."""
    if plans and plans[0].request.in_place:
        return tuple(backup for plan in plans for backup in _backups(plan) if os.path.lexists(backup))
    is_there = _existence(plans)
    return tuple(
        plan.request.url_of(path) or path
        for plan in plans
        for path in plan.written_paths
        if is_there(path) and path not in plan.replaces
    )


def refuse_existing(plans: Sequence[Plan], *, resume: bool) -> None:
    """Refuse :func:`existing_outputs`.

    Raises
    ------
    OutputError
        With ``n_existing``.
    """
    existing = existing_outputs(plans)
    if existing and plans[0].request.in_place:
        from convcli.images.in_place import backup_exists

        raise backup_exists(Path(existing[0]))
    if existing:
        more = f" and {len(existing) - 1} more outputs exist" if len(existing) > 1 else " exists"
        begun = not resume and os.path.lexists(plans[0].request.out_dir / MANIFEST_NAME)
        more_hint = ", --resume goes on where a batch ended" if begun else ""
        hint = f"--overwrite replaces, --skip-existing leaves them{more_hint}"
        raise OutputError(f"{existing[0]}{more}", hint=hint, n_existing=len(existing))


def _backups(plan: Plan) -> list[Path]:
    """Return the backups that replacing would make, except the name that the very file has already."""
    paths = [(path, plan.request.backup_of(path)) for path in plan.written_paths]
    return [backup for path, backup in paths if backup and not (backup.exists() and backup.samefile(path))]


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
