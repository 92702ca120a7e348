"""One test per exit code and per mistake: one or two lines, the right code, nothing left on disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import load_image, run_cli, save_image


def _assert_refused(result: object, code: int, folder: Path, *says: str) -> None:
    assert result.exit_code == code, result.stderr
    lines = result.stderr.strip().splitlines()
    assert 1 <= len(lines) <= 2, result.stderr
    assert "Traceback" not in result.stderr
    for text in says:
        assert text in result.stderr
    assert not folder.exists()


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("flags", "code", "says"),
    [
        (["-k", "sobbel"], 4, "sobel"),
        (["-k", "1 2; 3"], 4, "row"),
        (["-k", ""], 4, ""),
        (["-k", "none.toml"], 4, "none.toml"),
        (["-k", "gaussian:sigma=-1"], 4, "sigma"),
        (["-k", "gaussian:sgma=1"], 4, "sigma"),
        (["-k", "sobel", "--stride", "0"], 2, "stride"),
        (["-k", "sobel", "--stride", "x"], 2, "stride"),
        (["-k", "sobel", "--padding", "sme"], 2, "same"),
        (["-k", "sobel", "--padding-mode", "mirrored"], 2, "mirror"),
        (["-k", "sobel", "--groups", "2"], 5, "1, 3"),
        (["-k", "sobel", "--dilation", "300", "--padding", "valid"], 5, "601"),
        (["-k", "sobel", "--anchor", "3"], 5, "0 to 2"),
        (["-k", "sobel", "--channels", "x"], 2, "r, g, b"),
        (["-k", "sobel", "--tone", "loud"], 2, "auto"),
        (["-k", "sobel", "--engine", "gpu"], 2, "gemm"),
        (["-k", "sobel", "--bias", "1,2,3"], 2, "2 kernels"),
        (["-k", "sobel", "--threads", "0"], 2, "threads"),
        ([], 2, "kernel"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_in_flags(flags: list[str], code: int, says: str, photo: Path, out: Path) -> None:
    _assert_refused(run_cli("apply", photo, *flags, "--out-dir", out), code, out, says)


def test_an_unknown_flag_or_command_is_usage(photo: Path) -> None:
    assert run_cli("apply", photo, "--kernle", "sobel").exit_code == 2
    assert run_cli("aply", photo).exit_code == 2
    assert run_cli("apply").exit_code == 2


def test_a_truncated_png_is_an_image_error(photo: Path, tmp_path: Path, out: Path) -> None:
    path = tmp_path / "cut.png"
    path.write_bytes(photo.read_bytes()[:100_000])
    _assert_refused(run_cli("apply", path, "-k", "sobel", "--out-dir", out), 3, out, "cut.png")


def test_a_text_file_named_png_is_an_image_error(tmp_path: Path, out: Path) -> None:
    path = tmp_path / "text.png"
    path.write_text("hello")
    _assert_refused(run_cli("apply", path, "-k", "sobel", "--out-dir", out), 3, out, "text.png")


def test_a_missing_file_and_an_empty_file_are_image_errors(tmp_path: Path, out: Path) -> None:
    _assert_refused(run_cli("apply", tmp_path / "no.png", "-k", "sobel", "--out-dir", out), 3, out, "no.png")
    (tmp_path / "empty.png").touch()
    _assert_refused(run_cli("apply", tmp_path / "empty.png", "-k", "sobel", "--out-dir", out), 3, out, "empty.png")


def test_a_folder_without_images_is_an_image_error(tmp_path: Path, out: Path) -> None:
    _assert_refused(run_cli("apply", tmp_path, "-k", "sobel", "--out-dir", out), 3, out, "no image")


def test_a_folder_without_permission(unprivileged: Path) -> None:
    picture = save_image(unprivileged / "a.png", np.zeros((9, 9), np.uint8))
    locked = unprivileged / "locked"
    locked.mkdir(mode=0o000)
    result = run_cli("apply", locked / "x.png", "-k", "sobel", "--out-dir", unprivileged / "out")
    assert (result.exit_code, "permission denied" in result.stderr.lower()) == (3, True), result.stderr
    result = run_cli("apply", picture, "-k", "sobel", "--out-dir", locked / "out")
    assert (result.exit_code, "permission denied" in result.stderr.lower()) == (6, True), result.stderr


def test_a_folder_that_is_a_file_is_an_output_error(photo: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    result = run_cli("apply", photo, "-k", "sobel", "--out-dir", blocked)
    assert result.exit_code == 6, result.stderr
    assert "Traceback" not in result.stderr


def test_an_output_that_exists_is_refused_replaced_or_left(photo: Path, tmp_path: Path) -> None:
    target = tmp_path / "edges.png"
    target.write_bytes(b"mine")
    refused = run_cli("apply", photo, "-k", "sobel", "-o", target)
    assert refused.exit_code == 6
    assert "--overwrite" in refused.stderr
    run_cli("apply", photo, "-k", "sobel", "-o", target, "--skip-existing").ok()
    assert target.read_bytes() == b"mine"
    run_cli("apply", photo, "-k", "sobel", "-o", target, "--overwrite").ok()
    assert load_image(target).shape == (400, 600, 3)


def test_an_output_that_is_an_input_is_refused_even_with_overwrite(photo: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.png"
    copy.write_bytes(photo.read_bytes())
    result = run_cli("apply", copy, "-k", "sobel", "-o", copy, "--overwrite")
    assert result.exit_code == 6
    assert copy.read_bytes() == photo.read_bytes()


def test_one_output_for_two_inputs_is_usage(photo: Path, grey_photo: Path, tmp_path: Path) -> None:
    assert run_cli("apply", photo, grey_photo, "-k", "sobel", "-o", tmp_path / "x.png").exit_code == 2


def test_the_same_stem_in_two_folders_clashes(photo: Path, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "p.png").write_bytes(photo.read_bytes())
    out = tmp_path / "out"
    result = run_cli("apply", tmp_path / "a/p.png", tmp_path / "b/p.png", "-k", "sobel", "--out-dir", out)
    _assert_refused(result, 6, out, "a/p.png", "b/p.png")


def test_a_template_that_gives_all_maps_one_name_clashes(photo: Path, out: Path) -> None:
    result = run_cli("apply", photo, "-k", "sobel", "--out-dir", out, "--name", "{stem}.{ext}")
    _assert_refused(result, 6, out, "{kernel}")


def test_three_inputs_one_broken(photo: Path, grey_photo: Path, tmp_path: Path, out: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(photo.read_bytes()[:50_000])
    result = run_cli("apply", photo, broken, grey_photo, "-k", "sobel", "--out-dir", out, "--json", "-q")
    assert result.exit_code == 7
    *images, summary = result.json_lines
    assert {one["status"] for one in images} == {"done", "failed"}
    assert summary["failed"] == 1
    assert summary["failures"][0]["input"]["path"] == str(broken)
    assert summary["failures"][0]["error"]["exit_code"] == 3
    assert sorted(path.name for path in out.glob("[!.]*")) == ["camera_sobel", "coffee_sobel"]
    assert [path.name for path in out.rglob(".*")] == [".convcli-manifest.jsonl"]


def test_fail_fast_stops(tmp_path: Path, photo: Path, out: Path) -> None:
    (tmp_path / "a.png").write_text("no picture")
    result = run_cli("apply", tmp_path / "a.png", photo, "-k", "sobel", "--out-dir", out, "--fail-fast", "-q")
    assert result.exit_code == 7
    assert not out.exists()


def test_a_tiny_image_and_a_large_kernel(tmp_path: Path) -> None:
    path = save_image(tmp_path / "dot.png", np.full((1, 1), 7, np.uint8))
    run_cli("apply", path, "-k", "gaussian:sigma=5", "-o", tmp_path / "o.npy", "-q").ok()
    assert np.load(tmp_path / "o.npy") == pytest.approx(7, rel=1e-5)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--tone", "loud"], "auto"),
        (["--engine", "gpu"], "gemm"),
        (["--colormap", "pink"], "viridis"),
        (["--padding-mode", "mirrored"], "mirror"),
        (["--name", "{nam}.{ext}"], "{kernel}"),
        (["--name", "{stem"], "{kernel}"),
        (["--name", "{stem.__class__}.{ext}"], "{kernel}"),
        (["--name", "../{stem}.{ext}"], ".."),
        (["--name", "{stem}.jpg"], ".{ext}"),
        (["--name", ""], "empty"),
        (["--resume", "--skip-existing"], "exclude"),
        (["--outputs", "all"], "--stack"),
        (["--format", "npy", "--tone", "abs"], "--tone"),
        (["--alpha", "keep"], "--layout picture"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_wrong_word_is_usage_for_any_number_of_inputs(
    flags: list[str], says: str, photo: Path, grey_photo: Path, out: Path
) -> None:
    for inputs in ([photo], [photo, grey_photo]):
        _assert_refused(run_cli("apply", *inputs, "-k", "sobel", *flags, "--out-dir", out), 2, out, says)
        assert run_cli("apply", *inputs, "-k", "sobel", *flags, "--out-dir", out, "--dry-run").exit_code == 2


@pytest.mark.parametrize(
    "flags",
    [
        ["-o", "x.png", "--out-dir", "y"],
        ["-o", "x.png", "--name", "{stem}.{ext}"],
        ["-o", "x.npy", "--depth", "8"],
        ["-o", "x.npy", "--colormap", "viridis"],
        ["-o", "x.png", "--format", "tiff"],
        ["-o", "x.png", "--colormap", "viridis"],
        ["-o", ""],
    ],
    ids=" ".join,
)
def test_what_would_be_ignored_is_refused(flags: list[str], photo: Path, tmp_path: Path) -> None:
    result = run_cli("apply", photo, "-k", "sobel", *flags, cwd=tmp_path)
    assert result.exit_code == 2, result.stderr
    assert "hint:" in result.stderr
    assert not list(tmp_path.iterdir())


def test_an_empty_input_name_is_usage_not_this_folder(tmp_path: Path) -> None:
    assert run_cli("apply", "", "-k", "sobel", cwd=tmp_path).exit_code == 2


def test_a_report_is_named_before_anything_is_written(photo: Path, grey_photo: Path, tmp_path: Path, out: Path) -> None:
    precious = tmp_path / "r.json"
    precious.write_text("mine")
    for inputs in ([photo], [photo, grey_photo]):
        flags = ["-k", "sobel", "--out-dir", out, "--report", precious]
        _assert_refused(run_cli("apply", *inputs, *flags), 6, out, "--overwrite")
    copy = tmp_path / "copy.csv"
    copy.write_bytes(photo.read_bytes())
    flags = ["-k", "sobel", "--out-dir", out, "--report", copy, "--overwrite"]
    _assert_refused(run_cli("apply", copy, grey_photo, *flags), 6, out, "copy.csv")
    assert precious.read_text() == "mine"
    assert copy.read_bytes() == photo.read_bytes()


def test_an_absurd_output_is_refused_with_its_size(photo: Path, out: Path) -> None:
    result = run_cli("apply", photo, "-k", "sobel", "--padding", "100000", "--out-dir", out)
    _assert_refused(result, 6, out, "40,199,438,004", "--max-pixels")


def test_a_failed_input_is_in_the_json_too(tmp_path: Path) -> None:
    result = run_cli("apply", tmp_path / "none.png", "-k", "sobel", "--json")
    assert result.exit_code == 3


def test_standard_output_holds_one_picture_and_nothing_else(photo: Path) -> None:
    result = run_cli("apply", "-r", photo, "-k", "box", "-o", "-").ok()
    assert result.stdout_bytes.endswith(b"IEND\xaeB`\x82")


@pytest.mark.subprocess
def test_a_full_standard_output_is_an_output_error(photo: Path, tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full on this system")
    command = [sys.executable, "-m", "convcli", "apply", photo, "-k", "sobel", "--out-dir", tmp_path / "out"]
    with full.open("w") as stream:
        result = subprocess.run(command, stdout=stream, stderr=subprocess.PIPE, text=True, check=False)
    assert result.returncode == 6
    assert "Traceback" not in result.stderr
    assert "Exception ignored" not in result.stderr


def test_a_bug_is_a_traceback_and_exit_1(photo: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convcli.pipeline.transforms.bank.plan_engine", lambda *_args, **_more: 1 / 0)
    result = run_cli("apply", photo, "-k", "sobel", "--out-dir", out)
    assert result.exit_code == 1
    assert "ZeroDivisionError" in result.stderr
    assert "report" in result.stderr


def test_a_bug_in_one_file_ends_with_1_and_the_others_are_done(
    photo: Path, grey_photo: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from convcli.pipeline.run import Pipeline

    run = Pipeline.run

    def broken(self: Pipeline, plan: object) -> dict[str, object]:
        return run(self, plan) if plan.input.stem == "camera" else {}["none"]

    monkeypatch.setattr(Pipeline, "run", broken)
    result = run_cli("apply", photo, grey_photo, "-k", "sobel", "--out-dir", out)
    assert result.exit_code == 1
    assert "KeyError" in result.stderr
    assert (out / "camera_sobel" / "report.json").exists()
