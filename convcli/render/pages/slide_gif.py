"""A scene as an animated GIF, drawn with Pillow."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from convcli.render.pages.scene import Cell, Scene, type_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

Colour = tuple[int, int, int]
_PAPER, _INK, _LINE = (255, 255, 255), (27, 31, 36), (138, 150, 163)
_FILL = {"input": (207, 227, 248), "hole": (243, 245, 247), "pad": _PAPER, "output": (211, 240, 226)}
#: Enough for the fills, the lines and the edges of letters.
_COLOURS = 48
_WINDOW, _HERE, _TAP = (31, 95, 168), (15, 138, 95), (138, 42, 6)


def draw_gif(scene: Scene, *, seconds: float) -> bytes:
    """Return a scene as a GIF that is played for ever.

    Examples
    --------
    >>> from convcli.render.pages.scene import lay_out
    >>> from convcli.render.pages.sliding import make_slide
    >>> draw_gif(lay_out(make_slide("4x4", "maxpool:2"), 24), seconds=1)[:6]
    b'GIF89a'
    """
    n = len(scene.moves)
    frames = [draw_frame(scene, index) for index in range(n)]
    # The last frame has all results in it, and so the most colours.
    palette = _palette(frames[-1])
    table = np.zeros(2**24, np.uint8)
    first, *rest = (_indexed(frame, palette, table) for frame in frames)
    file = io.BytesIO()
    # disposal=1 leaves a frame in place for the next, which then stores only its changes; loop=0 is without end.
    first.save(file, "GIF", save_all=True, append_images=rest, duration=round(seconds * 1000), loop=0, disposal=1)
    return file.getvalue()


def _palette(frame: Image.Image) -> NDArray[np.int32]:
    """Return the most frequent colours of a frame: all fills and lines, and the edges of most letters.

    One palette serves all frames, so that a frame stores only what has changed since the one before.
    """
    colours, counts = np.unique(np.asarray(frame, np.int32).reshape(-1, 3), axis=0, return_counts=True)
    return colours[np.argsort(-counts, kind="stable")[:_COLOURS]]


def _indexed(frame: Image.Image, palette: NDArray[np.int32], table: NDArray[np.uint8]) -> Image.Image:
    """Return a frame in the nearest colours of a palette; Pillow's own search rounds them first.

    ``table`` has a place for each of the 2²⁴ colours.
    """
    colours = np.array([colour for _, colour in frame.getcolors(frame.width * frame.height) or ()], np.int32)
    # Three bytes in one number, by which a table holds the nearest: nothing is sorted.
    place = np.array([65536, 256, 1], np.int32)
    table[colours @ place] = ((colours[:, None] - palette) ** 2).sum(axis=2).argmin(axis=1)
    indexed = Image.fromarray(table[np.asarray(frame, np.int32) @ place])
    indexed.putpalette(palette.astype(np.uint8).tobytes())
    return indexed


def draw_frame(scene: Scene, index: int) -> Image.Image:
    """Return one frame in RGB: the window in its place, and the results so far."""
    picture = Image.new("RGB", (scene.width, scene.height), _PAPER)
    draw = ImageDraw.Draw(picture)
    size, (dx, dy), (mx, my) = scene.cell, scene.moves[index], scene.marks[index]
    _text(draw, (16, 17), scene.title, 13, anchor="lm")
    has_taps = any(cell.text for cell in scene.window)
    window = [cell._replace(x=cell.x + dx, y=cell.y + dy) for cell in scene.window]
    under = {(cell.x, cell.y) for cell in window}
    for cell in (*scene.grid, *scene.outputs):
        fill = _FILL[cell.kind]
        _square(draw, cell, size, _tinted(fill, _WINDOW) if (cell.x, cell.y) in under else fill)
    first = scene.outputs[0]
    here = first._replace(x=first.x + mx, y=first.y + my)
    _square(draw, here, size, _tinted(_FILL["output"], _HERE))
    x, y, width, height = scene.frame_box
    draw.rectangle((x + dx, y + dy, x + dx + width, y + dy + height), outline=_WINDOW, width=3)
    draw.rectangle((here.x, here.y, here.x + size, here.y + size), outline=_HERE, width=3)
    x, y = scene.arrow
    draw.line((x - 9, y, x + 4, y), fill=_INK, width=2)
    draw.polygon(((x + 9, y), (x + 3, y - 4), (x + 3, y + 4)), fill=_INK)
    for cell in (*scene.grid, *scene.outputs[: index + 1]):
        lift = 0.4 if has_taps and cell.kind != "output" else 0.5
        _text(draw, (cell.x + size / 2, cell.y + size * lift), cell.text, type_size(cell.text, size, 13))
    for cell in window:
        place = cell.x + size - 3, cell.y + size * 0.8
        _text(draw, place, cell.text, type_size(cell.text, size * 3 // 4, 10), anchor="rm", fill=_TAP)
    if scene.formulas:
        _text(draw, (16, scene.height - 20), scene.formulas[index], 13, anchor="lm")
    return picture


def _tinted(fill: Colour, tint: Colour) -> Colour:
    red, green, blue = (round(0.62 * below + 0.38 * above) for below, above in zip(fill, tint, strict=True))
    return red, green, blue


def _square(draw: ImageDraw.ImageDraw, cell: Cell, size: int, fill: Colour) -> None:
    box = (cell.x, cell.y, cell.x + size, cell.y + size)
    if cell.kind != "pad":
        draw.rectangle(box, fill=fill, outline=_LINE)
        return
    draw.rectangle(box, fill=fill)
    for at in range(0, size, 5):  # dashes, which Pillow does not draw
        end = min(at + 3, size)
        for x, y in ((box[0] + at, box[1]), (box[0] + at, box[3])):
            draw.line((x, y, x + end - at, y), fill=_LINE)
        for x, y in ((box[0], box[1] + at), (box[2], box[1] + at)):
            draw.line((x, y, x, y + end - at), fill=_LINE)


def _text(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    size: float,
    *,
    anchor: str = "mm",
    fill: Colour = _INK,
) -> None:
    if text:
        plain = text.replace("→", "->").replace("×", "x")  # the font that comes with Pillow has neither sign
        draw.text(place, plain, fill=fill, font=ImageFont.load_default(size), anchor=anchor)
