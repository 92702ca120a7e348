"""ONNX nodes that are no windows: as layers of ours where one does exactly this, and their step along the axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from convcli.geometry.receptive import Step
from convcli.layers.kinds.activations import Gelu, Hardswish, Relu, Sigmoid, Silu
from convcli.layers.kinds.arrange import Pad, Upsample
from convcli.layers.kinds.channels import Add, BatchNorm, Concat, Subtract
from convcli.layers.kinds.pool import GlobalPool
from convcli.layers.layer import Layer, Shape
from convcli.layers.onnx_graph import Tensors, Visit

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
_SAME_KINDS = {"Sigmoid": Sigmoid, "Swish": Silu, "HardSwish": Hardswish, "Gelu": Gelu}


def read_kind(visit: Visit, tensors: Tensors, before: list[Shape], inferred: Shape, *, is_silu: bool) -> Layer | None:
    """Return a node as one of our layers, if one does exactly this."""
    if len(before[0]) < 3:
        return None
    n_axes = len(before[0]) - 2
    is_same = all(shape == inferred for shape in before)
    values: dict[str, object] | None = None
    kind: type[Layer] = Add
    given = [tensors.values(name) for name in visit.inputs]
    if is_silu:
        kind, values = Silu, {}
    elif visit.op in ("Add", "Sum", "Sub") and is_same and len(before) == len(visit.inputs) > 1:
        kind, values = (Subtract if visit.op == "Sub" else Add), {}
    elif visit.op == "Concat" and len(before) == len(visit.inputs) > 1:
        kind, values = Concat, {} if visit.attributes.get("axis") in (1, -n_axes - 1) else None
    elif visit.op == "BatchNormalization":
        kind, values = BatchNorm, {"weight": visit.inputs[1], "eps": visit.attributes.get("epsilon", 1e-5)}
    elif visit.op in ("GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax"):
        kind, values = GlobalPool, _global_mode(visit, given, before[0], inferred)
    elif visit.op == "Pad":
        kind, values = Pad, _pads(visit, before[0], inferred, given)
    elif visit.op in ("Resize", "Upsample"):
        kind, values = Upsample, _factors(visit, before[0], inferred)
    elif visit.op in _MODES:
        values = {"mode": _MODES[visit.op]}
        # 0.01 is ONNX's default, and exporters leave defaults out.
        if visit.op == "LeakyRelu":
            values["value"] = visit.attributes.get("alpha", 0.01)
        kind = Relu
    elif visit.op == "Clip":
        # Clip has its ends as inputs from opset 11 on, and as attributes before.
        ends = given[1:] or [(visit.attributes.get("min", -1.0),), (visit.attributes.get("max", -1.0),)]
        kind, values = Relu, {"mode": "relu6"} if ends == [(0.0,), (6.0,)] else None
    elif visit.op in _SAME_KINDS and (visit.op != "Gelu" or visit.attributes.get("approximate", b"none") == b"none"):
        kind, values = _SAME_KINDS[visit.op], {}
    if values is None:
        return None
    inputs = {"from": [each for each in visit.inputs if each]} if kind.joins else {}
    (layer,) = kind.make({**values, **inputs, "name": visit.outputs[0]}, n_axes, visit.label)
    return replace(layer, label=visit.label)


def read_step(visit: Visit, before: list[Shape], inferred: Shape) -> Step | None:
    """Return what a node does along every axis, or None if a receptive field cannot be followed through it."""
    sides = [shape[2:] for shape in before if len(shape) == len(inferred)]
    if visit.op == "DepthToSpace":
        return Step("up", visit.attributes["blocksize"], visit.attributes["blocksize"])
    if visit.op == "SpaceToDepth":
        return Step("down", visit.attributes["blocksize"], visit.attributes["blocksize"])
    is_local = visit.op in _POINTWISE and len(sides) == len(before)
    # A source of one sample is broadcast to all outputs, which does not move any window.
    fits = all(side == inferred[2:] or all(each == 1 for each in side) for side in sides)
    return Step() if is_local and fits and inferred[2:] in sides else None


def _global_mode(
    visit: Visit, tensors: Sequence[tuple[float, ...]], before: Shape, inferred: Shape
) -> dict[str, object] | None:
    """Return the mode of a global pooling; a reduction is one only over all axes but batch and channels."""
    if visit.op.startswith("Reduce"):
        axes = visit.attributes.get("axes") or (tensors[1] if len(tensors) > 1 else ())
        # Axes may count from the end. Without keepdims the output has fewer axes, and is no plane any more.
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
    # Constant has no entry here, so it becomes "", and a value of 0 becomes the default border.
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
