"""Ties of premultiplied pictures, pictures of one bit, and alpha in GIF."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import load_image, run_cli, save_image
from PIL import Image
from scipy import ndimage


@pytest.mark.parametrize("kernel", ["[[0.5]]", "[[0.25]]", "1 2 1; 2 4 2; 1 2 1"])
def test_ties_go_to_the_even_level(kernel: str, tmp_path: Path, rng: np.random.Generator) -> None:
    """Sums of colour times alpha are whole numbers here, so that a tie is a tie."""
    samples = rng.integers(0, 256, (60, 50, 4), dtype=np.uint8)
    samples[..., 3] = rng.choice([1, 2, 4, 64, 128, 255], (60, 50))
    path = save_image(tmp_path / "a.png", samples)
    run_cli("apply", path, "-k", kernel, "--tone", "clip", "-o", tmp_path / "o.png").ok()
    taps = np.array([[float(v) for v in row.split()] for row in kernel.strip("[]").split(";")])
    colour, alpha = samples[..., :3].astype(float), samples[..., 3:].astype(float)
    above = np.stack([ndimage.correlate((colour * alpha)[..., c], taps, mode="nearest") for c in range(3)], axis=2)
    below = ndimage.correlate(alpha[..., 0], taps, mode="nearest")[..., None] / taps.sum()
    expected = np.clip(np.rint(above / below), 0, 255)
    assert (np.abs(above / below % 1 - 0.5) == 0).any()  # there are ties
    np.testing.assert_array_equal(load_image(tmp_path / "o.png")[..., :3], expected)


def test_one_bit_is_split_at_half(grey_photo: Path, tmp_path: Path) -> None:
    report = (
        run_cli("apply", grey_photo, "-k", "identity", "--depth", "1", "-o", tmp_path / "o.png", "--json").ok().json
    )
    with Image.open(tmp_path / "o.png") as image:
        assert image.mode == "1"
        np.testing.assert_array_equal(np.asarray(image), load_image(grey_photo) > 127)
    assert report["outputs"][0]["sample_bytes"] == 512 * 512 // 8
    assert "uint8 samples are stored with 1 bit as png" in report["notes"][0]


@pytest.mark.parametrize("flags", [["-o", "o.jpg"], ["-o", "o.npy"], ["-o", "o.png", "--layout", "sheet"]])
def test_one_bit_is_refused_where_it_cannot_be(flags: list[str], photo: Path, tmp_path: Path) -> None:
    result = run_cli("apply", photo, "-k", "identity", "--depth", "1", *flags, cwd=tmp_path)
    assert result.exit_code in (2, 6)
    assert "hint:" in result.stderr


@pytest.mark.parametrize("planes", [2, 4])
def test_gif_keeps_alpha_of_one_bit(planes: int, tmp_path: Path) -> None:
    samples = np.zeros((8, 8, planes), np.uint8)
    samples[..., :-1] = 200
    samples[..., -1] = np.repeat(np.array([0, 127, 128, 255], np.uint8), 2)
    path = save_image(tmp_path / "a.png", samples)
    result = run_cli("apply", path, "-k", "identity", "--alpha", "keep", "-o", tmp_path / "o.gif").ok()
    assert "GIF's alpha has 1 bit: below half of white it becomes clear, else opaque" in result.stdout
    with Image.open(tmp_path / "o.gif") as image:
        shown = np.asarray(image.convert("RGBA"))
    np.testing.assert_array_equal(shown[..., 3], np.where(samples[..., -1] < 128, 0, 255))
    assert (shown[shown[..., 3] > 0][:, :3] == 200).all()
