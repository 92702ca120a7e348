"""Pieces of HTML that pages and notebooks share; every text from outside is escaped here.

Nothing in them loads anything, and nothing needs a script: pictures are ``data:`` addresses, swatches are SVG.
"""

from __future__ import annotations

import base64
import hashlib
import html
import io
import re
from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, Any

import numpy as np

from convcli.pipeline.report import printable
from convcli.render.taps import colour, ink
from convcli.version import __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Taps along a side up to which a swatch shows numbers, and up to which it is drawn cell by cell.
_MOST_NUMBERS, _MOST_CELLS = 7, 15
#: Kernels of a bank up to which they have numbers.
_MOST_NUMBERED = 16
#: Planes of a kernel that a swatch shows.
_MOST_PLANES = 4
#: Columns of a table that fit any page side by side.
_MOST_NARROW = 6
_LOW, _HIGH = (23, 105, 255), (255, 45, 85)


def text(value: object) -> str:
    r"""Return text that stands in HTML as it is: markup escaped, control characters visible.

    Examples
    --------
    >>> text('<b>"\x1b[2J')
    '&lt;b&gt;&quot;\\x1b[2J'
    """
    return html.escape(printable(str(value)), quote=True)


def read_page_file(name: str) -> str:
    """Return a file of this folder as text."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def fill_page(name: str, *, policy: str, script: str = "", **parts: str) -> str:
    """Return a page of this folder with its parts in place of ``{{name}}``; what is put in is not searched again.

    The page runs this script and its style alone, by their hashes, and requests nothing but what ``policy`` adds.
    """
    style = read_page_file(f"{name}.css")
    rules = ["default-src 'none'"]
    for kind, content in (("script", script), ("style", style)):
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        rules += [f"{kind}-src 'sha256-{digest}'"] if content else []
    rules += [policy, "base-uri 'none'", "form-action 'none'"]
    parts |= {"policy": "; ".join(rules), "style": style, "script": script, "version": text(__version__)}
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], read_page_file(f"{name}.html"))


def fragment(body: str) -> str:
    """Return HTML with its style, to stand in another page."""
    return f'<div class="convcli"><style>{read_page_file("report.css")}</style>{body}</div>'


def table(headings: Sequence[str], rows: Sequence[Sequence[object]], align: str = "") -> str:
    """Return a table; cells are escaped.

    Examples
    --------
    >>> table(["layer", "maps"], [["<conv>", 64]], align="lr").count("&lt;conv&gt;")
    1
    """
    kinds = [' class="left"' if align[i : i + 1] in ("", "l") else "" for i in range(len(headings))]
    head = "".join(f'<th scope="col"{kind}>{text(one)}</th>' for one, kind in zip(headings, kinds, strict=True))
    lines = []
    for row in rows:
        cells = zip(row, kinds, headings, strict=True)
        # Where the table has no room, each cell stands by itself under its heading (report.css).
        drawn = (f'<td{kind} data-heading="{text(heading)}">{text(cell)}</td>' for cell, kind, heading in cells)
        lines.append(f"<tr>{''.join(drawn)}</tr>")
    wide = ' class="wide"' if len(headings) > _MOST_NARROW else ""
    # tabindex: what scrolls must be reached with the keyboard too.
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Table"><table{wide}><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def picture(samples: NDArray[np.uint8], alt: str, *, lossy: bool = False, kind: str = "", over: str = "") -> str:
    """Return an image of samples (H, W, planes) in a box, with ``over`` drawn on it."""
    height, width = samples.shape[:2]
    # The browser smooths what it enlarges, which would show samples that are not there.
    small = " small" if max(height, width) < 200 else ""
    image = f'<img src="{_address(samples, lossy=lossy)}" width="{width}" height="{height}" alt="{text(alt)}">'
    return f'<div class="picture{small}{kind}">{image}{over}</div>'


def mask(low: NDArray[np.bool_], high: NDArray[np.bool_]) -> str:
    """Return the clipped samples as a transparent image: blue where clipped to black, red where to white."""
    if not (low.any() or high.any()):
        return ""
    samples = np.zeros((*low.shape, 4), np.uint8)
    samples[low] = (*_LOW, 255)
    samples[high] = (*_HIGH, 255)
    height, width = low.shape
    return f'<img class="mask" src="{_address(samples)}" width="{width}" height="{height}" alt="">'


def _address(samples: NDArray[np.uint8], *, lossy: bool = False) -> str:
    from convcli.images.write import write_picture

    file = io.BytesIO()
    options: dict[str, Any] = {"picture_format": "jpeg", "quality": 88} if lossy else {"compress": "small"}
    flat = samples[..., 0] if samples.shape[2] == 1 else samples
    write_picture(file, np.ascontiguousarray(flat), **options)
    kind = "jpeg" if lossy else "png"
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode('ascii')}"


def swatch(taps: NDArray[np.float64], name: str, facts: str, largest: float | None) -> str:
    """Return a kernel (planes, rows, columns) as a figure of coloured cells.

    Parameters
    ----------
    taps : ndarray
    name, facts : str
        What stands below it.
    largest : float or None
        Tap that has the full colour where cells have numbers; None: no numbers, and the kernel's own largest tap.
    """
    full = float(np.abs(taps).max(initial=0.0)) if largest is None else largest
    shown = [_plane(plane, full, name, numbers=largest is not None) for plane in taps[:_MOST_PLANES]]
    more = f" and {len(taps) - _MOST_PLANES} more planes" if len(taps) > _MOST_PLANES else ""
    caption = f"<b>{text(name)}</b><br>{text(facts + more)}"
    return f"<figure><div>{''.join(shown)}</div><figcaption>{caption}</figcaption></figure>"


def _plane(taps: NDArray[np.float64], largest: float, name: str, *, numbers: bool) -> str:
    rows, columns = taps.shape
    shares = taps / (largest or 1.0)
    label = text(f"taps of {name}, {rows}x{columns}")
    if max(rows, columns) > _MOST_CELLS:
        # 511 colours are more than a screen tells apart.
        colours = np.array([[int(colour(i / 255)[at : at + 2], 16) for at in (1, 3, 5)] for i in range(-255, 256)])
        drawn = colours[np.rint(np.clip(shares, -1, 1) * 255).astype(int) + 255].astype(np.uint8)
        size = f'width="{96 * columns // max(rows, columns) or 1}" height="{96 * rows // max(rows, columns) or 1}"'
        return f'<img class="taps" src="{_address(drawn)}" {size} alt="{label}">'
    texts = [[f"{tap + 0.0:.3g}" for tap in row] for row in taps.tolist()]
    fits = numbers and max(rows, columns) <= _MOST_NUMBERS
    widest = max(len(one) for row in texts for one in row)
    cell = max(22, 7 * widest + 8) if fits else 8
    high = 24 if fits else 8
    parts = [
        f'<svg role="img" aria-label="{label}" width="{columns * cell}" height="{rows * high}" '
        f'viewBox="0 0 {columns * cell} {rows * high}" font-family="ui-monospace, monospace" font-size="12" '
        'text-anchor="middle">'
    ]
    for row in range(rows):
        for column in range(columns):
            share, x, y = float(shares[row, column]), column * cell, row * high
            parts.append(f'<rect x="{x}" y="{y}" width="{cell}" height="{high}" fill="{colour(share)}"/>')
            if fits:
                middle = f'x="{x + cell / 2:g}" y="{y + 16}"'
                parts.append(f'<text {middle} fill="{ink(share)}">{texts[row][column]}</text>')
    return "".join([*parts, "</svg>"])


def kernels(weight: NDArray[np.float64], names: Sequence[str], *, most: int = 48) -> str:
    """Return the kernels of a weight (O, I, [kD,] kH, kW) as swatches: a few small ones with numbers."""
    planes = weight.reshape(len(weight), -1, *weight.shape[-2:])
    has_numbers = len(planes) <= _MOST_NUMBERED and planes.shape[1] == 1 and max(planes.shape[2:]) <= _MOST_NUMBERS
    largest = float(np.abs(planes).max(initial=0.0)) if has_numbers else None
    drawn = [swatch(one, name, _facts(one), largest) for one, name in zip(planes[:most], names, strict=False)]
    more = f'<p class="soft">and {len(planes) - most} more kernels</p>' if len(planes) > most else ""
    return f'<div class="swatches">{"".join(drawn)}</div>{more}'


def _facts(taps: NDArray[np.float64]) -> str:
    """Return sum and range of a kernel; a sum that is rounding alone is 0."""
    total = float(taps.sum())
    if abs(total) < 1e-12 * float(np.abs(taps).sum()):
        total = 0.0
    return f"sum {total:.4g}, {taps.min():.4g} to {taps.max():.4g}"
