"""ONNX models: initialisers by tensor or node name (onnx). Data kept in other files is refused, not followed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convcli.banks.bank import KernelBank
from convcli.banks.formats.arrays import bank_of_array, choose_entry
from convcli.banks.limits import check_taps
from convcli.errors import KernelError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def _library() -> Any:
    try:
        import onnx
    except ImportError:
        raise KernelError("reading ONNX needs the onnx package", hint="pip install 'convcli[formats]'") from None
    return onnx


def _graph(path: Path) -> Any:
    onnx = _library()
    try:
        return onnx.load(path, load_external_data=False).graph
    except Exception as error:  # noqa: BLE001 - protobuf's DecodeError is not one class over its versions
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        raise KernelError(f"{path} is not a readable ONNX model: {reason}", path=str(path)) from None


def listing(path: Path) -> dict[str, tuple[int, ...]]:
    """Return every initialiser's shape."""
    return {tensor.name: tuple(tensor.dims) for tensor in _graph(path).initializer}


def read(path: Path, *, entry: str, layout: str | None) -> KernelBank:
    """Read one initialiser, named itself or by the node that uses it, as a bank."""
    graph = _graph(path)
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    shapes = {name: tuple(tensor.dims) for name, tensor in tensors.items()}
    nodes = {node.name or node.output[0]: node for node in graph.node if node.op_type in ("Conv", "ConvTranspose")}
    bias: str | None
    if entry and entry not in shapes and entry in nodes:
        inputs = list(nodes[entry].input)
        if inputs[1] not in tensors:
            raise KernelError(f"{path}#{entry}: the weight '{inputs[1]}' is computed, not stored")
        chosen, bias = inputs[1], inputs[2] if len(inputs) > 2 and inputs[2] in tensors else None
    else:
        chosen, bias = choose_entry(shapes, entry, path)
        if not entry and len(nodes) == 1 and len(next(iter(nodes.values())).input) > 2:
            bias = next(iter(nodes.values())).input[2]
            bias = bias if bias in tensors else None
    return bank_of_array(
        _array(tensors[chosen], path),
        name=f"{path.stem}-{chosen.removesuffix('.weight')}" if len(shapes) > 2 or entry else path.stem,
        layout=layout,
        checkpoint=True,
        bias=_array(tensors[bias], path) if bias else None,
        source=f"{path.name}#{chosen}",
    )


def _array(tensor: Any, path: Path) -> NDArray[np.generic]:
    onnx = _library()
    what = f"{path}#{tensor.name}"
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        raise KernelError(f"{what}: its data are in another file, which is not followed", hint="save one whole file")
    check_taps(int(np.prod([max(1, size) for size in tensor.dims], dtype=object)), what)
    try:
        array: NDArray[np.generic] = onnx.numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError) as error:
        raise KernelError(f"{what}: {' '.join(str(error).split())[:120]}") from None
    return array


def write(weight: NDArray[np.float64], bias: NDArray[np.float64] | None, name: str) -> bytes:
    """Return a model of one Conv node with float64 weights."""
    onnx = _library()
    helper, double = onnx.helper, onnx.TensorProto.DOUBLE
    stored = [onnx.numpy_helper.from_array(weight, f"{name}.weight")]
    if bias is not None:
        stored.append(onnx.numpy_helper.from_array(bias, f"{name}.bias"))
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
    data: bytes = model.SerializeToString()
    return data
