"""What the layers of a stack do that are no convolution: pooling, padding, activations, enlarging, joining (NumPy)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from convcli.layers.stack import LayerShape

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array: TypeAlias = "NDArray[Any]"


def join(row: LayerShape, inputs: list[Array]) -> Array:
    """Return several inputs as one: behind each other, added up, or the first less the others."""
    if row.layer.kind == "concat":
        return np.concatenate(inputs)
    total = inputs[0].copy()
    for planes in inputs[1:]:
        total = total + planes if row.layer.kind == "add" else total - planes
    return total


def normalize(row: LayerShape, planes: Array, factor: Array, offset: Array) -> Array:
    """Return a batch norm: one factor and one offset per channel."""
    columns = (-1, *(1,) * row.layer.n_axes)
    scaled: Array = planes * factor.astype(planes.dtype).reshape(columns)
    return np.asarray(scaled + offset.astype(planes.dtype).reshape(columns))


def pool_globally(row: LayerShape, planes: Array) -> Array:
    """Return the mean or the maximum of each plane."""
    axes = tuple(range(1, planes.ndim))
    return np.asarray((np.max if row.layer.mode == "max" else np.mean)(planes, axis=axes, keepdims=True))


def pool(row: LayerShape, planes: Array) -> Array:
    """Return a pooling with padding of any sides; an average divides by what torch divides by.

    That is the window's pixels; with ``count_include_pad`` the padding too, but never what hangs over the padding's
    end (``ceil_mode``).
    """
    layer, axes = row.layer, range(1, planes.ndim)
    is_max = layer.kind == "maxpool"
    sides, steps, counts = [(0, 0)], [], np.ones((), planes.dtype)
    for axis, (before, after) in enumerate(row.padding):
        size, kernel, stride = planes.shape[1 + axis], layer.kernel_size[axis], layer.stride[axis]
        window = layer.dilation[axis] * (kernel - 1) + 1
        starts = np.arange(row.output[1 + axis]) * stride - before
        sides.append((before, max(int(starts[-1]) + window - size, 0)))
        steps.append(slice(0, int(starts[-1]) + before + 1, stride))
        low, high = (-before, size + after) if layer.count_include_pad else (0, size)
        counts = np.multiply.outer(counts, np.minimum(starts + kernel, high) - np.maximum(starts, low))
    padded = np.pad(planes, sides, constant_values=-np.inf if is_max else 0)
    spans = [gap * (kernel - 1) + 1 for kernel, gap in zip(layer.kernel_size, layer.dilation, strict=True)]
    windows = sliding_window_view(padded, spans, axis=tuple(axes))
    windows = windows[(slice(None), *steps, *(slice(None, None, gap) for gap in layer.dilation))]
    inside = tuple(range(planes.ndim, windows.ndim))
    if is_max:
        return np.asarray(windows.max(axis=inside))
    return np.asarray(windows.sum(axis=inside) / counts.astype(planes.dtype))


def pad(row: LayerShape, planes: Array) -> Array:
    """Return planes with a border of any mode, at any size."""
    from convcli.engine import border_index, parse_border

    layer = row.layer
    text = f"constant:{layer.value!r}" if layer.mode == "constant" else layer.mode
    border = parse_border(text)
    for axis, (before, after) in enumerate(row.padding, 1):
        index = border_index(before, planes.shape[axis], after, border.mode)
        planes = np.take(planes, np.maximum(index, 0), axis=axis)
        outside = np.flatnonzero(index < 0)
        if len(outside):
            planes[(slice(None),) * axis + (outside,)] = border.value
    return planes


def activate(row: LayerShape, planes: Array) -> Array:
    """Return an activation; no value overflows on the way."""
    mode = row.layer.mode
    if mode == "relu":
        return np.maximum(planes, 0)
    if mode == "relu6":
        return np.clip(planes, 0, 6)
    if mode == "leaky":
        return np.where(planes >= 0, planes, planes * planes.dtype.type(row.layer.value))
    if mode == "abs":
        return np.abs(planes)
    if mode == "tanh":
        return np.tanh(planes)
    if mode == "hardswish":
        return np.asarray(planes * np.clip(planes + 3, 0, 6) / 6)
    sigmoid: Array = 0.5 * (np.tanh(0.5 * planes) + 1)
    return sigmoid if mode == "sigmoid" else planes * sigmoid


def upsample(row: LayerShape, planes: Array) -> Array:
    """Return enlarged planes: repeated, or linear between centres (``align_corners=False``)."""
    for axis, factor in enumerate(row.layer.scale_factor, 1):
        if row.layer.mode == "nearest":
            planes = np.repeat(planes, factor, axis=axis)
            continue
        size = planes.shape[axis]
        at = np.clip((np.arange(size * factor) + 0.5) / factor - 0.5, 0, None)
        low = np.floor(at).astype(np.intp)
        part = (at - low).astype(planes.dtype).reshape(-1, *(1,) * (planes.ndim - 1 - axis))
        high = np.minimum(low + 1, size - 1)
        planes = np.take(planes, low, axis=axis) * (1 - part) + np.take(planes, high, axis=axis) * part
    return planes


def shuffle(row: LayerShape, planes: Array) -> Array:
    """Return channels in the order that takes one from each group in turn (ShuffleNet)."""
    split = planes.reshape(row.groups, planes.shape[0] // row.groups, *planes.shape[1:])
    return split.swapaxes(0, 1).reshape(planes.shape)


def combine(row: LayerShape, planes: Array) -> Array:
    """Return one map for each set of neighbouring channels."""
    sets = planes.reshape(-1, row.layer.members, *planes.shape[1:])
    if row.layer.mode == "magnitude":
        return np.asarray(np.sqrt(np.square(sets).sum(axis=1)))
    if row.layer.mode == "max":
        return np.asarray(sets.max(axis=1))
    if row.layer.mode == "min":
        return np.asarray(sets.min(axis=1))
    return np.asarray(sets.sum(axis=1) if row.layer.mode == "sum" else sets.mean(axis=1))
