"""The first layers of ONNX models run: maps are those of torch, and of ONNX's reference evaluator on random graphs."""

from __future__ import annotations

import io
import random
import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from conftest import load_image, run_cli, save_image
from onnx import TensorProto, helper, numpy_helper
from test_shapes_onnx import make_model, random_graph
from torch import nn

from convcli import load_bank
from convcli.errors import ConvcliError, KernelError
from convcli.layers.dump import dump_stack
from convcli.layers.stack import open_stack, parse_stack


class Net(nn.Module):
    """The usual layers of a stem and of two blocks, with a normalisation in front and a gate."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm = nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8)
        self.depthwise, self.up = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ConvTranspose2d(16, 4, 4, 2, 1)
        self.squeeze, self.fc = nn.Conv2d(8, 8, 1), nn.Linear(4, 2)

    def parts(self, x):
        x = (x - 0.5) / torch.tensor([0.2, 0.3, 0.4]).view(1, 3, 1, 1)
        x = nn.functional.silu(self.norm(self.conv1(x)))
        yield "stem", x
        x = nn.functional.relu6(x + self.depthwise(x))
        x = x * torch.sigmoid(self.squeeze(x.mean((2, 3), keepdim=True)))
        x = nn.functional.max_pool2d(x, 3, 2, 1)
        yield "pool", x
        larger = (
            nn.functional.interpolate(x, scale_factor=2),
            nn.functional.interpolate(x, scale_factor=2, mode="bilinear"),
        )
        x = self.up(nn.functional.leaky_relu(nn.functional.avg_pool2d(torch.cat(larger, 1), 2), 0.2))
        yield "up", x
        yield "scores", self.fc(x.mean((2, 3)))

    def forward(self, x):
        return dict(self.parts(x))["scores"]


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    net = Net().eval()
    net.norm.running_mean.uniform_(-1, 1)
    net.norm.running_var.uniform_(0.5, 2)
    return net


def exported(net, folder: Path, opset: int) -> Path:
    stream = io.BytesIO()
    axes = {"image": {0: "n", 2: "h", 3: "w"}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        how = {"opset_version": opset, "dynamo": False, "input_names": ["image"], "dynamic_axes": axes}
        torch.onnx.export(net, torch.ones(1, 3, 32, 48), stream, do_constant_folding=opset > 12, **how)
    (folder / "net.onnx").write_bytes(stream.getvalue())
    return folder / "net.onnx"


@pytest.mark.parametrize("opset", [11, 17])
def test_the_first_layers_of_a_model_run_as_in_torch(opset, net, photo, tmp_path):
    path = exported(net, tmp_path, opset)
    image = save_image(tmp_path / "in.png", load_image(photo)[:64, :96])
    x = torch.from_numpy(load_image(image).copy()).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        parts = dict(net.parts(x))
    model = onnx.load(str(path))
    for part, op in (("stem", "Mul"), ("pool", "MaxPool"), ("up", "ConvTranspose")):
        node = next(node for node in model.graph.node if node.op_type == op)
        flags = ["--unit", "--stack", path, "--until", node.name, "-o", tmp_path / f"{part}.npy", "--json"]
        shape = run_cli("apply", image, *flags).ok().json["shape"]["output"]
        wanted = parts[part][0].numpy()
        assert shape == list(wanted.shape)
        np.testing.assert_allclose(np.load(tmp_path / f"{part}.npy"), wanted, atol=2e-6)


def test_what_does_not_run_is_named_with_the_last_node_that_does(net, photo, tmp_path):
    path = exported(net, tmp_path, 17)
    for flags, said in (
        ([], "is not run here"),
        (["--until", "/fc/Gemm"], "is not run here"),
        (["--until", "/conv1/Konv"], "did you mean /conv1/Conv?"),
        (["--until", "nothing"], "nodes: /conv1/Conv"),
    ):
        result = run_cli("apply", photo, "--stack", path, *flags, "-o", tmp_path / "o.npy")
        assert (result.exit_code, said in result.stderr) == (2, True), result.stderr
    hint = run_cli("apply", photo, "--stack", path, "--dry-run").stderr.split("--until ")[1].split()[0]
    run_cli("apply", photo, "--stack", path, "--until", hint, "--dry-run").ok()
    grey = save_image(tmp_path / "g.png", load_image(photo)[:40, :40, 0])
    assert "is not what the model takes: 3x?x?" in run_cli("apply", grey, "--stack", path, "--dry-run").stderr
    result = run_cli("job", "plan", tmp_path / "job", tmp_path, "--stack", path, "--out-dir", tmp_path / "out")
    assert (result.exit_code, "depend on the image's size" in result.stderr) == (2, True)


def test_numbers_that_an_identity_passes_on_are_found(tmp_path):
    """torch writes equal numbers once: two blocks that are not trained share the zeros of their folded biases."""
    rng = np.random.default_rng(0)
    weight, bias, scale = rng.random((3, 3, 3, 3)), rng.random(3), rng.random((1, 3, 1, 1))
    nodes = [
        helper.make_node("Identity", ["b"], ["b1"]),
        helper.make_node("Identity", ["b1"], ["b2"]),
        helper.make_node("Identity", ["s"], ["s2"]),
        helper.make_node("Conv", ["image", "w", "b2"], ["maps"], name="/conv/Conv"),
        helper.make_node("Mul", ["maps", "s2"], ["scaled"], name="/Mul"),
    ]
    stored = {name: value.astype(np.float32) for name, value in {"w": weight, "b": bias, "s": scale}.items()}
    constants = [numpy_helper.from_array(value, name) for name, value in stored.items()]
    path = tmp_path / "net.onnx"
    onnx.save(make_model(nodes, constants, {"image": (1, 3, 6, 7)}, ["scaled"]), path)
    image = rng.random((3, 6, 7)).astype(np.float32)
    expected = torch.nn.functional.conv2d(*(torch.from_numpy(each) for each in (image, stored["w"], stored["b"])))
    np.testing.assert_allclose(open_stack(str(path)).run(image)["/Mul"], expected.numpy() * stored["s"][0], rtol=1e-5)
    np.testing.assert_array_equal(load_bank(f"{path}#/conv/Conv").bias, stored["b"])


def test_random_graphs_give_the_numbers_of_the_reference_evaluator(tmp_path):
    from onnx.reference import ReferenceEvaluator

    compared = 0
    for seed in range(25):
        numbers = np.random.default_rng(seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            nodes, constants, shape, _ = random_graph(random.Random(seed))
        for index, constant in enumerate(constants):
            if constant.data_type == TensorProto.FLOAT and len(constant.dims) > 1:
                drawn = numbers.normal(size=constant.dims).astype(np.float32)
                constants[index] = numpy_helper.from_array(drawn, constant.name)
        if not nodes:
            continue
        names = [node.output[0] for node in nodes]
        model = make_model(nodes, constants, {"image": shape}, names)
        onnx.save(model, str(tmp_path / "net.onnx"))
        image = numbers.normal(size=shape).astype(np.float32)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results = ReferenceEvaluator(model).run(None, {"image": image})
        for name, wanted in zip(names, results, strict=True):
            try:
                stack = open_stack(str(tmp_path / "net.onnx"), until=name)
            except ConvcliError as error:
                assert "is not run here" in error.message  # noqa: PT017 - Slice, Split, Reshape, Transpose
                continue
            (found,) = stack.run(image[0]).values()
            np.testing.assert_allclose(found, wanted[0], rtol=1e-4, atol=1e-4, err_msg=f"{seed} {name}")
            compared += 1
    assert compared > 60


def test_limits_give_the_numbers_of_the_reference_evaluator(tmp_path):
    from onnx.reference import ReferenceEvaluator

    image = np.random.default_rng(0).normal(size=(1, 3, 5, 7)).astype(np.float32) * 4
    ends = [numpy_helper.from_array(np.float32(end), name) for name, end in (("a", -1.5), ("b", 2.25))]
    cases = [(helper.make_node("Clip", ["image", *names], ["y"]), 17) for names in (["a", "b"], ["a"], ["", "b"], [])]
    cases += [(helper.make_node("Clip", ["image"], ["y"], **given), 10) for given in ({"min": -1.0, "max": 2.0}, {})]
    cases += [(helper.make_node("HardSigmoid", ["image"], ["y"], **given), 17) for given in ({"alpha": 1 / 6}, {})]
    for node, version in cases:
        model = make_model([node], ends, {"image": image.shape}, ["y"], opset=version)
        onnx.save(model, str(tmp_path / "net.onnx"))
        stack = open_stack(str(tmp_path / "net.onnx"))
        (wanted,) = ReferenceEvaluator(model).run(None, {"image": image})
        (found,) = stack.run(image[0]).values()
        np.testing.assert_allclose(found, wanted[0], rtol=1e-6, atol=1e-6, err_msg=str(node))
        assert parse_stack(dump_stack(stack)) == stack


def test_names_of_nodes_do_not_become_paths(photo, tmp_path):
    weight = numpy_helper.from_array(np.ones((1, 3, 3, 3), np.float32), "w")
    node = helper.make_node("Conv", ["image", "w"], ["../../../out"], name="../../../evil")
    model = make_model([node], [weight], {"image": (1, 3, "h", "w")}, ["../../../out"])
    (tmp_path / "net.onnx").write_bytes(model.SerializeToString())
    run_cli("apply", photo, "--stack", tmp_path / "net.onnx", "--out-dir", tmp_path / "a" / "b", "-q").ok()
    assert [path.parent.parent for path in tmp_path.rglob("*.png")] == [tmp_path / "a" / "b"]


def external(folder: Path, location: str, data: bytes, **facts: object) -> Path:
    tensor = numpy_helper.from_array(np.zeros((2, 1, 3, 3), np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **facts}.items():
        tensor.external_data.add(key=key, value=str(value))
    graph = helper.make_graph([helper.make_node("Conv", ["x", "w"], ["y"], name="c")], "g", [], [], [tensor])
    (folder / "net.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    if data:
        (folder / location).parent.mkdir(exist_ok=True)
        (folder / location).write_bytes(data)
    return folder / "net.onnx"


def test_data_beside_a_model_are_read_and_data_elsewhere_never(tmp_path):
    weight = np.random.default_rng(0).normal(size=(2, 1, 3, 3)).astype(np.float32)
    for location, facts in (("w.bin", {}), ("parts/w.bin", {"offset": 8, "length": 72})):
        path = external(tmp_path, location, b"\0" * int(facts.get("offset", 0)) + weight.tobytes(), **facts)
        np.testing.assert_array_equal(load_bank(f"{path}#c").weight, weight)
    (tmp_path / "in").mkdir()
    (tmp_path / "w.bin").write_bytes(weight.tobytes())
    (tmp_path / "in" / "link").symlink_to(tmp_path / "w.bin")
    for location in ("../w.bin", "/etc/passwd", "link", "", "."):
        with pytest.raises(KernelError, match="outside the model's folder"):
            load_bank(f"{external(tmp_path / 'in', location, b'')}#c")
    for data, facts, said in (
        (b"", {}, "cannot read none.bin"), (weight.tobytes()[:-1], {}, "needs 72 bytes, w.bin has 71"),
        (weight.tobytes(), {"offset": 4}, "w.bin has 68"), (weight.tobytes(), {"length": 12}, "w.bin has 12"),
        (weight.tobytes(), {"offset": -8}, "cannot read"), (weight.tobytes(), {"offset": "x"}, "cannot read"),
    ):  # fmt: skip
        with pytest.raises(KernelError, match=said):
            load_bank(f"{external(tmp_path / 'in', 'w.bin' if data else 'none.bin', data, **facts)}#c")
