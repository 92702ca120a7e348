"""Frames and pages: which of a file's are meant, each an input by itself."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from convcli.errors import UsageError
from convcli.naming import SUFFIXES, InputFile
from convcli.outputs import Plan

if TYPE_CHECKING:
    from convcli.images import ToneSpec


def parse_frames(text: str, n_frames: int) -> tuple[int, ...]:
    """Return the frames that ``--frames`` means: ``all``, ``first``, ``3``, ``2-5``, ``0,4,8-``; counted from 0.

    Raises
    ------
    UsageError
        It does not parse, or names a frame that the file does not have.

    Examples
    --------
    >>> parse_frames("all", 3), parse_frames("1-", 4), parse_frames("0,2", 3)
    ((0, 1, 2), (1, 2, 3), (0, 2))
    """
    word = text.strip().lower()
    if word == "all":
        return tuple(range(n_frames))
    if word == "first":
        return (0,)
    frames: list[int] = []
    for part in word.split(","):
        first, dash, last = (piece.strip() for piece in part.partition("-"))
        if not first.isdecimal() or (dash and last and not last.isdecimal()):
            raise UsageError(f"--frames {text!r}: {part!r} is not a frame", hint="all, first, 3, 2-5 or 0,4,8-")
        end = (int(last) if last else n_frames - 1) if dash else int(first)
        if end >= n_frames or int(first) > end:
            raise UsageError(
                f"--frames {text!r}: there is no {part!r} in {n_frames} frames", hint=f"0 to {n_frames - 1}"
            )
        frames += range(int(first), end + 1)
    return tuple(dict.fromkeys(frames))


def split_frames(source: InputFile, n_frames: int, frames: str | None) -> list[InputFile]:
    """Return one input per frame that is meant; a file of one frame is itself."""
    if n_frames == 1 and frames in (None, "all", "first"):
        return [source]
    return [replace(source, frame=frame) for frame in parse_frames(frames or "all", n_frames)]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AnimationPlan(Plan):
    """Several frames of one file, kept together in one picture.

    Attributes
    ----------
    frames : tuple of ImagePlan or StackPlan
        One a frame, all of one size, each with the same single output.
    """

    frames: tuple[Plan, ...]

    def tones(self, depth: str) -> tuple[ToneSpec, ...]:
        """Return the tones of one frame: all have the same."""
        return self.frames[0].tones(depth)

    def weight_bytes(self) -> bytes:
        """Return the taps as bytes, for a digest."""
        return self.frames[0].weight_bytes()


def join_frames(source: InputFile, plans: list[Plan]) -> list[Plan]:
    """Return one plan for all frames where they make one picture file, else the plans as they are.

    Raises
    ------
    UsageError
        One file is wanted and cannot hold the frames.
    """
    outputs = [plan.outputs[0] for plan in plans]
    if len(plans) < 2 or outputs[0].kind != "picture" or plans[0].request.name is not None:
        return plans
    request = plans[0].request
    hint = "--frames first, or one frame after the other with --out-dir DIR"
    if any(output.size_hw != outputs[0].size_hw or output.kind != "picture" for output in outputs):
        raise UsageError(f"{len(plans)} pages of different sizes do not make one picture", hint=hint)
    output_format = outputs[0].format
    if request.format is None and plans[0].info.format in ("gif", "webp", "tiff"):
        output_format = plans[0].info.format
    if output_format not in ("gif", "webp", "png", "tiff"):
        raise UsageError(f"{output_format} holds one picture, and {source.label} has {len(plans)} frames", hint=hint)
    path = outputs[0].path
    if path is not None and request.output is None:  # drop the frame's number, take the format's suffix
        stem = path.name.rpartition("_")[0]
        path = path.with_name(f"{stem}.{SUFFIXES.get(output_format, output_format)}")
    depth = outputs[0].depth if output_format == "tiff" else "8"
    joined = replace(outputs[0], path=path, format=output_format, depth=depth)
    first = plans[0]
    return [
        AnimationPlan(
            request=request,
            source=source,
            info=first.info,
            selection=first.selection,
            maps=first.maps,
            alpha=first.alpha,
            outputs=(joined,),
            notes=(*first.notes, f"{len(plans)} frames, each by itself"),
            frames=tuple(replace(plan, outputs=(joined,)) for plan in plans),
        )
    ]
