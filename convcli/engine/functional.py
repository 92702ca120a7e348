"""torch's convolutions on NumPy arrays, with its argument names, order, defaults and meaning.

Arrays are (C, …) or (N, C, …). float32 and float64 keep their type; half precision becomes float32, and integers become
float64. One dimension is two with height 1; three are a sum over the kernel's depth, see
:mod:`convcli.engine.batches`. So every engine serves all of them.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from convcli.engine.arguments import (
    PaddingLike,
    Size,
    as_array,
    as_samples,
    is_lazy,
    over_axes,
    padding_pairs,
    per_axis,
    whole,
    word,
)
from convcli.engine.batches import run_batch, run_volumes
from convcli.engine.borders import parse_border
from convcli.engine.problem import axis_phases, output_px
from convcli.engine.tiles import Axis
from convcli.errors import UsageError
from convcli.geometry.arithmetic import resolve_padding
from convcli.geometry.transposed import resolve_transpose_padding

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def _conv(
    n_axes: int,
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
    how: dict[str, Any] = {"padding_mode": padding_mode, "engine": engine, "threads": threads, "memory": memory}
    return _convolve(n_axes, input, weight, bias, stride, padding, dilation, groups, None, **how)


def _conv_transpose(
    n_axes: int,
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
    how: dict[str, Any] = {"engine": engine, "threads": threads, "memory": memory}
    extra = per_axis(output_padding, n_axes, "output_padding", minimum=0)
    return _convolve(n_axes, input, weight, bias, stride, padding, dilation, groups, extra, **how)


@over_axes(2, _conv)
def conv2d() -> None:
    """Correlate planes with kernels, as ``torch.nn.functional.conv2d`` does.

    Parameters
    ----------
    input : array_like of shape (C, H, W) or (N, C, H, W)
        float32 and float64 keep their type; integers are computed in float64. A dask array is not computed: the result
        is one too, whose tiles read what they need of it, with the same values at any chunking.
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
        Workers, and bytes beyond input and output, at most.

    Returns
    -------
    ndarray of shape (O, oH, oW) or (N, O, oH, oW)

    Raises
    ------
    GeometryError
        Shapes do not belong together, or the window does not fit.
    UsageError
        A word is unknown, or the engine declines this job.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.zeros((1, 3, 3), np.float32)
    >>> image[0, 1, 1] = 1
    >>> taps = np.arange(1.0, 10.0, dtype=np.float32).reshape(1, 1, 3, 3)
    >>> conv2d(image, taps, padding=1)[0].tolist()
    [[9.0, 8.0, 7.0], [6.0, 5.0, 4.0], [3.0, 2.0, 1.0]]
    """


@over_axes(1, _conv)
def conv1d() -> None:
    """Correlate signals (C, L) or (N, C, L) with ``weight`` (O, C/groups, k); otherwise as :func:`conv2d`.

    Examples
    --------
    >>> conv1d([[1.0, 2, 4]], [[[1.0, -1]]]).tolist()
    [[-1.0, -2.0]]
    """


@over_axes(3, _conv)
def conv3d() -> None:
    """Correlate volumes (C, D, H, W) or (N, C, D, H, W) with ``weight`` (O, C/groups, kD, kH, kW), as :func:`conv2d`.

    Examples
    --------
    >>> import numpy as np
    >>> conv3d(np.ones((1, 2, 3, 3)), np.ones((1, 1, 2, 2, 2))).tolist()
    [[[[8.0, 8.0], [8.0, 8.0]]]]
    """


@over_axes(1, _conv_transpose)
def conv_transpose1d() -> None:
    """Transposed convolution of (C, L) or (N, C, L) with ``weight`` (C, O/groups, k); see :func:`conv_transpose2d`.

    Examples
    --------
    >>> conv_transpose1d([[1.0, 2]], [[[1.0, 10, 100]]], stride=2).tolist()
    [[1.0, 10.0, 102.0, 20.0, 200.0]]
    """


@over_axes(2, _conv_transpose)
def conv_transpose2d() -> None:
    """Transposed convolution, as ``torch.nn.functional.conv_transpose2d``: each sample stamps the kernel.

    Parameters
    ----------
    input : array_like of shape (C, H, W) or (N, C, H, W)
    weight : array_like of shape (C, O/groups, kH, kW)
    bias : array_like of shape (O,), optional
    stride, dilation : int or (int, int)
    padding : int, (int, int), pairs or str
        Cut from the result; ``"same"`` makes its size ``input * stride``.
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
    >>> conv_transpose2d([[[1.0, 2]]], [[[[1.0, 1]]]], stride=(1, 2)).tolist()
    [[[1.0, 1.0, 2.0, 2.0]]]
    """


@over_axes(3, _conv_transpose)
def conv_transpose3d() -> None:
    """Transposed convolution of (C, D, H, W) or (N, C, D, H, W); see :func:`conv_transpose2d`.

    Examples
    --------
    >>> conv_transpose3d([[[[3.0]]]], [[[[[1.0]], [[1.0]]]]]).ravel().tolist()
    [3.0, 3.0]
    """


def _convolve(
    n_axes: int,
    image: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None,
    stride: Size,
    padding: PaddingLike,
    dilation: Size,
    groups: int,
    extra: tuple[int, ...] | None,
    *,
    padding_mode: Any = "zeros",
    **how: Any,
) -> NDArray[Any]:
    """Convolve over one to three axes; transposed where there is an ``extra``, the output padding."""
    samples, taps, batched = as_samples(image, weight, n_axes)
    axes, kernel = samples.shape[2:], taps.shape[2:]
    steps, gaps = per_axis(stride, n_axes, "stride"), per_axis(dilation, n_axes, "dilation")
    words, border = padding_pairs(padding, n_axes), parse_border(word(padding_mode, "padding_mode"))
    groups, how["engine"] = whole(groups, "groups"), word(how["engine"], "engine")
    for limit in ("threads", "memory"):
        how[limit] = None if how[limit] is None else whole(how[limit], limit, most=2**63 - 1)
    bias = None if bias is None else as_array(bias, "bias")
    more, window = extra or (0,) * n_axes, (axes, kernel, steps, gaps)
    pads = resolve_padding(words, *window) if extra is None else resolve_transpose_padding(words, *window, more)
    if is_lazy(samples):
        from convcli.engine.lazy import convolve_lazily

        if extra is not None:
            raise UsageError("a transposed convolution takes no dask array", hint="input.compute()")
        lines = tuple(map(Axis, axes, kernel, steps, gaps, (before for before, _ in pads)))
        # dask runs as many tiles at once as there are cores, so each has one thread unless told otherwise.
        how["threads"] = how["threads"] or 1
        how["bias"], how["groups"] = bias, groups
        tile = partial(_convolve, n_axes, stride=steps, padding=0, dilation=gaps, extra=None, **how)
        lazy: NDArray[Any] = convolve_lazily(samples, taps, lines, pads, border, tile)
        return lazy if batched else lazy[0]
    # A signal is an image of one row, so one set of algorithms serves both.
    if n_axes == 1:
        samples, taps = samples[:, :, None], taps[:, :, None]
        steps, gaps, pads, more = (1, *steps), (1, *gaps), ((0, 0), *pads), (0, *more)
    options = {
        # A plan is for rows and columns; the depth of a volume is run through plane by plane.
        "stride": steps[-2:],
        "padding": pads[-2:],
        "dilation": gaps[-2:],
        "groups": groups,
        "border": border,
        "transposed": extra is not None,
        "output_padding": more[-2:],
        "dtype": str(samples.dtype),
        "input_dtype": str(samples.dtype),
        **how,
    }
    if n_axes < 3:
        maps = run_batch(samples, taps, bias, options)
        maps = maps[:, :, 0] if n_axes == 1 else maps
    else:
        moves = {"stride": steps[0], "dilation": gaps[0]}
        length = output_px(axes[0], kernel[0], pads=pads[0], extra=extra[0] if extra else None, **moves)
        depth = axis_phases(kernel[0], pads[0], output_px=length, transposed=extra is not None, **moves)
        maps = run_volumes(samples, taps, bias, depth, options)
    return maps if batched else maps[0]
