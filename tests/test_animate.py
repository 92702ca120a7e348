"""The sliding window: frames stand where the engine's windows stand, numbers are the engine's, files are small."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from browser import Page, needs_chromium, open_browser
from conftest import run_cli
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import Case, convolutions

from convcli.engine import plan_conv
from convcli.engine.explain import explain_sample
from convcli.render.pages.scene import draw_svg, lay_out
from convcli.render.pages.slide_gif import draw_frame, draw_gif
from convcli.render.pages.sliding import AxisSlide, Slide, make_slide

NUMBERS = ("4x4", "conv:1,k=3,p=1")
VALUES, TAPS = "1 2 0 1; 3 1 1 0; 0 2 4 1; 1 0 2 3", "0 1 0; 1 -4 1; 0 1 0"


def by(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes))


def slide_of(case: Case, **numbers: Any) -> Slide:
    """The slide of a convolution by the text that a user would write."""
    sides = ",".join(str(side) for pair in case.padding for side in pair)
    words = f"k={by(case.kernel)},s={by(case.stride)},d={by(case.dilation)},p={sides}"
    if case.transposed:
        words += f",op={by(case.output_padding)}"
    kind = "convtranspose" if case.transposed else "conv"
    return make_slide(by(case.axes), f"{kind}:1,{words}", **numbers)


def met(axis: AxisSlide, output: int, *, turned: bool) -> list[tuple[int, int]]:
    """(tap, input sample) of one window, samples in the padding among them."""
    places = enumerate(axis.positions(output))
    return [
        (axis.kernel - 1 - place if turned else place, position // axis.step)
        for place, position in places
        if position % axis.step == 0
    ]


@settings(max_examples=500)
@given(case=st.one_of(convolutions(n_axes=2), convolutions(n_axes=2, transposed=True)), data=st.data())
def test_frames_stand_where_the_engines_windows_stand(case: Case, data: st.DataObject) -> None:
    """Every output row against one column, and every column against one row: the axes are independent."""
    slide = slide_of(case)
    weight = np.arange(1.0, 1 + np.prod(case.kernel)).reshape(1, 1, *case.kernel)  # a tap is its own name
    plan = plan_conv(
        (1, *case.axes), weight, case.stride, case.padding, case.dilation,
        transposed=case.transposed, output_padding=case.output_padding if case.transposed else (0, 0),
    )  # fmt: skip
    assert (len(slide.rows.starts), len(slide.columns.starts)) == plan.output_shape[1:] == slide.output_sizes
    image = np.zeros((1, *case.axes))
    pick = [data.draw(st.integers(0, size - 1)) for size in plan.output_shape[1:]]
    outputs = [(row, pick[1]) for row in range(plan.output_shape[1])]
    outputs += [(pick[0], column) for column in range(plan.output_shape[2])]
    for row, column in outputs:
        told = explain_sample(plan, image, weight, None, 0, row, column)
        rows = met(slide.rows, row, turned=case.transposed)
        columns = met(slide.columns, column, turned=case.transposed)
        assert tuple(sample for _, sample in rows) == told.rows
        assert tuple(sample for _, sample in columns) == told.columns
        taps = [[1 + tap_row * case.kernel[1] + tap_column for tap_column, _ in columns] for tap_row, _ in rows]
        if rows and columns:
            assert told.taps[0].tolist() == taps
        for axis, at in ((slide.rows, row), (slide.columns, column)):
            assert axis.low <= axis.positions(at)[0] <= axis.positions(at)[-1] <= axis.high


@settings(max_examples=60)
@given(case=st.one_of(convolutions(n_axes=1), convolutions(n_axes=1, transposed=True), convolutions(n_axes=2)))
def test_numbers_of_a_frame_add_up_to_the_engines_result(case: Case) -> None:
    random = np.random.default_rng(case.seed)
    values, taps = (random.integers(-9, 10, (1, *size)[-2:]).astype(float) for size in (case.axes, case.kernel))
    slide = slide_of(case, values=values, taps=taps)
    assert slide.taps is not None
    assert slide.results is not None
    for row, column in slide.frames():
        cells = [(y, x) for y in slide.rows.positions(row) for x in slide.columns.positions(column)]
        known = [slide.value_at(*cell) or 0.0 for cell in cells]
        assert np.dot(known, slide.taps.ravel()) == slide.results[row, column]
        assert slide.formula(row, column).endswith(f"= {slide.results[row, column] + 0.0:.4g}")


@pytest.mark.parametrize("layer", ["maxpool:2", "maxpool:k=3,s=2,p=1", "maxpool:3,ceil=true", "maxpool:k=2,s=1,d=2"])
def test_a_pools_window_holds_its_maximum(layer: str, rng: np.random.Generator) -> None:
    slide = make_slide("7x6", layer, values=rng.integers(0, 99, (7, 6)).astype(float))
    assert slide.results is not None
    for row, column in slide.frames():
        cells = [(y, x) for y in slide.rows.positions(row) for x in slide.columns.positions(column)]
        shown = [value for cell in cells if (value := slide.value_at(*cell)) is not None]
        assert max(shown) == slide.results[row, column]


def test_a_mean_pool_counts_its_padding_as_zeros() -> None:
    slide = make_slide("2x2", "avgpool:k=2,s=2,p=1", values=np.full((2, 2), 4.0))
    assert slide.formula(0, 0) == "mean(0, 0, 0, 4) = 1"


def test_a_border_shows_its_numbers() -> None:
    slide = make_slide("3", "conv:1,k=3,p=1,padding_mode=reflect", values=np.array([[1.0, 2, 3]]))
    assert [slide.value_at(0, column) for column in range(-1, 4)] == [2, 1, 2, 3, 2]


def test_a_frame_is_written_out() -> None:
    slide = make_slide("1x3", "conv:1,k=1x2", values=np.array([[1.0, 2, 3]]), taps=np.array([[1.0, -0.5]]))
    assert [slide.formula(*frame) for frame in slide.frames()] == ["1·1 + 2·(-0.5) = 0", "2·1 + 3·(-0.5) = 0.5"]


EXAMPLES = [
    ("5x5", "conv:1,k=3,s=2,p=1"), ("4x4", "conv:1,k=3"), ("5x5", "conv:1,k=3,p=same"), ("7x7", "conv:1,k=3,d=2"),
    ("3x3", "convtranspose:1,k=3,s=2,p=1"), ("2x2", "convtranspose:1,k=3,s=2,op=1"), ("9", "conv:1,k=3,s=2"),
    ("6x6", "maxpool:2"), ("5x6", "conv:1,k=4x2,p=0,1,2,1"), ("1x1", "conv:1,k=1"),
]  # fmt: skip


@pytest.mark.parametrize("example", EXAMPLES, ids=" ".join)
def test_files_are_small_and_well_formed(example: tuple[str, str], tmp_path: Path) -> None:
    for suffix in ("svg", "gif"):
        run_cli("animate", *example, "-o", tmp_path / f"slide.{suffix}").ok()
        assert (tmp_path / f"slide.{suffix}").stat().st_size < 100_000
    root = ElementTree.parse(tmp_path / "slide.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.get("aria-label", "").count("→") == 1


def test_the_readmes_example_with_numbers_is_small_too(tmp_path: Path) -> None:
    for suffix in ("svg", "gif"):
        file = tmp_path / f"slide.{suffix}"
        run_cli("animate", *NUMBERS, "--values", VALUES, "-k", "laplacian4", "-o", file).ok()
        assert file.stat().st_size < 100_000


def test_the_gif_has_every_frame_for_its_time(tmp_path: Path) -> None:
    from PIL import Image

    scene = lay_out(make_slide("5x5", "conv:1,k=3,s=2,p=1"), 26)
    with Image.open(io.BytesIO(draw_gif(scene, seconds=0.5))) as gif:
        assert (gif.n_frames, gif.info["duration"], gif.info["loop"], gif.size) == (
            9,
            500,
            0,
            (scene.width, scene.height),
        )
        for index in (0, 4, 8):
            gif.seek(index)
            shown = np.asarray(gif.convert("RGB"), int)
            # The palette is shared: colours may be a little off, places may not.
            assert np.abs(shown - np.asarray(draw_frame(scene, index), int)).mean() < 0.5


def test_the_gifs_window_is_where_the_scene_says() -> None:
    scene = lay_out(make_slide("5x5", "conv:1,k=3,s=2,p=1"), 26)
    x, y, width, height = scene.frame_box
    for index, (dx, dy) in enumerate(scene.moves):
        picture = draw_frame(scene, index)
        for corner in ((x + dx, y + dy), (x + dx + width, y + dy + height)):
            assert picture.getpixel(corner) == (31, 95, 168)


def test_one_frame_does_not_move() -> None:
    assert "@keyframes" not in draw_svg(lay_out(make_slide("3x3", "conv:1,k=3"), 30), seconds=1)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["5x5", "relu"], 2, "no window"),
        (["5x5", "separable:1,k=3"], 2, "no window"),
        (["3x5x5", "conv:1,k=3"], 2, "one plane is drawn"),
        (["5x5", "conv:1,k=7"], 5, "does not fit"),
        (["50x60", "conv:1,k=3"], 2, "too many"),
        (["5x5", "conv:1,k=3", "-o", "slide.mp4"], 2, ".svg or .gif"),
        (["5x5", "conv:1,k=3", "--fps", "0"], 2, "--fps"),
        (["5x5", "conv:1,k=3", "--fps", "nan"], 2, "--fps"),
        (["5x5", "conv:1,k=3", "-k", "sobel"], 2, "sobel#x"),
        (["5x5", "conv:1,k=3", "-k", "sobel5#x"], 5, "5×5"),
        (["5x5", "conv:1,k=3", "--values", "1 2; 3 4"], 5, "2×2"),
        (["5x5", "maxpool:2", "-k", "1 1; 1 1"], 2, "no taps"),
        (["5x5", "conv:1"], 2, "kernel_size is missing"),
        (["5x5", "conv:1,k=3", "-o", "no/slide.svg"], 6, "no/slide.svg"),
    ],
)
def test_animate_says_what_is_wrong(tmp_path: Path, words: list[str], code: int, said: str) -> None:
    result = run_cli("animate", *words, cwd=tmp_path)
    assert result.exit_code == code, result.stderr
    assert said in result.stderr


def test_animate_writes_to_a_pipe_and_replaces_nothing_unasked(tmp_path: Path) -> None:
    assert run_cli("animate", *EXAMPLES[0], "-o", "-").ok().stdout.startswith("<svg")
    (tmp_path / "slide.svg").write_text("mine")
    assert run_cli("animate", *EXAMPLES[0], cwd=tmp_path).exit_code == 6
    run_cli("animate", *EXAMPLES[0], "--overwrite", "--cell", "20", cwd=tmp_path).ok()
    assert 'width="20"' in (tmp_path / "slide.svg").read_text()


#: Holds every frame in its middle; tells where window and mark are, which formulas and how many results are seen.
_SEEK = """(frames) => {
  const animations = document.getAnimations(), seen = [];
  const visible = (query, name, value) =>
    [...document.querySelectorAll(query)].filter((element) => getComputedStyle(element)[name] === value);
  for (let index = 0; index < frames; index++) {
    animations.forEach((animation) => { animation.pause(); animation.currentTime = index * 800 + 400; });
    const box = document.querySelector(".frame").getBoundingClientRect();
    const here = document.querySelector(".here").getBoundingClientRect();
    const formulas = visible(".formula", "visibility", "visible").map((element) => element.textContent);
    seen.push([box.x, box.y, here.x, here.y, formulas, visible(".result", "opacity", "1").length]);
  }
  return seen;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Page]:
    with open_browser() as page:
        page.size(900, 600)
        yield page


@needs_chromium
def test_the_svg_moves_as_the_scene_says_and_stands_still_where_asked(browser: Page, tmp_path: Path) -> None:
    def numbers(text: str) -> np.ndarray:
        return np.array([[float(n) for n in row.split()] for row in text.split(";")])

    scene = lay_out(make_slide(*NUMBERS, values=numbers(VALUES), taps=numbers(TAPS)), 34)
    file = tmp_path / "slide.svg"
    file.write_text(draw_svg(scene, seconds=0.8), encoding="utf-8")
    browser.open(file)
    n = len(scene.moves)
    shown = browser.run(f"({_SEEK})({n})")
    first = shown[0]
    for index, (x, y, here_x, here_y, formulas, results) in enumerate(shown):
        assert (x - first[0], y - first[1]) == pytest.approx(scene.moves[index], abs=0.01)
        assert (here_x - first[2], here_y - first[3]) == pytest.approx(scene.marks[index], abs=0.01)
        assert formulas == [scene.formulas[index]]
        assert results == index + 1
    assert browser.errors == []
    browser.media(prefers_reduced_motion="reduce")
    browser.open(file)
    assert browser.run("document.getAnimations().length") == 0
    assert browser.run("[...document.querySelectorAll('.result')].every((e) => getComputedStyle(e).opacity === '1')")
    browser.media()


def test_names_in_an_svg_are_escaped() -> None:
    scene = lay_out(make_slide("3x3", "conv:1,k=2"), 30)._replace(title='<script>&"', formulas=("<b>",))
    document = draw_svg(scene, seconds=1)
    ElementTree.fromstring(document)
    assert not re.search(r"<(script|b)\b", document)
