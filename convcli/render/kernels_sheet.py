"""A bank as a labelled picture: each kernel's taps in red and blue, and its gain on waves (Pillow)."""

from __future__ import annotations

import io
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from convcli.banks.stats import response
from convcli.pipeline.report import printable
from convcli.render.kernels import by, short

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from convcli.banks.bank import KernelBank
    from convcli.banks.stats import KernelStats

_TILE, _GAP, _LABEL, _HEAD = 112, 14, 34, 78
_RED, _BLUE, _WHITE = np.array([178, 24, 43.0]), np.array([33, 102, 172.0]), np.array([247, 247, 247.0])
#: Dark to bright by way of purple and orange: five corners of matplotlib's inferno.
_HEAT = np.array([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164.0]])


def draw_sheet(bank: KernelBank, stats: Sequence[KernelStats], *, most: int = 400) -> bytes:
    """Draw the first ``most`` kernels of a bank as a PNG.

    Three planes of a kernel are drawn as red, green and blue, any other number as their sum.
    """
    # Without a limit a bank of thousands of kernels becomes a picture that viewers refuse.
    shown = min(bank.n_kernels, most)
    # A cell is one and a half times as wide as high: the factor makes the sheet nearly square.
    columns = min(shown, max(1, ceil(sqrt(shown * 0.75)), 2 if shown > 1 else 1))
    rows = ceil(shown / columns)
    cell_width, cell_height = 2 * _TILE + 4 + _GAP, _TILE + _LABEL + _GAP
    # The title and the legend need 640 pixels even above a single kernel.
    size = (max(columns * cell_width + _GAP, 640), _HEAD + rows * cell_height)
    sheet = Image.new("RGB", size, (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    _title(draw, bank, shown, size[0] - 2 * _GAP)
    for index in range(shown):
        left = _GAP + index % columns * cell_width
        top = _HEAD + index // columns * cell_height
        _cell(sheet, draw, bank, stats[index], index, left, top)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _title(draw: ImageDraw.ImageDraw, bank: KernelBank, shown: int, width: int) -> None:
    draw.text((_GAP, 10), _fit(draw, f"{bank.name}  {by(bank.shape)}", 18, width), fill=(0, 0, 0), font=_font(18))
    lines = [bank.summary, bank.source]
    if shown < bank.n_kernels:
        lines.append(f"the first {shown} of {bank.n_kernels}")
    text = ". ".join(line for line in lines if line)
    draw.text((_GAP, 34), _fit(draw, text, 12, width), fill=(80, 80, 80), font=_font(12))
    taps = "three planes as red, green and blue, grey is 0" if bank.in_channels == 3 else "red above zero, blue below"
    legend = f"left: taps, {taps}; right: gain on waves, 0 in the middle, dark to bright"
    draw.text((_GAP, 52), legend, fill=(80, 80, 80), font=_font(12))


def _fit(draw: ImageDraw.ImageDraw, text: str, size: int, width: float) -> str:
    """Cut text to a width in pixels; characters missing in the font become question marks."""
    # Pillow's own font has Latin letters only; a missing one would be drawn as an empty box.
    text = "".join(letter if ord(letter) < 0x250 else "?" for letter in printable(text))
    while draw.textlength(text, font=_font(size)) > width:
        text = text.removesuffix("...")[:-1] + "..."
    return text


def _cell(
    sheet: Image.Image, draw: ImageDraw.ImageDraw, bank: KernelBank, one: KernelStats, index: int, left: int, top: int
) -> None:
    planes = bank.weight[index].reshape(-1, *bank.weight.shape[-2:])
    for place, picture in enumerate((_taps(planes), _gains(planes))):
        x = left + place * (_TILE + 4)
        sheet.paste(picture, (x + (_TILE - picture.width) // 2, top + (_TILE - picture.height) // 2))
        draw.rectangle((x - 1, top - 1, x + _TILE, top + _TILE), outline=(200, 200, 200))
    label = _fit(draw, f"{index} {one.name}", 12, 2 * _TILE)
    facts = f"{short(one.low)} to {short(one.high)}, sum {short(one.total)}, rank {one.rank or 'above 1'}"
    draw.text((left, top + _TILE + 2), label, fill=(0, 0, 0), font=_font(12))
    draw.text((left, top + _TILE + 17), _fit(draw, facts, 11, 2 * _TILE), fill=(80, 80, 80), font=_font(11))


def _taps(planes: NDArray[np.float64]) -> Image.Image:
    """Red above zero, blue below; three planes as colours around mid grey."""
    largest = float(np.abs(planes).max()) or 1.0
    if len(planes) == 3:
        colours = np.moveaxis(planes, 0, -1) / largest * 127.5 + 127.5
    else:
        share = planes.sum(axis=0)
        share = share / (float(np.abs(share).max()) or 1.0)
        # The curve of the coloured terminal, so that both show small taps alike.
        strength = np.abs(share)[..., None] ** 0.6
        colours = _WHITE + (np.where(share[..., None] > 0, _RED, _BLUE) - _WHITE) * strength
    return _scaled(np.rint(colours).astype(np.uint8))


def _gains(planes: NDArray[np.float64]) -> Image.Image:
    gains = np.max([response(plane, 56) for plane in planes[:8]], axis=0)
    share = gains / (float(gains.max()) or 1.0) * (len(_HEAT) - 1)
    # The largest gain lies on the last corner, which has no next one to blend with.
    low = np.minimum(share.astype(int), len(_HEAT) - 2)
    colours = _HEAT[low] + (_HEAT[low + 1] - _HEAT[low]) * (share - low)[..., None]
    return _scaled(np.rint(colours).astype(np.uint8))


def _scaled(samples: NDArray[np.uint8]) -> Image.Image:
    """Enlarge by whole steps with hard edges, or shrink smoothly, to fit the tile."""
    picture = Image.fromarray(samples)
    factor = _TILE / max(picture.size)
    if factor >= 1:
        size = (picture.width * int(factor), picture.height * int(factor))
        # Smooth edges would show taps that are not there.
        return picture.resize(size, Image.Resampling.NEAREST)
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    return picture.resize(size, Image.Resampling.BOX)
