"""One vocabulary: biases, initialisers and kernel sizes are written alike in flags, layers, stacks and families."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import run_cli
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F  # noqa: N812

from convcli import load_bank
from convcli.errors import ConvcliError, KernelError
from convcli.layers.run import load_numbers
from convcli.layers.stack import Stack, parse_stack


def weight_of(stack: Stack, shape=(3, 20, 20)):
    return load_numbers(stack, stack.shape(shape))[0]


@pytest.mark.parametrize("size", ["size=3", "kernel_size=3", "k=3", "kernel-size=3x3"])
@pytest.mark.parametrize("init", ["xavier-uniform", "xavier_uniform_", "xavier", "Xavier_Uniform"])
def test_words_of_random_weights(size, init):
    torch.manual_seed(4)
    layer = torch.nn.Conv2d(3, 8, 3)
    torch.nn.init.xavier_uniform_(layer.weight)
    wanted = layer.weight.detach().numpy()
    spec = f"random:out_channels=8,in_channels=3,{size},init={init},seed=4"
    in_layer = size if size.startswith("k") else f"k{size[4:]}"
    table = f"{{kind = '{init}', seed = 4}}"
    ours = [
        load_bank(spec).weight,
        weight_of(Stack(f"conv:{spec}")).weight,
        weight_of(Stack(f"conv:8,{in_layer},init={init},seed=4")).weight,
        weight_of(parse_stack(f"init = {table}\nlayers = ['conv:8,k=3']")).weight,
        weight_of(parse_stack(f"layers = [{{layer = 'conv:8,k=3', init = {table}}}]")).weight,
    ]
    for each in ours:
        np.testing.assert_array_max_ulp(each.astype(np.float32), wanted, 1)


@pytest.mark.parametrize(
    ("text", "init"),
    [
        ("init=normal,mean=2,std=0.5", lambda w: torch.nn.init.normal_(w, 2, 0.5)),
        ("init=uniform,low=1,high=3", lambda w: torch.nn.init.uniform_(w, 1, 3)),
        ("init=xavier-normal,gain=2", lambda w: torch.nn.init.xavier_normal_(w, 2)),
        ("init=constant,value=0.25", lambda w: torch.nn.init.constant_(w, 0.25)),
    ],
)
def test_parameters_of_initialisers_are_those_of_stacks(text, init):
    torch.manual_seed(9)
    layer = torch.nn.Conv2d(2, 5, (3, 7))
    init(layer.weight)
    bank = load_bank(f"random:out=5,in=2,k=3x7,seed=9,{text}")
    np.testing.assert_array_max_ulp(bank.weight.astype(np.float32), layer.weight.detach().numpy(), 1)
    kind, *parameters = text.removeprefix("init=").split(",")
    table = ", ".join([f"kind = '{kind}'", "seed = 9", *(each.replace("=", " = ") for each in parameters)])
    stack = parse_stack(f"layers = [{{layer = 'conv:5,k=3x7', init = {{{table}}}}}]")
    np.testing.assert_array_equal(weight_of(stack, (2, 9, 9)).weight, bank.weight)
    with pytest.raises(KernelError, match="does nothing to init=default"):
        load_bank(f"random:init=default,{parameters[0].replace('std', 'mean')}")


def test_biases_are_numbers_or_a_switch_everywhere(photo, tmp_path):
    def run(*flags: str) -> np.ndarray:
        run_cli("apply", photo, *flags, "--format", "npy", "-o", tmp_path / "o.npy", "--overwrite", "-q").ok()
        return np.load(tmp_path / "o.npy")

    plain = run("-k", "sobel", "--padding", "0")
    assert (run("-k", "sobel bias=7", "--padding", "0") == plain + 7).all()
    assert (run("-k", "sobel bias=7", "--padding", "0", "--bias", "true") == plain + 7).all()
    for flags in (["--bias", "false"], ["--bias", "0"]):
        assert (run("-k", "sobel bias=7", "--padding", "0", *flags) == plain).all()
    assert (run("-k", "sobel", "--padding", "0", "--bias", "0.5") == plain + 0.5).all()
    assert (run("--layers", "conv:sobel,bias=0.5") == plain + 0.5).all()
    assert (run("--layers", "conv:'sobel bias=7'") == plain + 7).all()
    assert (run("--layers", "conv:'sobel bias=7',bias=false") == plain).all()
    for flags in (["-k", "sobel", "--bias", "maybe"], ["--layers", "conv:sobel,bias=maybe"]):
        result = run_cli("apply", photo, *flags, "--dry-run")
        assert (result.exit_code, "maybe" in result.stderr, "true or" in result.stderr) == (2, True, True)


POOLS = st.sampled_from(["maxpool", "avgpool"])
SMALL = st.integers(1, 4)


@settings(max_examples=60)
@given(st.data())
def test_pooling_layers_take_the_padding_and_dilation_of_the_engine(data):
    kind, kernel, stride, dilation = data.draw(POOLS), *(data.draw(st.tuples(SMALL, SMALL)) for _ in range(3))
    window = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    sizes = [data.draw(st.integers(w, w + 9)) for w in window]
    words = ["same", "same_lower", "valid", "full"]
    sides = [data.draw(st.integers(0, w - 1)) for w in window for _ in range(2)]
    word = data.draw(st.sampled_from([*words, ",".join(map(str, sides))]))
    text = f"{kind}:{kernel[0]}x{kernel[1]},s={stride[0]}x{stride[1]},d={dilation[0]}x{dilation[1]},p={word}"
    planes = np.random.default_rng(0).normal(size=(2, *sizes))
    try:
        found = Stack(text).run(planes)["output"]
    except ConvcliError as error:
        assert "more than half" in error.message  # noqa: PT017 - equal sides are torch's, with torch's bound
        return
    if word in words:
        total = [max((-(-n // s) - 1) * s + w - n, 0) for n, s, w in zip(sizes, stride, window, strict=True)]
        less = [(t // 2, t - t // 2) if word == "same" else (t - t // 2, t // 2) for t in total]
        sides = {"valid": [0] * 4, "full": [w - 1 for w in window for _ in "ab"]}.get(word, [*less[0], *less[1]])
    top, bottom, left, right = sides
    x = torch.from_numpy(planes)[None]
    if kind == "maxpool":
        padded = F.pad(x, (left, right, top, bottom), value=-np.inf)
        wanted = F.max_pool2d(padded, kernel, stride, 0, dilation)
    else:  # a mean is a convolution
        taps = torch.full((2, 1, *kernel), 1 / (kernel[0] * kernel[1]), dtype=x.dtype)
        wanted = F.conv2d(F.pad(x, (left, right, top, bottom)), taps, None, stride, 0, dilation, groups=2)
    assert Stack(text).shape(planes.shape).output == tuple(wanted.shape[1:])
    np.testing.assert_allclose(found, wanted[0].numpy(), atol=1e-12)


def test_a_pool_of_torch_keeps_its_bound(photo):
    result = run_cli("apply", photo, "--layers", "maxpool:3,p=2", "--dry-run")
    assert (result.exit_code, "more than half of the pooling kernel 3" in result.stderr) == (5, True)
    assert "whole window" in run_cli("shape", "1x9x9", "maxpool:3,p=3,0,0,0").stderr


def test_multiply_is_a_product_and_weighs_planes():
    planes = np.random.default_rng(2).normal(size=(4, 5, 6))
    gated = Stack("globalpool:name=g sigmoid:name=w multiply:from=input+w").run(planes)["output"]
    gate = 1 / (1 + np.exp(-planes.mean(axis=(1, 2), keepdims=True)))
    np.testing.assert_allclose(gated, planes * gate, atol=1e-12)
    squared = Stack("relu:name=r multiply:from=r+r").run(planes)["output"]
    np.testing.assert_array_equal(squared, np.maximum(planes, 0) ** 2)
    with pytest.raises(ConvcliError, match="cannot multiply 4x5x6 and 4x2x3"):
        Stack("maxpool:2,name=m multiply:from=input+m").shape((4, 5, 6))


def test_a_value_alone_is_a_constant_border(rng):
    planes = rng.random((2, 5, 4), dtype=np.float32)
    wanted = F.pad(torch.from_numpy(planes), (1, 1, 1, 1), value=3.0).numpy()
    np.testing.assert_array_equal(Stack("pad:1,value=3").run(planes)["output"], wanted)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("pad:1,mode=reflect,value=3", "pad: value does nothing in mode reflect"),
        ("relu:value=2", "relu: value does nothing in mode relu"),
        ("relu:tanh,value=2", "relu: value does nothing in mode tanh"),
        ("adaptiveavgpool:7", "globalpool leaves one sample a plane, not 7"),
    ],
)
def test_a_parameter_without_effect_is_refused(text, says):
    with pytest.raises(ConvcliError, match=says):
        Stack(text).shape((3, 8, 8))
