"""Layers typed in: the text of ``shape`` runs on a photograph as the same layers of torch do."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import load_image, run_cli, save_image
from torch.nn import functional as F  # noqa: N812

import convcli
from convcli import load_bank
from convcli.errors import UsageError
from convcli.layers.dump import dump_stack
from convcli.layers.stack import Stack, open_stack, parse_stack
from convcli.layers.text import shipped_stacks, split_words


def bank(spec: str) -> torch.Tensor:
    return torch.from_numpy(load_bank(spec).weight.copy())


def each_plane(x, spec, **how):
    """Every kernel on every plane, as ``apply -k`` runs a bank of one channel."""
    return F.conv2d(x, bank(spec).repeat(x.shape[1], 1, 1, 1), groups=x.shape[1], **how)


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    """A module, and the checkpoint that it was saved in."""
    from safetensors.torch import save_file

    torch.manual_seed(2)
    module = torch.nn.ModuleDict({
        "conv1": torch.nn.Conv2d(3, 8, 5, bias=True),
        "dw": torch.nn.Conv2d(6, 6, 3, groups=6),
        "up": torch.nn.ConvTranspose2d(3, 4, 4),
        "wide": torch.nn.Conv2d(3, 6, (1, 7), groups=3, bias=False),
        "mix": torch.nn.Conv2d(3, 4, 1),
    }).double()  # fmt: skip
    path = tmp_path_factory.mktemp("net") / "net.safetensors"
    save_file({f"model.{name}": value for name, value in module.state_dict().items()}, path)
    return module, path


def seeded(*shape: int, seed: int, init) -> torch.nn.Conv2d:
    torch.manual_seed(seed)
    layer = torch.nn.Conv2d(shape[1], shape[0], shape[2:])
    init(layer.weight)
    return layer


def magnitudes(x, **how):
    maps = each_plane(x, "sobel", **how)
    return torch.hypot(maps[:, ::2], maps[:, 1::2])


def summed(x, spec):
    return F.conv2d(x, bank(spec).repeat(1, x.shape[1], 1, 1))


def scattered(x, spec, **how):
    """Every kernel on every plane, transposed."""
    return F.conv_transpose2d(x, bank(spec).swapaxes(0, 1).repeat(3, 1, 1, 1), groups=3, **how)


def kaiming(weight):
    return torch.nn.init.kaiming_uniform_(weight, nonlinearity="relu")


#: The text of the layers, FILE for the checkpoint: the same in torch, of the photo and the checkpoint's tensors.
SMOOTH, MATRIX = "gaussian:sigma=2,size=7", "1 0 -1; 2 0 -2; 1 0 -1"
DRAWN = "random:out_channels=4,in_channels=3,size=3,init=kaiming-uniform,seed=5"
CHAINS = {
    "conv:sobel maxpool:2 relu": lambda x, _: F.relu(F.max_pool2d(each_plane(x, "sobel"), 2)),
    "conv:sobel,p=1 combine:magnitude,n=2": lambda x, _: magnitudes(x, padding=1),
    f"conv:{SMOOTH},s=2,p=3 avgpool:3,s=1": lambda x, _: F.avg_pool2d(each_plane(x, SMOOTH, stride=2, padding=3), 3, 1),
    f"conv:'{MATRIX}',d=2": lambda x, _: each_plane(x, MATRIX, dilation=2),
    "conv:[[1,2],[3,4]],g=1,bias=0.5": lambda x, _: summed(x, "1 2; 3 4") + 0.5,
    "conv:sobel,bias=[1,2]": lambda x, _: each_plane(x, "sobel") + torch.tensor([1.0, 2] * 3)[:, None, None],
    "depthwise:sobel5,s=3": lambda x, _: each_plane(x, "sobel5", stride=3),
    "convtranspose:sobel,s=2": lambda x, _: scattered(x, "sobel", stride=2),
    "conv:FILE#conv1,s=2,p=2": lambda x, n: F.conv2d(x, *n("conv1"), stride=2, padding=2),
    "conv:FILE#conv1.weight": lambda x, n: F.conv2d(x, *n("conv1")),
    "conv:FILE#conv1,bias=false": lambda x, n: F.conv2d(x, n("conv1")[0]),
    "conv:FILE#wide,g=3": lambda x, n: F.conv2d(x, n("wide")[0], groups=3),
    "conv:sobel conv:FILE#dw,p=1": lambda x, n: F.conv2d(each_plane(x, "sobel"), *n("dw"), padding=1, groups=6),
    "pointwise:FILE#mix": lambda x, n: F.conv2d(x, *n("mix")),
    "conv:sobel,out=6": lambda x, _: each_plane(x, "sobel"),
    "conv:4,k=3,seed=3,init=xavier_normal,bias_from=FILE#model.mix.bias": lambda x, n: F.conv2d(
        x, seeded(4, 3, 3, 3, seed=3, init=torch.nn.init.xavier_normal_).weight.double(), n("mix")[1]
    ),
    "convtranspose:FILE#model.up,s=2,p=1": lambda x, n: F.conv_transpose2d(x, *n("up"), 2, 1),
    "Conv2d(3, 4, 3, init='xavier_normal', seed=3) ReLU()": lambda x, _: F.relu(
        seeded(4, 3, 3, 3, seed=3, init=torch.nn.init.xavier_normal_).double()(x)
    ),
    "conv:4,k=3,init=xavier_normal_,seed=3 relu": lambda x, _: F.relu(
        seeded(4, 3, 3, 3, seed=3, init=torch.nn.init.xavier_normal_).double()(x)
    ),
    f"conv:{DRAWN},p=1": lambda x, _: F.conv2d(x, seeded(4, 3, 3, 3, seed=5, init=kaiming).weight.double(), padding=1),
}


@pytest.mark.parametrize(("text", "expected"), CHAINS.items(), ids=list(CHAINS))
def test_a_chain_equals_torch(text, expected, net, photo, tmp_path):
    module, path = net
    text = text.replace("FILE", str(path))
    report = run_cli("apply", photo, "--layers", text, "-o", tmp_path / "o.npy", "--dtype", "float64", "--json").ok()
    x = torch.from_numpy(load_image(photo)).permute(2, 0, 1)[None].double()
    with torch.no_grad():
        wanted = expected(x, lambda name: list(module[name].parameters()))[0].numpy()
    found = np.load(tmp_path / "o.npy")
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-4)
    assert report.json["shape"]["output"] == list(wanted.shape)
    shape = run_cli("shape", photo, text, "--json").ok().json
    assert shape["layers"][-1]["output"] == list(wanted.shape)
    stack = Stack(text)
    assert parse_stack(dump_stack(stack)).shape((3, 60, 60)) == stack.shape((3, 60, 60))


def test_outputs_are_the_input_every_layer_or_names(photo, tmp_path):
    text = "conv:sobel,name=edges maxpool:2 relu maxpool:2"
    how = ("apply", photo, "--layers", text, "--format", "npy")
    for outputs, names in (
        ("last", {"output"}),
        ("all", {"edges", "output"}),
        ("input,maxpool,last", {"input", "maxpool", "output"}),
    ):
        out = tmp_path / outputs.replace(",", "-")
        run_cli(*how, "--outputs", outputs, "--out-dir", out).ok()
        assert {path.stem.partition("-")[0] for path in out.rglob("*.npy")} == names
    planes = [np.load(next(out.rglob(f"input-{plane}.npy"))).squeeze() for plane in "rgb"]
    np.testing.assert_array_equal(np.stack(planes, -1), load_image(photo))
    assert Stack("relu maxpool:2 relu relu").result_names == ("relu", "maxpool", "relu-2", "output")
    report = run_cli("apply", photo, "--layers", "relu maxpool:2 relu", "--outputs", "all", "--dry-run", "--json").ok()
    names = [Path(one["path"]).stem.rpartition("-")[0] for one in report.json["images"][0]["outputs"]]
    assert list(dict.fromkeys(names)) == ["relu", "maxpool", "output"]


def test_a_stack_is_a_file_a_name_or_standard_input(photo, tmp_path):
    assert {"resnet-stem", "canny-front", "unet-up"} <= set(shipped_stacks())
    (tmp_path / "resnet-stem").write_text('layers = ["conv:sobel"]')
    text = b'layers = ["conv:sobel", "relu"]'
    sizes = {
        ("resnet-stem", b""): 64,
        ("ResNet_Stem.toml", b""): 64,
        (str(tmp_path / "resnet-stem"), b""): 6,
        ("-", text): 6,
    }
    for (word, stdin), maps in sizes.items():
        run = run_cli(
            "apply", photo, "--stack", word, "-o", tmp_path / "o.npy", "--overwrite", "--json", stdin=stdin
        ).ok()
        assert run.json["shape"]["output"][0] == maps
    assert (
        run_cli("shape", "resnet-stem", "--json").ok().json
        == run_cli("shape", shipped_stacks()["resnet-stem"], "--json").ok().json
    )
    assert open_stack("mobilenet-block").name == "mobilenet-block"


def test_completion_offers_the_stacks_that_ship():
    from convcli.cli.completion import complete

    assert {word for word, _ in complete(["apply", "--stack", ""])} == set(shipped_stacks())


def test_python_makes_a_stack_of_text_and_layers(photo, tmp_path):
    stack = convcli.Stack(["conv:sobel,p=1", {"layer": "maxpool:2", "name": "half"}, *Stack("relu").layers])
    assert stack.result_names == ("conv", "half", "output")
    assert stack.shape((3, 40, 30)).output == (6, 20, 15)
    planes = np.random.default_rng(0).normal(size=(3, 9, 8))
    expected = F.relu(F.max_pool2d(each_plane(torch.from_numpy(planes)[None], "sobel", padding=1), 2))[0]
    np.testing.assert_allclose(stack.run(planes)["output"], expected, atol=1e-12)
    signal = convcli.Stack("conv:8,k=3 relu", dims=1, init="default")
    assert signal.run(np.ones((2, 9)))["output"].shape == (8, 7)
    [report] = convcli.apply(photo, layers="conv:sobel maxpool:2", output=tmp_path / "x.npy")
    assert report["shape"]["output"] == [6, 199, 299]


@pytest.mark.parametrize(
    ("text", "code", "said"),
    [
        ("conv:8,k=3 relu", 2, "layer 1 (conv): has no weights"),
        ("conv:sobal", 4, "did you mean sobel"),
        ("conf:sobel", 2, "unknown layer 'conf'"),
        ("conv:sobel,q=3", 2, "parameter 'q'"),
        ("conv:[[1,2]", 2, "a bracket is not closed"),
        ("conv:'1 2", 2, "a quote is not closed"),
        ("conv:random:in_channels=5", 5, "takes 5 input channels and gets 3"),
        ("conv:none.pt#conv1", 4, "no file 'none.pt'"),
        ("conv:8,k=3,init=nice,seed=1", 2, "unknown init 'nice'"),
        ("conv:sobel,bias=1", 2, "the number or the switch"),
        ("conv:sobel,bias=nan", 2, "neither true nor false"),
        ("conv:sobel,bias=[1,2,3,4]", 4, "the bias has 4 numbers for 6 maps"),
        ("conv:8,k=3,seed=x", 2, "seed: 'x' is not a whole number"),
        ("conv:sobel,bias=[1,2,3]", 4, "the bias has 3 numbers for 6 maps"),
        ("conv:sobel,out=5", 5, "5 kernels of one channel each do not divide among 3 channels"),
        ("depthwise:sobel,m=3", 4, "'sobel' has shape 2x1x3x3, and the layer needs 9x1x3x3"),
        ("pointwise:sobel", 5, "'sobel' has a kernel of 3x3, and pointwise has one of 1"),
        ("conv:8,k=3,seed=1,bias_from=none.pt#b", 4, "no file 'none.pt'"),
        ("conv:sobel,bias=0.5,bias_from=none.pt#b", 2, "has both bias_from and bias"),
        ("conv:sobel,p=1,mode=foo", 2, "unknown padding mode 'foo'"),
        ("conv:sobel relu pool", 2, "layer 3: 'pool', character 1: unknown layer 'pool'"),
        ("maxpool:999", 5, "does not fit"),
    ],
)
def test_a_mistake_is_said(text, code, said, photo, tmp_path):
    result = run_cli("apply", photo, "--layers", text, "-o", tmp_path / "o.npy")
    assert (result.exit_code, said in result.stderr) == (code, True), result.stderr


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--layers", "conv:sobel", "maxpool:2", "relu"], "--layers 'conv:sobel maxpool:2 relu'"),
        (["--layers", "relu", "-k", "box"], "--kernel excludes --layers"),
        (["--layers", "relu", "--stack", "-"], "--layers and --stack exclude each other"),
        (["--layers", "relu", "--stride", "2"], "conv:sobel,s=2"),
        (["--layers", "relu", "--outputs", "none"], "the stack has no output 'none'"),
        (["--layers", "relu", "--until", "x"], "--until is for ONNX models"),
        (["--stack", "resnet-stem", "--until", "x"], "--until is for ONNX models"),
        (["--stack", "resnet-sten"], "did you mean resnet-stem?"),
        (["-k", "box", "--outputs", "input"], "--outputs is for layers"),
    ],
)
def test_flags_that_do_not_go_together(flags, said, photo):
    result = run_cli("apply", photo, *flags, "--dry-run")
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr
    assert run_cli("apply", "-", "--stack", "-", stdin=b"x").exit_code == 2


def test_words_are_split_outside_quotes_and_brackets():
    assert split_words(" conv:8, k = 3  Conv2d(3, 8, (3, 1)) relu\n") == [
        "conv:8, k = 3",
        "Conv2d(3, 8, (3, 1))",
        "relu",
    ]
    assert Stack("conv:8, k = 3 relu").layers == Stack(["conv:8,k=3", "relu"]).layers
    for bad in ([], "", [5], 5, ["conv"]):
        with pytest.raises(UsageError):
            Stack(bad)


def test_names_from_a_stack_do_not_become_paths(tmp_path, rng):
    image = save_image(tmp_path / "in.png", rng.integers(0, 256, (9, 8), dtype=np.uint8))
    (tmp_path / "s.toml").write_text('name = "../../up"\nlayers = [{layer = "relu", name = "../../../x"}, "relu"]')
    run_cli("apply", image, "--stack", tmp_path / "s.toml", "--outputs", "all", "--out-dir", tmp_path / "out").ok()
    assert all((tmp_path / "out") in path.parents for path in tmp_path.rglob("*-0.png"))


@pytest.mark.parametrize("flags", [["--layers", "conv:sobel,p=1 relu"], ["--stack", "canny-front"]])
def test_a_job_runs_layers(flags, tmp_path, rng):
    (tmp_path / "in").mkdir()
    for name in "ab":
        save_image(tmp_path / "in" / f"{name}.png", rng.integers(0, 256, (9, 8, 3), dtype=np.uint8))
    flags = [*flags, "--format", "npy"]
    run_cli("job", "plan", tmp_path / "job", tmp_path / "in", *flags, "--out-dir", tmp_path / "by-job").ok()
    run_cli("job", "run", tmp_path / "job").ok()
    run_cli("apply", tmp_path / "in", *flags, "--out-dir", tmp_path / "by-hand").ok()
    maps = sorted((tmp_path / "by-job").rglob("*.npy"))
    others = sorted((tmp_path / "by-hand").rglob("*.npy"))
    assert len(maps) == len(others) > 4
    for one, other in zip(maps, others, strict=True):
        np.testing.assert_array_equal(np.load(one), np.load(other))


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (
            "conv:sobel maxpool:2 relu",
            [f"output-{kernel}-{plane}" for plane in "rgb" for kernel in "xy"],
        ),
        ("conv:sobel,p=1 combine:magnitude,n=2", ["output-magnitude-r", "output-magnitude-g", "output-magnitude-b"]),
        ("conv:sobel conv:box", [f"output-{kernel}-box-{plane}" for plane in "rgb" for kernel in "xy"]),
        ("conv:sobel,g=1", ["output-0", "output-1"]),
        ("conv:sobel combine:max,n=3", ["output-0", "output-1"]),
        ("conv:3,k=3,init=default relu", ["output-0", "output-1", "output-2"]),
    ],
)
def test_maps_are_called_by_kernel_and_plane_where_layers_keep_them_apart(text, names, photo):
    report = run_cli("apply", photo, "--layers", text, "--dry-run", "--json").ok().json["images"][0]
    assert [Path(one["path"]).stem for one in report["outputs"]] == names
