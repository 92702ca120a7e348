"""dask arrays: the result is lazy, with the values of the whole at any chunking, stride, padding and border."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import convcli
from convcli.errors import GeometryError, UsageError

da = pytest.importorskip("dask.array", reason="dask is not installed")

#: Border words and NumPy's modes of padding, which know nothing of ours.
MODES = {"zeros": "constant", "replicate": "edge", "reflect": "reflect", "symmetric": "symmetric", "circular": "wrap"}
TORCH = {1: torch.nn.functional.conv1d, 2: torch.nn.functional.conv2d, 3: torch.nn.functional.conv3d}


def assert_whole(lazy, image, weight, bias, stride, dilation, groups, pads, mode):
    """Hold a dask array against torch on the whole picture, padded by NumPy: equal to the bit for whole numbers."""
    padded = np.pad(image, [(0, 0), (0, 0), *pads], mode=MODES[mode])
    tensors = (torch.from_numpy(np.ascontiguousarray(each)) for each in (padded, weight, bias))
    expected = TORCH[image.ndim - 2](*tensors, stride=stride, dilation=dilation, groups=groups).numpy()
    assert isinstance(lazy, da.Array)
    assert (lazy.shape, lazy.dtype) == (expected.shape, expected.dtype)
    np.testing.assert_array_equal(lazy.compute(scheduler="synchronous"), expected)


@st.composite
def chunkings(draw, size):
    cuts = sorted(draw(st.sets(st.integers(1, size - 1), max_size=3))) if size > 1 else []
    return tuple(np.diff([0, *cuts, size]).tolist())


@settings(max_examples=60, deadline=None)
@given(data=st.data(), n_axes=st.sampled_from([1, 2, 2, 2, 3]), mode=st.sampled_from(sorted(MODES)))
def test_every_chunking_has_the_values_of_the_whole(data, n_axes, mode):
    def each(low, high):
        return tuple(data.draw(st.lists(st.integers(low, high), min_size=n_axes, max_size=n_axes)))

    kernel, stride, dilation, groups = each(1, 4), each(1, 3), each(1, 2), data.draw(st.sampled_from([1, 2]))
    pads = list(zip(each(0, 6), each(0, 6), strict=True))
    sizes = each(1, 12)
    for axis, (size, taps, gap, pair) in enumerate(zip(sizes, kernel, dilation, pads, strict=True)):
        if size + sum(pair) < (taps - 1) * gap + 1:  # the window would not fit
            pads[axis] = (gap * (taps - 1), pair[1])
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    image = rng.integers(-99, 100, (2, 4, *sizes)).astype(np.float32)
    weight, bias = rng.integers(-9, 10, (2, 4 // groups, *kernel)).astype(np.float32), np.float32([3, -5])
    chunks = tuple(data.draw(chunkings(size)) for size in image.shape)
    run = {1: convcli.conv1d, 2: convcli.conv2d, 3: convcli.conv3d}[n_axes]
    lazy = run(da.from_array(image, chunks), weight, bias, stride, pads, dilation, groups, padding_mode=mode)
    assert_whole(lazy, image, weight, bias, stride, dilation, groups, pads, mode)


def test_a_picture_without_a_batch_and_bytes_with_a_constant_border():
    image = np.arange(120, dtype=np.uint8).reshape(1, 10, 12)
    weight = np.ones((1, 1, 3, 3))
    lazy = convcli.conv2d(da.from_array(image, (1, 4, 5)), weight, padding="same", padding_mode="constant:0.5")
    whole = np.pad(image.astype(float), [(0, 0), (1, 1), (1, 1)], constant_values=0.5)
    expected = torch.nn.functional.conv2d(torch.from_numpy(whole), torch.from_numpy(weight)).numpy()
    assert lazy.dtype == np.float64
    np.testing.assert_array_equal(lazy.compute(), expected)


def test_only_the_window_of_a_tile_is_read():
    read = []

    def block(block_info=None):
        read.append(block_info[None]["chunk-location"])
        return np.ones((1, 100, 100), np.float32)

    image = da.map_blocks(block, chunks=((1,), (100,) * 14, (100,) * 14), dtype=np.float32)
    read.clear()
    maps = convcli.conv2d(image, np.ones((1, 1, 7, 7), np.float32), stride=2, padding=3)
    assert not read
    assert maps[0, 320, 320].compute() == 49
    # Its tile are the outputs 300 to 349, which read the samples 597 to 701.
    assert set(read) == {(0, row, column) for row in (5, 6, 7) for column in (5, 6, 7)}


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda x: convcli.conv2d(x, np.ones((1, 2, 3, 3))), GeometryError),
        (lambda x: convcli.conv2d(x, np.ones((1, 3, 9, 9))), GeometryError),
        (lambda x: convcli.conv2d(x, np.ones((1, 3, 3, 3)), np.ones(3)), GeometryError),
        (lambda x: convcli.conv2d(x, np.ones((1, 3, 3, 3)), engine="direkt"), UsageError),
        (lambda x: convcli.conv2d(x[x > 0], np.ones((1, 3, 3, 3))), UsageError),
        (lambda x: convcli.conv_transpose2d(x, np.ones((3, 1, 3, 3))), UsageError),
        (lambda x: convcli.conv2d(x.astype("complex64"), np.ones((1, 3, 3, 3))), UsageError),
    ],
)
def test_mistakes_are_refused_before_anything_is_computed(call, error):
    with pytest.raises(error):
        call(da.zeros((3, 8, 8), chunks=(3, 4, 4)))


def test_arrays_do_not_load_dask():
    code = "import sys, numpy, convcli; convcli.conv2d(numpy.ones((1, 3, 3)), numpy.ones((1, 1, 3, 3)))"
    subprocess.run([sys.executable, "-c", f"{code}; assert 'dask' not in sys.modules"], check=True)
