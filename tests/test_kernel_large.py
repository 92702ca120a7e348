"""Kernels of thousands of rows, and taps at the ends of a float64: facts in seconds, and right ones."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import run_cli

from convcli.banks.stats import LARGEST_SQUARE, factors, kernel_stats, peak, response
from convcli.render.taps import shrunk

SIDE = LARGEST_SQUARE + 2


def outer(seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.outer(random.standard_normal(SIDE + 7), random.standard_normal(SIDE))


def test_large_kernels_of_rank_1_are_told_with_their_factors() -> None:
    taps = outer()
    rank, column, row = factors(taps[None])
    assert rank == 1
    assert column is not None
    assert row is not None
    np.testing.assert_allclose(np.outer(column, row), taps, rtol=1e-12, atol=1e-13)
    assert factors(np.stack([taps, outer(1)])) == (1, None, None)
    assert factors(np.zeros((1, SIDE, SIDE))) == (1, None, None)


@pytest.mark.parametrize("part", [1e-3, 1e-5])
def test_large_kernels_of_a_higher_rank_are_not_called_separable(part: float) -> None:
    first, second = outer(), outer(1)
    taps = first + part * np.linalg.norm(first, 2) / np.linalg.norm(second, 2) * second
    assert factors(taps[None]) == (None, None, None)
    assert factors(np.stack([first, taps])) == (None, None, None)
    facts = kernel_stats(taps[None])
    assert (facts.rank, facts.separable) == (None, None)


def test_the_quick_test_and_singular_values_agree_on_what_is_rank_1(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(2)
    for part in (0.0, 1e-9, 1e-4, 0.1):
        small = np.outer(random.standard_normal(9), random.standard_normal(7))
        small += part * np.abs(small).max() * random.standard_normal(small.shape)
        with monkeypatch.context() as patch:
            slow = factors(small[None])
            patch.setattr("convcli.banks.stats.LARGEST_SQUARE", 1)
            quick = factors(small[None])
        assert quick[0] == (1 if slow[0] == 1 else None)
        assert (quick[1] is None) == (slow[1] is None)
        if slow[1] is not None and quick[1] is not None:
            np.testing.assert_allclose(quick[1], slow[1], rtol=1e-9)


def test_show_of_a_kernel_of_1601_rows_is_quick_and_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(np.linalg, "svd")  # takes seconds here, and minutes at 4001 rows
    text = run_cli("kernels", "show", "gaussian:sigma=200").ok().stdout
    assert "rank         1 (separable) of 1601" in text
    assert "every mark is the largest of 26x26 taps" in text
    assert len(text.splitlines()) < 110
    assert max(map(len, text.splitlines())) < 140


def test_show_says_when_the_rank_is_not_computed() -> None:
    text = run_cli("kernels", "show", "gaussian:sigma=20,size=151 + gaussian:sigma=9").ok().stdout
    assert "not computed (kernel is larger than 129x129)" in text
    told = run_cli("kernels", "show", "gaussian:sigma=20,size=151 + gaussian:sigma=9", "--json").ok().json
    assert told["kernels"][0]["rank"] is None


def test_shrunk_keeps_the_largest_tap_of_each_square_with_its_sign() -> None:
    plane = np.zeros((130, 100))
    plane[4, 5], plane[129, 99], plane[3, 3] = -3, 2, 1
    rows, step = shrunk(plane)
    assert step == 3
    assert np.shape(rows) == (44, 34)
    assert (rows[1][1], rows[43][33], np.count_nonzero(rows)) == (-3, 2, 2)
    assert shrunk(np.eye(64)) == (np.eye(64).tolist(), 1)


def test_response_of_a_large_kernel_is_that_of_its_padded_taps() -> None:
    taps = outer()[:, :-1]
    big = np.pad(taps, ((0, 257 - len(taps)), (0, 0)))
    gains = response(big)
    assert gains.shape == (512, 512)
    # the same frequency, 1/8 cycle a pixel to the right and none up, from the definition
    wave = np.exp(-2j * np.pi * np.arange(big.shape[1]) / 8)
    assert gains[256, 256 + 64] == pytest.approx(abs(big.sum(axis=0) @ wave))


@pytest.mark.parametrize("size", [1e300, 1e-300, 1.7e308])
def test_taps_at_the_ends_of_the_range_are_shown(size: float) -> None:
    result = run_cli("kernels", "show", f"{size} {size} {size}; {size} {size} {size}")
    text = result.ok().stdout
    assert result.stderr == ""
    assert "rank         1 (separable)" in text
    assert "left-right even" in text
    assert "sigma        0.8165 px across, 0.5 px down" in text
    assert run_cli("kernels", "show", f"{size} {size}", "--json").ok().json["kernels"][0]["max"] == size


def test_norm_and_peak_do_not_depend_on_the_scale_of_taps() -> None:
    taps = np.array([[[1.0, -2, 1]]])
    assert kernel_stats(taps * 1e-200).l2 == pytest.approx(6**0.5 * 1e-200)
    assert kernel_stats(taps * 1e300).l2 == pytest.approx(6**0.5 * 1e300)
    assert peak(taps * 1e-20)[1] == peak(taps)[1]
