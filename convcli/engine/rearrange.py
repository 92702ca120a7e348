"""Functions that move samples: unfold and its inverse fold, and channel_shuffle."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from convcli.engine.arguments import PaddingLike, Size, as_array, check_axes, padding_pairs, per_axis, whole
from convcli.errors import GeometryError
from convcli.geometry.arithmetic import Pair, conv_output_px, resolve_padding, window_px

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def unfold(
    input: ArrayLike, kernel_size: Size, dilation: Size = 1, padding: PaddingLike = 0, stride: Size = 1
) -> NDArray[Any]:
    """Write every window out as a column, as ``torch.nn.functional.unfold`` (im2col); :func:`fold` adds them up again.

    Parameters
    ----------
    input : array_like of shape (C, H, W) or (N, C, H, W)
        Any type; it is kept.
    kernel_size, dilation, stride : int or (int, int)
    padding : int, (int, int), ((top, bottom), (left, right)) or str
        Zeros; the words are those of :func:`convcli.conv2d`.

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
    samples = as_array(input, "input", "biufc")
    check_axes(samples, 2)
    kernel, gap, step, pads, size = _windows(samples.shape[-2:], kernel_size, dilation, padding, stride)
    outer = samples.ndim - 2
    padded = np.pad(samples, [(0, 0)] * outer + list(pads))
    covered = tuple(map(window_px, kernel, gap))
    # A view of overlapping windows; reshape below makes the one copy.
    views = sliding_window_view(padded, covered, axis=(-2, -1))[..., :: step[0], :: step[1], :: gap[0], :: gap[1]]
    windows = np.moveaxis(views, (-2, -1), (-4, -3))
    return windows.reshape(*padded.shape[: outer - 1], padded.shape[outer - 1] * prod(kernel), prod(size))


def fold(
    input: ArrayLike,
    output_size: Size,
    kernel_size: Size,
    dilation: Size = 1,
    padding: PaddingLike = 0,
    stride: Size = 1,
) -> NDArray[Any]:
    """Add columns up to planes, as ``torch.nn.functional.fold`` (col2im): each goes where :func:`unfold` took it.

    Parameters
    ----------
    input : array_like of shape (C·kH·kW, L) or (N, C·kH·kW, L)
    output_size : int or (int, int)
        Rows and columns of the planes.
    kernel_size, dilation, padding, stride
        As in :func:`unfold`.

    Returns
    -------
    ndarray of shape (C, H, W) or (N, C, H, W)

    Raises
    ------
    GeometryError
        If the number of rows or columns does not belong to these windows.

    Examples
    --------
    >>> columns = unfold(np.arange(6).reshape(1, 2, 3), 2)
    >>> fold(columns, (2, 3), 2).tolist()
    [[[0, 2, 2], [3, 8, 5]]]
    """
    columns, planes_hw = as_array(input, "input", "biufc"), per_axis(output_size, 2, "output_size")
    kernel, gap, step, pads, size = _windows(planes_hw, kernel_size, dilation, padding, stride)
    if columns.ndim not in (2, 3) or not columns.shape[-2] or columns.shape[-2] % prod(kernel):
        wanted = f"(C·{prod(kernel)}, L) or (N, C·{prod(kernel)}, L)"
        raise GeometryError(f"input of shape {columns.shape}: {wanted} is needed", hint="the result of unfold")
    if columns.shape[-1] != prod(size):
        raise GeometryError(
            f"{columns.shape[-1]} columns, but {planes_hw[0]}x{planes_hw[1]} has {size[0]}x{size[1]} = {prod(size)} "
            "windows"
        )
    outer, channels = columns.shape[:-2], columns.shape[-2] // prod(kernel)
    columns = columns.reshape(*outer, channels, *kernel, *size)
    height, width = (n + before + after for n, (before, after) in zip(planes_hw, pads, strict=True))
    planes = np.zeros((*outer, channels, height, width), columns.dtype)
    # Windows overlap, samples of one tap do not: an index array for all taps would lose repeated samples.
    for row in range(kernel[0]):
        for column in range(kernel[1]):
            rows, across = (
                slice(tap * gap[axis], tap * gap[axis] + (size[axis] - 1) * step[axis] + 1, step[axis])
                for axis, tap in enumerate((row, column))
            )
            planes[..., rows, across] += columns[..., row, column, :, :]
    return planes[..., pads[0][0] : pads[0][0] + planes_hw[0], pads[1][0] : pads[1][0] + planes_hw[1]].copy()


def _windows(
    input_hw: tuple[int, ...], kernel_size: Size, dilation: Size, padding: PaddingLike, stride: Size
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[Pair, ...], list[int]]:
    """Return kernel, dilation, stride, padding, and how many windows there are along both axes."""
    kernel, gap = per_axis(kernel_size, 2, "kernel_size"), per_axis(dilation, 2, "dilation")
    step = per_axis(stride, 2, "stride")
    pads = resolve_padding(padding_pairs(padding, 2), input_hw, kernel, step, gap)
    size = [
        conv_output_px(input_hw[a], kernel[a], stride=step[a], dilation=gap[a], pad_px=sum(pads[a])) for a in range(2)
    ]
    return kernel, gap, step, pads, size


def channel_shuffle(input: ArrayLike, groups: int) -> NDArray[Any]:
    """Take one channel of each group in turn, as ``torch.nn.functional.channel_shuffle`` (ShuffleNet).

    Parameters
    ----------
    input : array_like of shape (C, H, W) or (N, C, …) of four axes or more
        Three axes are one image, as :func:`convcli.conv2d` returns it; torch takes them for (N, C, L).
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
    >>> channel_shuffle(np.arange(6).reshape(6, 1, 1), 2).ravel().tolist()
    [0, 3, 1, 4, 2, 5]
    """
    samples, n_groups = as_array(input, "input", "biufc"), whole(groups, "groups")
    if samples.ndim < 3:
        raise GeometryError(f"input of shape {samples.shape}: at least three axes, (C, H, W) or (N, C, …), are needed")
    images = samples[None] if samples.ndim == 3 else samples
    n, channels, *axes = images.shape
    if channels % n_groups:
        divisors = ", ".join(str(g) for g in range(1, channels + 1) if channels % g == 0)
        raise GeometryError(f"{n_groups} groups do not divide {channels} channels", hint=f"groups can be {divisors}")
    # Writing channels as (groups, each) and swapping both deals one channel of each group in turn.
    dealt = images.reshape(n, n_groups, channels // n_groups, *axes).swapaxes(1, 2)
    return np.ascontiguousarray(dealt).reshape(samples.shape)
