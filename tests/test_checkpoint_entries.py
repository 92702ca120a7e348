"""Entries of checkpoints: names that people type, layouts that frameworks store; values are those of torch's layers."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import load_image, run_cli, save_image
from safetensors.torch import save_file
from torch.nn import functional as F  # noqa: N812

from convcli import load_bank
from convcli.banks.formats.entries import layout_of
from convcli.errors import KernelError
from convcli.layers.run import load_numbers
from convcli.layers.stack import Stack


@pytest.fixture(scope="module")
def net() -> torch.nn.Module:
    torch.manual_seed(7)
    nn = torch.nn
    layers = {
        "conv1": nn.Conv2d(3, 8, 5), "bare": nn.Conv2d(3, 4, 3, bias=False), "wide": nn.Conv2d(3, 6, (1, 7), groups=3),
        "dw": nn.Conv2d(3, 3, 3, groups=3), "up": nn.ConvTranspose2d(3, 5, 4), "square": nn.ConvTranspose2d(3, 3, 2),
        "fcn": nn.ConvTranspose2d(3, 3, 4, groups=3), "fc": nn.Linear(3, 6),
        "lone": nn.Conv2d(1, 1, (5, 1), bias=False),
    }  # fmt: skip
    return nn.ModuleDict({"backbone": nn.ModuleDict(layers)}).double()


def saved(net: torch.nn.Module, folder: Path, kind: str) -> Path:
    """The state of a network in one of the forms that people pass on."""
    state, path = net.state_dict(), folder / f"net.{kind}"
    if kind == "safetensors":
        save_file(state, path)
    elif kind == "index.json":
        names = list(state)
        places = {name: f"part-{index % 2}.safetensors" for index, name in enumerate(names)}
        for file in ("part-0.safetensors", "part-1.safetensors"):
            save_file({name: state[name] for name in names if places[name] == file}, folder / file)
        path = folder / "model.safetensors.index.json"
        path.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    elif kind == "npz":
        np.savez(path, **{name: value.numpy() for name, value in state.items()})
    else:
        wrapped = {"epoch": 3, "state_dict": {f"module.{name}": value for name, value in state.items()}}
        torch.save(wrapped, path, _use_new_zipfile_serialization=kind != "bin")
    return path


LAYERS = {
    "conv1": ([], lambda x, w, b: F.conv2d(x, w, b)),
    "backbone.conv1": (["--stride", "2", "--padding", "2"], lambda x, w, b: F.conv2d(x, w, b, 2, 2)),
    "conv1.weight": ([], lambda x, w, _: F.conv2d(x, w)),
    "bare": (["--dilation", "2"], lambda x, w, _: F.conv2d(x, w, dilation=2)),
    "wide": (["--groups", "3"], lambda x, w, b: F.conv2d(x, w, b, groups=3)),
    "dw": (["--groups", "3"], lambda x, w, b: F.conv2d(x, w, b, groups=3)),
    "up": (["--transposed", "--stride", "2"], lambda x, w, b: F.conv_transpose2d(x, w, b, 2)),
    "square": (["--transposed"], lambda x, w, b: F.conv_transpose2d(x, w, b)),
    "fcn": (["--transposed", "--groups", "3"], lambda x, w, b: F.conv_transpose2d(x, w, b, groups=3)),
    "fc": ([], lambda x, w, b: F.conv2d(x, w[:, :, None, None], b)),
}


@pytest.mark.parametrize("kind", ["safetensors", "pt", "pth.tar", "bin", "ckpt", "npz", "index.json"])
def test_every_kind_of_checkpoint_runs_as_torchs_layers(kind, net, photo, tmp_path):
    path = saved(net, tmp_path, kind)
    x = torch.from_numpy(load_image(photo)[:40, :50].copy()).permute(2, 0, 1)[None].double()
    image = save_image(tmp_path / "crop.png", load_image(photo)[:40, :50])
    for entry, (flags, run) in LAYERS.items():
        flags = ["--padding", "0", "--padding-mode", "zeros", *flags, "--dtype", "float64", "-q", "--overwrite"]
        run_cli("apply", image, "-k", f"{path}#{entry}", *flags, "-o", tmp_path / "o.npy").ok()
        layer = net["backbone"][entry.removeprefix("backbone.").removesuffix(".weight")]
        with torch.no_grad():
            wanted = run(x, layer.weight, layer.bias)[0].numpy()
        np.testing.assert_allclose(np.load(tmp_path / "o.npy"), wanted, rtol=1e-5, atol=1e-4, err_msg=entry)


def test_one_name_means_one_array_in_kernels_and_in_layers(net, tmp_path):
    path = saved(net, tmp_path, "pt")
    for name in ("conv1", "backbone.conv1", "module.backbone.conv1.weight", "state_dict.module.backbone.conv1.weight"):
        stack = Stack(f"conv:{path}#{name}")
        numbers = load_numbers(stack, stack.shape((3, 9, 9)))[0]
        np.testing.assert_array_equal(numbers.weight, load_bank(f"{path}#{name}").weight)
        np.testing.assert_array_equal(numbers.bias, net["backbone"]["conv1"].bias.detach())
    listed = run_cli("shape", path, "--json").ok().json["entries"]
    assert {entry["entry"].split(".")[-2] for entry in listed} == set(net["backbone"]) - {"fc"}
    torch.save({"a.conv.weight": torch.ones(1, 1, 3, 3), "b.conv.weight": torch.ones(1, 1, 3, 3)}, tmp_path / "two.pt")
    for run in (lambda: load_bank(f"{tmp_path}/two.pt#conv"), lambda: Stack(f"conv:{tmp_path}/two.pt#conv")):
        with pytest.raises(KernelError, match="2 entries that 'conv' may mean") as caught:
            run()
        assert "a.conv.weight 1x1x3x3, b.conv.weight" in caught.value.hint


def test_a_kernel_alone_runs_on_each_channel_of_a_depthwise_layer(net, tmp_path):
    path = saved(net, tmp_path, "safetensors")
    planes = np.random.default_rng(0).normal(size=(4, 9, 6))
    taps = net["backbone"]["lone"].weight.detach().repeat(4, 1, 1, 1)
    wanted = F.conv2d(torch.from_numpy(planes)[None], taps, groups=4)[0]
    for text in (f"depthwise:k=5x1,bias=false,weight={path}#lone", f"depthwise:{path}#lone", f"conv:{path}#lone"):
        np.testing.assert_allclose(Stack(text).run(planes)["output"], wanted, atol=1e-12)


@pytest.mark.parametrize(
    "name", ["Conv_0/kernel", "params.conv.kernel", "conv2d/kernel:0", "kernel", "sep/pointwise_kernel"]
)
def test_kernels_of_flax_and_keras_are_turned_and_said(name, tmp_path):
    torch.manual_seed(1)
    layer = torch.nn.Conv2d(3, 32, 3)
    bias = name.replace("pointwise_kernel", "bias").replace("kernel", "bias")
    arrays = {name: layer.weight.detach().permute(2, 3, 1, 0).numpy(), bias: layer.bias.detach().numpy()}
    np.savez(tmp_path / "k.npz", **arrays)
    save_file(
        {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in arrays.items()},
        tmp_path / "k.safetensors",
    )
    for file in ("k.npz", "k.safetensors"):
        bank = load_bank(f"{tmp_path / file}#{name}")
        assert bank.shape == (32, 3, 3, 3)
        np.testing.assert_array_equal(bank.weight.astype(np.float32), layer.weight.detach())
        assert any("layout=oihw" in note for note in bank.notes)
        module = name.rpartition("/" if "/" in name else ".")[0]
        if module:
            np.testing.assert_array_equal(
                np.float32(load_bank(f"{tmp_path / file}#{module}").bias), layer.bias.detach()
            )
    assert load_bank(f"{tmp_path}/k.npz#{name} layout=oihw").shape == (3, 3, 3, 32)


def test_depthwise_and_transposed_kernels_of_keras(tmp_path):
    """DepthwiseConv2D stores (rows, columns, channels, each), Conv2DTranspose (rows, columns, out, in)."""
    rng = np.random.default_rng(3)
    arrays = {
        "d/depthwise_kernel:0": rng.normal(size=(3, 5, 4, 2)), "d/bias:0": rng.normal(size=8),
        "t/kernel": rng.normal(size=(4, 4, 6, 3)), "t/bias": rng.normal(size=6),
        "c1/kernel": rng.normal(size=(7, 3, 9)),
    }  # fmt: skip
    np.savez(tmp_path / "k.npz", **arrays)
    planes = rng.normal(size=(4, 9, 9))
    x = torch.from_numpy(planes)[None]
    # Keras' definition, written out: output channel c*M + m is channel c with kernel [:, :, c, m].
    weight = torch.stack(
        [torch.from_numpy(arrays["d/depthwise_kernel:0"][:, :, c, m]) for c in range(4) for m in range(2)]
    )
    wanted = F.conv2d(x, weight[:, None], torch.from_numpy(arrays["d/bias:0"]), groups=4)[0]
    np.testing.assert_allclose(Stack(f"conv:{tmp_path}/k.npz#d,g=4").run(planes)["output"], wanted, atol=1e-12)
    assert any("--groups 4" in note for note in load_bank(f"{tmp_path}/k.npz#d").notes)
    # A transposed convolution is the gradient of the convolution whose kernel is (rows, columns, its in, its out).
    y = torch.zeros(1, 6, 20, 20, dtype=torch.float64, requires_grad=True)
    forward = F.conv2d(y, torch.from_numpy(arrays["t/kernel"]).permute(3, 2, 0, 1), stride=2)
    given = torch.from_numpy(rng.normal(size=tuple(forward.shape)))
    (gradient,) = torch.autograd.grad(forward, y, given)
    found = Stack(f"convtranspose:{tmp_path}/k.npz#t,s=2").run(given[0].numpy())["output"]
    np.testing.assert_allclose(found, gradient[0] + torch.from_numpy(arrays["t/bias"])[:, None, None], atol=1e-12)
    assert load_bank(f"{tmp_path}/k.npz#c1").weight.shape == (9, 3, 1, 7)


@pytest.mark.parametrize(
    ("name", "shape", "bias", "order"),
    [
        ("c.weight", (32, 3, 3, 3), (), "oihw"), ("c/kernel:0", (3, 3, 3, 32), (32,), "hwio"),
        ("c/kernel", (3, 3, 8, 16), (8,), "hwoi"), ("c.kernel", (3, 3, 3, 8, 16), (), "dhwio"),
        ("c/depthwise_kernel", (3, 3, 8, 1), (8,), "hwio"), ("c.kernel", (9, 3, 4), (), "wio"),
        ("fc.weight", (10, 64), (10,), "oi"), ("fc/kernel", (64, 10), (10,), "io"), ("taps", (3, 3), (), "hw"),
    ],
)  # fmt: skip
def test_the_order_of_axes_follows_from_name_and_bias(name, shape, bias, order):
    assert layout_of(name, shape, bias) == order


def test_a_doubtful_shape_and_a_bias_that_is_left_out_are_said(tmp_path, net):
    np.save(tmp_path / "k.npy", np.ones((3, 3, 3, 32)))
    assert "layout=hwio reads 32 kernels of 3x3 on 3" in load_bank(str(tmp_path / "k.npy")).notes[0]
    assert not load_bank(f"{tmp_path}/k.npy layout=oihw").notes
    np.save(tmp_path / "w.npy", np.ones((64, 3, 7, 7)))
    assert not load_bank(str(tmp_path / "w.npy")).notes
    layer = net["backbone"]["conv1"]
    torch.save(layer.state_dict(), tmp_path / "s.pt")
    whole, alone = load_bank(f"{tmp_path}/s.pt"), load_bank(f"{tmp_path}/s.pt#weight")
    np.testing.assert_array_equal(whole.bias, layer.bias.detach())
    assert alone.bias is None
    assert "bias is in the file and not used" in alone.notes[0]
    up = load_bank(f"{saved(net, tmp_path, 'safetensors')}#up")
    assert (up.bias, len(up.out_bias)) == (None, 5)
    assert "used with --transposed" in up.notes[0]


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float8_e5m2", "bfloat16", "float16"])
def test_small_floats_equal_torchs(dtype, tmp_path):
    codes = torch.arange(256, dtype=torch.uint8)
    if dtype.startswith("float8"):
        values = codes.view(getattr(torch, dtype))
        values = values[torch.isfinite(values.float())][:240].reshape(1, 1, 15, 16)
    else:
        values = torch.randn(1, 1, 15, 16).to(getattr(torch, dtype))
    save_file({"w": values}, tmp_path / "k.safetensors")
    np.testing.assert_array_equal(load_bank(str(tmp_path / "k.safetensors")).weight, values.double().numpy())


def test_programs_are_never_run_and_the_way_out_is_said(tmp_path):
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, and its files stay
        torch.jit.script(module).save(tmp_path / "m.pt")
    torch.export.save(torch.export.export(module, (torch.ones(1, 3, 8, 8),)), tmp_path / "m.pt2")
    torch.save(module, tmp_path / "whole.pt")
    for file, said in (("m.pt", "torch.jit.load"), ("m.pt2", "torch.export.load"), ("whole.pt", "state_dict")):
        for words in (("kernels", "show", f"{tmp_path / file}#0"), ("shape", tmp_path / file)):
            result = run_cli(*words)
            assert (result.exit_code, said in result.stderr) == (4, True), result.stderr


def test_shards_elsewhere_are_refused(tmp_path):
    save_file({"w": torch.ones(1, 1, 3, 3)}, tmp_path / "w.safetensors")
    (tmp_path / "in").mkdir()
    for file in ("../w.safetensors", "/etc/passwd", "missing.safetensors", "model.safetensors.index.json"):
        index = tmp_path / "in" / "model.safetensors.index.json"
        index.write_text(json.dumps({"weight_map": {"w": file}}))
        with pytest.raises(KernelError, match="not a file beside it"):
            load_bank(f"{index}#w")


def test_a_checkpoint_among_layers_is_named_in_the_hint(net: torch.nn.Module, tmp_path: Path) -> None:
    path = saved(net, tmp_path, "safetensors")
    result = run_cli("shape", "3x8x8", path)
    assert result.exit_code == 2
    assert f"hint: convcli shape {path}" in result.stderr
