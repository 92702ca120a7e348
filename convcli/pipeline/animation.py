"""Frames of one file: whether they make one picture again, and its plan."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from convcli.errors import UsageError
from convcli.images import formats
from convcli.images.write import timing_notes
from convcli.pipeline.inputs import InputFile
from convcli.pipeline.outputs import OutputFile, choose_depth, output_notes
from convcli.pipeline.plan import Plan

if TYPE_CHECKING:
    from convcli.images.info import ImageInfo

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


#: Headers that are read to plan. Later frames are taken to be like them and compared when they are read,
#: so that planning takes no longer for a file of 100,000 frames.
MOST_HEADERS = 1000


class Frames(Sequence[Plan]):
    """Plans of the frames of a joined picture: frames of one kind share a plan but for their number.

    Parameters
    ----------
    kinds : sequence of Plan
        A plan for each kind of frame; the first frame is of the first kind.
    which : sequence of int
        Kinds of the frames whose headers were read; the others are like the last of them.
    numbers : sequence of int
        Places of the frames in the file.
    """

    def __init__(self, kinds: Sequence[Plan], which: Sequence[int], numbers: Sequence[int]) -> None:
        self._kinds, self._which, self._numbers = kinds, which, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> Plan:  # type: ignore[override]
        number = self._numbers[index]  # which ends an iteration
        plan = self._kinds[self._which[index] if index < len(self._which) else self._which[-1]]
        return replace(plan, input=plan.input._replace(frame=number))

    @property
    def is_planned(self) -> bool:
        """Whether the headers of all frames were read."""
        return len(self._which) == len(self._numbers)

    def check(self, index: int, info: ImageInfo) -> bool:
        """Return whether the header of a frame was planned; refuse one that was not and is unlike the first.

        Raises
        ------
        UsageError
            Its header says something else.
        """
        if index < len(self._which):
            return True
        found = _facts(info)
        for word, wanted in _facts(self._kinds[0].info).items():
            if found[word] != wanted:
                raise UsageError(
                    f"frame {self._numbers[index]} has {word} {found[word]}, frame {self._numbers[0]} {wanted}",
                    hint=f"--frames {self._numbers[0]}-{self._numbers[index - 1]} takes those before it",
                )
        return False


def _facts(info: ImageInfo) -> dict[str, object]:
    size = f"{info.width_px}x{info.height_px}"
    return {"size": size, "planes": info.plane_names, "type": info.dtype, "white": info.white}


def plan_frames(
    plan_one: Callable[[InputFile, ImageInfo], Plan],
    file: InputFile,
    numbers: Sequence[int],
    headers: Callable[[Sequence[int]], list[ImageInfo]],
) -> list[Plan]:
    """Plan the frames of a file: as one where they make one picture file, else each by itself.

    Parameters
    ----------
    plan_one : callable
        Plans one frame from its header.
    file : InputFile
        The file that the frames are of.
    numbers : sequence of int
        Frames, from 0.
    headers : callable
        Reads the headers of some of them.

    Raises
    ------
    UsageError
        One file is wanted and cannot hold the frames.
    """
    infos = headers(numbers[:MOST_HEADERS])
    kinds: dict[ImageInfo, int] = {}
    which = [kinds.setdefault(info._replace(duration_ms=None), len(kinds)) for info in infos]
    firsts = [which.index(kind) for kind in range(len(kinds))]
    plans = [plan_one(file._replace(frame=numbers[index]), infos[index]) for index in firsts]
    request = plans[0].request
    to_file = request.is_one_file or request.in_place
    note = ""
    # Maps, sheets and --name templates make a file for each frame: only plain pictures are joined.
    if len(numbers) > 1 and (to_file or (plans[0].outputs[0].kind == "picture" and request.name is None)):
        obstacle = _obstacle(plans)
        if obstacle is None:
            return [_join(file, plans, which, numbers, [info.duration_ms for info in infos])]
        if to_file:
            raise UsageError(
                f"{len(numbers)} frames do not go into one file: {obstacle}",
                hint=f"--frames {numbers[0]} takes one of them, --out-dir DIR makes files of each",
            )
        note = f"a file for each of {len(numbers)} frames: {obstacle}"
    infos += headers(numbers[MOST_HEADERS:]) if len(numbers) > MOST_HEADERS else []
    each = [plan_one(file._replace(frame=number), info) for number, info in zip(numbers, infos, strict=True)]
    return [plan.noted(note) for plan in each] if note else each


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
            places = [plans[index].input.frame or 0 for index in (0, other)]
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


def _join(
    file: InputFile,
    plans: list[Plan],
    which: Sequence[int],
    numbers: Sequence[int],
    durations_ms: Sequence[float | None],
) -> Plan:
    """Return frames of one or several kinds as one plan with one output."""
    first, output_format = plans[0], _joined_format(plans)
    old = first.outputs[0]
    path = old.path
    # Drop the frame's number, take the format's suffix.
    if path is not None and first.request.output is None and not first.request.in_place:
        stem = path.name.rpartition("_")[0]
        path = path.with_name(f"{stem}.{formats.BY_NAME[output_format].suffixes[0][1:]}")
    # The depth was chosen for a file of one frame, perhaps in another format: choose it again.
    depth = choose_depth(first.request, first.info, "picture", output_format) if output_format == "tiff" else "8"
    joined = old._replace(path=path, format=output_format, depth=depth)
    kinds = [replace(plan, outputs=(joined,), notes=_notes(plan, joined)) for plan in plans]
    frames = Frames(kinds, which, numbers)
    # Kinds mostly have the same notes; a dict keeps their order, a set would not.
    notes = [*dict.fromkeys(note for kind in kinds for note in kind.notes), f"{len(numbers)} frames, each by itself"]
    if frames.is_planned:
        notes += timing_notes(output_format, durations_ms, first.info.loop)
    else:
        notes.append(f"planned from the first {len(which):,} frames: the others are compared when they are read")
    if n_other := sum(_kept(plans[kind]) != _kept(first) for kind in which):
        notes.append(f"{n_other} frames have another ICC profile, DPI or EXIF than the first, whose are written")
    return replace(first, input=file, outputs=(joined,), notes=tuple(notes), frames=frames)


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
