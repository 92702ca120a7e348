"""ONNX's convolutions and poolings as layers: its own rules for padding, where they differ from torch's.

``auto_pad`` and ``output_shape`` become pixels for the sizes that arrive (ONNX operator specification, Conv,
ConvTranspose, MaxPool, AveragePool); poolings may pad more than half a window; AveragePool may be dilated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from convcli.errors import GeometryError
from convcli.geometry.arithmetic import Pair, pool_output_px, resolve_padding, window_px
from convcli.layers.kinds.conv import Conv, ConvTranspose
from convcli.layers.kinds.pool import AvgPool, MaxPool
from convcli.layers.layer import Layer, Shape
from convcli.layers.onnx_graph import Visit

#: Operator → the input that holds its weight; 0 for poolings.
WINDOWS = {
    "Conv": 1, "ConvTranspose": 1, "ConvInteger": 1, "QLinearConv": 3, "FusedConv": 1,
    "MaxPool": 0, "AveragePool": 0, "LpPool": 0, "QLinearAveragePool": 0,
}  # fmt: skip
# Position of the bias among a node's inputs; ConvInteger has none, so no list is long enough for 99.
_BIASES = {"QLinearConv": 8, "ConvInteger": 99}
_SAME = {b"SAME_UPPER": "same", b"SAME_LOWER": "same_lower"}


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
    from dataclasses import replace

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
