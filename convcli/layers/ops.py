"""What the layers of a stack do that are no convolution: pooling, padding, activations, enlarging, joining (NumPy)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from convcli.engine import border_index, channel_shuffle, parse_border
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


def pad(row: LayerShape, planes: Array) -> Array:
    """Return planes with a border of any mode, at any size."""
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
    return np.asarray(channel_shuffle(planes[None], row.groups)[0])


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
