"""The layers of an ONNX graph, for shapes only; needs the ``onnx`` package (extra ``formats``).

Nodes with an operator of a kind are followed from the graph's first input; any other node ends its branch, and the
notes name it. Weights are never loaded.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from convcli.errors import ConvcliError, KernelError, UsageError
from convcli.layers.layer import Layer, Node, Shape, Tensor
from convcli.layers.text import load_kinds
from convcli.layers.walk import Walk, walk

_SAME_TENSOR = frozenset(("Identity", "Dropout"))
#: Values of a constant are kept up to this many: pads, axes and scales.
_MOST_VALUES = 16


class Graph(NamedTuple):
    """Layers of a graph in running order, its input's shape, and notes on nodes that were not followed."""

    layers: tuple[Layer, ...]
    input: Shape
    notes: tuple[str, ...]

    def shape(self) -> Walk:
        """Return every shape and count."""
        return walk(self.layers, self.input)._replace(extra_notes=self.notes)


class _Reading(NamedTuple):
    """State while a graph is read: its constants, the layer that makes each tensor, and how often tensors are used."""

    constants: dict[str, Tensor]
    tensors: dict[str, str]
    uses: Counter[str]
    n_axes: int
    layers: list[Layer]


def read_onnx(path: Path | str, input_shape: Shape | None = None) -> Graph:
    """Return the layers of an ONNX file; weights kept in other files are not needed.

    Raises
    ------
    ConvcliError
        The onnx package is missing.
    KernelError
        The file is not ONNX, or nothing in it can be followed.
    UsageError
        The graph's input has open sizes and ``input_shape`` is None, or differs in channels or axes.
    """
    try:
        import onnx
    except ImportError:
        raise ConvcliError("reading ONNX needs the onnx package", hint="pip install 'convcli[formats]'") from None
    try:
        model = onnx.load(str(path), load_external_data=False)
    except OSError as error:
        raise KernelError(f"cannot read {str(path)!r}: {error.strerror or error}") from None
    except Exception as error:  # noqa: BLE001 - protobuf raises its own kinds, which differ between its versions
        raise KernelError(f"{str(path)!r} is not an ONNX model: {error}") from None
    graph = model.graph
    constants = {item.name: _constant(item) for item in graph.initializer}
    inputs = [item for item in graph.input if item.name not in constants]
    if not inputs:
        raise KernelError(f"{str(path)!r} has no input")
    shape = _input_shape(inputs[0], input_shape)
    uses = Counter([*(name for node in graph.node for name in node.input), *(item.name for item in graph.output)])
    reading = _Reading(constants, {inputs[0].name: "input"}, uses, len(shape) - 1, [])
    ended = Counter(node.op_type for node in graph.node if not _read_node(node, reading))
    if not reading.layers:
        raise KernelError(f"{str(path)!r} has no layer that follows from its input")
    notes = tuple(f"not followed: {count} × {op}" for op, count in ended.items())
    return Graph(tuple(reading.layers), shape, notes)


def _read_node(node: Any, reading: _Reading) -> bool:
    """Add a node to the layers; return False if a branch ends there."""
    if node.op_type == "Constant":
        found = next((item.t for item in node.attribute if item.name == "value"), None)
        reading.constants[node.output[0]] = Tensor() if found is None else _constant(found)
        return True
    sources = [reading.tensors[name] for name in node.input if name in reading.tensors]
    if not sources:
        return True
    if node.op_type in _SAME_TENSOR:
        reading.tensors[node.output[0]] = sources[0]
        return True
    is_known = all(not name or name in reading.tensors or name in reading.constants for name in node.input)
    found = _layer(node, reading, sources) if is_known else None
    if found is None:
        return False
    kind, parameters = found
    last = reading.layers[-1].name if reading.layers else "input"
    if sources != [last]:
        parameters["from"] = sources
    name = node.output[0]
    (layer,) = kind.make({**parameters, "name": name}, n_axes=reading.n_axes)
    reading.layers.append(replace(layer, label=node.name or node.op_type))
    reading.tensors[name] = name
    return True


def _layer(node: Any, reading: _Reading, sources: list[str]) -> tuple[type[Layer], dict[str, object]] | None:
    """Return (kind, parameters) of a node, or None if it cannot be followed; ``sources`` may lose one."""
    kinds = load_kinds()
    if node.op_type == "Mul" and _is_gated(sources, reading):
        return kinds["silu"], {}
    kind = next((each for each in kinds.values() if node.op_type in each.onnx), None)
    if kind is None:
        return None
    if kind.joins != (len(sources) > 1):
        is_offset = node.op_type in ("Add", "Sub")
        return (kinds["relu"], {}) if is_offset else None
    from onnx import helper

    attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    tensors = [reading.constants.get(name) for name in node.input]
    parameters = kind.from_onnx(Node(node.op_type, attributes, tensors, reading.n_axes))
    return None if parameters is None else (kind, parameters)


def _is_gated(sources: list[str], reading: _Reading) -> bool:
    """Take a SiLU, which exporters write as ``x · Sigmoid(x)``, as one layer: drop the sigmoid before it."""
    gate = reading.layers[-1] if reading.layers else None
    if gate is None or gate.kind != "sigmoid" or len(sources) != 2 or gate.name not in sources:
        return False
    before = reading.layers[-2].name if len(reading.layers) > 1 else "input"
    value = gate.inputs[0] if gate.inputs else before
    if set(sources) != {gate.name, value} or reading.uses[gate.name] != 1:
        return False
    reading.layers.pop()
    sources[:] = [value]
    return True


def _constant(tensor: Any) -> Tensor:
    """Return the shape of a constant, and its values if they are few and in the same file."""
    shape = tuple(tensor.dims)
    is_small = len(shape) < 2 and sum(shape) <= _MOST_VALUES
    if not is_small or tensor.data_location == tensor.EXTERNAL:
        return Tensor(shape)
    from onnx import numpy_helper

    return Tensor(shape, tuple(float(number) for number in numpy_helper.to_array(tensor).reshape(-1)))


def _input_shape(item: Any, given: Shape | None) -> Shape:
    """Return the graph's input without the batch; open sizes come from the shape given."""
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
