"""What a plan refuses: shapes that do not belong together, sums beyond the type's range, too little memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from convcli.engine.borders import Border
from convcli.engine.problem import format_bytes, format_size
from convcli.errors import GeometryError, UsageError
from convcli.geometry.arithmetic import Pair, check_groups, conv_output_px, conv_transpose_output_px

if TYPE_CHECKING:
    from numpy.typing import NDArray


def check_conv(
    input_shape: tuple[int, int, int],
    weight: NDArray[Any],
    stride: Pair,
    padding: tuple[Pair, Pair],
    dilation: Pair,
    groups: int,
    border: Border,
    transposed: bool,
    output_padding: Pair,
) -> tuple[int, int, int]:
    """Refuse what cannot be, and return the output's shape."""
    if weight.ndim != 4 or min(weight.shape) < 1:
        raise GeometryError(f"weight of shape {weight.shape}: four axes of at least 1 are needed (O, I/groups, kH, kW)")
    if min(input_shape) < 1:
        raise GeometryError(f"input of shape {input_shape} has no samples")
    if min(stride) < 1 or min(dilation) < 1:
        raise GeometryError(f"stride {stride} and dilation {dilation} must be at least 1")
    channels = input_shape[0]
    n_out = weight.shape[1] * groups if transposed else weight.shape[0]
    check_groups(channels, n_out, groups)
    expected = channels if transposed else channels // groups
    if weight.shape[0 if transposed else 1] != expected:
        found = weight.shape[0 if transposed else 1]
        raise GeometryError(
            f"weight {weight.shape} takes {found} planes per {'input' if transposed else 'group'}, "
            f"but {channels} planes in {groups} groups give {expected}",
            hint=f"groups={channels // found}" if not transposed and channels % found == 0 else None,
            in_channels=channels,
            groups=groups,
        )
    if transposed and border != Border("constant"):
        raise UsageError("a transposed convolution has no border but zeros", hint="--padding-mode zeros")
    sizes = []
    for axis in range(2):
        pad_px = sum(padding[axis])
        size, kernel = input_shape[1 + axis], weight.shape[2 + axis]
        if transposed:
            sizes.append(
                conv_transpose_output_px(
                    size,
                    kernel,
                    stride=stride[axis],
                    dilation=dilation[axis],
                    pad_px=pad_px,
                    output_padding=output_padding[axis],
                )
            )
        else:
            sizes.append(conv_output_px(size, kernel, stride=stride[axis], dilation=dilation[axis], pad_px=pad_px))
    return (n_out, sizes[0], sizes[1])


def check_range(bound: float, dtype: str, what: str) -> None:
    """Refuse maps that may leave the range of ``dtype``; NaN and infinity among the taps are the caller's own.

    Parameters
    ----------
    bound : float
        What no map exceeds.
    dtype : {"float32", "float64"}
    what : str
        What makes them so large, for the error.

    Raises
    ------
    UsageError
        If ``bound`` is finite and too large, or overflowed itself.
    """
    largest = float(np.finfo(dtype).max)
    if not bound > largest:
        return
    hint = "--dtype float64" if dtype == "float32" and bound <= np.finfo(np.float64).max else "smaller numbers"
    raise UsageError(f"{what}: maps may reach {bound:.4g}, and {dtype} ends at {largest:.4g}", hint=hint)


def too_little(what: str, n_bytes: int) -> UsageError:
    """Return the refusal of a convolution that needs so many bytes of memory at least."""
    return UsageError(
        f"{what} needs at least {format_bytes(n_bytes)} of memory", hint=f"--memory {format_size(n_bytes)}"
    )
