"""A slide laid out in pixels: cells that stand still, a window that moves, a line per frame; SVG and GIF draw it."""

from __future__ import annotations

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
        here=outputs[0],
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
