"""Groups, names and alpha: how a bank meets the planes of an image."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from convcli import KernelBank
from convcli.errors import GeometryError, UsageError
from convcli.images.planes import select_planes, view_planes
from convcli.pipeline.request import ApplyRequest
from convcli.pipeline.transforms.binding import BoundBank, Combination, bind_bank

RGB = ("r", "g", "b")


def _bank(n_out: int, n_in: int, **fields: object) -> KernelBank:
    taps = np.arange(1.0, n_out * n_in * 9 + 1).reshape(n_out, n_in, 3, 3)
    return KernelBank(name="t", weight=taps, kernel_names=tuple(f"k{i}" for i in range(n_out)), **fields)


def bind(bank: KernelBank, planes: tuple[str, ...], **flags: Any) -> BoundBank:
    return bind_bank(bank, planes, ApplyRequest(**flags))


def test_auto_runs_single_channel_kernels_on_every_plane_channel_major() -> None:
    bound = bind(_bank(2, 1), RGB)
    assert bound.weight.shape == (6, 1, 3, 3)
    assert bound.groups == 3
    assert [named.label for named in bound.maps] == ["k0-r", "k1-r", "k0-g", "k1-g", "k0-b", "k1-b"]
    np.testing.assert_array_equal(bound.weight[2], bound.weight[0])


def test_groups_1_adds_over_the_planes() -> None:
    bound = bind(_bank(2, 1), RGB, groups=1)
    assert bound.weight.shape == (2, 3, 3, 3)
    assert [named.label for named in bound.maps] == ["k0-rgb", "k1-rgb"]
    np.testing.assert_array_equal(bound.weight[0, 0], bound.weight[0, 2])


def test_dense_kernels_run_in_the_groups_they_imply() -> None:
    assert bind(_bank(4, 3), RGB).groups == 1
    bound = bind(_bank(4, 2), ("r", "g", "b", "a"))
    assert bound.groups == 2
    assert [named.label for named in bound.maps] == ["k0", "k1", "k2", "k3"]


@pytest.mark.parametrize(("n_in", "groups", "hint"), [(1, 2, "1, 3"), (2, None, "--channels"), (3, 3, "--groups 1")])
def test_what_does_not_divide_lists_what_would(n_in: int, groups: int | None, hint: str) -> None:
    with pytest.raises(GeometryError) as caught:
        bind(_bank(4, n_in), RGB, groups=groups)
    assert hint in str(caught.value.hint)


def test_bias_is_one_value_or_one_per_kernel() -> None:
    assert bind(_bank(2, 1), RGB, bias=(5.0,)).bias.tolist() == [5.0] * 6
    assert bind(_bank(2, 1), RGB, bias=(1.0, 2.0)).bias.tolist() == [1.0, 2.0] * 3
    assert bind(_bank(2, 1, bias=(1.0, 2.0)), RGB).bias.tolist() == [1.0, 2.0] * 3
    with pytest.raises(UsageError, match="3 values for 2 kernels"):
        bind(_bank(2, 1), RGB, bias=(1.0, 2.0, 3.0))


def test_transposed_depthwise_weights_are_in_by_out() -> None:
    bound = bind(_bank(2, 1), RGB, transposed=True)
    assert bound.weight.shape == (3, 2, 3, 3)
    assert bound.groups == 3
    assert len(bound.maps) == 6


@pytest.mark.parametrize(
    ("how", "expected"), [("max", 4), ("min", -3), ("sum", 1), ("mean", 0.5), ("magnitude", 5), ("argmax", 1)]
)
def test_combinations_of_two_maps(how: str, expected: float) -> None:
    maps = np.array([-3.0, 4.0], np.float32).reshape(2, 1, 1)
    assert Combination(2, how).apply(maps.copy()).tolist() == [[[expected]]]


def test_a_bank_reduction_comes_first_and_names_the_maps() -> None:
    bank = _bank(4, 1, reduction=(("a", (0, 1)), ("b", (2, 3))), reduction_op="absmax")
    bound = bind(bank, ("r", "g"))
    assert [named.label for named in bound.combined_maps] == ["a-r", "b-r", "a-g", "b-g"]
    maps = np.array([1, -2, 3, 1, -9, 0, 0, 4], np.float32).reshape(8, 1, 1)
    assert bound.combination.apply(maps).ravel().tolist() == [2, 3, 9, 4]


def test_planes_are_picked_by_name() -> None:
    assert select_planes(("r", "g", "b", "a"), None, alpha=True).names == ("r", "g", "b", "a")
    assert select_planes(("r", "g", "b"), ("b", "r"), alpha=False).indexes == (2, 0)
    assert select_planes(("l",), ("luma",), alpha=False).names == ("l",)
    with pytest.raises(UsageError, match="no plane 'x'"):
        select_planes(("r", "g", "b"), ("x",), alpha=False)


def test_a_plain_selection_is_a_view_and_a_computed_one_is_right(rng: np.random.Generator) -> None:
    samples = rng.integers(0, 256, (5, 4, 4), dtype=np.uint8).transpose(2, 0, 1)
    everything = select_planes(("r", "g", "b", "a"), None, alpha=False)
    view = view_planes(samples, everything, white=255)
    assert isinstance(view, np.ndarray)
    assert np.shares_memory(view, samples)
    luma = view_planes(samples, select_planes(("r", "g", "b", "a"), ("luma",), alpha=False), white=255)
    expected = 0.299 * samples[0, 1:3] + 0.587 * samples[1, 1:3] + 0.114 * samples[2, 1:3]
    np.testing.assert_allclose(luma.rows(1, 3)[0], expected, rtol=1e-6)
    unit = view_planes(samples, everything, white=255, unit=True, mean=(0.5,), std=(0.25,))
    np.testing.assert_allclose(unit.rows(0, 5), (samples[:3] / 255 - 0.5) / 0.25, rtol=1e-5, atol=1e-6)
    premultiplied = view_planes(samples, everything, white=255, premultiply=3)
    np.testing.assert_allclose(premultiplied.rows(0, 5), samples[:3] * (samples[3] / 255.0), rtol=1e-5)


@pytest.mark.parametrize(
    ("n_out", "n_in", "groups", "transposed"), [(6, 1, 3, False), (3, 1, 3, True), (4, 3, 1, False)]
)
def test_an_explicit_number_of_groups_is_torchs(n_out: int, n_in: int, groups: int, transposed: bool) -> None:
    bound = bind(_bank(n_out, n_in), RGB, groups=groups, transposed=transposed)
    assert bound.groups == groups
    assert len(bound.maps) == (n_in * groups if transposed else n_out)
    np.testing.assert_array_equal(bound.weight, _bank(n_out, n_in).weight)


def test_only_auto_repeats_kernels() -> None:
    with pytest.raises(GeometryError) as caught:
        bind(_bank(2, 1), RGB, groups=3)
    assert caught.value.hint == "--groups auto gives 6 maps: each of 2 kernels on each of 3 planes"
