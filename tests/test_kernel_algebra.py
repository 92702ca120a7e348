"""Modifiers: exact where they can be, said where they are not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import convolve2d

from convcli import load_bank
from convcli.banks.arithmetic import combine
from convcli.banks.bank import KernelBank, pad_to
from convcli.banks.rotation import rotate_taps

TAPS = "1 2 3; 4 5 6; 7 8 9"


def matrix(spec: str) -> list[list[float]]:
    return load_bank(spec).weight[0, 0].tolist()


def test_modifiers_move_taps_as_named() -> None:
    assert matrix(f"{TAPS} rotate=90") == [[3, 6, 9], [2, 5, 8], [1, 4, 7]]  # counter-clockwise
    assert matrix(f"{TAPS} rotate=180") == [[9, 8, 7], [6, 5, 4], [3, 2, 1]]
    assert matrix(f"{TAPS} rotate=-90") == matrix(f"{TAPS} rotate=270") == [[7, 4, 1], [8, 5, 2], [9, 6, 3]]
    assert matrix(f"{TAPS} rotate=45") == [[2, 3, 6], [1, 5, 9], [4, 7, 8]]  # along the ring
    assert matrix(f"{TAPS} flip=h") == [[3, 2, 1], [6, 5, 4], [9, 8, 7]]
    assert matrix(f"{TAPS} flip=v") == [[7, 8, 9], [4, 5, 6], [1, 2, 3]]
    assert matrix(f"{TAPS} flip=hv") == matrix(f"{TAPS} rotate=180")
    assert matrix(f"{TAPS} transpose=true") == [[1, 4, 7], [2, 5, 8], [3, 6, 9]]
    assert matrix(f"{TAPS} transpose=false") == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert matrix("1 2 3 rotate=90") == [[3], [2], [1]]
    assert matrix("1 2; 3 4 dilate=2") == [[1, 0, 2], [0, 0, 0], [3, 0, 4]]
    assert matrix("1 2; 3 4 dilate=1x3") == [[1, 0, 0, 2], [3, 0, 0, 4]]
    assert matrix("[5] pad=0x1") == [[0, 5, 0]]
    assert matrix(f"{TAPS} crop=1x0") == [[4, 5, 6]]
    assert matrix(f"{TAPS} blend_identity=-5")[1][1] == 0
    assert matrix("1 3 scale=1/2") == [[0.5, 1.5]]


def test_modifiers_apply_in_the_order_written() -> None:
    assert matrix("1 3 normalize=sum scale=8") == [[2, 6]]
    assert matrix("1 3 scale=8 normalize=sum") == [[0.25, 0.75]]


def test_normalize() -> None:
    assert np.abs(load_bank("sobel normalize=l1").weight).sum(axis=(1, 2, 3)).tolist() == [1, 1]
    assert (load_bank("kirsch normalize=l2").weight ** 2).sum(axis=(1, 2, 3)) == pytest.approx(np.ones(8))
    assert np.abs(load_bank("laws normalize=max").weight).max(axis=(1, 2, 3)).tolist() == [1] * 25
    assert load_bank("random:in_channels=3 zero_mean=true").weight.sum(axis=(1, 2, 3)) == pytest.approx(np.zeros(8))
    np.testing.assert_array_equal(load_bank("sobel normalize=none").weight, load_bank("sobel").weight)


def test_bias() -> None:
    assert load_bank("sobel bias=10").bias == (10, 10)
    assert load_bank("sobel bias=10,20 scale=2 bias=1").bias == (21, 41)
    added = load_bank("pillow-emboss + pillow-emboss")
    assert added.bias == (256,)


def test_bias_passes_through_a_product() -> None:
    assert load_bank("([2] bias=3) * ([5 5] bias=1)").bias == (31,)


def test_ring_rotation_has_order_eight() -> None:
    for size in (3, 5, 7):
        taps = np.arange(float(size * size)).reshape(size, size)
        turned = taps
        for _ in range(8):
            before = turned
            turned = rotate_taps(turned, 45)[0]
            assert not np.array_equal(turned, before)
        np.testing.assert_array_equal(turned, taps)
        np.testing.assert_array_equal(rotate_taps(rotate_taps(taps, 45)[0], 45)[0], np.rot90(taps))


def test_expand_makes_the_compass() -> None:
    bank = load_bank("5 5 5; -3 0 -3; -3 -3 -3 expand=45")
    np.testing.assert_array_equal(bank.weight, load_bank("kirsch").weight)
    assert bank.kernel_names == ("000", "045", "090", "135", "180", "225", "270", "315")
    assert bank.combine == "max"
    assert load_bank("sobel#x expand=90").n_kernels == 4
    assert load_bank("sobel#x expand=22.5").kernel_names[1:4] == ("022.5", "045", "067.5")
    assert load_bank("sobel expand=90").kernel_names[:2] == ("x-000", "x-090")


def test_other_angles_are_interpolated_and_said() -> None:
    bank = load_bank("sobel rotate=30")
    assert bank.shape == (2, 1, 5, 5)
    assert "bilinear" in bank.notes[0]
    assert not load_bank("sobel rotate=45").notes
    assert "rings" in load_bank("sobel5 rotate=45").notes[0]
    assert "bilinear" in load_bank("1 2 rotate=45").notes[0]  # no odd square: no ring


@given(
    degrees=st.floats(-720, 720) | st.integers(-16, 16).map(lambda eighths: 45.0 * eighths),
    size=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    seed=st.integers(0, 99),
)
def test_rotation_keeps_the_sum_and_is_never_ignored(degrees: float, size: tuple[int, int], seed: int) -> None:
    taps = np.random.default_rng(seed).normal(size=size)
    turned, note = rotate_taps(taps, degrees)
    assert turned.sum() == pytest.approx(taps.sum(), abs=1e-9)
    is_a_move = degrees % 90 == 0 or (degrees % 90 == 45 and size in ((1, 1), (3, 3)))
    assert (note is None) == is_a_move


def test_interpolated_rotation_turns_counter_clockwise() -> None:
    taps = np.zeros((9, 9))
    taps[4, 7] = 1  # to the right
    turned, _ = rotate_taps(taps, 60)
    down, right = np.mgrid[: turned.shape[0], : turned.shape[1]] - (np.array(turned.shape) - 1)[:, None, None] / 2
    assert (turned * right).sum() == pytest.approx(3 * np.cos(np.pi / 3), abs=0.1)
    assert (turned * -down).sum() == pytest.approx(3 * np.sin(np.pi / 3), abs=0.1)


def _bank(taps: np.ndarray) -> KernelBank:
    return KernelBank(name="k", weight=taps[None, None], kernel_names=("k",))


@given(
    left=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    right=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    seed=st.integers(0, 99),
)
def test_product_is_one_kernel_after_the_other(left: tuple[int, int], right: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b, image = rng.normal(size=left), rng.normal(size=right), rng.normal(size=(24, 25))

    def correlate(taps: np.ndarray, values: np.ndarray) -> np.ndarray:
        full = convolve2d(values, taps[::-1, ::-1])
        first = [size - 1 - (size - 1) // 2 for size in taps.shape]
        return full[first[0] : first[0] + values.shape[0], first[1] : first[1] + values.shape[1]]

    both = combine("*", _bank(a), _bank(b)).weight[0, 0]
    inner = (slice(8, -8), slice(8, -8))
    np.testing.assert_allclose(correlate(both, image)[inner], correlate(b, correlate(a, image))[inner], atol=1e-10)
    total = combine("+", _bank(a), _bank(b)).weight[0, 0]
    np.testing.assert_allclose(
        correlate(total, image)[inner], (correlate(a, image) + correlate(b, image))[inner], atol=1e-10
    )


def test_banks_pair_or_spread() -> None:
    spread = load_bank("laws * gaussian:sigma=1")
    assert spread.shape == (25, 1, 13, 13)
    pairwise = load_bank("sobel + scharr")
    np.testing.assert_array_equal(pairwise.weight, load_bank("sobel").weight + load_bank("scharr").weight)
    assert pairwise.kernel_names == ("x", "y")


def test_crop_says_what_is_lost() -> None:
    bank = load_bank("box crop=1")
    assert bank.weight.item() == pytest.approx(1 / 9)
    assert "0.889" in bank.notes[0]


def test_select_and_name() -> None:
    bank = load_bank("kirsch select=0..2,045 name=mine")
    assert (bank.name, bank.kernel_names) == ("mine", ("090", "135", "180", "045"))
    assert load_bank("mr8#0..5").reduction is None
    assert "reduction" in load_bank("mr8#0..5").notes[-1]


def test_pad_leaves_the_result_unchanged() -> None:
    np.testing.assert_array_equal(load_bank("sobel pad=2").weight, pad_to(load_bank("sobel").weight, (7, 7)))
