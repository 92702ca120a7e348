"""ONNX models: initialisers by tensor or node name (onnx). Data kept in other files is refused, not followed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convcli.banks.bank import KernelBank, check_taps
from convcli.banks.formats import library
from convcli.banks.formats.arrays import arrays_of, bank_of_entry, choose_entry
from convcli.banks.formats.exported import Exported, lost_reduction
from convcli.errors import KernelError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def _library() -> Any:
    return library("onnx", "reading ONNX needs the onnx package")


def _graph(path: Path) -> Any:
    onnx = _library()
    try:
        # External data may name any file of this machine.
        return onnx.load(path, load_external_data=False).graph
    except Exception as error:  # noqa: BLE001 - protobuf's DecodeError is not one class over its versions
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise KernelError(f"{path} is not a readable ONNX model: {reason}", path=str(path)) from None


def listing(path: Path) -> dict[str, tuple[int, ...]]:
    """Return every initialiser's shape."""
    return {str(tensor.name): tuple(tensor.dims) for tensor in _graph(path).initializer}


def read(path: Path, *, entry: str, layout: str | None) -> KernelBank:
    """Read one initialiser, named itself or by the node that uses it, as a bank."""
    graph = _graph(path)
    tensors = {str(tensor.name): tensor for tensor in graph.initializer}
    shapes = {name: tuple(tensor.dims) for name, tensor in tensors.items()}
    # A node needs no name, its output has one.
    nodes = {node.name or node.output[0]: node for node in graph.node if node.op_type in ("Conv", "ConvTranspose")}
    bias: str | None
    if entry and entry not in shapes and entry in nodes:
        inputs = list(nodes[entry].input)  # X, W and perhaps B
        if inputs[1] not in tensors:
            raise KernelError(f"{path}#{entry}: the weight '{inputs[1]}' is computed, not stored")
        chosen, bias = inputs[1], inputs[2] if len(inputs) > 2 and inputs[2] in tensors else None
    else:
        chosen, bias = choose_entry(shapes, entry, path)
        if not entry and len(nodes) == 1 and len(next(iter(nodes.values())).input) > 2:
            bias = next(iter(nodes.values())).input[2]
            bias = bias if bias in tensors else None
    return bank_of_entry(
        path, shapes, lambda name: _array(tensors[name], path), (chosen, bias), named=bool(entry), layout=layout
    )


def _array(tensor: Any, path: Path) -> NDArray[np.generic]:
    onnx = _library()
    what = f"{path}#{tensor.name}"
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise KernelError(f"{what}: its data are in another file, which is not followed", hint="save one whole file")
    # Python's integers, as sizes that overflow would look small.
    check_taps(int(np.prod([max(1, size) for size in tensor.dims], dtype=object)), what)
    try:
        array: NDArray[np.generic] = onnx.numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise KernelError(f"{what}: {' '.join(str(error).split())[:120]}") from None
    return array


def write_onnx(bank: KernelBank, _rounding: bool) -> Exported:
    """Write a model of one Conv node with float64 weights."""
    onnx, name, arrays = _library(), bank.file_name, arrays_of(bank)
    weight = arrays["weight"]
    helper, double = onnx.helper, onnx.TensorProto.DOUBLE
    stored = [onnx.numpy_helper.from_array(array, f"{name}.{key}") for key, array in arrays.items()]
    node = helper.make_node("Conv", ["input", *(tensor.name for tensor in stored)], ["output"], name=name)
    free: list[str | int] = ["n", int(weight.shape[1]), *(f"s{axis}" for axis in range(weight.ndim - 2))]
    made: list[str | int] = ["n", int(weight.shape[0]), *(f"t{axis}" for axis in range(weight.ndim - 2))]
    graph = helper.make_graph(
        [node],
        name,
        [helper.make_tensor_value_info("input", double, free)],
        [helper.make_tensor_value_info("output", double, made)],
        stored,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], producer_name="convcli")
    return Exported(model.SerializeToString(), lost_reduction(bank))
