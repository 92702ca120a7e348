"""FFmpeg's ``convolution`` filter: integers and one divisor, 3x3 5x5 7x7 squares or rows and columns (NumPy)."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from convcli.banks.bank import KernelBank, pad_to
from convcli.banks.formats.exported import Exported
from convcli.banks.numbers import format_number
from convcli.errors import KernelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array: TypeAlias = "NDArray[np.float64]"

_LONGEST_ROW = 49
#: Largest coefficient when rounding: 49 taps of it times 255 stay in FFmpeg's 32-bit sums.
_LARGEST = 2**14


def write(bank: KernelBank, rounding: bool) -> Exported:
    """Return one filter text a kernel, the same matrix for all four planes."""
    if bank.weight.ndim != 4 or bank.in_channels > 1:
        raise KernelError(f"'{bank.name}' has kernels of several planes, FFmpeg's convolution takes matrices")
    notes = ["FFmpeg's borders are mirrored (reflect), whatever is asked for here"]
    lines = []
    for index, name in enumerate(bank.kernel_names):
        taps, mode = _fitted(bank.weight[index, 0], name, notes)
        whole, divisor = _integers(taps, name, rounding, notes)
        matrix = " ".join(str(int(tap)) for tap in whole.ravel())
        total = int(whole.sum()) or 1
        if abs(divisor - total) > 1e-9 * divisor:
            notes.append(f"'{name}' needs rdiv=1/{divisor:g}, which FFmpeg before 6 does not heed (it takes 1/{total})")
        options = [f"{plane}m='{matrix}'" for plane in range(4)]
        options += [f"{plane}rdiv={format_number(1 / divisor)}" for plane in range(4)]
        if bank.bias is not None and bank.bias[index]:
            options += [f"{plane}bias={format_number(bank.bias[index])}" for plane in range(4)]
        if mode != "square":
            options += [f"{plane}mode={mode}" for plane in range(4)]
        lines.append("convolution=" + ":".join(options))
    return Exported(("\n".join(lines) + "\n").encode(), tuple(dict.fromkeys(notes)))


def _fitted(taps: Array, name: str, notes: list[str]) -> tuple[Array, str]:
    """Pad to what FFmpeg takes, keeping the anchor in the middle: an odd square up to 7, or an odd row or column."""
    height, width = taps.shape
    before = taps.shape
    taps = np.pad(taps, [(1 - size % 2, 0) for size in taps.shape])
    height, width = taps.shape
    if max(height, width) <= 7:
        side = max(3, height, width)
        taps, mode = pad_to(taps, (side, side)), "square"
    elif min(height, width) == 1 and max(height, width) <= _LONGEST_ROW:
        mode = "row" if height == 1 else "column"
    else:
        raise KernelError(
            f"'{name}' is {before[0]}x{before[1]}; FFmpeg's convolution takes squares to 7x7, rows and columns to 49",
            hint="crop=N, or another format",
            name=name,
        )
    if taps.shape != before:
        notes.append(f"'{name}' {before[0]}x{before[1]} is padded with zeros to {taps.shape[0]}x{taps.shape[1]}")
    return taps, mode


def _integers(taps: Array, name: str, rounding: bool, notes: list[str]) -> tuple[Array, float]:
    """Return whole coefficients and their divisor: exact if a divisor up to 4096 makes them so, else rounded."""
    largest = float(np.abs(taps).max())
    tolerance = 1e-12 * largest
    for divisor in range(1, 4097):
        whole = np.rint(taps * divisor)
        if np.abs(whole / divisor - taps).max() <= tolerance:
            return whole, float(divisor)
    divisor_found = float(_LARGEST / largest)
    whole = np.rint(taps * divisor_found)
    error = float(np.abs(whole / divisor_found - taps).max())
    if not rounding:
        raise KernelError(
            f"'{name}' has taps that are no integers with one divisor, and FFmpeg takes only those",
            hint=f"--round: the largest error of a tap would be {error:.3g}",
            error=error,
        )
    notes.append(f"'{name}' is rounded to integers / {divisor_found:.6g}: the largest error of a tap is {error:.3g}")
    return whole, divisor_found
