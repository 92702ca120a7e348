"""``--nodata`` and ``--luminance`` of the command, against SciPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from conftest import load_image, run_cli, save_image
from scipy import ndimage

LUMA = np.array([0.299, 0.587, 0.114])
SHARPEN = np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]], float)


@pytest.fixture
def gaps(tmp_path: Path, rng: np.random.Generator) -> tuple[Path, np.ndarray]:
    samples = rng.integers(0, 200, (40, 50)).astype(np.float32)
    samples[10:20, 10:25] = -9999
    samples[0, :3] = -9999
    tifffile.imwrite(tmp_path / "gaps.tif", samples)
    return tmp_path / "gaps.tif", samples


def test_nodata_is_a_mean_over_the_samples_that_are_there(gaps: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    path, samples = gaps
    report = run_cli("apply", path, "-k", "box:size=5", "--nodata", "-9999", "-o", tmp_path / "o.npy", "--json").ok()
    mask = samples != -9999
    above = ndimage.correlate(np.where(mask, samples, 0).astype(float), np.ones((5, 5)), mode="nearest")
    below = ndimage.correlate(mask.astype(float), np.ones((5, 5)), mode="nearest")
    expected = np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0.5)
    np.testing.assert_allclose(np.load(tmp_path / "o.npy")[0], expected, rtol=1e-5)
    assert report.json["maps"][0]["not_a_number"] == np.isnan(expected).sum() > 0
    assert report.json["conv"]["nodata"] == -9999


def test_not_a_number_is_missing_and_spreads_no_further(tmp_path: Path) -> None:
    samples = np.full((30, 30), 7, np.float32)
    samples[5, 5] = np.nan
    tifffile.imwrite(tmp_path / "n.tif", samples)
    run_cli("apply", tmp_path / "n.tif", "-k", "gaussian:sigma=2", "--nodata", "nan", "-o", tmp_path / "o.npy").ok()
    np.testing.assert_allclose(np.load(tmp_path / "o.npy"), 7, rtol=1e-6)


def test_a_missing_colour_counts_in_units_too(tmp_path: Path, rng: np.random.Generator) -> None:
    samples = rng.integers(1, 255, (20, 20), dtype=np.uint8)
    samples[4:6] = 0
    path = save_image(tmp_path / "g.png", samples)
    run_cli("apply", path, "-k", "box:size=3", "--unit", "--nodata", "0", "-o", tmp_path / "o.npy").ok()
    mask = samples > 0
    above = ndimage.correlate(np.where(mask, samples / 255, 0), np.ones((3, 3)), mode="nearest")
    below = ndimage.correlate(mask.astype(float), np.ones((3, 3)), mode="nearest")
    np.testing.assert_allclose(np.load(tmp_path / "o.npy")[0], above / below, rtol=1e-5)


def test_stretch_takes_the_range_of_the_values_that_are_there(gaps: tuple[Path, np.ndarray], tmp_path: Path) -> None:
    flags = ("--nodata", "-9999", "--tone", "stretch", "--depth", "8")
    run_cli("apply", gaps[0], "-k", "box:size=3", *flags, "-o", tmp_path / "o.png").ok()
    picture = load_image(tmp_path / "o.png")
    assert picture.max() == 255
    assert (picture == 0).sum() == 8 * 13 + 1  # the windows without samples, and the least value


@pytest.mark.parametrize("kernel", [SHARPEN, np.ones((3, 3)) / 9, np.array([[1.0, 2], [3, 4]]) / 10])
def test_luminance_is_y_filtered_and_colours_kept(kernel: np.ndarray, photo: Path, tmp_path: Path) -> None:
    text = "; ".join(" ".join(map(repr, map(float, row))) for row in kernel)
    run_cli("apply", photo, "-k", text, "--luminance", "-o", tmp_path / "o.png").ok()
    colours = load_image(photo).astype(float)
    brightness = colours @ LUMA
    origin = [-1 if size == 2 else 0 for size in kernel.shape]  # torch's anchor of even kernels: (k - 1) // 2
    filtered = ndimage.correlate(brightness, kernel, mode="nearest", origin=origin)
    expected = np.clip(np.rint(colours + (filtered - brightness)[..., None]), 0, 255)
    difference = np.abs(load_image(tmp_path / "o.png").astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-3  # ties only


def test_alpha_of_a_sharpened_picture_stays(tmp_path: Path, rng: np.random.Generator) -> None:
    samples = rng.integers(0, 256, (12, 9, 4), dtype=np.uint8)
    path = save_image(tmp_path / "a.png", samples)
    result = run_cli("apply", path, "-k", "sharpen", "--luminance", "-o", tmp_path / "o.png", "--json").ok()
    np.testing.assert_array_equal(load_image(tmp_path / "o.png")[..., 3], samples[..., 3])
    assert any("--luminance works on colours alone" in note for note in result.json["notes"])


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        (["-k", "sobel", "--luminance"], "one kernel"),
        (["-k", "sharpen", "--luminance", "--stride", "2"], "keeps the size"),
        (["-k", "sharpen", "--luminance", "--channels", "r"], "takes all colours"),
        (["-k", "sharpen", "--luminance", "--groups", "3"], "decides the groups"),
        (["-k", "sharpen", "--nodata", "x"], "is not a number"),
        (["-k", "sharpen", "--nodata", "0", "--transposed"], "transposed"),
        (["--stack", "s.toml", "--nodata", "0"], "does nothing to layers"),
    ],
)
def test_flags_that_do_not_fit_are_refused(flags: list[str], word: str, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_text('layers = ["relu"]')
    result = run_cli("apply", photo, *flags, "-o", tmp_path / "o.png", cwd=tmp_path)
    assert result.exit_code == 2
    assert word in result.stderr


def test_maps_have_no_luminance(photo: Path, tmp_path: Path) -> None:
    result = run_cli("apply", photo, "-k", "sharpen", "--luminance", "--out-dir", tmp_path)
    assert result.exit_code == 2
    assert "for pictures" in result.stderr
