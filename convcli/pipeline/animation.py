"""Frames of one file: whether they make one picture again, and its plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from convcli.errors import UsageError
from convcli.images import formats
from convcli.images.losses import timing_notes
from convcli.pipeline.names import InputFile
from convcli.pipeline.outputs import OutputFile, choose_depth, output_notes
from convcli.pipeline.plan import Plan

#: Properties that frames of one picture share, by their word in messages.
_IN_COMMON: dict[str, Callable[[Plan], object]] = {
    "size": lambda plan: "{}x{}".format(*plan.outputs[0].size_hw),
    "planes": lambda plan: ",".join(plan.selection.names),
    "type": lambda plan: plan.info.dtype,
    "white": lambda plan: plan.info.white,
    "alpha": lambda plan: plan.alpha or "none",
    "depth": lambda plan: plan.outputs[0].depth,
    "maps": lambda plan: ", ".join(one.label for one in plan.maps),
}


def join_frames(source: InputFile, plans: list[Plan]) -> list[Plan]:
    """Return one plan for all frames where they make one picture file, else the plans as they are.

    Parameters
    ----------
    source : InputFile
        The file that the frames are of.
    plans : list of Plan
        One a frame.

    Raises
    ------
    UsageError
        One file is wanted and cannot hold the frames.
    """
    if len(plans) < 2:
        return plans
    request = plans[0].request
    to_file = request.output is not None or request.to_stdout or request.in_place
    # Maps, sheets and --name templates make a file for each frame: only plain pictures are joined.
    if not to_file and (plans[0].outputs[0].kind != "picture" or request.name is not None):
        return plans
    obstacle = _obstacle(plans)
    if obstacle is None:
        return [_join(source, plans)]
    if to_file:
        raise UsageError(
            f"{len(plans)} frames do not go into one file: {obstacle}",
            hint=f"--frames {plans[0].source.frame or 0} takes one of them, --out-dir DIR makes files of each",
        )
    note = f"a file for each of {len(plans)} frames: {obstacle}"
    return [replace(plan, notes=(*plan.notes, note)) for plan in plans]


def _obstacle(plans: list[Plan]) -> str | None:
    """Return the reason why frames are not one picture, or None."""
    first = plans[0]
    kind, output_format = first.outputs[0].kind, _joined_format(plans)
    if kind != "picture":
        return f"{output_format} holds the raw maps of one" if kind == "raw" else f"a {kind} shows the maps of one"
    if not formats.BY_NAME[output_format].animated:
        return f"{output_format} holds one picture"
    # TIFF pages have any depth; the encoders of the other animated formats are given bytes.
    if output_format != "tiff" and first.request.depth not in (None, "8"):
        return f"an animated {output_format} has 8 bits a sample, not {first.request.depth}"
    for word, read in _IN_COMMON.items():
        values = [read(plan) for plan in plans]
        other = next((index for index, value in enumerate(values) if value != values[0]), None)
        if other is not None:
            places = [plans[index].source.frame or 0 for index in (0, other)]
            return f"frame {places[0]} has {word} {values[0]}, frame {places[1]} {values[other]}"
    return None


def _joined_format(plans: list[Plan]) -> str:
    """Return the format of the joined picture: as asked, else the input's if it can hold the results."""
    plan = plans[0]
    own = plan.info.format
    row = formats.BY_NAME.get(own)
    keeps = row is not None and row.animated and (plan.alpha is None or (row.holds_alpha and not row.alpha_is_bit))
    # Without --format an animation keeps its format: programs that play the input then play the output.
    return own if plan.request.format is None and keeps else plan.outputs[0].format


def _join(source: InputFile, plans: list[Plan]) -> Plan:
    """Return the frames as one plan with one output."""
    first, output_format = plans[0], _joined_format(plans)
    old = first.outputs[0]
    path = old.path
    if (
        path is not None and first.request.output is None and not first.request.in_place
    ):  # drop the frame's number, take the format's suffix
        stem = path.name.rpartition("_")[0]
        path = path.with_name(f"{stem}.{formats.BY_NAME[output_format].suffixes[0][1:]}")
    # The depth was chosen for a file of one frame, perhaps in another format: choose it again.
    depth = choose_depth(first.request, first.info, "picture", output_format) if output_format == "tiff" else "8"
    joined = old._replace(path=path, format=output_format, depth=depth)
    frames = tuple(replace(plan, outputs=(joined,), notes=_notes(plan, joined)) for plan in plans)
    # Frames mostly have the same notes; a dict keeps their order, a set would not.
    notes = dict.fromkeys(note for frame in frames for note in frame.notes)
    timing = timing_notes(output_format, [plan.info.duration_ms for plan in plans], first.info.loop)
    n_other = sum(_kept(plan) != _kept(first) for plan in plans)
    other = [f"{n_other} frames have another ICC profile, DPI or EXIF than the first, whose are written"]
    own = (*notes, f"{len(plans)} frames, each by itself", *timing, *(other if n_other else ()))
    return replace(first, source=source, outputs=(joined,), notes=own, frames=frames)


def _kept(plan: Plan) -> tuple[object, ...]:
    """Return the metadata that outputs keep."""
    metadata = plan.info.metadata
    return metadata.icc, metadata.dpi, metadata.exif


def _notes(plan: Plan, joined: OutputFile) -> tuple[str, ...]:
    """Return the notes of a frame, those about its own file replaced by those about the joined one."""

    def about(output: OutputFile) -> list[str]:
        n_planes = len(plan.maps) + (plan.alpha in ("keep", "premultiply-keep"))
        return output_notes(output, plan.info, n_planes, plan.request.encoding)

    old = about(plan.outputs[0])
    return (*(note for note in plan.notes if note not in old), *about(joined))
