"""The report: shapes in every format, a page that loads nothing, pictures that are the maps, a result to look at."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import Page, needs_chromium, open_browser
from conftest import load_image, run_cli, save_image
from PIL import Image

import convcli
from convcli.cli.batch import command_line
from convcli.errors import UsageError
from convcli.images.reading import probe
from convcli.pipeline.inputs import InputFile
from convcli.pipeline.plan import Plan, Planner
from convcli.pipeline.preview import preview
from convcli.pipeline.request import parse_request
from convcli.render.pages.notebook import draw_stack

STEM = "layers = ['conv:8,k=7,s=2,p=3', 'relu', 'maxpool:k=3,s=2,p=1']\ninit = {kind = 'kaiming-normal', seed = 1}\n"
NASTY = "a<script>alert(1)&\"'\x1b[31m.png"


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with open_browser() as page:
        yield page


@pytest.fixture
def small(tmp_path: Path, rng: np.random.Generator) -> Path:
    return save_image(tmp_path / "small.png", rng.integers(0, 256, (37, 53, 3), dtype=np.uint8))


def plan_of(image: Path, **flags: object) -> Plan:
    return Planner(parse_request(flags)).plan(InputFile(image), probe(image))


def make_report(image: Path, name: str, *flags: object) -> str:
    path = image.with_name(name)
    run_cli("apply", image, *flags, "--out-dir", image.parent / "out", "--report", path, "-q", "--overwrite").ok()
    return path.read_text(encoding="utf-8")


def test_csv_has_the_shapes_that_torch_gives(small: Path) -> None:
    torch = pytest.importorskip("torch")
    text = make_report(small, "r.csv", "-k", "sobel", "--stride", "2x3", "--padding", "1x0", "--dilation", "2")
    rows = list(csv.DictReader(io.StringIO(text)))
    layer = torch.nn.Conv2d(3, 6, 3, stride=(2, 3), padding=(1, 0), dilation=2, groups=3, bias=False)
    out = layer(torch.zeros(1, 3, 37, 53)).shape[1:]
    assert len(rows) == 6
    for row in rows:
        assert row["input_shape"] == "3x37x53"
        assert row["output_shape"] == "x".join(map(str, out))
        assert (row["kernel"], row["stride"], row["padding"], row["dilation"]) == ("3", "2x3", "1x0", "2")
        assert (row["groups"], int(row["parameters"])) == ("3", sum(p.numel() for p in layer.parameters()))
        assert int(row["macs"]) == out[1] * out[2] * 6 * 9
        # The window of 5 columns, three apart, ends at column 3 * 16 + 5 of 53; rows: 2 * 17 + 5 of 39 with padding.
        assert (row["receptive_field"], row["unused_input"]) == ("5", "0")


def test_every_layer_of_a_stack_has_its_row(small: Path) -> None:
    stack = small.with_name("stem.toml")
    stack.write_text(STEM)
    rows = list(csv.DictReader(io.StringIO(make_report(small, "r.csv", "--stack", stack))))
    assert [row["layer"] for row in rows if not row["map"]] == ["conv", "relu"]
    maps = [row for row in rows if row["map"]]
    assert len(maps) == 8
    assert {(row["layer"], row["output_shape"], row["receptive_field"]) for row in maps} == {
        ("maxpool", "8x10x14", "11")
    }
    text = make_report(small, "r.md", "--stack", stack)
    assert "| 3x37x53 | 7 | 2 | 3 | 1 | 1 | 8x19x27 | 1184 | 603288 | 7 | 0 |" in text
    assert text.startswith("    convcli apply ")


def test_the_command_in_a_report_makes_the_same_files(small: Path, tmp_path: Path) -> None:
    flags = ["-k", "1 0 -1", "--bias=-3", "--stride", "2", "--tone", "signed", "-o", "e.png", "--report", "r.md"]
    first = run_cli("apply", small, *flags, "-q", cwd=tmp_path).ok()
    line = (tmp_path / "r.md").read_text().splitlines()[0].strip()
    samples = load_image(tmp_path / "e.png")
    (tmp_path / "e.png").unlink()
    (tmp_path / "r.md").unlink()
    import shlex

    run_cli(*shlex.split(line)[1:], cwd=tmp_path).ok()
    assert first.exit_code == 0
    np.testing.assert_array_equal(load_image(tmp_path / "e.png"), samples)
    assert command_line(["-odd.png"], {"kernels": ("box",)}) == "convcli apply -k box -- -odd.png"


def test_tiles_are_the_files_and_masks_the_samples_outside_the_scale(small: Path, tmp_path: Path) -> None:
    run_cli("apply", small, "-k", "sharpen", "-o", tmp_path / "s.png", "-q").ok()
    run_cli("apply", small, "-k", "sharpen", "-o", tmp_path / "s.npy", "-q").ok()
    shown = preview(plan_of(small, kernels=("sharpen",), output="x.png"))
    (tile,) = shown.tiles
    values = np.load(tmp_path / "s.npy")
    np.testing.assert_array_equal(tile.samples, load_image(tmp_path / "s.png"))
    np.testing.assert_array_equal(tile.low, (np.rint(values) < 0).any(axis=0))
    np.testing.assert_array_equal(tile.high, (np.rint(values) > 255).any(axis=0))
    np.testing.assert_array_equal(shown.input, load_image(small))


def test_small_tiles_are_means_and_keep_every_mark(photo: Path) -> None:
    whole = preview(plan_of(photo, kernels=("sobel",)), longest_px=600).tiles[0]
    half = preview(plan_of(photo, kernels=("sobel",)), longest_px=300).tiles[0]
    means = whole.samples.reshape(200, 2, 300, 2, 1).mean(axis=(1, 3))
    assert np.abs(half.samples - means).max() <= 0.5
    np.testing.assert_array_equal(half.high, whole.high.reshape(200, 2, 300, 2).any(axis=(1, 3)))


def test_the_window_on_the_photo_is_where_torch_finds_a_gradient(small: Path) -> None:
    torch = pytest.importorskip("torch")
    stack = small.with_name("stem.toml")
    stack.write_text(
        "layers = ['conv:4,k=5,s=2,p=2', 'avgpool:k=3,s=2,p=0']\ninit = {kind = 'kaiming-normal', seed = 1}\n"
    )
    window = preview(plan_of(small, stack=stack)).window
    assert window is not None
    image = torch.zeros(1, 3, 37, 53, requires_grad=True)
    out = torch.nn.functional.avg_pool2d(torch.nn.Conv2d(3, 4, 5, stride=2, padding=2)(image), 3, 2)
    row, column = window.output
    assert (row, column) == (out.shape[2] // 2, out.shape[3] // 2)
    out[0, :, row, column].sum().backward()
    rows, columns = (torch.nonzero(image.grad[0].abs().sum(dim=axes)).flatten().tolist() for axes in ((0, 2), (0, 1)))
    assert (window.top, window.top + window.height) == (rows[0], rows[-1] + 1)
    assert (window.left, window.left + window.width) == (columns[0], columns[-1] + 1)
    assert window.closeup is not None
    top, left = window.closeup_at
    np.testing.assert_array_equal(
        window.closeup[int(window.top) - top, int(window.left) - left], load_image(small)[rows[0], columns[0]]
    )


@needs_chromium
@pytest.mark.parametrize(
    "flags", [["-k", "sobel"], ["--stack", "stem.toml"], ["-k", "log:sigma=3"]], ids=lambda f: f[1]
)
def test_the_page_loads_nothing_in_either_scheme_and_on_a_phone(
    browser: Page, flags: list[str], tmp_path: Path, photo: Path
) -> None:
    (tmp_path / "stem.toml").write_text(STEM)
    image = shutil.copy(photo, tmp_path / "photo.png")
    flags = [str(tmp_path / word) if word.endswith(".toml") else word for word in flags]
    make_report(Path(image), "r.html", *flags)
    papers = set()
    for scheme, size, phone in (("light", 1280, False), ("dark", 1280, False), ("light", 390, True)):
        browser.size(size, 800, phone=phone)
        browser.media(prefers_color_scheme=scheme)
        browser.open(tmp_path / "r.html")
        assert browser.errors == []
        assert [url for url in browser.requests if not url.startswith(("data:", "file:"))] == []
        assert sum(url.startswith("file:") for url in browser.requests) == 1
        assert browser.run("document.documentElement.scrollWidth") <= size
        assert browser.run("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
        assert browser.run("[...document.images].every((image) => image.alt !== '' || image.className === 'mask')")
        papers.add(browser.run("getComputedStyle(document.body).backgroundColor"))
    assert len(papers) == 2


@needs_chromium
def test_no_table_scrolls_sideways_and_every_number_is_named(browser: Page, photo: Path, tmp_path: Path) -> None:
    layers = "layers = ['conv:64,k=3x5,s=2x1,p=1x2', 'batchnorm', 'convtranspose:16,k=4']"
    (tmp_path / "wide.toml").write_text(f"{layers}\ninit = {{kind = 'kaiming-normal', seed = 1}}\n")
    make_report(Path(shutil.copy(photo, tmp_path / "photo.png")), "r.html", "--stack", tmp_path / "wide.toml")
    browser.open(tmp_path / "r.html")
    for width in (1280, 1100, 1000, 640, 400):
        browser.size(width, 800)
        browser.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        scrolls = "[...document.querySelectorAll('.scroll')].filter((one) => one.scrollWidth > one.clientWidth).length"
        assert browser.run(scrolls) == 0, width
        assert browser.run("[...document.querySelectorAll('td')].every((one) => one.getClientRects().length)")
    names = browser.run("[...document.querySelectorAll('.wide tr:last-child td')].map((one) => one.dataset.heading)")
    assert names == browser.run("[...document.querySelectorAll('.wide th')].map((one) => one.textContent)")
    assert len(names) == 12


@needs_chromium
def test_marks_of_clipped_samples_can_be_taken_off(browser: Page, photo: Path, tmp_path: Path) -> None:
    make_report(Path(shutil.copy(photo, tmp_path / "photo.png")), "r.html", "-k", "sobel")
    browser.open(tmp_path / "r.html")
    shown = "[...document.querySelectorAll('.mask')].filter((one) => one.offsetParent !== null).length"
    assert browser.run(shown) == 6
    browser.run("document.querySelector('.marks').click()")
    assert browser.run(shown) == 0


@needs_chromium
def test_names_from_outside_stay_text(browser: Page, tmp_path: Path, rng: np.random.Generator) -> None:
    image = save_image(tmp_path / NASTY, rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
    bank = tmp_path / "evil.json"
    evil = "<img src=x onerror=alert(2)>\x1b]0;t\x07"
    kernel = {"name": f"k{evil}", "taps": [[1, 0, -1]]}
    bank.write_text(json.dumps({"name": f"b{evil}", "summary": f"s{evil}</style>", "kernels": [kernel]}))
    for name in ("r.html", "r.md", "r.csv"):
        text = make_report(image, name, "-k", bank)
        assert "\x1b" not in text
        assert "\x07" not in text
    page = (tmp_path / "r.html").read_text()
    assert not re.search(r"<script|<img src=x", page)
    browser.open(tmp_path / "r.html")
    assert browser.errors == []
    assert browser.run("document.scripts.length") == 0
    assert NASTY.replace("\x1b", "\\x1b") in browser.run("document.querySelector('h1').textContent")
    assert "kimg" not in browser.run("document.body.textContent")
    assert "onerror=alert(2)>" in browser.run("document.body.textContent")


def test_a_batch_has_a_table_with_what_failed(small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    shutil.copy(small, folder / "good.png")
    (folder / "bad.png").write_text("no picture")
    report = tmp_path / "r.html"
    result = run_cli("apply", folder / "*.png", "-k", "box", "--out-dir", tmp_path / "o", "--report", report, "-q")
    assert result.exit_code == 7
    page = report.read_text()
    assert "2 inputs" in page
    assert page.count("<h2>") == 2
    assert "failed" in page
    assert 'class="bad"' in page


def test_a_result_is_its_reports_and_for_one_input_a_mapping(small: Path, tmp_path: Path) -> None:
    result = convcli.apply(small, "sobel", out_dir=tmp_path / "o", stride=2)
    assert isinstance(result, convcli.Result)
    assert isinstance(result[0], dict)
    assert result["shape"]["output"] == [6, 19, 27] == list(result[0].output_shape)
    assert dict(result) == {**result} == result[0] == json.loads(json.dumps(result[0]))
    assert "maps" in result
    assert result.get("nothing", 5) == 5
    assert set(result.keys()) == set(json.loads((tmp_path / "o" / "small_sobel" / "report.json").read_text()))
    assert [path.name for path in result.paths] == ["x-r.png", "y-r.png", "x-g.png", "y-g.png", "x-b.png", "y-b.png"]
    assert all(path.is_file() for path in result.paths)
    both = convcli.apply([small, shutil.copy(small, tmp_path / "b.png")], "box", out_dir=tmp_path / "p")
    assert len(both) == 2
    assert sorted(Path(report.input).name for report in both) == ["b.png", "small.png"]
    with pytest.raises(UsageError, match="2 reports"):
        both["shape"]


def test_notebooks_show_pictures_of_everything(small: Path, tmp_path: Path) -> None:
    result = convcli.apply(small, "sobel", out_dir=tmp_path / "o")
    page = result._repr_html_()
    assert page.count("<figure>") == 2 + 2 + 6
    assert "<script" not in page
    small.unlink()  # the numbers stay when the picture has gone
    assert "no pictures" in result._repr_html_()
    assert "clipped" in result._repr_html_()
    assert convcli.load_bank("kirsch")._repr_html_().count("<svg") == 8
    assert convcli.load_bank("leung-malik")._repr_html_().count('class="taps"') == 48
    stack = convcli.load_stack("examples/stacks/resnet-stem.toml")
    assert "64x56x56" in stack._repr_html_() or "64x76x57" in stack._repr_html_()
    assert "⌊(" in stack.shape((3, 64, 64))._repr_html_()
    assert "conv" in draw_stack(stack)


def test_public_names_are_offered() -> None:
    assert {"apply", "conv2d", "load_bank", "Result", "Stack"} <= set(dir(convcli))
    for name in dir(convcli):
        assert getattr(convcli, name) is not None


@pytest.mark.parametrize("link", [False, True])
def test_a_page_after_in_place_shows_the_input_that_was_kept(small: Path, link: bool) -> None:
    before, named = load_image(small), small
    if link:
        named = small.with_name("link.png")
        named.symlink_to(small)
    page = small.with_name("r.html")
    words = ("-k", "sharpen", "--in-place", "--report", page, "-q", "--overwrite")
    run_cli("apply", named, *words, "--backup", ".orig").ok()
    photo, _closeup, result, *_ = pictures_of(page)
    apart = [np.abs(photo.astype(float) - samples).mean() for samples in (before, load_image(small))]
    assert apart[0] < 12 < 40 < apart[1], "a photo is a JPEG"
    assert (result == load_image(small)).all()
    run_cli("apply", named, *words).ok()
    assert pictures_of(page) == []
    assert "no pictures: the result has replaced the input; --backup .orig keeps it" in page.read_text()
    assert "the result has replaced the input" in convcli.apply(named, "sharpen", in_place=True)._repr_html_()


def test_a_backup_that_has_gone_is_said(small: Path) -> None:
    result = convcli.apply(small, "sharpen", in_place=True, backup=".orig")
    small.with_name("small.png.orig").unlink()
    assert "no pictures: small.png.orig" in re.sub(r"[^ ]*/", "", result._repr_html_())


def pictures_of(page: Path) -> list[np.ndarray]:
    found = re.findall(r"data:image/(?:png|jpeg);base64,([A-Za-z0-9+/=]+)", page.read_text())
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one)))) for one in found]
