"""A picture without a named format keeps that of its input where it holds the result, and says where it does not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import load_image, run_cli, save_image
from PIL import Image

FLAGS = ("-k", "box", "--layout", "picture", "--out-dir")


@pytest.fixture
def samples(rng: np.random.Generator) -> np.ndarray:
    return rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "bmp", "ppm", "tga", "jp2"])
def test_the_format_stays(suffix: str, samples: np.ndarray, tmp_path: Path) -> None:
    image = tmp_path / f"in.{suffix}"
    Image.fromarray(samples).save(image)
    result = run_cli("apply", image, *FLAGS, tmp_path).ok()
    written = tmp_path / f"in_box.{suffix}"
    with Image.open(image) as before, Image.open(written) as after:
        assert after.format == before.format
        assert after.size == before.size
    assert "written as png" not in result.stdout


@pytest.mark.parametrize(
    ("name", "mode", "flags", "says"),
    [
        ("in.gif", "RGB", (), "gif cannot hold it: GIF holds 256 colours"),
        ("in.jpg", "RGB", ("--depth", "16"), "jpeg cannot hold --depth 16"),
        ("in.bmp", "RGB", ("--compress", "small"), "bmp does not take --compress"),
        ("in.ico", "RGB", (), "is only read"),
    ],
)
def test_it_says_where_it_does_not(
    name: str, mode: str, flags: tuple[str, ...], says: str, samples: np.ndarray, tmp_path: Path
) -> None:
    Image.fromarray(samples, mode).save(tmp_path / name)
    result = run_cli("apply", tmp_path / name, *FLAGS, tmp_path, *flags).ok()
    assert (tmp_path / "in_box.png").is_file()
    assert f"written as png: {says}" in result.stdout or (says == "is only read" and says in result.stdout)


def test_flags_of_the_encoder_go_with_the_format_of_the_input(samples: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(samples).save(tmp_path / "in.jpg")
    sizes = []
    for quality in (90, 20):
        run_cli("apply", tmp_path / "in.jpg", *FLAGS, tmp_path / str(quality), "--quality", quality, "-q").ok()
        sizes.append((tmp_path / str(quality) / "in_box.jpg").stat().st_size)
    assert sizes[0] > sizes[1]
    save_image(tmp_path / "b.png", samples)
    refused = run_cli("apply", tmp_path / "b.png", *FLAGS, tmp_path, "--quality", "50")
    assert refused.exit_code == 2
    assert "--quality does nothing to png" in refused.stderr


def test_a_named_format_and_maps_are_as_before(samples: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(samples).save(tmp_path / "in.jpg")
    run_cli("apply", tmp_path / "in.jpg", *FLAGS, tmp_path, "--format", "png", "-q").ok()
    run_cli("apply", tmp_path / "in.jpg", "-k", "sobel", "--out-dir", tmp_path, "-q").ok()
    assert (tmp_path / "in_box.png").is_file()
    assert len(list((tmp_path / "in_sobel").glob("*.png"))) == 6
    # The sums are those of the decoded JPEG, box being an average.
    want = load_image(tmp_path / "in.jpg").astype(float)
    padded = np.pad(want, ((1, 1), (1, 1), (0, 0)), mode="edge")
    mean = sum(padded[r : r + 24, c : c + 32] for r in range(3) for c in range(3)) / 9
    np.testing.assert_allclose(load_image(tmp_path / "in_box.png"), mean, atol=0.51)
