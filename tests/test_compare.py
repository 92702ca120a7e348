"""compare and explain: the experiments a student would make, on a photograph and by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import run_cli, save_image
from PIL import Image

from convcli import conv2d
from convcli.engine import ENGINES, native, parse_border, plan_conv
from convcli.engine.compare import compare_engines
from convcli.engine.explain import explain_sample
from convcli.errors import GeometryError


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A small picture with structure: smooth, with edges and noise."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:48, :64]
    samples = 100 + 60 * np.sin(rows / 5)[..., None] + 40 * (columns > 30)[..., None] * [1, 0.5, 0.2]
    path = tmp_path / "picture.png"
    Image.fromarray((samples + random.normal(0, 5, (48, 64, 3))).clip(0, 255).astype(np.uint8)).save(path)
    return path


def test_all_engines_agree_on_a_picture(picture):
    result = run_cli("compare", picture, "-k", "gaussian:sigma=2", "--json").ok().json
    assert [each["engine"] for each in result["engines"]] == list(ENGINES)
    assert result["agree"]
    assert sum(each["picked"] for each in result["engines"]) == 1
    ran = [each for each in result["engines"] if native.core or each["engine"] != "direct"]
    assert len(ran) == len(ENGINES) - (native.core is None)
    for each in ran:
        assert each["why_not"] is None, each
        assert each["seconds"] > 0
        assert each["relative"] < 5e-6
    by_name = {each["engine"]: each for each in result["engines"]}
    assert by_name["reference"]["max_difference"] < 1e-4
    assert by_name["im2col"]["memory_bytes"] > 4 * 48 * 64 * 169  # every sample once a tap


def test_whole_numbers_differ_by_nothing(picture):
    text = run_cli("compare", picture, "-k", "1 2; 3 -4", "--channels", "r").ok().stdout
    lines = {line.split()[0]: line for line in text.splitlines() if line.strip()}
    for engine in ("reference", "im2col", "gemm", *(["direct"] if native.core else [])):
        assert "exact" in lines[engine], text
    assert "exact" not in lines["fft"], text
    assert f"all {6 if native.core else 5} engines compute the same convolution: they differ by rounding only" in text
    assert "not run: separable: a 2×2 kernel has rank 2" in text


def test_engines_that_cannot_or_would_take_too_long_are_listed_with_why():
    def planner(engine="auto", dtype="float32"):
        return plan_conv((1, 20, 20), np.ones((1, 1, 3, 3)), engine=engine, dtype=dtype)

    found = compare_engines(planner, np.ones((1, 20, 20)), np.ones((1, 1, 3, 3)), None, limit_s=1e-7)
    assert all(each.seconds is None for each in found.measurements)
    assert [each.engine for each in found.measurements] == list(ENGINES)
    assert all(each.why_not for each in found.measurements)
    assert "--limit" in str(found.measurements[0].why_not)


@pytest.mark.parametrize("limit", ["0", "-1", "nan", "0.0000001"])
def test_no_verdict_about_no_engine(picture, limit):
    result = run_cli("compare", picture, "-k", "1 0; 0 1", f"--limit={limit}")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "--limit" in result.stderr


def test_an_engine_that_is_wrong_is_found_out(monkeypatch):
    """The proof that the comparison can fail: one engine drops the last tap."""
    from convcli.engine.algorithms.gemm import Im2col

    image, weight = np.random.default_rng(0).standard_normal((1, 20, 20)), np.ones((1, 1, 3, 3))

    def planner(engine="auto", dtype="float32"):
        return plan_conv(image.shape, weight, engine=engine, dtype=dtype)

    assert compare_engines(planner, image, weight, None).agree
    load = Im2col.load

    def broken(self, weight):
        weight = weight.copy()
        weight[..., -1] = 0
        return load(self, weight)

    monkeypatch.setattr(Im2col, "load", broken)
    found = compare_engines(planner, image, weight, None)
    assert not found.agree
    wrong = [m.engine for m in found.measurements if m.relative is not None and m.relative > 1e-4]
    assert wrong == ["im2col"]


@pytest.mark.parametrize("kernel", ["sobel", "scharr", "farid"])
def test_products_that_cancel_on_a_flat_image_are_no_disagreement(kernel, tmp_path):
    flat = save_image(tmp_path / "flat.png", np.full((64, 64), 200, np.uint8))
    assert "differ by rounding only" in run_cli("compare", flat, "-k", kernel).ok().stdout


def test_the_reference_samples_rows_of_large_jobs(monkeypatch):
    monkeypatch.setattr("convcli.engine.compare.REFERENCE_SECONDS", 1e-4)
    monkeypatch.setattr("convcli.engine.compare.REPEAT_SECONDS", 0.0)
    image, weight = np.random.default_rng(0).standard_normal((1, 300, 200)), np.ones((1, 1, 9, 9))
    found = compare_engines(
        lambda engine="auto", dtype="float32": plan_conv(image.shape, weight, engine=engine, dtype=dtype),
        image,
        weight,
        None,
    )
    assert found.agree
    assert 0 < found.n_compared < found.n_rows


def test_explain_writes_the_sum_out(picture):
    samples = np.asarray(Image.open(picture)).astype(int)
    text = run_cli("explain", picture, "-k", "sobel", "--at", "10,20", "--map", "x-g").ok().stdout
    patch = samples[9:12, 19:22, 1]
    expected = int((patch * [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]).sum())
    assert f"sum of 9 products = {expected}" in text
    assert f"gives {expected}, the same" in text
    assert str(patch[1, 2]) in text
    assert "one of 6" in text


def test_explain_marks_the_border(picture):
    told = run_cli("explain", picture, "-k", "box:size=3", "--at", "0,63", "--padding-mode", "symmetric", "--json").ok()
    inside = told.json["inside"][0]
    assert inside == [[False, False, False], [True, True, False], [True, True, False]]
    text = run_cli("explain", picture, "-k", "box:size=3", "--at", "0,63").ok().stdout
    assert "5 of 9 samples lie outside" in text
    assert text.count("[") >= 5


@pytest.mark.parametrize("name", ["zeros", "constant:7", "replicate", "reflect", "symmetric", "circular"])
def test_every_sample_explained_adds_up(name):
    random = np.random.default_rng(2)
    image, weight, bias = random.standard_normal((4, 5, 6)), random.standard_normal((6, 2, 3, 4)), np.arange(6.0)
    plan = plan_conv(image.shape, weight, (2, 1), ((2, 1), (5, 0)), (1, 2), 2, parse_border(name), dtype="float64")
    expected = conv2d(image, weight, bias, (2, 1), ((2, 1), (5, 0)), (1, 2), 2, padding_mode=name, engine="reference")
    for at in np.ndindex(*plan.output_shape):
        told = explain_sample(plan, image, weight, bias, *at)
        assert told.value == pytest.approx(expected[at], abs=1e-12)
        assert told.products.sum() + told.bias == pytest.approx(told.value, abs=1e-12)


def test_every_sample_of_a_transposed_convolution_adds_up():
    from convcli import conv_transpose2d

    random = np.random.default_rng(3)
    image, weight = random.standard_normal((2, 3, 4)), random.standard_normal((2, 3, 2, 3))
    plan = plan_conv(
        image.shape, weight, (3, 2), ((0, 0), (1, 1)), (2, 1), transposed=True, output_padding=(1, 0), dtype="float64"
    )
    expected = conv_transpose2d(image, weight, None, (3, 2), ((0, 0), (1, 1)), (1, 0), 1, (2, 1), engine="reference")
    assert expected.shape == plan.output_shape
    for at in np.ndindex(*plan.output_shape):
        assert explain_sample(plan, image, weight, None, *at).value == pytest.approx(expected[at], abs=1e-12)


def test_samples_that_are_not_there_are_refused(picture):
    with pytest.raises(GeometryError):
        explain_sample(
            plan_conv((1, 3, 3), np.ones((1, 1, 3, 3))), np.ones((1, 3, 3)), np.ones((1, 1, 3, 3)), None, 1, 0, 0
        )
    assert run_cli("explain", picture, "-k", "sobel", "--at", "48,0").exit_code == 5
    assert run_cli("explain", picture, "-k", "sobel", "--at", "4").exit_code == 2
    near = run_cli("explain", picture, "-k", "sobel", "--at", "4,4", "--map", "x-q")
    assert near.exit_code == 2
    assert "x-r" in near.stderr


def test_large_windows_are_not_written_out_but_are_in_json(picture):
    text = run_cli("explain", picture, "-k", "gaussian:sigma=5", "--at", "4,4").ok().stdout
    assert "--json" in text
    told = run_cli("explain", picture, "-k", "gaussian:sigma=5", "--at", "4,4", "--json").ok().json
    assert abs(np.sum(told["products"]) - told["value"]) < 1e-9


@pytest.mark.parametrize("command", ["compare -k sobel", "explain -k sobel --at 3,4", "play -o play.html --overwrite"])
def test_frames_and_losses_of_reading_are_told_as_apply_tells_them(command: str, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    first, *rest = (Image.fromarray(random.integers(0, 256, (9, 8, 3), dtype=np.uint8)) for _ in range(3))
    first.save(tmp_path / "three.gif", save_all=True, append_images=rest)
    first.save(tmp_path / "one.png")
    name, *flags = command.split()
    told = run_cli(name, tmp_path / "three.gif", *flags, cwd=tmp_path).ok()
    lost = "palette is expanded to RGB"
    applied = run_cli("apply", tmp_path / "three.gif", "-k", "box", "--frames", "0", "--dry-run").ok()
    assert f"note     {lost}" in applied.stdout
    assert told.stderr == f"convcli: note: only the first of 3 frames is read\nconvcli: note: {lost}\n"
    assert run_cli(name, tmp_path / "one.png", *flags, cwd=tmp_path).ok().stderr == ""
