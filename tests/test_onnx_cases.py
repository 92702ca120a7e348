"""The test cases that come with the onnx package, through the functions in Python."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

import convcli
from convcli.geometry.arithmetic import window_px

onnx = pytest.importorskip("onnx")
OPERATORS = ("Conv", "ConvTranspose", "MaxPool", "AveragePool")


class Case(NamedTuple):
    node: object
    data: list
    rtol: float
    atol: float


@pytest.fixture(scope="module")
def cases(onnx_nodes) -> dict[str, Case]:
    """Return the cases of one node: those that onnx computes, and those that it keeps as files."""
    found = {
        name: Case(case.model.graph.node, case.data_sets, case.rtol, case.atol) for name, case in onnx_nodes.items()
    }
    for path in (Path(onnx.__file__).parent / "backend/test/data").glob("*/*/model.onnx"):
        if path.parent.parent.name in ("pytorch-converted", "pytorch-operator", "simple"):
            graph = onnx.load(path).graph
            stored = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
            data = []
            for folder in path.parent.glob("test_data_set_*"):
                names = [each.name for each in graph.input if each.name not in stored]
                inputs = dict(zip(names, read(folder, "input"), strict=False)) | stored
                if all(name in inputs for name in graph.node[0].input):
                    data.append(([inputs[name] for name in graph.node[0].input], read(folder, "output")))
            found[path.parent.name] = Case(graph.node, data, 1e-3, 1e-7)
    return {
        name: case._replace(node=case.node[0])
        for name, case in found.items()
        if len(case.node) == 1 and case.node[0].op_type in OPERATORS
    }


def read(folder: Path, what: str) -> list:
    found = []
    for path in sorted(folder.glob(f"{what}_*.pb")):
        tensor = onnx.TensorProto()
        tensor.ParseFromString(path.read_bytes())
        found.append(onnx.numpy_helper.to_array(tensor))
    return found


def padding(given: dict, sizes: tuple, kernel: tuple, stride: tuple, dilation: tuple) -> object:
    """Return the padding that a node asks for; an ``output_shape`` cuts less than nothing by output padding."""
    words = {b"SAME_UPPER": "same", b"SAME_LOWER": "same_lower", b"VALID": "valid"}
    n = len(sizes)
    if given.get("auto_pad", b"NOTSET") in words:
        return words[given["auto_pad"]]
    if "output_shape" not in given:
        pads = given.get("pads", [0] * 2 * n)
        return tuple(zip(pads[:n], pads[n:], strict=True))
    pairs = []
    for size, k, s, d, wanted, extra in zip(
        sizes, kernel, stride, dilation, given["output_shape"], given.get("output_padding", [0] * n), strict=True
    ):
        total = max((size - 1) * s + window_px(k, d) + extra - wanted, 0)
        pairs.append((total // 2, total - total // 2))
    return tuple(pairs)


def run(node: object, inputs: list) -> tuple:
    given = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    n = inputs[0].ndim - 2
    kernel = tuple(given.get("kernel_shape") or inputs[1].shape[2:])
    stride, dilation = (tuple(given.get(name, [1] * n)) for name in ("strides", "dilations"))
    pads = padding(given, inputs[0].shape[2:], kernel, stride, dilation)
    how = {"stride": stride, "padding": pads, "dilation": dilation}
    if node.op_type == "Conv":
        return (getattr(convcli, f"conv{n}d")(*inputs, **how, groups=given.get("group", 1)),)
    if node.op_type == "ConvTranspose":
        extra = given.get("output_padding", [0] * n)
        if "output_shape" in given:
            cut = [sum(pair) for pair in pads]
            extra = [
                w - ((size - 1) * s + window_px(k, d) - c)
                for w, size, s, k, d, c in zip(
                    given["output_shape"], inputs[0].shape[2:], stride, kernel, dilation, cut, strict=True
                )
            ]
        return (
            getattr(convcli, f"conv_transpose{n}d")(*inputs, **how, output_padding=extra, groups=given.get("group", 1)),
        )
    how["ceil_mode"] = given.get("ceil_mode", 0)
    if node.op_type == "AveragePool":
        include_pad = given.get("count_include_pad", 0)
        return (getattr(convcli, f"avg_pool{n}d")(*inputs, kernel, count_include_pad=include_pad, **how),)
    if len(node.output) == 1:
        return (getattr(convcli, f"max_pool{n}d")(*inputs, kernel, **how),)
    maxima, places = getattr(convcli, f"max_pool{n}d")(*inputs, kernel, **how, return_indices=True)
    sizes = inputs[0].shape[2:]
    if given.get("storage_order"):  # columns first
        places = np.ravel_multi_index(np.unravel_index(places, sizes), sizes, order="F")
    # ONNX counts through all planes, torch within each.
    planes = np.arange(np.prod(maxima.shape[:2])).reshape(*maxima.shape[:2], *[1] * n)
    return maxima, places + planes * np.prod(sizes)


def test_all_cases_are_there(cases):
    assert {case.node.op_type for case in cases.values()} == set(OPERATORS)
    assert len(cases) >= 80
    assert all(case.data for case in cases.values())


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_case_of_onnx_passes(operator, cases):
    for name, case in cases.items():
        for inputs, outputs in case.data if case.node.op_type == operator else ():
            found = run(case.node, [np.asarray(each) for each in inputs])
            assert len(found) == len(outputs), name
            for ours, expected in zip(found, outputs, strict=True):
                np.testing.assert_allclose(ours, expected, rtol=case.rtol, atol=max(case.atol, 1e-6), err_msg=name)
                assert ours.dtype == np.asarray(expected).dtype, name
