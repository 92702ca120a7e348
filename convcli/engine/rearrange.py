"""Functions that move samples without computing: unfold and channel_shuffle."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from convcli.engine.arguments import Size, per_axis
from convcli.errors import GeometryError
from convcli.geometry.arithmetic import conv_output_px

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def unfold(
    input: ArrayLike, kernel_size: Size, dilation: Size = 1, padding: Size = 0, stride: Size = 1
) -> NDArray[Any]:
    """Write every window out as a column, as ``torch.nn.functional.unfold`` (im2col).

    Parameters
    ----------
    input : array_like of shape (C, H, W) or (N, C, H, W)
        Any type; it is kept.
    kernel_size, dilation, padding, stride : int or (int, int)
        Padding holds zeros.

    Returns
    -------
    ndarray of shape (C·kH·kW, L) or (N, C·kH·kW, L)
        L windows, row by row.

    Raises
    ------
    GeometryError
        If the window does not fit.

    Examples
    --------
    >>> unfold(np.arange(6).reshape(1, 2, 3), 2).tolist()
    [[0, 1], [1, 2], [3, 4], [4, 5]]
    """
    samples = np.asarray(input)
    if samples.ndim not in (3, 4):
        raise GeometryError(f"input of shape {samples.shape}: 3 axes (C, H, W) or 4 (N, C, H, W) are needed")
    kernel, gap = per_axis(kernel_size, 2, "kernel_size"), per_axis(dilation, 2, "dilation")
    pad, step = per_axis(padding, 2, "padding", minimum=0), per_axis(stride, 2, "stride")
    size = [
        conv_output_px(samples.shape[a - 2], kernel[a], stride=step[a], dilation=gap[a], pad_px=2 * pad[a])
        for a in range(2)
    ]
    outer = samples.ndim - 2
    padded = np.pad(samples, [(0, 0)] * outer + [(pad[0], pad[0]), (pad[1], pad[1])])
    row, column = padded.strides[-2:]
    windows = as_strided(
        padded,
        (*padded.shape[:-2], *kernel, *size),
        (*padded.strides[:-2], row * gap[0], column * gap[1], row * step[0], column * step[1]),
        writeable=False,
    )
    return windows.reshape(*padded.shape[: outer - 1], padded.shape[outer - 1] * kernel[0] * kernel[1], -1)


def channel_shuffle(input: ArrayLike, groups: int) -> NDArray[Any]:
    """Take one channel of each group in turn, as ``torch.nn.functional.channel_shuffle`` (ShuffleNet).

    Parameters
    ----------
    input : array_like of shape (N, C, …), at least three axes
        As in torch the channels are axis 1, also where there are only three axes.
    groups : int
        Divides C.

    Returns
    -------
    ndarray
        Same shape and type.

    Raises
    ------
    GeometryError
        If ``groups`` does not divide the channels.

    Examples
    --------
    >>> channel_shuffle(np.arange(6).reshape(1, 6, 1), 2).ravel().tolist()
    [0, 3, 1, 4, 2, 5]
    """
    samples = np.asarray(input)
    if samples.ndim < 3:
        raise GeometryError(f"input of shape {samples.shape}: at least three axes (N, C, …) are needed")
    n, channels, *axes = samples.shape
    if groups < 1 or channels % groups:
        divisors = ", ".join(str(g) for g in range(1, channels + 1) if channels % g == 0)
        raise GeometryError(f"{groups} groups do not divide {channels} channels", hint=f"groups can be {divisors}")
    dealt = samples.reshape(n, groups, channels // groups, *axes).swapaxes(1, 2)
    return np.ascontiguousarray(dealt).reshape(samples.shape)
