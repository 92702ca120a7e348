"""Convolutions over one and three axes, and transposed ones, against loops, torch, and their adjoint."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from oracles import assert_close
from strategies import convolutions

from convcli import engine
from convcli.errors import GeometryError, UsageError

CONV = {1: engine.conv1d, 2: engine.conv2d, 3: engine.conv3d}
COMPILED = ("direct",) if engine.native.core else ()
TRANSPOSED = {1: engine.conv_transpose1d, 2: engine.conv_transpose2d, 3: engine.conv_transpose3d}
TORCH_TRANSPOSED = {
    1: torch.nn.functional.conv_transpose1d,
    2: torch.nn.functional.conv_transpose2d,
    3: torch.nn.functional.conv_transpose3d,
}
TORCH_CONV = {1: torch.nn.functional.conv1d, 3: torch.nn.functional.conv3d}


def tensors(*arrays):
    return [None if array is None else torch.from_numpy(array) for array in arrays]


def check_loops(case):
    image, weight, bias = case.arrays()
    expected = case.expected(image, weight, bias)
    n_axes = len(case.axes)
    for name in ("reference", *COMPILED, "fft", "auto"):
        actual = CONV[n_axes](
            image,
            weight,
            bias,
            case.stride,
            case.padding,
            case.dilation,
            case.groups,
            padding_mode=case.border,
            engine=name,
        )
        assert_close(actual, expected, rtol=1e-11, scale=float(np.abs(expected).max()) + 1)


@given(case=convolutions(n_axes=1, largest=30))
@settings(max_examples=50)
def test_one_axis_equals_the_loops(case):
    check_loops(case)


@given(case=convolutions(n_axes=3, largest=4))
@settings(max_examples=30)
def test_three_axes_equal_the_loops(case):
    check_loops(case)


@pytest.mark.parametrize("n_axes", [1, 3])
@given(data=convolutions(n_axes=1, borders=("zeros",), symmetric=True))
@settings(max_examples=30)
def test_other_axes_equal_torch(n_axes, data):
    image, weight, bias = data.arrays()
    stride, padding, dilation = data.stride * n_axes, (data.padding[0][0],) * n_axes, data.dilation * n_axes
    for _ in range(n_axes - 1):
        image = image[..., None] * np.linspace(1, 2, image.shape[2])
        weight = weight[..., None] * np.linspace(-1, 2, weight.shape[2])
    expected = TORCH_CONV[n_axes](*tensors(image, weight, bias), stride, padding, dilation, data.groups).numpy()
    actual = CONV[n_axes](image, weight, bias, stride, padding, dilation, data.groups)
    assert_close(actual, expected, rtol=1e-11, scale=float(np.abs(expected).max()) + 1)


@pytest.mark.parametrize("n_axes", [1, 2, 3])
def test_transposed_equals_stamping(n_axes):
    @given(case=convolutions(n_axes=n_axes, transposed=True, largest={1: 12, 2: 6, 3: 3}[n_axes]))
    @settings(max_examples=20)
    def check(case):
        image, weight, bias = case.arrays()
        expected = case.expected(image, weight, bias)
        for name in ("reference", "auto") if n_axes == 3 else ("reference", "im2col", "gemm", *COMPILED, "fft", "auto"):
            actual = TRANSPOSED[n_axes](
                image,
                weight,
                bias,
                case.stride,
                case.padding,
                case.output_padding,
                case.groups,
                case.dilation,
                engine=name,
            )
            assert_close(actual, expected, rtol=1e-11, scale=float(np.abs(expected).max()) + 1)

    check()


@pytest.mark.parametrize("n_axes", [1, 2, 3])
def test_transposed_equals_torch(n_axes):
    @given(case=convolutions(n_axes=n_axes, transposed=True, symmetric=True, largest=6))
    @settings(max_examples=25)
    def check(case):
        image, weight, bias = case.arrays()
        padding = tuple(before for before, _ in case.padding)
        rest = (case.stride, padding, case.output_padding, case.groups, case.dilation)
        expected = TORCH_TRANSPOSED[n_axes](*tensors(image, weight, bias), *rest).numpy()
        actual = TRANSPOSED[n_axes](image, weight, bias, *rest)
        assert_close(actual, expected, rtol=1e-11, scale=float(np.abs(expected).max()) + 1)

    check()


@pytest.mark.parametrize("n_axes", [1, 2, 3])
@pytest.mark.parametrize("name", ["reference", "im2col", "gemm", *COMPILED, "fft", "torch", "auto"])
def test_outputs_that_no_tap_of_a_transposed_convolution_meets_keep_their_bias_beside_infinity(n_axes, name):
    """Stride 3 with one tap, or with gaps of 3, leaves outputs between the stamps."""
    image, weight = np.ones((2, *(3,) * n_axes)), np.ones((2, 1, *(1,) * (n_axes - 1), 2))
    image[0].flat[0], image[1].flat[-1] = np.inf, np.nan
    for dilation in (1, 3):
        rest = (np.array([0.5]), 3, 0, 2, 1, dilation)
        expected = TORCH_TRANSPOSED[n_axes](*tensors(image, weight), torch.tensor(rest[0]), *rest[1:]).numpy()
        np.testing.assert_allclose(TRANSPOSED[n_axes](image, weight, *rest, engine=name), expected, rtol=1e-12)


@given(case=convolutions(borders=("zeros",), largest=14))
@settings(max_examples=60)
def test_transposed_is_the_adjoint(case):
    """⟨conv(x), z⟩ = ⟨x, convT(z)⟩: the same weight array serves both, as in torch."""
    image, weight, _ = case.arrays()
    maps = engine.conv2d(image, weight, None, case.stride, case.padding, case.dilation, case.groups)
    random = np.random.default_rng(case.seed + 1)
    other = random.standard_normal(maps.shape)
    # What the last window did not reach comes back through output padding.
    reached = [
        (out - 1) * s + d * (k - 1) + 1 - sum(p)
        for out, s, d, k, p in zip(maps.shape[2:], case.stride, case.dilation, case.kernel, case.padding, strict=True)
    ]
    extra = tuple(n - r for n, r in zip(case.axes, reached, strict=True))
    back = engine.conv_transpose2d(other, weight, None, case.stride, case.padding, extra, case.groups, case.dilation)
    assert back.shape == image.shape
    left, right = float((maps * other).sum()), float((image * back).sum())
    assert abs(left - right) <= 1e-9 * (1 + float(np.abs(maps * other).sum()))


def test_same_of_a_transposed_convolution_multiplies_the_size():
    image, weight = np.ones((1, 5, 7)), np.ones((1, 1, 3, 3))
    assert engine.conv_transpose2d(image, weight, stride=2, padding="same", output_padding=1).shape == (1, 10, 14)


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (engine.conv1d, {"input": np.ones((1, 4)), "weight": np.ones((1, 1, 5))}),
        (engine.conv3d, {"input": np.ones((1, 2, 4, 4)), "weight": np.ones((1, 1, 3, 1, 1))}),
        (engine.conv_transpose2d, {"input": np.ones((1, 2, 2)), "weight": np.ones((1, 1, 1, 1)), "padding": 2}),
        (
            engine.conv_transpose2d,
            {"input": np.ones((1, 2, 2)), "weight": np.ones((1, 1, 3, 3)), "stride": 2, "output_padding": 2},
        ),
        (engine.conv_transpose2d, {"input": np.ones((2, 2, 2)), "weight": np.ones((1, 1, 3, 3))}),
        (engine.conv_transpose1d, {"input": np.ones((3, 2)), "weight": np.ones((3, 1, 3)), "groups": 2}),
    ],
)
def test_what_torch_refuses_is_refused(function, arguments):
    with pytest.raises(GeometryError):
        function(**arguments)
    torch_function = getattr(torch.nn.functional, function.__name__)
    with pytest.raises((RuntimeError, ValueError)):
        torch_function(**{k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in arguments.items()})


def test_memory_too_small_for_one_row_is_refused():
    with pytest.raises(UsageError, match="memory"):
        engine.conv2d(np.ones((1, 64, 64)), np.ones((1, 1, 3, 3)), memory=100)
