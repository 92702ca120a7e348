"""Missing samples: the rule written out in loops, SciPy's ratio of two convolutions, and values known by thought."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from convcli.engine import parse_border, plan_conv, prepare
from convcli.engine.masked import MaskedRunner

MODES = ["zeros", "replicate", "reflect", "symmetric", "circular", "constant:7"]


def run(planes: np.ndarray, weight: np.ndarray, border: str = "replicate", **options) -> np.ndarray:
    plan = plan_conv(planes.shape, weight, input_dtype="float32", border=parse_border(border), **options)
    return MaskedRunner(plan, weight).run(planes)


def by_loops(planes, weight, stride, dilation, pad, border):
    """Every window on its own: a missing sample is the mean of the others, weighted by the absolute taps."""
    mode = {"zeros": "constant", "replicate": "edge", "circular": "wrap"}.get(border, border.partition(":")[0])
    value = {"constant_values": 7.0 if border == "constant:7" else 0.0} if mode == "constant" else {}
    padded = np.stack([np.pad(plane.astype(float), pad, mode=mode, **value) for plane in planes])
    n_out, per_group, kh, kw = weight.shape
    groups = len(planes) // per_group
    height = (padded.shape[1] - (kh - 1) * dilation - 1) // stride + 1
    width = (padded.shape[2] - (kw - 1) * dilation - 1) // stride + 1
    out = np.full((n_out, height, width), np.nan)
    for o in range(n_out):
        first = o // (n_out // groups) * per_group
        for y in range(height):
            for x in range(width):
                rows = slice(y * stride, y * stride + (kh - 1) * dilation + 1, dilation)
                columns = slice(x * stride, x * stride + (kw - 1) * dilation + 1, dilation)
                patch, taps = padded[first : first + per_group, rows, columns], weight[o]
                there = ~np.isnan(patch) & (taps != 0)
                if not there.any():
                    continue
                mean = (np.abs(taps) * np.nan_to_num(patch))[there].sum() / np.abs(taps)[there].sum()
                out[o, y, x] = (taps * np.where(np.isnan(patch), mean, patch)).sum()
    return out


@given(st.data())
def test_every_window_follows_the_rule(data):
    seed = data.draw(st.integers(0, 10**6))
    rng = np.random.default_rng(seed)
    kernel = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    groups, per_group = data.draw(st.sampled_from([(1, 1), (3, 1), (1, 2)]))
    stride, dilation, pad = (data.draw(st.integers(low, 2)) for low in (1, 1, 0))
    border = data.draw(st.sampled_from(MODES))
    planes = rng.integers(0, 256, (groups * per_group, 9, 8)).astype(np.float32)
    planes[rng.random(planes.shape) < data.draw(st.sampled_from([0, 0.1, 0.6]))] = np.nan
    weight = rng.integers(-3, 4, (2 * groups, per_group, *kernel)).astype(float)
    pads = ((pad, pad), (pad, pad))
    options = {"stride": (stride,) * 2, "dilation": (dilation,) * 2, "padding": pads, "groups": groups}
    out = run(planes, weight, border, **options)
    if not weight.reshape(len(weight), -1).any(axis=1).all():
        return  # a kernel of zeros has no window with samples
    np.testing.assert_allclose(out, by_loops(planes, weight, stride, dilation, pads, border), rtol=1e-4, atol=1e-2)


def test_taps_of_one_sign_are_the_ratio_of_two_convolutions():
    rng = np.random.default_rng(1)
    image, kernel = rng.normal(size=(40, 50)).astype(np.float32), rng.random((5, 5))
    mask = rng.random(image.shape) > 0.3
    gaps = np.where(mask, image, np.nan)[None]
    pads = ((2, 2), (2, 2))
    out = run(gaps, kernel[None, None], padding=pads)[0]
    above = ndimage.correlate(np.where(mask, image, 0).astype(float), kernel, mode="nearest")
    below = ndimage.correlate(mask.astype(float), kernel, mode="nearest")
    np.testing.assert_allclose(out, above / below * kernel.sum(), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.9])
def test_a_constant_image_has_no_edges_whatever_is_missing(share):
    planes = np.full((1, 30, 30), 100, np.float32)
    planes[0][np.random.default_rng(2).random((30, 30)) < share] = np.nan
    sobel = np.array([[[[1, 0, -1], [2, 0, -2], [1, 0, -1]]]], float)
    out = run(planes, sobel, padding=((1, 1), (1, 1)))
    np.testing.assert_allclose(out[~np.isnan(out)], 0, atol=1e-3)


def test_a_gap_spreads_no_further_than_windows_without_samples():
    planes = np.ones((1, 11, 11), np.float32)
    planes[0, 3:8, 3:8] = np.nan
    box = np.ones((1, 1, 3, 3)) / 9
    out = run(planes, box, padding=((1, 1), (1, 1)))[0]
    assert np.isnan(out).sum() == 9
    assert np.isnan(out[4:7, 4:7]).all()
    np.testing.assert_allclose(out[~np.isnan(out)], 1, rtol=1e-6)


def test_without_gaps_every_bit_stays():
    planes = np.random.default_rng(3).normal(size=(3, 20, 20)).astype(np.float32)
    weight = np.random.default_rng(4).normal(size=(3, 1, 5, 5))
    options = {"padding": ((2, 2), (2, 2)), "groups": 3}
    plain = plan_conv(
        input_shape=planes.shape, weight=weight, input_dtype="float32", border=parse_border("reflect"), **options
    )
    np.testing.assert_array_equal(run(planes, weight, "reflect", **options), prepare(plain, weight).run(planes))
