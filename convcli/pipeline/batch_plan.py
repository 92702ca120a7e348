"""Plan every input of a batch by itself: one that cannot be read or planned stops no other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from convcli.errors import ConvcliError
from convcli.images.files import FileState
from convcli.pipeline.batch_files import Outcome, failed_by_bug
from convcli.pipeline.frames import parse_frames

if TYPE_CHECKING:
    from convcli.images.info import ImageInfo
    from convcli.pipeline.names import InputFile
    from convcli.pipeline.plan import Plan, Planner


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
        with suppress(OSError, ValueError):  # what cannot be read fails below, with a reason
            source = source._replace(state=FileState.of(source.path))
    reading = {"orientation": request.orientation, **request.limits}
    info = probe(source.readable, **reading)
    frames = parse_frames(request.frames, info.n_frames) if request.frames else tuple(range(info.n_frames))
    if info.n_frames == 1:
        return [planner.plan(source, info)]

    def headers(frames: Sequence[int]) -> list[ImageInfo]:
        # One pass for all: a frame is found by walking from the first, so single look-ups take quadratic time.
        return probe_frames(source.readable, frames, **reading)

    if planner.is_volume:
        return [planner.plan_volume(source, headers(frames), frames)]
    from convcli.pipeline.animation import plan_frames

    return plan_frames(planner.plan, source, frames, headers)
