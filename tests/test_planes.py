"""Planes picked, scaled and premultiplied by bands: against whole arrays in float64, and never at the image's cost."""

from __future__ import annotations

import numpy as np
import pytest

from convcli.images.planes import PlaneSelection, PlaneView, select_planes, view_planes

RGBA = ("r", "g", "b", "a")


class Rows:
    """What is asked for rows instead of being an array."""

    def __init__(self, planes: np.ndarray) -> None:
        self.planes, self.shape, self.dtype = planes, planes.shape, planes.dtype

    def rows(self, top: int, bottom: int) -> np.ndarray:
        return self.planes[:, top:bottom]


def picture(dtype: str) -> np.ndarray:
    """Return (4, H, W) planes of interleaved memory."""
    samples = np.random.default_rng(0).integers(0, 256, (9, 7, 4))
    return samples.astype(dtype).transpose(2, 0, 1)


@pytest.mark.parametrize("channels", ["r,g,b", "g", "b,g,r", "r,b", "a,r", "r,g,b,a"])
@pytest.mark.parametrize("lent", [False, True])
def test_planes_are_those_named(channels, lent):
    planes = picture("uint8")
    names = tuple(channels.split(","))
    view = PlaneView(Rows(planes) if lent else planes, select_planes(RGBA, names, alpha=True), white=255)
    expected = np.stack([planes[RGBA.index(name), 2:5] for name in names])
    np.testing.assert_array_equal(view.rows(2, 5), expected)
    assert view.dtype == np.uint8


@pytest.mark.parametrize("channels", ["r,g,b", "g,b", "b", "r,b"])
def test_neighbouring_planes_are_not_copied(channels):
    planes = picture("uint8")
    view = view_planes(Rows(planes), select_planes(RGBA, tuple(channels.split(",")), alpha=True), white=255)
    assert np.may_share_memory(view.rows(0, 4), planes)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64"])
@pytest.mark.parametrize(("premultiply", "luma"), [(None, False), (3, False), (None, True)])
@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("planar", [False, True])
def test_what_is_computed_equals_float64_and_leaves_the_image_alone(dtype, premultiply, scaled, luma, planar):
    planes = np.ascontiguousarray(picture(dtype)) if planar else picture(dtype)
    before = planes.copy()
    n = 1 if luma else 3
    options = {"unit": True, "mean": (0.5, 0.4, 0.3)[:n], "std": (0.2, 0.3, 0.5)[:n]} if scaled else {}
    selection = PlaneSelection(names=("luma",) if luma else ("r", "g", "b"), indexes=(0, 1, 2), luma=luma)
    view = PlaneView(planes, selection, white=255, premultiply=premultiply, **options)
    expected = planes[:3].astype(np.float64)
    if luma:
        expected = np.tensordot([0.299, 0.587, 0.114], expected, 1)[None]
    if premultiply is not None:
        expected = expected * planes[3] / 255
    if scaled:
        mean, std = (np.array(options[name])[:, None, None] for name in ("mean", "std"))
        expected = (expected / 255 - mean) / std
    np.testing.assert_allclose(view.rows(0, 9), expected, rtol=2e-6, atol=2e-5)  # contiguous where planes are
    actual = np.concatenate([view.rows(top, min(top + 4, 9)) for top in range(0, 9, 4)], axis=1)
    np.testing.assert_allclose(actual, expected, rtol=2e-6, atol=2e-5)
    np.testing.assert_array_equal(planes, before)
