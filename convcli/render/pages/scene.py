"""A slide laid out in pixels: cells that stand still, a window that moves, a line per frame; SVG and GIF draw it."""

from __future__ import annotations

from typing import NamedTuple

from convcli.render.pages.sliding import Slide, number

_MARGIN, _TITLE, _GAP, _LINE = 16, 34, 56, 26
#: Width of a letter as a share of the size of the type, on the safe side.
_LETTER = 0.6


class Cell(NamedTuple):
    """One square: top left corner, what it is (``input pad hole output window here``), and a number or nothing."""

    x: int
    y: int
    kind: str
    text: str = ""


class Scene(NamedTuple):
    """All that is drawn.

    Attributes
    ----------
    width, height, cell : int
        In pixels.
    title : str
    grid, outputs : tuple of Cell
        Cells that stand still; numbers of outputs appear in their frames.
    window : tuple of Cell
        Cells of the window at the first frame, each with its tap.
    here : Cell
        The marked output at the first frame.
    frame_box : (x, y, width, height)
        Outline of the window at the first frame.
    moves, marks : tuple of (dx, dy)
        Where window and mark stand in each frame, from the first.
    formulas : tuple of str
        What each frame says; empty where numbers are missing.
    arrow : (x, y)
        Middle of the arrow from the grid to the outputs.
    """

    width: int
    height: int
    cell: int
    title: str
    grid: tuple[Cell, ...]
    outputs: tuple[Cell, ...]
    window: tuple[Cell, ...]
    here: Cell
    frame_box: tuple[int, int, int, int]
    moves: tuple[tuple[int, int], ...]
    marks: tuple[tuple[int, int], ...]
    formulas: tuple[str, ...]
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
    out_rows, out_columns = len(rows.starts), len(columns.starts)
    body = max(n_rows, out_rows) * cell
    left, top = _MARGIN, _TITLE + (body - n_rows * cell) // 2
    out_left, out_top = left + n_columns * cell + _GAP, _TITLE + (body - out_rows * cell) // 2
    formulas = tuple(slide.formula(*frame) for frame in slide.frames()) if slide.results is not None else ()

    def place(row: int, column: int) -> tuple[int, int]:
        return left + (column - columns.low) * cell, top + (row - rows.low) * cell

    grid = []
    for row in range(rows.low, rows.high + 1):
        for column in range(columns.low, columns.high + 1):
            value = slide.value_at(row, column)
            text = "" if value is None else number(value)
            grid.append(Cell(*place(row, column), _kind(slide, row, column), text))
    outputs = tuple(
        Cell(
            out_left + column * cell, out_top + row * cell, "output",
            "" if slide.results is None else number(slide.results[row, column]),
        )
        for row, column in slide.frames()
    )  # fmt: skip
    window = tuple(
        Cell(*place(row, column), "window", "" if slide.taps is None else number(slide.taps[down, across]))
        for down, row in enumerate(rows.positions(0))
        for across, column in enumerate(columns.positions(0))
    )
    first, last = window[0], window[-1]
    width = out_left + out_columns * cell + _MARGIN
    words = max([slide.title, *formulas], key=len)
    return Scene(
        width=max(width, round(len(words) * 13 * _LETTER) + 2 * _MARGIN),
        height=_TITLE + body + (_LINE if formulas else 0) + _MARGIN,
        cell=cell,
        title=slide.title,
        grid=tuple(grid),
        outputs=outputs,
        window=window,
        here=outputs[0],
        frame_box=(first.x, first.y, last.x - first.x + cell, last.y - first.y + cell),
        moves=tuple(
            ((columns.starts[x] - columns.starts[0]) * cell, (rows.starts[y] - rows.starts[0]) * cell)
            for y, x in slide.frames()
        ),
        marks=tuple((x * cell, y * cell) for y, x in slide.frames()),
        formulas=formulas,
        arrow=(left + n_columns * cell + _GAP // 2, _TITLE + body // 2),
    )


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
    return largest if not text else min(largest, round((width - 2) / (len(text) * _LETTER), 1))
