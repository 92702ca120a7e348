"""Pooling as torch does it: one axis after the other, because a window's maximum and sum are separable.

``ceil_mode`` lets a last window hang over the end if it starts inside the input or the padding before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from convcli.engine.arguments import PaddingLike, Size, float_type, over_axes, padding_pairs, per_axis
from convcli.errors import GeometryError, UsageError
from convcli.geometry.arithmetic import Pair, pool_output_px, window_px

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

    def counts(self, *, include_pad: bool) -> NDArray[np.int64]:
        """Return how many samples each window's mean is over, along this axis."""
        start = np.arange(self.output_px) * self.stride - self.padding[0]
        end = np.minimum(start + self.kernel, self.input_px + self.padding[1])
        if include_pad:
            return end - start
        return np.minimum(end, self.input_px) - np.maximum(start, 0)


def _axes(
    n_axes: int,
    samples: NDArray[Any],
    kernel: Size,
    stride: Size | None,
    padding: PaddingLike,
    dilation: Size,
    ceil_mode: bool,
) -> list[_Axis]:
    if samples.ndim not in (n_axes + 1, n_axes + 2) or 0 in samples.shape[-n_axes - 1 :]:
        raise GeometryError(
            f"input of shape {samples.shape}: {n_axes + 1} axes (C, …) or {n_axes + 2} (N, C, …) are needed, none empty"
        )
    kernels = per_axis(kernel, n_axes, "kernel_size")
    strides = kernels if stride is None else per_axis(stride, n_axes, "stride")
    pads, gaps = padding_pairs(padding, n_axes), per_axis(dilation, n_axes, "dilation")
    if isinstance(pads, str):
        raise UsageError(f"pooling: padding {pads!r}", hint="whole numbers")
    axes = []
    for size, k, s, pad, d in zip(samples.shape[-n_axes:], kernels, strides, pads, gaps, strict=True):
        if max(pad) > k // 2:
            raise GeometryError(
                f"pooling: padding {max(pad)} is more than half of kernel size {k}",
                hint=f"padding 0 to {k // 2}",
                padding=max(pad),
            )
        window = {"stride": s, "dilation": d, "pad_before_px": pad[0], "pad_after_px": pad[1]}
        axes.append(_Axis(size, k, s, pad, d, pool_output_px(size, k, ceil_mode=ceil_mode, **window)))
    return axes


def _max_pool(
    n_axes: int,
    input: ArrayLike,
    kernel_size: Size,
    stride: Size | None = None,
    padding: PaddingLike = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
) -> NDArray[Any]:
    samples = np.asarray(input)
    if samples.dtype.kind not in "biu":
        float_type(samples.dtype)  # refuses types without an order
        lowest: Any = -np.inf
    else:
        lowest = False if samples.dtype.kind == "b" else np.iinfo(samples.dtype).min
    axes = _axes(n_axes, samples, kernel_size, stride, padding, dilation, ceil_mode)
    for axis, pool in enumerate(axes, start=samples.ndim - n_axes):
        first, *others = pool.windows(samples, axis, lowest)
        samples = first.copy()
        for window in others:
            np.maximum(samples, window, out=samples)
    return samples


def _avg_pool(
    n_axes: int,
    input: ArrayLike,
    kernel_size: Size,
    stride: Size | None = None,
    padding: PaddingLike = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> NDArray[Any]:
    if divisor_override == 0:
        raise GeometryError("divisor_override 0", hint="any other number, or None")
    samples = np.asarray(input)
    samples = samples.astype(float_type(samples.dtype), copy=False)
    divisor: Any = np.ones((), samples.dtype)
    axes = _axes(n_axes, samples, kernel_size, stride, padding, 1, ceil_mode)
    for axis, pool in enumerate(axes, start=samples.ndim - n_axes):
        first, *others = pool.windows(samples, axis, 0)
        samples = first.copy()
        for window in others:
            samples += window
        counts = pool.counts(include_pad=count_include_pad).astype(samples.dtype)
        divisor = divisor[..., None] * counts
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
    padding : int, (int, int) or ((top, bottom), (left, right))
        At most half of the kernel; never the largest.
    ceil_mode : bool
        Round the output's size up instead of down.

    Returns
    -------
    ndarray of shape (C, oH, oW) or (N, C, oH, oW)

    Raises
    ------
    GeometryError
        No window fits, or the padding is more than half of the kernel.

    Examples
    --------
    >>> max_pool2d(np.arange(16).reshape(1, 4, 4), 2).tolist()
    [[[5, 7], [13, 15]]]
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

    Returns
    -------
    ndarray of shape (C, oH, oW) or (N, C, oH, oW)

    Raises
    ------
    GeometryError
        No window fits, the padding is more than half of the kernel, or the divisor is 0.

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
