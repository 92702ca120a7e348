"""``--region``: a part of every kind of output is the same part of the whole output."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import load_image, run_cli, save_image

LEFT, TOP, WIDTH, HEIGHT = 5, 7, 20, 15
REGION = f"{LEFT},{TOP},{WIDTH},{HEIGHT}"
STACK = 'layers = [{layer = "conv:3,k=3,p=1", init = {kind = "normal", seed = 1}}]'


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    save_image(tmp_path / "rgb.png", rng.integers(0, 256, (40, 50, 3), dtype=np.uint8))
    save_image(tmp_path / "rgba.png", rng.integers(0, 256, (40, 50, 4), dtype=np.uint8))
    np.save(tmp_path / "time.npy", rng.normal(size=(2, 1, 2, 3, 3)))
    (tmp_path / "s.toml").write_text(STACK)
    return tmp_path


def both(folder: Path, image: str, suffix: str, *flags: object) -> tuple[np.ndarray, np.ndarray]:
    """Return the region as it was written, and the region of the whole output, rows and columns first."""
    results = []
    for name, more in (("part", ["--region", REGION]), ("whole", [])):
        path = folder / f"{name}.{suffix}"
        run_cli("apply", folder / image, *flags, "-o", path, "--overwrite", "-q", *more).ok()
        results.append(np.moveaxis(np.load(path), (-2, -1), (0, 1)) if suffix == "npy" else load_image(path))
    return results[0], results[1][TOP : TOP + HEIGHT, LEFT : LEFT + WIDTH]


@pytest.mark.parametrize("memory", ["256M", "1M"])
@pytest.mark.parametrize("bank", ["sobel", "box", "gaussian:sigma=3"])
@pytest.mark.parametrize("image", ["rgb.png", "rgba.png"])
def test_a_picture(image: str, bank: str, memory: str, folder: Path) -> None:
    np.testing.assert_array_equal(*both(folder, image, "png", "-k", bank, "--memory", memory))


@pytest.mark.parametrize("alpha", ["keep", "filter", "drop"])
def test_alpha_of_a_picture(alpha: str, folder: Path) -> None:
    np.testing.assert_array_equal(*both(folder, "rgba.png", "png", "-k", "box", "--alpha", alpha))


@pytest.mark.parametrize("engine", ["reference", "direct", "gemm", "fft"])
@pytest.mark.parametrize("flags", [[], ["--stride", "1x2"], ["--transposed"], ["--combine", "max"]])
def test_raw_maps(flags: list[str], engine: str, folder: Path) -> None:
    part, whole = both(folder, "rgb.png", "npy", "-k", "sobel", "--engine", engine, *flags)
    np.testing.assert_allclose(part, whole, atol=1e-3)


def test_maps_of_files_of_their_own(folder: Path) -> None:
    for name, more in (("part", ["--region", REGION]), ("whole", [])):
        run_cli("apply", folder / "rgb.png", "-k", "sobel", "--out-dir", folder / name, "-q", *more).ok()
    for path in (folder / "part" / "rgb_sobel").glob("*.png"):
        whole = load_image(folder / "whole" / "rgb_sobel" / path.name)
        np.testing.assert_array_equal(load_image(path), whole[TOP : TOP + HEIGHT, LEFT : LEFT + WIDTH])


def test_a_stack(folder: Path) -> None:
    np.testing.assert_array_equal(*both(folder, "rgb.png", "npy", "--stack", folder / "s.toml"))


def test_frames(folder: Path, rng: np.random.Generator) -> None:
    from PIL import Image

    frames = [Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)) for _ in range(3)]
    frames[0].save(folder / "a.tif", save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(*both(folder, "a.tif", "npy", "-k", folder / "time.npy"))
    run_cli("apply", folder / "a.tif", "-k", "box", "-o", folder / "a.gif", "--region", REGION).ok()
    with Image.open(folder / "a.gif") as animation:
        assert (animation.n_frames, animation.size) == (3, (WIDTH, HEIGHT))


def test_a_sheet_has_tiles_of_the_region(folder: Path) -> None:
    command = ["apply", folder / "rgb.png", "-k", "sobel", "--layout", "sheet", "-o", folder / "o.png", "--overwrite"]
    whole = run_cli(*command, "--json").ok().json
    part = run_cli(*command, "--json", "--region", REGION).ok().json
    assert part["maps"][0]["samples"] == WIDTH * HEIGHT < whole["maps"][0]["samples"]
    assert part["region"] == [LEFT, TOP, WIDTH, HEIGHT]
    assert "region" not in whole


@pytest.mark.parametrize(
    ("region", "code", "said"),
    [
        ("40,0,11,5", 2, "51"),
        ("0,36,5,5", 2, "41"),
        ("1,2,3", 2, "X,Y,W,H"),
        ("0,0,0,4", 2, "empty"),
        ("-1,0,2,2", 2, ""),
    ],
)
def test_regions_out_of_range_are_refused_with_numbers(region: str, code: int, said: str, folder: Path) -> None:
    result = run_cli("apply", folder / "rgb.png", "-k", "box", "-o", folder / "o.png", f"--region={region}")
    assert result.exit_code == code
    assert said in result.stderr
    assert not (folder / "o.png").exists()
