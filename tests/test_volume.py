"""Kernels over the frames of a file: kinds of output, tones, reports, what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from conftest import load_image, run_cli
from PIL import Image
from safetensors.numpy import load_file
from scipy import ndimage


def save_frames(path: Path, frames: list[np.ndarray]) -> Path:
    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(path, save_all=True, append_images=images[1:])
    return path


@pytest.fixture
def grey_frames(tmp_path: Path, rng: np.random.Generator) -> Path:
    return save_frames(tmp_path / "grey.tif", [rng.integers(0, 256, (16, 13), dtype=np.uint8) for _ in range(3)])


@pytest.fixture
def colour_frames(tmp_path: Path, rng: np.random.Generator) -> Path:
    return save_frames(tmp_path / "rgb.tif", [rng.integers(0, 256, (16, 13, 3), dtype=np.uint8) for _ in range(3)])


@pytest.fixture
def mean_of_three(tmp_path: Path) -> Path:
    np.save(tmp_path / "mean.npy", np.full((1, 1, 3, 1, 1), 1 / 3))
    return tmp_path / "mean.npy"


def pages_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        pages = []
        for index in range(image.n_frames):
            image.seek(index)
            pages.append(np.array(image))
    return np.stack(pages).astype(float)


def test_three_frames_are_not_three_colours(grey_frames: Path, mean_of_three: Path, tmp_path: Path) -> None:
    report = run_cli("apply", grey_frames, "-k", mean_of_three, "-o", tmp_path / "o.png", "--json").ok().json
    assert report["outputs"][0]["kind"] == "sheet"
    assert report["outputs"][0]["depth"] == "8"
    assert any("sheet" in note and "3 frames" in note for note in report["notes"])


def test_one_frame_out_of_colour_frames_is_a_picture(colour_frames: Path, mean_of_three: Path, tmp_path: Path) -> None:
    flags = ["--padding", "valid", "-o", tmp_path / "o.png", "--json"]
    report = run_cli("apply", colour_frames, "-k", mean_of_three, *flags).ok().json
    assert report["outputs"][0]["kind"] == "picture"
    assert np.abs(load_image(tmp_path / "o.png") - pages_of(colour_frames).mean(axis=0)).max() <= 0.5


def test_three_kernels_on_one_plane_are_no_colours(grey_frames: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "three.npy", np.full((3, 1, 3, 1, 1), 1 / 3))
    flags = ["--padding", "valid", "-o", tmp_path / "o.png", "--json"]
    report = run_cli("apply", grey_frames, "-k", tmp_path / "three.npy", *flags).ok().json
    assert report["outputs"][0]["kind"] == "sheet"


def test_bias_of_a_volume_is_reported_and_counted(grey_frames: Path, mean_of_three: Path, tmp_path: Path) -> None:
    flags = ["--bias", "2.5", "--padding", "valid", "-o", tmp_path / "o.npy", "--json"]
    report = run_cli("apply", grey_frames, "-k", mean_of_three, *flags).ok().json
    assert report["conv"]["bias"] == [2.5]
    assert report["shape"]["parameters"] == 4
    np.testing.assert_allclose(np.load(tmp_path / "o.npy")[0, 0], pages_of(grey_frames).mean(axis=0) + 2.5, rtol=1e-6)


def test_unused_rows_and_columns_of_a_volume(grey_frames: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "box.npy", np.ones((1, 1, 3, 3, 3)))
    flags = ["--stride", "3x4", "--padding", "valid", "-o", tmp_path / "o.npy", "--json"]
    report = run_cli("apply", grey_frames, "-k", tmp_path / "box.npy", *flags).ok().json
    # 16 rows: windows begin at 0, 3, 6, 9, 12 and end at 15; 13 columns: at 0, 4, 8 and end at 11
    assert report["shape"]["output"] == [1, 1, 5, 3]
    assert report["shape"]["unused_input"] == [1, 2]


def test_argmax_over_frames_is_spread_over_the_scale(grey_frames: Path, tmp_path: Path) -> None:
    taps = np.zeros((3, 1, 3, 1, 1))
    for kernel in range(3):
        taps[kernel, 0, kernel] = 1
        taps[kernel, 0, (kernel + 1) % 3] = -1  # sums to zero: no reason for abs
    np.save(tmp_path / "which.npy", taps)
    flags = ["--combine", "argmax", "--padding", "valid", "--layout", "picture", "-o", tmp_path / "o.png", "--json"]
    report = run_cli("apply", grey_frames, "-k", tmp_path / "which.npy", *flags).ok().json
    assert report["maps"][0]["tone"] == "scale:127.5"
    frames = pages_of(grey_frames)
    expected = np.argmax(frames - np.roll(frames, -1, axis=0), axis=0)
    np.testing.assert_array_equal(load_image(tmp_path / "o.png"), np.rint(expected * 127.5))


@pytest.mark.parametrize("flags", [["--device", "cuda"], ["--alpha", "keep"], ["--transposed"], ["--anchor", "0"]])
def test_flags_that_do_nothing_over_frames(
    flags: list[str], grey_frames: Path, mean_of_three: Path, tmp_path: Path
) -> None:
    result = run_cli("apply", grey_frames, "-k", mean_of_three, "-o", tmp_path / "o.png", *flags)
    assert result.exit_code == 2
    assert f"{flags[0]}" in result.stderr
    assert "3-D" in result.stderr


def test_alpha_is_left_out_and_said_so(mean_of_three: Path, tmp_path: Path, rng: np.random.Generator) -> None:
    frames = [rng.integers(0, 256, (16, 13, 4), dtype=np.uint8) for _ in range(3)]
    source = save_frames(tmp_path / "rgba.tif", frames)
    flags = ["--padding", "valid", "--json", "-o", tmp_path / "o.png"]
    report = run_cli("apply", source, "-k", mean_of_three, *flags).ok().json
    assert any("alpha is left out" in note for note in report["notes"])
    assert load_image(tmp_path / "o.png").shape == (16, 13, 3)
    report = run_cli("apply", source, "-k", mean_of_three, *flags, "--alpha", "drop", "--overwrite").ok().json
    assert not any("alpha" in note for note in report["notes"])


def test_unlike_frames_are_no_volume(mean_of_three: Path, tmp_path: Path) -> None:
    pages = [np.zeros((16, 13), np.uint8), np.zeros((16, 13, 3), np.uint8), np.zeros((16, 13), np.uint8)]
    source = save_frames(tmp_path / "mixed.tif", pages)
    result = run_cli("apply", source, "-k", mean_of_three, "-o", tmp_path / "o.npy")
    assert result.exit_code == 5
    assert "r,g,b" in result.stderr
    run_cli("apply", source, "-k", mean_of_three, "-o", tmp_path / "o.npy", "--frames", "0,2").ok()


def test_frames_that_are_picked_give_the_size(mean_of_three: Path, tmp_path: Path, rng: np.random.Generator) -> None:
    pages = [np.zeros((9, 9), np.uint8), *(rng.integers(0, 256, (16, 13), dtype=np.uint8) for _ in range(3))]
    source = save_frames(tmp_path / "cover.tif", pages)
    flags = ["--frames", "1-", "--padding", "valid", "-o", tmp_path / "o.npy"]
    run_cli("apply", source, "-k", mean_of_three, *flags).ok()
    np.testing.assert_allclose(np.load(tmp_path / "o.npy")[0, 0], np.mean(pages[1:], axis=0), rtol=1e-6)


def test_maps_over_frames_are_named_by_frame(colour_frames: Path, mean_of_three: Path, tmp_path: Path) -> None:
    run_cli("apply", colour_frames, "-k", mean_of_three, "--out-dir", tmp_path, "-q").ok()
    names = sorted(path.name for path in (tmp_path / "rgb_mean").glob("*.png"))
    assert len(names) == 9
    assert names[5].startswith("001-")
    assert names[5].endswith("-r.png")
    expected = ndimage.uniform_filter1d(pages_of(colour_frames)[..., 0], 3, axis=0, mode="nearest")[1]
    assert np.abs(load_image(tmp_path / "rgb_mean" / names[5]) - expected).max() <= 0.5


@pytest.mark.parametrize("suffix", ["npy", "npz", "safetensors", "tif"])
def test_a_raw_volume_has_the_shape_of_its_report(suffix: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    frames = rng.integers(0, 256, (4, 9, 11), dtype=np.uint8)
    pages = [Image.fromarray(frame) for frame in frames]
    pages[0].save(tmp_path / "v.tif", save_all=True, append_images=pages[1:])
    taps = rng.normal(size=(2, 1, 3, 3, 3)).astype(np.float32)
    np.save(tmp_path / "k.npy", taps)
    path = tmp_path / f"o.{suffix}"
    report = run_cli("apply", tmp_path / "v.tif", "-k", tmp_path / "k.npy", "--padding", "valid", "-o", path, "--json")
    shape = report.ok().json["shape"]["output"]
    assert shape == [2, 2, 7, 9]
    torch = pytest.importorskip("torch")
    volume = torch.from_numpy(frames.astype(np.float64))[None, None]
    expected = torch.nn.functional.conv3d(volume, torch.from_numpy(taps.astype(np.float64)))[0].numpy()
    if suffix == "safetensors":
        maps = load_file(path)["maps"]
    elif suffix == "tif":
        maps = tifffile.imread(path).reshape(shape)
    else:
        maps = np.load(path) if suffix == "npy" else np.load(path)["maps"]
    assert maps.shape == tuple(shape)
    np.testing.assert_allclose(maps, expected, rtol=1e-4, atol=1e-2)
