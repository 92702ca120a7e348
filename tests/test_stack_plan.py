"""A stack on one image, planned: names, notes, digest, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import run_cli, save_image
from safetensors.numpy import save_file

from convcli.images.reading import probe
from convcli.pipeline.inputs import InputFile
from convcli.pipeline.plan import Plan, Planner
from convcli.pipeline.request import parse_request


def plan_of(stack: Path, image: Path) -> Plan:
    request = parse_request({"stack": stack})
    return Planner(request).plan(InputFile(path=image), probe(image))


@pytest.fixture
def stack_file(tmp_path: Path) -> Path:
    (tmp_path / "s.toml").write_text('layers = [{layer = "conv:5,k=3,p=1", init = {kind = "normal", seed = 1}}]')
    return tmp_path / "s.toml"


def test_a_stack_says_that_alpha_is_left_out_and_that_it_draws_a_sheet(
    stack_file: Path, tmp_path: Path, rng: np.random.Generator
) -> None:
    image = save_image(tmp_path / "in.png", rng.integers(0, 256, (16, 13, 4), dtype=np.uint8))
    report = run_cli("apply", image, "--stack", stack_file, "-o", tmp_path / "o.png", "--json").ok().json
    assert any("alpha is left out" in note for note in report["notes"])
    assert any("5 maps" in note and "sheet" in note for note in report["notes"])
    assert report["outputs"][0]["kind"] == "sheet"


def test_maps_of_a_stack_are_named_by_output(stack_file: Path, grey_photo: Path, tmp_path: Path) -> None:
    run_cli("apply", grey_photo, "--stack", stack_file, "--out-dir", tmp_path, "-q").ok()
    names = sorted(path.name for path in (tmp_path / "camera_s").glob("*.png"))
    assert names == [f"output-{index}.png" for index in range(5)]


@pytest.mark.parametrize("flag", [["--memory", "1G"], ["--stride", "2"], ["--device", "cuda"], ["--combine", "max"]])
def test_flags_that_do_nothing_to_a_stack(flag: list[str], stack_file: Path, grey_photo: Path, tmp_path: Path) -> None:
    result = run_cli("apply", grey_photo, "--stack", stack_file, "-o", tmp_path / "o.png", *flag)
    assert result.exit_code == 2
    assert flag[0] in result.stderr


def test_max_taps_holds_for_the_banks_of_a_stack(grey_photo: Path, tmp_path: Path) -> None:
    (tmp_path / "b.toml").write_text('layers = [{layer = "conv:1,k=9,bias=false", weight = "box:size=9"}]')
    result = run_cli("apply", grey_photo, "--stack", tmp_path / "b.toml", "-o", tmp_path / "o.png", "--max-taps", "80")
    assert result.exit_code == 4
    assert "--max-taps" in result.stderr


def test_the_digest_of_a_stack_covers_every_number(grey_photo: Path, tmp_path: Path) -> None:
    conv, norm = (
        '{layer = "conv:2,k=1", weight = "w.safetensors#c.weight"}',
        '{layer = "batchnorm", weight = "w.safetensors#n"}',
    )
    (tmp_path / "d.toml").write_text(f"layers = [{conv}, {norm}]")
    numbers = {
        "c.weight": np.ones((2, 1, 1, 1)),
        "c.bias": np.zeros(2),
        "n.weight": np.ones(2),
        "n.bias": np.zeros(2),
        "n.running_mean": np.zeros(2),
        "n.running_var": np.ones(2),
    }
    digests = set()
    for changed in (None, *numbers):
        save_file({k: v + (k == changed) * np.float64(1) for k, v in numbers.items()}, tmp_path / "w.safetensors")
        digests.add(plan_of(tmp_path / "d.toml", grey_photo).transform.weight_bytes())
    assert len(digests) == 1 + len(numbers)
