"""A stack of layers on one image: planned from its shapes, run through :mod:`convcli.layers.run`, written by the sinks.

Unlike a bank, a stack keeps whole maps of its layers in memory; ``shape`` says beforehand how many bytes that is.
"""

from __future__ import annotations

import hashlib
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from convcli.errors import UsageError
from convcli.images.planes import select_planes
from convcli.pipeline.alpha import leave_out_alpha
from convcli.pipeline.binding import MapName
from convcli.pipeline.checks import check_outputs, check_words
from convcli.pipeline.names import PICTURE_TEMPLATE, InputFile
from convcli.pipeline.outputs import OutputFile, OutputNames, Plan, choose_depth, depth_notes, format_notes, map_files
from convcli.pipeline.request import ApplyRequest
from convcli.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from convcli.images import ImageInfo
    from convcli.layers.layer import Numbers
    from convcli.layers.stack import Stack
    from convcli.layers.walk import Walk
    from convcli.pipeline.tones import ToneSpec

#: Flags of one convolution: they mean nothing to a stack.
_CONV_FLAGS = (
    *("stride", "padding", "padding_mode", "dilation", "groups", "bias", "mode", "anchor", "transposed"),
    *("output_padding", "combine"),
)
#: Flags that stacks do not know, whatever is in their file.
_OTHER_FLAGS = ("alpha", "device", "memory")


@dataclass(frozen=True, kw_only=True, eq=False)
class StackPlan(Plan):
    """A stack on one image, planned.

    Attributes
    ----------
    stack : Stack
    shape : Walk
        Of this input.
    wanted : tuple of (str, slice)
        Outputs in running order, each with where its maps stand among :attr:`maps`.
    numbers : sequence of Numbers
        Weights of the layers, loaded once a batch.
    """

    stack: Stack
    shape: Walk
    wanted: tuple[tuple[str, slice], ...]
    numbers: Sequence[Numbers]

    def tones(self, depth: str) -> tuple[ToneSpec, ...]:
        """Return the tone of each map; ``auto`` stretches each map: what a layer's values mean is not known."""
        del depth
        from convcli.pipeline.tones import ToneSpec, parse_tone

        asked = parse_tone(self.request.tone)
        return tuple(ToneSpec("stretch") if asked.name == "auto" else asked for _ in self.maps)

    def weight_bytes(self) -> bytes:
        """Return the layers and all their numbers as bytes, for a digest."""
        from convcli.layers.stack import dump_stack

        digest = hashlib.sha256(dump_stack(self.stack).encode())
        for index, numbers in enumerate(self.numbers):
            for name, array in numbers._asdict().items():
                if array is not None:  # where an array belongs decides as much as what is in it
                    digest.update(f"{index} {name} {array.shape} {array.dtype}".encode() + array.tobytes())
        return digest.digest()

    def run(self, planes: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Run the stack on planes (C, H, W) and return maps by output name."""
        from convcli.layers.run import run_stack

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
        from convcli.layers.stack import load_stack

        assert request.stack is not None
        self.request = request
        check_words(request)
        self.stack = load_stack(request.stack, n_axes=2)
        _refuse_flags(request)
        self._numbers: dict[int, Sequence[Numbers]] = {}

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
        from convcli.layers.run import wanted_outputs

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
        sizes_hw = [(int(size[1]), int(size[2])) for size in (sizes.get(name, shape.output) for name, _ in wanted)]
        notes = [*info.notes, *leave_out_alpha(request, info)]
        outputs = self._outputs(source, info, wanted, sizes_hw, tuple(maps), notes)
        check_outputs(request, info, len(selection.names), outputs)
        notes += [*depth_notes(info, outputs), *format_notes(outputs[0], info, len(maps), request.encoding)]
        return StackPlan(
            request=request,
            source=source,
            info=info,
            selection=selection,
            maps=tuple(maps),
            alpha=None,
            outputs=outputs,
            notes=tuple(dict.fromkeys(notes)),
            stack=self.stack,
            shape=shape,
            wanted=tuple(wanted),
            numbers=self._load_numbers(shape),
        )

    def _load_numbers(self, shape: Walk) -> Sequence[Numbers]:
        """Weights depend on the planes of the image only; ``--max-taps`` is of each layer."""
        from convcli.banks.bank import check_taps, max_taps
        from convcli.layers.weights import load_numbers

        channels, limit = int(shape.rows[0].input[0]), self.request.max_taps
        if channels not in self._numbers:
            with nullcontext() if limit is None else max_taps(limit):
                numbers = load_numbers(self.stack, shape)
                for index, (row, one) in enumerate(zip(shape.rows, numbers, strict=True), start=1):
                    if limit is not None and one.weight is not None:
                        check_taps(one.weight.size, f"layer {index} ({row.layer.label})")
            self._numbers[channels] = numbers
        return self._numbers[channels]

    def _outputs(
        self,
        source: InputFile,
        info: ImageInfo,
        wanted: list[tuple[str, slice]],
        sizes_hw: list[tuple[int, int]],
        maps: tuple[MapName, ...],
        notes: list[str],
    ) -> tuple[OutputFile, ...]:
        """Name a file per map of every output, or the one file of the only output."""
        request, kind = self.request, self.request.kind
        output_format = request.format or "png"
        names = OutputNames(request=request, source=source, bank=self.file_name)
        if kind == "maps":
            depth = choose_depth(request, info, kind, output_format)
            files: list[OutputFile] = []
            for (_, span), size_hw in zip(wanted, sizes_hw, strict=True):
                files += map_files(names, maps[span], depth=depth, size_hw=size_hw, first=span.start)
            return tuple(files)
        if len(wanted) > 1:
            raise UsageError(
                f"one file cannot hold {len(wanted)} outputs of different sizes",
                hint="--out-dir DIR, or --outputs last",
            )
        if kind == "picture" and len(maps) not in (1, 3):
            kind = "sheet"
            notes.append(f"{len(maps)} maps are no picture: drawn as a labelled sheet")
        depth = choose_depth(request, info, kind, output_format)
        path = names.path(PICTURE_TEMPLATE, kernel=wanted[0][0], channel=kind)
        everything = tuple(range(len(maps)))
        size_hw = sizes_hw[0]
        return (OutputFile(path=path, kind=kind, maps=everything, format=output_format, depth=depth, size_hw=size_hw),)


def _refuse_flags(request: ApplyRequest) -> None:
    """Refuse flags that a stack would ignore."""
    default = ApplyRequest()
    given = [flag for flag in (*_CONV_FLAGS, *_OTHER_FLAGS) if getattr(request, flag) != getattr(default, flag)]
    if given:
        in_layer = given[0] in _CONV_FLAGS
        raise UsageError(
            f"--{given[0].replace('_', '-')} does nothing to a stack",
            hint="put it into the layer in the stack file" if in_layer else "leave it out",
        )


def describe_stack(plan: StackPlan) -> dict[str, object]:
    """Return a stack's plan as plain data: the words of a bank's report where they mean the same."""
    info = plan.info
    n_planes = len(plan.selection.names)
    return {
        "convcli": __version__,
        "input": plan.describe_input(),
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
