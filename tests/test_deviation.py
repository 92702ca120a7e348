"""The standard deviation of every map, against NumPy in float64: in one pass, by bands, for every type and format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import run_cli, save_image

from convcli.engine.store import ToneCounts
from convcli.pipeline.tones import Tone, parse_tone


def deviation(maps: np.ndarray, depth: str, n_bands: int = 1) -> np.ndarray:
    """The deviation that a tone reports of maps (O, H, W) in bands of rows."""
    specs = (parse_tone("stretch").resolve("other"),) * len(maps)
    finite = [one[np.isfinite(one)].astype(float) for one in maps]
    ranges = np.array([one.min() for one in finite]), np.array([one.max() for one in finite])
    tone = Tone(specs, white=255.0, depth=depth, ranges=ranges)
    counts = ToneCounts.zero(len(maps))
    for band in np.array_split(maps, n_bands, axis=1):
        counts += tone.apply(band.copy())[1]
    return counts.std


@pytest.mark.parametrize("depth", ["8", "16", "float"])
@pytest.mark.parametrize("mean", [0.0, 100.0, 1e6])
@pytest.mark.parametrize("shape", [(1, 7, 5), (3, 64, 129), (4, 33, 1030), (2, 1, 1)])
def test_it_is_that_of_numpy(shape: tuple[int, ...], mean: float, depth: str, rng: np.random.Generator) -> None:
    """Also where it is small beside the mean, which a difference of squares would lose."""
    maps = (mean + rng.normal(0, 3, shape)).astype(np.float32)
    wanted = maps.reshape(len(maps), -1).std(axis=1, dtype=np.float64)
    for n_bands in {1, min(3, shape[1]), min(7, shape[1])}:
        np.testing.assert_allclose(deviation(maps, depth, n_bands), wanted, rtol=2e-6, atol=1e-12)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "int64", "float64"])
def test_every_type_of_samples(dtype: str, rng: np.random.Generator) -> None:
    maps = rng.integers(0, 120, (2, 20, 30)).astype(dtype)
    maps[0, 0, 0] = 127
    wanted = maps.reshape(2, -1).std(axis=1, dtype=np.float64)
    np.testing.assert_allclose(deviation(maps, "8", 3), wanted, rtol=1e-6)


def test_samples_that_are_not_numbers_do_not_count(rng: np.random.Generator) -> None:
    maps = rng.normal(5, 2, (1, 12, 12)).astype(np.float32)
    maps[0, 3:9] = np.nan
    for n_bands in (1, 4):
        np.testing.assert_allclose(deviation(maps, "float", n_bands), [np.nanstd(maps.astype(float))], rtol=1e-6)


def test_large_and_constant_maps() -> None:
    maps = np.full((2, 9, 9), 3e20, np.float32)
    maps[1, 4] *= -1
    wanted = maps.astype(float).reshape(2, -1).std(axis=1)
    np.testing.assert_allclose(deviation(maps, "float", 2), wanted, rtol=1e-6, atol=1e10)
    assert deviation(np.full((1, 50, 60), 7.3, np.float32), "8", 3) == [0]


def test_every_report_has_it(tmp_path: Path, rng: np.random.Generator) -> None:
    samples = rng.integers(0, 256, (70, 90, 3), dtype=np.uint8)
    image = save_image(tmp_path / "a.png", samples)
    run_cli("apply", image, "-k", "sobel", "-o", tmp_path / "maps.npy", "-q").ok()
    wanted = np.load(tmp_path / "maps.npy").reshape(6, -1).std(axis=1, dtype=np.float64)
    for words in (["--out-dir", tmp_path / "out"], ["-o", tmp_path / "again.npy"], ["-o", tmp_path / "f.tif"]):
        report = run_cli("apply", image, "-k", "sobel", "--json", *words).ok().json
        np.testing.assert_allclose([one["std"] for one in report["maps"]], wanted, rtol=2e-6)
    for suffix in ("csv", "md", "html"):
        page = tmp_path / f"r.{suffix}"
        result = run_cli("apply", image, "-k", "sobel", "-o", tmp_path / f"{suffix}.npy", "--report", page).ok()
        assert "std" in page.read_text(encoding="utf-8")
        assert f"{wanted[0]:.4g}" in result.stdout
