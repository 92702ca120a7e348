"""FFmpeg's ``convolution`` filter: integers and one divisor, 3x3 5x5 7x7 squares or rows and columns (NumPy)."""

from __future__ import annotations

import math
import re

import numpy as np

from convcli.banks.bank import Array, KernelBank, by, pad_to
from convcli.banks.formats.exported import Exported, matrices, text_file
from convcli.banks.formats.literal import Literal, in_rows, numbered, on_one_line, parse_rows, read_number
from convcli.banks.numbers import format_number
from convcli.banks.raw import RawKernel
from convcli.errors import KernelError

#: Taps of its modes row and column; sizes and defaults here are those of vf_convolution.c.
_LONGEST_ROW = 49
#: Largest coefficient when rounding: 49 taps of it times 255 stay in FFmpeg's 32-bit sums.
_LARGEST = 2**14


def parse(text: str, name: str) -> Literal:
    """Read the filter's options: ``0m='0 1 0 …':0rdiv=1/16:0bias=128:0mode=row``, lines are kernels."""
    lines = [line for line in (line.strip() for line in text.splitlines()) if line and not line.startswith("#")]
    kernels: list[RawKernel] = []
    notes: list[str] = []
    for line in lines:
        kernels += _line(line, name, notes)
    kernels = numbered(kernels) if len(lines) > 1 else kernels
    return Literal(kernels, tuple(dict.fromkeys(notes)))


#: Options by their place, for values without a name.
_ORDER = [f"{plane}{option}" for option in ("m", "rdiv", "bias", "mode") for plane in range(4)]


def _line(line: str, name: str, notes: list[str]) -> list[RawKernel]:
    body = re.sub(r"^.*?convolution\s*=\s*", "", line)
    body = re.sub(r"['\"]", "", body).strip()
    options: dict[str, str] = {}
    for index, part in enumerate(body.split(":")):
        key, equals, value = part.partition("=")
        key = key.strip() if equals else (_ORDER[index] if index < 16 else "")
        if key not in _ORDER:
            raise KernelError(f"'{on_one_line(line)}': '{on_one_line(part)}' is not an option of FFmpeg's convolution")
        options[key] = (value if equals else part).strip()
    planes = [plane for plane in range(4) if f"{plane}m" in options]
    if not planes:
        raise KernelError(f"'{on_one_line(line)}': no matrix", hint="0m='0 -1 0 -1 5 -1 0 -1 0'")
    kernels = [_plane(options, plane, name) for plane in planes]
    if all(kernel == kernels[0] for kernel in kernels):
        return kernels[:1]
    notes.append("FFmpeg's planes of an RGB image are green, blue, red: plane0 was meant for green")
    return [kernel._replace(name=f"plane{plane}") for plane, kernel in zip(planes, kernels, strict=True)]


def _plane(options: dict[str, str], plane: int, name: str) -> RawKernel:
    taps = parse_rows(options[f"{plane}m"], f"FFmpeg {plane}m")[0]
    mode = options.get(f"{plane}mode", "square")
    side = math.isqrt(len(taps))
    widths = {"row": len(taps), "column": 1}
    if mode not in widths and side * side != len(taps):
        raise KernelError(f"FFmpeg {plane}m has {len(taps)} numbers, which is not a square", taps=len(taps))
    rdiv, bias = (read_number(options.get(f"{plane}{key}", "0"), f"FFmpeg plane {plane}") for key in ("rdiv", "bias"))
    total = sum(taps)
    # rdiv 0 means 1 over the sum, or 1 where the sum is 0.
    scale = rdiv or (1.0 / total if total else 1.0)
    # A common divisor is divided by, not multiplied with its rounded inverse: 1/16 stays exact for 9 or 255 too.
    inverse = 1.0 / scale
    divisor = round(inverse) if abs(inverse - round(inverse)) < 1e-9 * abs(inverse) and round(inverse) else None
    scaled = [tap / divisor if divisor else tap * scale for tap in taps]
    return RawKernel(name, [in_rows(scaled, widths.get(mode, side))], bias or None)


def write_ffmpeg(bank: KernelBank, rounding: bool) -> Exported:
    """Write a filter for each kernel, with the same matrix for all four planes."""
    kernels = matrices(bank, "FFmpeg's convolution")
    notes = ["FFmpeg's borders are mirrored (reflect), whatever is asked for here"]
    lines = []
    for index, name in enumerate(bank.kernel_names):
        taps, mode = _fitted(kernels[index], name, notes)
        whole, divisor = _integers(taps, name, rounding, notes)
        matrix = " ".join(str(int(tap)) for tap in whole.ravel())
        total = int(whole.sum()) or 1
        if abs(divisor - total) > 1e-9 * divisor:
            notes.append(f"'{name}' needs rdiv=1/{divisor:g}, which FFmpeg before 6 does not heed (it takes 1/{total})")
        options = {"m": f"'{matrix}'", "rdiv": format_number(1 / divisor)}
        if bank.bias is not None and bank.bias[index]:
            options["bias"] = format_number(bank.bias[index])
        if mode != "square":
            options["mode"] = mode
        every = (f"{plane}{option}={value}" for option, value in options.items() for plane in range(4))
        lines.append("convolution=" + ":".join(every))
    return text_file(lines, tuple(dict.fromkeys(notes)))


def _fitted(taps: Array, name: str, notes: list[str]) -> tuple[Array, str]:
    """Pad to a size that FFmpeg takes, anchor in the middle: an odd square up to 7, or an odd row or column."""
    before = taps.shape
    # A zero in front of an even axis puts the anchor, (k-1)//2, into the middle.
    taps = np.pad(taps, [(1 - size % 2, 0) for size in taps.shape])
    height, width = taps.shape
    if max(height, width) <= 7:
        side = max(3, height, width)
        taps, mode = pad_to(taps, (side, side)), "square"
    elif min(height, width) == 1 and max(height, width) <= _LONGEST_ROW:
        mode = "row" if height == 1 else "column"
    else:
        raise KernelError(
            f"'{name}' is {by(before)}; FFmpeg's convolution takes squares to 7x7, rows and columns to 49",
            hint="crop=N, or another format",
            name=name,
        )
    if taps.shape != before:
        notes.append(f"'{name}' {by(before)} is padded with zeros to {by(taps.shape)}")
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
