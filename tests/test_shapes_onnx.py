"""ONNX models of every origin: each convolution and pooling is measured, sizes as ONNX itself has them."""

from __future__ import annotations

import io
import math
import random
import warnings
from contextlib import suppress
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from conftest import run_cli
from onnx import TensorProto, helper, numpy_helper, shape_inference
from onnx.reference import ReferenceEvaluator
from torch import nn

from convcli.errors import ConvcliError, GeometryError
from convcli.layers.onnx import read_onnx
from convcli.layers.onnx_layers import WINDOWS

LIGHT = sorted((Path(onnx.__file__).parent / "backend" / "test" / "data" / "light").glob("*.onnx"))


def test_every_single_node_case_of_the_onnx_package_has_its_shape(tmp_path, onnx_nodes):
    windowed = {name: case for name, case in onnx_nodes.items() if case.model.graph.node[0].op_type in WINDOWS}
    assert len(windowed) > 60
    for name, case in windowed.items():
        inputs, outputs = case.data_sets[0]
        model = onnx.ModelProto.FromString(case.model.SerializeToString())
        for value, array in list(zip(model.graph.input, inputs, strict=False))[1:]:
            model.graph.initializer.append(numpy_helper.from_array(array, value.name))
        onnx.save(model, str(tmp_path / "case.onnx"))
        stack = read_onnx(tmp_path / "case.onnx").walk
        assert (stack.output, stack.partial, stack.extra_notes) == (outputs[0].shape[1:], "", ()), name


@pytest.mark.parametrize("path", LIGHT, ids=lambda path: path.stem)
def test_light_models_are_measured_whole(path):
    model = onnx.load(str(path))
    inferred = shape_inference.infer_shapes(model)
    shapes = {
        item.name: tuple(dim.dim_value for dim in item.type.tensor_type.shape.dim)[1:]
        for item in [*inferred.graph.value_info, *inferred.graph.output]
    }
    stack = read_onnx(path).walk
    assert sum(row.layer.has_window for row in stack.rows) == sum(node.op_type in WINDOWS for node in model.graph.node)
    assert (stack.partial, stack.extra_notes) == ("", ())
    assert {row.layer.name: row.output for row in stack.rows} == {
        row.layer.name: shapes[row.layer.name] for row in stack.rows
    }


def test_parameters_of_known_networks():
    """Parameters as the papers and torchvision give them (ResNet-50 25,557,032; VGG-19 143,667,240)."""
    counts = {path.stem.removeprefix("light_"): read_onnx(path).walk.parameters for path in LIGHT}
    assert (counts["resnet50"], counts["vgg19"], counts["squeezenet"]) == (25_557_032, 143_667_240, 1_235_496)


class Everything(nn.Module):
    """Blocks that exporters write in many nodes: SE, SiLU, channel shuffle, split, flatten, resize, pixel shuffle."""

    def __init__(self, n_axes: int = 2) -> None:
        super().__init__()
        conv, self.n_axes = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[n_axes - 1], n_axes
        self.stem = conv(3, 8, 3, 2, 1)
        self.norm = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[n_axes - 1](8)
        self.down, self.up, self.side = conv(8, 2, 1), conv(2, 8, 1), conv(4, 4, 3, padding=1, groups=4)
        self.last = conv(8, 4, 3, padding=1)
        self.pool = (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)[n_axes - 1](2)
        self.fc = nn.Linear(4, 5)

    def forward(self, x):
        x = nn.functional.silu(self.norm(self.stem(x)))
        axes = tuple(range(2, 2 + self.n_axes))
        gate = torch.sigmoid(self.up(torch.relu(self.down(x.mean(axes, keepdim=True)))))
        first, second = (x * gate).chunk(2, 1)
        x = torch.cat([self.side(first), second + 1], 1)
        x = x.view(x.shape[0], 2, 4, *x.shape[2:]).transpose(1, 2).reshape(x.shape)
        x = self.last(nn.functional.pad(self.pool(x), (1, 2) * self.n_axes))
        return self.fc(x.flatten(2).mean(2))


def export(model, x, path, **how):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stream = io.BytesIO()
        torch.onnx.export(model.eval(), (x,), stream, dynamo=False, **how)
    path.write_bytes(stream.getvalue())


@pytest.mark.parametrize("opset", range(9, 21))
@pytest.mark.parametrize("is_open", [False, True])
def test_exports_of_torch_are_measured_whole_at_every_opset(tmp_path, opset, is_open):
    model, path, x = Everything(), tmp_path / "net.onnx", torch.zeros(1, 3, 20, 26)
    axes = {"dynamic_axes": {"x": [0, 2, 3]}, "input_names": ["x"]} if is_open else {}
    export(model, x, path, opset_version=opset, **axes)
    check_everything(model, x, read_onnx(path, (3, 20, 26)).walk)


@pytest.mark.parametrize(("n_axes", "kind"), [(1, torch.float32), (3, torch.float32), (2, torch.float16)])
def test_exports_of_torch_along_one_to_three_axes_and_in_halves(tmp_path, n_axes, kind):
    model, x = Everything(n_axes).to(kind), torch.zeros(1, 3, *(20, 26, 12)[:n_axes], dtype=kind)
    export(model, x, tmp_path / "net.onnx", opset_version=17)
    check_everything(model, x, read_onnx(tmp_path / "net.onnx").walk)


def check_everything(model, x, stack):
    outputs = []
    for layer in model.modules():
        if isinstance(layer, nn.modules.conv._ConvNd | nn.AvgPool1d | nn.AvgPool2d | nn.AvgPool3d):
            layer.register_forward_hook(lambda _module, _given, result: outputs.append(tuple(result.shape)[1:]))
    result = model(x)
    assert stack.partial == ""
    assert [row.output for row in stack.rows if row.layer.has_window] == outputs
    assert stack.output == tuple(result.shape)[1:]
    # a batch norm may be folded into the convolution before it; one Add or Mul constant has one number
    assert stack.parameters in [sum(each.numel() for each in model.parameters()) - folded for folded in (0, 16)]


OPERATORS = [
    "Conv", "ConvTranspose", "MaxPool", "AveragePool", "Relu", "Add", "Concat", "Pad", "GlobalAveragePool",
    "Split", "Slice", "Reshape", "Transpose", "Resize", "DepthToSpace", "BatchNormalization", "Mul",
]  # fmt: skip


def random_graph(rng):
    """Return nodes, constants and the input's shape of a graph of ten nodes on one to three axes."""
    n_axes = rng.randint(1, 3)
    sizes, channels = [rng.randint(9, 16) for _ in range(n_axes)], rng.choice([2, 4, 6])
    nodes, constants, tensors = [], [], {"image": (channels, *sizes)}
    shape, stored = (1, channels, *sizes), 0

    def store(array):
        nonlocal stored
        stored += 1
        constants.append(numpy_helper.from_array(np.asarray(array), f"k{stored}"))
        return f"k{stored}"

    def window(kernel):
        auto = rng.choice(["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"])
        how = {"strides": [rng.randint(1, 2) for _ in range(n_axes)], "auto_pad": auto}
        if auto == "NOTSET":
            how["pads"] = [rng.randint(0, max(size - 1, 0)) for size in kernel * 2]
        return how

    for index in range(10):
        name = rng.choice([*tensors][-2:])
        given, result = tensors[name], f"t{index}"
        op = rng.choice(OPERATORS)
        kernel = [rng.randint(1, min(3, size)) for size in given[1:]]
        inputs, how, outputs = [name], {}, [result]
        if op == "Conv":
            groups = rng.choice([n for n in (1, 2, given[0]) if given[0] % n == 0])
            weight = np.zeros((2 * groups, given[0] // groups, *kernel), np.float32)
            inputs, how = [name, store(weight)], {**window(kernel), "group": groups}
            how["dilations"] = [
                rng.randint(1, 2) if size * 2 < side else 1 for size, side in zip(kernel, given[1:], strict=False)
            ]
        elif op == "ConvTranspose":
            inputs = [name, store(np.zeros((given[0], rng.randint(1, 4), *kernel), np.float32))]
            how = {"strides": [rng.randint(1, 2) for _ in range(n_axes)]}
            if rng.random() < 0.5:
                how["output_shape"] = [side * step for side, step in zip(given[1:], how["strides"], strict=False)]
        elif op in ("MaxPool", "AveragePool"):
            how = {**window(kernel), "kernel_shape": kernel, "ceil_mode": rng.randint(0, 1)}
            if op == "MaxPool":  # the reference evaluator departs from the specification in the others
                how |= {"pads": [size // 2 for size in kernel * 2]} if "pads" in how else {}
                how |= {"ceil_mode": 0} | ({"auto_pad": "VALID"} if how["auto_pad"].startswith("SAME") else {})
        elif op in ("Add", "Mul"):
            other = rng.choice([each for each in tensors if tensors[each] == given])
            inputs = [name, rng.choice([other, store(np.ones((given[0], *(1,) * n_axes), np.float32))])]
        elif op == "Concat":
            inputs, how = [name, name], {"axis": 1}
        elif op == "Pad":
            inputs.append(store(np.array([0, 0, *[rng.randint(0, 2) for _ in kernel]] * 2, np.int64)))
        elif op == "Split":
            inputs, how = [name], {"axis": 1}
            if given[0] % 2:
                continue
            inputs.append(store(np.array([given[0] // 2] * 2, np.int64)))
            outputs = [result, f"{result}b"]
        elif op == "Slice":
            inputs += [store(np.array(each, np.int64)) for each in ([1], [given[1]], [2], [1])]
            if given[1] < 2:
                continue
        elif op == "Reshape":
            inputs.append(store(np.array([1, -1, *given[1:]], np.int64)))
        elif op == "Transpose":
            how = {"perm": [0, 1, *range(2, 2 + n_axes)[::-1]]}
        elif op == "Resize":
            scales = np.array([1, 1, *[rng.choice([1, 1.5, 2, 0.5]) for _ in kernel]], np.float32)
            inputs += ["", store(scales)]
        elif op == "DepthToSpace":
            if n_axes != 2 or given[0] % 4:
                continue
            how = {"blocksize": 2}
        elif op == "BatchNormalization":
            inputs += [store(np.ones(given[0], np.float32)) for _ in range(4)]
        node = helper.make_node(op, inputs, outputs, **how)
        feeds = {name: np.zeros((1, *given), np.float32)}
        feeds |= {each: np.zeros((1, *tensors[each]), np.float32) for each in inputs if each in tensors}
        graph = [node], constants, feeds
        try:
            results = evaluate(*graph, outputs)
        except Exception:  # noqa: BLE001 - a node that ONNX itself refuses
            continue
        if 0 in results[0].shape or results[0].size > 40_000:
            continue
        nodes.append(node)
        tensors |= {each: array.shape[1:] for each, array in zip(outputs, results, strict=True)}
    return nodes, constants, shape, tensors


def make_model(nodes, constants, inputs, outputs, opset=19):
    made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()]
    wanted = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    graph = helper.make_graph(nodes, "net", made, wanted, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def evaluate(nodes, constants, feeds, outputs):
    model = make_model(nodes, constants, {name: array.shape for name, array in feeds.items()}, outputs)
    return ReferenceEvaluator(model).run(None, feeds)


@pytest.mark.parametrize("seed", range(60))
def test_random_graphs_have_the_shapes_of_the_reference_evaluator(tmp_path, seed):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nodes, constants, shape, tensors = random_graph(random.Random(seed))
    if not nodes:
        pytest.skip("nothing that ONNX runs")
    model = make_model(nodes, constants, {"image": shape}, [nodes[-1].output[0]])
    onnx.save(model, str(tmp_path / "net.onnx"))
    stack = read_onnx(tmp_path / "net.onnx").walk
    assert stack.partial == ""
    assert {row.layer.name: row.output for row in stack.rows} == {
        node.output[0]: tensors[node.output[0]]
        for node in nodes
        if node.output[0] in {r.layer.name for r in stack.rows}
    }
    assert len(stack.rows) == len(nodes)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("auto", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("ceil", [0, 1])
def test_pools_with_auto_pad_follow_the_specifications_formula(tmp_path, op, auto, ceil):
    """The formulas in the operators' text: SAME is ⌈input / stride⌉, VALID ⌈(input - window + 1) / stride⌉."""
    for size, kernel, stride, dilation in [(13, 3, 2, 1), (14, 2, 3, 2), (9, 1, 2, 1), (8, 4, 1, 2), (25, 3, 2, 3)]:
        how = {
            "kernel_shape": [kernel],
            "strides": [stride],
            "dilations": [dilation],
            "auto_pad": auto,
            "ceil_mode": ceil,
        }
        save(tmp_path / "pool.onnx", [helper.make_node(op, ["image"], ["y"], **how)], [], (1, 2, size))
        window = dilation * (kernel - 1) + 1
        expected = math.ceil(size / stride) if auto != "VALID" else math.ceil((size - window + 1) / stride)
        assert read_onnx(tmp_path / "pool.onnx").walk.output == (2, expected), (size, kernel, stride, dilation)


def save(path, nodes, constants, shape=(1, 3, 16, 16)):
    onnx.save(make_model(nodes, constants, {"image": shape}, [nodes[-1].output[0]]), str(path))
    return path


def zeros(name, *shape):
    return numpy_helper.from_array(np.zeros(shape, np.float32), name)


@pytest.mark.parametrize("shape", [(4, 1, 3, 3), (4, 5, 3, 3)])
def test_a_weight_for_other_channels_is_refused(tmp_path, shape):
    path = save(tmp_path / "net.onnx", [helper.make_node("Conv", ["image", "w"], ["y"])], [zeros("w", *shape)])
    with pytest.raises(GeometryError, match=f"takes {shape[1]} input channels and gets 3"):
        read_onnx(path)
    assert run_cli("shape", path).exit_code == 5


def test_a_cut_walk_says_so_at_the_top(tmp_path):
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["c"], name="first"),
        helper.make_node("Strange", ["c"], ["s"], name="odd", domain="com.example"),
        helper.make_node("Conv", ["s", "v"], ["y"], name="second"),
    ]
    path = save(tmp_path / "net.onnx", nodes, [zeros("w", 4, 3, 3, 3), zeros("v", 2, 4, 3, 3)])
    text = run_cli("shape", path).ok().stdout
    assert text.startswith("PARTIAL: stopped at odd (Strange)")
    assert "2 nodes are not measured, 1 of them convolutions or poolings" in text
    assert "so far (partial): " in text
    report = run_cli("shape", path, "--json").ok().json
    assert report["totals"]["parameters"] == 4 * 3 * 9
    assert "odd" in report["totals"]["partial"]


def test_a_weight_that_is_computed_from_constants_is_followed(tmp_path):
    """Quantised, transposed and reshaped weights; shapes and pads that are computed on the way."""
    n = helper.make_node
    nodes = [
        n("DequantizeLinear", ["q", "scale", "zero"], ["w0"]),
        n("Transpose", ["w0"], ["w1"], perm=[3, 2, 0, 1]),
        n("Identity", ["w1"], ["w"]),
        n("Conv", ["image", "w"], ["c"]),
        n("Shape", ["c"], ["s"]),
        n("Slice", ["s", "two", "four"], ["hw"]),
        n("Div", ["hw", "seven"], ["part"]),
        n("Concat", ["none", "part", "none", "part"], ["pads"], axis=0),
        n("Pad", ["c", "pads"], ["p"]),
        n("MaxPool", ["p"], ["y"], kernel_shape=[2, 2], pads=[0, 0, 1, 1], strides=[2, 2]),
    ]

    def whole(name, *values):
        return numpy_helper.from_array(np.array(values, np.int64), name)

    constants = [
        numpy_helper.from_array(np.zeros((3, 3, 3, 8), np.int8), "q"),
        numpy_helper.from_array(np.float32(0.1), "scale"),
        numpy_helper.from_array(np.int8(0), "zero"),
        *(whole("two", 2), whole("four", 4), whole("seven", 7), whole("none", 0, 0)),
    ]
    path = save(tmp_path / "net.onnx", nodes, constants)
    stack = read_onnx(path).walk
    (expected,) = ReferenceEvaluator(str(path)).run(None, {"image": np.zeros((1, 3, 16, 16), np.float32)})
    assert (stack.output, stack.partial) == (expected.shape[1:], "")
    assert stack.rows[0].parameters == 8 * 3 * 9


def test_a_gate_sees_the_whole_image(tmp_path):
    n = helper.make_node
    nodes = [
        n("Conv", ["image", "w"], ["c"], pads=[1, 1, 1, 1]),
        n("GlobalAveragePool", ["c"], ["g"]),
        n("Conv", ["g", "v"], ["e"]),
        n("Mul", ["c", "e"], ["m"]),
        n("Conv", ["m", "v"], ["y"]),
    ]
    stack = read_onnx(save(tmp_path / "net.onnx", nodes, [zeros("w", 4, 3, 3, 3), zeros("v", 4, 4, 1, 1)])).walk
    assert [row.receptive_field for row in stack.rows] == [(3, 3), (18, 18), (18, 18), (18, 18), (18, 18)]
    assert [row.sources for row in stack.rows] == [(-1,), (0,), (1,), (0, 2), (3,)]
    assert stack.parameters == 4 * 3 * 9 + 4 * 4
    assert math.prod(stack.rows[-1].jump) == 1
    table = run_cli("shape", tmp_path / "net.onnx").ok().stdout
    assert "1+3" in table


@pytest.mark.parametrize("suffix", [".onnx", ".model", ".bin2"])
def test_models_are_known_by_content(tmp_path, suffix):
    path = save(tmp_path / f"net{suffix}", [helper.make_node("Conv", ["image", "w"], ["y"])], [zeros("w", 4, 3, 3, 3)])
    assert run_cli("shape", path, "--json").ok().json["totals"]["output"] == [4, 14, 14]
    torch.save({"conv.weight": torch.zeros(4, 3, 3, 3)}, tmp_path / f"weights{suffix}.tar")
    assert "Conv2d(3, 4, 3" in run_cli("shape", tmp_path / f"weights{suffix}.tar").ok().stdout
    from safetensors.torch import save_file

    save_file({"conv.weight": torch.zeros(4, 3, 3, 3)}, tmp_path / f"safe{suffix}.dat")
    assert "Conv2d(3, 4, 3" in run_cli("shape", tmp_path / f"safe{suffix}.dat").ok().stdout


@pytest.mark.parametrize("seed", range(40))
def test_damaged_models_end_with_an_error_of_ours(tmp_path, seed):
    """Attributes, inputs and outputs taken from nodes at random: measured in part, or refused, never a crash."""
    rng = random.Random(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nodes, constants, shape, _ = random_graph(rng)
        export(Everything(), torch.zeros(1, 3, 20, 26), tmp_path / "net.onnx", opset_version=13)
    models = [onnx.load(str(tmp_path / "net.onnx"))]
    if nodes:
        models.append(make_model(nodes, constants, {"image": shape}, [nodes[-1].output[0]]))
    for model in models:
        for _ in range(3):
            node = rng.choice(model.graph.node)
            part = rng.choice([node.attribute, node.input, node.output, model.graph.initializer])
            if len(part):
                part.pop(rng.randrange(len(part)))
        onnx.save(model, str(tmp_path / "bad.onnx"))
        with suppress(ConvcliError):
            read_onnx(tmp_path / "bad.onnx")
