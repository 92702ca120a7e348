"""Sheets: their numbers against maps that torch made, their words and places against small files."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from conftest import REPOSITORY, load_image, run_cli, save_image
from hypothesis import given
from hypothesis import strategies as st

from convcli.banks.load import load_bank
from convcli.images import sheet
from convcli.images.colormaps import Scale
from convcli.pipeline.naming import MapName
from convcli.pipeline.sheets import MOST_ROWS, plan_sheet

GOLDEN = REPOSITORY / "tests" / "golden"
RED, BLUE = np.array([178, 24, 43]), np.array([33, 102, 172])
DENSE = "random:out_channels=4,in_channels=3,seed=3"


def make_photo(folder: Path, height: int, width: int, planes: int = 3, name: str = "p") -> Path:
    """Noise over a slope, so that every block differs from its neighbours."""
    rng = np.random.default_rng(height)
    samples = rng.integers(0, 120, (height, width, planes)) + np.linspace(0, 130, width)[None, :, None]
    return save_image(folder / f"{name}.png", samples.astype(np.uint8).squeeze())


def maps_by_torch(path: Path, spec: str) -> np.ndarray:
    """Return the maps, kernel by kernel within a plane, of kernels of one plane, or of kernels of all planes."""
    samples = load_image(path).astype(np.float64)
    planes = samples[None, None] if samples.ndim == 2 else samples.transpose(2, 0, 1)[:, None]
    weight = torch.tensor(load_bank(spec).weight)
    planes = torch.tensor(planes if weight.shape[1] == 1 else planes.swapaxes(0, 1).copy())
    side = weight.shape[-1] // 2
    padded = torch.nn.functional.pad(planes, (side,) * 4, mode="replicate")
    found = torch.nn.functional.conv2d(padded, weight)
    return found.reshape(-1, *found.shape[2:]).numpy()


def blocks(values: np.ndarray, factor: int, *, strongest: bool) -> np.ndarray:
    """Return a map made smaller, one block at a time."""
    rows, columns = (range(0, size, factor) for size in values.shape)
    out = np.empty((len(rows), len(columns)))
    for (y, top), (x, left) in itertools.product(enumerate(rows), enumerate(columns)):
        block = values[top : top + factor, left : left + factor].ravel()
        out[y, x] = max(block, key=lambda value: (abs(value), value)) if strongest else block.mean()
    return out


def paint(values: np.ndarray, limit: float) -> np.ndarray:
    """Return values as blue, white and red."""
    share = np.minimum(np.abs(values) / limit, 1)[..., None] ** 0.7
    return np.rint(255 + (np.where(values[..., None] > 0, RED, BLUE) - 255) * share).astype(np.uint8)


class Drawn(NamedTuple):
    """A sheet: its report, its words, and its cells with their places below the head, in the order of reading."""

    report: dict[str, Any]
    words: list[str]
    page: sheet.Page

    @property
    def pictures(self) -> list[np.ndarray]:
        return [cell.picture for _, _, cell in self.page.cells]


def draw(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> Drawn:
    """Run ``apply`` and return what it drew, once the file is found to hold exactly that."""
    seen: list[Any] = []
    real = sheet.draw_page
    with monkeypatch.context() as patch:
        patch.setattr(sheet, "draw_page", lambda *given: (seen.append(given), real(*given))[1])
        report = run_cli("apply", *arguments, "--json").ok().json
    title, legend, top, groups, cell_px = seen[0]
    page = sheet.place_cells(0, top, groups, cell_px)
    file = load_image(Path(report["outputs"][0]["path"]))
    assert file.shape[1] == page.width_px
    head_px = file.shape[0] - page.height_px
    for x, y, cell in page.cells:
        height, width = cell.picture.shape[:2]
        np.testing.assert_array_equal(file[head_px + y :, x:][:height, :width], cell.picture)
    return Drawn(report, [*title, *legend.lines], page)


def enlarged(tile: np.ndarray, like: np.ndarray) -> np.ndarray:
    zoom = like.shape[0] // tile.shape[0]
    return np.broadcast_to(tile, (*tile.shape[:2], 3)).repeat(zoom, 0).repeat(zoom, 1)


@pytest.mark.parametrize(
    ("size", "spec", "strongest"),
    [((40, 56, 3), "sobel", True), ((660, 60, 1), "sobel", True), ((60, 330, 3), DENSE, False),
     ((330, 50, 1), "random:seed=2,out_channels=3", False)],
)  # fmt: skip
def test_limits_and_tiles_are_those_of_the_maps(
    size: tuple[int, int, int], spec: str, strongest: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = make_photo(tmp_path, *size)
    maps = maps_by_torch(photo, spec)
    drawn = draw(monkeypatch, photo, "-k", spec, "--layout", "sheet", "-o", tmp_path / "s.png")
    done, n_kernels = drawn.report, load_bank(spec).weight.shape[0]
    factor = plan_sheet(
        [MapName(one["kernel"], one["channel"]) for one in done["maps"]], size[:2], has_taps=True
    ).factor
    tiles = [blocks(one, factor, strongest=strongest) for one in maps]
    limit = np.quantile(np.abs(tiles), 0.995)
    assert done["outputs"][0]["scale"] == pytest.approx([-limit, limit], rel=1e-4)
    assert done["outputs"][0]["colormap"] == "blue-white-red"
    assert f"within {sheet.number(-limit)} to {sheet.number(limit)}" in "".join(drawn.words)
    # The input comes first, with its planes where there are several; then each kernel and its maps.
    samples = np.atleast_3d(load_image(photo))
    shown = iter(drawn.pictures)
    for planes in [samples] if samples.shape[2] == 1 else [samples, *np.split(samples, samples.shape[2], 2)]:
        whole = np.stack([blocks(plane, factor, strongest=False) for plane in planes.transpose(2, 0, 1)], -1)
        picture = next(shown)
        np.testing.assert_allclose(picture, enlarged(np.rint(whole), picture).astype(int), atol=1)
    of_kernel = [maps[kernel::n_kernels] for kernel in range(n_kernels)]
    for kernel, known in enumerate(of_kernel):
        assert next(shown).shape[2] == 3
        for at in range(len(known)):
            picture = next(shown)
            right = enlarged(paint(tiles[at * n_kernels + kernel], limit), picture)
            np.testing.assert_allclose(picture.astype(int), right.astype(int), atol=1)
    captions = [cell.lines[-1] for _, _, cell in drawn.page.cells]
    for one, known in zip(done["maps"], maps, strict=True):
        assert (one["min"], one["max"]) == pytest.approx((known.min(), known.max()), rel=1e-4, abs=1e-3)
        assert any(line.endswith(sheet.span(known.min(), known.max())) for line in captions)


def test_values_of_one_sign_have_a_scale_from_0_and_blurs_look_like_the_photo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = make_photo(tmp_path, 30, 40)
    flags = ["--layout", "sheet", "--overwrite", "-o", tmp_path / "s.png"]
    done = draw(monkeypatch, photo, "-k", "sobel", "--combine", "magnitude", *flags).report["outputs"][0]
    x, y = maps_by_torch(photo, "sobel").reshape(3, 2, 30, 40).swapaxes(0, 1)
    assert done["scale"] == pytest.approx([0, np.quantile(np.hypot(x, y), 0.995)], rel=1e-4)
    assert done["colormap"] == "magma"
    assert draw(monkeypatch, photo, "-k", "box", *flags).report["outputs"][0]["colormap"] == "gray"
    coloured = draw(monkeypatch, photo, "-k", "box", "--colormap", "viridis", *flags)
    assert coloured.report["outputs"][0]["colormap"] == "viridis"


@pytest.mark.parametrize(
    ("values", "ends"),
    [([-3, 0, 2], (-3, 3)), ([0, 1, 4], (0, 4)), ([-4, -1], (-4, 0)), ([0, 0], (0, 1)), ([np.nan, np.inf, 2], (0, 2))],
)
def test_the_ends_of_a_scale(values: list[float], ends: tuple[float, float]) -> None:
    scale = Scale.of(np.array(values))
    assert (scale.low, scale.high) == pytest.approx(ends, rel=0.02)
    assert scale.paint(np.array([np.nan])).tolist() == [[255, 191, 0]]


def test_a_few_points_on_nothing_are_seen() -> None:
    values = np.zeros(10_000)
    values[5] = 7
    assert Scale.of(values).high == 7


@pytest.mark.parametrize("tone", ["abs", "stretch", "signed", "scale:0.5"])
def test_a_tone_that_is_asked_for_is_what_a_sheet_shows(
    tone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photo = make_photo(tmp_path, 40, 50, 1)
    flags = ["-k", "sobel", "--tone", tone]
    run_cli("apply", photo, *flags, "--out-dir", tmp_path / "maps", "-q").ok()
    pictures = draw(monkeypatch, photo, *flags, "--layout", "sheet", "-o", tmp_path / "s.png").pictures
    for name, picture in (("x", pictures[2]), ("y", pictures[4])):
        stored = load_image(tmp_path / "maps" / "p_sobel" / f"{name}-l.png")
        np.testing.assert_array_equal(picture, enlarged(stored[..., None], picture))


@pytest.mark.parametrize("planes", [1, 3])
def test_before_and_after_stand_side_by_side(planes: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = make_photo(tmp_path, 90, 120, planes)
    run_cli("apply", photo, "-k", "sobel", "-o", tmp_path / "one.png", "-q").ok()
    pair = draw(monkeypatch, photo, "-k", "sobel", "--layout", "before-after", "-o", tmp_path / "two.png")
    for name, picture in zip(("p.png", "one.png"), pair.pictures, strict=True):
        np.testing.assert_array_equal(picture, enlarged(np.atleast_3d(load_image(tmp_path / name)), picture))
    (left, top, _), (right, level, _) = pair.page.cells
    assert (left < right, top) == (True, level)


def test_before_and_after_of_many_maps_is_a_sheet_and_it_is_said(tmp_path: Path) -> None:
    photo = make_photo(tmp_path, 20, 30)
    flags = ["--layout", "before-after", "-o", tmp_path / "o.png", "--json"]
    report = run_cli("apply", photo, "-k", "laws", *flags).ok().json
    assert report["outputs"][0]["kind"] == "sheet"
    assert any("sheet" in note for note in report["notes"])
    assert "8 bits" in run_cli("apply", photo, "-k", "sobel", *flags, "--depth", "16").stderr


@pytest.mark.parametrize("layout", ["sheet", "before-after"])
def test_a_report_page_shows_the_maps_of_a_sheet(layout: str, tmp_path: Path) -> None:
    photo = make_photo(tmp_path, 20, 30)
    report = tmp_path / "r.html"
    run_cli("apply", photo, "-k", "sobel", "--layout", layout, "-o", tmp_path / "o.png", "--report", report).ok()
    assert "data:image/png" in report.read_text(encoding="utf-8")


def test_missing_samples_have_a_colour_of_their_own(tmp_path: Path) -> None:
    photo = save_image(tmp_path / "gap.png", np.uint8([[0] * 9] * 4 + [[50, 90, 200] * 3] * 5))
    run_cli("apply", photo, "-k", "sobel", "--nodata", "0", "--layout", "sheet", "-o", tmp_path / "s.png", "-q").ok()
    assert (load_image(tmp_path / "s.png") == (255, 191, 0)).all(axis=2).sum() > 1000


@given(st.text(max_size=60), st.integers(20, 200))
def test_words_wrap_and_are_never_cut(text: str, width: int) -> None:
    lines = sheet.wrap(text, width)
    assert all(len(line) == 1 or sheet.font(12).getlength(line.rstrip()) <= width for line in lines)
    assert all(line.isascii() or set(line) & set("±·…") for line in lines)
    if text.isascii() and text.isprintable():
        assert "".join(lines) == text


@given(st.integers(1, 1500), st.integers(1, 9), st.integers(1, 3000), st.integers(1, 3000), st.booleans())
def test_no_sheet_is_too_large_for_a_viewer(n: int, n_planes: int, height: int, width: int, has_taps: bool) -> None:
    maps = [MapName(str(kernel), str(plane)) for plane in range(n_planes) for kernel in range(n)]
    layout = plan_sheet(maps, (height, width), has_taps=has_taps)
    rows = min(len(layout.rows), MOST_ROWS)
    n_cells = max(map(len, layout.rows)) + has_taps
    assert layout.n_groups * (n_cells * (layout.cell_px + 10) + 26) < 16383
    assert -(-rows // layout.n_groups) * (layout.box_hw[0] + 10) < 16383
    assert sum(map(len, layout.rows)) + layout.n_left_out >= min(n * n_planes, MOST_ROWS)


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("colour", ["-k", "sobel", "-k", "box", "--layout", "sheet"]),
        ("planes", ["-k", "planes.npy", "--stride", "2", "--padding", "0"]),
        ("combined", ["-k", "robinson", "--combine", "max", "--channels", "g", "--layout", "sheet"]),
        ("stack", ["--stack", "halves.toml"]),
        ("pair", ["-k", "sharpen", "--layout", "before-after"]),
    ],
)
def test_words_and_places(name: str, flags: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # Whole numbers: their sums are the same on every machine.
    np.save("planes.npy", np.arange(-40, 41).reshape(3, 3, 3, 3))
    layers = (
        '[{layer = "depthwise:m=2,k=3,p=1,bias=false", weight = "sobel"}, "relu", {layer = "maxpool:2", name = "h"}]'
    )
    Path("halves.toml").write_text(f"layers = {layers}\n")
    drawn = draw(monkeypatch, REPOSITORY / "examples" / "coffee.png", *flags, "-o", tmp_path / "s.png")
    lines = [*drawn.words, f"{drawn.page.width_px} x {drawn.page.height_px} below the head"]
    for x, y, cell in drawn.page.cells:
        height, width = cell.picture.shape[:2]
        lines.append(f"{x:5} {y:5}  {width:3} x {height:3}  {' / '.join(cell.lines)}")
    found = "\n".join(lines) + "\n"
    path = GOLDEN / f"sheet_{name}.txt"
    if os.environ.get("CONVCLI_GOLDEN") == "write":
        path.write_text(found)
    assert found == path.read_text(encoding="utf-8"), "CONVCLI_GOLDEN=write writes it anew: look at the sheet first"
