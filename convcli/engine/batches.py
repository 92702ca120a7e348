"""Batches of images and volumes: one plan serves them all, and is cached from call to call.

In a volume, the planes under a kernel's depth become input planes of one two-dimensional product per output depth.
"""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from convcli.engine.borders import Array, Border, map_positions
from convcli.engine.plan import plan_conv
from convcli.engine.problem import AxisPhase, phase_weight
from convcli.engine.runner import Runner, prepare
from convcli.process.system import available_threads

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

#: Cached runners; those with more taps or working memory are not cached.
N_CACHED, MOST_TAPS, MOST_BYTES = 8, 1 << 16, 32 << 20
_cache: OrderedDict[tuple[object, ...], Runner] = OrderedDict()
_lock = threading.Lock()


def runner_for(
    input_shape: tuple[int, int, int], weight: Array, bias: ArrayLike | None, options: Mapping[str, Any]
) -> Runner:
    """Return ``prepare(plan_conv(input_shape, weight, **options), weight, bias)``, from an earlier call if possible.

    Examples
    --------
    >>> taps = np.ones((1, 1, 3, 3))
    >>> runner_for((1, 8, 8), taps, None, {}) is runner_for((1, 8, 8), taps.copy(), None, {})
    True
    >>> runner_for((1, 8, 8), taps, None, {}) is runner_for((1, 8, 8), 2 * taps, None, {})
    False
    """
    shift = None if bias is None else np.asarray(bias)
    # The key holds the taps' bytes: large kernels would cost more to compare than to prepare.
    if weight.size > MOST_TAPS:
        return prepare(plan_conv(input_shape, weight, **options), weight, shift)
    # A plan depends on these too: an engine that is already loaded may be the better one.
    world = available_threads(), "torch" in sys.modules
    key = (input_shape, _content(weight), _content(shift), tuple(options.items()), world)
    with _lock:
        runner = _cache.get(key)
        if runner is not None:
            _cache.move_to_end(key)
            return runner
    # Copies, because the caller may change the arrays.
    runner = prepare(plan_conv(input_shape, weight, **options), weight.copy(), None if shift is None else shift.copy())
    if runner.plan.memory_bytes <= MOST_BYTES:
        with _lock:
            _cache[key] = runner
            while len(_cache) > N_CACHED:
                _cache.popitem(last=False)
    return runner


def _content(array: Array | None) -> tuple[object, ...] | None:
    return None if array is None else (array.shape, array.dtype.str, array.tobytes())


def run_batch(samples: Array, taps: Array, bias: ArrayLike | None, options: Mapping[str, Any]) -> Array:
    """Convolve images (N, C, H, W) with one plan; ``options`` are those of :func:`convcli.engine.plan_conv`."""
    runner = runner_for(samples.shape[1:], taps, bias, options)
    maps = np.empty((len(samples), *runner.plan.output_shape), samples.dtype)
    for planes, out in zip(samples, maps, strict=True):
        runner.run(planes, out)
    return maps


def run_volumes(
    samples: Array, taps: Array, bias: ArrayLike | None, depth: tuple[AxisPhase, ...], options: Mapping[str, Any]
) -> Array:
    """Convolve volumes (N, C, D, H, W) with one plan for each phase of the depth."""
    n, channels, _, height, width = samples.shape
    turns = []
    for phase in depth:
        weight, n_planes = _stacked_weight(taps, phase, transposed=options["transposed"])
        turns.append((phase, n_planes, runner_for((channels * n_planes, height, width), weight, bias, options)))
    n_maps, *output_hw = turns[0][2].plan.output_shape
    volumes = np.empty((n, n_maps, sum(phase.n_outputs for phase in depth), *output_hw), samples.dtype)
    for volume, out in zip(samples, volumes, strict=True):
        for phase, n_planes, runner in turns:
            if not phase.taps:
                out[:, phase.first :: phase.step] = 0 if bias is None else np.reshape(bias, (-1, 1, 1, 1))
                continue
            for turn in range(phase.n_outputs):
                positions = turn * phase.stride - phase.before + phase.dilation * np.arange(n_planes)
                window = _DepthWindow(volume, positions, options["border"])
                runner.run(window, out[:, phase.first + turn * phase.step])
    return volumes


def _stacked_weight(taps: Array, phase: AxisPhase, *, transposed: bool) -> tuple[Array, int]:
    """Return weights whose depth has become input planes, and the number of planes of each channel.

    Ordinary weights are (O, I, …) and transposed ones (I, O, …): in both the depth joins I.
    """
    # Rows and columns keep all taps here; the plan of each plane takes their phases apart.
    rest = tuple(AxisPhase(tuple(range(k)), 0, 1, 1, 0, 1, 1) for k in taps.shape[3:])
    chosen = phase_weight(taps, (phase, *rest))
    if transposed:
        chosen = chosen.swapaxes(1, 2)
        return chosen.reshape(-1, *chosen.shape[2:]), chosen.shape[1]
    return chosen.reshape(chosen.shape[0], -1, *chosen.shape[3:]), chosen.shape[2]


class _DepthWindow:
    """The planes under one position of the kernel's depth, as planes of an image; rows are gathered on request."""

    def __init__(self, volume: Array, positions: NDArray[np.intp], border: Border) -> None:
        self._volume, self._border = volume, border
        self._planes = map_positions(positions, volume.shape[1], border.mode)
        self.shape = (volume.shape[0] * len(positions), *volume.shape[2:])
        self.dtype = volume.dtype

    def rows(self, top: int, bottom: int) -> Array:
        # Indexing with an array copies, so writing the border's constant leaves the volume alone.
        window = self._volume[:, self._planes, top:bottom]
        window[:, self._planes < 0] = self._border.value
        return window.reshape(-1, *window.shape[2:])
