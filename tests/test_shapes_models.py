"""Layers from ONNX graphs against ONNX's own shape inference, and weights listed from checkpoints."""

from __future__ import annotations

import json
import warnings

import numpy as np
import onnx
import pytest
import torch
from conftest import run_cli
from onnx import TensorProto, helper

from convcli import load_bank
from convcli.errors import KernelError, UsageError
from convcli.layers.checkpoint import list_weights
from convcli.layers.onnx import read_onnx


def weight(name: str, *shape: int) -> onnx.TensorProto:
    return helper.make_tensor(name, TensorProto.FLOAT, shape, np.zeros(shape, np.float32).tobytes(), raw=True)


def integers(name: str, *values: int) -> onnx.TensorProto:
    return helper.make_tensor(name, TensorProto.INT64, (len(values),), values)


def save_graph(path, nodes, initializers, input_shape=(1, 3, 32, 40), output_axes=4):
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, input_shape)],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, [f"d{i}" for i in range(output_axes)])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    return model


def residual_net(path):
    """A small net with everything in it: SAME padding, groups, a residual, pooling, resizing, a classifier."""
    n = helper.make_node
    nodes = [
        n("Conv", ["image", "w1"], ["c1"], name="stem", strides=[2, 2], auto_pad="SAME_UPPER"),
        n("BatchNormalization", ["c1", "s", "s", "s", "s"], ["b1"]),
        n("Relu", ["b1"], ["r1"]),
        n("Conv", ["r1", "w2", "s"], ["c2"], group=8, pads=[0, 1, 2, 1], dilations=[1, 1]),
        n("Conv", ["c2", "w3"], ["c3"]),
        n("Pad", ["c3", "padding"], ["p3"], mode="constant"),
        n("Add", ["r1", "c2"], ["sum"]),
        n("MaxPool", ["sum"], ["m1"], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
        n("Resize", ["m1", "", "scales"], ["up"], mode="nearest"),
        n("AveragePool", ["up"], ["a1"], kernel_shape=[3, 2], pads=[1, 1, 1, 1]),
        n("ConvTranspose", ["a1", "w4"], ["t1"], strides=[2, 2], output_padding=[1, 0], pads=[1, 1, 1, 1]),
        n("Clip", ["t1"], ["k1"]),
        n("Concat", ["t1", "k1"], ["cat"], axis=1),
        n("GlobalAveragePool", ["cat"], ["g1"]),
        n("Flatten", ["g1"], ["flat"]),
    ]
    scales = helper.make_tensor("scales", TensorProto.FLOAT, (4,), [1.0, 1.0, 2.0, 3.0])
    weights = [weight("w1", 8, 3, 5, 5), weight("s", 8), weight("w2", 8, 1, 3, 3), weight("w3", 6, 8, 1, 1)]
    weights += [weight("w4", 8, 5, 3, 3), scales, integers("padding", 0, 0, 1, 2, 0, 0, 3, 4)]
    return save_graph(path, nodes, weights, output_axes=2)


def test_onnx_shapes_are_those_of_onnx_itself(tmp_path):
    model = residual_net(tmp_path / "net.onnx")
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    expected = {
        item.name: tuple(dim.dim_value for dim in item.type.tensor_type.shape.dim)[1:]
        for item in inferred.graph.value_info
    }
    stack = read_onnx(tmp_path / "net.onnx").walk
    found = {row.layer.name: row.output for row in stack.rows}
    assert len(found) == 15
    expected["flat"] = (10,)  # the model's output, which inference keeps elsewhere
    assert found == {name: expected[name] for name in found}
    assert (stack.extra_notes, stack.partial) == ((), "")


def test_onnx_parameters_are_the_weights_in_the_file(tmp_path):
    model = residual_net(tmp_path / "net.onnx")
    stack = read_onnx(tmp_path / "net.onnx").walk
    sizes = {item.name: int(np.prod(item.dims)) for item in model.graph.initializer}
    convolutions = sizes["w1"] + sizes["w2"] + sizes["w3"] + sizes["w4"] + sizes["s"]
    assert stack.parameters == convolutions + 2 * 8  # and the batch norm's scale and shift


def test_onnx_on_the_command_line_labels_layers_by_node_and_takes_another_size(tmp_path):
    residual_net(tmp_path / "net.onnx")
    report = run_cli("shape", "--onnx", tmp_path / "net.onnx", "--input", "3x64x80", "--json").ok().json
    assert report["layers"][0]["layer"] == "stem"
    assert report["layers"][0]["output"] == [8, 32, 40]
    assert report["totals"]["partial"] is None
    assert run_cli("shape", "3x64x80", tmp_path / "net.onnx", "--json").ok().json == report


def test_onnx_activations_are_kinds_of_their_own(tmp_path):
    """A SiLU is written as x · Sigmoid(x) and read as one layer; a sigmoid that something else uses too stays one."""
    n = helper.make_node
    nodes = [
        n("Conv", ["image", "w"], ["c"]),
        n("Sigmoid", ["c"], ["gate"]),
        n("Mul", ["c", "gate"], ["silu"]),
        n("HardSwish", ["silu"], ["hard"]),
        n("Sigmoid", ["hard"], ["soft"]),
        n("Mul", ["soft", "hard"], ["gated"]),
        n("Add", ["soft", "hard"], ["sum"]),
        n("Tanh", ["sum"], ["y"]),
    ]
    save_graph(tmp_path / "net.onnx", nodes, [weight("w", 8, 3, 3, 3)])
    stack = read_onnx(tmp_path / "net.onnx").walk
    kinds = [row.layer.kind for row in stack.rows]
    assert kinds == ["conv", "silu", "hardswish", "sigmoid", "operator", "add", "relu"]
    assert {row.output for row in stack.rows} == {(8, 30, 38)}
    assert stack.rows[-2].sources == (3, 2)


def test_onnx_with_an_open_input_asks_for_it(tmp_path):
    nodes = [helper.make_node("Conv", ["image", "w"], ["y"])]
    save_graph(tmp_path / "open.onnx", nodes, [weight("w", 8, 3, 3, 3)], ("n", 3, "h", "w"))
    result = run_cli("shape", "--onnx", tmp_path / "open.onnx")
    assert (result.exit_code, "leaves its input open: 3x?x?" in result.stderr) == (2, True)
    assert read_onnx(tmp_path / "open.onnx", (3, 20, 30)).walk.output == (8, 18, 28)
    with pytest.raises(UsageError, match="is not what the model takes"):
        read_onnx(tmp_path / "open.onnx", (4, 20, 30))


@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x07" * 50])
def test_onnx_files_that_are_none_exit_4(tmp_path, content):
    (tmp_path / "bad.onnx").write_bytes(content)
    result = run_cli("shape", "--onnx", tmp_path / "bad.onnx", "--input", "3x9x9")
    assert result.exit_code == 4
    assert "bad.onnx" in result.stderr


def state() -> dict[str, torch.Tensor]:
    return {
        "conv1.weight": torch.zeros(64, 3, 7, 7),
        "bn1.weight": torch.zeros(64),
        "dw.weight": torch.zeros(64, 1, 3, 5),
        "dw.bias": torch.zeros(64),
        "up.weight": torch.zeros(64, 16, 2, 2),
        "up.bias": torch.zeros(16),
        "fc.weight": torch.zeros(10, 64),
        "time.weight": torch.zeros(4, 2, 9),
    }


def save_state(path):
    if path.suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file(state(), path)
    else:
        torch.save({"state_dict": state(), "epoch": 3}, path)
    return path


@pytest.mark.parametrize("name", ["net.safetensors", "net.pt"])
def test_a_checkpoint_lists_its_convolutions(tmp_path, name):
    weights = list_weights(save_state(tmp_path / name))
    found = {entry.name.removeprefix("state_dict."): (entry.module, entry.text) for entry in weights.entries}
    assert found == {
        "conv1.weight": ("Conv2d(3, 64, 7, bias=False)", "conv:64,k=7,bias=false"),
        "dw.weight": ("Conv2d(64, 64, (3, 5), groups=64, bias=True)", "depthwise:k=3x5"),
        "up.weight": ("ConvTranspose2d(64, 16, 2, bias=True)", "convtranspose:16,k=2"),
        "time.weight": ("Conv1d(2, 4, 9, bias=False)", "conv:4,k=9,bias=false"),
    }
    assert weights.n_others == 4
    for entry in weights.entries:  # the constructor that is printed makes a module with this very weight
        module = eval(f"torch.nn.{entry.module}")
        assert tuple(module.weight.shape) == entry.shape
        assert sum(p.numel() for p in module.parameters()) == entry.parameters


@pytest.mark.parametrize("name", ["net.safetensors", "net.pt"])
def test_every_entry_listed_can_be_loaded_under_its_name(tmp_path, name):
    path = save_state(tmp_path / name)
    for entry in list_weights(path).entries:
        bank = load_bank(f"{path}#{entry.name}")
        assert bank.weight.size == np.prod(entry.shape)


def test_listing_prints_as_table_and_as_data(tmp_path):
    path = save_state(tmp_path / "net.safetensors")
    assert "Conv2d(3, 64, 7, bias=False)" in run_cli("shape", path).ok().stdout
    report = run_cli("shape", path, "--json").ok().json
    assert [entry["weight"] for entry in report["entries"] if entry["entry"] == "conv1.weight"] == [[64, 3, 7, 7]]
    lines = run_cli("shape", path, "--csv").ok().stdout.splitlines()
    assert lines[0] == "entry,weight,dtype,module,layer,parameters"
    assert len(lines) == 5
    assert run_cli("shape", path, "--markdown").ok().stdout.startswith("| entry |")


def test_safetensors_that_lie_about_their_header_exit_4(tmp_path):
    header = json.dumps({"w": {"shape": [1, 2, 3, 4], "dtype": "F32"}}).encode()
    for content in (
        b"",
        b"\xff" * 8,
        len(header).to_bytes(8, "little") + header[:-3],
        (2).to_bytes(8, "little") + b"[]",
    ):
        (tmp_path / "bad.safetensors").write_bytes(content)
        with pytest.raises(KernelError, match="safetensors"):
            list_weights(tmp_path / "bad.safetensors")
        assert run_cli("shape", tmp_path / "bad.safetensors").exit_code == 4


def test_a_pickle_with_code_in_it_is_refused(tmp_path):
    torch.save({"weight": torch.zeros(1, 1, 3, 3), "evil": print}, tmp_path / "evil.pt")
    with pytest.raises(KernelError, match="holds more than weights"):
        list_weights(tmp_path / "evil.pt")


@pytest.mark.parametrize("name", ["net.safetensors", "net.pt"])
def test_what_a_shape_cannot_tell_is_said(tmp_path, name):
    tensors = {"a.weight": torch.zeros(32, 1, 3, 3), "b.weight": torch.zeros(8, 8, 4, 4), "b.bias": torch.zeros(8)}
    path = tmp_path / name
    if name.endswith("pt"):
        torch.save(tensors, path)
    else:
        from safetensors.torch import save_file

        save_file(tensors, path)
    first, second = list_weights(path).entries
    assert first.others == ("Conv2d(1, 32, 3, bias=False)",)
    assert second.others == ("ConvTranspose2d(8, 8, 4, bias=True)",)
    for entry in (first, second):  # every reading makes a module with this very weight
        for text in (entry.module, *entry.others):
            module = eval(f"torch.nn.{text}")
            assert tuple(module.weight.shape) == entry.shape
            assert sum(p.numel() for p in module.parameters()) == entry.parameters
    text = run_cli("shape", path).ok().stdout
    assert "note: a.weight may be Conv2d(1, 32, 3, bias=False) as well" in text


def test_kernels_of_flax_and_keras_have_their_own_layout(tmp_path):
    from safetensors.numpy import save_file

    tensors = {
        "conv1/kernel": np.zeros((3, 3, 3, 32), np.float32),
        "conv1/bias": np.zeros(32, np.float32),
        "dw/depthwise_kernel": np.zeros((3, 5, 32, 2), np.float32),
        "dense/kernel": np.zeros((32, 10), np.float32),
    }
    save_file(tensors, tmp_path / "flax.safetensors")
    first, second = list_weights(tmp_path / "flax.safetensors").entries
    assert (first.module, first.text) == ("Conv2d(3, 32, 3, bias=True)", "conv:32,k=3")
    assert (second.module, second.text) == (
        "Conv2d(32, 64, (3, 5), groups=32, bias=False)",
        "depthwise:2,k=3x5,bias=false",
    )
    assert (first.parameters, second.parameters) == (3 * 3 * 3 * 32 + 32, 3 * 5 * 64)
    assert "layout=hwio" in run_cli("shape", tmp_path / "flax.safetensors").ok().stdout


@pytest.mark.parametrize("name", ["net.pth.tar", "net.bin", "net.ckpt", "net.pth"])
def test_checkpoints_by_any_of_their_names(tmp_path, name):
    torch.save({"state_dict": state(), "epoch": 3}, tmp_path / name)
    assert "Conv2d(3, 64, 7, bias=False)" in run_cli("shape", tmp_path / name).ok().stdout


def test_shards_are_read_through_their_index(tmp_path):
    from safetensors.torch import save_file

    tensors = state()
    files = {name: f"model-{1 + index % 2}.safetensors" for index, name in enumerate(tensors)}
    for file in set(files.values()):
        save_file({name: each for name, each in tensors.items() if files[name] == file}, tmp_path / file)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": files}))
    save_file(tensors, tmp_path / "whole.safetensors")
    whole = {entry.name: entry for entry in list_weights(tmp_path / "whole.safetensors").entries}
    assert {entry.name: entry for entry in list_weights(index).entries} == whole
    assert "Conv2d(3, 64, 7, bias=False)" in run_cli("shape", index).ok().stdout
    for damaged in ("{}", "[", json.dumps({"weight_map": {"a": "../x"}}), json.dumps({"weight_map": {"a": "none"}})):
        index.write_text(damaged)
        assert run_cli("shape", index).exit_code == 4


def test_eight_bit_floats_are_listed(tmp_path):
    from safetensors.torch import save_file

    save_file({"a.weight": torch.zeros(4, 3, 3, 3).to(torch.float8_e4m3fn)}, tmp_path / "f8.safetensors")
    (entry,) = list_weights(tmp_path / "f8.safetensors").entries
    assert (entry.dtype, entry.module) == ("f8_e4m3", "Conv2d(3, 4, 3, bias=False)")


def test_programs_are_not_run_and_say_what_to_do(tmp_path):
    model = torch.nn.Conv2d(3, 4, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(model, torch.zeros(1, 3, 8, 8)).save(tmp_path / "traced.pt")
    result = run_cli("shape", tmp_path / "traced.pt")
    assert (result.exit_code, "torch.jit.load" in result.stderr) == (4, True)
    torch.export.save(torch.export.export(model, (torch.zeros(1, 3, 8, 8),)), tmp_path / "net.pt2")
    result = run_cli("shape", tmp_path / "net.pt2")
    assert (result.exit_code, "torch.export.load" in result.stderr) == (4, True)
