"""The first layers of an ONNX model as a stack that runs (the ``onnx`` package, extra ``formats``).

Each node up to the last one wanted becomes one of our layers; its weight stays in the model's file. A node that no
layer of ours equals is named, and nothing runs in its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from convcli.errors import KernelError, UsageError, near_names
from convcli.layers.kinds.channels import BatchNorm, Multiply
from convcli.layers.kinds.conv import Conv
from convcli.layers.layer import Layer, Row, Shape
from convcli.layers.onnx import Operator, read_onnx
from convcli.layers.onnx_graph import Visit
from convcli.layers.onnx_layers import WINDOWS
from convcli.layers.sources import read_tensor

_RUN = frozenset(("Conv", "ConvTranspose", "MaxPool", "AveragePool"))


def layers_of_model(path: Path, until: str | None, input_shape: Shape | None) -> tuple[tuple[Layer, ...], Shape]:
    """Return the layers of a model from its input to the node called ``until``, or to its end, and its input's shape.

    Raises
    ------
    KernelError
        The file is no ONNX model.
    UsageError
        No node is called so, or one of the nodes has no equal here: the hint names the last node that runs.
    """
    graph = read_onnx(path, input_shape)
    rows = graph.walk.rows
    labels = [row.layer.label for row in rows]
    # Two nodes may have one name; the results of nodes are named apart.
    names = [row.layer.name if labels.count(row.layer.label) > 1 else row.layer.label for row in rows]
    last = _find(rows, names, until)
    wanted = _needed(rows, last)
    layers: list[Layer] = []
    for index in wanted:
        row, visit = rows[index], graph.visits[index]
        layer = None if visit.is_inner else _runnable(row, visit, path)
        if layer is None:
            before = [names[each] for each in wanted if each < index]
            hint = f"--until {before[-1]}" if before else "it is the first: nothing runs"
            op = "a branch of If, Loop or Scan" if visit.is_inner else visit.op
            raise UsageError(f"{path}: {row.layer.label} ({op}) is not run here", hint=hint)
        # A row names each of its sources once; a join may take one of them twice.
        sources = [graph.makers[name] for name in visit.inputs if name in graph.makers] if layer.joins else row.sources
        inputs = tuple("input" if source < 0 else names[source] for source in sources)
        layers.append(replace(layer, name=names[index], label=names[index], inputs=inputs))
    if until is None and graph.walk.partial:
        raise UsageError(f"{path}: {graph.walk.partial}", hint=f"--until {names[last]}")
    return tuple(layers), graph.walk.input


def _find(rows: Sequence[Row], names: list[str], until: str | None) -> int:
    """Return the number of the last row: the model's last, or the one called ``until``."""
    if until is None:
        return len(names) - 1
    for index, row in enumerate(rows):
        if until in (names[index], row.layer.name):
            return index
    windows = [name for name, row in zip(names, rows, strict=True) if isinstance(row.layer, Conv)]
    hint = near_names(until, names) or f"nodes: {', '.join((windows or names)[:8])} …"
    raise UsageError(f"the model has no node {until!r} that is reached", hint=hint)


def _needed(rows: Sequence[Row], last: int) -> list[int]:
    """Return the numbers of the rows from which the last one follows, in running order."""
    found, waiting = set(), [last]
    while waiting:
        index = waiting.pop()
        if index >= 0 and index not in found:
            found.add(index)
            waiting += rows[index].sources
    return sorted(found)


def _runnable(row: Row, visit: Visit, path: Path) -> Layer | None:
    """Return a row's layer with its numbers, or None if no layer of ours does exactly this."""
    layer = row.layer
    if visit.op in WINDOWS:
        if visit.op not in _RUN:
            return None
        if not isinstance(layer, Conv):
            return layer
        sources = zip(("weight", "bias_from"), [name for name in visit.inputs[1:3] if name], strict=False)
        return replace(layer, weights=tuple((key, f"{path}#{name}") for key, name in sources))
    if visit.op == "BatchNormalization":
        stored = zip(("gamma", "beta", "mean", "var"), visit.inputs[1:5], strict=True)
        return _normed(layer, {key: read_tensor(f"{path}#{name}") for key, name in stored})
    if isinstance(layer, Operator):
        n_axes = len(row.input) - 1
        is_product = visit.op == "Mul" and len(row.sources) == 2 and row.input == row.output
        return Multiply(n_axes=n_axes) if is_product else _affine(row, visit, path)
    return layer if visit.op not in ("Resize", "Upsample") or _repeats(visit) else None


def _normed(layer: Layer, constants: Mapping[str, Any]) -> Layer:
    """Return a batch norm with numbers of its own."""
    columns = {key: tuple(float(each) for each in value.reshape(-1)) for key, value in constants.items()}
    return replace(layer, weights=(("constants", tuple(sorted(columns.items()))),))


def _affine(row: Row, visit: Visit, path: Path) -> Layer | None:
    """Return arithmetic with a number, or with one number a channel, as a factor and an offset of each channel."""
    import numpy as np

    if visit.op not in ("Add", "Sub", "Mul", "Div") or len(row.sources) != 1 or row.input != row.output:
        return None
    constants = {}
    for name in visit.inputs:
        with suppress(KernelError):  # the other input, which is no constant
            constants[name] = read_tensor(f"{path}#{name}")
    if len(constants) != 1 or len(set(visit.inputs)) != 2:
        return None
    ((name, number),) = constants.items()
    is_first = name == visit.inputs[0]
    # Constants are broadcast from the last axis on: one a channel is (C, 1, 1), with or without a batch of 1.
    per_channel = (row.input[0], *(1,) * (len(row.input) - 1))
    if (number.size > 1 and number.shape[-len(per_channel) :] != per_channel) or (visit.op == "Div" and is_first):
        return None
    one, nothing = np.ones(1), np.zeros(1)
    factor, offset = {
        "Add": (one, number),
        "Sub": (-one, number) if is_first else (one, -number),
        "Mul": (number, nothing),
        "Div": (1 / number, nothing),
    }[visit.op]
    layer = BatchNorm(n_axes=len(row.input) - 1, eps=0.0)
    return _normed(layer, {"gamma": factor, "beta": offset, "mean": nothing, "var": one})


def _repeats(visit: Visit) -> bool:
    """Whether an enlargement by whole factors takes the samples that ours takes."""
    attributes = visit.attributes
    mode = attributes.get("mode", b"nearest")
    if visit.op == "Upsample":  # the operator of old models, without a choice
        return bool(mode == b"nearest")
    corners = attributes.get("coordinate_transformation_mode", b"half_pixel")
    rounding = attributes.get("nearest_mode", b"round_prefer_floor")
    if mode == b"nearest" and corners == b"asymmetric":
        return bool(rounding == b"floor")
    # The middle of a sample never falls between two of the input's, so both kinds of rounding agree.
    is_rounded = mode != b"nearest" or rounding in (b"round_prefer_floor", b"round_prefer_ceil")
    return is_rounded and corners in (b"half_pixel", b"pytorch_half_pixel")
