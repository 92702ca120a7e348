"""The main job: pictures in, maps and reports out, values held against SciPy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from conftest import load_image, run_cli, save_image
from numpy.typing import NDArray
from scipy import ndimage

SOBEL_X = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float64)
SOBEL_Y = SOBEL_X.T


def correlate(plane: NDArray, taps: NDArray) -> NDArray[np.float64]:
    """SciPy's correlation in float64 with edges repeated, the command's defaults."""
    return ndimage.correlate(plane.astype(np.float64), taps, mode="nearest")


def stored(values: NDArray[np.float64], full: int = 255) -> NDArray:
    return np.clip(np.rint(values), 0, full).astype(np.uint8 if full == 255 else np.uint16)


def test_an_rgb_photo_gives_six_maps_equal_to_scipy(photo: Path, tmp_path: Path) -> None:
    result = run_cli("apply", photo, "-k", "sobel", "--out-dir", tmp_path, "--json").ok()
    folder = tmp_path / "coffee_sobel"
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        ["report.json", *(f"{k}-{c}.png" for k in "xy" for c in "rgb")]
    )
    samples = load_image(photo)
    for plane, channel in enumerate("rgb"):
        for name, taps in (("x", SOBEL_X), ("y", SOBEL_Y)):
            expected = stored(np.abs(correlate(samples[..., plane], taps)))
            np.testing.assert_array_equal(load_image(folder / f"{name}-{channel}.png"), expected)
    assert result.json["shape"]["output"] == [6, 400, 600]
    assert json.loads((folder / "report.json").read_text())["shape"]["output"] == [6, 400, 600]


def test_a_grey_photo_gives_two_maps(grey_photo: Path, tmp_path: Path) -> None:
    run_cli("apply", grey_photo, "-k", "sobel", "--out-dir", tmp_path).ok()
    assert sorted(path.name for path in (tmp_path / "camera_sobel").glob("*.png")) == ["x-l.png", "y-l.png"]


def test_raw_maps_are_the_float_values(photo: Path, tmp_path: Path) -> None:
    run_cli("apply", photo, "-k", "sobel", "-o", tmp_path / "maps.npy", "-q").ok()
    maps = np.load(tmp_path / "maps.npy")
    assert maps.dtype == np.float32
    samples = load_image(photo)
    expected = [correlate(samples[..., c], taps) for c in range(3) for taps in (SOBEL_X, SOBEL_Y)]
    np.testing.assert_allclose(maps, expected, rtol=0, atol=1e-3)


def test_o_png_is_the_magnitude_in_the_colours_of_the_input(photo: Path, tmp_path: Path) -> None:
    run_cli("apply", photo, "-k", "sobel", "-o", tmp_path / "edges.png").ok()
    samples = load_image(photo)
    expected = np.stack(
        [np.hypot(correlate(samples[..., c], SOBEL_X), correlate(samples[..., c], SOBEL_Y)) for c in range(3)], axis=2
    )
    difference = load_image(tmp_path / "edges.png").astype(int) - stored(expected)
    assert np.abs(difference).max() <= 1  # a root that ends near .5 in float32
    assert (difference != 0).mean() < 1e-4


def test_one_kernel_and_o_is_a_filtered_picture(photo: Path, tmp_path: Path) -> None:
    run_cli("apply", photo, "-k", "sharpen", "-o", tmp_path / "sharp.jpg").ok()
    assert load_image(tmp_path / "sharp.jpg").shape == (400, 600, 3)
    run_cli("apply", photo, "-k", "0 0 0; 0 1 0; 0 0 0", "-o", tmp_path / "same.png").ok()
    np.testing.assert_array_equal(load_image(tmp_path / "same.png"), load_image(photo))


def test_a_bank_without_a_combination_is_a_sheet_and_it_is_said(grey_photo: Path, tmp_path: Path) -> None:
    result = run_cli("apply", grey_photo, "-k", "identity", "-k", "box", "-o", tmp_path / "s.png").ok()
    assert "sheet" in result.stdout
    assert load_image(tmp_path / "s.png").shape[1] > 512


def test_stride_padding_dilation_and_border_reach_the_engine(photo: Path, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    flags = ["--stride", "2", "--padding", "3", "--dilation", "2", "--groups", "auto", "--padding-mode", "zeros"]
    result = run_cli("apply", photo, "-k", "sobel", *flags, "-o", tmp_path / "m.npy", "--json").ok()
    planes = torch.from_numpy(load_image(photo).astype(np.float64).transpose(2, 0, 1))[None]
    weight = torch.from_numpy(np.tile(np.stack([SOBEL_X, SOBEL_Y])[:, None], (3, 1, 1, 1)))
    expected = torch.nn.functional.conv2d(planes, weight, stride=2, padding=3, dilation=2, groups=3)[0].numpy()
    maps = np.load(tmp_path / "m.npy")
    assert maps.shape == expected.shape == tuple(result.json["shape"]["output"])
    np.testing.assert_allclose(maps, expected, rtol=1e-5, atol=1e-2)


def test_groups_1_adds_the_planes(photo: Path, tmp_path: Path) -> None:
    run_cli("apply", photo, "-k", "sobel", "--groups", "1", "-o", tmp_path / "m.npy", "-q").ok()
    expected = correlate(load_image(photo).astype(np.float64).sum(axis=2), SOBEL_X)
    np.testing.assert_allclose(np.load(tmp_path / "m.npy")[0], expected, atol=1e-2)


@pytest.mark.parametrize(("mode", "expected"), [("correlate", range(9, 0, -1)), ("convolve", range(1, 10))])
def test_an_impulse_pins_the_orientation(mode: str, expected: range, tmp_path: Path) -> None:
    impulse = np.zeros((5, 5), np.uint8)
    impulse[2, 2] = 1
    path = save_image(tmp_path / "impulse.png", impulse)
    run_cli("apply", path, "-k", "1 2 3; 4 5 6; 7 8 9", "--mode", mode, "-o", tmp_path / "m.npy", "-q").ok()
    assert np.load(tmp_path / "m.npy")[0, 1:4, 1:4].ravel().tolist() == list(expected)


def _edges(tmp_path: Path) -> Path:
    """A rising and a falling edge of the same step, 100."""
    return save_image(tmp_path / "edges.png", np.tile(np.uint8([50] * 4 + [150] * 4 + [50] * 4), (6, 1)))


@pytest.mark.parametrize(
    ("tone", "rising", "falling"),
    [("auto", 255, 255), ("clip", 255, 0), ("offset:128", 255, 0), ("signed", 255, 1), ("scale:0.5", 200, 0)],
)
def test_tone_never_wraps_and_counts_what_it_clips(tone: str, rising: int, falling: int, tmp_path: Path) -> None:
    result = run_cli(
        "apply", _edges(tmp_path), "-k", "sobel", "--tone", tone, "--out-dir", tmp_path, "--json", "--quiet"
    ).ok()
    row = load_image(tmp_path / "edges_sobel" / "x-l.png")[3]
    assert (row[4], row[8]) == (rising, falling)  # the response is +400 and -400
    x = next(one for one in result.json["maps"] if one["kernel"] == "x")
    values = {"offset:128": (-272, 528), "scale:0.5": (-200, 200)}.get(tone, (-400, 400))
    low = 0 if tone in ("auto", "signed") else 12 * (values[0] < 0)
    high = {"auto": 24, "signed": 0}.get(tone, 12 * (values[1] > 255))
    assert (x["clipped_low"], x["clipped_high"]) == (low, high)
    assert (x["min"], x["max"]) == (-400, 400)


def test_clipping_above_a_thousandth_warns_and_names_the_flag(tmp_path: Path) -> None:
    result = run_cli("apply", _edges(tmp_path), "-k", "sobel", "--out-dir", tmp_path).ok()
    assert "clipped" in result.stderr
    assert "--tone" in result.stderr


def test_16_bit_samples_keep_their_units(tmp_path: Path, rng: np.random.Generator) -> None:
    samples = rng.integers(0, 65536, (20, 30), dtype=np.uint16)
    path = save_image(tmp_path / "deep.png", samples)
    run_cli("apply", path, "-k", "box", "-o", tmp_path / "out.png", "-q").ok()
    expected = stored(correlate(samples, np.full((3, 3), 1 / 9)), 65535)
    assert np.abs(load_image(tmp_path / "out.png").astype(int) - expected).max() <= 1


def test_alpha_does_not_bleed_into_colour(tmp_path: Path) -> None:
    """Red opaque beside green transparent: the blurred picture holds no green."""
    samples = np.zeros((9, 10, 4), np.uint8)
    samples[:, :5] = (255, 0, 0, 255)
    samples[:, 5:] = (0, 255, 0, 0)
    path = save_image(tmp_path / "alpha.png", samples)
    run_cli("apply", path, "-k", "box", "-o", tmp_path / "out.png", "-q").ok()
    out = load_image(tmp_path / "out.png")
    assert out.shape == (9, 10, 4)
    assert out[..., 1].max() == 0
    assert out[4, :, 3].tolist() == [255] * 4 + [170, 85] + [0] * 4
    assert out[4, :6, 0].min() == 255
    run_cli("apply", path, "-k", "box", "-o", tmp_path / "filter.png", "--alpha", "filter", "-q").ok()
    assert load_image(tmp_path / "filter.png")[4, 5, 1] == 170
    run_cli("apply", path, "-k", "box", "-o", tmp_path / "keep.png", "--alpha", "keep", "-q").ok()
    np.testing.assert_array_equal(load_image(tmp_path / "keep.png")[..., 3], samples[..., 3])
    run_cli("apply", path, "-k", "box", "-o", tmp_path / "drop.png", "--alpha", "drop", "-q").ok()
    assert load_image(tmp_path / "drop.png").shape == (9, 10, 3)


def test_edges_of_a_picture_with_alpha_keep_its_alpha(tmp_path: Path, rng: np.random.Generator) -> None:
    samples = rng.integers(0, 256, (9, 10, 4), dtype=np.uint8)
    path = save_image(tmp_path / "alpha.png", samples)
    run_cli("apply", path, "-k", "sobel", "-o", tmp_path / "out.png", "-q").ok()
    np.testing.assert_array_equal(load_image(tmp_path / "out.png")[..., 3], samples[..., 3])


def test_channels_luma_and_unit(photo: Path, tmp_path: Path) -> None:
    run_cli("apply", photo, "-k", "box", "--channels", "luma", "--unit", "-o", tmp_path / "m.npy", "-q").ok()
    run_cli("apply", photo, "-k", "box", "--channels", "luma", "-o", tmp_path / "own.npy", "-q").ok()
    np.testing.assert_allclose(np.load(tmp_path / "own.npy"), 255 * np.load(tmp_path / "m.npy"), atol=1e-2)
    run_cli("apply", photo, "-k", "sobel", "--channels", "luma", "-o", tmp_path / "edges.png", "-q").ok()
    assert load_image(tmp_path / "edges.png").shape == (400, 600)
    samples = load_image(photo) / 255.0
    luma = samples @ [0.299, 0.587, 0.114]
    np.testing.assert_allclose(np.load(tmp_path / "m.npy")[0], correlate(luma, np.full((3, 3), 1 / 9)), atol=1e-5)


def test_several_kernels_stack_into_one_bank(grey_photo: Path, tmp_path: Path) -> None:
    result = run_cli("apply", grey_photo, "-k", "sobel", "-k", "laplacian4", "--out-dir", tmp_path, "--json").ok()
    assert len(result.json["maps"]) == 3
    assert result.json["kernel"]["shape"] == [3, 1, 3, 3]


def test_stdin_and_stdout_carry_only_bytes(photo: Path) -> None:
    result = run_cli("apply", "-", "-k", "box", "-o", "-", stdin=photo.read_bytes()).ok()
    assert result.stdout_bytes.startswith(b"\x89PNG")
    assert result.stdout_bytes.endswith(b"IEND\xaeB`\x82")


def test_dry_run_writes_nothing_and_predicts_everything(photo: Path, tmp_path: Path) -> None:
    planned = run_cli("apply", photo, "-k", "sobel", "--out-dir", tmp_path / "out", "--dry-run", "--json").ok().json
    assert not (tmp_path / "out").exists()
    done = run_cli("apply", photo, "-k", "sobel", "--out-dir", tmp_path / "out", "--json").ok().json
    assert planned["images"][0]["shape"] == done["shape"]
    assert [one["path"] for one in planned["images"][0]["outputs"]] == [one["path"] for one in done["outputs"]]
    assert planned["images"][0]["conv"] == done["conv"]


def test_the_terminal_report_has_the_shapes(photo: Path, tmp_path: Path) -> None:
    text = run_cli("apply", photo, "-k", "sobel", "--out-dir", tmp_path, "--stride", "2").ok().stdout
    assert "3x400x600" in text
    assert "6x200x300" in text
    assert "x-r" in text


def test_the_name_template_places_files(photo: Path, tmp_path: Path) -> None:
    template = "{stem}/{bank}/{index}-{kernel}{channel}.{ext}"
    run_cli("apply", photo, "-k", "sobel", "--out-dir", tmp_path, "--name", template, "-q").ok()
    assert (tmp_path / "coffee" / "sobel" / "5-yb.png").exists()


@pytest.mark.parametrize("suffix", [".json", ".csv", ".md", ".html"])
def test_reports_in_every_format_hold_every_map(suffix: str, photo: Path, tmp_path: Path) -> None:
    report = tmp_path / f"report{suffix}"
    run_cli("apply", photo, "-k", "sobel", "--out-dir", tmp_path, "--report", report, "-q").ok()
    text = report.read_text()
    for name in ("x-r", "y-b"):
        assert name in text


def test_a_stack_runs_and_its_maps_are_those_of_the_layers(photo: Path, tmp_path: Path) -> None:
    stack = tmp_path / "halve.toml"
    stack.write_text(
        'layers = [{layer = "depthwise:k=3,p=1,bias=false", name = "blur", weight = "box", padding_mode = "replicate"},'
        ' {layer = "avgpool:2", name = "half"}]'
    )
    result = run_cli("apply", photo, "--stack", stack, "-o", tmp_path / "half.npy", "--json").ok()
    samples = load_image(photo).astype(np.float64)
    blurred = np.stack([correlate(samples[..., c], np.full((3, 3), 1 / 9)) for c in range(3)])
    expected = blurred.reshape(3, 200, 2, 300, 2).mean(axis=(2, 4))
    np.testing.assert_allclose(np.load(tmp_path / "half.npy"), expected, atol=1e-3)
    assert result.json["shape"]["output"] == [3, 200, 300]
    run_cli("apply", photo, "--stack", stack, "--outputs", "all", "--out-dir", tmp_path, "--unit", "-q").ok()
    assert len(list((tmp_path / "coffee_halve").glob("*.png"))) == 6
    assert load_image(tmp_path / "coffee_halve" / "blur-box-r.png").shape == (400, 600)


def test_a_stack_refuses_what_it_would_have_to_ignore(photo: Path, tmp_path: Path) -> None:
    stack = tmp_path / "relu.toml"
    stack.write_text('layers = ["relu"]')
    assert run_cli("apply", photo, "--stack", stack, "--stride", "2").exit_code == 2
    assert run_cli("apply", photo, "--stack", stack, "-k", "sobel").exit_code == 2
    assert run_cli("apply", photo, "--stack", tmp_path / "none.toml").exit_code == 2


def test_a_sidecar_says_how_a_stampless_file_was_made(photo: Path, tmp_path: Path) -> None:
    run_cli("apply", photo, "-k", "sobel", "-o", tmp_path / "m.npy", "-q").ok()
    assert json.loads((tmp_path / "m.npy.json").read_text())["conv"]["mode"] == "correlate"


def test_transposed_with_stride_2_undoes_haar(grey_photo: Path, tmp_path: Path) -> None:
    """Transposed convolution of a bank run depthwise: an impulse per sample spreads as its taps."""
    run_cli("apply", grey_photo, "-k", "1 2; 3 4", "--transposed", "--stride", "2", "--padding", "0", "-o",
            tmp_path / "up.npy", "-q").ok()  # fmt: skip
    samples = load_image(grey_photo).astype(np.float64)
    np.testing.assert_allclose(np.load(tmp_path / "up.npy")[0], np.kron(samples, [[1, 2], [3, 4]]))


def test_anchor_moves_the_kernel(tmp_path: Path) -> None:
    impulse = np.zeros((5, 5), np.uint8)
    impulse[2, 2] = 1
    path = save_image(tmp_path / "impulse.png", impulse)
    run_cli("apply", path, "-k", "1 2 3", "--anchor", "0x0", "-o", tmp_path / "m.npy", "-q").ok()
    assert np.load(tmp_path / "m.npy")[0, 2].tolist() == [3, 2, 1, 0, 0]


def test_what_is_not_a_number_is_counted_and_said(tmp_path: Path) -> None:
    from PIL import Image

    samples = np.full((9, 9), 0.5, np.float32)
    samples[4, 4] = np.nan
    Image.fromarray(samples).save(tmp_path / "nan.tif")
    result = run_cli("apply", tmp_path / "nan.tif", "-k", "box", "-o", tmp_path / "o.png", "--json").ok()
    assert result.json["maps"][0]["not_a_number"] == 9
    assert "not a number" in result.stderr


def test_a_batch_says_what_was_clipped_and_converted(photo: Path, grey_photo: Path, tmp_path: Path) -> None:
    result = run_cli("apply", photo, grey_photo, "-k", "sobel", "--layout", "picture", "--out-dir", tmp_path).ok()
    assert "2 of 2 inputs" in result.stderr
    assert "clipped" in result.stderr


def test_gain_and_offset_map_samples_back_to_values(grey_photo: Path, tmp_path: Path) -> None:
    result = run_cli("apply", grey_photo, "-k", "sobel", "--tone", "signed", "--out-dir", tmp_path, "--json").ok()
    one = result.json["maps"][0]
    stored_samples = load_image(Path(one["path"])).astype(np.float64)
    values = (stored_samples - one["offset"]) / one["gain"]
    assert np.abs(values - correlate(load_image(grey_photo), SOBEL_X)).max() <= 0.5 / one["gain"] + 1e-6
