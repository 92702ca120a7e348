"""Shapes against torch: equal sizes, and an error exactly where torch refuses, over thousands of random parameters."""

from __future__ import annotations

import random
from math import prod

import pytest
import torch
from torch.nn import functional

from convcli.errors import GeometryError
from convcli.layers.layer import Layer
from convcli.layers.text import layers_from_values
from convcli.layers.walk import walk

N_CASES = 4_000  # per kind: 12,000 in all


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Tiny tensors: torch's threads would only wait for each other, above all beside other test processes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def torch_shape(reference) -> tuple[int, ...] | None:
    """Output shape without the batch, or None where torch refuses or gives an empty result."""
    try:
        shape = tuple(reference().shape[1:])
    except (RuntimeError, ValueError):
        return None
    return shape if all(shape) else None


def our_shape(layer: Layer, input_shape: tuple[int, ...]) -> tuple[int, ...] | None:
    try:
        return walk([layer], input_shape).output
    except GeometryError:
        return None


def assert_same_shape(layer: Layer, input_shape: tuple[int, ...], reference) -> bool:
    """Compare our output shape with that of ``reference()``, or our refusal with torch's; say whether it is valid."""
    found, expected = our_shape(layer, input_shape), torch_shape(reference)
    assert found == expected, f"{layer} on {input_shape}: torch gives {expected}, we give {found}"
    return found is not None


def draw(rng: random.Random, n_axes: int, low: int, high: int) -> tuple[int, ...]:
    return tuple(rng.randint(low, high) for _ in range(n_axes))


def draw_channels(rng: random.Random) -> tuple[int, int, int]:
    """Channels in and out, and groups that mostly divide them."""
    groups = rng.choice((1, 1, 1, 2, 3))
    n_in, n_out = rng.randint(1, 2) * groups, rng.randint(1, 2) * groups
    return n_in, n_out, groups if rng.random() < 0.95 else groups + 1


@torch.no_grad()
def test_conv_gives_torchs_shapes():
    rng = random.Random(1)
    n_valid = 0
    for _ in range(N_CASES):
        n_axes = rng.choice((1, 2, 2, 3))
        n_in, n_out, groups = draw_channels(rng)
        sizes, kernel = draw(rng, n_axes, 1, 9), draw(rng, n_axes, 1, 4)
        stride, dilation = draw(rng, n_axes, 1, 3), draw(rng, n_axes, 1, 3)
        pads = tuple((rng.randint(0, 2), rng.randint(0, 2)) for _ in range(n_axes))
        values = {"out_channels": n_out, "kernel_size": kernel, "stride": stride, "dilation": dilation}
        layer = layers_from_values("conv", {**values, "padding": pads, "groups": groups}, n_axes=n_axes)[0]
        conv = (functional.conv1d, functional.conv2d, functional.conv3d)[n_axes - 1]

        def reference(conv=conv, n_in=n_in, n_out=n_out, groups=groups, kernel=kernel, sizes=sizes, pads=pads,
                      stride=stride, dilation=dilation):  # fmt: skip
            weight = torch.zeros(n_out, n_in // groups, *kernel)
            padded = functional.pad(torch.zeros(1, n_in, *sizes), [side for pair in pads[::-1] for side in pair])
            return conv(padded, weight, None, stride, 0, dilation, groups)

        n_valid += assert_same_shape(layer, (n_in, *sizes), reference)
    assert N_CASES * 0.4 < n_valid < N_CASES * 0.95


@torch.no_grad()
def test_transposed_conv_gives_torchs_shapes():
    rng = random.Random(2)
    n_valid = 0
    for _ in range(N_CASES):
        n_axes = rng.choice((1, 2, 2, 3))
        n_in, n_out, groups = draw_channels(rng)
        sizes, kernel = draw(rng, n_axes, 1, 6), draw(rng, n_axes, 1, 4)
        stride, dilation, pad = draw(rng, n_axes, 1, 3), draw(rng, n_axes, 1, 3), draw(rng, n_axes, 0, 3)
        extra = tuple(rng.randint(0, max(s, d) - (rng.random() < 0.9)) for s, d in zip(stride, dilation, strict=True))
        values = {"out_channels": n_out, "kernel_size": kernel, "stride": stride, "dilation": dilation}
        values |= {"padding": "x".join(map(str, pad)), "output_padding": extra, "groups": groups}
        layer = layers_from_values("convtranspose", values, n_axes=n_axes)[0]
        conv = (functional.conv_transpose1d, functional.conv_transpose2d, functional.conv_transpose3d)[n_axes - 1]

        def reference(conv=conv, n_in=n_in, n_out=n_out, groups=groups, kernel=kernel, sizes=sizes, pad=pad,
                      stride=stride, dilation=dilation, extra=extra):  # fmt: skip
            if n_out % groups:  # the weight's layout (in, out / groups) cannot even be written down
                raise ValueError
            weight = torch.zeros(n_in, n_out // groups, *kernel)
            return conv(torch.zeros(1, n_in, *sizes), weight, None, stride, pad, extra, groups, dilation)

        n_valid += assert_same_shape(layer, (n_in, *sizes), reference)
    assert N_CASES * 0.4 < n_valid < N_CASES * 0.95


@torch.no_grad()
def test_pooling_gives_torchs_shapes():
    rng = random.Random(3)
    n_valid = 0
    for _ in range(N_CASES):
        n_axes, kind, ceil_mode = rng.choice((1, 2, 2, 3)), rng.choice(("max", "avg")), rng.random() < 0.5
        sizes, kernel = draw(rng, n_axes, 1, 9), draw(rng, n_axes, 1, 4)
        stride, pad = draw(rng, n_axes, 1, 4), draw(rng, n_axes, 0, 2)
        values = {"kernel_size": kernel, "stride": stride, "padding": "x".join(map(str, pad)), "ceil_mode": ceil_mode}
        options = {"ceil_mode": ceil_mode}
        if kind == "max":
            options["dilation"] = values["dilation"] = draw(rng, n_axes, 1, 3)
        layer = layers_from_values(f"{kind}pool", values, n_axes=n_axes)[0]
        pool = getattr(functional, f"{kind}_pool{n_axes}d")

        def reference(pool=pool, kernel=kernel, sizes=sizes, pad=pad, stride=stride, ceil_mode=ceil_mode,
                      options=options):  # fmt: skip
            return pool(torch.zeros(1, 2, *sizes), kernel, stride, pad, **options)

        n_valid += assert_same_shape(layer, (2, *sizes), reference)
    assert N_CASES * 0.3 < n_valid < N_CASES * 0.95


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("word", ["same", "valid"])
@torch.no_grad()
def test_padding_words_give_torchs_shapes_at_stride_1(word):
    rng = random.Random(4)
    for _ in range(300):
        sizes, kernel, dilation = draw(rng, 2, 1, 9), draw(rng, 2, 1, 4), draw(rng, 2, 1, 3)
        values = {"out_channels": 2, "kernel_size": kernel, "dilation": dilation, "padding": word}

        def reference(sizes=sizes, kernel=kernel, dilation=dilation):
            return functional.conv2d(torch.zeros(1, 1, *sizes), torch.zeros(2, 1, *kernel), None, 1, word, dilation)

        assert_same_shape(layers_from_values("conv", values)[0], (1, *sizes), reference)


def test_parameters_are_those_of_torchs_modules():
    rng = random.Random(5)
    for _ in range(200):
        n_axes = rng.randint(1, 3)
        groups, bias, kernel = rng.randint(1, 3), rng.random() < 0.5, draw(rng, n_axes, 1, 4)
        n_in, n_out = rng.randint(1, 4) * groups, rng.randint(1, 4) * groups
        values = {"out_channels": n_out, "kernel_size": kernel, "groups": groups, "bias": bias}
        for kind, name in (("conv", "Conv"), ("convtranspose", "ConvTranspose")):
            module = getattr(torch.nn, f"{name}{n_axes}d")(n_in, n_out, kernel, groups=groups, bias=bias)
            expected = sum(prod(parameter.shape) for parameter in module.parameters())
            stack = walk([layers_from_values(kind, values, n_axes=n_axes)[0]], (n_in, *(9,) * n_axes))
            assert stack.parameters == expected
