"""A page of pictures for people: cells in rows with captions, a title and a legend (Pillow).

Text is never cut: it wraps. Where numbers become colours is :class:`convcli.images.colormaps.Scale`.
"""

from __future__ import annotations

import functools
import math
import re
import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from convcli.images.colormaps import Scale

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image, ImageDraw

GAP_PX, _GROUPS_PX = 10, 26
_INK, _PALE, _EDGE = (20, 20, 20), (96, 96, 96), (208, 208, 208)
_TITLE_PX, _TEXT_PX = 20, 12
_LINE_PX = _TEXT_PX + 4
#: Numbers are written into cells of at least this size.
_NUMBER_PX = 22
_LEGEND_PX = (260, 14)


class Cell(NamedTuple):
    """One picture (h, w, 3) of a page, and the lines beneath it, of which the first is its name."""

    picture: NDArray[np.uint8]
    lines: tuple[str, ...] = ()


class Legend(NamedTuple):
    """The colour scale of a page, and what else there is to know, line by line."""

    scale: Scale | None
    lines: tuple[str, ...] = ()


class Page(NamedTuple):
    """Where everything on a page lies: its size, and the cells with their corners."""

    width_px: int
    height_px: int
    cells: tuple[tuple[int, int, Cell], ...]


def place_cells(head_px: int, top: Sequence[Cell], groups: Sequence[Sequence[Sequence[Cell]]], cell_px: int) -> Page:
    """Return the places (x, y) of the cells beneath a head.

    Parameters
    ----------
    head_px : int
        Height of the head.
    top : sequence of Cell
        A row over the whole width, or as many rows as they need.
    groups : sequence of rows of Cell
        Columns of rows, side by side; rows of one number stand at one height.
    cell_px : int
        Width of every cell, which no picture exceeds.
    """
    step, width = cell_px + GAP_PX, page_width(top, groups, cell_px)
    per_row = max(1, (width - GAP_PX) // step)
    bands: list[list[tuple[int, Sequence[Cell]]]]
    bands = [[(GAP_PX, top[at : at + per_row])] for at in range(0, len(top), per_row)]
    lefts = [GAP_PX]
    for rows in groups[:-1]:
        lefts.append(lefts[-1] + step * max(map(len, rows), default=0) + _GROUPS_PX)
    for row in range(max(map(len, groups), default=0)):
        bands += [[(left, rows[row]) for left, rows in zip(lefts, groups, strict=True) if row < len(rows)]]
    placed, y = [], head_px
    for band in bands:
        placed += [(left + at * step, y, cell) for left, cells in band for at, cell in enumerate(cells)]
        y += max(_height(cell, cell_px) for _, cells in band for cell in cells) + GAP_PX
    return Page(width, y + GAP_PX, tuple(placed))


def page_width(top: Sequence[Cell], groups: Sequence[Sequence[Sequence[Cell]]], cell_px: int) -> int:
    """Return the width of a page on which a legend and a photo with three planes have room."""
    columns = sum(max(map(len, rows), default=0) for rows in groups)
    width = columns * (cell_px + GAP_PX) + GAP_PX + _GROUPS_PX * (len(groups) - 1)
    return max(width, min(len(top), 4) * (cell_px + GAP_PX) + GAP_PX, _LEGEND_PX[0] + 4 * GAP_PX, 320)


def draw_page(
    title: Sequence[str],
    legend: Legend,
    top: Sequence[Cell],
    groups: Sequence[Sequence[Sequence[Cell]]],
    cell_px: int,
) -> NDArray[np.uint8]:
    """Draw a page under its title, whose first line is large; see :func:`place_cells`.

    Returns
    -------
    ndarray of shape (H, W, 3), uint8

    Examples
    --------
    >>> cell = Cell(np.zeros((20, 60, 3), np.uint8), ("x",))
    >>> draw_page(["a title"], Legend(None), [], [[[cell, cell]]], 60).shape[2]
    3
    """
    from PIL import Image, ImageDraw

    head = _head(title, legend, page_width(top, groups, cell_px))
    page = place_cells(head.height, top, groups, cell_px)
    picture = Image.new("RGB", (page.width_px, page.height_px), (255, 255, 255))
    picture.paste(head, (0, 0))
    draw = ImageDraw.Draw(picture)
    for x, y, cell in page.cells:
        _draw_cell(picture, draw, cell, (x, y), cell_px)
    return np.asarray(picture)


def _height(cell: Cell, cell_px: int) -> int:
    return int(cell.picture.shape[0]) + 4 + _LINE_PX * sum(len(wrap(line, cell_px)) for line in cell.lines)


def _draw_cell(picture: Image.Image, draw: ImageDraw.ImageDraw, cell: Cell, at: tuple[int, int], cell_px: int) -> None:
    from PIL import Image

    x, y = at
    height, width = cell.picture.shape[:2]
    picture.paste(Image.fromarray(np.ascontiguousarray(cell.picture)), at)
    draw.rectangle((x - 1, y - 1, x + width, y + height), outline=_EDGE)
    y += height + 3
    for number, line in enumerate(cell.lines):
        for part in wrap(line, cell_px):
            draw.text((x, y), part, fill=_PALE if number else _INK, font=font(_TEXT_PX))
            y += _LINE_PX


def _head(title: Sequence[str], legend: Legend, width: int) -> Image.Image:
    """Draw title and legend, one above the other; Pillow cuts what a picture does not hold, so the height is exact."""
    from PIL import Image, ImageDraw

    room = width - 2 * GAP_PX
    texts = [(part, _TITLE_PX, _INK) for part in wrap(title[0], room, _TITLE_PX)]
    texts += [(part, _TEXT_PX, _PALE) for line in title[1:] for part in wrap(line, room)]
    notes = [part for line in legend.lines for part in wrap(line, room)]
    heights = [size + 6 for _, size, _ in texts]
    bar = 0 if legend.scale is None else _LEGEND_PX[1] + _LINE_PX + 10
    head = Image.new("RGB", (width, GAP_PX + sum(heights) + bar + _LINE_PX * len(notes) + GAP_PX), (255, 255, 255))
    draw = ImageDraw.Draw(head)
    y = GAP_PX
    for (part, size, ink), height in zip(texts, heights, strict=True):
        draw.text((GAP_PX, y), part, fill=ink, font=font(size))
        y += height
    if legend.scale is not None:
        _draw_scale(head, draw, legend.scale, y + 2)
        y += bar
    for part in notes:
        draw.text((GAP_PX, y), part, fill=_PALE, font=font(_TEXT_PX))
        y += _LINE_PX
    return head


def _draw_scale(head: Image.Image, draw: ImageDraw.ImageDraw, scale: Scale, y: int) -> None:
    """Draw the bar of a scale with a mark at its ends, at 0 and half-way."""
    from PIL import Image

    width, height = _LEGEND_PX
    left = 2 * GAP_PX
    values = np.linspace(scale.low, scale.high, width)
    head.paste(Image.fromarray(np.repeat(scale.paint(values)[None], height, axis=0)), (left, y))
    draw.rectangle((left - 1, y - 1, left + width, y + height), outline=_EDGE)
    for value in scale.marks:
        x = left + round((value - scale.low) / (scale.high - scale.low) * (width - 1))
        draw.line((x, y + height, x, y + height + 3), fill=_INK)
        text = number(value)
        half = font(_TEXT_PX).getlength(text) / 2
        draw.text((max(GAP_PX / 2, x - half), y + height + 3), text, fill=_INK, font=font(_TEXT_PX))


def number(value: float) -> str:
    """Return a number for a caption, with four digits.

    Examples
    --------
    >>> number(-1009.0), number(0.00012345), number(65530.4), number(12345678.0), number(-0.0)
    ('-1009', '0.0001234', '65530', '1.235e+07', '0')
    """
    return f"{value:.0f}" if 1e3 <= abs(value) < 1e6 else f"{value + 0.0:.4g}"


def span(low: float, high: float) -> str:
    """Return a range of values for a caption, both with the decimals of the larger.

    Examples
    --------
    >>> span(-1009, 991), span(0.0001234, 14.479), span(0, 1e-7)
    ('-1009 to 991', '0 to 14.48', '0 to 1e-07')
    """
    peak = max(abs(low), abs(high))
    decimals = 3 - math.floor(math.log10(peak)) if 0 < peak < math.inf else 0
    return " to ".join(number(round(value, decimals) if math.isfinite(value) else value) for value in (low, high))


@functools.cache
def font(size: int) -> Any:
    """Return Pillow's own font, which is the same on every machine."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


@functools.cache
def wrap(text: str, width_px: int, size: int = _TEXT_PX) -> tuple[str, ...]:
    """Return a line of text in parts that fit a width, broken behind spaces and hyphens, else anywhere.

    Letters that the font lacks lose their accents or become question marks.

    Examples
    --------
    >>> "".join(wrap("leung-malik-edge-of-scale-1.41", 60)) == "leung-malik-edge-of-scale-1.41"
    True
    """
    text = "".join(c if c.isprintable() else "?" for c in text)
    folded = (c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    text = "".join(c if c.isascii() or c in "±·…" else "?" for c in folded)
    lines = [""]
    for word in re.findall(r"-?[^ _-]*[ _-]?", text):  # a minus stays with its number
        if font(size).getlength((lines[-1] + word).rstrip()) > width_px and lines[-1]:
            lines.append("")
        for char in word:  # a word wider than a line is broken where the line ends
            if lines[-1] and font(size).getlength(lines[-1] + char.strip()) > width_px:
                lines.append("")
            lines[-1] += char
    return tuple(line for line in lines if line)


def draw_numbers(values: NDArray[Any], scale: Scale, height_px: int, width_px: int) -> NDArray[np.uint8]:
    """Draw an array (h, w) as coloured squares, as large as fit a box, with its numbers where there is room.

    Examples
    --------
    >>> draw_numbers(np.zeros((3, 2)), Scale(-1, 1), 100, 100).shape
    (99, 66, 3)
    """
    from PIL import Image, ImageDraw

    rows, columns = values.shape
    zoom = max(1, min(height_px // rows, width_px // columns))
    # A signal of one row would be a hairline.
    down = max(zoom, min(12, height_px)) if rows == 1 else zoom
    picture = np.repeat(np.repeat(scale.paint(values), down, axis=0), zoom, axis=1)
    texts = [[tap_text(value) for value in row] for row in values.tolist()] if zoom >= _NUMBER_PX else []
    size = next((px for px in (16, 14, 12, 11, 10, 9) if _fits(texts, px, zoom - 2)), None) if texts else None
    if size is None:
        return picture
    drawn = Image.fromarray(picture)
    draw = ImageDraw.Draw(drawn)
    for row, line in enumerate(texts):
        for column, text in enumerate(line):
            middle = (column * zoom + zoom / 2, row * down + down / 2)
            # Dark cells need light digits.
            light = picture[row * down, column * zoom].astype(int) @ (299, 587, 114) < 128_000
            draw.text(middle, text, fill=(255, 255, 255) if light else _INK, font=font(size), anchor="mm")
    return np.asarray(drawn)


def _fits(texts: Sequence[Sequence[str]], size: int, width_px: int) -> bool:
    longest = max(font(size).getlength(text) for line in texts for text in line)
    return bool(longest <= width_px) and size <= width_px


def tap_text(value: float) -> str:
    """Return a tap in few letters.

    Examples
    --------
    >>> [tap_text(value) for value in (2.0, -0.125, 0.00012, 1e9, math.nan)]
    ['2', '-0.12', '1e-04', '1e+09', 'nan']
    """
    if not math.isfinite(value):
        return str(value)
    if value == int(value) and abs(value) < 1e4:
        return str(int(value))
    if 0.005 <= abs(value) < 100:
        return f"{value:.2f}"
    return f"{value:.3g}" if 100 <= abs(value) < 1e4 else f"{value:.0e}"
