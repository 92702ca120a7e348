"""What lies beyond the edge of an image: six modes, each an index map per axis.

An index map names, for every position of the padded axis, the sample that stands there (-1: the constant). That is
why every mode works for a pad of any size, also larger than the image, where libraries that copy slices refuse.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from convcli.errors import UsageError, near_names

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: What the pad of "abcd" looks like, two samples each side. The bar is the edge.
PATTERNS = {
    "constant": "vv|abcd|vv",
    "replicate": "aa|abcd|dd",
    "reflect": "cb|abcd|cb",
    "symmetric": "ba|abcd|dc",
    "circular": "cd|abcd|ab",
}
MODES = ("zeros", *PATTERNS)

# Names in NumPy, SciPy, OpenCV, torch, ONNX, libvips, ImageMagick, FFmpeg, MATLAB. SciPy's "reflect" repeats the edge
# and torch's does not: the word keeps torch's meaning here, and the report prints the pattern.
ALIASES = {
    "zeros": "zeros",
    "zero": "zeros",
    "black": "zeros",
    "constant": "constant",
    "replicate": "replicate",
    "edge": "replicate",
    "nearest": "replicate",
    "copy": "replicate",
    "clamp": "replicate",
    "repeat": "replicate",
    "reflect": "reflect",
    "reflect101": "reflect",
    "reflect_101": "reflect",
    "mirror": "reflect",
    "whole_sample": "reflect",
    "symmetric": "symmetric",
    "half_sample": "symmetric",
    "grid_mirror": "symmetric",
    "circular": "circular",
    "wrap": "circular",
    "periodic": "circular",
    "grid_wrap": "circular",
    "tile": "circular",
}


class Border(NamedTuple):
    """One border rule: ``mode`` is a key of :data:`PATTERNS`, ``value`` is what ``constant`` puts there.

    Examples
    --------
    >>> Border("reflect").pattern, str(Border("constant", 7.0)), str(Border("constant"))
    ('cb|abcd|cb', 'constant:7', 'zeros')
    """

    mode: str
    value: float = 0.0

    @property
    def pattern(self) -> str:
        """The row "abcd" with two samples of padding a side, as the report prints it; ``v`` is the constant."""
        pattern = PATTERNS[self.mode]
        return pattern.replace("v", "0") if self.value == 0 else pattern

    def __str__(self) -> str:
        if self.mode != "constant":
            return self.mode
        return f"constant:{self.value:g}" if self.value else "zeros"


def parse_border(text: str) -> Border:
    """Return the border rule that ``text`` names.

    Parameters
    ----------
    text : str
        ``zeros``, ``constant:V``, ``replicate``, ``reflect`` (edge not repeated), ``symmetric`` (edge repeated),
        ``circular``, or another library's name for one of them (:data:`ALIASES`); case, ``-`` and ``_`` do not matter.

    Returns
    -------
    Border
        The one normal form.

    Raises
    ------
    UsageError
        If the name is unknown or the constant is not a finite number.

    Examples
    --------
    >>> parse_border("edge"), parse_border("constant:-1.5")
    (Border(mode='replicate', value=0.0), Border(mode='constant', value=-1.5))
    """
    word, colon, number = text.strip().lower().replace("-", "_").partition(":")
    if colon:
        # The sign of the number survives: it was split off before "-" meant "_".
        number = text.partition(":")[2]
    mode = ALIASES.get(word)
    if mode is None:
        hint = near_names(word, ALIASES) or f"one of zeros, constant:V, {', '.join(list(PATTERNS)[1:])}"
        raise UsageError(f"unknown padding mode {text.strip()!r}", hint=hint)
    if mode == "zeros":
        mode = "constant"
        if colon:
            raise UsageError(f"padding mode {text.strip()!r}: zeros takes no value", hint="constant:V")
        return Border(mode)
    if mode != "constant":
        if colon:
            raise UsageError(f"padding mode {text.strip()!r}: {mode} takes no value", hint="constant:V")
        return Border(mode)
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"padding mode {text.strip()!r} needs a finite number", hint="constant:V, as in constant:128")
    return Border(mode, value)


def border_index(before: int, size: int, after: int, mode: str) -> NDArray[np.intp]:
    """Return which sample stands at each position of a padded axis.

    Parameters
    ----------
    before, after : int
        Positions added at either end, of any size; negative ones cut.
    size : int
        Samples on the axis; at least 1.
    mode : str
        A key of :data:`PATTERNS`.

    Returns
    -------
    ndarray of shape (before + size + after,), intp
        Values in 0 … size - 1, or -1 where the constant stands.

    Examples
    --------
    >>> border_index(3, 3, 4, "reflect").tolist()
    [1, 2, 1, 0, 1, 2, 1, 0, 1, 2]
    >>> border_index(1, 2, 1, "constant").tolist()
    [-1, 0, 1, -1]
    """
    return map_positions(np.arange(-before, size + after, dtype=np.intp), size, mode)


def map_positions(position: NDArray[np.intp], size: int, mode: str) -> NDArray[np.intp]:
    """Return the sample at each position, counted from the first sample of the axis; see :func:`border_index`."""
    if mode == "constant":
        return np.where((position >= 0) & (position < size), position, -1)
    if mode == "replicate":
        return np.clip(position, 0, size - 1)
    if mode == "circular":
        return position % size
    if mode == "symmetric":
        folded = position % (2 * size)
        return np.minimum(folded, 2 * size - 1 - folded)
    if mode == "reflect":
        period = max(2 * size - 2, 1)  # one sample reflects into itself
        folded = position % period
        return np.minimum(folded, period - folded) if size > 1 else np.zeros_like(position)
    raise ValueError(f"not a border mode: {mode!r}")
