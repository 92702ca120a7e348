"""An ONNX model as rows of the shape table; needs the ``onnx`` package (extra ``formats``).

Every node that runs is a row, in topological order, on side branches too. Windows (convolutions, poolings) are computed
here by ONNX's rules from the stored weight's shape, and held against ONNX's own inference; what lies between them comes
from that inference. Where neither knows a shape, the walk ends: the node is named, and totals are partial.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from convcli.errors import ConvcliError, KernelError, UsageError
from convcli.geometry import receptive
from convcli.geometry.receptive import Step
from convcli.layers.kinds.activations import Relu
from convcli.layers.kinds.arrange import Pad, Upsample
from convcli.layers.kinds.channels import Add, BatchNorm, Concat, Subtract
from convcli.layers.kinds.pool import GlobalPool
from convcli.layers.layer import Layer, Row, Shape
from convcli.layers.onnx_graph import Tensors, Visit
from convcli.layers.onnx_windows import WINDOWS, read_window
from convcli.layers.text import load_kinds
from convcli.layers.walk import Walk, peak_bytes, with_fields

#: Operators with numbers of their own: each float constant of more than one number that they read is counted.
_WEIGHTED = frozenset({
    "Gemm", "MatMul", "Einsum", "PRelu", "LSTM", "GRU", "RNN", "InstanceNormalization", "GroupNormalization",
    "LayerNormalization", "Mul", "Add", "Sub", "Div", "Gather",
})  # fmt: skip
#: Operators of whose outputs each depends on the inputs at its own place, and on those of all channels there.
_POINTWISE = frozenset({
    "Abs", "Add", "And", "BatchNormalization", "Cast", "Ceil", "Celu", "Clip", "Concat", "Cos",
    "DequantizeLinear", "Div", "Elu", "Equal", "Erf", "Exp", "Floor", "Gather", "Gelu", "Greater",
    "HardSigmoid", "HardSwish", "Identity", "LRN", "LeakyRelu", "Less", "Log", "LogSoftmax", "Max", "Mean",
    "Min", "Mish", "Mul", "Neg", "Not", "Or", "PRelu", "Pow", "QuantizeLinear", "Reciprocal", "Relu", "Round",
    "Selu", "Sigmoid", "Sin", "Slice", "Softmax", "Softplus", "Softsign", "Split", "Sqrt", "Sub", "Sum",
    "Swish", "Tanh", "ThresholdedRelu", "Where", "Xor",
})  # fmt: skip
_MODES = {"Relu": "relu", "Abs": "abs", "Tanh": "tanh", "LeakyRelu": "leaky"}
_SAME_KINDS = {"Sigmoid": "sigmoid", "Swish": "silu", "HardSwish": "hardswish", "Gelu": "gelu"}


class Operator(Layer):
    """Any other ONNX node: its output's shape is what ONNX infers."""

    kind = "operator"

    def size_formula(self, row: Row, axis: int) -> Iterator[str]:  # noqa: ARG002 - one line for all axes
        """Yield the output's sizes."""
        yield f"{'x'.join(map(str, row.output)) or 1} (as ONNX infers it)"


class Graph(NamedTuple):
    """The rows of a model, its input's shape, notes, and why the walk is partial, if it is."""

    rows: tuple[Row, ...]
    input: Shape
    notes: tuple[str, ...]
    partial: str

    def shape(self) -> Walk:
        """Return every shape and count."""
        return Walk(self.input, self.rows, peak_bytes(self.rows, self.input), self.notes, self.partial)


def read_onnx(path: Path | str, input_shape: Shape | None = None) -> Graph:
    """Return the layers of an ONNX file; weights kept in other files are not needed.

    Raises
    ------
    ConvcliError
        The onnx package is missing.
    KernelError
        The file is not ONNX, or nothing in it can be followed.
    GeometryError
        A stored weight does not fit the channels that arrive, or a window does not fit.
    UsageError
        The graph's input has open sizes and ``input_shape`` is None, or differs in channels or axes.
    """
    try:
        import onnx
        from onnx import inliner
    except ImportError:
        raise ConvcliError("reading ONNX needs the onnx package", hint="pip install 'convcli[formats]'") from None
    try:
        model = onnx.load(str(path), load_external_data=False)
        model = inliner.inline_local_functions(model) if len(model.functions) else model
    except OSError as error:
        raise KernelError(f"cannot read {str(path)!r}: {error.strerror or error}") from None
    except Exception as error:  # noqa: BLE001 - protobuf raises its own kinds, which differ between its versions
        raise KernelError(f"{str(path)!r} is not an ONNX model: {error}") from None
    stored = {item.name for item in model.graph.initializer}
    inputs = [item for item in model.graph.input if item.name not in stored]
    if not inputs:
        raise KernelError(f"{str(path)!r} has no input")
    ranks = [len(item.type.tensor_type.shape.dim) for item in inputs]
    main = next((item for item, n in zip(inputs, ranks, strict=True) if n > 3), None)
    main = main or next((item for item, n in zip(inputs, ranks, strict=True) if n), inputs[0])
    shape = _input_shape(main, input_shape)
    reading = _Reading(model)
    for item in inputs:
        own = [dim.dim_value if dim.HasField("dim_value") else 1 for dim in item.type.tensor_type.shape.dim]
        reading.tensors.types[item.name] = item.type
        reading.tensors.set_shape(item.name, item.name, (own[0] or 1, *shape) if item is main and own else tuple(own))
        reading.makers[item.name] = -1
    for visit in reading.tensors.visit(model.graph):
        reading.take(visit)
    if not reading.rows:
        raise KernelError(f"{str(path)!r} has no layer that follows from its input")
    return reading.finish(shape)


class _Reading:
    """Rows made so far, the row that makes each tensor, and what was not followed."""

    def __init__(self, model: Any) -> None:
        self.tensors = Tensors(model)
        self.makers: dict[str, int] = {}
        self.rows: list[Row] = []
        self.steps: list[tuple[Any, ...]] = []
        self.wide: list[tuple[int, ...]] = []
        self.seen: set[str] = set()
        self.notes: list[str] = []
        self.missed: list[tuple[Visit, str]] = []
        self.kinds = load_kinds()
        self.gates: dict[str, str] = {}
        self.uses = Counter(name for node in model.graph.node for name in node.input)
        self.uses.update(item.name for item in model.graph.output)

    def take(self, visit: Visit) -> None:
        """Add the row of a node, or what stops there."""
        tensors = self.tensors
        roots = [tensors.root(name) for name in visit.inputs if name and tensors.root(name) not in tensors.constants]
        shapes = [tensors.shape(name) for name in roots]
        if not roots or any(name not in self.makers for name in roots) or None in shapes:
            self.missed.append((visit, "" if roots else visit.reason))
            return
        before = [shape for shape in shapes if shape is not None]
        row = self._row(visit, roots, before)
        if row is None:
            self.missed.append((visit, visit.reason or "its output depends on the values"))
            return
        self.rows.append(row)
        batch = before[0][:1]
        if tensors.shape(visit.outputs[0]) is None or visit.op in WINDOWS:
            tensors.set_shape(visit.outputs[0], roots[0], (*batch, *row.output))
        if visit.op == "Sigmoid":
            self.gates[visit.outputs[0]] = roots[0]
        for name in visit.outputs:
            self.makers[name] = len(self.rows) - 1

    def _row(self, visit: Visit, roots: list[str], before: list[Shape]) -> Row | None:
        """Return the row of a node, None if its output's shape is not known; receptive fields come later."""
        inferred = visit.inferred[0] if visit.inferred else None
        if visit.op in WINDOWS:
            return self._window_row(visit, (self.makers[roots[0]],), before[0], inferred)
        if inferred is None:
            return None
        given = before[0][1:]
        layer = self._kind(visit, before, inferred)
        if layer and layer.kind == "silu" and visit.op == "Mul":  # the row of its sigmoid is gone
            roots = [name for name in roots if self.gates.get(name) not in roots]
        sources = tuple(dict.fromkeys(self.makers[name] for name in roots))
        name, n_axes = visit.outputs[0], max(len(inferred) - 2, 1)
        layer = layer or Operator(label=visit.label, name=name, n_axes=1)
        parameters, macs = self._weights(visit, inferred)
        padding: tuple[Any, ...] = ()
        wide: tuple[int, ...] = ()
        if isinstance(layer, Operator):
            step = self._step(visit, before, inferred)
            if isinstance(step, Step) and len(inferred) > 2:
                wide = tuple(
                    self.makers[root]
                    for root, shape in zip(roots, before, strict=True)
                    if shape[2:] != inferred[2:] and not any(each > 1 for each in shape[2:])
                )
        else:
            padding, step = layer.sizes(given[1:])[0], layer
        self.steps.append((step, given, padding, n_axes))
        self.wide.append(wide)
        none = (0,) * len(padding)
        return Row(layer, sources, given, inferred[1:], padding, 1, parameters, macs, 0, none)

    def _window_row(self, visit: Visit, sources: tuple[int, ...], before: Shape, inferred: Shape | None) -> Row | None:
        """Return the row of a convolution or pooling, computed here; note where ONNX infers another output."""
        index = WINDOWS[visit.op]
        weight = visit.inputs[index] if index else ""
        taps = self.tensors.shape(weight) if weight else None
        if len(before) < 3 or (weight and (taps is None or len(taps) != len(before))):
            return None
        try:
            layer = read_window(visit, before, taps)
            channels, groups = layer.channels([before[1:]])
            padding, sizes, unused = layer.sizes(before[2:])
        except ConvcliError as error:
            raise error.within(f"node {visit.label} ({visit.op})") from None
        output = (channels, *sizes)
        parameters, macs, adds = layer.counts(before[1:], output, groups)
        if weight and self.tensors.root(weight) not in self.tensors.constants:
            parameters = 0
        elif weight and self._is_again(weight):
            parameters = 0
            self.notes.append(f"{visit.label} shares its weight with an earlier layer: counted once")
        if inferred is not None and inferred[1:] != output:
            written = ["x".join(map(str, shape)) for shape in (output, inferred[1:])]
            self.notes.append(
                f"{visit.label}: {written[0]} by ONNX's specification, its shape inference says {written[1]}"
            )
        self.steps.append((layer, before[1:], padding, len(sizes)))
        self.wide.append(())
        return Row(layer, sources, before[1:], output, padding, groups, parameters, macs, adds, unused)

    def _kind(self, visit: Visit, before: list[Shape], inferred: Shape) -> Layer | None:
        """Return a node as one of our layers, if one does exactly this."""
        if len(before[0]) < 3:
            return None
        n_axes = len(before[0]) - 2
        is_same = all(shape == inferred for shape in before)
        values: dict[str, object] | None = None
        kind: type[Layer] = Operator
        tensors = [self.tensors.values(name) for name in visit.inputs]
        gate = self.rows[-1] if self.rows else None
        if visit.op == "Mul" and is_same and gate and gate.layer.kind == "sigmoid" and self._is_gated(visit, gate):
            kind, values = self.kinds["silu"], {}
        elif visit.op in ("Add", "Sum", "Sub") and is_same and len(before) == len(visit.inputs) > 1:
            kind, values = (Subtract if visit.op == "Sub" else Add), {}
        elif visit.op == "Concat" and len(before) == len(visit.inputs) > 1:
            kind, values = Concat, {} if visit.attributes.get("axis") in (1, -n_axes - 1) else None
        elif visit.op == "BatchNormalization":
            kind, values = BatchNorm, {"weight": visit.inputs[1], "eps": visit.attributes.get("epsilon", 1e-5)}
        elif visit.op in ("GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax"):
            kind, values = GlobalPool, _global_mode(visit, tensors, before[0], inferred)
        elif visit.op == "Pad":
            kind, values = Pad, _pads(visit, before[0], inferred, tensors)
        elif visit.op in ("Resize", "Upsample"):
            kind, values = Upsample, _factors(visit, before[0], inferred)
        elif visit.op in _MODES:
            values = {"mode": _MODES[visit.op]}
            if visit.op == "LeakyRelu":
                values["value"] = visit.attributes.get("alpha", 0.01)
            kind = Relu
        elif visit.op == "Clip":
            ends = [visit.attributes.get("min"), visit.attributes.get("max")]
            ends = [*(tensors[1:] or [(end,) for end in ends])]
            kind, values = Relu, {"mode": "relu6"} if ends == [(0.0,), (6.0,)] else None
        elif visit.op in _SAME_KINDS and (
            visit.op != "Gelu" or visit.attributes.get("approximate", b"none") == b"none"
        ):
            kind, values = self.kinds[_SAME_KINDS[visit.op]], {}
        if values is None:
            return None
        inputs = {"from": [each for each in visit.inputs if each]} if kind.joins else {}
        (layer,) = kind.make({**values, **inputs, "name": visit.outputs[0]}, n_axes, visit.label)
        from dataclasses import replace

        return replace(layer, label=visit.label)

    def _is_gated(self, visit: Visit, gate: Row) -> bool:
        """Take a SiLU, which exporters write as ``x · Sigmoid(x)``, as one layer: drop the sigmoid before it."""
        roots = {self.tensors.root(name) for name in visit.inputs}
        value = self.gates.get(gate.layer.name, "")
        if roots != {gate.layer.name, value} or self.uses[gate.layer.name] != 1:
            return False
        for each in (self.rows, self.steps, self.wide):
            each.pop()
        return True

    def _is_again(self, weight: str) -> bool:
        """Whether a stored weight was counted before."""
        root = self.tensors.root(weight)
        was_seen = root in self.seen
        self.seen.add(root)
        return was_seen

    def _weights(self, visit: Visit, inferred: Shape) -> tuple[int, int]:
        """Return (parameters, MACs) of a node that is no window, from its constants."""
        tensors = self.tensors
        if visit.op == "BatchNormalization":
            return 2 * prod(tensors.shape(visit.inputs[1]) or (0,)), 0
        if visit.op not in _WEIGHTED:
            return 0, 0
        parameters, macs = 0, 0
        for name in visit.inputs:
            shape = tensors.shape(name) if name and tensors.root(name) in tensors.constants else None
            if not shape or prod(shape) < 2 or not tensors.is_float(name):
                continue
            parameters += 0 if self._is_again(name) else prod(shape)
            if visit.op in ("Gemm", "MatMul") and len(shape) == 2 and not macs:
                macs = prod(inferred[1:]) * prod(shape) // max(inferred[-1], 1)
        return parameters, macs

    def _step(self, visit: Visit, before: list[Shape], inferred: Shape) -> Step | None:
        """Return what a node does along every axis, or None if a receptive field cannot be followed through it."""
        sides = [shape[2:] for shape in before if len(shape) == len(inferred)]
        if visit.op == "DepthToSpace":
            return Step("up", visit.attributes["blocksize"], visit.attributes["blocksize"])
        if visit.op == "SpaceToDepth":
            return Step("down", visit.attributes["blocksize"], visit.attributes["blocksize"])
        is_local = visit.op in _POINTWISE and len(sides) == len(before)
        fits = all(side == inferred[2:] or all(each == 1 for each in side) for side in sides)
        return Step() if is_local and fits and inferred[2:] in sides else None

    def _add_fields(self, n_axes: int) -> None:
        """Fill in the receptive fields of all rows to which steps lead from the input."""
        lost: set[int] = set()
        for index, (row, (step, *_, axes)) in enumerate(zip(self.rows, self.steps, strict=True)):
            if step is None or axes != n_axes or any(source in lost for source in row.sources):
                lost.add(index)
        if n_axes < 1:
            return
        per_axis = []
        for axis in range(n_axes):
            nodes = []
            for index, (row, (step, given, padding, _)) in enumerate(zip(self.rows, self.steps, strict=True)):
                wide = self.wide[index]
                sources = tuple(each for each in row.sources if each not in wide) or row.sources
                if index in lost:
                    sources, step = (-1,), Step()
                elif isinstance(step, Layer):
                    step = step.step(axis, given[1 + axis], padding[axis][0] if padding else 0)
                nodes.append(receptive.Node(sources, step, () if index in lost else wide))
            per_axis.append(receptive.receptive_fields(nodes))
        for index, row in enumerate(self.rows):
            if index not in lost:
                self.rows[index] = with_fields(row, [fields[index] for fields in per_axis])

    def finish(self, shape: Shape) -> Graph:
        """Return the graph with receptive fields, notes, and what was not reached."""
        self._add_fields(len(shape) - 1)
        notes, partial = list(dict.fromkeys(self.notes)), ""
        causes = [(visit, reason) for visit, reason in self.missed if reason]
        if self.missed:
            windows = sum(visit.op in WINDOWS for visit, _ in self.missed)
            first = causes[0] if causes else (self.missed[0][0], "it does not follow from the input")
            partial = f"stopped at {first[0].label} ({first[0].op}): {first[1]}"
            counted = f"{len(self.missed)} nodes are not measured, {windows} of them convolutions or poolings"
            partial = f"{partial}; {counted}"
            ops = Counter(visit.op for visit, _ in self.missed)
            notes.append("not followed: " + ", ".join(f"{count} × {op}" for op, count in ops.items()))
        return Graph(tuple(self.rows), shape, tuple(notes), partial)


def _global_mode(
    visit: Visit, tensors: Sequence[tuple[float, ...]], before: Shape, inferred: Shape
) -> dict[str, object] | None:
    """Return the mode of a global pooling; a reduction is one only over all axes but batch and channels."""
    if visit.op.startswith("Reduce"):
        axes = visit.attributes.get("axes") or (tensors[1] if len(tensors) > 1 else ())
        if sorted(int(axis) % len(before) for axis in axes) != list(range(2, len(before))) or len(inferred) != len(
            before
        ):
            return None
    return {"mode": "max" if "Max" in visit.op else "avg"}


def _pads(
    visit: Visit, before: Shape, inferred: Shape, tensors: Sequence[tuple[float, ...]]
) -> dict[str, object] | None:
    """Return the padding of a Pad node that only adds along the axes after the channels."""
    n_all = len(before)
    pads = [int(each) for each in visit.attributes.get("pads") or (tensors[1] if len(tensors) > 1 else ())]
    axes = [int(each) % n_all for each in (tensors[3] if len(tensors) > 3 and tensors[3] else range(n_all))]
    sides = {axis: (pads[i], pads[len(axes) + i]) for i, axis in enumerate(axes) if len(pads) == 2 * len(axes)}
    if not sides or min(map(min, sides.values())) < 0 or before[:2] != inferred[:2]:
        return None
    mode = {b"edge": "replicate", b"reflect": "reflect", b"wrap": "circular"}.get(visit.attributes.get("mode", b""), "")
    value = tensors[2][0] if len(tensors) > 2 and tensors[2] else visit.attributes.get("value", 0.0)
    how = {"mode": mode} if mode else {"mode": "constant", "value": value} if value else {}
    return {"padding": [list(sides.get(axis, (0, 0))) for axis in range(2, n_all)], **how}


def _factors(visit: Visit, before: Shape, inferred: Shape) -> dict[str, object] | None:
    """Return whole factors and the mode of a Resize node that enlarges by them."""
    mode = {b"nearest": "nearest", b"linear": "bilinear"}.get(visit.attributes.get("mode", b"nearest"))
    corners = visit.attributes.get("coordinate_transformation_mode", b"half_pixel")
    whole = all(after % size == 0 for size, after in zip(before[2:], inferred[2:], strict=True))
    if not mode or not whole or before[:2] != inferred[:2] or corners in (b"align_corners", b"tf_crop_and_resize"):
        return None
    factors = [after // size for size, after in zip(before[2:], inferred[2:], strict=True)]
    return {"scale_factor": factors, "mode": mode} if min(factors) > 0 else None


def _input_shape(item: Any, given: Shape | None) -> Shape:
    """Return the graph's input without the batch; open sizes come from the shape given."""
    dims = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in item.type.tensor_type.shape.dim]
    own = tuple(dims[1:])
    written = "x".join(str(size) if size else "?" for size in own)
    if given is None:
        if not all(own):
            hint = "x".join(str(size or (3 if not axis and len(own) > 1 else 224)) for axis, size in enumerate(own))
            raise UsageError(f"the model leaves its input open: {written}", hint=f"--input {hint}")
        return own
    if len(given) > 1 == len(own) and given[0] == 1:  # samples without channels
        given = given[1:]
    if len(given) != len(own) or (len(own) > 1 and own[0] not in (0, given[0])):
        raise UsageError(f"input {'x'.join(map(str, given))} is not what the model takes: {written}")
    return given
