"""A stack of layers on one image: planned from its shapes, run through :mod:`convcli.layers.run`.

Unlike a bank, a stack keeps whole maps of its layers in memory; ``shape`` says beforehand how many bytes that is.
"""

from __future__ import annotations

import hashlib
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from convcli.errors import UsageError
from convcli.images.planes import select_planes
from convcli.layers.sources import anchored, is_checkpoint, load_weight
from convcli.layers.stack import is_model, open_stack
from convcli.pipeline.naming import PICTURES, MapName
from convcli.pipeline.request import ApplyRequest
from convcli.pipeline.transforms.alpha import leave_out_alpha
from convcli.pipeline.transforms.base import Planned, Run, Tools, Transform, WholeRun, crop, whole

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from convcli.images.info import ImageInfo
    from convcli.images.planes import PlaneSource
    from convcli.layers.layer import Numbers, Row, Shape
    from convcli.layers.stack import Stack
    from convcli.layers.walk import Walk

#: Flags of one convolution, which mean nothing to a stack, and the same in a layer's text.
_AS_LAYER = {
    "stride": "conv:sobel,s=2", "padding": "conv:sobel,p=1", "padding_mode": "conv:sobel,p=1,mode=replicate",
    "dilation": "conv:sobel,d=2", "groups": "conv:sobel,g=3", "bias": "conv:sobel,bias=0.5",
    "mode": "conv:'sobel rotate=180'", "anchor": "conv:sobel,p=2,0,2,0", "transposed": "convtranspose:sobel,s=2",
    "output_padding": "convtranspose:sobel,s=2,op=1", "combine": "conv:sobel combine:magnitude,n=2",
}  # fmt: skip
#: Flags that stacks do not know, in their file neither.
_OTHER_FLAGS = ("alpha", "device", "memory", "nodata", "luminance")

#: Kernel and plane of each map, both perhaps empty.
_Labels = tuple[tuple[str, str], ...]
#: Layers that make one map of each.
_KEEP_MAPS = frozenset((
    "relu", "sigmoid", "silu", "hardswish", "gelu", "identity", "batchnorm", "maxpool", "avgpool", "globalpool", "pad",
    "upsample",
))  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StackTransform(Transform):
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

    @property
    def _kernels(self) -> int | None:
        """The convolution that the maps of the last output come from; None where layers mix maps behind it."""
        rows, name, names = self.shape.rows, self.wanted[-1][0], self.stack.result_names
        place = names.index(name) if name in names else -1  # the input comes from no layer
        while place >= 0 and rows[place].layer.kind in _KEEP_MAPS:
            place = rows[place].sources[0]
        return place if place >= 0 and rows[place].layer.kind in ("conv", "depthwise", "pointwise") else None

    def taps(self, map_index: int) -> NDArray[Any] | None:
        """Return the taps of the convolution that a map of the only output comes from, if there is one."""
        place = self._kernels
        weight = None if place is None or len(self.wanted) > 1 else self.numbers[place].weight
        return None if weight is None or weight.ndim != 4 else weight[map_index]

    @property
    def taps_on_planes(self) -> bool:
        """Whether the taps of one kernel are for the planes of the image."""
        place = self._kernels
        return place is not None and self.shape.rows[place].sources == (-1,)

    def weight_bytes(self) -> bytes:
        """Return the layers and all their numbers as bytes, for a digest."""
        from convcli.layers.dump import dump_stack

        digest = hashlib.sha256(dump_stack(self.stack).encode())
        for index, numbers in enumerate(self.numbers):
            for name, array in numbers._asdict().items():
                if array is not None:  # its place decides as much as its numbers
                    digest.update(f"{index} {name} {array.shape} {array.dtype}".encode() + array.tobytes())
        return digest.digest()

    def describe(self) -> dict[str, Any]:
        """Return layers, shapes and counts, in the words of a bank's report where they mean the same."""
        return {
            "stack": {"name": self.stack.name, "path": self.request.stack},
            "shape": {
                "input": list(self.input_shape),
                "output": list(self.shape.output),
                "maps": len(self.maps),
                "parameters": self.shape.parameters,
                "macs": self.shape.macs,
            },
        }

    @property
    def walk(self) -> Walk:
        """Layers bound to the input."""
        return self.shape

    def layer_of(self, map_index: int) -> int:
        """Return the row of the output that a map belongs to."""
        name = next(name for name, span in self.wanted if span.start <= map_index < span.stop)
        names = self.stack.result_names
        return names.index(name) if name in names else 0  # the input has no layer: the first stands for it

    def start(self, planes: NDArray[Any] | PlaneSource, tools: Tools) -> Run:
        """Run the stack."""
        from convcli.layers.run import run_stack

        request, total = self.request, max(self.shape.macs, 1)
        results = run_stack(
            self.stack,
            whole(planes).astype(request.dtype),
            outputs=[name for name, _ in self.wanted],
            engine=request.engine,
            threads=request.threads,
            numbers=self.numbers,
            watch=lambda row: tools.advance(row.macs / total),
        )
        return WholeRun([(span, crop(results[name], request)) for name, span in self.wanted], check=tools.check)


class StackPlanner:
    """Plans a stack on the images of one request."""

    bank = None

    def __init__(self, request: ApplyRequest, loaded: Stack | None = None) -> None:
        self.request = request
        _refuse_flags(request)
        #: By the input's shape where the layers depend on it, as those of a model do; else under ``None``.
        self._stacks: dict[Shape | None, Stack] = {None: loaded} if loaded else {}
        self._numbers: dict[Shape, Sequence[Numbers]] = {}
        if not is_model(request.stack):
            self._stack(None)  # mistakes in it are said before any input is opened

    @property
    def loaded(self) -> Stack:
        """The stack, of a model as it is for the input that it declares."""
        return self._stack(None)

    def _stack(self, input_shape: Shape | None) -> Stack:
        key = input_shape if is_model(self.request.stack) else None
        if key not in self._stacks:
            self._stacks[key] = _stack_of(self.request, key)
        return self._stacks[key]

    def plan(self, label: str, info: ImageInfo) -> Planned:
        """Plan one input from its header; see :meth:`convcli.pipeline.plan.Planner.plan`."""
        del label
        from convcli.banks.bank import safe_name
        from convcli.layers.run import wanted_outputs

        request, kind = self.request, self.request.kind
        selection = select_planes(info.plane_names, request.channels, alpha=False)
        input_shape = (len(selection.names), info.height_px, info.width_px)
        stack = self._stack(input_shape)
        shape = stack.shape(input_shape)
        sizes = (*(row.output for row in shape.rows), input_shape)
        labels = _label_maps(shape.rows, selection.names, stack.folder)
        known = dict(zip((*stack.result_names, "input"), zip(sizes, labels, strict=True), strict=True))
        maps: list[MapName] = []
        outputs = []
        names = wanted_outputs(stack, request.outputs)
        for name in names:
            (n_maps, height, width), named = known[name]
            outputs.append((len(maps), len(maps) + n_maps, (height, width)))
            maps += _map_names(name, n_maps, named)
        notes = leave_out_alpha(request, info)
        if kind != "maps" and len(outputs) > 1:
            raise UsageError(
                f"one file cannot hold {len(outputs)} outputs of different sizes",
                hint="--out-dir DIR, or --outputs last",
            )
        if kind in PICTURES and len(maps) not in (1, 3):
            kind = "sheet"
            notes.append(f"{len(maps)} maps are no picture: drawn as a labelled sheet")
        transform = StackTransform(
            request=request,
            maps=tuple(maps),
            input_shape=input_shape,
            stack=stack,
            shape=shape,
            wanted=tuple((name, slice(first, end)) for name, (first, end, _) in zip(names, outputs, strict=True)),
            numbers=self._load_numbers(stack, shape),
        )
        return Planned(transform, selection, None, kind, tuple(outputs), safe_name(stack.name), names[0], tuple(notes))

    def _load_numbers(self, stack: Stack, shape: Walk) -> Sequence[Numbers]:
        """Weights depend on the planes of the image only; ``--max-taps`` is of each layer."""
        from convcli.banks.bank import check_taps, max_taps
        from convcli.layers.run import load_numbers

        # Layers of a model may differ between sizes; those of other stacks only between numbers of planes.
        key = shape.input if is_model(self.request.stack) else shape.input[:1]
        limit = self.request.max_taps
        if key not in self._numbers:
            with nullcontext() if limit is None else max_taps(limit):
                numbers = load_numbers(stack, shape)
                for index, (row, one) in enumerate(zip(shape.rows, numbers, strict=True), start=1):
                    if limit is not None and one.weight is not None:
                        check_taps(one.weight.size, f"layer {index} ({row.layer.label})")
            self._numbers[key] = numbers
        return self._numbers[key]


def _map_names(name: str, n_maps: int, labels: _Labels | None) -> list[MapName]:
    """Return the names of an output's maps: by kernel and plane where they are known, else by number."""
    if labels is None or len(labels) != n_maps:
        # Leading zeros: file managers sort names as text.
        digits = len(str(n_maps - 1))
        labels = tuple((f"{index:0{digits}}", "") for index in range(n_maps))
    kernels = [(f"{name}-{kernel}" if kernel else name, plane) for kernel, plane in labels]
    return [MapName(kernel=kernel, channel=plane, nature="layer") for kernel, plane in kernels]


def _stack_of(request: ApplyRequest, input_shape: Shape | None) -> Stack:
    """Return the layers that were typed in, or those of a file or a name."""
    if request.stack is not None:
        return open_stack(request.stack, until=request.until, n_axes=2, input_shape=input_shape)
    from convcli.layers.stack import Stack

    assert request.layers is not None
    # The class reads text as layers.
    return Stack(request.layers, name=request.layers)  # type: ignore[arg-type]


def _refuse_flags(request: ApplyRequest) -> None:
    """Refuse flags that a stack would ignore."""
    # A flag given at its default cannot be told from an absent one, and does no harm.
    default = ApplyRequest()
    given = [flag for flag in (*_AS_LAYER, *_OTHER_FLAGS) if getattr(request, flag) != getattr(default, flag)]
    if given:
        hint = f"put it into the layer: {_AS_LAYER[given[0]]}" if given[0] in _AS_LAYER else "leave it out"
        raise UsageError(f"--{given[0].replace('_', '-')} does nothing to layers", hint=hint)


def _label_maps(rows: Sequence[Row], planes: Sequence[str], folder: Path | None) -> list[_Labels | None]:
    """Return the labels of each row's maps, and last those of the input; None where maps mix, or have no names."""
    found: list[_Labels | None] = [None] * len(rows) + [tuple(("", plane) for plane in planes)]
    for index, row in enumerate(rows):
        # Source -1 is the input, which stands last.
        given = found[row.sources[0]] if len(row.sources) == 1 else None
        found[index] = _labels_after(row, given, folder) if given is not None else None
    return found


def _labels_after(row: Row, given: _Labels, folder: Path | None) -> _Labels | None:
    layer = row.layer
    if layer.kind in _KEEP_MAPS:
        return given
    if layer.kind == "combine":
        sets = [given[start : start + layer.members] for start in range(0, len(given), layer.members)]
        # A set of one plane's kernels keeps the plane's name.
        is_whole = all(len({plane for _, plane in each}) == 1 for each in sets)
        return tuple((layer.mode, each[0][1]) for each in sets) if is_whole else None
    spec = anchored(str(dict(layer.weights).get("weight", "")), folder)
    if layer.kind not in ("conv", "convtranspose") or layer.groups or not spec or is_checkpoint(spec):
        return None
    kernels = load_weight(spec).kernel_names
    if len(given) * len(kernels) != row.output[0]:
        return None
    return tuple((f"{before}-{kernel}" if before else kernel, plane) for before, plane in given for kernel in kernels)
