"""What people get wrong with ``convcli shape`` at first, and what they are told."""

from __future__ import annotations

import re

import pytest
from conftest import REPOSITORY, run_cli

from convcli.layers.kinds import NAMES
from convcli.layers.names import load_aliases
from convcli.layers.stack import load_stack
from convcli.layers.walk import fit

PYRAMID = REPOSITORY / "examples" / "stacks" / "laplacian-pyramid.toml"


def test_target_without_a_question_says_how_to_ask():
    result = run_cli("shape", "3x10x10", "conv:64,k=2", "--target", "151x114")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "no layer has a '?'" in result.stderr
    assert "p=?" in result.stderr


@pytest.mark.parametrize(
    ("shape", "layer", "readings"),
    [
        ("10x20", "conv:8,k=3", ("1x10x20 is an image", "conv1d takes 10 channels of length 20")),
        ("10x20", "Conv:8,k=3", ("1x10x20 is an image", "Conv1d takes")),
        ("10x20", "maxpool:2", ("1x10x20 is an image", "maxpool1d takes")),
        ("1x3x32x32", "conv:8,k=3", ("3x32x32 is one picture of a batch of 1", "conv3d takes 1 channels of 3x32x32")),
        ("8x3x32x32", "relu conv:8,k=3", ("3x32x32 is one picture of a batch of 8", "conv3d takes 8 channels")),
    ],
)
def test_inputs_with_two_readings_are_refused_with_both(shape, layer, readings):
    result = run_cli("shape", shape, *layer.split(" "))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "two readings" in result.stderr
    assert all(reading in result.stderr for reading in readings)


@pytest.mark.parametrize(
    "words",
    [
        ("1x10x20", "conv:8,k=3"),
        ("10x20", "conv1d:8,k=3"),
        ("10x20", "Conv1d:8,k=3"),
        ("10x20", "Conv1d(10, 8, 3)"),
        ("3x9x9x9", "conv:8,k=3x3x3"),
        ("3x9x9x9", "MaxPool3d(3)"),
        ("10x20", "relu"),
    ],
)
def test_inputs_that_cannot_be_misread_get_no_note(words):
    assert run_cli("shape", *words).ok().stderr == ""


def test_channels_that_seem_to_be_last_name_the_flag():
    result = run_cli("shape", "224x200x3", "conv:8,k=3").ok()
    assert "--channels-last reads 3 channels of 224x200" in result.stderr
    assert run_cli("shape", "224x200x3", "conv:8,k=3", "--channels-last").ok().stderr == ""
    assert run_cli("shape", "3x200x224", "conv:8,k=3").ok().stderr == ""


@pytest.mark.parametrize(
    "wrong", ["cnv:8,k=3", "averagepol:2", "deconvv:8,k=2", "cta", *(f"{name}x" for name in load_aliases())]
)
def test_suggestions_are_words_that_help_has(wrong):
    result = run_cli("shape", "3x10x10", wrong)
    assert result.exit_code == 2
    for found in re.findall(r"did you mean (.*)\?", result.stderr):
        assert set(found.split(", ")) <= {*NAMES}


def test_an_alias_nearly_right_suggests_what_it_stands_for():
    assert "did you mean conv, convtranspose?" in run_cli("shape", "3x10x10", "cnv:8,k=3").stderr


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_input_is_said_to_be_empty(empty):
    result = run_cli("shape", empty, "conv:8,k=3")
    assert result.exit_code == 2
    assert "the input is empty" in result.stderr


def test_sizes_that_a_pyramid_takes_are_in_the_hint():
    result = run_cli("shape", "3x21x20", PYRAMID)
    assert result.exit_code == 5
    assert "cannot subtract 3x21x20 and 3x22x20" in result.stderr
    assert "sides that are multiples of 4 fit, such as 3x24x20" in result.stderr
    run_cli("shape", "3x24x20", PYRAMID).ok()
    assert run_cli("shape", "3x22x22", PYRAMID).exit_code == 5  # 2 is not enough


def test_multiples_that_fit_by_luck_are_not_found():
    layers = load_stack(PYRAMID).layers
    assert fit(layers, (3, 1, 1)) == (4, (3, 4, 4))


def test_a_sum_of_different_channels_is_not_helped_by_sizes():
    result = run_cli("shape", "3x8x8", "conv:8,k=1,name=a", "add:from=a+input")
    assert result.exit_code == 5
    assert "multiples" not in result.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["3x32x32x", "relu"], "input '3x32x32x', character 9: a number is missing"),
        (["3x9x9", "conv:8,k=3 p=1"], "a parameter follows its layer after a comma, without a blank: ...,p=1"),
        (["3x9x9", "relu, maxpool:2"], "a blank and no comma stands between layers"),
        (["3x9x9", "conv:8,k=3, relu"], "a blank and no comma before relu"),
        (["3x9x9", "ReLU(), Tanh()"], "a blank and no comma stands between layers"),
        (["3x9x9", "conv:8,k=3,"], "one comma less"),
        (["3x9x9", "conv:8,k=3,5"], "k=3x5, one number an axis"),
        (["3x9x9", "conv:8,k=(3,3)"], "kernel_size is N, or HxW, at least 1"),
        (["3x9x9", "conv:8,k=3,p=1,2"], "1x2 is one number an axis; top,bottom,left,right"),
        (["3x9x9", "concat:from=input,a"], "from=first+second, no comma"),
        (["3x9x9", "conv=8,k=3"], "did you mean conv?"),
        (["3x9x9", "torch.nn.functional.relu"], "did you mean relu?"),
        (["3x9x9", "conv:8,k=3,mode=foo"], "character 17: unknown padding mode 'foo'"),
        (["3x9x9", "conv:8,k=3,padding_mode=refl"], "did you mean reflect?"),
        (["64x9x9", "Conv2D(64, 3, 2)"], "Keras' constructor"),
        (["3x9x9", "GELU(approximate='tanh')"], "approximate='none'"),
        (["10x20", "relu conv:8,k=3"], "10x20 before conv has two readings"),
    ],
)
def test_a_slip_is_said_with_what_would_be_right(words, said):
    result = run_cli("shape", *words)
    assert (result.exit_code, result.stdout, said in result.stderr) == (2, "", True), result.stderr
    assert len(result.stderr.splitlines()) == 2


def test_what_does_not_divide_is_said_with_what_does():
    result = run_cli("shape", "6x9x9", "combine:max,n=4")
    assert (result.exit_code, "n can be 1, 2, 3, 6" in result.stderr) == (5, True)


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["conv:8,k=? relu"], "conv:8,k=3"),
        (["conv:8,k=3 relu", "conv:4,k=?,p=1"], "conv:4,k=3,p=1"),
        (["resnet-stem", "conv:4,k=?,p=11"], "conv:4,k=1,p=11"),
    ],
)
def test_chains_in_quotes_and_stacks_are_asked_as_words_are(words, answer):
    """One number is the target of both axes, as it is a kernel's size."""
    report = run_cli("shape", "3x32x32", *words, "--target", "30", "--json").ok().json
    assert [each["text"] for each in report["answers"]] == [answer]
