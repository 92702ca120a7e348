"""torch's convolutions on NumPy arrays: its argument names, order, defaults and meaning.

Arrays are (C, …) or (N, C, …). float32 and float64 stay what they are; half precision is computed in and returned as
float32; integers are computed in and returned as float64.

One dimension is two with height 1. In three, the planes under a kernel's depth become input planes of one
two-dimensional product per output depth, so that every engine serves all three.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from convcli.engine.arguments import PaddingLike, Size, as_samples, padding_pairs, per_axis
from convcli.engine.borders import Border, map_positions, parse_border
from convcli.engine.kept import runner_for
from convcli.engine.phases import AxisPhase, conv_axis, phase_weight, transposed_axis
from convcli.errors import UsageError
from convcli.geometry.arithmetic import (
    conv_output_px,
    conv_transpose_output_px,
    resolve_padding,
    resolve_transpose_padding,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def conv2d(
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Size = 1,
    padding: PaddingLike = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    engine: str = "auto",
    threads: int | None = None,
    memory: int | None = None,
) -> NDArray[Any]:
    """Correlate planes with kernels, as ``torch.nn.functional.conv2d`` does.

    Parameters
    ----------
    input : array_like of shape (C, H, W) or (N, C, H, W)
        float32 and float64 keep their type; integers are computed in float64.
    weight : array_like of shape (O, C/groups, kH, kW)
        Taps; not flipped.
    bias : array_like of shape (O,), optional
    stride, dilation : int or (int, int)
        At least 1.
    padding : int, (int, int), ((top, bottom), (left, right)) or str
        Pixels added around; ``"same"`` (output ``ceil(input / stride)``, the odd pixel after), ``"same_lower"``,
        ``"valid"``, ``"full"``.
    groups : int
        Divides C and O.
    padding_mode : str
        See :func:`convcli.engine.parse_border`; works for a kernel of any size.
    engine : str
        ``auto``, ``reference``, ``im2col``, ``gemm``, ``direct``, ``separable``, ``fft`` or ``torch``.
    threads, memory : int, optional
        Bounds: workers, and bytes beyond input and output.

    Returns
    -------
    ndarray of shape (O, oH, oW) or (N, O, oH, oW)

    Raises
    ------
    GeometryError
        Shapes do not belong together, or the window does not fit.
    UsageError
        A word is unknown, or the engine does not take this job.

    Examples
    --------
    >>> image = np.zeros((1, 3, 3), np.float32)
    >>> image[0, 1, 1] = 1
    >>> taps = np.arange(1.0, 10.0, dtype=np.float32).reshape(1, 1, 3, 3)
    >>> conv2d(image, taps, padding=1)[0].tolist()
    [[9.0, 8.0, 7.0], [6.0, 5.0, 4.0], [3.0, 2.0, 1.0]]
    """
    bounds: dict[str, Any] = {"engine": engine, "threads": threads, "memory": memory}
    return _convolve(2, input, weight, bias, stride, padding, dilation, groups, padding_mode=padding_mode, **bounds)


def conv1d(
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Size = 1,
    padding: PaddingLike = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    engine: str = "auto",
    threads: int | None = None,
    memory: int | None = None,
) -> NDArray[Any]:
    """Correlate signals (C, L) or (N, C, L) with ``weight`` (O, C/groups, k); otherwise as :func:`conv2d`.

    Examples
    --------
    >>> conv1d(np.array([[1.0, 2, 4]]), np.array([[[1.0, -1]]])).tolist()
    [[-1.0, -2.0]]
    """
    bounds: dict[str, Any] = {"engine": engine, "threads": threads, "memory": memory}
    return _convolve(1, input, weight, bias, stride, padding, dilation, groups, padding_mode=padding_mode, **bounds)


def conv3d(
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Size = 1,
    padding: PaddingLike = 0,
    dilation: Size = 1,
    groups: int = 1,
    *,
    padding_mode: str = "zeros",
    engine: str = "auto",
    threads: int | None = None,
    memory: int | None = None,
) -> NDArray[Any]:
    """Correlate volumes (C, D, H, W) or (N, C, D, H, W) with ``weight`` (O, C/groups, kD, kH, kW), as :func:`conv2d`.

    Examples
    --------
    >>> conv3d(np.ones((1, 2, 3, 3)), np.ones((1, 1, 2, 2, 2))).tolist()
    [[[[8.0, 8.0], [8.0, 8.0]]]]
    """
    bounds: dict[str, Any] = {"engine": engine, "threads": threads, "memory": memory}
    return _convolve(3, input, weight, bias, stride, padding, dilation, groups, padding_mode=padding_mode, **bounds)


def conv_transpose1d(
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Size = 1,
    padding: PaddingLike = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
    *,
    engine: str = "auto",
    threads: int | None = None,
    memory: int | None = None,
) -> NDArray[Any]:
    """Transposed convolution of (C, L) or (N, C, L) with ``weight`` (C, O/groups, k); see :func:`conv_transpose2d`.

    Examples
    --------
    >>> conv_transpose1d(np.array([[1.0, 2]]), np.array([[[1.0, 10, 100]]]), stride=2).tolist()
    [[1.0, 10.0, 102.0, 20.0, 200.0]]
    """
    bounds: dict[str, Any] = {"engine": engine, "threads": threads, "memory": memory}
    return _convolve(1, input, weight, bias, stride, padding, dilation, groups, output_padding=output_padding, **bounds)


def conv_transpose2d(
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Size = 1,
    padding: PaddingLike = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
    *,
    engine: str = "auto",
    threads: int | None = None,
    memory: int | None = None,
) -> NDArray[Any]:
    """Transposed convolution, as ``torch.nn.functional.conv_transpose2d``: each sample stamps the kernel.

    Parameters
    ----------
    input : array_like of shape (C, H, W) or (N, C, H, W)
    weight : array_like of shape (C, O/groups, kH, kW)
    bias : array_like of shape (O,), optional
    stride, dilation : int or (int, int)
    padding : int, (int, int), pairs or str
        What is cut from the result; ``"same"`` makes it ``input * stride`` in size.
    output_padding : int or (int, int)
        Added after; below ``max(stride, dilation)``.
    groups : int
    engine, threads, memory
        As in :func:`conv2d`.

    Returns
    -------
    ndarray of shape (O, oH, oW) or (N, O, oH, oW)

    Raises
    ------
    GeometryError
        Shapes do not belong together, nothing is left, or ``output_padding`` is too large.

    Examples
    --------
    >>> conv_transpose2d(np.array([[[1.0, 2]]]), np.ones((1, 1, 1, 2)), stride=(1, 2)).tolist()
    [[[1.0, 1.0, 2.0, 2.0]]]
    """
    bounds: dict[str, Any] = {"engine": engine, "threads": threads, "memory": memory}
    return _convolve(2, input, weight, bias, stride, padding, dilation, groups, output_padding=output_padding, **bounds)


def conv_transpose3d(
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Size = 1,
    padding: PaddingLike = 0,
    output_padding: Size = 0,
    groups: int = 1,
    dilation: Size = 1,
    *,
    engine: str = "auto",
    threads: int | None = None,
    memory: int | None = None,
) -> NDArray[Any]:
    """Transposed convolution of (C, D, H, W) or (N, C, D, H, W); see :func:`conv_transpose2d`.

    Examples
    --------
    >>> conv_transpose3d(np.full((1, 1, 1, 1), 3.0), np.ones((1, 1, 2, 1, 1))).ravel().tolist()
    [3.0, 3.0]
    """
    bounds: dict[str, Any] = {"engine": engine, "threads": threads, "memory": memory}
    return _convolve(3, input, weight, bias, stride, padding, dilation, groups, output_padding=output_padding, **bounds)


def _convolve(
    n_axes: int,
    image: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None,
    stride: Size,
    padding: PaddingLike,
    dilation: Size,
    groups: int,
    *,
    output_padding: Size | None = None,
    padding_mode: str = "zeros",
    **bounds: Any,
) -> NDArray[Any]:
    """Convolve over one to three axes; transposed where there is an ``output_padding``."""
    samples, taps, batched = as_samples(image, weight, n_axes)
    axes, kernel = samples.shape[2:], taps.shape[2:]
    steps, gaps = per_axis(stride, n_axes, "stride"), per_axis(dilation, n_axes, "dilation")
    words = padding_pairs(padding, n_axes)
    extra = None if output_padding is None else per_axis(output_padding, n_axes, "output_padding", minimum=0)
    if extra is None:
        pads = resolve_padding(words, axes, kernel, steps, gaps)
    else:
        pads = resolve_transpose_padding(words, axes, kernel, steps, gaps, extra)
    length = 1
    depth: tuple[AxisPhase, ...] = ()
    if n_axes == 3:
        window = {"stride": steps[0], "dilation": gaps[0]}
        if extra is None:
            length = conv_output_px(axes[0], kernel[0], **window, pad_px=sum(pads[0]))
        else:
            length = conv_transpose_output_px(
                axes[0], kernel[0], **window, pad_px=sum(pads[0]), output_padding=extra[0]
            )
        phases = conv_axis if extra is None else transposed_axis
        depth = phases(kernel[0], **window, before_px=pads[0][0], output_px=length)
    options = {
        "stride": _last_two(steps, 1),
        "padding": _last_two(pads, (0, 0)),
        "dilation": _last_two(gaps, 1),
        "groups": groups,
        "border": parse_border(padding_mode),
        "transposed": extra is not None,
        "output_padding": _last_two(extra or (0,), 0),
        **bounds,
    }
    maps = _run(samples, taps, bias, depth, length, options)
    return maps if batched else maps[0]


def _last_two(values: tuple[Any, ...], lone: Any) -> tuple[Any, Any]:
    """Return what concerns rows and columns; a single axis is a row of height 1."""
    return (lone, values[0]) if len(values) == 1 else (values[-2], values[-1])


def _run(
    samples: NDArray[Any],
    taps: NDArray[Any],
    bias: ArrayLike | None,
    depth: tuple[AxisPhase, ...],
    length: int,
    options: dict[str, Any],
) -> NDArray[Any]:
    """Run (N, C, …): one plan for the whole batch, or one per phase of the depth."""
    dtype = str(samples.dtype)
    options |= {"dtype": dtype, "input_dtype": dtype}
    shift = None if bias is None else np.asarray(bias)
    if not depth:
        flat = samples[:, :, None] if samples.ndim == 3 else samples
        weight = taps[:, :, None] if taps.ndim == 3 else taps
        runner = runner_for(flat.shape[1:], weight, shift, options)
        maps = np.empty((len(flat), *runner.plan.output_shape), samples.dtype)
        for planes, out in zip(flat, maps, strict=True):
            runner.run(planes, out)
        return maps[:, :, 0] if samples.ndim == 3 else maps
    volume: NDArray[Any] | None = None
    for phase in depth:
        stacked, planes_per_channel = _stacked_weight(taps, phase, transposed=options.get("transposed", False))
        shape = (samples.shape[1] * planes_per_channel, *samples.shape[3:])
        runner = runner_for(shape, stacked, shift, options)
        if volume is None:
            n_maps, *size = runner.plan.output_shape
            volume = np.empty((len(samples), n_maps, length, *size), samples.dtype)
        for one, out in zip(samples, volume, strict=True):
            for turn in range(phase.n_outputs):
                positions = turn * phase.stride - phase.before + phase.dilation * np.arange(planes_per_channel)
                window = _DepthWindow(one, positions, options.get("border", Border("constant")))
                runner.run(window, out[:, phase.first + turn * phase.step])
    if volume is None:
        raise UsageError("no output planes")
    return volume


def _stacked_weight(taps: NDArray[Any], phase: AxisPhase, *, transposed: bool) -> tuple[NDArray[Any], int]:
    """Return weights in which the depth of the kernel has become input planes, and how many each channel has.

    Ordinary weights are (O, I, …) and transposed ones (I, O, …): in both the depth joins I.
    """
    rest = tuple(AxisPhase(tuple(range(k)), 0, 1, 1, 0, 1, 1) for k in taps.shape[3:])
    chosen = phase_weight(taps, (phase, *rest))
    if transposed:
        chosen = chosen.swapaxes(1, 2)
        return chosen.reshape(-1, *chosen.shape[2:]), chosen.shape[1]
    return chosen.reshape(chosen.shape[0], -1, *chosen.shape[3:]), chosen.shape[2]


class _DepthWindow:
    """The planes under one position of the kernel's depth, as planes of a picture; rows are gathered when asked for."""

    def __init__(self, volume: NDArray[Any], positions: NDArray[np.intp], border: Border) -> None:
        self._volume, self._border = volume, border
        self._planes = map_positions(positions, volume.shape[1], border.mode)
        self.shape = (volume.shape[0] * len(positions), *volume.shape[2:])
        self.dtype = volume.dtype

    def rows(self, top: int, bottom: int) -> NDArray[Any]:
        window = self._volume[:, self._planes, top:bottom]
        window[:, self._planes < 0] = self._border.value
        return window.reshape(-1, *window.shape[2:])
