"""Tensors of an ONNX graph before anything runs: constants folded, every other one with type and shape.

Nodes come in running order. A node whose inputs are all small constants is computed by ONNX's own reference evaluator;
the outputs of all others come from ONNX's shape inference of that one node, with the constants it reads put in. Weights
are never loaded: of large constants only the shape is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from math import prod
from typing import Any, NamedTuple

from convcli.errors import UsageError
from convcli.layers.layer import Shape

#: Constants are computed up to this many numbers: shapes, pads, axes and scales, never weights.
_MOST_VALUES = 4096
#: Nodes that pass their first input on.
_SAME_TENSOR = frozenset(("Identity", "Dropout"))


class Visit(NamedTuple):
    """A node that runs on computed tensors: its name, operator, attributes, inputs, outputs, and their shapes.

    ``inferred`` has one shape per output with batch, or None where ONNX's inference leaves it open; ``reason`` says why
    if it failed. ``is_inner``: it lies in the branch of an ``If`` or the body of a loop, which its label names.
    """

    label: str
    op: str
    attributes: Mapping[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    inferred: tuple[Shape | None, ...]
    reason: str
    is_inner: bool


class Tensors:
    """The tensors of a graph so far: types by name, values of small constants, and names of all constants."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.versions = {each.domain: each.version for each in model.opset_import}
        self.types: dict[str, Any] = {}
        self.data: dict[str, Any] = {}
        self.constants: set[str] = set()
        self.same: dict[str, str] = {}

    def shape(self, name: str) -> Shape | None:
        """Return a tensor's shape, or None if it is not known whole."""
        kind = self.types.get(self.root(name))
        if kind is None or not kind.HasField("tensor_type") or not kind.tensor_type.HasField("shape"):
            return None
        dims = kind.tensor_type.shape.dim
        return tuple(dim.dim_value for dim in dims) if all(dim.HasField("dim_value") for dim in dims) else None

    def set_shape(self, name: str, like: str, shape: Shape) -> None:
        """Give a tensor a shape and the type of another."""
        from onnx import TensorProto, helper

        known = self.types.get(self.root(like))
        kind = known.tensor_type.elem_type if known is not None else TensorProto.FLOAT
        self.types[name] = helper.make_tensor_type_proto(kind, shape)

    def values(self, name: str) -> tuple[float, ...]:
        """Return the numbers of a small constant; empty if there are none."""
        from onnx import numpy_helper

        found = self.data.get(self.root(name))
        return () if found is None else tuple(float(each) for each in numpy_helper.to_array(found).reshape(-1))

    def root(self, name: str) -> str:
        """Return the tensor that a name stands for, through nodes that change nothing."""
        # Dropout and Identity chain, so one step is not enough.
        while name in self.same:
            name = self.same[name]
        return name

    def is_float(self, name: str) -> bool:
        """Whether a tensor holds floating-point numbers."""
        kind = self.types.get(self.root(name))
        # TensorProto's numbers of float, float16, double and bfloat16, which are part of the format.
        return kind is not None and kind.tensor_type.elem_type in (1, 10, 11, 16)

    def visit(self, graph: Any, branch: str = "") -> Iterator[Visit]:
        """Yield every node that runs on computed tensors, branches and bodies included; shapes may be set between."""
        for tensor in graph.initializer:
            self._keep(tensor.name, tensor)
        for node in graph.node:
            if node.op_type in ("If", "Loop", "Scan"):
                yield from self._visit_inner(node, branch)
            elif not self._fold(node):
                yield self._infer(node, branch)

    def _keep(self, name: str, tensor: Any) -> None:
        from onnx import helper

        self.constants.add(name)
        self.types[name] = helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
        # External data lies in files that need not be there.
        if prod(tensor.dims) <= _MOST_VALUES and tensor.data_location != tensor.EXTERNAL:
            self.data[name] = tensor

    def _fold(self, node: Any) -> bool:
        """Compute a node of constants; return False if it must run."""
        from onnx import TypeProto, helper, numpy_helper
        from onnx.reference import ReferenceEvaluator

        names = [self.root(name) for name in node.input if name]
        if node.op_type in _SAME_TENSOR and names:
            self.same[node.output[0]] = names[0]
            self.constants |= {node.output[0]} if names[0] in self.constants else set()
            return True
        if node.op_type in ("Shape", "Size") and (shape := self.shape(names[0])) is not None:
            import numpy as np

            # start and end exist from opset 15 on; absent they are None, and the slice takes all.
            first, last = (next((a.i for a in node.attribute if a.name == key), None) for key in ("start", "end"))
            value = np.array(shape[first:last] if node.op_type == "Shape" else prod(shape), np.int64)
            self._keep(node.output[0], numpy_helper.from_array(value))
            return True
        if not all(name in self.constants for name in names):
            return False
        # The shape of a large constant is needed too, so inference runs before the decision to compute.
        visit = self._infer(node, "")
        self.constants |= set(visit.outputs)
        small = all(shape is None or prod(shape) <= _MOST_VALUES for shape in visit.inferred)
        if small and all(name in self.data for name in names):
            feeds = {name: numpy_helper.to_array(self.data[self.root(name)]) for name in node.input if name}
            inputs = [helper.make_value_info(name, self.types[self.root(name)]) for name in feeds]
            outputs = [helper.make_value_info(name, self.types.get(name, TypeProto())) for name in node.output]
            # The evaluator lacks some operators; their outputs' shapes are known from inference.
            with suppress(Exception):
                evaluator = ReferenceEvaluator(helper.make_graph([node], "constant", inputs, outputs), self.versions)
                for name, result in zip(node.output, evaluator.run(None, feeds), strict=False):
                    self._keep(name, numpy_helper.from_array(result))
        return True

    def _infer(self, node: Any, branch: str) -> Visit:
        """Return a node with the shapes that ONNX infers, and keep their types."""
        import onnx
        from onnx import helper, shape_inference

        version = self.versions.get(node.domain, 1)
        names = {name: self.root(name) for name in node.input if name}
        reason = ""
        try:
            if missing := [name for name, root in names.items() if root not in self.types]:
                raise ValueError(f"the shape of its input {missing[0]!r} is not known")
            schema = onnx.defs.get_schema(node.op_type, version, node.domain)
            found = shape_inference.infer_node_outputs(
                schema,
                node,
                {name: self.types[root] for name, root in names.items()},
                {name: self.data[root] for name, root in names.items() if root in self.data},
                opset_imports=list(self.model.opset_import),
                ir_version=self.model.ir_version,
            )
            self.types |= {name: kind for name, kind in found.items() if name}
        except onnx.defs.SchemaError:
            reason = f"{node.domain or 'ONNX'} has no operator {node.op_type} here"
        except Exception as error:  # noqa: BLE001 - inference raises its own kinds, which differ between versions
            reason = " ".join(str(error).split())[:160]
        # Types 5 and 10 are graphs: bodies, visited apart, and no parameters of the operator.
        attributes = {
            each.name: helper.get_attribute_value(each) for each in node.attribute if each.type not in (5, 10)
        }
        shapes = tuple(self.shape(name) for name in node.output)
        label = branch + (node.name or node.op_type)
        inputs, outputs = tuple(node.input), tuple(node.output)
        return Visit(label, node.op_type, attributes, inputs, outputs, shapes, reason, bool(branch))

    def _visit_inner(self, node: Any, branch: str) -> Iterator[Visit]:
        """Yield the nodes of a condition's branches, the one that is taken if that is known, or of a body, once."""
        inner = {each.name: each.g for each in node.attribute if each.type == each.GRAPH}
        if node.op_type == "If" and (known := self.values(node.input[0])):
            taken = "then_branch" if known[0] else "else_branch"
            inner = {taken: inner[taken]}
        for name, graph in inner.items():
            # A body's sizes can change from turn to turn; the first turn stands for all.
            given = [name for name in node.input if node.op_type != "If"]
            # An If's branches have no inputs; they read the outer graph's names.
            for own, outer in zip(graph.input, given, strict=False):
                self.types[own.name] = self.types.get(self.root(outer), own.type)
            for own in graph.input:
                self.types.setdefault(own.name, own.type)
            yield from self.visit(graph, f"{branch}{node.name or node.op_type}.{name.removesuffix('_branch')}/")
            for outer, own in zip(node.output, graph.output, strict=False):
                if self.shape(outer) is None:  # the first branch of which the shape is known
                    self.same[outer] = self.root(own.name)


def input_shape_of(item: Any, given: Shape | None) -> Shape:
    """Return the graph's input without the batch; open sizes come from the shape given."""
    dims = [max(dim.dim_value, 0) for dim in item.type.tensor_type.shape.dim]
    own = tuple(dims[1:])
    written = "x".join(str(size) if size else "?" for size in own)
    if given is None:
        if not all(own):
            # Samples without channels are written with one.
            usual = (1, 224) if len(own) == 1 else (3, *(224,) * (len(own) - 1))
            sizes = [size or guess for size, guess in zip(((1,) * (len(own) == 1) + own), usual, strict=True)]
            hint = f"--input {'x'.join(map(str, sizes))}"
            raise UsageError(f"the model leaves its input open: {written}", hint=hint)
        return own
    if len(given) > 1 == len(own) and given[0] == 1:  # samples without channels
        given = given[1:]
    if len(given) != len(own) or (len(own) > 1 and own[0] not in (0, given[0])):
        raise UsageError(f"input {'x'.join(map(str, given))} is not what the model takes: {written}")
    return given
