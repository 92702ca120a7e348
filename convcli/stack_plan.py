"""A stack of layers on one image: planned from its shapes, run through :mod:`convcli.stack_run`, written by the sinks.

Unlike a bank, a stack keeps whole maps of its layers in memory; ``shape`` says beforehand how many bytes that is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from convcli import __version__
from convcli.binding import MapName
from convcli.describe import describe_input
from convcli.errors import UsageError
from convcli.images.planes import select_planes
from convcli.naming import PICTURE_TEMPLATE, InputFile
from convcli.outputs import OutputFile, OutputNames, Plan, choose_depth, choose_layout, depth_notes
from convcli.request import ApplyRequest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from convcli.images import ImageInfo, ToneSpec
    from convcli.stack import StackShape
    from convcli.stack_file import Stack
    from convcli.stack_weights import LayerNumbers

#: Maps of a stack: one file per map of a named output.
STACK_TEMPLATE = "{dir}/{stem}_{bank}/{kernel}.{ext}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StackPlan(Plan):
    """A stack on one image, planned.

    Attributes
    ----------
    stack : Stack
    shape : StackShape
        Of this input.
    wanted : tuple of (str, slice)
        Outputs in running order, each with where its maps stand among :attr:`maps`.
    numbers : sequence of LayerNumbers
        Weights of the layers, loaded once a batch.
    """

    stack: Stack
    shape: StackShape
    wanted: tuple[tuple[str, slice], ...]
    numbers: Sequence[LayerNumbers]

    def tones(self, depth: str) -> tuple[ToneSpec, ...]:
        """Return the tone of each map; ``auto`` stretches each map: what a layer's values mean is not known."""
        del depth
        from convcli.images import ToneSpec, parse_tone

        asked = parse_tone(self.request.tone)
        return tuple(ToneSpec("stretch") if asked.name == "auto" else asked for _ in self.maps)

    def weight_bytes(self) -> bytes:
        """Return the layers and their numbers as bytes, for a digest."""
        from convcli.stack_file import dump_stack

        arrays = [part for one in self.numbers for part in one if isinstance(part, np.ndarray)]
        return dump_stack(self.stack).encode() + b"".join(array.tobytes() for array in arrays)

    def run(self, planes: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Run the stack on planes (C, H, W) and return maps by output name."""
        from convcli.stack_run import run_stack

        names = [name for name, _ in self.wanted]
        engine, threads = self.request.engine, self.request.threads
        return run_stack(self.stack, planes, outputs=names, engine=engine, threads=threads, numbers=self.numbers)


class StackPlanner:
    """Plans the inputs of one request with ``--stack``.

    Raises
    ------
    UsageError
        The stack file cannot be read or understood, or flags of a single convolution were given.
    """

    def __init__(self, request: ApplyRequest) -> None:
        from convcli.stack_file import load_stack

        assert request.stack is not None
        self.request = request
        self.stack = load_stack(request.stack, n_axes=2)
        _refuse_conv_flags(request)
        self._numbers: dict[int, Sequence[LayerNumbers]] = {}

    @cached_property
    def file_name(self) -> str:
        """The stack's name as part of a file name."""
        from convcli.banks import safe_name

        return safe_name(self.stack.name)

    def plan(self, source: InputFile, info: ImageInfo) -> StackPlan:
        """Plan one input from its header.

        Raises
        ------
        GeometryError
            A layer does not fit the image.
        UsageError
            An output or a plane is not there.
        """
        from convcli.stack_run import wanted_outputs

        request = self.request
        selection = select_planes(info.plane_names, request.channels, alpha=False)
        shape = self.stack.shape((len(selection.names), info.height_px, info.width_px))
        sizes = {row.layer.name: row.output for row in shape.rows if row.layer.name}
        wanted: list[tuple[str, slice]] = []
        maps: list[MapName] = []
        for name in wanted_outputs(self.stack, request.outputs):
            n_maps = int(sizes.get(name, shape.output)[0])
            wanted.append((name, slice(len(maps), len(maps) + n_maps)))
            digits = len(str(n_maps - 1))
            maps += [MapName(kernel=f"{name}-{i:0{digits}}", channel="", zero_sum=False) for i in range(n_maps)]
        hw = {name: tuple(sizes.get(name, shape.output)[1:]) for name, _ in wanted}
        outputs = self._outputs(source, info, wanted, hw, maps)
        return StackPlan(
            request=request,
            source=source,
            info=info,
            selection=selection,
            maps=tuple(maps),
            alpha=None,
            outputs=outputs,
            notes=(*info.notes, *depth_notes(info, outputs)),
            stack=self.stack,
            shape=shape,
            wanted=tuple(wanted),
            numbers=self._load_numbers(shape),
        )

    def _load_numbers(self, shape: StackShape) -> Sequence[LayerNumbers]:
        """Weights depend on the planes of the image only."""
        from convcli.stack_weights import load_numbers

        channels = int(shape.rows[0].input[0])
        if channels not in self._numbers:
            self._numbers[channels] = load_numbers(self.stack, shape)
        return self._numbers[channels]

    def _outputs(
        self,
        source: InputFile,
        info: ImageInfo,
        wanted: list[tuple[str, slice]],
        hw: dict[str, tuple[int, ...]],
        maps: list[MapName],
    ) -> tuple[OutputFile, ...]:
        request, layout = self.request, choose_layout(self.request)
        output_format = request.format or "png"
        depth = choose_depth(request, info, layout, output_format)
        names = OutputNames(request=request, source=source, bank=self.file_name)
        if layout != "maps" and len(wanted) > 1:
            raise UsageError(
                f"one file cannot hold {len(wanted)} outputs of different sizes",
                hint="--out-dir DIR, or --outputs last",
            )
        files: list[tuple[Path | None, str, tuple[int, ...], tuple[int, int]]] = []
        for name, span in wanted:
            size = (int(hw[name][0]), int(hw[name][1]))
            indexes = tuple(range(span.start, span.stop))
            if layout == "maps":
                for index in indexes:
                    path = names.path(STACK_TEMPLATE, kernel=maps[index].kernel, channel="all", index=index)
                    files.append((path, "map", (index,), size))
            else:
                kind = "sheet" if layout == "picture" and len(indexes) not in (1, 3) else layout
                files.append((names.path(PICTURE_TEMPLATE, kernel=name, channel=layout), kind, indexes, size))
        return tuple(
            OutputFile(path=path, kind=kind, maps=indexes, format=output_format, depth=depth, size_hw=size)
            for path, kind, indexes, size in files
        )


def _refuse_conv_flags(request: ApplyRequest) -> None:
    """Refuse flags of one convolution: they mean nothing to a stack, and ignoring them would be a lie."""
    default = ApplyRequest()
    flags: tuple[str, ...] = ("stride", "padding", "padding_mode", "dilation", "groups", "bias", "mode", "anchor")
    flags += ("transposed", "output_padding", "combine", "alpha", "device")
    given = [flag for flag in flags if getattr(request, flag) != getattr(default, flag)]
    if given:
        raise UsageError(
            f"--{given[0].replace('_', '-')} does nothing to a stack", hint="put it into the layer in the stack file"
        )


def describe_stack(plan: StackPlan) -> dict[str, object]:
    """Return a stack's plan as plain data: the words of a bank's report where they mean the same."""
    info = plan.info
    n_planes = len(plan.selection.names)
    return {
        "convcli": __version__,
        "input": describe_input(plan),
        "stack": {
            "name": plan.stack.name,
            "path": str(plan.request.stack),
            "layers": [{"layer": row.layer.label, "output": list(row.output)} for row in plan.shape.rows],
        },
        "shape": {
            "input": [n_planes, info.height_px, info.width_px],
            "output": list(plan.shape.output),
            "maps": len(plan.maps),
            "parameters": plan.shape.parameters,
            "macs": plan.shape.macs,
        },
        "outputs": [output.as_dict() for output in plan.outputs],
        "notes": list(plan.notes),
    }
