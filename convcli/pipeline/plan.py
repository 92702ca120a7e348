"""One input planned: everything its report can say before a pixel is read.

A :class:`Planner` is made once a batch: it loads the bank or the stack and answers, for each input, with a
:class:`Plan` of integers, names and paths. All that can be refused is refused here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convcli.errors import UsageError
from convcli.images import formats
from convcli.pipeline.flags import choice
from convcli.pipeline.inputs import InputFile
from convcli.pipeline.naming import DENSE_TEMPLATE, MAP_TEMPLATE, PICTURE_TEMPLATE, MapName, check_format
from convcli.pipeline.outputs import (
    OutputFile,
    OutputNames,
    check_outputs,
    choose_depth,
    choose_format,
    output_notes,
)
from convcli.pipeline.request import ApplyRequest

if TYPE_CHECKING:
    from convcli.banks.bank import KernelBank
    from convcli.images.files import FileState
    from convcli.images.info import ImageInfo
    from convcli.images.planes import PlaneSelection
    from convcli.layers.stack import Stack
    from convcli.pipeline.tones import ToneSpec
    from convcli.pipeline.transforms.bank import BankPlanner
    from convcli.pipeline.transforms.base import Planned, Transform
    from convcli.pipeline.transforms.stack import StackPlanner


# eq=False: fields hold arrays, whose comparison has no truth value; identity is enough.
@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """One input, planned before its pixels are read.

    Attributes
    ----------
    transform : Transform
        The computation: a bank, a 3-D bank on frames, or a stack.
    alpha : str or None
        Treatment of the alpha plane, see :mod:`convcli.pipeline.transforms.alpha`.
    frames : tuple of Plan
        Frames that become one picture, each planned by itself with the same single output; empty for one picture.
    keeps_report : bool
        Only some maps are made, beside others whose report stays as it is.
    replaces : mapping of Path to FileState
        Existing files that may be replaced without ``--overwrite``, as they were when that was decided.
    """

    request: ApplyRequest
    input: InputFile
    info: ImageInfo
    selection: PlaneSelection
    transform: Transform
    alpha: str | None
    outputs: tuple[OutputFile, ...]
    notes: tuple[str, ...]
    frames: Sequence[Plan] = ()
    keeps_report: bool = False
    replaces: Mapping[Path, FileState] = field(default_factory=dict)

    @property
    def maps(self) -> tuple[MapName, ...]:
        """Names of all maps."""
        return self.transform.maps

    def tones(self, depth: str) -> tuple[ToneSpec, ...]:
        """Return the tone of each map at a depth, ``auto`` resolved."""
        from convcli.pipeline.tones import ON_SHEET, parse_tone, tone_of_indexes

        asked, n_indexes = parse_tone(self.request.tone), self.transform.n_indexes
        if asked.name == "auto" and self.outputs[0].kind == "sheet":
            return (ON_SHEET,) * len(self.maps)
        if asked.name == "auto" and n_indexes:
            asked = tone_of_indexes(n_indexes, depth)
        # No taps keep the brightness of samples that are normalized.
        changed = () if self.request.normalize is None else ("brightness", "biased")
        return tuple(asked.resolve("normalized" if one.nature in changed else one.nature) for one in self.maps)

    @property
    def white(self) -> float:
        """Value of white in the units that the planes have when they run."""
        return 1.0 if self.request.unit else self.info.white

    @property
    def uses_torch(self) -> bool:
        """Whether running it may load torch, of which one copy is enough."""
        return self.transform.uses_torch

    @property
    def report_path(self) -> Path | None:
        """``report.json`` beside the maps of a folder of their own; a sidecar where a format holds no stamp."""
        first = self.outputs[0]
        if first.path is None or self.keeps_report or self.request.in_place:
            return None
        if first.kind == "map":
            # With --name several inputs may write into one folder: a single report.json would not fit.
            return None if self.request.name is not None else first.path.parent / "report.json"
        has_stamp = "stamp" in formats.BY_NAME[first.format].keeps  # else a sidecar says how the file was made
        return None if has_stamp else first.path.with_name(f"{first.path.name}.json")

    @property
    def written_paths(self) -> tuple[Path, ...]:
        """Every path that running this plan creates."""
        paths = [output.path for output in self.outputs if output.path is not None]
        return (*paths, self.report_path) if self.report_path else tuple(paths)

    def noted(self, note: str, **changes: Any) -> Plan:
        """Return the plan with one more note, and other changes."""
        return replace(self, notes=(*self.notes, note), **changes)


class Planner:
    """Plans the inputs of one request.

    Parameters
    ----------
    request : ApplyRequest
    loaded : KernelBank or Stack, optional
        Taken in place of what the request names: a job holds the taps of the day when it was planned.

    Raises
    ------
    KernelError
        The bank cannot be loaded.
    UsageError
        A word of the flags is unknown, or the stack file cannot be understood.
    """

    def __init__(self, request: ApplyRequest, loaded: KernelBank | Stack | None = None) -> None:
        # Words come first: a typing error must not cost the loading of a bank.
        check_words(request)
        self.request = request
        self._kind = _kind_of(request, loaded)
        #: For inputs that outputs follow: a format each.
        self._kinds = {request: self._kind}

    @property
    def loaded(self) -> KernelBank | Stack:
        """The bank or the stack."""
        return self._kind.loaded

    def plan(self, file: InputFile, info: ImageInfo) -> Plan:
        """Plan one picture from its header.

        Raises
        ------
        GeometryError
            The window or a layer does not fit, or groups do not divide.
        UsageError
            The image lacks a plane that was asked for, or the output cannot hold the results.
        """
        request, notes = self._follow(file, info)
        if request not in self._kinds:
            self._kinds[request] = _kind_of(request, self.loaded)
        part = self._kinds[request].plan(file.label, info)
        return self._finish(request, file, info, part._replace(notes=(*notes, *part.notes)))

    def _follow(self, file: InputFile, info: ImageInfo) -> tuple[ApplyRequest, list[str]]:
        """Return the request with the format of this input, if outputs follow their input, and notes."""
        if not self.request.follows_input:
            return self.request, []
        from convcli.pipeline.in_place import follow

        return follow(self.request, file, info)

    @property
    def is_volume(self) -> bool:
        """Whether a 3-D bank runs over the frames of a file, which other transforms run on one by one."""
        bank = self._kind.bank
        return bank is not None and bank.weight.ndim == 5

    def plan_volume(self, file: InputFile, infos: list[ImageInfo], frames: tuple[int, ...]) -> Plan:
        """Plan a 3-D bank on frames of a file from their headers."""
        bank = self._kind.bank
        assert bank is not None
        from convcli.pipeline.transforms.volume import plan_volume

        request, _ = self._follow(file, infos[0])
        return self._finish(request, file, infos[0], plan_volume(request, bank, infos, frames))

    def _finish(self, request: ApplyRequest, file: InputFile, info: ImageInfo, part: Planned) -> Plan:
        """Name the files, check that they can hold the maps, and collect the notes."""
        maps = part.transform.maps
        if request.region is not None:
            part = _in_region(part, request.region)
        n_planes = len(maps) + (part.alpha in ("keep", "premultiply-keep"))
        output_format, moved = choose_format(request, info, part.kind, n_planes, part.outputs[0][2])
        if part.kind == "picture":  # flags of the encoder wait for it
            check_format(output_format, request.depth, request.encoder_flags, raw=False)
        depth = choose_depth(request, info, part.kind, output_format)
        outputs = _name_outputs(OutputNames(request, file, part.folder, output_format), part, depth)
        # --normalize has means for colours; an alpha plane that is filtered along has none.
        check_outputs(request, info, len(part.selection.names) - (part.alpha == "filter"), outputs)
        notes = [
            *info.notes,
            *part.notes,
            *([moved] if moved else []),
            *output_notes(outputs[0], info, n_planes, request.encoding),
            *_false_colours(request, part),
        ]
        if request.in_place:
            from convcli.pipeline.in_place import check_in_place

            notes += check_in_place(request, info, outputs[0], file)
        return Plan(
            request=request,
            input=file,
            info=info,
            selection=part.selection,
            transform=part.transform,
            alpha=part.alpha,
            outputs=outputs,
            notes=tuple(dict.fromkeys(notes)),
        )


def _kind_of(request: ApplyRequest, loaded: Any) -> BankPlanner | StackPlanner:
    """Return the planner of the kind of transform that a request names."""
    # Imported where it is needed: each kind loads modules that the other does without, and start-up time counts.
    if not request.runs_layers:
        from convcli.pipeline.transforms.bank import BankPlanner

        return BankPlanner(request, loaded)
    from convcli.pipeline.transforms.stack import StackPlanner

    return StackPlanner(request, loaded)


def _false_colours(request: ApplyRequest, part: Planned) -> list[str]:
    """Note three planes that no channels were asked for, and that a picture has in place of red, green and blue."""
    names = tuple(name for name in part.selection.names if name != "a")
    is_usual = request.channels is not None or len(names) != 3 or names == ("r", "g", "b")
    if is_usual or part.kind != "picture" or len(part.transform.maps) not in (3, 4):
        return []
    return [f"planes {', '.join(names)} are stored as red, green and blue"]


def _in_region(part: Planned, region: tuple[int, int, int, int]) -> Planned:
    """Return the part with outputs of the size of a region, which each of them must hold."""
    left, top, width, height = region
    for _, _, (n_rows, n_columns) in part.outputs:
        if left + width > n_columns or top + height > n_rows:
            raise UsageError(
                f"--region ends at column {left + width} and row {top + height}, and the output has {n_columns} "
                f"columns and {n_rows} rows",
                hint=f"--region 0,0,{n_columns},{n_rows} is all of it",
            )
    outputs = tuple((first, end, (height, width)) for first, end, _ in part.outputs)
    note = f"only {height}x{width} samples from row {top} and column {left} on"
    return part._replace(outputs=outputs, notes=(*part.notes, note))


def _name_outputs(names: OutputNames, part: Planned, depth: str) -> tuple[OutputFile, ...]:
    """Return a file per map, or the one file of all maps."""
    maps, kind = part.transform.maps, part.kind
    if kind != "maps":
        path = names.path(PICTURE_TEMPLATE, kernel=part.kernel, channel=kind)
        return (names.file(path, kind, tuple(range(len(maps))), depth, part.outputs[0][2]),)
    files = []
    for first, end, size_hw in part.outputs:
        for index, one in enumerate(maps[first:end], first):
            template = MAP_TEMPLATE if one.channel else DENSE_TEMPLATE
            path = names.path(template, kernel=one.kernel, channel=one.channel or "all", index=index)
            files.append(names.file(path, "map", (index,), depth, size_hw))
    return tuple(files)


def check_words(request: ApplyRequest) -> None:
    """Refuse an unknown tone, engine, border or colormap, for which no image is needed."""
    from convcli.engine.borders import parse_border
    from convcli.engine.plan import ENGINES
    from convcli.pipeline.tones import parse_tone

    parse_tone(request.tone)
    choice(request.engine, "--engine", ("auto", *ENGINES))
    if request.padding_mode is not None:
        parse_border(request.padding_mode)
    if request.colormap is not None:
        from convcli.images.colormaps import COLORMAPS

        choice(request.colormap, "--colormap", COLORMAPS)
