"""A slide laid out in pixels: cells that stand still, a window that moves, a line per frame; and drawn as SVG.

The SVG moves by CSS: light and dark, still for those who asked for less motion.
"""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from convcli.render.pages.sliding import Slide, number

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: Pixels around the scene, of the title, between grid and outputs, of a line.
_MARGIN, _TITLE, _GAP, _LINE = 16, 34, 56, 26
#: Width of a letter as a share of the size of the type, on the safe side.
_LETTER = 0.6


#: The sheet of an SVG stands in the file itself, so that one file is enough.
_STYLE = """\
svg{--paper:#fff;--ink:#1b1f24;--line:#8a96a3;--input:#cfe3f8;--hole:#f3f5f7;--output:#d3f0e2;--window:#1f5fa8;--here:#0f8a5f;--tap:#8a2a06}
@media (prefers-color-scheme:dark){svg{--paper:#14171b;--ink:#eef1f4;--line:#66717d;--input:#27466b;--hole:#1c2127;\
--output:#1d4a3a;--window:#7db6f5;--here:#4fd6a2;--tap:#ffc890}}
text{fill:var(--ink);text-anchor:middle;dominant-baseline:central}
.title,.formula{text-anchor:start}
rect{stroke:var(--line)}
.paper{fill:var(--paper);stroke:none}
.input{fill:var(--input)}
.hole{fill:var(--hole)}
.pad{fill:none;stroke-dasharray:3 2}
.output{fill:var(--output)}
.window{fill:var(--window);fill-opacity:.38;stroke:none}
.frame{fill:none;stroke:var(--window);stroke-width:3}
.here{fill:var(--here);fill-opacity:.35;stroke:var(--here);stroke-width:3}
.tap{fill:var(--tap);font-weight:600;text-anchor:end}
.formula{visibility:hidden}
.formula.first{visibility:visible}
"""


class Cell(NamedTuple):
    """One square: top left corner, what it is (``input pad hole output window here``), and a number or nothing."""

    x: int
    y: int
    kind: str
    text: str = ""


class Scene(NamedTuple):
    """All that is drawn, in pixels."""

    width: int
    height: int
    cell: int
    title: str
    #: Cells that stand still; numbers of outputs appear in their frames.
    grid: tuple[Cell, ...]
    outputs: tuple[Cell, ...]
    #: Cells of the window at the first frame, each with its tap, and the outline around them.
    window: tuple[Cell, ...]
    frame_box: tuple[int, int, int, int]
    #: Where window and marked output stand in each frame, from the first.
    moves: tuple[tuple[int, int], ...]
    marks: tuple[tuple[int, int], ...]
    #: A line for each frame; empty where numbers are missing.
    formulas: tuple[str, ...]
    #: Middle of the arrow from the grid to the outputs.
    arrow: tuple[int, int]


def lay_out(slide: Slide, cell: int) -> Scene:
    """Return the scene of a slide with cells of so many pixels.

    Examples
    --------
    >>> from convcli.render.pages.sliding import make_slide
    >>> scene = lay_out(make_slide("5x5", "conv:1,k=3,s=2,p=1"), 26)
    >>> scene.moves[:4], len(scene.grid), (scene.width, scene.height)
    (((0, 0), (52, 0), (104, 0), (0, 52)), 49, (348, 232))
    """
    rows, columns = slide.rows, slide.columns
    n_rows, n_columns = rows.high - rows.low + 1, columns.high - columns.low + 1
    body = max(n_rows, len(rows.starts)) * cell
    left, top = _MARGIN, _TITLE + (body - n_rows * cell) // 2
    out_left = left + n_columns * cell + _GAP
    out_top = _TITLE + (body - len(rows.starts) * cell) // 2

    def place(row: int, column: int) -> tuple[int, int]:
        return left + (column - columns.low) * cell, top + (row - rows.low) * cell

    outputs = tuple(
        Cell(out_left + x * cell, out_top + y * cell, "output", _text(slide.results, y, x)) for y, x in slide.frames()
    )
    window = tuple(
        Cell(*place(row, column), "window", _text(slide.taps, down, across))
        for down, row in enumerate(rows.positions(0))
        for across, column in enumerate(columns.positions(0))
    )
    formulas = () if slide.results is None else tuple(slide.formula(*frame) for frame in slide.frames())
    # The reader's font is not known, so text is estimated and not measured.
    widest = max(map(len, [slide.title, *formulas]))
    first, last = window[0], window[-1]
    return Scene(
        width=max(out_left + len(columns.starts) * cell, _MARGIN + round(widest * 13 * _LETTER)) + _MARGIN,
        height=_TITLE + body + (_LINE if formulas else 0) + _MARGIN,
        cell=cell,
        title=slide.title,
        grid=_grid(slide, place),
        outputs=outputs,
        window=window,
        frame_box=(first.x, first.y, last.x - first.x + cell, last.y - first.y + cell),
        moves=tuple(
            ((columns.starts[x] - columns.starts[0]) * cell, (rows.starts[y] - rows.starts[0]) * cell)
            for y, x in slide.frames()
        ),
        marks=tuple((x * cell, y * cell) for y, x in slide.frames()),
        formulas=formulas,
        arrow=(out_left - _GAP // 2, _TITLE + body // 2),
    )


def _grid(slide: Slide, place: Callable[[int, int], tuple[int, int]]) -> tuple[Cell, ...]:
    """Return the cells of the input and of what is around and between its samples."""
    cells = []
    for row in range(slide.rows.low, slide.rows.high + 1):
        for column in range(slide.columns.low, slide.columns.high + 1):
            value = slide.value_at(row, column)
            text = "" if value is None else number(value)
            cells.append(Cell(*place(row, column), _kind(slide, row, column), text))
    return tuple(cells)


def _text(numbers: NDArray[np.float64] | None, row: int, column: int) -> str:
    return "" if numbers is None else number(numbers[row, column])


def _kind(slide: Slide, row: int, column: int) -> str:
    """Return what a cell of the grid is: a sample, an empty cell between samples, or padding."""
    if slide.rows.sample(row) is not None and slide.columns.sample(column) is not None:
        return "input"
    within = 0 <= row <= (slide.rows.size - 1) * slide.rows.step
    return "hole" if within and 0 <= column <= (slide.columns.size - 1) * slide.columns.step else "pad"


def type_size(text: str, width: int, largest: float) -> float:
    """Return the size of type at which text fits a width.

    Examples
    --------
    >>> type_size("12", 26, 13), type_size("-0.1111", 26, 13)
    (13, 5.7)
    """
    # Two pixels keep the digits off the lines of their cell.
    return largest if not text else min(largest, round((width - 2) / (len(text) * _LETTER), 1))


def draw_svg(scene: Scene, *, seconds: float) -> str:
    """Return a scene as an SVG document that shows each frame for so many seconds.

    Before it moves, and where motion is unwanted, it shows the first window and every result.

    Examples
    --------
    >>> from convcli.render.pages.sliding import make_slide
    >>> document = draw_svg(lay_out(make_slide("4x4", "maxpool:2"), 24), seconds=1)
    >>> document[:4], "@keyframes" in document, "http:" in document.replace("http://www.w3.org/2000/svg", "")
    ('<svg', True, False)
    """
    n = len(scene.moves)
    has_taps = any(cell.text for cell in scene.window)
    title = html.escape(scene.title)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{scene.width}" height="{scene.height}" '
        f'viewBox="0 0 {scene.width} {scene.height}" font-family="system-ui,sans-serif" font-size="13" role="img" '
        f'aria-label="{title}">',
        f"<title>{title}</title>",
        f"<style>{_STYLE}{_motion(scene, seconds)}</style>",
        '<rect class="paper" width="100%" height="100%"/>',
        f'<text class="title" x="16" y="17">{title}</text>',
        *(_square(cell, scene.cell, cell.kind) for cell in (*scene.grid, *scene.outputs)),
        f'<text x="{scene.arrow[0]}" y="{scene.arrow[1]}" font-size="20">→</text>',
        '<g class="moves">', *(_square(cell, scene.cell, "window") for cell in scene.window), _outline(scene), "</g>",
        f'<g class="marks">{_square(scene.outputs[0], scene.cell, "here")}</g>',
        *(_label(cell, scene.cell, lifted=has_taps) for cell in scene.grid if cell.text),
        *(
            _label(cell, scene.cell, extra=f' style="animation-name:r{index}"' if n > 1 else "")
            for index, cell in enumerate(scene.outputs) if cell.text
        ),
        '<g class="moves">', *(_tap(cell, scene.cell) for cell in scene.window if cell.text), "</g>",
        *(
            f'<text class="formula{" first" if not index else ""}" x="16" y="{scene.height - 20}" '
            f'style="animation-delay:{index * seconds:g}s">{html.escape(text)}</text>'
            for index, text in enumerate(scene.formulas)
        ),
        "</svg>",
    ]  # fmt: skip
    return "\n".join(parts) + "\n"


def _motion(scene: Scene, seconds: float) -> str:
    """Return the key frames: one still position after the other, nothing in between."""
    n = len(scene.moves)
    if n == 1:
        return ""
    at = [f"{100 * index / n:.4g}%" for index in range(n + 1)]
    # step-end: a window jumps from sample to sample and never stands between them.
    rules = [
        f".moves,.marks,.formula,.result{{animation:moves {n * seconds:g}s step-end infinite}}",
        ".marks{animation-name:marks}.formula{animation-name:formula}",
    ]
    for name, steps in (("moves", scene.moves), ("marks", scene.marks)):
        frames = "".join(f"{at[index]}{{transform:translate({x}px,{y}px)}}" for index, (x, y) in enumerate(steps))
        rules.append(f"@keyframes {name}{{{frames}}}")
    if scene.formulas:
        rules.append(f"@keyframes formula{{0%{{visibility:visible}}{at[1]}{{visibility:hidden}}}}")
        rules += [f"@keyframes r{index}{{0%{{opacity:0}}{at[index]}{{opacity:1}}}}" for index in range(1, n)]
    # Motion makes some people ill: their setting wins over every rule above.
    rules.append("@media (prefers-reduced-motion:reduce){*{animation:none!important}}")
    return "\n".join(rules)


def _square(cell: Cell, size: int, kind: str) -> str:
    return f'<rect class="{kind}" x="{cell.x}" y="{cell.y}" width="{size}" height="{size}"/>'


def _outline(scene: Scene) -> str:
    x, y, width, height = scene.frame_box
    return f'<rect class="frame" x="{x}" y="{y}" width="{width}" height="{height}"/>'


def _label(cell: Cell, size: int, *, lifted: bool = False, extra: str = "") -> str:
    """Return the number of a cell; lifted where the tap of the window stands below it."""
    font = type_size(cell.text, size, 13)
    y = cell.y + size * (0.4 if lifted else 0.5)
    name = ' class="result"' if extra else ""
    return f'<text{name} x="{cell.x + size / 2:g}" y="{y:g}" font-size="{font:g}"{extra}>{cell.text}</text>'


def _tap(cell: Cell, size: int) -> str:
    font = type_size(cell.text, size * 3 // 4, 10)
    x, y = cell.x + size - 3, cell.y + size * 0.8
    return f'<text class="tap" x="{x}" y="{y:g}" font-size="{font:g}">{cell.text}</text>'
