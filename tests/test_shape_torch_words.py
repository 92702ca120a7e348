"""Torch's words for layers: constructors against torch's own modules, and what is said about them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import run_cli
from torch import nn

from convcli.errors import ConvcliError
from convcli.layers.stack import Stack
from convcli.layers.text import parse_layers
from convcli.layers.walk import walk

#: Constructors and the channels and sizes that they take; each is run by torch itself.
CONSTRUCTORS = [
    ("Conv2d(3, 64, 7, stride=2, padding=3)", (3, 31, 40)),
    ("nn.Conv2d(3, 6, (3, 5), (2, 1), (1, 0), (1, 2), 3, False)", (3, 31, 40)),
    ("torch.nn.Conv2d(in_channels=4, out_channels=8, kernel_size=3, padding='same', groups=2)", (4, 9, 11)),
    ("Conv2d(4, 8, 3, padding='valid', padding_mode='reflect', bias=False)", (4, 9, 11)),
    ("Conv1d(5, 7, 4, dilation=3)", (5, 40)),
    ("Conv3d(2, 3, (1, 3, 3), padding=(0, 1, 1))", (2, 5, 6, 7)),
    ("Conv2d(3, 8, 3, bias=None)", (3, 9, 11)),
    ("ConvTranspose2d(3, 8, 3, bias=0)", (3, 9, 11)),
    ("ConvTranspose2d(3, 8, 4, 2, 1, 1, 1, False)", (3, 9, 11)),
    ("ConvTranspose2d(4, 8, (3, 2), stride=(2, 3), output_padding=(1, 0), groups=4)", (4, 9, 11)),
    ("MaxPool2d(3, 2, 1)", (3, 20, 21)),
    ("MaxPool2d(kernel_size=3, stride=2, ceil_mode=True)", (3, 20, 22)),
    ("AvgPool2d(2, count_include_pad=False, padding=1)", (3, 20, 22)),
    ("AvgPool3d((1, 2, 2))", (3, 4, 20, 22)),
    ("AdaptiveAvgPool2d((1, 1))", (3, 20, 22)),
    ("BatchNorm2d(3, eps=1e-3, momentum=0.1)", (3, 20, 22)),
    ("ReLU(inplace=True)", (3, 20, 22)),
    ("GELU()", (3, 20, 22)),
    ("ZeroPad2d((1, 2, 3, 4))", (3, 20, 22)),
    ("ZeroPad2d(2)", (3, 20, 22)),
    ("Upsample(scale_factor=2, mode='nearest')", (3, 20, 22)),
    ("ChannelShuffle(3)", (6, 20, 22)),
]


@pytest.mark.parametrize(("text", "shape"), CONSTRUCTORS)
def test_a_constructor_has_the_shape_and_parameters_of_torchs_module(text, shape):
    module = eval(text.split(".")[-1] if text.startswith("torch.nn") else text, vars(nn) | {"nn": nn, "torch": torch})
    stack = walk(parse_layers(text, len(shape) - 1), shape)
    assert stack.output == tuple(module.eval()(torch.zeros(1, *shape)).shape)[1:]
    assert stack.parameters == sum(each.numel() for each in module.parameters())


def test_a_list_of_torchs_layers_is_read_as_it_is_written_and_printed():
    inner = nn.Sequential(nn.Conv2d(8, 4, 1, bias=False), nn.Dropout(0.5))
    net = nn.Sequential(nn.Conv2d(3, 8, (3, 5), padding="same"), nn.BatchNorm2d(8), nn.ReLU(inplace=True), inner)
    written = """nn.Sequential(
        nn.Conv2d(3, 8, (3, 5), padding="same"),  # 8 maps
        nn.BatchNorm2d(8), nn.ReLU(inplace=True),
        nn.Sequential(nn.Conv2d(8, 4, 1, bias=False), nn.Dropout(0.5)),
    )"""
    for text in (repr(net), written):
        walk = Stack(text).shape((3, 9, 11))
        assert [row.layer.kind for row in walk.rows] == ["conv", "batchnorm", "relu", "conv", "identity"]
        assert walk.output == tuple(net.eval()(torch.zeros(1, 3, 9, 11)).shape)[1:]
        assert walk.parameters == sum(each.numel() for each in net.parameters())
        assert run_cli("shape", "3x9x11", text, "--json").ok().json["totals"]["output"] == [4, 9, 11]
    with pytest.raises(ConvcliError, match="no list of layers"):
        Stack("Sequential(nn.ReLU())[0]")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Conv2d(4, 64, 7)", "takes 4 input channels and gets 3"),
        ("BatchNorm2d(4)", "takes 4 input channels and gets 3"),
        ("Conv2d(3, 64)", "kernel_size is missing"),
        ("Conv2d(3, 64, size())", "plain numbers"),
        ("Conv2d(3, 64, 3", "plain numbers"),
        ("Conv2d(3, 64, 3, strde=2)", "no argument 'strde'"),
        ("Conv2d(3, 64, 3, kernel_size=3)", "twice"),
        ("Conv3d(3, 64, 3)", "needs 3 axes"),
        ("AdaptiveAvgPool2d(7)", "not measured"),
        ("MaxPool2d(2, 2, 0, 1, False, False, 3)", "at most 6"),
    ],
)
def test_a_constructor_that_is_wrong_says_why(text, said):
    with pytest.raises(ConvcliError, match=said.replace("(", "[(]")):
        walk(parse_layers(text), (3, 20, 20))


def notes(*words):
    return " | ".join(run_cli("shape", *words, "--json").ok().json["notes"])


def test_biases_before_a_batch_norm_are_said_to_cancel():
    """Torch's own layers, trained, give the same result with and without them."""
    assert "cancels the 8 biases of layer 1 (conv)" in notes("3x9x9", "conv:8,k=3", "bn")
    assert "cancels" not in notes("3x9x9", "conv:8,k=3,bias=false", "bn")
    assert "cancels" not in notes("3x9x9", "conv:8,k=3", "relu", "bn")
    text = notes("3x9x9", "conv:8,k=3,name=a,p=1", "bn:name=b", "add:from=a+b")
    assert "cancels" not in text  # the convolution's result is used elsewhere too
    assert text.count("is untrained") == 1
    layer, x = nn.Conv2d(3, 8, 3), torch.randn(4, 3, 9, 9)
    trained = nn.BatchNorm2d(8).train()
    without = trained(layer(x) - layer.bias.view(-1, 1, 1))
    assert torch.allclose(trained(layer(x)), without, atol=1e-5)


@pytest.mark.parametrize("kernel", range(1, 8))
@pytest.mark.parametrize(("stride", "dilation"), [(1, 1), (2, 1), (3, 1), (2, 2), (4, 2), (3, 2)])
def test_uneven_overlap_is_what_ones_through_torch_show(kernel, stride, dilation):
    module = nn.ConvTranspose1d(1, 1, kernel, stride, dilation=dilation, bias=False)
    nn.init.ones_(module.weight)
    taps = module(torch.ones(1, 1, 60))[0, 0, 25:-25]  # away from both ends
    text = notes("1x60", f"convtranspose1d:1,k={kernel},s={stride},d={dilation}")
    least, most = int(taps.detach().min().round()), int(taps.detach().max().round())
    assert ("overlaps unevenly" in text) == (least != most)
    assert least == most or f"{least} to {most} taps" in text


def test_a_separable_pair_says_what_it_costs_of_the_full_convolution():
    report = run_cli("shape", "32x16x16", "separable:64,k=3,p=1", "--json").ok().json
    full = run_cli("shape", "32x16x16", "conv:64,k=3,p=1", "--json").ok().json
    ratio = report["totals"]["macs"] / full["totals"]["macs"]
    assert ratio == pytest.approx(1 / 64 + 1 / 9)
    assert f"take {ratio:.3g} of the full convolution's macs {full['totals']['macs']:,}" in " ".join(report["notes"])
    assert "full convolution" in notes("32x16x16", "depthwise:k=3", "bn", "relu", "pointwise:64")
    assert "full convolution" not in notes("32x16x16", "conv:32,k=3", "pointwise:64")


@pytest.mark.parametrize(
    ("layer", "target", "answer"),
    [
        ("conv:8,k=4,p=?", "32x30", "conv:8,k=4,p=1,2,1,2"),
        ("conv:8,k=4x3,p=?", "32x30", "conv:8,k=4x3,p=1,2,1,1"),
        ("conv:8,k=2,d=3,p=?", "32x30", "conv:8,k=2,d=3,p=1,2,1,2"),
        ("Conv2d(3, 8, 4, padding=?)", "32x30", "conv:in_channels=3,out_channels=8,kernel_size=4,padding=1,2,1,2"),
        ("maxpool:k=4,s=1,p=?", "32x30", "maxpool:k=4,s=1,p=1,2,1,2"),
    ],
)
def test_answers_with_sides_that_differ(layer, target, answer):
    report = run_cli("shape", "3x32x30", layer, "--target", target, "--json").ok().json
    assert [each["text"] for each in report["answers"]] == [answer]
    assert run_cli("shape", "3x32x30", answer, "--json").ok().json["totals"]["output"][1:] == [32, 30]
    assert "sides" in run_cli("shape", "3x32x30", layer, "--target", target).ok().stdout


MODULES = [
    nn.LeakyReLU(0.2), nn.LeakyReLU(), nn.ReLU6(), nn.ReLU(inplace=True), nn.Tanh(), nn.Sigmoid(), nn.SiLU(), nn.GELU(),
    nn.Hardswish(), nn.Identity(), nn.Dropout(0.3), nn.Dropout2d(), nn.PixelShuffle(2), nn.ChannelShuffle(2),
    nn.ReflectionPad2d(2), nn.ReflectionPad2d((1, 2, 3, 0)), nn.ReplicationPad2d(3), nn.CircularPad2d(1),
    nn.ZeroPad2d((0, 1, 2, 3)), nn.ConstantPad2d(1, 3.5), nn.Upsample(scale_factor=2),
    nn.Upsample(scale_factor=(2, 3), mode="bilinear"),
    nn.MaxPool2d(3, 2, 1), nn.MaxPool2d((2, 3), dilation=2, ceil_mode=True), nn.AvgPool2d(3, 2, 1),
    nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(8),
]  # fmt: skip


@pytest.mark.parametrize("module", MODULES, ids=repr)
def test_modules_run_as_torch_prints_them(module):
    planes = np.random.default_rng(0).normal(size=(8, 11, 12))
    wanted = module.eval().double()(torch.from_numpy(planes)[None])[0].detach().numpy()
    stack = Stack(repr(module))
    assert stack.shape(planes.shape).output == wanted.shape
    np.testing.assert_allclose(stack.run(planes)["output"], wanted, atol=1e-12)


@pytest.mark.parametrize("mode", ["zeros", "reflect", "circular"])
def test_words_that_torch_prints_without_quotes_are_read(mode):
    """A name that is no word of ours is said where it stands."""
    module = nn.Conv2d(8, 4, (2, 3), padding="same", padding_mode=mode)
    (layer,) = parse_layers(repr(module))
    assert (layer.padding, layer.mode or "zeros") == ("same", mode)
    assert walk([layer], (8, 11, 12)).output == (4, 11, 12)
    assert (
        "character 15: kernel_size: 'k' is not a whole number" in run_cli("shape", "8x9x9", "Conv2d(8, 64, k)").stderr
    )


@pytest.mark.parametrize(
    "text", ["GELU(approximate='tanh')", "AdaptiveAvgPool2d(7)", "Linear(8, 3)", "Flatten()", "LSTM(3, 4)"]
)
def test_modules_that_are_not_measured_are_refused(text):
    result = run_cli("shape", "8x11x12", text)
    assert (result.exit_code, text.split("(")[0] in result.stderr) == (2, True)
