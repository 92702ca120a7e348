"""The play page in a real browser: its numbers are the engine's, its lines run, nothing is loaded, names stay text."""

from __future__ import annotations

import base64
import functools
import json
import os
import random
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Page, needs_chromium, open_browser
from conftest import load_image, run_cli, save_image

from convcli.render.pages import play
from convcli.render.pages.photo import load_photo, pack_pixels
from convcli.render.pages.play import json_for_script, library, play_page

EPS = 2.0**-23
HEIGHT, WIDTH = 19, 23


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with open_browser() as page:
        page.size(1280, 900)
        yield page


@pytest.fixture(scope="module", autouse=True)
def one_library() -> Iterator[None]:
    """The kernels of the menu take most of the time of a page, and are the same on each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(play, "library", functools.cache(library))
        yield


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples = np.random.default_rng(5).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    return save_image(tmp_path_factory.mktemp("play") / "small.png", samples)


@pytest.fixture
def opened(browser: Page, picture: Path) -> Page:
    """The page of a small picture; it stays open from test to test, which set every control that they depend on."""
    file = picture.with_name("play.html")
    if not file.exists():
        run_cli("play", picture, "-k", "sobel", "-o", file).ok()
    is_open = f"location.href === {json.dumps(file.as_uri())} && photo.name === {json.dumps(str(picture))}"
    return browser if browser.run(is_open) else open_page(browser, file)


def open_page(browser: Page, file: Path) -> Page:
    browser.open(file)
    browser.wait("document.body.dataset.ready === 'yes'")
    return browser


PLAIN = {
    "stride": "1", "dilation": "1", "padding": "same", "pixels": "1", "border": "replicate", "constant": "0",
    "planes": "all|auto", "tone": "auto", "mode": "correlate", "bias": "0", "transposed": False, "output-padding": "0",
}  # fmt: skip
_SET = """((spec) => {
  loadBank(spec.bank);
  if (spec.taps) {
    kernels = [{ name: "mine", taps: spec.taps }];
    byId("shown").replaceChildren(new Option("mine", "0"));
  } else byId("shown").value = String(spec.shown);
  byId("combine").value = spec.combine;
  fillGrid();
  setControls(spec.controls);
  found = null;
  compute();
  if (!found) return { problem: byId("problem").textContent };
  sample.group = spec.group % found.groups.length;
  const row = Math.floor(spec.at[0] * found.rows.output), column = Math.floor(spec.at[1] * found.columns.output);
  const told = showSample(row, column), at = told.row * found.columns.output + told.column;
  return {
    told, stored: found.maps[spec.combine === "none" ? 0 : spec.shown][sample.group][at],
    shape: [found.rows.output, found.columns.output], clipped: found.clipped, low: found.low, high: found.high,
    samples: found.samples.map((plane) => Array.from(plane)),
    explain: byId("explain").textContent, apply: byId("command").textContent,
  };
})"""


def set_page(
    page: Page, *, bank: int = 0, shown: int = 0, combine: str = "none", taps: Any = None, **controls: Any
) -> Any:
    """Set the page's controls and return what it shows."""
    at, group = controls.pop("at", (0.5, 0.5)), controls.pop("group", 0)
    named = {name.replace("_", "-"): value for name, value in controls.items()}
    spec = {
        "bank": bank, "shown": shown, "combine": combine, "taps": taps, "at": at, "group": group,
        "controls": PLAIN | named,
    }  # fmt: skip
    return page.run(f"{_SET}({json.dumps(spec)})")


def run_line(line: str, picture: Path, *more: object) -> Any:
    """Run a line of the page, as a shell would split it, where the picture lies."""
    program, *words = shlex.split(line)
    assert program == "convcli"
    return run_cli(*words, *more, cwd=picture.parent)


def random_case(chance: random.Random, banks: list[dict[str, Any]]) -> dict[str, Any]:
    """Draw kernel, geometry, border and place; most of them fit."""
    pair = lambda low, high: chance.choice([str(n := chance.randint(low, high)), f"{n}x{chance.randint(low, high)}"])  # noqa: E731
    case: dict[str, Any] = {"at": (chance.random(), chance.random()), "group": chance.randrange(3)}
    if chance.random() < 0.5:
        case["bank"] = chance.randrange(len(banks))
        case["shown"] = chance.randrange(len(banks[case["bank"]]["kernels"]))
    else:
        height, width = chance.randint(1, 5), chance.randint(1, 5)
        number = chance.choice([lambda: chance.randint(-9, 9), lambda: chance.gauss(0, 1)])
        case["taps"] = [[number() for _ in range(width)] for _ in range(height)]
    case["stride"], case["dilation"] = pair(1, 3), pair(1, 3)
    case["transposed"] = chance.random() < 0.25
    if case["transposed"]:
        case["output_padding"] = chance.choice(["0", "0", "1"])
    case["padding"] = chance.choice(["same", "same_lower", "valid", "full", "pixels", "pixels"])
    case["pixels"] = chance.choice([pair(0, 4), ",".join(str(chance.randint(0, 6)) for _ in range(4))])
    case["border"] = chance.choice(["replicate", "zeros", "constant", "reflect", "symmetric", "circular"])
    case["constant"] = chance.choice(["128", "-2.5"])
    case["planes"] = chance.choice(["all|auto", "all|auto", "all|1", "luma|auto", "g|auto"])
    case["mode"] = chance.choice(["correlate", "convolve"])
    case["bias"] = chance.choice(["0", "0", "-12.5", "3"])
    return case


@needs_chromium
def test_the_page_loads_nothing_and_complains_of_nothing(opened: Page) -> None:
    assert opened.errors == []
    assert [url for url in opened.requests if not url.endswith("/play.html")] == []
    policy = opened.run("document.querySelector('meta[http-equiv=Content-Security-Policy]').content")
    assert policy.startswith("default-src 'none'")
    assert opened.run("fetch('file:///etc/hostname').then(() => 'read', () => 'refused')") == "refused"
    opened.errors.clear()


@needs_chromium
def test_two_hundred_samples_are_what_explain_says(opened: Page, picture: Path) -> None:
    """Kernel, stride, padding, dilation, border, planes, mode, bias, transposed, place; by the line the page shows."""
    chance = random.Random(11)
    banks = opened.run("data.banks.map((bank) => ({ name: bank.name, kernels: bank.kernels.map((k) => k.name) }))")
    fits = 0
    for n in range(230):
        case = random_case(chance, banks)
        page = set_page(opened, **case)
        if "problem" in page:
            continue
        fits += 1
        result = run_line(page["explain"], picture, "--json")
        assert result.exit_code == 0, (n, case, page["explain"], result.stderr)
        expected, told = result.json, page["told"]
        assert expected["at"] == [told["row"], told["column"]], (n, case)
        assert list(expected["output"][1:]) == page["shape"], (n, case)
        scale = np.abs(expected["products"]).sum() + abs(expected["bias"])
        patches = [part["patch"] for part in told["parts"]]
        # Luma is made in single precision on both sides, but not always in the same order.
        exact = {"rtol": 1e-12, "atol": 1e-12} if "luma" not in case["planes"] else {"rtol": 4 * EPS, "atol": 1e-4}
        if expected["rows"] and expected["columns"]:
            np.testing.assert_allclose(patches, expected["patch"], err_msg=str((n, case)), **exact)
            assert [part["inside"] for part in told["parts"]] == expected["inside"], (n, case)
            np.testing.assert_array_equal(np.broadcast_to(told["taps"], np.shape(expected["taps"])), expected["taps"])
        assert (told["rows"], told["columns"]) == (expected["rows"], expected["columns"]), (n, case)
        assert told["value"] == pytest.approx(expected["value"], abs=8 * EPS * scale + 1e-9), (n, case)
        computed = expected["computed"][expected["map"]]
        assert page["stored"] == pytest.approx(computed, abs=16 * EPS * scale + 1e-9), (n, case)
    assert fits >= 200


@needs_chromium
@pytest.mark.parametrize(
    "controls",
    [
        {"taps": [[1, 2, 1], [2, 4, 2]], "padding": "pixels", "pixels": "0,1,2,3"},
        {"taps": [[9] * 9] * 3, "padding": "pixels", "pixels": "1x2", "dilation": "4"},
        {"taps": [[1]], "stride": "3", "transposed": True, "padding": "same"},
        {"taps": [[1, 1]], "transposed": True, "padding": "pixels", "pixels": "30"},
        {"taps": [[1, 1]], "transposed": True, "output_padding": "4", "padding": "valid"},
        {"taps": [[1] * 15] * 15, "dilation": "2", "padding": "valid"},
    ],
)
def test_what_does_not_fit_is_refused_by_both(opened: Page, picture: Path, controls: dict[str, Any]) -> None:
    page = set_page(opened, **controls)
    flags = {"stride", "padding", "dilation", "output_padding"} & set(controls)
    words = [word for flag in sorted(flags) for word in (f"--{flag.replace('_', '-')}", controls[flag])]
    words = [controls["pixels"] if word == "pixels" else word for word in words]
    taps = "; ".join(" ".join(map(str, row)) for row in controls["taps"])
    refused = run_cli(
        "explain", picture, "-k", taps, "--at", "0,0", *words, *(["--transposed"] if controls.get("transposed") else [])
    ).exit_code
    assert ("problem" in page) == (refused != 0), (page.get("problem"), refused)
    if "problem" in page:
        assert opened.run("!byId('problem').hidden && byId('problem').getAttribute('role') === 'alert'")


@needs_chromium
@pytest.mark.parametrize("tone", ["auto", "clip", "abs", "signed", "stretch"])
@pytest.mark.parametrize(
    "kernel",
    [
        {"taps": [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]},
        {"taps": [[1, 2, 1]], "stride": "2", "border": "reflect", "bias": "-40"},
        {"bank": 0, "combine": "magnitude"},
        {"bank": 0, "combine": "max", "mode": "convolve", "planes": "luma|auto"},
        {"taps": [[1, 1, 1]] * 2, "planes": "all|1", "padding": "valid"},
        {"taps": [[1, 2, 1], [2, 4, 2], [1, 2, 1]], "transposed": True, "stride": "2", "output_padding": "1"},
    ],
    ids=["sobel", "stride", "magnitude", "luma", "groups", "transposed"],
)
def test_the_apply_line_makes_the_picture_on_the_page(
    opened: Page, picture: Path, tmp_path: Path, kernel: dict[str, Any], tone: str
) -> None:
    page = set_page(opened, **kernel, tone=tone)
    assert page["apply"].endswith(" -o out.png")
    out = tmp_path / "out.png"
    report = run_line(page["apply"].removesuffix(" -o out.png"), picture, "-o", out, "--json").ok().json
    stored = load_image(out)
    stored = stored[..., None] if stored.ndim == 2 else stored
    shown = np.array(page["samples"], np.int64).reshape(-1, *page["shape"]).transpose(1, 2, 0)
    assert shown.shape == stored.shape
    # Where float32 sums differ in their last bit, a sample may round to its neighbour.
    assert np.abs(shown - stored).max() <= 1
    assert (shown != stored).mean() < 0.01
    maps = report["maps"]
    assert page["clipped"] == pytest.approx(sum(m["clipped_low"] + m["clipped_high"] for m in maps), abs=2)
    assert page["low"] == pytest.approx(min(m["min"] for m in maps), rel=1e-5, abs=1e-3)
    assert page["high"] == pytest.approx(max(m["max"] for m in maps), rel=1e-5, abs=1e-3)


@needs_chromium
def test_a_tap_is_typed_and_everything_follows(opened: Page) -> None:
    set_page(opened, bank=0)
    before = opened.run("byId('output').toDataURL()")
    opened.run("""(() => { const tap = document.querySelector('#grid [data-row="1"][data-column="2"]');
      tap.focus(); tap.value = "7/2"; tap.dispatchEvent(new Event("input", { bubbles: true })); tap.blur(); })()""")
    opened.run("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert opened.run("kernels[0].taps[1][2]") == 3.5
    assert "small.png --kernel='-1 0 1; -2 0 3.5; -1 0 1' -o" in opened.run("byId('command').textContent")
    assert opened.run("byId('output').toDataURL()") != before
    assert "1.5" in opened.run("byId('kernel-facts').textContent")
    opened.run("byId('reset').click()")
    assert opened.run("kernels[0].taps[1][2]") == 2
    assert opened.run("compute() ?? byId('normalise').disabled")  # taps that sum to zero


@needs_chromium
def test_taps_are_made_to_add_up_to_one(opened: Page) -> None:
    set_page(opened, taps=[[1, 2], [3, 4]], tone="clip")
    assert "stretch keeps all" in opened.run("byId('output-facts').textContent")
    opened.run("byId('normalise').click(); compute()")
    assert opened.run("kernels[0].taps") == [[0.1, 0.2], [0.3, 0.4]]
    assert opened.run("found.clipped") == 0
    assert "-k '0.1 0.2; 0.3 0.4'" in opened.run("byId('command').textContent")


@needs_chromium
def test_a_kernel_grows_and_shrinks_around_its_middle(opened: Page) -> None:
    set_page(opened, taps=[[1, 2, 3]])
    opened.run("byId('grid-columns').value = 5; byId('grid-rows').value = 3; resizeKernels()")
    assert opened.run("kernels[0].taps") == [[0] * 5, [0, 1, 2, 3, 0], [0] * 5]
    opened.run("byId('grid-columns').value = 3; byId('grid-rows').value = 1; resizeKernels()")
    assert opened.run("kernels[0].taps") == [[1, 2, 3]]


@needs_chromium
def test_mouse_and_arrow_keys_move_the_sample(opened: Page) -> None:
    set_page(opened, bank=0)
    box = opened.run(
        "(() => { const { left, top, scale } = pictureBox(byId('output')); return [left, top, scale]; })()"
    )
    opened.mouse(box[0] + 7.5 * box[2], box[1] + 4.5 * box[2])
    assert opened.run("[sample.row, sample.column]") == [4, 7]
    opened.run("byId('output').focus()")
    opened.key("ArrowDown")
    opened.key("ArrowRight", shift=True)
    assert opened.run("[sample.row, sample.column]") == [5, 17]
    assert opened.run("byId('told').textContent").startswith("Output row 5, column 17: red")
    assert opened.run("byId('told').getAttribute('aria-live')") == "polite"
    box = opened.run("(() => { const { left, top, scale } = pictureBox(byId('input')); return [left, top, scale]; })()")
    opened.mouse(box[0] + 2.5 * box[2], box[1] + 3.5 * box[2])
    assert opened.run("[sample.row, sample.column]") == [3, 2]


@needs_chromium
def test_arrow_keys_move_between_taps(opened: Page) -> None:
    set_page(opened, taps=[[1, 2, 3], [4, 5, 6]])
    opened.run("document.querySelector('#grid input').focus()")
    opened.key("ArrowDown")
    opened.key("ArrowRight")
    assert opened.run("[document.activeElement.dataset.row, document.activeElement.dataset.column]") == ["1", "1"]
    opened.key("ArrowUp", alt=True)
    assert opened.run("kernels[0].taps") == [[1, 2, 3], [4, 6, 6]]


@needs_chromium
def test_a_tall_picture_is_pointed_at_right(browser: Page, tmp_path: Path) -> None:
    """A tall picture is letterboxed; what is pointed at is still the sample below the pointer."""
    save_image(tmp_path / "tall.png", np.zeros((300, 7), np.uint8))
    run_cli("play", tmp_path / "tall.png", "-o", tmp_path / "tall.html").ok()
    open_page(browser, tmp_path / "tall.html")
    shown = browser.run(
        "(() => { const { left, top, scale } = pictureBox(byId('output')); return [left, top, scale]; })()"
    )
    browser.mouse(shown[0] + 3.5 * shown[2], shown[1] + 200.5 * shown[2])
    assert browser.run("[sample.row, sample.column]") == [200, 3]


@needs_chromium
def test_every_control_has_a_name_and_the_tab_key_reaches_it(opened: Page) -> None:
    nameless = opened.run("""
      [...document.querySelectorAll("input, select, button, canvas:not(.overlay)")]
        .filter((e) => !e.labels?.length && !e.getAttribute("aria-label") && !e.textContent.trim())
        .map((e) => e.outerHTML)""")
    assert nameless == []
    assert opened.run("[...document.querySelectorAll('[tabindex]')].every((element) => element.tabIndex === 0)")


@needs_chromium
def test_names_are_text_and_lines_are_quoted(browser: Page, tmp_path: Path) -> None:
    """A folder and a file whose names are markup, quotes and terminal escapes."""
    folder = tmp_path / "a<script>document.title='bad'<"
    folder.mkdir()
    file = save_image(folder / "script>\"'`$(x) & \x1b[31m\n{{data}}.png", np.zeros((4, 5, 3), np.uint8))
    spec = "1 1 scale=1/2"
    page = play_page(load_photo(file, name=str(file)), [spec])
    assert page.count("<script") == 2
    assert "\x1b" not in page
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    open_page(browser, tmp_path / "page.html")
    assert browser.errors == []
    assert browser.run("document.title").endswith("convcli play")
    assert "\\x1b[31m\\x0a{{data}}.png" in browser.run("byId('photo-name').textContent")
    line = browser.run("byId('command').textContent")
    assert "\x1b" not in line
    assert "\n" not in line
    if shutil.which("bash") is None:
        return
    printed = subprocess.run(
        ["bash", "-c", line.replace("convcli apply", "printf '%s\\0'", 1)], capture_output=True, check=True
    ).stdout.split(b"\0")
    assert [word.decode() for word in printed[:3]] == [str(file), "-k", spec]


@needs_chromium
@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash to split the line")
@pytest.mark.parametrize(
    "name", [b"caf\xe9a.png", b"tab\there.png", "\u202egnp.\U0001f408".encode(), b"\x7f\x80'\\.png"]
)
def test_bytes_of_a_name_survive_the_line(browser: Page, tmp_path: Path, name: bytes) -> None:
    """Not all names are UTF-8; those with anything that is not seen are quoted byte by byte."""
    photo = load_photo(None, longest_px=16, name=os.fsdecode(name))
    (tmp_path / "page.html").write_text(play_page(photo), encoding="utf-8")
    open_page(browser, tmp_path / "page.html")
    line = browser.run("byId('command').textContent")
    assert line.isprintable()
    printed = subprocess.run(
        ["bash", "-c", line.replace("convcli apply", "printf '%s\\0'", 1)], capture_output=True, check=True
    ).stdout.split(b"\0")
    assert printed[0] == name


@needs_chromium
def test_a_picture_with_alpha_says_that_it_is_dropped(browser: Page, tmp_path: Path) -> None:
    samples = np.random.default_rng(9).integers(0, 256, (9, 11, 4), dtype=np.uint8)
    picture = save_image(tmp_path / "alpha.png", samples)
    run_cli("play", picture, "-k", "sharpen", "-o", tmp_path / "play.html").ok()
    open_page(browser, tmp_path / "play.html")
    line = browser.run("byId('command').textContent")
    assert "--alpha drop" in line
    run_line(line.replace("out.png", str(tmp_path / "out.png")), picture).ok()
    shown = np.array(browser.run("found.samples.map((plane) => Array.from(plane))")).reshape(3, 9, 11)
    np.testing.assert_array_equal(load_image(tmp_path / "out.png").transpose(2, 0, 1), shown)


@needs_chromium
@pytest.mark.parametrize(
    "name", ["-x.png", "it's.png", "a b.png", "ü.png", "#1.png", "~.png", "\u202egnp.exe", "a\\b.png"]
)
def test_a_dropped_picture_keeps_its_pixels_and_its_name_is_quoted(opened: Page, tmp_path: Path, name: str) -> None:
    samples = np.random.default_rng(7).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    content = base64.b64encode(save_image(tmp_path / "x.png", samples).read_bytes()).decode()
    opened.run(f"""(() => {{ const held = new DataTransfer();
      const bytes = Uint8Array.from(atob("{content}"), (c) => c.charCodeAt(0));
      held.items.add(new File([bytes], {json.dumps(name)}));
      dispatchEvent(new DragEvent("drop", {{ dataTransfer: held }})); }})()""")
    opened.wait(f"photo.name === {json.dumps(name)}")
    opened.run("compute()")
    shown = np.array(opened.run("photo.values.map((plane) => Array.from(plane))")).reshape(3, 5, 6)
    np.testing.assert_array_equal(shown, samples.transpose(2, 0, 1))
    line = opened.run("byId('command').textContent")
    if shutil.which("bash") is not None:
        printed = subprocess.run(
            ["bash", "-c", line.replace("convcli apply", "printf '%s\\0'", 1)],
            capture_output=True,
            check=True,
            cwd=tmp_path,
        ).stdout.split(b"\0")
        assert printed[0].decode() == (f"./{name}" if name.startswith("-") else name)


@needs_chromium
def test_a_picture_is_chosen_and_shrunk(opened: Page, tmp_path: Path) -> None:
    large = save_image(tmp_path / "large.png", np.full((300, 900, 3), 77, np.uint8))
    opened.choose_file("byId('file')", large)
    opened.wait("photo.name === 'large.png'")
    assert opened.run("[photo.height, photo.width, photo.planes.length, photo.values[0][5]]") == [133, 400, 1, 77]
    opened.run("compute()")
    assert opened.run("byId('photo-name').textContent") == "large.png, 900 × 300, here 400 × 133"
    assert opened.run("byId('explain-line').hidden && byId('command-note').textContent.includes('smaller')")


@needs_chromium
def test_the_camera_runs_until_it_is_stopped(opened: Page) -> None:
    opened.run("byId('webcam').click()")
    opened.wait("photo.name === 'camera.png'")
    assert opened.run("byId('webcam').getAttribute('aria-pressed')") == "true"
    opened.wait("byId('output').width > 100")
    opened.run("byId('webcam').click()")
    assert opened.run("stream === null && byId('webcam').getAttribute('aria-pressed') === 'false'")
    assert opened.errors == []


@needs_chromium
def test_what_is_no_picture_is_said(opened: Page) -> None:
    opened.run("openFile(new File(['not a picture'], 'notes\\u001b.txt'))")
    assert opened.run("byId('problem').textContent") == "notes\\x1b.txt is no picture that this browser reads"
    set_page(opened)


@needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phones_need_no_sideways_scrolling_and_colours_follow_the_system(
    browser: Page, tmp_path: Path, scheme: str
) -> None:
    run_cli("play", "-o", tmp_path / "play.html").ok()
    browser.media(prefers_color_scheme=scheme)
    browser.size(360, 760, phone=True)
    try:
        open_page(browser, tmp_path / "play.html")
        assert browser.run("document.documentElement.scrollWidth") <= 360
        colours = """["color", "backgroundColor"].map((name) =>
          getComputedStyle(document.body)[name].match(/\\d+/g).map(Number))"""
        ink, paper = browser.run(colours)
        assert (sum(ink) > sum(paper)) == (scheme == "dark")
        assert abs(sum(ink) - sum(paper)) > 500
    finally:
        browser.size(1280, 900)
        browser.media()


def test_pixels_are_packed_without_loss(picture: Path) -> None:
    import zlib

    samples = load_image(picture)
    packed = np.frombuffer(zlib.decompress(base64.b64decode(pack_pixels(samples))), np.uint8).reshape(samples.shape)
    np.testing.assert_array_equal(np.cumsum(packed, axis=1, dtype=np.uint8), samples)


def test_the_menu_has_the_library_with_its_exact_taps() -> None:
    from convcli import load_bank

    banks = {bank["name"]: bank for bank in library()}
    assert {"sobel", "box", "gaussian", "kirsch", "laws", "emboss", "identity"} <= set(banks)
    assert {bank["group"] for bank in banks.values()} >= {"Edges", "Blur", "Sharpen", "Texture"}
    for bank in banks.values():
        weight = load_bank(bank["spec"]).weight
        np.testing.assert_array_equal([kernel["taps"] for kernel in bank["kernels"]], weight[:, 0])


def test_nothing_ends_the_data_element() -> None:
    text = json_for_script({"name": "</script><!--\u2028&\udc80"})
    assert "<" not in text
    assert text.isascii()
    assert json.loads(text) == {"name": "</script><!--\u2028&\udc80"}


def test_photos_of_other_kinds_become_bytes(tmp_path: Path) -> None:
    deep = save_image(tmp_path / "deep.png", np.full((40, 80), 65535 // 2, np.uint16))
    photo = load_photo(deep, longest_px=20)
    assert photo.samples.shape == (10, 20, 1)
    assert set(np.unique(photo.samples)) <= {127, 128}
    see_through = save_image(tmp_path / "alpha.png", np.full((4, 4, 4), 9, np.uint8))
    assert load_photo(see_through).as_dict()["alpha"] is True
    assert load_photo(see_through).samples.shape == (4, 4, 3)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nothing.png"], 3, "nothing.png"),
        (["-k", "sobbel"], 4, "did you mean sobel"),
        (["-k", "random:in_channels=3"], 2, "kernels of one plane"),
        (["-k", "rfs"], 0, ""),
        (["-k", "gabor-wiskott"], 2, "too many for a page"),
        (["-o", "no/folder/play.html"], 6, "no/folder"),
        (["--size", "3"], 2, "16"),
    ],
)
def test_play_says_what_is_wrong(tmp_path: Path, words: list[str], code: int, said: str) -> None:
    result = run_cli("play", *words, cwd=tmp_path)
    assert result.exit_code == code, result.stderr
    assert said in result.stderr


def test_play_replaces_nothing_unasked_and_writes_to_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "play.html").write_text("mine")
    assert run_cli("play", cwd=tmp_path).exit_code == 6
    assert (tmp_path / "play.html").read_text() == "mine"
    run_cli("play", "--overwrite", cwd=tmp_path).ok()
    assert run_cli("play", "-o", "-", cwd=tmp_path).ok().stdout.startswith("<!doctype html>")


@needs_chromium
@pytest.mark.parametrize(
    "words",
    [
        ["-k", "sobel", "--at", "3,4", "--map", "y-g"],
        ["-k", "sobel", "--at", "0,0", "--stride", "2x1", "--padding", "1,0,2,2", "--padding-mode", "constant:7"],
        ["-k", "box:size=5x2", "--at", "18,22", "--anchor", "4x0", "--padding-mode", "circular", "--map", "2"],
        ["-k", "1 2; 3 4", "--at", "7,9", "--transposed", "--stride", "2", "--bias", "3", "--mode", "convolve"],
        ["-k", "pillow-contour", "--at", "5,6", "--channels", "luma"],
        ["-k", "1 1 1", "--at", "5,6", "--groups", "1"],
        ["-k", "laplacian4", "--at", "2,1", "--channels", "b", "--dilation", "3"],
        ["-k", "laplacian4", "--at", "2,1", "--channels", "r,g,b", "--groups", "auto"],
    ],
)
def test_explain_opens_the_page_at_its_sample(browser: Page, picture: Path, tmp_path: Path, words: list[str]) -> None:
    file = tmp_path / "why.html"
    explained = run_cli("explain", picture, *words, "--json", "--html", file).ok()
    open_page(browser, file)
    told = browser.run("showSample(sample.row, sample.column)")
    assert [told["row"], told["column"]] == explained.json["at"]
    assert told["value"] == pytest.approx(explained.json["value"], rel=1e-6)
    assert [part["inside"] for part in told["parts"]] == explained.json["inside"]
    again = run_line(browser.run("byId('explain').textContent"), picture, "--json").json
    assert again["value"] == pytest.approx(explained.json["value"], rel=1e-12)
    assert browser.errors == []


@needs_chromium
@pytest.mark.parametrize("channels", [[], ["--channels", "luma"], ["--channels", "l"]])
def test_explain_opens_a_grey_page(browser: Page, tmp_path: Path, channels: list[str]) -> None:
    samples = np.random.default_rng(8).integers(0, 256, (9, 8), dtype=np.uint8)
    grey = save_image(tmp_path / "grey.png", samples)
    words = ["-k", "kirsch", "--at", "8,0", "--map", "3", *channels]
    explained = run_cli("explain", grey, *words, "--json", "--html", tmp_path / "why.html").ok()
    open_page(browser, tmp_path / "why.html")
    assert browser.run("showSample(sample.row, sample.column).value") == explained.json["value"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-k", "sobel", "-k", "box"], "one kernel"),
        (["-k", "sobel", "--channels", "r,g"], "no control"),
        (["-k", "sobel", "--unit"], "no control"),
        (["-k", "sobel", "--bias", "1,2"], "no control"),
    ],
)
def test_explain_says_what_the_page_cannot_show(picture: Path, tmp_path: Path, words: list[str], said: str) -> None:
    result = run_cli("explain", picture, *words, "--at", "1,1", "--html", tmp_path / "why.html")
    assert result.exit_code == 2
    assert said in result.stderr
    assert not (tmp_path / "why.html").exists()


@needs_chromium
def test_a_bank_with_its_own_reduction_is_shown_kernel_by_kernel(browser: Page, tmp_path: Path) -> None:
    photo = load_photo(None, longest_px=30)
    (tmp_path / "page.html").write_text(play_page(photo, ["mr4:size=9"]), encoding="utf-8")
    open_page(browser, tmp_path / "page.html")
    assert browser.run("byId('combine').length") == 1
    assert browser.run("byId('shown').length") == 14
