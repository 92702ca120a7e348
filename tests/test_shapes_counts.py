"""Multiply-accumulates by counting the steps of literal loops, receptive fields by the support of the gradient."""

from __future__ import annotations

import itertools
import random
from fractions import Fraction
from math import prod

import pytest
import torch
from torch.nn import functional

from convcli.geometry.arithmetic import unused_input_px
from convcli.layers.layer import Layer
from convcli.layers.text import layers_from_values, parse_layers
from convcli.layers.walk import Walk, walk


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Tiny tensors: torch's threads would only wait for each other, above all beside other test processes."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def chain(*words: str, n_axes: int = 2) -> list[Layer]:
    return [layer for word in words for layer in parse_layers(word, n_axes)]


def count_conv_loops(n_in, n_out, groups, output, kernel) -> int:
    """Run the loops of a convolution and count its innermost steps."""
    steps = 0
    for _ in range(n_out):
        for _ in itertools.product(*map(range, output)):
            for _ in range(n_in // groups):
                for _ in itertools.product(*map(range, kernel)):
                    steps += 1
    return steps


def count_transposed_loops(n_in, n_out, groups, sizes, kernel) -> int:
    """Run the loops of a transposed convolution, which walks its input, and count its innermost steps."""
    steps = 0
    for _ in range(n_in):
        for _ in itertools.product(*map(range, sizes)):
            for _ in range(n_out // groups):
                for _ in itertools.product(*map(range, kernel)):
                    steps += 1
    return steps


def test_macs_are_the_steps_of_literal_loops():
    rng = random.Random(6)
    for _ in range(60):
        n_axes, groups = rng.randint(1, 3), rng.randint(1, 3)
        n_in, n_out = rng.randint(1, 2) * groups, rng.randint(1, 2) * groups
        sizes = tuple(rng.randint(3, 5) for _ in range(n_axes))
        kernel = tuple(rng.randint(1, 3) for _ in range(n_axes))
        values = {"out_channels": n_out, "kernel_size": kernel, "groups": groups, "stride": rng.randint(1, 2)}
        conv = walk(layers_from_values("conv", values | {"padding": 1}, n_axes=n_axes), (n_in, *sizes))
        assert conv.macs == count_conv_loops(n_in, n_out, groups, conv.output[1:], kernel)
        assert conv.bias_adds == prod(conv.output)
        transposed = walk(
            [layers_from_values("convtranspose", values | {"bias": False}, n_axes=n_axes)[0]], (n_in, *sizes)
        )
        assert transposed.macs == count_transposed_loops(n_in, n_out, groups, sizes, kernel)
        assert transposed.bias_adds == 0


def test_macs_of_the_net_that_six_tools_disagree_on():
    net = chain("conv:8,k=3,s=2,p=1", "depthwise:k=3,d=2", "maxpool:3,s=2,ceil=1", "convtranspose:4,k=4,s=2,p=1,op=1")
    stack = walk(net, (3, 64, 64))
    assert [row.macs for row in stack.rows] == [221_184, 56_448, 0, 100_352]
    assert stack.macs == 377_984


def test_totals_are_the_sums_of_the_rows():
    stack = walk(chain("conv:8,k=3", "batchnorm", "relu", "separable:16,k=3,p=1", "maxpool:2"), (3, 20, 24))
    for name in ("parameters", "macs", "bias_adds", "activation_bytes"):
        assert getattr(stack, name) == sum(getattr(row, name) for row in stack.rows)
    assert stack.activation_bytes == 4 * sum(prod(row.output) for row in stack.rows)


def test_groups_of_the_textbook():
    """12 → 6 channels with a 3×3 kernel: 654 parameters, and 222 in 3 groups, bias included."""
    assert walk(chain("conv:6,k=3"), (12, 32, 32)).parameters == 654
    assert walk(chain("conv:6,k=3,g=3"), (12, 32, 32)).parameters == 222


def test_peak_is_the_largest_pair_of_neighbours_plus_what_is_kept():
    stack = walk(chain("conv:4,k=3,p=1,name=skip", "maxpool:2", "upsample:2", "add:from=skip+input"), (4, 8, 8))
    whole, small = 4 * 4 * 8 * 8, 4 * 4 * 4 * 4
    assert stack.peak_bytes == 4 * whole  # input, skip, the enlarged copy and the sum
    assert walk(chain("maxpool:2", "relu"), (4, 8, 8)).peak_bytes == whole + small


# --- receptive fields ---


def run_ones(layer: Layer, x: torch.Tensor) -> torch.Tensor:
    """Run a 1-D layer with weights of one, so that the gradient is positive wherever there is a path."""
    ones = torch.ones(1, 1, *layer.kernel_size, dtype=x.dtype)
    if layer.kind in ("conv", "maxpool"):  # a maximum passes its gradient to one input only
        padded = functional.pad(x, [side for pair in layer.padding for side in pair])
        return functional.conv1d(padded, ones, None, layer.stride, 0, layer.dilation)
    if layer.kind == "avgpool":
        return functional.avg_pool1d(x, layer.kernel_size, layer.stride, layer.padding[0][0])
    if layer.kind == "convtranspose":
        pad, extra = layer.padding[0][0], layer.output_padding
        return functional.conv_transpose1d(x, ones, None, layer.stride, pad, extra, 1, layer.dilation)
    if layer.kind == "upsample":
        mode = "linear" if layer.mode == "bilinear" else "nearest"
        return functional.interpolate(x, scale_factor=float(layer.scale_factor[0]), mode=mode)
    assert layer.kind == "pad"
    return functional.pad(x, list(layer.padding[0]))


def random_layer(rng: random.Random) -> str:
    k, s, d = rng.randint(1, 4), rng.randint(1, 3), rng.randint(1, 3)
    return rng.choice(
        (
            f"conv:1,k={k},s={s},d={d},p={rng.randint(0, 3)},{rng.randint(0, 3)}",
            f"maxpool:k={k},s={s},d={d},p={k // 2}",
            f"avgpool:k={k},s={s}",
            f"convtranspose:1,k={k},s={s},d={d},p={rng.randint(0, 2)}",
            f"upsample:{rng.randint(1, 3)},mode={rng.choice(('nearest', 'bilinear'))}",
            f"pad:{rng.randint(0, 2)},{rng.randint(0, 2)}",
        )
    )


def support(layers: list[Layer], length: int, output_at: int | None = None, n_outputs: int = 1):
    """Return [(output index, first input, last input + 1)] of the gradient of outputs around the middle."""
    x = torch.ones(1, 1, length, dtype=torch.float64, requires_grad=True)
    y = x
    for layer in layers:
        y = run_ones(layer, y)
    middle = y.shape[-1] // 2 if output_at is None else output_at
    found = []
    for at in range(middle, middle + n_outputs):
        (gradient,) = torch.autograd.grad(y[0, 0, at], x, retain_graph=True)
        reached = gradient[0, 0].nonzero().flatten().tolist()
        found.append((at, reached[0], reached[-1] + 1) if reached else (at, 0, 0))
    return found


def assert_field_is_support(stack: Walk, layers: list[Layer], length: int) -> None:
    period = prod(layer.stride[0] for layer in layers if layer.kind == "convtranspose")
    period *= prod(layer.scale_factor[0] for layer in layers if layer.kind == "upsample")
    spans = support(layers, length, n_outputs=period)
    row = stack.rows[-1]
    if not any(last for _, _, last in spans):  # dilation and stride can miss each other: no output sees anything
        assert row.receptive_field == (0,), layers
        return
    assert min(first for _, first, last in spans if last) > 0, "the input is too small for this test"
    assert max(last for _, _, last in spans) < length, "the input is too small for this test"
    assert row.receptive_field[0] == max(last - first for _, first, last in spans), layers
    if period == 1:  # one field is like the next: its middle follows from start and jump
        at, first, last = spans[0]
        assert Fraction(row.start[0]) + at * Fraction(row.jump[0]) == Fraction(first + last, 2), layers


@pytest.mark.parametrize("seed", range(4))
def test_receptive_field_is_the_support_of_the_gradient(seed):
    rng = random.Random(seed)
    for _ in range(75):
        words = [random_layer(rng) for _ in range(rng.randint(1, 4))]
        layers = chain(*words, n_axes=1)
        assert_field_is_support(walk(layers, (1, 500)), layers, 500)


def test_receptive_field_knows_the_gaps_that_a_stride_leaves():
    """Every second of what a kernel of one tap spread three apart: two neighbours never meet the same output."""
    layers = chain("convtranspose:1,k=1,s=3", "conv:1,k=1,s=2", "conv:1,k=3", n_axes=1)
    stack = walk(layers, (1, 300))
    assert stack.rows[-1].receptive_field == (1,)
    assert_field_is_support(stack, layers, 300)


def test_receptive_field_follows_each_axis_by_itself():
    stack = walk(chain("conv:4,k=7x3,s=2x1,p=3x1", "conv:4,k=1x5,d=1x2"), (3, 40, 40))
    assert stack.rows[-1].receptive_field == (7, 11)
    assert stack.rows[-1].jump == (2, 1)
    assert stack.rows[-1].start == (0.5, 4.5)


def test_receptive_field_of_branches_is_their_hull():
    """Three branches, dilations 1, 2 and 4: the widest counts, and an even kernel moves the middle."""
    names = [f"conv:2,k=3,d={d},p={d},name=d{d},from=input" for d in (1, 2, 4)]
    stack = walk(chain(*names, "concat:from=d1+d2+d4"), (3, 32, 32))
    assert stack.output == (6, 32, 32)
    assert stack.rows[-1].receptive_field == (9, 9)
    uneven = walk(chain("pad:0,2,0,2,name=late", "pad:2,0,2,0,name=early,from=input", "add:from=late+early"), (1, 9, 9))
    assert uneven.rows[-1].receptive_field == (3, 3)
    assert uneven.rows[-1].start == (-0.5, -0.5)


def test_known_networks_have_their_published_receptive_fields():
    """AlexNet's pool5: 195, jump 32. VGG-16's pool5: 212, jump 32 (Araujo, Norris and Sim, Distill 2019)."""
    alexnet = ["conv:64,k=11,s=4,p=2", "maxpool:3,s=2", "conv:192,k=5,p=2", "maxpool:3,s=2", "conv:384,k=3,p=1"]
    alexnet += ["conv:256,k=3,p=1", "conv:256,k=3,p=1", "maxpool:3,s=2"]
    row = walk(chain(*alexnet), (3, 224, 224)).rows[-1]
    assert (row.receptive_field, row.jump) == ((195, 195), (32, 32))
    vgg = [w for n, maps in zip((2, 2, 3, 3, 3), (64, 128, 256, 512, 512), strict=True) for w in
           [*[f"conv:{maps},k=3,p=1"] * n, "maxpool:2"]]  # fmt: skip
    row = walk(chain(*vgg), (3, 224, 224)).rows[-1]
    assert (row.receptive_field, row.jump) == ((212, 212), (32, 32))


def test_unused_input_is_what_no_window_touches():
    """Count by marking every input that any window reads, then looking at the end of the axis."""
    rng = random.Random(7)
    for _ in range(2_000):
        size, kernel, stride, dilation = rng.randint(1, 14), rng.randint(1, 4), rng.randint(1, 5), rng.randint(1, 3)
        before, after, ceil_mode = rng.randint(0, 3), rng.randint(0, 3), rng.random() < 0.3
        window = dilation * (kernel - 1) + 1
        if window > size + before + after:
            continue
        n_windows = len(range(0, size + before + after - window + 1, stride)) + ceil_mode
        last_read = max(at * stride + window - before for at in range(n_windows))
        unused = len([position for position in range(size) if position >= last_read])
        found = unused_input_px(
            size, kernel, stride=stride, dilation=dilation, pad_before_px=before, output_px=n_windows
        )
        assert found == unused
