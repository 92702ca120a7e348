"""Convolution of dask arrays: the plan of every tile now, the samples when they are computed.

This is the only file of the engine that imports dask. Each tile of the output reads the exact window of the input that
it needs, so the values do not depend on the chunks.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import dask
import dask.array as da
import numpy as np

from convcli.engine.arguments import float_type
from convcli.engine.borders import Array, Border
from convcli.engine.tiles import Axis, Window, spread, window_of
from convcli.geometry.arithmetic import Pair, conv_output_px, window_px

#: Convolves a block (N, C, …) without padding.
Convolve = Callable[[Array, Array], Array]


def convolve_lazily(
    image: da.Array, weight: Array, axes: tuple[Axis, ...], pads: tuple[Pair, ...], border: Border, convolve: Convolve
) -> da.Array:
    """Return the maps (N, O, …) of a dask array (N, C, …), a tile for every chunk that the tile mostly reads.

    ``axes`` and ``pads`` are those of the last axes; ``convolve(block, weight)`` knows no padding. What can be wrong is
    refused as for arrays, before anything is computed.
    """
    # One window of zeros meets every check of groups, bias and engine now, not within a task.
    convolve(np.zeros((1, image.shape[1], *(window_px(a.kernel, a.dilation) for a in axes))), weight)
    chunks = image.chunks[-len(axes) :]
    spans = [_spans(axis, pair, ends) for axis, pair, ends in zip(axes, pads, chunks, strict=True)]
    windows = [[window_of(a, *span, border) for span in part] for a, part in zip(axes, spans, strict=True)]
    dtype, taps = float_type(image.dtype), dask.delayed(weight, pure=True)
    batches = np.cumsum((0, *image.chunks[0])).tolist()

    def tile(at: tuple[int, ...]) -> da.Array:
        first, last = batches[at[0]], batches[at[0] + 1]
        under = [windows[axis][index] for axis, index in enumerate(at[1:])]
        block = _read(image, slice(first, last), under)
        maps = dask.delayed(_convolve_tile, pure=True)(block, taps, under, border.value, convolve)
        size = (spans[axis][index] for axis, index in enumerate(at[1:]))
        shape = (last - first, len(weight), *(stop - start for start, stop in size))
        return da.from_delayed(maps, shape, dtype=dtype)

    counts = (len(batches) - 1, *map(len, spans))
    tiles = np.empty((counts[0], 1, *counts[1:]), object)
    for at in np.ndindex(*counts):
        tiles[(at[0], 0, *at[1:])] = tile(at)
    return da.block(tiles.tolist())


def _spans(axis: Axis, pads: Pair, chunks: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return start and stop of each tile of an output axis; each mostly reads one chunk of the input.

    Examples
    --------
    >>> _spans(Axis(size=10, kernel=3, stride=2, dilation=1, before=1), (1, 0), (4, 4, 2))
    [(0, 2), (2, 4), (4, 5)]
    """
    n_outputs = conv_output_px(axis.size, axis.kernel, stride=axis.stride, dilation=axis.dilation, pad_px=sum(pads))
    # A tile has the outputs whose middle tap lies before the end of the chunk.
    middle = axis.before - window_px(axis.kernel, axis.dilation) // 2
    ends = (-(-(end + middle) // axis.stride) for end in itertools.accumulate(chunks))
    return list(itertools.pairwise(sorted({0, n_outputs, *(min(max(end, 0), n_outputs) for end in ends)})))


def _read(image: da.Array, batch: slice, windows: list[Window]) -> Any:
    """Return the samples of a batch that the windows read, as one delayed block."""
    counts = [len(window.reads) for window in windows]
    parts = np.empty((1, 1, *counts), object)
    for at in np.ndindex(*counts):
        runs = (window.reads[index] for window, index in zip(windows, at, strict=True))
        parts[(0, 0, *at)] = image[(batch, slice(None), *runs)]
    block = parts.item() if parts.size == 1 else da.block(parts.tolist())
    # Optimising the whole graph for each tile would make the time quadratic; dask does it once, in the end.
    return block.rechunk(-1).to_delayed(optimize_graph=False).item()


def _convolve_tile(
    block: Array, weight: Array, windows: list[Window], border_value: float, convolve: Convolve
) -> Array:
    """Convolve one tile; runs in a worker, maybe on another machine."""
    samples = block.astype(float_type(block.dtype), copy=False)
    return convolve(spread(samples, windows, border_value), weight)
