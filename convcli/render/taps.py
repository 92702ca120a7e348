"""Taps drawn in letters and colours: white at 0, red above, blue below, as strong as the tap is large."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convcli.render.text import columns

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Rows = list[list[float]]

#: Columns of text that a grid of taps may fill.
_WIDTH = 100
#: Marks a row of a picture of taps; two columns of text each.
_MOST_MARKS = 64
#: From faint to heavy; no sign is in both, so that a picture can be read without colours.
_POSITIVE, _NEGATIVE = " .:+*#@", " '-=%&$"
_RESPONSE = " .:-=+*#%@"


def colour(share: float) -> str:
    """Return the colour of a tap by its share of the largest: white at 0, red up, blue down.

    Examples
    --------
    >>> colour(0.0), colour(1.0), colour(-1.0)
    ('#f7f7f7', '#b2182b', '#2166ac')
    """
    end = (178, 24, 43) if share > 0 else (33, 102, 172)
    strength = min(1.0, abs(share)) ** 0.6  # small taps still show
    red, green, blue = (round(247 + (part - 247) * strength) for part in end)
    return f"#{red:02x}{green:02x}{blue:02x}"


def ink(share: float) -> str:
    """Return the colour of a number on the colour of its share: dark cells need light digits."""
    return "#ffffff" if abs(share) > 0.5 else "#202020"


def shrunk(plane: NDArray[np.float64]) -> tuple[Rows, int]:
    """Return taps as rows, one for each square of taps (the largest), and the side of these squares."""
    import numpy as np

    # The largest tap and not the mean: fine stripes would cancel to nothing.
    step = -(-max(plane.shape) // _MOST_MARKS)
    if step == 1:
        return plane.tolist(), 1
    tops, lefts = (range(0, size, step) for size in plane.shape)
    high, low = (
        reduce(reduce(plane, tops, axis=0), lefts, axis=1) for reduce in (np.maximum.reduceat, np.minimum.reduceat)
    )
    return np.where(high >= -low, high, low).tolist(), step


def grid_lines(rows: Rows) -> list[str]:
    """Return taps as numbers if they fit, else as a picture of signs and sizes."""
    cells = tap_texts(rows)
    width = max(len(cell) for row in cells for cell in row)
    if fits(rows, width):
        return [" ".join(cell.rjust(width) for cell in row) for row in cells]
    largest = max(abs(tap) for row in rows for tap in row) or 1.0
    lines = ["".join(_mark(tap / largest) * 2 for tap in row) for row in rows]
    return [
        *(line.rstrip() for line in lines),
        f"positive '{_POSITIVE[1:]}', negative '{_NEGATIVE[1:]}', from small to large",
    ]


def fits(rows: Rows, width: int) -> bool:
    """Whether a grid of numbers of this width fits."""
    return len(rows[0]) * (width + 1) <= min(_WIDTH, columns() or _WIDTH) and len(rows) <= 25


def tap_texts(rows: Rows) -> list[list[str]]:
    """Return taps as text: whole numbers exactly, others with four digits."""
    # One fraction makes all of them fractions, so that the points stand in one column.
    if all(abs(tap) < 1e6 and tap == int(tap) for row in rows for tap in row):
        return [[str(int(tap)) for tap in row] for row in rows]
    return [[_aligned(tap) for tap in row] for row in rows]


def _aligned(tap: float) -> str:
    if tap == 0:
        return "0"
    return f"{tap:.4f}" if 0.001 <= abs(tap) < 1000 else f"{tap:.1e}"


def _mark(share: float) -> str:
    ramp = _POSITIVE if share >= 0 else _NEGATIVE
    size = abs(share)
    # Below a hundredth a tap is blank: rests of rounding would fill the picture with dots.
    return ramp[0] if size < 0.01 else ramp[min(len(ramp) - 1, 1 + int(size * (len(ramp) - 1)))]


def response_lines(planes: NDArray[np.float64]) -> list[str]:
    """Return the gain on waves as a picture, zero frequency in the middle, -1/2 to 1/2 cycles a pixel each way."""
    import numpy as np

    from convcli.banks.stats import response

    taps = planes[:4]
    # Scaled before the transform, whose sums of huge taps would overflow; 1.0 is for a kernel of zeros.
    taps = taps / (float(np.abs(taps).max()) or 1.0)
    gains = np.max([response(plane, 32) for plane in taps], axis=0)
    step = max(1, len(gains) // 16)
    height, width = gains.shape[0] // step * step, gains.shape[1] // max(1, step // 2) * max(1, step // 2)
    # Letters are twice as high as wide: twice as many columns make the picture square.
    across = max(1, step // 2)
    blocks = gains[:height, :width].reshape(height // step, step, width // across, across).mean(axis=(1, 3))
    largest = float(blocks.max()) or 1.0
    marks = [[_RESPONSE[min(9, int(value / largest * 9.999))] for value in row] for row in blocks.tolist()]
    edge = "+" + "-" * len(marks[0]) + "+"
    return ["frequency response, 0 in the middle", edge, *("|" + "".join(row) + "|" for row in marks), edge]
