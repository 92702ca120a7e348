"""Frames and pages: each by itself, kept together where the output can hold them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import load_image, run_cli
from PIL import Image
from scipy import ndimage

from convcli.errors import UsageError
from convcli.frames import parse_frames

PAGES = [np.zeros((16, 12), np.uint8), np.full((16, 12), 255, np.uint8), np.full((16, 12), 90, np.uint8)]


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    images = [Image.fromarray(page) for page in PAGES]
    images[0].save(tmp_path / "pages.tif", save_all=True, append_images=images[1:])
    return tmp_path / "pages.tif"


@pytest.fixture
def animation(tmp_path: Path, rng: np.random.Generator) -> Path:
    frames = [Image.fromarray(rng.integers(0, 256, (20, 30), dtype=np.uint8)) for _ in range(3)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:], duration=[40, 80, 120], loop=0)
    return tmp_path / "a.gif"


def read_pages(path: Path) -> list[np.ndarray]:
    with Image.open(path) as image:
        pages = []
        for index in range(image.n_frames):
            image.seek(index)
            pages.append(np.array(image))
    return pages


def test_two_pages_do_not_bleed(pages: Path, tmp_path: Path) -> None:
    run_cli("apply", pages, "-k", "box:size=5", "-o", tmp_path / "out.tif", "--depth", "8", "-q").ok()
    for page, expected in zip(read_pages(tmp_path / "out.tif"), PAGES, strict=True):
        np.testing.assert_array_equal(page, expected)


def test_maps_of_every_frame_have_a_folder_of_their_own(pages: Path, tmp_path: Path) -> None:
    result = run_cli("apply", pages, "-k", "sobel", "--out-dir", tmp_path, "--json", "-q").ok()
    assert sorted(path.name for path in (tmp_path / "pages_sobel").iterdir()) == ["000", "001", "002"]
    assert sorted(line["input"]["path"] for line in result.json_lines[:-1]) == [f"{pages}[{i}]" for i in range(3)]


def test_chosen_frames(pages: Path, tmp_path: Path) -> None:
    run_cli("apply", pages, "-k", "identity", "--frames", "1", "--layout", "picture", "--out-dir", tmp_path, "-q").ok()
    assert load_image(tmp_path / "pages_identity_001.png").min() == 255
    assert run_cli("apply", pages, "-k", "identity", "--frames", "7", "--out-dir", tmp_path).exit_code == 2
    assert parse_frames("0,2-", 4) == (0, 2, 3)
    with pytest.raises(UsageError):
        parse_frames("2-1", 4)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tiff"])
def test_an_animation_is_kept_with_its_times(suffix: str, animation: Path, tmp_path: Path) -> None:
    out = tmp_path / f"out.{suffix}"
    depth = ["--depth", "8"] if suffix == "tiff" else []
    run_cli("apply", animation, "-k", "box", "-o", out, "-q", *depth).ok()
    with Image.open(animation) as source, Image.open(out) as image:
        assert image.n_frames == 3
        for index in range(3):
            source.seek(index)
            image.seek(index)
            plane = np.array(source.convert("RGB"))[..., 0].astype(float)
            expected = ndimage.uniform_filter(plane, 3, mode="nearest")
            stored = np.array(image.convert("RGB"))[..., 0]
            assert np.abs(stored - expected).max() <= (4 if suffix == "gif" else 1)
    with Image.open(out) as image:
        if suffix != "tiff":
            assert image.info.get("loop") == 0
        if suffix in ("gif", "png"):
            assert image.info["duration"] == 40


def test_one_picture_file_cannot_hold_an_animation(animation: Path, tmp_path: Path) -> None:
    result = run_cli("apply", animation, "-k", "box", "-o", tmp_path / "out.jpg")
    assert result.exit_code == 2
    assert "--frames" in result.stderr
    run_cli("apply", animation, "-k", "box", "-o", tmp_path / "out.jpg", "--frames", "first").ok()


def test_stretch_takes_the_range_of_all_frames(pages: Path, tmp_path: Path) -> None:
    run_cli("apply", pages, "-k", "identity", "--tone", "stretch", "-o", tmp_path / "o.png", "-q").ok()
    assert [page.flat[0] for page in read_pages(tmp_path / "o.png")] == [0, 255, 90]


def test_a_3d_kernel_runs_over_the_frames(pages: Path, tmp_path: Path) -> None:
    taps = np.zeros((1, 1, 3, 1, 1))
    taps[0, 0, :, 0, 0] = [-1, 0, 1]
    np.save(tmp_path / "time.npy", taps)
    result = run_cli("apply", pages, "-k", tmp_path / "time.npy", "-o", tmp_path / "m.npy", "--json").ok()
    volume = np.stack(PAGES).astype(np.float64)
    expected = ndimage.correlate1d(volume, [-1, 0, 1], axis=0, mode="nearest")
    np.testing.assert_array_equal(np.load(tmp_path / "m.npy"), expected)
    assert result.json["shape"]["output"] == [1, 3, 16, 12]
    run_cli("apply", pages, "-k", tmp_path / "time.npy", "--out-dir", tmp_path, "-q").ok()
    assert len(list((tmp_path / "pages_time").glob("*.png"))) == 3


def test_a_3d_kernel_on_one_picture_is_geometry(grey_photo: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "time.npy", np.ones((1, 1, 3, 1, 1)))
    result = run_cli("apply", grey_photo, "-k", tmp_path / "time.npy", "--out-dir", tmp_path)
    assert result.exit_code == 5
    assert "frames" in result.stderr
