"""ONNX's nodes as layers of ours, and the steps of those that are none.

Windows (convolutions, poolings) follow ONNX's own rules where they differ from torch's: ``auto_pad`` and
``output_shape`` become pixels for the sizes that arrive (ONNX operator specification, Conv, ConvTranspose, MaxPool,
AveragePool); poolings may pad more than half a window; AveragePool may be dilated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from convcli.errors import GeometryError
from convcli.geometry.arithmetic import Pair, Step, pool_output_px, ratio, resolve_padding, window_px
from convcli.layers.kinds.activations import Gelu, Hardswish, Relu, Sigmoid, Silu
from convcli.layers.kinds.arrange import Pad, Upsample
from convcli.layers.kinds.channels import Add, BatchNorm, Concat, Subtract
from convcli.layers.kinds.conv import Conv, ConvTranspose
from convcli.layers.kinds.pool import AvgPool, GlobalPool, MaxPool
from convcli.layers.layer import Layer, Shape
from convcli.layers.onnx_graph import Tensors, Visit

#: Operator → the input that holds its weight; 0 for poolings.
WINDOWS = {
    "Conv": 1, "ConvTranspose": 1, "ConvInteger": 1, "QLinearConv": 3, "FusedConv": 1,
    "MaxPool": 0, "AveragePool": 0, "LpPool": 0, "QLinearAveragePool": 0,
}  # fmt: skip
# Position of the bias among a node's inputs; ConvInteger has none, so no list is long enough for 99.
_BIASES = {"QLinearConv": 8, "ConvInteger": 99}
#: The ends of a Clip that are not given: float32's.
_LARGEST = 3.4028234663852886e38
_SAME = {b"SAME_UPPER": "same", b"SAME_LOWER": "same_lower"}
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


class OnnxMaxPool(MaxPool):
    """MaxPool without torch's bound on padding."""

    def length(self, axis: int, size: int, pads: Pair) -> int:
        """Return the output length."""
        window: dict[str, Any] = {"stride": self.stride[axis], "dilation": self.dilation[axis]}
        window["ceil_mode"] = self.ceil_mode
        return pool_output_px(size, self.kernel_size[axis], pad_before_px=pads[0], pad_after_px=pads[1], **window)


class OnnxAvgPool(AvgPool):
    """AveragePool without torch's bound on padding."""

    length = OnnxMaxPool.length


class OnnxConvTranspose(ConvTranspose):
    """ConvTranspose, whose ``output_shape`` may ask for more than torch's bound on ``output_padding``."""

    def length(self, axis: int, size: int, pads: Pair) -> int:
        """Return the output length."""
        window = window_px(self.kernel_size[axis], self.dilation[axis])
        # Lengths below 1 take the other path, which raises with the numbers.
        output = (size - 1) * self.stride[axis] + window + self.output_padding[axis] - sum(pads)
        return output if output > 0 else super().length(axis, size, pads)


def bias_of(visit: Visit) -> str:
    """Return the name of a node's bias; empty if it has none."""
    at = _BIASES.get(visit.op, 2)
    return visit.inputs[at] if WINDOWS[visit.op] and len(visit.inputs) > at else ""


def read_window(visit: Visit, before: Shape, taps: Shape | None) -> Layer:
    """Return the layer of a node for the shape that arrives and its weight's, both with the first axis.

    Raises
    ------
    GeometryError
        The stored weight has other channels than arrive.
    """
    attributes, sizes = visit.attributes, before[2:]
    n_axes, is_transposed = len(sizes), visit.op == "ConvTranspose"
    kernel = list(taps[2:] if taps else attributes["kernel_shape"])
    if len(kernel) != n_axes:
        raise GeometryError(f"a kernel of {len(kernel)} axes for {n_axes}")
    stride, dilation = (list(attributes.get(name) or [1] * n_axes) for name in ("strides", "dilations"))
    values: dict[str, Any] = {"kernel_size": kernel, "stride": stride, "dilation": dilation, "name": visit.outputs[0]}
    auto = attributes.get("auto_pad", b"NOTSET")
    # The specification lets pads and auto_pad not be used together: pads of a file that has both are dropped.
    pads = list(attributes.get("pads") or [0] * 2 * n_axes) if auto == b"NOTSET" else [0] * 2 * n_axes
    # ONNX lists all begins, then all ends; here every axis has its pair.
    pairs = [(pads[axis], pads[n_axes + axis]) for axis in range(n_axes)]
    if is_transposed:
        pairs, extra = _transposed_padding(attributes, pairs, (sizes, kernel, stride, dilation))
        values["output_padding"] = extra
    elif auto in _SAME:
        pairs = list(resolve_padding(_SAME[auto], sizes, kernel, stride, dilation))
    values["padding"] = [list(pair) for pair in pairs]
    kind: type[Layer]
    if taps is None:
        kind = OnnxMaxPool if visit.op == "MaxPool" else OnnxAvgPool
        # With auto_pad the output's size is given by the rule itself, and rounding has no say.
        values["ceil_mode"] = bool(attributes.get("ceil_mode", 0)) and auto == b"NOTSET"
        if kind is OnnxAvgPool:
            values["count_include_pad"] = bool(attributes.get("count_include_pad", 0))
    else:
        kind = OnnxConvTranspose if is_transposed else Conv
        groups = attributes.get("group", 1)
        # A transposed weight is (in, out/groups, …), an ordinary one (out, in/groups, …).
        values["out_channels"] = taps[1] * groups if is_transposed else taps[0]
        values["in_channels"] = taps[0] if is_transposed else taps[1] * groups
        values |= {"groups": groups, "bias": bool(bias_of(visit))}
    (layer,) = kind.make(values, n_axes, visit.label)
    return replace(layer, label=visit.label)


def _transposed_padding(
    attributes: Mapping[str, Any], pairs: list[Pair], window: tuple[Sequence[int], ...]
) -> tuple[list[Pair], list[int]]:
    """Return the pixels to cut and the output padding that give ``output_shape``, or the input's size times the stride.

    ``window`` has sizes, kernel, stride and dilation. Where the windows do not reach the size, the end is padded.
    """
    sizes, kernel, stride, dilation = window
    auto = attributes.get("auto_pad", b"NOTSET")
    extra = list(attributes.get("output_padding") or [0] * len(sizes))
    wanted = attributes.get("output_shape")
    if wanted is None and auto in _SAME:
        wanted = [size * step for size, step in zip(sizes, stride, strict=True)]
    # The shape may have batch and channels in front; the sizes are always its end.
    for axis, size in enumerate(list(wanted)[-len(sizes) :] if wanted is not None else ()):
        covered = window_px(kernel[axis], dilation[axis])
        total = stride[axis] * (sizes[axis] - 1) + extra[axis] + covered - size
        extra[axis] += max(-total, 0)
        # The specification gives SAME_UPPER the smaller cut in front, and all other cases the larger one.
        less, more = max(total, 0) // 2, max(total, 0) - max(total, 0) // 2
        pairs[axis] = (less, more) if auto == b"SAME_UPPER" else (more, less)
    return pairs, extra


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
    elif visit.op in ("Clip", "HardSigmoid") and len(before) == 1:
        kind, values = Relu, _limits(visit, given)
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
        n_all = len(before)
        # Axes may count from the end. Without keepdims the output has fewer axes, and is no plane any more.
        if sorted(int(axis) % n_all for axis in axes) != list(range(2, n_all)) or len(inferred) != n_all:
            return None
    return {"mode": "max" if "Max" in visit.op else "avg"}


def _limits(visit: Visit, tensors: Sequence[tuple[float, ...]]) -> dict[str, object] | None:
    """Return the mode of a node that keeps samples between two numbers."""
    if visit.op == "HardSigmoid":
        alpha, beta = visit.attributes.get("alpha", 0.2), visit.attributes.get("beta", 0.5)
        return {"mode": "clip", "constants": {"factor": alpha, "offset": beta}}
    ends = {"low": visit.attributes.get("min", -_LARGEST), "high": visit.attributes.get("max", _LARGEST)}
    # Clip has its ends as inputs from opset 11 on, and as attributes before.
    for end, name, numbers in zip(ends, visit.inputs[1:], tensors[1:], strict=False):
        if name and len(numbers) != 1:
            return None
        ends[end] = numbers[0] if name else ends[end]
    return {"mode": "relu6"} if ends == {"low": 0.0, "high": 6.0} else {"mode": "clip", "constants": ends}


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
    factors = [ratio(after, size) for size, after in zip(before[2:], inferred[2:], strict=True)]
    whole = all(isinstance(factor, int) and factor > 0 for factor in factors)
    if not mode or not whole or before[:2] != inferred[:2] or corners in (b"align_corners", b"tf_crop_and_resize"):
        return None
    return {"scale_factor": factors, "mode": mode}
