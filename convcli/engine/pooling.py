"""Pooling as torch does it: one axis after the other, because a window's maximum and sum are separable.

``ceil_mode`` lets a last window hang over the end if it starts inside the input or the padding before it.
"""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from convcli.engine.arguments import (
    PaddingLike,
    Size,
    as_array,
    check_axes,
    float_type,
    has_sides,
    over_axes,
    padding_pairs,
    per_axis,
    switch,
    whole,
)
from convcli.errors import GeometryError
from convcli.geometry.arithmetic import Pair, pool_output_px, resolve_padding, window_px

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class _Axis(NamedTuple):
    """One axis of a pooling: where its windows lie."""

    input_px: int
    kernel: int
    stride: int
    padding: Pair
    dilation: int
    output_px: int

    def windows(self, samples: NDArray[Any], axis: int, fill: Any) -> list[NDArray[Any]]:
        """Return, for each place in the window, the samples that stand there, with ``fill`` outside."""
        before, last = self.padding[0], (self.output_px - 1) * self.stride
        after = max(last + window_px(self.kernel, self.dilation) - self.input_px - before, 0)
        pads = [(0, 0)] * samples.ndim
        pads[axis] = (before, after)
        padded = np.pad(samples, pads, constant_values=fill) if before or after else samples
        lead = (slice(None),) * axis
        starts = range(0, self.kernel * self.dilation, self.dilation)
        return [padded[(*lead, slice(start, start + last + 1, self.stride))] for start in starts]

    def reduced(self, samples: NDArray[Any], axis: int, fill: Any, combine: np.ufunc) -> NDArray[Any]:
        """Return the samples of each window combined."""
        first, *others = self.windows(samples, axis, fill)
        found = first.copy()
        for window in others:
            combine(found, window, out=found)
        return found

    def counts(self, *, include_pad: bool) -> NDArray[np.int64]:
        """Return how many samples each window's mean is over, along this axis."""
        start = np.arange(self.output_px) * self.stride - self.padding[0]
        places = start[:, None] + np.arange(self.kernel) * self.dilation
        first, end = (-self.padding[0], self.input_px + self.padding[1]) if include_pad else (0, self.input_px)
        counted: NDArray[np.int64] = ((places >= first) & (places < end)).sum(axis=1)
        return counted


def _axes(
    n_axes: int, samples: NDArray[Any], kernel: Size, stride: Size | None, padding: PaddingLike, gaps: Size, ceil: bool
) -> list[_Axis]:
    check_axes(samples, n_axes)
    kernels = per_axis(kernel, n_axes, "kernel_size")
    strides = kernels if stride is None else per_axis(stride, n_axes, "stride")
    pads, gaps = padding_pairs(padding, n_axes), per_axis(gaps, n_axes, "dilation")
    sizes, ceil = samples.shape[-n_axes:], switch(ceil, "ceil_mode")
    sides = resolve_padding(pads, sizes, kernels, strides, gaps)
    as_in_torch = not isinstance(padding, str) and not has_sides(padding)
    axes = []
    for size, k, s, pad, d in zip(sizes, kernels, strides, sides, gaps, strict=True):
        # torch's bound ignores dilation. Explicit sides are an extension: a window must only reach the input.
        most = k // 2 if as_in_torch else window_px(k, d) - 1
        if max(pad) > most:
            much = f"more than half of kernel size {k}" if as_in_torch else f"a whole window of {most + 1}"
            raise GeometryError(f"pooling: padding {max(pad)} is {much}", hint=f"padding 0 to {most}", padding=max(pad))
        window = {"stride": s, "dilation": d, "pad_before_px": pad[0], "pad_after_px": pad[1]}
        axes.append(_Axis(size, k, s, pad, d, pool_output_px(size, k, ceil_mode=ceil, **window)))
    return axes


def _max_pool(
    n_axes: int,
    input: ArrayLike,
    kernel_size: Size,
    stride: Size | None = None,
    padding: PaddingLike = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    samples = as_array(input, "input")
    # Padding must never win over a sample, also not over the lowest of an integer type.
    lowest: Any = -np.inf
    if samples.dtype.kind != "f":
        lowest = False if samples.dtype.kind == "b" else np.iinfo(samples.dtype).min
    axes = _axes(n_axes, samples, kernel_size, stride, padding, dilation, ceil_mode)
    pools = list(enumerate(axes, start=samples.ndim - n_axes))
    if switch(return_indices, "return_indices"):
        return _max_and_place(samples, pools, lowest)
    for axis, pool in pools:
        samples = pool.reduced(samples, axis, lowest, np.maximum)
    return samples


def _max_and_place(
    samples: NDArray[Any], pools: list[tuple[int, _Axis]], lowest: Any
) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return maxima and their places in the flat plane: the first maximum row by row, or the last NaN, as in torch.

    The last axis comes first, so that rows stay in order; -1 marks padding.
    """
    sizes = samples.shape[pools[0][0] :]
    places = np.broadcast_to(np.arange(prod(sizes)).reshape(sizes), samples.shape)
    for axis, pool in reversed(pools):
        both = zip(pool.windows(samples, axis, lowest), pool.windows(places, axis, -1), strict=True)
        samples, places = (first.copy() for first in next(both))
        for window, at in both:
            # torch's loop takes a later sample if it is larger or NaN; equal ones keep the first place.
            better = (window > samples) | (window != window) | ((places < 0) & (at >= 0))
            np.copyto(samples, window, where=better)
            np.copyto(places, at, where=better)
    return samples, places


def _avg_pool(
    n_axes: int,
    input: ArrayLike,
    kernel_size: Size,
    stride: Size | None = None,
    padding: PaddingLike = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
    *,
    dilation: Size = 1,
) -> NDArray[Any]:
    if divisor_override is not None and whole(divisor_override, "divisor_override", -(10**9)) == 0:
        raise GeometryError("divisor_override 0", hint="any other number, or None")
    samples, include_pad = as_array(input, "input"), switch(count_include_pad, "count_include_pad")
    samples = samples.astype(float_type(samples.dtype), copy=False)
    divisor: Any = np.ones((), samples.dtype)
    axes = _axes(n_axes, samples, kernel_size, stride, padding, dilation, ceil_mode)
    for axis, pool in enumerate(axes, start=samples.ndim - n_axes):
        samples = pool.reduced(samples, axis, 0, np.add)
        counts = pool.counts(include_pad=include_pad)
        if divisor_override is None and not counts.all():
            raise GeometryError(
                "pooling: a window has no sample of the input", hint="count_include_pad=True, or less padding"
            )
        # A window's count is the product of its counts along the axes.
        divisor = divisor[..., None] * counts.astype(samples.dtype)
    means: NDArray[Any] = samples / (divisor if divisor_override is None else samples.dtype.type(divisor_override))
    return means


@over_axes(1, _max_pool)
def max_pool1d() -> None:
    """Largest sample of each window of (C, L) or (N, C, L); see :func:`max_pool2d`.

    Examples
    --------
    >>> max_pool1d(np.array([[1, 5, 2, 4, 3]]), 2, ceil_mode=True).tolist()
    [[5, 4, 3]]
    """


@over_axes(2, _max_pool)
def max_pool2d() -> None:
    """Largest sample of each window, as ``torch.nn.functional.max_pool2d``.

    Parameters
    ----------
    input : array_like of shape (C, H, W) or (N, C, H, W)
        Any real type, which is kept: a maximum needs no arithmetic.
    kernel_size, stride, dilation : int or (int, int)
        ``stride`` defaults to ``kernel_size``.
    padding : int, (int, int), ((top, bottom), (left, right)) or str
        Never the largest. Whole numbers are at most half of the kernel, as in torch; sides are less than the window.
        ``"same"``, ``"same_lower"``, ``"valid"`` and ``"full"`` as in :func:`convcli.conv2d`.
    ceil_mode : bool
        Round the output's size up instead of down.
    return_indices : bool
        Return a pair: the maxima, and the place of each in its flat plane (the first where there are several).

    Returns
    -------
    ndarray of shape (C, oH, oW) or (N, C, oH, oW)

    Raises
    ------
    GeometryError
        No window fits, or there is too much padding.
    UsageError
        An argument has another type, or a word is unknown.

    Examples
    --------
    >>> max_pool2d(np.arange(16).reshape(1, 4, 4), 2).tolist()
    [[[5, 7], [13, 15]]]
    >>> max_pool2d([[[3, 1, 2]]], (1, 2), 1, "same", return_indices=True)[1].tolist()
    [[[0, 2, 2]]]
    """


@over_axes(3, _max_pool)
def max_pool3d() -> None:
    """Largest sample of each window of (C, D, H, W) or (N, C, D, H, W); see :func:`max_pool2d`.

    Examples
    --------
    >>> max_pool3d(np.arange(8).reshape(1, 2, 2, 2), 2).tolist()
    [[[[7]]]]
    """


@over_axes(1, _avg_pool)
def avg_pool1d() -> None:
    """Mean of each window of (C, L) or (N, C, L); see :func:`avg_pool2d`.

    Examples
    --------
    >>> avg_pool1d(np.array([[2.0, 4, 6]]), 2, padding=1, count_include_pad=False).tolist()
    [[2.0, 5.0]]
    """


@over_axes(2, _avg_pool)
def avg_pool2d() -> None:
    """Mean of each window, as ``torch.nn.functional.avg_pool2d``.

    Parameters
    ----------
    input : array_like of shape (C, H, W) or (N, C, H, W)
        float32 and float64 keep their type; integers are computed in float64.
    kernel_size, stride, padding
        As in :func:`max_pool2d`; padding holds zeros.
    ceil_mode : bool
        Round the output's size up instead of down. Taps beyond the padding are neither summed nor counted.
    count_include_pad : bool
        Whether padding counts in the divisor.
    divisor_override : int, optional
        Divide by this instead.
    dilation : int or (int, int)
        Step between the samples of a window (not in torch; ONNX has it).

    Returns
    -------
    ndarray of shape (C, oH, oW) or (N, C, oH, oW)

    Raises
    ------
    GeometryError
        No window fits, there is too much padding, or a divisor is 0.
    UsageError
        An argument has another type, or a word is unknown.

    Examples
    --------
    >>> avg_pool2d(np.arange(16.0).reshape(1, 4, 4), 2).tolist()
    [[[2.5, 4.5], [10.5, 12.5]]]
    """


@over_axes(3, _avg_pool)
def avg_pool3d() -> None:
    """Mean of each window of (C, D, H, W) or (N, C, D, H, W); see :func:`avg_pool2d`.

    Examples
    --------
    >>> avg_pool3d(np.arange(8.0).reshape(1, 2, 2, 2), 2).tolist()
    [[[[3.5]]]]
    """
