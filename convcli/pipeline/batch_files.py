"""The files of a batch: every input planned by itself, and names of outputs that are taken.

Names that another input, an input itself or a file has are refused before a pixel is read.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from convcli.errors import ConvcliError, OutputError
from convcli.images.files import FileState
from convcli.pipeline.inputs import InputFile, is_special
from convcli.pipeline.naming import DENSE_TEMPLATE, MANIFEST_NAME, MAP_TEMPLATE, PICTURE_TEMPLATE
from convcli.pipeline.outputs import before_end, how_to_tell_apart, keeps_apart
from convcli.pipeline.plan import Plan, Planner
from convcli.pipeline.run import Outcome, failed_by_bug

if TYPE_CHECKING:
    from convcli.images.info import ImageInfo
    from convcli.pipeline.manifest import Manifest

OWN = "an output of this command"


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
            skipped.append(Outcome(input=plan.input, skipped=found))
    return kept, skipped


def owned_by(plans: Sequence[Plan]) -> Callable[[InputFile], bool]:
    """Return the question whether a search found a file that this batch itself writes."""
    # Real paths: the input folder and --out-dir may reach one place by different links.
    written = {os.path.realpath(path) for plan in plans if not plan.request.in_place for path in plan.written_paths}

    def is_own(file: InputFile) -> bool:
        if not file.searched or file.path is None or real_path(file) not in written:
            return False
        from convcli.pipeline.search import is_output

        return is_output(file.path)

    return is_own


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


def plan_each(
    planner: Planner, inputs: Sequence[InputFile], *, tolerant: bool = True
) -> tuple[list[Plan], list[Outcome]]:
    """Plan every input by itself; return the plans, and the outcomes of inputs that cannot be planned.

    A bug is raised, for its own exit code, unless ``tolerant``: the other inputs of a batch go on.
    """
    plans: list[Plan] = []
    settled: list[Outcome] = []
    every: Iterable[InputFile] = inputs
    if any(file.is_stored for file in inputs):
        from convcli.pipeline.publish import ahead

        every = ahead(inputs)
    for file in every:
        try:
            plans += _plan_file(planner, file)
        except ConvcliError as error:
            settled.append(Outcome(input=file, error=error.within(file.label)))
        except Exception as error:
            if not tolerant:
                raise
            settled.append(failed_by_bug(file, error))
    return plans, settled


def _plan_file(planner: Planner, file: InputFile) -> list[Plan]:
    """Read the headers of one file and plan its frames: by themselves, as one picture or as a volume."""
    from convcli.images.frames import probe_frames
    from convcli.images.reading import probe

    request = planner.request
    if file.path is not None:
        with contextlib.suppress(OSError, ValueError):  # what cannot be read fails below, with a reason
            file = file._replace(state=FileState.of(file.path))
    info = probe(file.readable, **request.reading)
    frames = tuple(range(info.n_frames))
    if request.frames is not None:
        from convcli.pipeline.frames import parse_frames

        frames = parse_frames(request.frames, info.n_frames)
    if info.n_frames == 1:
        return [planner.plan(file, info)]

    def headers(frames: Sequence[int]) -> list[ImageInfo]:
        # One pass for all: a frame is found by walking from the first, so single look-ups take quadratic time.
        return probe_frames(file.readable, frames, **request.reading)

    if planner.is_volume:
        return [planner.plan_volume(file, headers(frames), frames)]
    from convcli.pipeline.animation import plan_frames

    return plan_frames(planner.plan, file, frames, headers)


def refuse_bad_names(plans: Sequence[Plan], inputs: Sequence[InputFile]) -> None:
    """Refuse two owners of one file, and an output that is an input.

    Raises
    ------
    OutputError
        Names the file and who would write it.
    """
    wanted = [(path, f"{plan.input.label}") for plan in plans for path in plan.written_paths]
    if plans and plans[0].request.in_place:
        return
    # Without data: the hint would hash the bytes of standard input, which may be a whole file.
    inputs_of = [plan.input._replace(data=b"") for plan in plans]
    refuse_clashes(wanted, hint=lambda: how_to_tell_apart(inputs_of, _template(plans[0])))
    for plan in plans:  # within one input, a template without {kernel} or {channel} makes maps share a file
        named = [(output.path, f"map {index}") for index, output in enumerate(plan.outputs) if output.path]
        refuse_clashes(named, hint=partial(keeps_apart, _template(plan)))
    # mkdir would fail only in the middle of the batch.
    for folder in {path.parent for path, _ in wanted}:
        _refuse_file_as_folder(folder)
    read = {real_path(file) for file in inputs}
    for path, owner in wanted:
        if os.path.realpath(path) in read:
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


def existence(plans: Sequence[Plan]) -> Callable[[Path], bool]:
    """Return the question whether an output is there, in its folder or its store."""
    if not plans or not plans[0].request.out_url:
        # lexists, not exists: a broken link is an entry too, and would be replaced.
        return os.path.lexists
    from convcli.pipeline.publish import published

    return published(plans).__contains__


def real_path(file: InputFile) -> str:
    """Return the real path of an input, or its text where it cannot be a path."""
    try:
        return "" if file.path is None else os.path.realpath(file.path)
    except ValueError:  # a NUL in it, from a list
        return str(file.path)


def refuse_clashes(wanted: Iterable[tuple[Path, str]], *, hint: Callable[[], str]) -> None:
    """Refuse two owners of one path; names that differ in case alone are one where the disk says so.

    Parameters
    ----------
    wanted : iterable of (path, owner)
        The owner is the input or map that would write there.
    hint : callable
        Returns the advice.

    Raises
    ------
    OutputError
        Names the path and both owners.
    """
    from convcli.images.rename import folds_case

    owners: dict[str, tuple[Path, str]] = {}
    for path, owner in wanted:
        other_path, other = owners.setdefault(str(path).casefold(), (path, owner))
        if other != owner and (path == other_path or folds_case(path.parent)):
            raise OutputError(f"{path} would be written by {other} and by {owner}", hint=hint())


def existing_outputs(plans: Sequence[Plan]) -> tuple[Path | str, ...]:
    """Return the outputs that exist, except those that a plan may replace; in place, the backups."""
    if plans and plans[0].request.in_place:
        return tuple(backup for plan in plans for backup in _backups(plan) if os.path.lexists(backup))
    is_there = existence(plans)
    return tuple(
        plan.request.url_of(path) or path
        for plan in plans
        for path in plan.written_paths
        if is_there(path) and path not in plan.replaces
    )


def refuse_existing(plans: Sequence[Plan], *, resume: bool) -> None:
    """Refuse :func:`existing_outputs` with an OutputError that has their number as ``n_existing``."""
    existing = existing_outputs(plans)
    if existing and plans[0].request.in_place:
        from convcli.images.targets import backup_exists

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
