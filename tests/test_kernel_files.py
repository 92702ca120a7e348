"""Every bank file that ships: what it must declare, and identities and published numbers it must hold."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter
from scipy.ndimage import correlate

from convcli import load_bank
from convcli.banks.library import builtin_folder
from convcli.banks.raw import parse_bank_toml
from convcli.banks.rotation import ring
from convcli.errors import KernelError

FILES = sorted(builtin_folder().glob("*.toml"))
RING = [(0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_file_declares_what_it_must(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    raw = parse_bank_toml(text, name="?")
    assert raw.name == path.stem
    for key in ("summary", "source", "orientation", "scale", "combine", "tags"):
        assert f"\n{key} = " in f"\n{text}"
    assert raw.summary
    assert len(raw.summary) <= 80
    assert raw.source
    assert raw.tags
    bank = load_bank(path.stem)
    assert bank.name == path.stem
    assert not bank.notes


def test_the_promised_files_are_there() -> None:
    promised = (
        "identity box gaussian binomial sobel sobel5 scharr prewitt roberts kirsch robinson frei-chen farid laplacian4 "
        "laplacian8 log sharpen unsharp emboss edge-enhance outline motion"
    )
    assert set(promised.split()) <= {path.stem for path in FILES}


@pytest.mark.parametrize("name", ["sobel", "sobel5", "scharr", "prewitt", "farid"])
def test_y_is_the_transpose_of_x(name: str) -> None:
    x, y = load_bank(name).weight[:, 0]
    np.testing.assert_array_equal(y, x.T)
    assert x[:, -1].sum() > 0 > x[:, 0].sum()  # brighter to the right is positive


@pytest.mark.parametrize(("name", "gain"), [("sobel", 8), ("sobel5", 128), ("scharr", 32), ("prewitt", 6)])
def test_gradient_normalisers(name: str, gain: float) -> None:
    x = load_bank(name).weight[0, 0]
    assert (x * (np.arange(x.shape[1]) - x.shape[1] // 2)).sum() == gain


@pytest.mark.parametrize(
    "name", ["box", "gaussian", "binomial", "sharpen", "sharpen8", "unsharp", "emboss", "motion", "identity"]
)
def test_sum_one(name: str) -> None:
    assert load_bank(name).weight.sum() == pytest.approx(1, abs=1e-15)


@pytest.mark.parametrize(
    "name", ["kirsch", "robinson", "robinson3", "prewitt-compass", "laplacian4", "laplacian8", "log", "outline"]
)
def test_sum_zero(name: str) -> None:
    assert np.abs(load_bank(name).weight.sum(axis=(1, 2, 3))).max() == 0


@pytest.mark.parametrize("name", ["kirsch", "robinson", "robinson3", "prewitt-compass"])
def test_compass_masks_turn_around_the_ring(name: str) -> None:
    bank = load_bank(name)
    masks = bank.weight[:, 0]
    assert bank.combine == "max"
    assert bank.kernel_names == ("090", "135", "180", "225", "270", "315", "000", "045")
    for before, after in zip(masks, np.roll(masks, -1, axis=0), strict=True):
        around = [before[place] for place in RING]
        assert [after[place] for place in RING] == around[1:] + around[:1]  # counter-clockwise by one tap
        assert after[1, 1] == before[1, 1]


@pytest.mark.parametrize("name", ["kirsch", "robinson", "robinson3", "prewitt-compass"])
def test_compass_masks_answer_most_to_their_own_direction(name: str) -> None:
    bank = load_bank(name)
    down, right = np.mgrid[-1:2, -1:2]
    for degrees, mask in zip(bank.kernel_names, bank.weight[:, 0], strict=True):
        angle = np.deg2rad(float(degrees))
        ramp = right * np.cos(angle) - down * np.sin(angle)  # brightens towards the angle, y up
        answers = [(other * ramp).sum() for other in bank.weight[:, 0]]
        assert (mask * ramp).sum() == pytest.approx(max(answers))


def test_kirsch_on_a_diagonal_step_of_ten() -> None:
    step = np.triu(np.full((9, 9), 10.0))
    answers = np.stack([correlate(step, mask) for mask in load_bank("kirsch").weight[:, 0]])
    assert answers.max(axis=0)[2:-2, 2:-2].max() == 150  # rotating in raster order gives 70
    assert (load_bank("kirsch").weight[0, 0, 1] == [-3, 0, -3]).all()


def test_roberts_sees_a_horizontal_edge() -> None:
    step = np.vstack([np.zeros((4, 6)), np.ones((4, 6))])
    answers = [np.abs(correlate(step, taps)).max() for taps in load_bank("roberts").weight[:, 0]]
    assert answers == [1, 1]  # two horizontal differences would give 0


def test_frei_chen_is_orthonormal() -> None:
    basis = load_bank("frei-chen").weight.reshape(9, 9)
    assert np.abs(basis @ basis.T - np.eye(9)).max() < 1e-15
    assert np.abs(basis[:8].sum(axis=1)).max() < 1e-15
    assert basis[0, :3].tolist() == pytest.approx([0.5 / 2**0.5, 0.5, 0.5 / 2**0.5], abs=2e-16)


def test_gaussian_file_is_the_published_integers() -> None:
    taps = np.rint(load_bank("gaussian").weight[0, 0] * 273)
    assert taps[2].tolist() == [7, 26, 41, 26, 7]
    assert taps.sum() == 273


PILLOW = [
    *("BLUR", "CONTOUR", "DETAIL", "EDGE_ENHANCE", "EDGE_ENHANCE_MORE"),
    *("EMBOSS", "FIND_EDGES", "SHARPEN", "SMOOTH", "SMOOTH_MORE"),
]


@pytest.mark.parametrize("name", PILLOW)
def test_pillow_filters_do_what_pillow_does(name: str, grey_photo: Path) -> None:
    with Image.open(grey_photo) as image:
        patch = image.crop((100, 60, 260, 180))
        theirs = np.asarray(patch.filter(getattr(ImageFilter, name))).astype(float)
    bank = load_bank(f"pillow-{name.lower()}")
    ours = correlate(np.asarray(patch).astype(float), bank.weight[0, 0]) + (bank.bias or (0.0,))[0]
    difference = np.abs(np.clip(ours, 0, 255) - theirs)[3:-3, 3:-3]  # Pillow copies its borders
    assert difference.max() <= 0.5 + 1e-4  # and rounds


@pytest.mark.parametrize("name", ["BLUR", "contour", "FIND_EDGES", "SMOOTH_MORE", "Edge_Enhance"])
def test_pillow_names_without_prefix(name: str) -> None:
    assert load_bank(name).tags[-1] == "pillow"


def test_convolve_orientation_is_turned_on_loading(tmp_path: Path) -> None:
    file = tmp_path / "k.toml"
    file.write_text('orientation = "convolve"\n[[kernel]]\ntaps = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]\n')
    bank = load_bank(str(file))
    assert bank.weight[0, 0].tolist() == [[9, 8, 7], [6, 5, 4], [3, 2, 1]]
    assert bank.orientation == "convolve"


def test_convolve_orientation_of_even_kernels_keeps_the_anchor(tmp_path: Path) -> None:
    file = tmp_path / "k.toml"
    file.write_text('orientation = "convolve"\n[[kernel]]\ntaps = [[1, 2]]\n')
    row = load_bank(str(file)).weight[0, 0, 0]
    signal = np.zeros(9)
    signal[4] = 1
    # out[p] = sum_t taps[t] * in[p - (t - anchor)] with the anchor on the tap at (k-1)//2, the 1
    wanted = np.convolve(signal, [1, 2])[:9]
    anchor = (row.size - 1) // 2
    got = [sum(row[t] * signal[p + t - anchor] for t in range(row.size) if 0 <= p + t - anchor < 9) for p in range(9)]
    assert got == wanted.tolist()


def test_scale_and_separable_rows(tmp_path: Path) -> None:
    file = tmp_path / "k.toml"
    file.write_text('scale = "1/4"\n[[kernel]]\nscale = "1/2"\ncolumn = [1, 2]\nrow = [1, "sqrt(4)", 1]\n')
    assert (load_bank(str(file)).weight[0, 0] * 8).tolist() == [[1, 2, 1], [2, 4, 2]]


@pytest.mark.parametrize(
    ("text", "line", "field"),
    [
        ('name = "x"\n[[kernel]]\ntaps = [[1, 2], [3]]\n', 3, "kernel[1].taps"),
        ("[[kernel]]\ntaps = [[1]]\n[[kernel]]\nname = 4\ntaps = [[1]]\n", 4, "kernel[2].name"),
        ('orientaton = "convolve"\n[[kernel]]\ntaps = [[1]]\n', 1, "orientaton"),
        ('\norientation = "flip"\n[[kernel]]\ntaps = [[1]]\n', 2, "orientation"),
        ('scale = "1/0"\n[[kernel]]\ntaps = [[1]]\n', 1, "scale"),
        ("[[kernel]]\n\ntaps = [[1, nan]]\n", 3, "kernel[1].taps"),
        ("[[kernel]]\ntaps = [[1, inf]]\n", 2, "kernel[1].taps"),
        ("[[kernel]]\ntaps = [[1, true]]\n", 2, "kernel[1].taps"),
        ("[[kernel]]\ntaps = [[]]\n", 2, "kernel[1].taps"),
        ("[[kernel]]\ntaps = [[1]]\ncolour = 1\n", 3, "kernel[1].colour"),
        ("[[kernel]]\nrow = [1]\n", 1, "kernel[1].taps"),
        ("[[kernel]]\ntaps = [[1]]\n[[kernel]]\ntaps = [[[1]], [[2]]]\n", 4, "kernel[2].taps"),
        ('name = "x"\n', 1, "kernel"),
    ],
)
def test_wrong_fields_are_named_with_their_line(text: str, line: int, field: str) -> None:
    with pytest.raises(KernelError) as caught:
        parse_bank_toml(text, name="k")
    assert caught.value.facts == {"line": line, "field": field}
    assert f"line {line}" in str(caught.value)


def test_broken_toml_names_its_line() -> None:
    with pytest.raises(KernelError, match="line 3"):
        parse_bank_toml("name = 'x'\n[[kernel]]\ntaps = [[1,\n", name="k")


def test_rings_are_closed() -> None:
    for radius in range(1, 5):
        places = ring(radius)
        assert len(set(places)) == len(places) == 8 * radius
        assert {max(abs(row), abs(column)) for row, column in places} == {radius}
