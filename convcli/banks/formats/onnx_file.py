"""ONNX models: constants by tensor or node name (onnx). Data in other files are read inside the model's folder only."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from convcli.banks.bank import AnyArray, KernelBank, check_taps
from convcli.banks.formats import library
from convcli.banks.formats.arrays import arrays_of
from convcli.banks.formats.entries import Archive
from convcli.banks.formats.exported import Exported, lost_reduction
from convcli.errors import KernelError


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


def open_archive(path: Path) -> Archive:
    """Return the initialisers and the outputs of ``Constant`` nodes; convolutions name their weight and bias too."""
    onnx, graph = _library(), _graph(path)
    tensors = {str(tensor.name): tensor for tensor in graph.initializer}
    for node in graph.node:
        values = [each.t for each in node.attribute if each.name == "value"] if node.op_type == "Constant" else []
        tensors |= dict.fromkeys(node.output, values[0]) if values else {}
    nodes: dict[str, tuple[str, str | None]] = {}
    # Exporters write equal numbers once, and an Identity for each further use.
    stored = {name: name for name in tensors}
    for node in graph.node:
        tensor, weight, bias = [*map(stored.get, node.input), None, None, None][:3]
        if node.op_type == "Identity" and tensor:
            stored |= dict.fromkeys(node.output, tensor)
        if node.op_type in ("Conv", "ConvTranspose") and weight:
            nodes[node.name or node.output[0]] = (weight, bias)
    return Archive(
        {name: tuple(tensor.dims) for name, tensor in tensors.items()},
        lambda name: _array(tensors[name], name, path),
        {name: onnx.TensorProto.DataType.Name(tensor.data_type).lower() for name, tensor in tensors.items()},
        nodes,
    )


def _array(tensor: Any, name: str, path: Path) -> AnyArray:
    onnx = _library()
    what = f"{path}#{name}"
    # Python's integers, as sizes that overflow would look small.
    check_taps(int(np.prod([max(1, size) for size in tensor.dims], dtype=object)), what)
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        array = _external(tensor, what, path)
    else:
        try:
            array = onnx.numpy_helper.to_array(tensor)
        except (ValueError, TypeError, KeyError) as error:
            raise KernelError(f"{what}: {' '.join(str(error).split())[:120]}") from None
    return array.astype(np.float32) if array.dtype.kind not in "iufb" else array  # bfloat16 and the 8-bit floats


def _external(tensor: Any, what: str, path: Path) -> AnyArray:
    """Return a tensor whose numbers lie in another file of the model's folder; files elsewhere are never opened."""
    onnx = _library()
    facts = {each.key: each.value for each in tensor.external_data}
    folder = path.parent.resolve()
    file = (folder / facts.get("location", "")).resolve()
    # Links are followed before the comparison: one that leads out of the folder is refused too.
    if folder not in file.parents:
        message = f"{what}: its data are outside the model's folder, which is not followed"
        raise KernelError(message, hint="copy them there")
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    wanted = math.prod(tensor.dims) * dtype.itemsize
    try:
        offset, length = int(facts.get("offset", 0)), int(facts.get("length", wanted))
        with file.open("rb") as stream:
            stream.seek(offset)
            data = stream.read(wanted if offset >= 0 else 0)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise KernelError(f"{what}: cannot read {file.name}: {reason}", hint="it belongs beside the model") from None
    if length != wanted or len(data) != wanted:
        held = min(length, len(data))
        raise KernelError(f"{what}: its shape needs {wanted:,} bytes, {file.name} has {held:,} for it")
    return np.frombuffer(data, dtype).reshape(tuple(tensor.dims))


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
