"""An ONNX model as rows of the shape table; needs the ``onnx`` package (extra ``formats``).

Every node that runs is a row, in topological order, on side branches too. Windows (convolutions, poolings) are computed
here by ONNX's rules from the stored weight's shape, and held against ONNX's own inference; what lies between them comes
from that inference. Where neither knows a shape, the walk ends: the node is named, and totals are partial.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from convcli.errors import UNOPENED, ConvcliError, KernelError, UsageError, unpack_hint
from convcli.geometry.arithmetic import Node, Step
from convcli.layers.layer import Layer, Row, Shape
from convcli.layers.onnx_graph import Tensors, Visit, input_shape_of
from convcli.layers.onnx_layers import WINDOWS, bias_of, read_kind, read_step, read_window
from convcli.layers.walk import Walk, add_fields, peak_bytes
from convcli.process.system import import_optional

#: Operators with numbers of their own: each float constant of more than one number that they read is counted.
_WEIGHTED = frozenset({
    "Gemm", "MatMul", "Einsum", "PRelu", "LSTM", "GRU", "RNN", "InstanceNormalization", "GroupNormalization",
    "LayerNormalization", "Mul", "Add", "Sub", "Div", "Gather",
})  # fmt: skip


class Operator(Layer):
    """Any other ONNX node: its output's shape is what ONNX infers."""

    kind = "operator"

    def size_formula(self, row: Row, axis: int) -> Iterator[str]:  # noqa: ARG002 - one line for all axes
        """Yield the output's sizes."""
        yield f"{'x'.join(map(str, row.output)) or 1} (as ONNX infers it)"


class Graph(NamedTuple):
    """A model's rows and totals, each row's node, and the row that makes each of its inputs (-1: the model's own).

    Inputs of a node have the names of the tensors that they stand for.
    """

    walk: Walk
    visits: tuple[Visit, ...]
    makers: Mapping[str, int]


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
    what, hint = "reading ONNX needs the onnx package", "pip install 'convcli[formats]'"
    onnx = import_optional("onnx", UsageError, what, hint=hint)
    inliner = import_optional("onnx.inliner", UsageError, what, hint=hint)
    try:
        model = onnx.load(str(path), load_external_data=False)
        model = inliner.inline_local_functions(model) if len(model.functions) else model
    except OSError as error:
        raise KernelError(f"cannot read {str(path)!r}: {error.strerror or error}", hint=UNOPENED) from None
    except Exception as error:  # noqa: BLE001 - protobuf raises its own kinds, which differ between its versions
        with Path(path).open("rb") as file:
            hint = unpack_hint(str(path), file.read(8))
        message = "is compressed as a whole, which is not read" if hint else f"is not an ONNX model: {error}"
        raise KernelError(f"{str(path)!r} {message}", hint=hint or None) from None
    # Up to IR version 3 every initializer is listed among the inputs too.
    stored = {item.name for item in model.graph.initializer}
    inputs = [item for item in model.graph.input if item.name not in stored]
    if not inputs:
        raise KernelError(f"{str(path)!r} has no input")
    # Pictures have four axes; scalars and masks beside them must not be taken for the main input.
    ranks = {item.name: len(item.type.tensor_type.shape.dim) for item in inputs}
    main = min(inputs, key=lambda item: (ranks[item.name] <= 3, not ranks[item.name]))
    shape = input_shape_of(main, input_shape)
    reading = _Reading(model)
    for item in inputs:
        own = [max(dim.dim_value, 1) for dim in item.type.tensor_type.shape.dim]  # 0 and less: open
        reading.tensors.types[item.name] = item.type
        reading.tensors.set_shape(item.name, item.name, (own[0], *shape) if item is main and own else tuple(own))
        reading.makers[item.name] = -1
    try:
        for visit in reading.tensors.visit(model.graph):
            reading.take(visit)
    except ConvcliError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError) as error:
        raise KernelError(f"{str(path)!r} has a damaged graph: {type(error).__name__} {str(error)[:80]}") from None
    if not reading.rows:
        raise KernelError(f"{str(path)!r} has no layer that follows from its input")
    return reading.finish(shape)


class _Reading:
    """Rows made so far, the row that makes each tensor, and what was not followed.

    ``steps`` has for each row its node, how receptive fields go on (by its layer or by one step on all axes, None: they
    end here), and its sources of one sample.
    """

    def __init__(self, model: Any) -> None:
        self.tensors = Tensors(model)
        self.makers: dict[str, int] = {}
        self.rows: list[Row] = []
        self.steps: list[tuple[Visit, Layer | Step | None, tuple[int, ...]]] = []
        self.seen: set[str] = set()
        self.notes: list[str] = []
        self.shared: list[str] = []
        self.missed: list[tuple[Visit, str]] = []
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
            return self._window_row(visit, self.makers[roots[0]], before[0], inferred)
        if inferred is None:
            return None
        is_silu = visit.op == "Mul" and all(shape == inferred for shape in before) and self._is_gated(visit)
        layer = read_kind(visit, self.tensors, before, inferred, is_silu=is_silu)
        if is_silu:  # the row of its sigmoid is gone
            roots = [name for name in roots if self.gates.get(name) not in roots]
        sources = tuple(dict.fromkeys(self.makers[name] for name in roots))
        counts = self._weights(visit, inferred)
        padding: tuple[Any, ...] = ()
        if layer is not None:
            padding = layer.sizes(before[0][2:])[0]
            self.steps.append((visit, layer, ()))
        else:
            layer = Operator(label=visit.label, name=visit.outputs[0], n_axes=1)
            wide = tuple(
                self.makers[root]
                for root, shape in zip(roots, before, strict=True)
                if shape[2:] != inferred[2:] and not any(each > 1 for each in shape[2:])
            )
            self.steps.append((visit, read_step(visit, before, inferred), wide))
        return Row(layer, sources, before[0][1:], inferred[1:], padding, 1, *counts, 0, (0,) * len(padding))

    def _window_row(self, visit: Visit, source: int, before: Shape, inferred: Shape | None) -> Row | None:
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
        _, macs, adds = layer.counts(before[1:], output, groups)
        # Stored numbers count at their first use: networks share weights, and converters share biases.
        stored = [name for name in (weight, bias_of(visit)) if self.tensors.root(name) in self.tensors.constants]
        again = [name for name in stored if self._is_again(name)]
        parameters = sum(prod(self.tensors.shape(name) or (0,)) for name in stored if name not in again)
        if again:
            self.shared.append(visit.label)
        if inferred is not None and inferred[1:] != output:
            ours, theirs = ("x".join(map(str, shape)) for shape in (output, inferred[1:]))
            self.notes.append(f"{visit.label}: {ours} by ONNX's specification, its shape inference says {theirs}")
        self.steps.append((visit, layer, ()))
        return Row(layer, (source,), before[1:], output, padding, groups, parameters, macs, adds, unused)

    def _is_gated(self, visit: Visit) -> bool:
        """Take a SiLU, which exporters write as ``x · Sigmoid(x)``, as one layer: drop the sigmoid before it."""
        roots = {self.tensors.root(name) for name in visit.inputs}
        if not self.rows:
            return False
        gate = self.rows[-1]
        value = self.gates.get(gate.layer.name, "")
        # Another reader of the sigmoid needs its row; only the last row can be dropped without renumbering.
        if roots != {gate.layer.name, value} or self.uses[gate.layer.name] != 1:
            return False
        self.rows.pop()
        self.steps.pop()
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
            # Scale and offset only: the running mean and variance are buffers in torch, and its counts leave them out.
            return 2 * prod(tensors.shape(visit.inputs[1]) or (0,)), 0
        if visit.op not in _WEIGHTED:
            return 0, 0
        parameters, macs = 0, 0
        for name in visit.inputs:
            shape = tensors.shape(name) if name and tensors.root(name) in tensors.constants else None
            # Single numbers are constants of the graph (a factor, an epsilon), integers are shapes and indices.
            if not shape or prod(shape) < 2 or not tensors.is_float(name):
                continue
            parameters += 0 if self._is_again(name) else prod(shape)
            if visit.op in ("Gemm", "MatMul") and len(shape) == 2 and not macs:
                # Each output sums over the other axis of the matrix: outputs x (in * out) / out.
                macs = prod(inferred[1:]) * prod(shape) // max(inferred[-1], 1)
        return parameters, macs

    def _add_fields(self, n_axes: int) -> None:
        """Fill in the receptive fields of all rows to which steps lead from the input."""
        lost: set[int] = set()
        for index, (row, (_, step, _)) in enumerate(zip(self.rows, self.steps, strict=True)):
            if step is None or max(len(row.output) - 1, 1) != n_axes or lost.intersection(row.sources):
                lost.add(index)
        numbers = range(len(self.rows))
        add_fields(self.rows, [[self._node(index, axis, lost) for index in numbers] for axis in range(n_axes)], lost)

    def _node(self, index: int, axis: int, lost: set[int]) -> Node:
        """Return a row along one axis."""
        row, (_, step, wide) = self.rows[index], self.steps[index]
        if step is None or index in lost:
            return Node((-1,), Step())
        if isinstance(step, Layer):
            step = step.step(axis, row.input[1 + axis], row.padding[axis][0])
        return Node(tuple(each for each in row.sources if each not in wide) or row.sources, step, wide)

    def finish(self, shape: Shape) -> Graph:
        """Return the graph with receptive fields, notes, and what was not reached."""
        self._add_fields(len(shape) - 1)
        notes, partial = list(dict.fromkeys(self.notes)), ""
        if self.shared:
            others = f" and {len(self.shared) - 1} more share" if len(self.shared) > 1 else " shares"
            notes.append(f"{self.shared[0]}{others} a weight or a bias with an earlier layer: counted once")
        if self.missed:
            first, why = next(((visit, why) for visit, why in self.missed if why), (self.missed[0][0], ""))
            windows = sum(visit.op in WINDOWS for visit, _ in self.missed)
            counted = f"{len(self.missed)} nodes are not measured, {windows} of them convolutions or poolings"
            partial = f"stopped at {first.label} ({first.op}): {why or 'it does not follow from the input'}; {counted}"
            ops = Counter(visit.op for visit, _ in self.missed)
            notes.append("not followed: " + ", ".join(f"{count} × {op}" for op, count in ops.items()))
        # Exporters write equal numbers once, and an Identity for each further use: readers ask for the stored name.
        root = self.tensors.root
        visits = tuple(visit._replace(inputs=tuple(map(root, visit.inputs))) for visit, _, _ in self.steps)
        rows = tuple(self.rows)
        return Graph(Walk(shape, rows, peak_bytes(rows, shape), tuple(notes), partial), visits, self.makers)
