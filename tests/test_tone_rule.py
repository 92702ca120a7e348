"""The rule of ``--tone auto`` wherever maps come from, and warnings that are followed word by word."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import load_image, run_cli, save_image

ABS, CLIP, STRETCH = "abs", "clip", "stretch"
MIXED = "random:out_channels=3,in_channels=3,seed=1"


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Edges of every strength and some black and white, in colour."""
    values = np.random.default_rng(1).integers(0, 256, (5, 6, 3)).repeat(8, 0).repeat(8, 1)
    values[:8, :8], values[8:16, :8] = 0, 255
    return save_image(tmp_path_factory.mktemp("photo") / "p.png", values.astype(np.uint8))


@pytest.mark.parametrize(
    ("flags", "tones"),
    [
        (["-k", "sobel"], {ABS}),
        (["-k", "laplacian4 scale=3"], {ABS}),
        (["-k", "gaussian:sigma=1"], {CLIP}),
        (["-k", "sharpen"], {CLIP}),
        (["-k", "gaussian:sigma=1 scale=1.5"], {STRETCH}),
        (["-k", "gaussian:sigma=1", "--groups", "1"], {STRETCH}),  # three planes add up
        (["-k", "gaussian:sigma=1 scale=4", "--transposed", "--stride", "2"], {CLIP}),
        (["-k", "gaussian:sigma=1", "--normalize", "imagenet"], {STRETCH}),
        (["-k", "sobel", "--normalize", "imagenet"], {ABS}),
        (["-k", "pillow-emboss"], {CLIP}),
        (["-k", "sobel", "--bias", "-9"], {STRETCH}),
        (["-k", "sobel", "--combine", "magnitude"], {CLIP}),
        (["-k", "kirsch", "--combine", "max"], {ABS}),
        (["-k", "gaussian:sigma=1", "-k", "box", "--combine", "mean"], {CLIP}),
        (["-k", "gaussian:sigma=1", "-k", "box", "--combine", "sum"], {STRETCH}),
        (["-k", "sobel", "-k", "box", "--combine", "max"], {STRETCH}),
        (["-k", "sobel", "-k", "box"], {ABS, CLIP}),
        (["-k", "gabor-bank"], {CLIP}),
        (["-k", "random:seed=1"], {STRETCH}),
        (["-k", MIXED], {STRETCH}),
        (["--stack", "layers"], {STRETCH}),
    ],
)
@pytest.mark.parametrize("layout", ["maps", "picture"])
def test_auto_is_one_rule(flags: list[str], tones: set[str], layout: str, photo: Path, tmp_path: Path) -> None:
    (tmp_path / "layers").write_text('init = {kind = "normal", seed = 1}\nlayers = ["conv:3,k=3"]\n')
    flags = [str(tmp_path / "layers") if flag == "layers" else flag for flag in flags]
    report = run_cli("apply", photo, *flags, "--layout", layout, "--out-dir", tmp_path / "out", "--json").ok().json
    if report.get("conv", {}).get("combine") == "magnitude":
        tones = {CLIP}  # a picture of a gradient
    if report["outputs"][0]["kind"] != "sheet":
        assert {one["tone"] for one in report["maps"]} == tones
        assert all(one["tone_reason"] for one in report["maps"])


def test_the_reason_is_printed(photo: Path, tmp_path: Path) -> None:
    text = run_cli("apply", photo, "-k", "sobel", "-k", "box", "--out-dir", tmp_path).ok().stdout
    assert re.search(r"^tone     abs: the taps sum to zero \(.*sobel.*\)$", text, re.MULTILINE)
    assert re.search(r"^tone     clip: the taps keep brightness \(.*box.*\)$", text, re.MULTILINE)
    asked = run_cli("apply", photo, "-k", "sobel", "--tone", "abs", "--out-dir", tmp_path, "--overwrite").ok()
    assert "\ntone " not in asked.stdout


def test_a_kernel_of_many_planes_whose_taps_add_up_to_zero_by_chance_is_not_toned_apart(
    photo: Path, tmp_path: Path
) -> None:
    weight = np.random.default_rng(2).normal(size=(4, 3, 3, 3))
    weight[1] -= weight[1].mean()
    np.save(tmp_path / "w.npy", weight)
    report = run_cli("apply", photo, "-k", tmp_path / "w.npy", "--out-dir", tmp_path, "--json").ok().json
    assert {one["tone"] for one in report["maps"]} == {STRETCH}


def run(photo: Path, out: Path, flags: list[str]) -> tuple[dict[str, Any], np.ndarray]:
    """Return the report, and the stored samples of all maps."""
    report = run_cli("apply", photo, *flags, "--out-dir", out, "--json").ok().json
    return report, np.stack([load_image(Path(one["path"])).astype(float) for one in report["outputs"]])


def likeness(stored: np.ndarray, values: np.ndarray) -> float:
    """Return how well the stored samples of a map tell its values, or their magnitudes, apart."""
    if np.ptp(stored) == 0:
        return 0
    return max(abs(np.corrcoef(stored.ravel(), other.ravel())[0, 1]) for other in (values, abs(values)))


@pytest.mark.parametrize("depth", ["8", "16"])
@pytest.mark.parametrize(
    "flags",
    [
        ["-k", "sobel"],
        ["-k", "sobel", "--combine", "magnitude"],
        ["-k", "laplacian8 scale=2"],
        ["-k", "sobel", "--tone", "clip"],
        ["-k", "sobel", "--tone", "scale:2"],
        ["-k", "sobel", "--tone", "abs:3"],
        ["-k", "box scale=3", "--tone", "clip"],
        ["-k", "box", "--tone", "scale:700"],
        ["-k", "box", "--tone", "offset:-90000"],
        ["-k", "sobel", "--tone", "offset:70000"],
        ["-k", "sobel", "-k", "box"],
        ["-k", "sobel", "--unit", "--tone", "scale:90000"],
    ],
    ids=" ".join,
)
def test_following_a_warning_gives_no_worse_picture(flags: list[str], depth: str, photo: Path, tmp_path: Path) -> None:
    flags = [*flags, "--depth", depth]
    before, stored = run(photo, tmp_path / "before", flags)
    if not before["warnings"]:
        assert depth == "16" or "--combine" in flags  # 16 bits hold more
        return
    (warning,) = before["warnings"]
    tone = re.search(r"--tone (\S+)", warning).group(1)
    flags = flags[: flags.index("--tone")] + flags[flags.index("--tone") + 2 :] if "--tone" in flags else flags
    after, better = run(photo, tmp_path / "after", [*flags, "--tone", tone])
    assert not after["warnings"]
    assert sum(one["clipped_low"] + one["clipped_high"] for one in after["maps"]) == 0
    run_cli("apply", photo, *flags[: flags.index("--depth")], "-o", tmp_path / "v.npy", "-q").ok()
    values = np.load(tmp_path / "v.npy")
    for one, other, known in zip(better, stored, values, strict=True):
        assert likeness(one, known) >= likeness(other, known) - 1e-4  # 8 bits round
    # A number uses the scale to its end, and 0 stays black.
    if tone.startswith(("abs", "scale")):
        assert better.max() >= 0.98 * (255 if depth == "8" else 65535)
        assert (better[np.abs(values) < 1e-6] == 0).all()


def test_sharpening_that_clips_is_a_note(photo: Path, tmp_path: Path) -> None:
    report = run(photo, tmp_path, ["-k", "sharpen"])[0]
    assert report["warnings"] == []
    assert any("clipped" in note and "keep brightness" in note for note in report["notes"])
    asked = run_cli("apply", photo, "-k", "sharpen", "--tone", "clip", "-o", tmp_path / "c.png", "--json").ok().json
    assert asked["warnings"]


def test_a_folder_gets_one_number_for_all(photo: Path, tmp_path: Path) -> None:
    values = load_image(photo)
    (tmp_path / "in").mkdir()
    for name, share in (("a", 1.0), ("b", 0.8)):
        save_image(tmp_path / "in" / f"{name}.png", (values * share).astype(np.uint8))
    flags = ["-r", "-k", "sobel", "-j", "1", "--out-dir"]
    told = run_cli("apply", tmp_path / "in", *flags, tmp_path / "1").ok().stderr
    warning = next(line for line in told.splitlines() if "warning" in line)
    assert "in 2 of 2 inputs" in warning
    tone = re.search(r"--tone (\S+)", warning).group(1)
    assert tone.startswith("abs:0.")
    assert "warning" not in run_cli("apply", tmp_path / "in", *flags, tmp_path / "2", "--tone", tone).ok().stderr
    # The other way is one that a folder can go too.
    raw = re.search(r"so does (.*)$", warning).group(1).replace("DIR", str(tmp_path / "3")).split()
    assert "warning" not in run_cli("apply", tmp_path / "in", *flags[:-1], *raw).ok().stderr


def test_notes_on_sharpening_are_added_up_in_a_folder(photo: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in "ab":
        save_image(tmp_path / "in" / f"{name}.png", load_image(photo))
    told = run_cli("apply", tmp_path / "in", "-r", "-k", "sharpen", "-j", "1", "--out-dir", tmp_path / "o").ok().stderr
    assert len([line for line in told.splitlines() if "clipped" in line]) == 1
