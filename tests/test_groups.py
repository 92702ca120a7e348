"""An explicit number of groups is torch's, for every shape of weights."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from torch.nn import functional as F  # noqa: N812

from convcli.banks.groups import check_weight_groups
from convcli.errors import GeometryError, KernelError
from convcli.layers.dump import dump_stack
from convcli.layers.run import run_stack
from convcli.layers.stack import parse_stack


@pytest.mark.parametrize("transposed", [False, True])
def test_what_torch_takes_is_taken_and_nothing_else(transposed):
    run = F.conv_transpose2d if transposed else F.conv2d
    for first, second, planes, groups in itertools.product((1, 2, 3, 4, 6), (1, 2, 3), (1, 2, 3, 4, 6), (1, 2, 3, 4)):
        try:
            run(torch.ones(1, planes, 3, 3), torch.ones(first, second, 1, 1), groups=groups)
        except RuntimeError:
            fits = groups == 1 and second == 1  # one kernel for all planes: repeated, responses added
        else:
            fits = True
        if fits:
            check_weight_groups((first, second, 1, 1), planes, groups, transposed=transposed)
        else:
            with pytest.raises(GeometryError):
                check_weight_groups((first, second, 1, 1), planes, groups, transposed=transposed)


@pytest.mark.parametrize(
    ("shape", "planes", "groups", "transposed", "hint"),
    [
        ((2, 1, 3, 3), 3, 3, False, "--groups auto gives 6 maps: each of 2 kernels on each of 3 planes"),
        ((2, 1, 3, 3), 3, 2, False, "groups that do: 1, 3; --groups auto gives 6 maps"),
        ((8, 3, 3, 3), 6, 1, False, "--groups auto gives 8 maps: --groups 2"),
        ((8, 5, 3, 3), 3, 1, False, "--channels picks planes: 5"),
        ((3, 2, 3, 3), 4, 1, True, "--channels picks planes: 3"),
    ],
)
def test_the_error_says_what_auto_would_do(shape, planes, groups, transposed, hint):
    with pytest.raises(GeometryError) as caught:
        check_weight_groups(shape, planes, groups, transposed=transposed)
    assert caught.value.hint.startswith(hint)
    assert caught.value.facts == {"in_channels": planes, "groups": groups}


def test_a_stack_repeats_kernels_in_depthwise_layers_only():
    planes = np.random.default_rng(0).standard_normal((3, 9, 8))
    repeated = run_stack(parse_stack('layers = [{layer = "depthwise:2,k=3,bias=0", weight = "sobel"}]'), planes)
    assert repeated["output"].shape == (6, 7, 6)
    stack = parse_stack('layers = [{layer = "conv:6,k=3,g=3,bias=0", weight = "sobel"}]')
    with pytest.raises(KernelError, match="has shape 2x1x3x3, and the layer needs 6x1x3x3") as caught:
        run_stack(stack, planes)
    assert "groups=auto" in caught.value.hint
    for text in ("conv:6,k=3,g=auto,bias=0", "depthwise:2,k=3,bias=0"):
        stack = parse_stack(f'layers = [{{layer = "{text}", weight = "sobel"}}]')
        np.testing.assert_array_equal(run_stack(parse_stack(dump_stack(stack)), planes)["output"], repeated["output"])
    six = "prewitt-compass select=0,1,2,3,4,5"
    grouped = run_stack(parse_stack(f'layers = [{{layer = "conv:6,k=3,g=3,bias=0", weight = "{six}"}}]'), planes)
    from convcli import load_bank

    weight = torch.from_numpy(load_bank(six).weight.copy())
    expected = F.conv2d(torch.from_numpy(planes)[None], weight, groups=3)[0].numpy()
    np.testing.assert_allclose(grouped["output"], expected, atol=1e-12)
