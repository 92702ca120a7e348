"""A labelled contact sheet: many maps as one picture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import ImageFont

#: Pixels around each tile.
_GAP_PX = 6
#: Greys of the letters and of the ground, of 255.
_INK = 235
_PAPER = 24


class SheetLayout(NamedTuple):
    """Where the tiles of a sheet lie; integers only, known before a pixel is read."""

    n_columns: int
    n_rows: int
    tile_height_px: int
    tile_width_px: int
    label_px: int
    factor: int

    @property
    def height_px(self) -> int:
        """Height of the whole sheet."""
        return self.n_rows * (self.tile_height_px + self.label_px + _GAP_PX) + _GAP_PX

    @property
    def width_px(self) -> int:
        """Width of the whole sheet."""
        return self.n_columns * (self.tile_width_px + _GAP_PX) + _GAP_PX


def plan_sheet(
    n_tiles: int, height_px: int, width_px: int, *, tile_px: int = 384, columns: int | None = None
) -> SheetLayout:
    """Lay out tiles of one size.

    Parameters
    ----------
    n_tiles : int
    height_px, width_px : int
        Of a map.
    tile_px : int
        Longest side of a tile; larger maps are averaged over ``factor`` x ``factor`` samples.
    columns : int, optional
        Tiles side by side; by default so that the sheet is about 4:3.

    Examples
    --------
    >>> layout = plan_sheet(6, 600, 800)
    >>> layout.factor, layout.tile_height_px, layout.tile_width_px
    (3, 200, 267)
    """
    factor = max(1, math.ceil(max(height_px, width_px) / tile_px))
    tile_height, tile_width = -(-height_px // factor), -(-width_px // factor)
    # Pixels: a line of the font of :func:`_font`, with its descenders.
    label = 18
    if columns is None:
        # From columns * width : rows * height = 4 : 3.
        columns = round(math.sqrt(n_tiles * 4 / 3 * (tile_height + label) / max(tile_width, 1)))
    columns = min(max(columns, 1), n_tiles)
    return SheetLayout(columns, -(-n_tiles // columns), tile_height, tile_width, label, factor)


def make_sheet(
    tiles: Sequence[NDArray[Any]], labels: Sequence[str], *, tile_px: int = 384, columns: int | None = None
) -> NDArray[np.uint8]:
    """Draw maps side by side, each above its label.

    Parameters
    ----------
    tiles : sequence of ndarray (H, W) or (H, W, 3), uint8 or uint16
        All of one size; 16-bit samples are shown by their high byte.
    labels : sequence of str
        Shortened to the width of a tile; control characters are shown as ``?``.
    tile_px, columns : int
        See :func:`plan_sheet`.

    Returns
    -------
    ndarray of shape (H', W') or (H', W', 3), uint8

    Examples
    --------
    >>> make_sheet([np.zeros((20, 60), np.uint8)] * 2, ["x", "y"]).ndim
    2
    """
    height, width = tiles[0].shape[:2]
    layout = plan_sheet(len(tiles), height, width, tile_px=tile_px, columns=columns)
    colour = any(tile.ndim == 3 and tile.shape[2] >= 3 for tile in tiles)
    sheet = np.full((layout.height_px, layout.width_px, 3 if colour else 1), _PAPER, np.uint8)
    for index, (tile, label) in enumerate(zip(tiles, labels, strict=True)):
        row, column = divmod(index, layout.n_columns)
        top = _GAP_PX + row * (layout.tile_height_px + layout.label_px + _GAP_PX)
        left = _GAP_PX + column * (layout.tile_width_px + _GAP_PX)
        small = shrink_tile(tile, layout.factor)
        sheet[top : top + small.shape[0], left : left + small.shape[1]] = small
        band = sheet[top + layout.tile_height_px :, left:][: layout.label_px, : layout.tile_width_px]
        band[...] = np.maximum(band, _draw_label(label, layout.tile_width_px, layout.label_px)[:, :, None])
    return sheet if colour else sheet[:, :, 0]


def shrink_tile(tile: NDArray[Any], factor: int) -> NDArray[np.uint8]:
    """Return a tile as 8 bits, averaged over ``factor`` x ``factor`` samples, shape (h, w, P)."""
    from PIL import Image

    if tile.dtype == np.uint16:
        tile = (tile >> 8).astype(np.uint8)
    if tile.ndim == 3 and tile.shape[2] == 1:
        tile = tile[:, :, 0]
    if tile.ndim == 3:
        tile = tile[:, :, :3]
    if factor > 1:
        tile = np.asarray(Image.fromarray(np.ascontiguousarray(tile)).reduce(factor))
    return tile.reshape(*tile.shape[:2], -1)


def _draw_label(text: str, width_px: int, height_px: int) -> NDArray[np.uint8]:
    """Return the label as grey ink on black, shape (height_px, width_px)."""
    from PIL import Image, ImageDraw

    font = _font()
    text = "".join(char if char.isprintable() else "?" for char in text)
    if font.getlength(text) > width_px:
        while text and font.getlength(text + "…") > width_px:
            text = text[:-1]
        text += "…"
    strip = Image.new("L", (width_px, height_px), _PAPER)
    ImageDraw.Draw(strip).text((0, 2), text, fill=_INK, font=font)
    return np.asarray(strip)


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    from PIL import ImageFont

    # Pillow's own font is there on every machine.
    return ImageFont.load_default(12)
