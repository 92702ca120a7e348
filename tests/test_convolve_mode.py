"""One word, one result: taps that a file declares as ``convolve``, and the same taps under ``--mode convolve``."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import scipy.signal
from conftest import run_cli, save_image

SIZES = [(1, 2), (2, 2), (3, 4), (4, 1), (5, 5)]


@pytest.fixture
def grey(tmp_path: Path, rng: np.random.Generator) -> Path:
    return save_image(tmp_path / "g.png", rng.integers(0, 256, (11, 13), dtype=np.uint8))


def both_ways(tmp_path: Path, taps: np.ndarray) -> tuple[list[str], list[str]]:
    file = tmp_path / "turned.toml"
    file.write_text(f'orientation = "convolve"\n[[kernel]]\ntaps = {taps.tolist()}\n')
    inline = "; ".join(" ".join(map(str, row)) for row in taps.tolist())
    return ["-k", str(file)], ["-k", inline, "--mode", "convolve"]


@pytest.mark.parametrize("size", SIZES)
def test_both_are_the_convolution_of_scipy(grey: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    """The tap at (k-1)//2 of the taps as written lies over the output sample."""
    from conftest import load_image

    taps = np.arange(1, 1 + np.prod(size)).reshape(size)
    top, left = (size[0] - 1) // 2, (size[1] - 1) // 2
    full = scipy.signal.convolve2d(load_image(grey).astype(float), taps)
    for number, words in enumerate(both_ways(tmp_path, taps)):
        out = tmp_path / f"{number}.npy"
        result = run_cli("apply", grey, *words, "--padding-mode", "zeros", "-o", out).ok()
        np.testing.assert_allclose(np.load(out)[0], full[top : top + 11, left : left + 13], rtol=1e-6)
        assert ("keep their anchor" in result.stdout) == any(side % 2 == 0 for side in size)


@pytest.mark.parametrize(
    "flags",
    [
        ["--padding", "valid"],
        ["--padding", "same", "--stride", "2"],
        ["--padding", "0,1,2,3", "--dilation", "2"],
        ["--transposed", "--padding", "1", "--stride", "2"],
        ["--anchor", "0x1"],
        ["--bias", "3"],
    ],
    ids=" ".join,
)
def test_every_flag_means_the_same_for_both(grey: Path, tmp_path: Path, flags: list[str]) -> None:
    maps, told = [], []
    for number, words in enumerate(both_ways(tmp_path, np.array([[1, 2], [3, 4]]))):
        out = tmp_path / f"{number}.npy"
        run_cli("apply", grey, *words, *flags, "-o", out).ok()
        maps.append(np.load(out))
        explained = run_cli("explain", grey, *words, *flags, "--at", "2,3", "--json").ok().json
        told.append({key: explained[key] for key in ("output", "rows", "columns", "taps", "value")})
        if "--anchor" not in flags:
            compared = run_cli("compare", grey, *words, *flags, "--json").ok().json
            assert compared["output"][-2:] == list(maps[-1].shape[1:])
    np.testing.assert_array_equal(*maps)
    assert told[0] == told[1]


def test_a_volume_keeps_its_anchor_along_the_frames(tmp_path: Path, rng: np.random.Generator) -> None:
    import tifffile

    frames = rng.integers(0, 256, (6, 7, 8), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "v.tif", frames, photometric="minisblack")
    taps = rng.integers(-3, 4, (2, 3, 2))
    np.save(tmp_path / "k.npy", taps[None, None].astype(np.float64))
    out = tmp_path / "o.npy"
    flags = ["--mode", "convolve", "--padding-mode", "zeros", "-o", out]
    result = run_cli("apply", tmp_path / "v.tif", "-k", tmp_path / "k.npy", *flags).ok()
    wanted = scipy.signal.convolve(frames.astype(float), taps, method="direct")[:6, 1:8, :8]
    np.testing.assert_allclose(np.load(out)[0], wanted, atol=1e-3)
    assert "keep their anchor" in result.stdout


def test_a_stack_has_the_same_taps_and_says_why_a_smaller_window_does_not_fit(grey: Path, tmp_path: Path) -> None:
    from_file, _ = both_ways(tmp_path, np.array([[1, 2], [3, 4]]))
    for size, code in ((3, 0), (2, 4)):
        stack = tmp_path / f"{size}.toml"
        layer = f'{{ layer = "conv:1,k={size},p=same,bias=false", weight = "{from_file[1]}" }}'
        stack.write_text(f'name = "s"\ninput = "1x11x13"\nlayers = [{layer}]\n')
        result = run_cli("apply", grey, "--stack", stack, "-o", tmp_path / f"{size}.npy")
        assert result.exit_code == code, result.stderr
    assert "keep their anchor" in result.stderr
    run_cli("apply", grey, *from_file, "--padding-mode", "zeros", "-o", tmp_path / "bank.npy").ok()
    maps = [np.load(tmp_path / name) for name in ("3.npy", "bank.npy")]
    np.testing.assert_allclose(*maps, rtol=1e-6)
