"""Measure real models: every convolution and pooling of ONNX files, against ONNX's sizes and the stored numbers.

    pip download --no-deps rapidocr-onnxruntime basic-pitch silero-vad     # and unpack the wheels
    python benchmarks/onnx_models.py FOLDER [--input 3x640x640]

A line a model: windows measured of windows in the graph (branches included), sizes that differ from ONNX's own
inference, parameters counted of the numbers stored for windows, and the first node that stops the walk.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import onnx

from convcli.errors import ConvcliError, UsageError
from convcli.geometry.sizes import parse_sizes
from convcli.layers.onnx import read_onnx
from convcli.layers.onnx_layers import WINDOWS
from convcli.layers.walk import Walk


def nodes_of(graph: Any) -> Iterator[Any]:
    """Yield every node of a graph and of the graphs within it."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == attribute.GRAPH:
                yield from nodes_of(attribute.g)


def measured(path: Path, shape: tuple[int, ...] | None) -> Walk:
    """Return the walk of a model; where its input is open, with the size that the message suggests."""
    try:
        return read_onnx(path, shape).walk
    except UsageError as error:
        if shape is not None or not error.hint:
            raise
        return read_onnx(path, parse_sizes(error.hint.removeprefix("--input "), "input", minimum=1)).walk


def report(path: Path, shape: tuple[int, ...] | None) -> str:
    """Return the line of one model."""
    model = onnx.load(str(path))
    windows = [node for node in nodes_of(model.graph) if node.op_type in WINDOWS]
    stored = {each.name: prod(each.dims) for each in model.graph.initializer}
    stored |= {
        node.output[0]: prod(attribute.t.dims)
        for node in nodes_of(model.graph)
        for attribute in node.attribute
        if node.op_type == "Constant" and attribute.name == "value"
    }
    wanted = {name for node in windows for name in node.input[1:3] if name in stored}
    try:
        walk = measured(path, shape)
    except ConvcliError as error:
        return f"{path.name:<44} {error}"
    rows = [row for row in walk.rows if row.layer.has_window]
    differ = [note for note in walk.extra_notes if "inference" in note]
    counted = sum(row.parameters for row in rows)
    return (
        f"{path.name:<44} {len(rows):>4} of {len(windows):<4} differ {len(differ)}  parameters {counted:,} of "
        f"{sum(stored[name] for name in wanted):,}  {walk.partial or 'whole'}"
    )


def main() -> None:
    """Report every model in a folder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--input")
    given = parser.parse_args()
    shape = parse_sizes(given.input, "input", minimum=1) if given.input else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in sorted(given.folder.rglob("*.onnx")):
            print(report(path, shape))


if __name__ == "__main__":
    main()
