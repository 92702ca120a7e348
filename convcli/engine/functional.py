"""torch's convolutions on NumPy arrays: its argument names, order, defaults and meaning.

Arrays are (C, …) or (N, C, …). float32 and float64 stay what they are; half precision is computed in and returned as
float32; integers are computed in and returned as float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from convcli.engine.borders import parse_border
from convcli.engine.plan import plan_conv
from convcli.engine.runner import prepare
from convcli.errors import GeometryError, UsageError
from convcli.geometry import resolve_padding

Size = int | Sequence[int]
PaddingLike = str | int | Sequence[int] | Sequence[tuple[int, int]]


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
        ``auto``, ``taps``, ``im2col``, ``banded``, ``separable``, ``fft`` or ``torch``.
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
    samples, taps, batched = as_samples(input, weight, 2)
    axes = samples.shape[2:]
    steps, gaps = per_axis(stride, 2, "stride"), per_axis(dilation, 2, "dilation")
    pads = padding_pairs(padding, axes, taps.shape[2:], steps, gaps)
    plan = plan_conv(
        (samples.shape[1], axes[0], axes[1]),
        taps,
        (steps[0], steps[1]),
        (pads[0], pads[1]),
        (gaps[0], gaps[1]),
        groups,
        parse_border(padding_mode),
        dtype=str(samples.dtype),
        input_dtype=str(samples.dtype),
        engine=engine,
        threads=threads,
        memory=memory,
    )
    runner = prepare(plan, taps, None if bias is None else np.asarray(bias))
    maps = np.empty((len(samples), *plan.output_shape), samples.dtype)
    for planes, out in zip(samples, maps, strict=True):
        runner.run(planes, out)
    return maps if batched else maps[0]


def as_samples(image: ArrayLike, weight: ArrayLike, n_axes: int) -> tuple[NDArray[Any], NDArray[Any], bool]:
    """Return (N, C, …) samples and weights in one floating type, and whether there was a batch axis.

    Raises
    ------
    GeometryError
        If the number of axes is wrong or an axis is empty.
    """
    samples, taps = np.asarray(image), np.asarray(weight)
    if samples.ndim not in (n_axes + 1, n_axes + 2):
        raise GeometryError(
            f"input of shape {samples.shape}: {n_axes + 1} axes (C, …) or {n_axes + 2} (N, C, …) are needed"
        )
    if taps.ndim != n_axes + 2:
        raise GeometryError(f"weight of shape {taps.shape}: {n_axes + 2} axes are needed")
    batched = samples.ndim == n_axes + 2
    dtype = float_type(samples.dtype)
    if samples.dtype != dtype:
        samples = samples.astype(dtype)
    return samples if batched else samples[None], taps, batched


def float_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type of the result: float32 and halves → float32, float64 and integers → float64.

    Raises
    ------
    UsageError
        For complex numbers and everything that is not a number.
    """
    if dtype.kind in "biu":
        return np.dtype(np.float64)
    if dtype.kind != "f":
        raise UsageError(f"samples of type {dtype} cannot be convolved", hint="integers or floats")
    return np.dtype(np.float64 if dtype.itemsize > 4 else np.float32)


def per_axis(value: Size, n_axes: int, name: str, *, minimum: int = 1) -> tuple[int, ...]:
    """Return one whole number per axis.

    Raises
    ------
    GeometryError
        If there are too many or too few, or one is below ``minimum``.
    """
    values = (value,) * n_axes if isinstance(value, int | np.integer) else tuple(value)
    if len(values) == 1:
        values *= n_axes
    if len(values) != n_axes or any(int(v) != v or v < minimum for v in values):
        raise GeometryError(
            f"{name} {value!r}: one whole number of at least {minimum}, or one for each of {n_axes} axes"
        )
    return tuple(int(v) for v in values)


def padding_pairs(
    padding: PaddingLike,
    input_px: Sequence[int],
    kernel_px: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
) -> tuple[tuple[int, int], ...]:
    """Return (before, after) per axis of any way to say it."""
    n_axes = len(input_px)
    if not isinstance(padding, str):
        if not isinstance(padding, int | np.integer) and any(isinstance(side, Sequence) for side in padding):
            padding = tuple((int(before), int(after)) for before, after in padding)  # type: ignore[misc]
        else:
            padding = tuple((p, p) for p in per_axis(padding, n_axes, "padding", minimum=0))  # type: ignore[arg-type]
    return resolve_padding(padding, input_px, kernel_px, stride, dilation)
