"""Pooling, unfold and channel_shuffle against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import assert_close

from convcli import engine
from convcli.errors import GeometryError, UsageError

F = torch.nn.functional


@st.composite
def pools(draw: st.DrawFn, n_axes: int, *, dilated: bool) -> tuple:
    """Draw a pooling that torch takes: one window fits, padding is at most half of it."""
    kernel = tuple(draw(st.integers(1, 4)) for _ in range(n_axes))
    dilation = tuple(draw(st.integers(1, 2)) if dilated else 1 for _ in range(n_axes))
    window = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    axes = tuple(
        # torch's avg_pool3d refuses an input smaller than the kernel, padded or not; the others do not.
        draw(st.integers(w if n_axes == 3 else max(w - 2 * p, 1), 9))
        for w, p in zip(window, padding, strict=True)
    )
    stride = tuple(draw(st.integers(1, 4)) for _ in range(n_axes))
    batch = draw(st.sampled_from([(), (1,), (2,)]))
    image = np.random.default_rng(draw(st.integers(0, 999))).standard_normal((*batch, 2, *axes))
    return image, kernel, draw(st.sampled_from([stride, None])), padding, dilation, draw(st.booleans())


@pytest.mark.parametrize("n_axes", [1, 2, 3])
def test_max_pool_equals_torch(n_axes):
    ours, theirs = getattr(engine, f"max_pool{n_axes}d"), getattr(F, f"max_pool{n_axes}d")

    @given(case=pools(n_axes, dilated=True))
    @settings(max_examples=60)
    def check(case):
        image, *rest = case
        np.testing.assert_array_equal(ours(image, *rest), theirs(torch.from_numpy(image), *rest).numpy())

    check()


@pytest.mark.parametrize("n_axes", [1, 2, 3])
def test_avg_pool_equals_torch(n_axes):
    ours, theirs = getattr(engine, f"avg_pool{n_axes}d"), getattr(F, f"avg_pool{n_axes}d")

    @given(case=pools(n_axes, dilated=False), include=st.booleans(), divisor=st.sampled_from([None, 3]))
    @settings(max_examples=60)
    def check(case, include, divisor):
        image, kernel, stride, padding, _, ceil_mode = case
        rest = [kernel, stride, padding, ceil_mode, include, *([divisor] if n_axes > 1 else [])]
        assert_close(ours(image, *rest), theirs(torch.from_numpy(image), *rest).numpy(), rtol=1e-12, scale=1.0)

    check()


def test_pooling_keeps_or_states_its_type():
    image = np.arange(16, dtype=np.uint8).reshape(1, 4, 4)
    assert engine.max_pool2d(image, 2).dtype == np.uint8
    assert engine.avg_pool2d(image, 2).dtype == np.float64
    assert engine.avg_pool2d(image.astype(np.float32), 2).dtype == np.float32
    assert engine.max_pool2d(-image.astype(np.int32), 3, padding=1).max() == 0


def test_not_a_number_stays_visible():
    image = np.zeros((1, 1, 4))
    image[0, 0, 1] = np.nan
    assert np.isnan(engine.max_pool2d(image, (1, 2))[0, 0]).tolist() == [True, False]


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (engine.max_pool2d, {"input": np.ones((1, 2, 2)), "kernel_size": 3}),
        (engine.max_pool2d, {"input": np.ones((1, 4, 4)), "kernel_size": 2, "padding": 2}),
        (engine.max_pool2d, {"input": np.ones((4, 4)), "kernel_size": 2}),
        (engine.avg_pool2d, {"input": np.ones((1, 4, 4)), "kernel_size": 2, "stride": 0}),
        (engine.avg_pool2d, {"input": np.ones((1, 4, 4)), "kernel_size": 2, "divisor_override": 0}),
        (engine.unfold, {"input": np.ones((1, 2, 2)), "kernel_size": 3}),
        (engine.channel_shuffle, {"input": np.ones((1, 5, 2, 2)), "groups": 2}),
    ],
)
def test_what_torch_refuses_is_refused(function, arguments):
    with pytest.raises(GeometryError):
        function(**arguments)
    theirs = getattr(F, function.__name__)
    with pytest.raises((RuntimeError, ValueError)):
        theirs(**{k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in arguments.items()})


@pytest.mark.parametrize("batch", [(), (2,)])
@pytest.mark.parametrize(("kernel", "dilation", "padding", "stride"), [(2, 1, 0, 1), ((3, 2), (1, 2), (1, 2), (2, 3))])
def test_unfold_equals_torch(batch, kernel, dilation, padding, stride):
    image = np.random.default_rng(0).standard_normal((*batch, 3, 8, 7))
    expected = F.unfold(torch.from_numpy(image), kernel, dilation, padding, stride).numpy()
    np.testing.assert_array_equal(engine.unfold(image, kernel, dilation, padding, stride), expected)


def test_channel_shuffle_equals_torch():
    image = np.random.default_rng(0).standard_normal((2, 12, 3, 4))
    for groups in (1, 2, 3, 12):
        expected = F.channel_shuffle(torch.from_numpy(image), groups).numpy()
        np.testing.assert_array_equal(engine.channel_shuffle(image, groups), expected)


def test_the_padding_of_a_pooling_may_differ_from_side_to_side():
    image = np.random.default_rng(3).standard_normal((2, 7, 9))
    pads = ((1, 0), (0, 1))
    outside = np.pad(image, [(0, 0), *pads], constant_values=-np.inf)
    np.testing.assert_array_equal(engine.max_pool2d(image, 3, 2, pads), engine.max_pool2d(outside, 3, 2))
    zeros = np.pad(image, [(0, 0), *pads])
    assert_close(engine.avg_pool2d(image, 3, 2, pads), engine.avg_pool2d(zeros, 3, 2), rtol=1e-12, scale=1.0)
    ones = engine.avg_pool2d(np.ones((1, 7, 9)), 3, 2, pads, count_include_pad=False)
    np.testing.assert_array_equal(ones, np.ones_like(ones))
    for wrong in (((2, 0), (0, 0)), ((0, 0), (0, 2))):
        with pytest.raises(GeometryError, match="more than half"):
            engine.max_pool2d(image, 3, 2, wrong)
    with pytest.raises(UsageError, match="same"):
        engine.max_pool2d(image, 3, 2, "same")
