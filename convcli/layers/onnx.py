"""The layers of an ONNX graph, for shapes only: its heavy import is ``onnx`` (extra ``formats``).

Convolutions, poolings, joins, paddings and whatever keeps a shape are followed from the graph's first input; a node
that is something else ends its branch, and the notes name it. Values of weights are never loaded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import onnx  # noqa: TID253

from convcli.errors import KernelError, UsageError
from convcli.layers.layer import Layer, make_layer
from convcli.layers.sizes import Shape
from convcli.layers.stack import StackShape, walk

#: Nodes that change no shape and have no weights.
_KEEPING = frozenset(
    (
        *(
            "Abs",
            "Cast",
            "Ceil",
            "Celu",
            "Clip",
            "Cos",
            "Elu",
            "Erf",
            "Exp",
            "Floor",
            "Gelu",
            "HardSigmoid",
            "HardSwish",
        ),
        *(
            "LeakyRelu",
            "Log",
            "LRN",
            "Mish",
            "Mul",
            "Div",
            "Neg",
            "PRelu",
            "Pow",
            "Reciprocal",
            "Relu",
            "Round",
            "Selu",
        ),
        *("Sigmoid", "Sin", "Softmax", "Softplus", "Softsign", "Sqrt", "Tanh", "ThresholdedRelu"),
        *("InstanceNormalization", "GroupNormalization", "LayerNormalization", "QuantizeLinear", "DequantizeLinear"),
    )
)
_SAME_TENSOR = frozenset(("Identity", "Dropout"))
_AUTO_PAD = {"SAME_UPPER": "same", "SAME_LOWER": "same_lower", "VALID": "valid"}


class Graph(NamedTuple):
    """Layers of a graph in running order, its input's shape, and what was not followed."""

    layers: tuple[Layer, ...]
    input: Shape
    notes: tuple[str, ...]

    def shape(self) -> StackShape:
        """Return every shape and count."""
        return walk(self.layers, self.input)._replace(extra_notes=self.notes)


class _Reading(NamedTuple):
    """What is known while a graph is read: sizes of constants, and which layer makes a tensor."""

    constants: dict[str, tuple[int, ...]]
    values: dict[str, list[float]]
    tensors: dict[str, str]
    n_axes: int


def read_graph(path: Path, input_shape: Shape | None) -> Graph:
    """Return the layers of an ONNX file.

    Parameters
    ----------
    path : Path
        The model; weights kept in other files are not needed.
    input_shape : tuple of int or None
        Channels first, without the batch; needed where the graph leaves its input open.

    Raises
    ------
    KernelError
        The file is not ONNX, or nothing in it can be followed.
    UsageError
        The graph's input has open sizes and ``input_shape`` is None, or differs in channels or axes.
    """
    try:
        model = onnx.load(str(path), load_external_data=False)
    except OSError as error:
        raise KernelError(f"cannot read {str(path)!r}: {error.strerror or error}") from None
    except Exception as error:  # noqa: BLE001 - protobuf raises its own kinds, which differ between its versions
        raise KernelError(f"{str(path)!r} is not an ONNX model: {error}") from None
    graph = model.graph
    constants = {item.name: tuple(item.dims) for item in graph.initializer}
    values = {item.name: _numbers(item) for item in graph.initializer if sum(item.dims, 0) <= 16 and len(item.dims) < 2}
    inputs = [item for item in graph.input if item.name not in constants]
    if not inputs:
        raise KernelError(f"{str(path)!r} has no input")
    shape = _input_shape(inputs[0], input_shape)
    reading = _Reading(constants, values, {inputs[0].name: "input"}, len(shape) - 1)
    layers: list[Layer] = []
    ended: dict[str, int] = {}
    for node in graph.node:
        _read_node(node, reading, layers, ended)
    if not layers:
        raise KernelError(f"{str(path)!r} has no layer that follows from its input")
    notes = tuple(f"not followed: {count} × {op}" for op, count in ended.items())
    return Graph(tuple(layers), shape, notes)


def _read_node(node: Any, reading: _Reading, layers: list[Layer], ended: dict[str, int]) -> None:
    """Add what one node is to the layers, or count it as the end of a branch."""
    if node.op_type == "Constant":
        _read_constant(node, reading)
        return
    sources = [reading.tensors[name] for name in node.input if name in reading.tensors]
    unknown = [name for name in node.input if name and name not in reading.tensors and name not in reading.constants]
    if not sources:
        return
    if node.op_type in _SAME_TENSOR:
        reading.tensors[node.output[0]] = sources[0]
        return
    values = None if unknown else _values(node, reading, len(sources))
    if values is None:
        ended[node.op_type] = ended.get(node.op_type, 0) + 1
        return
    kind, parameters = values
    name = node.output[0]
    if sources != [layers[-1].name if layers else "input"]:
        parameters["from"] = sources
    layer = make_layer(kind, {**parameters, "name": name}, n_axes=reading.n_axes)
    layers.append(_labelled(layer, node.name or node.op_type))
    reading.tensors[name] = name


def _labelled(layer: Layer, label: str) -> Layer:
    """Return a layer under the name that its node has."""
    from dataclasses import replace

    return replace(layer, label=label)


def _values(node: Any, reading: _Reading, n_sources: int) -> tuple[str, dict[str, object]] | None:
    """Return (kind, parameters) of a node, or None if it cannot be followed."""
    attributes = {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}
    if node.op_type in _READERS:
        return _READERS[node.op_type](node, attributes, reading)
    joins = {"Add": "add", "Sum": "add", "Sub": "subtract", "Concat": "concat"}
    if node.op_type in joins and n_sources > 1:
        on_channels = node.op_type != "Concat" or attributes.get("axis") in (1, -reading.n_axes - 1)
        return (joins[node.op_type], {}) if on_channels else None
    if node.op_type in (*_KEEPING, "Add", "Sub") and n_sources == 1:
        return "relu", {}
    return None


def _window(attributes: Mapping[str, Any], n_axes: int) -> dict[str, object]:
    """Return stride, dilation and padding of a node with a window."""
    values: dict[str, object] = {
        "stride": list(attributes.get("strides", [1] * n_axes)),
        "dilation": list(attributes.get("dilations", [1] * n_axes)),
    }
    auto = attributes.get("auto_pad", b"NOTSET").decode()
    if auto in _AUTO_PAD:
        return values | {"padding": _AUTO_PAD[auto]}
    pads = list(attributes.get("pads", [0] * 2 * n_axes))
    return values | {"padding": [list(pair) for pair in zip(pads[:n_axes], pads[n_axes:], strict=True)]}


def _conv(node: Any, attributes: Mapping[str, Any], reading: _Reading) -> tuple[str, dict[str, object]] | None:
    """Read Conv and ConvTranspose; the weight's shape says channels and kernel."""
    weight = reading.constants.get(node.input[1])
    if weight is None or len(weight) != reading.n_axes + 2:
        return None
    is_transposed = node.op_type == "ConvTranspose"
    groups = attributes.get("group", 1)
    values = _window(attributes, reading.n_axes) | {
        "out_channels": weight[1] * groups if is_transposed else weight[0],
        "kernel_size": list(weight[2:]),
        "groups": groups,
        "bias": len(node.input) > 2 and bool(node.input[2]),
    }
    if not is_transposed:
        return "conv", values
    if "output_shape" in attributes:
        return None
    return "convtranspose", values | {"output_padding": list(attributes.get("output_padding", [0] * reading.n_axes))}


def _pool(node: Any, attributes: Mapping[str, Any], reading: _Reading) -> tuple[str, dict[str, object]] | None:
    """Read MaxPool and AveragePool."""
    if len(attributes["kernel_shape"]) != reading.n_axes:
        return None
    values = _window(attributes, reading.n_axes)
    dilation = values.pop("dilation")
    values |= {"kernel_size": list(attributes["kernel_shape"]), "ceil_mode": attributes.get("ceil_mode", 0)}
    if node.op_type == "MaxPool":
        return "maxpool", values | {"dilation": dilation}
    if dilation != [1] * reading.n_axes:
        return None
    return "avgpool", values | {"count_include_pad": attributes.get("count_include_pad", 0)}


def _global(node: Any, attributes: Mapping[str, Any], reading: _Reading) -> tuple[str, dict[str, object]]:  # noqa: ARG001
    """Read GlobalAveragePool and GlobalMaxPool."""
    return "globalpool", {"mode": "max" if node.op_type == "GlobalMaxPool" else "avg"}


def _mean(node: Any, attributes: Mapping[str, Any], reading: _Reading) -> tuple[str, dict[str, object]] | None:
    """Read ReduceMean over all axes but batch and channels, which is a global pooling."""
    axes = attributes.get("axes") or (reading.values.get(node.input[1]) if len(node.input) > 1 else None)
    if not axes or not attributes.get("keepdims", 1):
        return None
    n_all = reading.n_axes + 2
    whole = sorted(int(axis) % n_all for axis in axes) == list(range(2, n_all))
    return ("globalpool", {"mode": "avg"}) if whole else None


def _norm(node: Any, attributes: Mapping[str, Any], reading: _Reading) -> tuple[str, dict[str, object]]:  # noqa: ARG001
    """Read BatchNormalization."""
    return "batchnorm", {}


def _pad(node: Any, attributes: Mapping[str, Any], reading: _Reading) -> tuple[str, dict[str, object]] | None:
    """Read Pad, if its sizes are constant and leave batch and channels alone."""
    pads = attributes.get("pads")
    if pads is None:
        pads = reading.values.get(node.input[1]) if len(node.input) > 1 else None
    n_all = reading.n_axes + 2
    if pads is None or len(pads) != 2 * n_all:
        return None
    sides = [(int(pads[i]), int(pads[n_all + i])) for i in range(n_all)]
    if any(sides[0] + sides[1]) or min(min(pair) for pair in sides) < 0:
        return None
    return "pad", {"padding": [list(pair) for pair in sides[2:]]}


def _resize(node: Any, attributes: Mapping[str, Any], reading: _Reading) -> tuple[str, dict[str, object]] | None:
    """Read Resize and Upsample by whole factors."""
    scales = next((reading.values[name] for name in node.input[1:] if reading.values.get(name)), None)
    if scales is None or len(scales) != reading.n_axes + 2 or any(scale % 1 for scale in scales):
        return None
    mode = attributes.get("mode", b"nearest").decode()
    if list(scales[:2]) != [1, 1] or mode not in ("nearest", "linear"):
        return None
    return "upsample", {"scale_factor": [int(scale) for scale in scales[2:]], "mode": _RESIZE[mode]}


_RESIZE = {"nearest": "nearest", "linear": "bilinear"}
_Reader = Callable[[Any, Mapping[str, Any], _Reading], tuple[str, dict[str, object]] | None]
_READERS: dict[str, _Reader] = {
    "Conv": _conv,
    "ConvTranspose": _conv,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "GlobalAveragePool": _global,
    "GlobalMaxPool": _global,
    "ReduceMean": _mean,
    "BatchNormalization": _norm,
    "Pad": _pad,
    "Resize": _resize,
    "Upsample": _resize,
}


def _read_constant(node: Any, reading: _Reading) -> None:
    """Keep the shape of a Constant node, and its numbers if they are few."""
    for item in node.attribute:
        if item.name == "value":
            reading.constants[node.output[0]] = tuple(item.t.dims)
            if len(item.t.dims) < 2 and sum(item.t.dims, 0) <= 16:
                reading.values[node.output[0]] = _numbers(item.t)
        else:
            reading.constants[node.output[0]] = ()


def _numbers(tensor: Any) -> list[float]:
    """Return the numbers of a small tensor; none if they are in another file."""
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        return []
    return [float(number) for number in onnx.numpy_helper.to_array(tensor).reshape(-1)]


def _input_shape(item: Any, given: Shape | None) -> Shape:
    """Return the graph's input without the batch; what is open comes from the shape given."""
    dims = [dim.dim_value if dim.HasField("dim_value") else 0 for dim in item.type.tensor_type.shape.dim]
    if not 3 <= len(dims) <= 5:
        raise KernelError(f"the input {item.name!r} has {len(dims)} axes, not batch, channels and one to three more")
    own = tuple(dims[1:])
    if given is None:
        if not all(own):
            written = "x".join(str(size) if size else "?" for size in own)
            raise UsageError(f"the model leaves its input open: {written}", hint=f"--input {own[0] or 3}x224x224")
        return own
    if len(given) != len(own) or any(size and size != asked for size, asked in zip(own[:1], given[:1], strict=True)):
        written = "x".join(str(size) if size else "?" for size in own)
        raise UsageError(f"input {'x'.join(map(str, given))} is not what the model takes: {written}")
    return given
