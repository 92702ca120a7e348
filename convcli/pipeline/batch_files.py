"""Check a batch's outputs against each other and against existing files; the outcome of each input."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Iterator, Sequence
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


def _set_aside(plans: Sequence[Plan], reason: str, aside: Callable[[Plan], bool]) -> tuple[list[Plan], list[Outcome]]:
    """Split plans into those that run, and skipped outcomes of the others."""
    kept: list[Plan] = []
    skipped = []
    for plan in plans:
        if aside(plan):
            skipped.append(Outcome(source=plan.source, skipped=reason))
        else:
            kept.append(plan)
    return kept, skipped


def leave_own_outputs(plans: Sequence[Plan], sources: Sequence[InputFile] = ()) -> tuple[list[Plan], list[Outcome]]:
    """Split off inputs that a search found and this batch writes; say of other outputs, not planned, what they are."""
    # Real paths: the input folder and --out-dir may reach one place by different links.
    written = {os.path.realpath(path) for plan in plans if not plan.request.in_place for path in plan.written_paths}

    def is_own(source: InputFile) -> bool:
        if not source.searched or source.path is None or _real(source) not in written:
            return False
        from convcli.pipeline.own import is_output

        return is_output(source.path)

    kept, skipped = _set_aside(plans, OWN, lambda plan: is_own(plan.source))
    reasons = ((source, OWN if is_own(source) else "an output of an earlier run") for source in sources)
    return kept, [*skipped, *(Outcome(source=source, skipped=reason) for source, reason in reasons)]


def leave_second_names(plans: Sequence[Plan]) -> tuple[list[Plan], list[Outcome]]:
    """Split off inputs to be replaced that are the same file as an earlier one: it must not be changed twice."""
    kept: dict[str, Plan] = {}
    skipped = []
    for plan in plans:
        first = kept.setdefault(_real(plan.source), plan)
        if first is not plan:
            skipped.append(Outcome(source=plan.source, skipped=f"the same file as {first.source.label}"))
    return list(kept.values()), skipped


def leave_done(plans: Sequence[Plan], manifest: Manifest) -> tuple[list[Plan], list[Outcome]]:
    """Split off inputs that the manifest has as done, with the same bytes and flags."""
    return _set_aside(plans, "done before", manifest.is_done)


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
        refuse_clashes(named, hint=partial(_how_to_tell_maps_apart, plan))
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


def _how_to_tell_maps_apart(plan: Plan) -> str:
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


def with_replaceable(plans: Sequence[Plan], manifest: Manifest | None) -> list[Plan]:
    """Let each plan replace files that the manifest has as ours, and reports whose files are gone."""
    return [replace(plan, replaces=found) if (found := _replaceable(plan, manifest)) else plan for plan in plans]


def note_altered(plans: Sequence[Plan], manifest: Manifest) -> list[Plan]:
    """Note where outputs are not as they were written: they are made again, and the change is lost."""
    note = "an output had been changed since it was written: it is made again"
    return [replace(plan, notes=(*plan.notes, note)) if manifest.altered(plan) else plan for plan in plans]


def _replaceable(plan: Plan, manifest: Manifest | None) -> dict[Path, FileState]:
    if plan.request.in_place:
        return {}
    found = {}
    for path in plan.written_paths:
        with contextlib.suppress(OSError):  # nothing of that name
            state = FileState.of(path, follow=False)
            if (manifest is not None and manifest.owns(path)) or (path == plan.report_path and _is_orphan(path)):
                found[path] = state
    return found


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


def leave_existing(plans: Sequence[Plan]) -> tuple[list[Plan], list[Outcome]]:
    """Keep only the outputs that are missing; an input without any is left alone."""
    kept, skipped = [], []
    is_there = _existence(plans)
    for plan in plans:
        missing = tuple(output for output in plan.outputs if output.path is None or not is_there(output.path))
        if len(missing) == len(plan.outputs):
            kept.append(plan)
        elif missing:
            note = (
                f"{len(plan.outputs) - len(missing)} of {len(plan.outputs)} outputs exist: they and their report stay"
            )
            # The report there describes every map: a report of the missing ones must not replace it.
            kept.append(replace(plan, outputs=missing, notes=(*plan.notes, note), keeps_report=True))
        else:
            skipped.append(Outcome(source=plan.source, skipped="its outputs exist"))
    return kept, skipped


def while_there(outcomes: Generator[Outcome, None, None], manifest: Manifest) -> Iterator[Outcome]:
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
