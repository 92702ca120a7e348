"""Pooling, unfold and channel_shuffle against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import assert_close

from convcli import engine
from convcli.errors import ConvcliError, GeometryError, UsageError

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
        coarse = np.round(image)  # several largest samples in a window
        maxima, places = ours(coarse, *rest, return_indices=True)
        expected, indices = theirs(torch.from_numpy(coarse), *rest, return_indices=True)
        np.testing.assert_array_equal(maxima, expected.numpy())
        inside = np.isfinite(maxima)  # a dilated window may miss the input
        np.testing.assert_array_equal(places[inside], indices.numpy()[inside])

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
        (engine.fold, {"input": np.ones((4, 5)), "output_size": 3, "kernel_size": 2}),
        (engine.fold, {"input": np.ones((5, 4)), "output_size": 3, "kernel_size": 2}),
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
    for wrong in (((3, 0), (0, 0)), ((0, 0), (0, 3))):
        with pytest.raises(GeometryError, match="a whole window of 3"):
            engine.max_pool2d(image, 3, 2, wrong)


@pytest.mark.parametrize("word", ["same", "same_lower", "valid", "full"])
@pytest.mark.parametrize("dilation", [1, 2])
def test_a_word_pads_pooling_as_it_pads_convolution(word, dilation):
    image = np.random.default_rng(4).standard_normal((2, 3, 9, 8))
    kernel, stride = (3, 2), (2, 1)
    box = np.full((3, 1, *kernel), 1 / 6)
    expected = engine.conv2d(image, box, None, stride, word, dilation, 3)
    assert_close(engine.avg_pool2d(image, kernel, stride, word, dilation=dilation), expected, rtol=1e-12, scale=1.0)
    windows = engine.unfold(image, kernel, dilation, word, stride).reshape(2, 3, 6, -1)
    inside = engine.unfold(np.ones_like(image), kernel, dilation, word, stride).reshape(2, 3, 6, -1) > 0
    largest = np.where(inside, windows, -np.inf).max(axis=2).reshape(expected.shape)
    np.testing.assert_array_equal(engine.max_pool2d(image, kernel, stride, word, dilation), largest)
    counted = (windows.sum(axis=2) / inside.sum(axis=2)).reshape(expected.shape)
    means = engine.avg_pool2d(image, kernel, stride, word, count_include_pad=False, dilation=dilation)
    assert_close(means, counted, rtol=1e-12, scale=1.0)


def test_the_place_of_a_not_a_number_is_torchs():
    image = np.random.default_rng(0).standard_normal((3, 7, 8))
    image[np.random.default_rng(1).random(image.shape) < 0.2] = np.nan
    image[2] = -np.inf
    maxima, places = engine.max_pool2d(image, 3, 2, 1, return_indices=True)
    expected, indices = F.max_pool2d(torch.from_numpy(image), 3, 2, 1, return_indices=True)
    np.testing.assert_array_equal(maxima, expected.numpy())
    np.testing.assert_array_equal(places, indices.numpy())


@pytest.mark.parametrize("batch", [(), (2,)])
@pytest.mark.parametrize(("kernel", "dilation", "padding", "stride"), [(2, 1, 0, 1), ((3, 2), (1, 2), (1, 2), (2, 3))])
def test_fold_equals_torch(batch, kernel, dilation, padding, stride):
    columns = engine.unfold(np.ones((*batch, 3, 8, 7)), kernel, dilation, padding, stride)
    columns = np.random.default_rng(0).standard_normal(columns.shape)
    expected = F.fold(torch.from_numpy(columns), (8, 7), kernel, dilation, padding, stride).numpy()
    assert_close(engine.fold(columns, (8, 7), kernel, dilation, padding, stride), expected, rtol=1e-12, scale=1.0)


def test_fold_is_the_adjoint_of_unfold_with_every_padding():
    rng = np.random.default_rng(2)
    for padding in ("same", "same_lower", "full", ((2, 0), (1, 3))):
        how = {"kernel_size": (3, 2), "dilation": (2, 1), "padding": padding, "stride": (1, 2)}
        image = rng.standard_normal((2, 9, 7))
        columns = engine.unfold(image, **how)
        other = rng.standard_normal(columns.shape)
        back = engine.fold(other, (9, 7), **how)
        assert np.vdot(columns, other) == pytest.approx(np.vdot(image, back))


@pytest.mark.parametrize(
    ("name", "shape", "rest"),
    [
        *[(f"max_pool{n}d", (2, *[6] * n), (2,)) for n in (1, 2, 3)],
        *[(f"avg_pool{n}d", (2, *[6] * n), (2,)) for n in (1, 2, 3)],
        *[(f"conv{n}d", (2, *[6] * n), (np.ones((4, 2, *[3] * n)),)) for n in (1, 2, 3)],
        *[(f"conv_transpose{n}d", (2, *[6] * n), (np.ones((2, 4, *[3] * n)),)) for n in (1, 2, 3)],
        ("unfold", (2, 6, 6), (2,)),
        ("fold", (8, 25), (6, 2)),
        ("channel_shuffle", (2, 6, 6), (2,)),
    ],
)
def test_an_empty_batch_gives_an_empty_batch(name, shape, rest):
    image = np.zeros((0, *shape))
    theirs = getattr(F, name)(*(torch.from_numpy(a) if isinstance(a, np.ndarray) else a for a in (image, *rest)))
    assert getattr(engine, name)(image, *rest).shape == tuple(theirs.shape)


def test_channel_shuffle_of_one_image_shuffles_its_channels():
    image = np.random.default_rng(0).standard_normal((12, 6, 4))
    expected = F.channel_shuffle(torch.from_numpy(image[None]), 3).numpy()[0]
    np.testing.assert_array_equal(engine.channel_shuffle(image, 3), expected)
    with pytest.raises(GeometryError, match="5 groups do not divide 12 channels"):
        engine.channel_shuffle(image, 5)


IMAGE = np.ones((2, 6, 6))
HALF = (1, 2.5)
ODD = (2.0, "2", None, True, HALF, (1, 2, 3), {2}, object(), -1, ((1, 2), (3,)), b"2", np.float64(2), 10**30)
CALLS = {
    "max_pool2d": ({"kernel_size": 2}, ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")),
    "avg_pool2d": (
        {"kernel_size": 2},
        ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "count_include_pad", "divisor_override"),
    ),
    "unfold": ({"kernel_size": 2}, ("kernel_size", "stride", "padding", "dilation")),
    "fold": (
        {"input": np.ones((8, 25)), "output_size": 6, "kernel_size": 2},
        ("output_size", "kernel_size", "stride", "padding", "dilation"),
    ),
    "channel_shuffle": ({}, ("groups",)),
    "conv2d": (
        {"weight": np.ones((2, 2, 3, 3))},
        ("weight", "bias", "stride", "padding", "dilation", "groups", "padding_mode", "engine", "threads", "memory"),
    ),
    "conv_transpose2d": (
        {"weight": np.ones((2, 2, 3, 3))},
        ("weight", "bias", "stride", "padding", "dilation", "groups", "output_padding", "engine", "threads"),
    ),
}
ALLOWED = {
    **dict.fromkeys((("max_pool2d", "stride"), ("avg_pool2d", "stride")), (None,)),
    ("avg_pool2d", "divisor_override"): (None, -1),
    **dict.fromkeys((("conv2d", "bias"), ("conv_transpose2d", "bias")), (None, HALF)),
    **dict.fromkeys((("conv2d", "threads"), ("conv2d", "memory"), ("conv_transpose2d", "threads")), (None,)),
    **dict.fromkeys(
        ((f, w) for f in ("max_pool2d", "avg_pool2d") for w in ("ceil_mode", "return_indices", "count_include_pad")),
        (True,),
    ),
}


@pytest.mark.parametrize(("name", "argument"), [(name, each) for name, (_, names) in CALLS.items() for each in names])
def test_an_argument_of_another_type_is_our_error(name, argument):
    allowed = ALLOWED.get((name, argument), ())
    for odd in ODD:
        if any(odd is each for each in allowed):
            continue
        with pytest.raises(ConvcliError) as caught:
            getattr(engine, name)(**{"input": IMAGE} | CALLS[name][0] | {argument: odd})
        assert argument.split("_")[0] in str(caught.value) or argument in ("weight", "bias"), (odd, caught.value)


@pytest.mark.parametrize("image", [None, "text", [[1, 2], [3]], np.ones((2, 6, 6), complex), object(), {}])
@pytest.mark.parametrize("name", ["max_pool2d", "avg_pool2d", "conv2d"])
def test_an_input_that_is_no_array_of_numbers_is_our_error(name, image):
    with pytest.raises(ConvcliError, match="input"):
        getattr(engine, name)(image, *(([[[[1.0]]]],) if name == "conv2d" else (2,)))


def test_the_hint_names_the_whole_number():
    for call in (lambda: engine.max_pool2d(IMAGE, 2.0), lambda: engine.max_pool2d(IMAGE, 2, stride=2.0)):
        with pytest.raises(UsageError, match=r"2\.0 is not a whole number") as caught:
            call()
        assert caught.value.hint.endswith("=2")
    with pytest.raises(UsageError, match="weight is not an array"):
        engine.conv2d(torch.ones((1, 3, 3)), torch.ones((1, 1, 2, 2), requires_grad=True))
