"""Alpha of pictures: an opaque picture comes out as its colours would without alpha, whatever the kernel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import load_image, run_cli, save_image

JOBS = [
    ["-k", "box"],
    ["-k", "sharpen", "--bias", "20"],
    ["-k", "0 0 0; 0 -1 0; 0 0 0", "--bias", "255"],
    ["-k", "box:size=3,scale=0.5"],
    ["-k", "sobel"],
    ["-k", "sobel", "--combine", "argmax"],
    ["-k", "box", "-k", "gaussian", "--combine", "max"],
    ["-k", "kirsch", "--tone", "stretch"],
    ["-k", "box", "--tone", "offset:30"],
    ["-k", "gaussian:sigma=2", "--mode", "convolve", "--padding-mode", "reflect"],
    ["-k", "box", "--unit"],
    ["-k", "box", "--normalize", "0.5,0.25", "--tone", "stretch"],
]


@pytest.fixture
def pair(tmp_path: Path, rng: np.random.Generator) -> tuple[Path, Path]:
    """The same colours with opaque alpha and without."""
    colours = rng.integers(0, 256, (21, 17, 3), dtype=np.uint8)
    opaque = np.dstack([colours, np.full((21, 17), 255, np.uint8)])
    return save_image(tmp_path / "opaque.png", opaque), save_image(tmp_path / "plain.png", colours)


@pytest.mark.parametrize("job", JOBS, ids=" ".join)
def test_opaque_is_as_if_there_were_no_alpha(job: list[str], pair: tuple[Path, Path], tmp_path: Path) -> None:
    for path in pair:
        run_cli("apply", path, *job, "-o", tmp_path / f"{path.stem}-out.png", "-q").ok()
    opaque, plain = (load_image(tmp_path / f"{path.stem}-out.png").astype(int) for path in pair)
    assert opaque.shape == (21, 17, 4)
    assert opaque[..., 3].min() == 255
    assert np.abs(opaque[..., :3] - plain).max() <= 1
    assert (opaque[..., :3] != plain).mean() < 0.03  # sums that end near .5


@pytest.mark.parametrize("job", [["-k", "box:size=3,scale=0.5"], ["-k", "box", "--bias", "50"], ["-k", "sharpen"]])
def test_constant_alpha_stays(job: list[str], tmp_path: Path) -> None:
    path = save_image(tmp_path / "veil.png", np.full((9, 9, 4), 100, np.uint8))
    run_cli("apply", path, *job, "-o", tmp_path / "o.png", "-q").ok()
    assert set(load_image(tmp_path / "o.png")[..., 3].ravel()) == {100}


def test_planes_that_are_mixed_leave_alpha_alone(pair: tuple[Path, Path], tmp_path: Path) -> None:
    run_cli("apply", pair[0], "-k", "box", "--groups", "1", "-o", tmp_path / "g.png", "--tone", "stretch").ok()
    grey = load_image(tmp_path / "g.png")
    assert grey.shape == (21, 17, 2)
    assert grey[..., 1].min() == 255
    np.save(tmp_path / "dense.npy", np.full((1, 3, 3, 3), 1 / 27))
    run_cli("apply", pair[0], "-k", tmp_path / "dense.npy", "-o", tmp_path / "d.png", "-q").ok()
    assert load_image(tmp_path / "d.png").shape == (21, 17, 2)


def test_dropped_alpha_is_said(pair: tuple[Path, Path], tmp_path: Path) -> None:
    assert "alpha" in run_cli("apply", pair[0], "-k", "box", "-o", tmp_path / "o.jpg").ok().stdout
    assert "alpha" in run_cli("apply", pair[0], "-k", "sobel", "--out-dir", tmp_path).ok().stdout
    result = run_cli("apply", pair[0], "-k", "sobel", "--stride", "2", "-o", tmp_path / "s.png").ok()
    assert "alpha is dropped" in result.stdout
    assert load_image(tmp_path / "s.png").shape == (11, 9, 3)


def test_the_report_has_the_bias_that_is_added_behind_the_engine(pair: tuple[Path, Path], tmp_path: Path) -> None:
    for path in pair:
        result = run_cli(
            "apply", path, "-k", "box", "--bias", "20", "-o", tmp_path / f"{path.stem}-b.png", "--json"
        ).ok()
        assert result.json["conv"]["bias"] == [20.0] * 3
