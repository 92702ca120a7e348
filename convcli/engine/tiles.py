"""Tiles of an output, and the exact window of the input that each one needs.

The output sample ``i`` reads the positions ``i·s - p + d·(0 … k - 1)``. So output rows ``[a, b)`` need the positions
``[a·s - p, (b - 1)·s - p + d·(k - 1) + 1)`` and nothing else; the border's rule applies only where these leave the
image. A tile that is convolved without padding over its window has the values of the whole, at any size of tile, stride
and border.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from convcli.engine.borders import Array, Border, map_positions, runs_of
from convcli.geometry.arithmetic import window_px

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Axis(NamedTuple):
    """One axis of a convolution: samples of the input and before the first, and how the kernel moves over them."""

    size: int
    kernel: int
    stride: int
    dilation: int
    before: int


class Window(NamedTuple):
    """The samples of one axis that a tile reads.

    ``reads`` are runs of stored samples, rising; two where a circular border reaches round. ``places`` holds the place
    of each position among the samples read, -1 for the border's value; None where it is just these.
    """

    reads: tuple[slice, ...]
    places: NDArray[np.intp] | None


def window_of(axis: Axis, start: int, stop: int, border: Border) -> Window:
    """Return the window of the outputs ``[start, stop)`` of an axis.

    Examples
    --------
    >>> inside = Axis(size=100, kernel=3, stride=2, dilation=1, before=1)
    >>> window_of(inside, 10, 20, Border("replicate"))
    Window(reads=(slice(19, 40, None),), places=None)
    >>> window = window_of(inside, 0, 2, Border("circular"))
    >>> window.reads, window.places.tolist()
    ((slice(0, 4, None), slice(99, 100, None)), [4, 0, 1, 2, 3])
    """
    first = start * axis.stride - axis.before
    last = (stop - 1) * axis.stride - axis.before + window_px(axis.kernel, axis.dilation)
    if first >= 0 and last <= axis.size:
        return Window((slice(first, last),), None)
    samples = map_positions(np.arange(first, last), axis.size, border.mode)
    reads, places = runs_of(samples)
    return Window(tuple(reads), places)


def gather(read: Callable[[tuple[slice, ...]], Array], windows: Sequence[Window], border_value: float) -> Array:
    """Return the samples under ``windows``, one for each of the last axes; ``read`` returns those of slices."""
    n_axes = len(windows)
    blocks = [read(slices) for slices in itertools.product(*(window.reads for window in windows))]
    # The last axis first: product() turns it fastest.
    for axis in range(n_axes - 1, -1, -1):
        n_runs = len(windows[axis].reads)
        if n_runs > 1:
            groups = (blocks[at : at + n_runs] for at in range(0, len(blocks), n_runs))
            blocks = [np.concatenate(group, axis=axis - n_axes) for group in groups]
    return spread(blocks[0], windows, border_value)


def spread(block: Array, windows: Sequence[Window], border_value: float) -> Array:
    """Return a block of read samples with each position of the windows in its place, and the border's value."""
    n_axes = len(windows)
    for axis, window in enumerate(windows):
        if window.places is not None:
            block = np.take(block, window.places, axis=axis - n_axes)
            outside = window.places < 0
            if outside.any():
                if np.asarray(border_value).astype(block.dtype) != border_value:  # 0.5 around bytes
                    block = block.astype(np.result_type(block.dtype, np.float32))
                block.swapaxes(axis - n_axes, -1)[..., outside] = border_value
    return block
