"""``convcli kernels``: what list, show, check and export print, and the numbers behind it."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY, run_cli
from PIL import Image

from convcli import list_kernels, load_bank
from convcli.banks.stats import bank_stats, kernel_stats, response
from convcli.render.kernels import coloured_grid, response_lines

# --- list -------------------------------------------------------------------------------------------------------------


def test_list_names_shape_use_and_source() -> None:
    lines = run_cli("kernels", "list", "--source").ok().stdout.splitlines()
    assert lines[0].split() == ["name", "shape", "what", "for", "source"]
    sobel = next(line for line in lines if line.startswith("sobel  "))
    assert "2x3x3" in sobel
    assert "gradient" in sobel
    assert "1968" in sobel
    assert len(lines) - 2 == len(list_kernels())


def test_list_filters() -> None:
    def names(*options: str) -> set[str]:
        return {entry["name"] for entry in run_cli("kernels", "list", "--json", *options).ok().json}

    assert {"leung-malik", "schmid", "laws", "mr8"} <= names("--tag", "texture")
    assert "sobel" not in names("--tag", "texture")
    assert names("--tag", "basis", "--tag", "edge") == {"frei-chen"}
    assert "gabor-manjunath" in names("--grep", "manjunath")
    assert names("--grep", "no such words") == set()
    for tag in ("edge", "blur", "texture", "basis"):
        assert names("--tag", tag)


def test_list_json_has_parameters() -> None:
    entries = run_cli("kernels", "list", "--json", "--grep", "gaussian").ok().json
    family = next(entry for entry in entries if entry["name"] == "gaussian" and entry["kind"] == "family")
    sigma, size = family["parameters"][:2]
    assert (sigma["name"], sigma["default"], sigma["unit"], sigma["low"], sigma["high"]) == (
        "sigma",
        1.0,
        "px",
        0.1,
        500,
    )
    assert (size["default"], size["default_text"], size["low"]) == (None, "2*ceil(4*sigma)+1", 1)
    (order,) = (
        one for one in run_cli("kernels", "list", "walsh", "--json").ok().json[0]["parameters"] if one["choices"]
    )
    assert (order["default"], order["choices"]) == ("sequency", ["sequency", "hadamard"])


def test_words_filter_the_list() -> None:
    def names(*words: str) -> set[str]:
        return {line.split()[0] for line in run_cli("kernels", "list", *words).ok().stdout.splitlines()[2:]}

    assert "sobel" in names("edge")
    assert names("edge", "pillow") < names("edge")
    assert names("blur", "--tag", "pillow") == names("--grep", "blur", "--tag", "pillow")
    assert "pillow-blur" in names("blur")
    assert "nothing matches 'no-such' and 'word'" in run_cli("kernels", "list", "no-such", "word").ok().stderr


def test_show_lists_the_parameters_of_a_family() -> None:
    lines = run_cli("kernels", "show", "gabor").ok().stdout.splitlines()
    (row,) = (line for line in lines if line.startswith("wavelength"))
    assert re.split(r"  +", row) == ["wavelength", "8.0", "px", "2 to 2000", "of the wave"]
    assert any(line.startswith("part ") and "real, imaginary, pair" in line for line in lines)
    given = run_cli("kernels", "show", "gabor:wavelength=4 + 2*gaussian:sigma=1").ok().stdout
    assert given.index("parameters of gabor") < given.index("parameters of gaussian")
    assert "parameters of" not in run_cli("kernels", "show", "kirsch").ok().stdout
    shown = run_cli("kernels", "show", "log:sigma=2", "--json").ok().json
    assert [one["name"] for one in shown["parameters"]["log"]] == ["sigma", "size"]


def test_an_alias_says_whose_it_is(photo: Path, tmp_path: Path) -> None:
    assert "blur is another name of pillow-blur (Pillow ImageFilter.BLUR)" in run_cli("kernels", "show", "blur").stdout
    result = run_cli("apply", photo, "-k", "blur", "-o", tmp_path / "b.png").ok()
    assert "note     blur is another name of pillow-blur" in result.stdout
    assert "hadamard is another name of walsh-hadamard" in run_cli("kernels", "show", "hadamard").stdout
    assert "another name" not in run_cli("kernels", "show", "pillow-blur").stdout


def test_unknown_tag_is_an_error() -> None:
    result = run_cli("kernels", "list", "--tag", "egde")
    assert result.exit_code == 4
    assert "edge" in result.stderr


# --- show -------------------------------------------------------------------------------------------------------------


def test_show_prints_taps_and_facts() -> None:
    text = run_cli("kernels", "show", "sobel").ok().stdout
    for words in (
        "  -1  0  1\n  -2  0  2\n  -1  0  1\n", "sum          0   L1 8   L2 3.4641", "rank         1 (separable) of 3",
        "column     1 2 1", "row        -1 0 1", "left-right odd", "-1020 to 1020 (clips)", "6 multiplications",
        "waves of 4 px", "frequency response", "Sobel & Feldman 1968", "one picture  magnitude",
    ):  # fmt: skip
        assert words in text
    assert "\x1b" not in text


def test_show_of_a_large_bank_is_a_table_unless_all() -> None:
    short = run_cli("kernels", "show", "kirsch expand=90").ok().stdout
    assert len(short.splitlines()) < 60
    assert "--all" in short
    assert len(run_cli("kernels", "show", "--all", "kirsch expand=90").ok().stdout) > 5 * len(short)


def test_show_large_kernels_as_signs() -> None:
    text = run_cli("kernels", "show", "gabor:wavelength=8,angle=45").ok().stdout
    assert "@@" in text
    assert max(len(line) for line in text.splitlines()) < 130


def test_show_json_holds_taps_and_statistics() -> None:
    data = run_cli("kernels", "show", "--json", "gaussian:sigma=1").ok().json
    assert np.shape(data["weight"]) == (1, 1, 9, 9)
    (kernel,) = data["kernels"]
    assert kernel["rank"] == 1
    assert kernel["sigma_xy"] == pytest.approx([1, 1], abs=0.01)
    assert kernel["multiplications"] == {"direct": 81, "separable": 18}
    assert kernel["output_range_8bit"] == pytest.approx([0, 255])


def test_show_says_notes_and_escapes_names(tmp_path: Path) -> None:
    assert "bilinear" in run_cli("kernels", "show", "sobel rotate=30").ok().stdout
    file = tmp_path / "k.toml"
    file.write_text('name = "\\u001b[31mred"\nsummary = "a\\u0007b"\n[[kernel]]\nname = "\\u001b]0;x"\ntaps = [[1]]\n')
    text = (
        run_cli("kernels", "show", str(file)).ok().stdout + run_cli("kernels", "show", "--color", str(file)).ok().stdout
    )
    assert "\x07" not in text
    assert "\x1b[31mred" not in text
    assert "\x1b]0;x" not in text


def test_show_colours_on_request_only() -> None:
    assert "\x1b[" in run_cli("kernels", "show", "sobel", "--color").ok().stdout
    assert "\x1b[" not in run_cli("kernels", "show", "sobel", "--no-color").ok().stdout


def test_coloured_grid_is_signed() -> None:
    line = coloured_grid([[-1.0, 0.0, 1.0]])[0]
    blue, white, red = (str(span.style).split(" on ")[1] for span in line.spans)
    assert (blue, white, red) == ("#2166ac", "#f7f7f7", "#b2182b")
    assert line.plain == "   -1   0   1 "
    few = [str(span.style) for span in coloured_grid([[-1.0, 0.0, 1.0]], few=True)[0].spans]
    assert few == ["bold white on blue", "default", "bold white on red"]


def test_show_png_draws_every_kernel(tmp_path: Path) -> None:
    path = tmp_path / "sheet.png"
    run_cli("kernels", "show", "leung-malik", "--png", path).ok()
    with Image.open(path) as image:
        picture = np.asarray(image.convert("RGB")).astype(int)
    assert picture.shape[0] > 8 * 112
    red = (picture[..., 0] - picture[..., 2] > 100).sum()
    blue = (picture[..., 2] - picture[..., 0] > 80).sum()
    assert red > 2000
    assert blue > 2000
    again = run_cli("kernels", "show", "sobel", "--png", path)
    assert again.exit_code == 6
    assert "--overwrite" in again.stderr
    run_cli("kernels", "show", "sobel", "--png", path, "--overwrite").ok()


def test_sheet_shows_left_taps_on_the_left(tmp_path: Path) -> None:
    run_cli("kernels", "show", "[-1 0 1]", "--png", tmp_path / "k.png").ok()
    with Image.open(tmp_path / "k.png") as image:
        picture = np.asarray(image.convert("RGB")).astype(int)
    red = np.argwhere(picture[..., 0] - picture[..., 2] > 100)[:, 1]
    blue = np.argwhere(picture[..., 2] - picture[..., 0] > 80)[:, 1]
    assert blue.size > 1000
    assert blue.max() < red[red < picture.shape[1] // 2].min()  # negative taps, then positive ones


# --- statistics -------------------------------------------------------------------------------------------------------


def test_rank_and_factors() -> None:
    for spec in ("gaussian:sigma=2", "sobel#x", "box", "farid#y", "laws#L5E5", "binomial"):
        (one,) = bank_stats(load_bank(spec))
        assert one.rank == 1
        np.testing.assert_allclose(np.outer(one.column, one.row), load_bank(spec).weight[0, 0], atol=1e-15)
    ranks = [one.rank for one in bank_stats(load_bank("leung-malik"))]
    assert [ranks[index] for index in (0, 3, 18, 21)] == [1, 1, 1, 1]
    assert all(18 <= ranks[index] <= 21 for index in (1, 2, 4, 5))
    assert all(2 <= rank <= 3 for rank in ranks[36:])
    assert bank_stats(load_bank("laplacian8"))[0].rank == 2
    assert bank_stats(load_bank("[0]"))[0].rank == 1


def test_symmetry_names() -> None:
    found = {name: bank_stats(load_bank(name))[0].symmetry for name in ("gaussian", "emboss", "identity", "roberts")}
    assert "quarter-turn even" in found["gaussian"]
    assert found["emboss"] == ("transpose even",)
    assert "transpose even" in found["roberts"]
    assert bank_stats(load_bank("1 2; 3 4"))[0].symmetry == ()


def test_output_range_is_reached_by_an_image() -> None:
    for spec in ("emboss", "sobel#x", "gaussian", "pillow-contour"):
        bank = load_bank(spec)
        low, high = bank_stats(bank)[0].output_range
        taps, bias = bank.weight[0, 0], (bank.bias or (0.0,))[0]
        assert (taps * np.where(taps > 0, 255, 0)).sum() + bias == pytest.approx(high)
        assert (taps * np.where(taps < 0, 255, 0)).sum() + bias == pytest.approx(low)


def test_equivalent_sigma() -> None:
    assert bank_stats(load_bank("gaussian:sigma=3"))[0].sigma_xy == pytest.approx((3, 3), abs=0.01)
    assert bank_stats(load_bank("box:size=1x9"))[0].sigma_xy == pytest.approx((np.sqrt(80 / 12), 0))
    assert bank_stats(load_bank("sobel"))[0].sigma_xy is None


@pytest.mark.parametrize(("angle", "right", "up"), [(0, 1, 0), (45, 1, 1), (90, 0, 1), (135, 1, -1)])
def test_peak_of_the_response_lies_in_the_waves_direction(angle: int, right: int, up: int) -> None:
    one = bank_stats(load_bank(f"gabor:wavelength=8,angle={angle}"))[0]
    wave = np.array([right, up]) / np.hypot(right, up) / 8
    np.testing.assert_allclose(one.peak_frequency, wave, atol=0.02)


def test_response_is_the_gain_on_a_wave() -> None:
    taps = load_bank("sobel#x").weight[0, 0]
    gains = response(taps, 16)
    x = np.arange(3) - 1
    gain = abs((taps * np.exp(2j * np.pi * 3 / 16 * x)).sum())
    assert gains[8, 8 + 3] == pytest.approx(gain)
    assert gains[8, 8] == pytest.approx(0, abs=1e-12)


def test_response_picture_is_symmetric_and_framed() -> None:
    lines = response_lines(load_bank("sobel#x").weight[0])
    assert lines[1] == lines[-1]
    middle = [line[1:-1] for line in lines[2:-1]]
    assert all(row[len(row) // 2] == " " for row in middle)  # no answer to vertical waves
    assert "@" in middle[len(middle) // 2]


def test_statistics_of_several_planes_and_volumes() -> None:
    assert kernel_stats(np.ones((3, 5, 5))).separable == 30
    assert kernel_stats(np.ones((2, 4, 3, 3))).total == 72


# --- check ------------------------------------------------------------------------------------------------------------


def test_check_every_file_that_ships() -> None:
    files = sorted((REPOSITORY / "kernels").glob("*.toml"))
    text = run_cli("kernels", "check", *files).ok().stdout
    assert text.count(": ok") == len(files)
    warnings = [line for line in text.splitlines() if "warning" in line]
    assert len(warnings) == 1  # roberts is even
    assert "2x2" in warnings[0]


def test_check_names_line_and_field(tmp_path: Path) -> None:
    bad, fine = tmp_path / "bad.toml", tmp_path / "fine.toml"
    bad.write_text('name = "bad"\norientation = "correlate"\n\n[[kernel]]\nname = "a"\ntaps = [[1, 2], [3]]\n')
    fine.write_text("[[kernel]]\ntaps = [[0]]\n")
    result = run_cli("kernels", "check", bad, fine)
    assert result.exit_code == 4
    assert f"{bad}: line 6, kernel[1].taps: ragged rows: row 1 has 2 numbers, row 2 has 1" in result.stderr
    for words in ("no orientation", "no source", "no summary", "only zeros"):
        assert words in result.stdout
    data = run_cli("kernels", "check", "--json", bad, fine).json
    assert data[0]["error"]["facts"] == {"line": 6, "field": "kernel[1].taps"}
    assert data[1]["error"] is None


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("k.csv", "1,2\n3,x\n", "line 2: 'x' is not a number"),
        ("k.csv", "1,2\n\n3,4\n5\n", "line 4: ragged"),
        ("k.json", '{"kernels": [\n {"taps": [[1]]},\n {"taps": [[true]]}]}', "line 3, kernel[2].taps"),
        ("k.json", '{"taps": [[1,]]}', "line 1, column"),
        ("k.yaml", "kernels:\n  - taps: [[1]]\n  - taps: [[1], [1, 2]]\n", "line 3, kernel[2].taps"),
        ("k.yaml", "a: [1\nb: 2\n", "line 2: not YAML"),
        ("k.toml", "name = \n", "line 1: not TOML"),
    ],
)
def test_check_names_the_line_in_other_formats(name: str, text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    result = run_cli("kernels", "check", tmp_path / name)
    assert result.exit_code == 4
    assert words in result.stderr


def test_check_lists_the_entries_of_a_checkpoint(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({f"layer{n}.weight": np.ones((2, 1, 3, 3)) for n in range(12)}, tmp_path / "net.safetensors")
    text = run_cli("kernels", "check", tmp_path / "net.safetensors").ok().stdout
    assert "12 entries" in text
    assert "layer11.weight  2x1x3x3" in text


# --- export -----------------------------------------------------------------------------------------------------------


def test_export_to_stdout_is_the_file_and_nothing_else() -> None:
    result = run_cli("kernels", "export", "sobel#x", "--format", "csv").ok()
    assert result.stdout == "-1,0,1\n-2,0,2\n-1,0,1\n"
    binary = run_cli("kernels", "export", "sobel", "--format", "npy").ok()
    np.testing.assert_array_equal(np.load(io.BytesIO(binary.stdout_bytes)), load_bank("sobel").weight)


def test_export_to_a_file_by_suffix(tmp_path: Path) -> None:
    path = tmp_path / "k.json"
    run_cli("kernels", "export", "sobel", "-o", path).ok()
    assert len(json.loads(path.read_text())["kernels"]) == 2
    before = path.read_bytes()
    refused = run_cli("kernels", "export", "kirsch", "-o", path)
    assert refused.exit_code == 6
    assert path.read_bytes() == before
    run_cli("kernels", "export", "kirsch", "-o", path, "--overwrite").ok()
    assert len(json.loads(path.read_text())["kernels"]) == 8
    assert [entry.name for entry in tmp_path.iterdir()] == ["k.json"]


def test_export_notes_go_to_stderr_and_losses_are_refused() -> None:
    result = run_cli("kernels", "export", "sobel rotate=30", "--format", "imagemagick").ok()
    assert "bilinear" in result.stderr
    assert "Correlate" in result.stderr
    refused = run_cli("kernels", "export", "gaussian:sigma=0.5", "--format", "ffmpeg")
    assert refused.exit_code == 4
    assert "--round" in refused.stderr
    rounded = run_cli("kernels", "export", "gaussian:sigma=0.5", "--format", "ffmpeg", "--round").ok()
    assert "largest error" in rounded.stderr


def test_the_limit_of_taps_is_a_flag() -> None:
    assert run_cli("kernels", "export", "box", "-f", "csv", "--max-taps", "8").exit_code == 4
    assert "--max-taps" in run_cli("kernels", "show", "box", "--max-taps", "8").stderr
    run_cli("kernels", "export", "box", "-f", "csv", "--max-taps", "9").ok()


def test_export_convolve_turns_the_taps() -> None:
    assert run_cli("kernels", "export", "1 2 3", "--format", "text", "--convolve").ok().stdout == "3 2 1\n"


def test_export_usage_errors(tmp_path: Path) -> None:
    assert run_cli("kernels", "export", "sobel").exit_code == 2
    assert run_cli("kernels", "export", "sobel", "-o", tmp_path / "k.xyz").exit_code == 2
    unknown = run_cli("kernels", "export", "sobel", "--format", "tmol")
    assert unknown.exit_code == 4
    assert "toml" in unknown.stderr
    assert run_cli("kernels", "export", "sobel", "-f", "csv", "-o", tmp_path / "no" / "k.csv").exit_code == 6


def test_export_quotes_hostile_names(tmp_path: Path) -> None:
    file = tmp_path / "k.toml"
    file.write_text(
        'name = "a\\"\\nb"\n[[kernel]]\nname = "x\\ny\\u0000"\ntaps = [[1]]\n[[kernel]]\nname = "\'"\ntaps = [[2]]\n'
    )
    bank = load_bank(str(file))
    for suffix in ("toml", "json", "yaml", "csv", "npz", "safetensors"):
        out = tmp_path / f"o.{suffix}"
        run_cli("kernels", "export", file, "-o", out).ok()
        np.testing.assert_array_equal(load_bank(str(out)).weight, bank.weight)


# --- start-up ---------------------------------------------------------------------------------------------------------

_LOADED = """
import sys
{code}
print("\\n".join(sorted(sys.modules)))
"""


def loaded_modules(code: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", _LOADED.format(code=code)], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.subprocess
def test_listing_loads_no_numpy_and_naming_reads_no_other_files() -> None:
    heavy = {"numpy", "torch", "PIL", "rich", "yaml", "onnx", "safetensors"}
    assert not heavy & loaded_modules("import convcli.banks")
    assert not heavy & loaded_modules("from convcli import list_kernels; list_kernels()")
    named = loaded_modules("from convcli import load_bank; load_bank('sobel')")
    assert not (heavy - {"numpy"}) & named
    assert "convcli.banks.catalogue" not in named
    assert not any(
        name.startswith(("convcli.banks.families", "convcli.banks.formats", "convcli.render")) for name in named
    )
    assert "numpy" in named  # the check can fail


def test_a_format_that_the_suffix_does_not_mean_is_said(tmp_path: Path) -> None:
    told = run_cli("kernels", "export", "sobel", "--format", "numpy", "-o", tmp_path / "k.npy").ok().stderr
    assert "note: k.npy holds numpy, and its suffix means npy" in told
    for format_, name in (("gmic", "k.txt"), ("numpy", "k.py"), ("ffmpeg", "k.filter")):
        told = run_cli("kernels", "export", "sobel", "--format", format_, "-o", tmp_path / name).ok().stderr
        assert "suffix" not in told
