"""Published networks as stacks: output sizes, parameters and MACs of their convolutions as they are known."""

from __future__ import annotations

import pytest

from convcli.layers.dump import dump_stack
from convcli.layers.stack import Stack, parse_stack
from convcli.layers.text import parse_layers
from convcli.layers.walk import Walk, walk


def stack_of(words: list[str], name: str) -> Stack:
    layers = tuple(layer for word in words for layer in parse_layers(word))
    return Stack(layers=layers, name=name, input=(3, 224, 224))


def alexnet() -> list[str]:
    return [
        "conv:64,k=11,s=4,p=2", "relu", "maxpool:3,s=2", "conv:192,k=5,p=2", "relu", "maxpool:3,s=2",
        "conv:384,k=3,p=1", "relu", "conv:256,k=3,p=1", "relu", "conv:256,k=3,p=1", "relu", "maxpool:3,s=2",
    ]  # fmt: skip


def vgg16() -> list[str]:
    words = []
    for maps, times in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        words += [f"conv:{maps},k=3,p=1", "relu"] * times + ["maxpool:2"]
    return words


def resnet(blocks: tuple[int, ...], *, bottleneck: bool) -> list[str]:
    words = ["conv:64,k=7,s=2,p=3,bias=0", "batchnorm", "relu", "maxpool:3,s=2,p=1,name=in0"]
    before, n_in = "in0", 64
    for stage, times in enumerate(blocks):
        for block in range(times):
            name, maps = f"s{stage}b{block}", 64 * 2**stage
            s = 2 if stage and not block else 1
            n_out = maps * (4 if bottleneck else 1)
            if bottleneck:  # stride on the 3×3, as torchvision has it
                words += [f"conv:{maps},k=1,bias=0,from={before}", "batchnorm", "relu"]
                words += [f"conv:{maps},k=3,s={s},p=1,bias=0", "batchnorm", "relu", f"conv:{n_out},k=1,bias=0"]
            else:
                words += [f"conv:{maps},k=3,s={s},p=1,bias=0,from={before}", "batchnorm", "relu"]
                words += [f"conv:{maps},k=3,p=1,bias=0"]
            words += [f"batchnorm:name={name}main"]
            short = before
            if s == 2 or n_in != n_out:
                words += [f"conv:{n_out},k=1,s={s},bias=0,from={before}", f"batchnorm:name={name}short"]
                short = f"{name}short"
            words += [f"add:from={name}main+{short}", f"relu:name={name}"]
            before, n_in = name, n_out
    return words


def mobilenet_v2() -> list[str]:
    words = ["conv:32,k=3,s=2,p=1,bias=0", "batchnorm", "relu:relu6,name=b0"]
    before, n_in, number = "b0", 32, 0
    for expand, maps, times, stride in (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1),
    ):  # fmt: skip
        for block in range(times):
            number += 1
            s = stride if not block else 1
            if expand > 1:
                words += [f"pointwise:{n_in * expand},bias=0,from={before}", "batchnorm", "relu:relu6"]
            source = f",from={before}" if expand == 1 else ""
            words += [f"depthwise:k=3,s={s},p=1,bias=0{source}", "batchnorm", "relu:relu6", f"pointwise:{maps},bias=0"]
            if s == 1 and n_in == maps:
                words += [f"batchnorm:name=b{number}main", f"add:from={before}+b{number}main,name=b{number}"]
            else:
                words += [f"batchnorm:name=b{number}"]
            before, n_in = f"b{number}", maps
    return [*words, "pointwise:1280,bias=0", "batchnorm", "relu:relu6"]


def conv_parameters(shape: Walk) -> int:
    return sum(row.parameters for row in shape.rows if row.layer.kind == "conv")


# name: words, output, parameters of convolutions, of batch norms, MACs of convolutions. The parameter counts are
# torchvision's totals (61,100,840; 138,357,544; 11,689,512; 25,557,032; 3,504,872) less their classifiers.
PUBLISHED = {
    "alexnet": (alexnet(), (256, 6, 6), 61_100_840 - 58_631_144, 0, 655_566_528),
    "vgg16": (vgg16(), (512, 7, 7), 138_357_544 - 123_642_856, 0, 15_346_630_656),
    "resnet18": (resnet((2, 2, 2, 2), bottleneck=False), (512, 7, 7), 11_166_912, 9_600, 1_813_561_344),
    "resnet50": (resnet((3, 4, 6, 3), bottleneck=True), (2048, 7, 7), 23_454_912, 53_120, 4_087_136_256),
    "mobilenet_v2": (mobilenet_v2(), (1280, 7, 7), 3_504_872 - 1_281_000 - 34_112, 34_112, 299_494_272),
}


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_network_has_its_published_numbers(name):
    words, output, convolutions, norms, macs = PUBLISHED[name]
    shape = stack_of(words, name).shape()
    assert shape.output == output
    assert conv_parameters(shape) == convolutions
    assert shape.parameters == convolutions + norms
    assert shape.macs == macs


def test_resnet_halves_at_the_published_places():
    shape = stack_of(resnet((2, 2, 2, 2), bottleneck=False), "resnet18").shape()
    sizes = [row.output for row in shape.rows if row.layer.name in ("in0", "s0b1", "s1b1", "s2b1", "s3b1")]
    assert sizes == [(64, 56, 56), (64, 56, 56), (128, 28, 28), (256, 14, 14), (512, 7, 7)]
    stem = shape.rows[0]
    assert (stem.output, stem.parameters, stem.macs) == ((64, 112, 112), 9_408, 118_013_952)


def test_alexnet_sizes_layer_by_layer():
    rows = stack_of(alexnet(), "alexnet").shape().rows
    sizes = [row.output for row in rows if row.layer.kind != "relu"]
    expected = [(64, 55), (64, 27), (192, 27), (192, 13), (384, 13), (256, 13), (256, 13), (256, 6)]
    assert sizes == [(maps, size, size) for maps, size in expected]


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_network_survives_being_written_as_toml(name):
    stack = stack_of(PUBLISHED[name][0], name)
    again = parse_stack(dump_stack(stack))
    assert again == stack
    assert walk(again.layers, again.input) == stack.shape()
