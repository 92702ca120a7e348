"""FFmpeg's ``convolution`` filter text (stdlib)."""

from __future__ import annotations

import math
import re

from convcli.banks.bankfile import RawKernel
from convcli.banks.formats.literal import Literal, parse_rows, shortened
from convcli.banks.numbers import parse_number
from convcli.errors import KernelError


def parse_ffmpeg(text: str, name: str) -> Literal:
    """Read FFmpeg's ``convolution`` options: ``0m='0 1 0 …':0rdiv=1/16:0bias=128:0mode=row``, lines are kernels."""
    lines = [line for line in (line.strip() for line in text.splitlines()) if line and not line.startswith("#")]
    kernels: list[RawKernel] = []
    notes: list[str] = []
    for line in lines:
        kernels += _ffmpeg_line(line, name, notes)
    if len(lines) > 1:
        kernels = [kernel._replace(name=str(index)) for index, kernel in enumerate(kernels, 1)]
    return Literal(kernels, tuple(dict.fromkeys(notes)))


_FFMPEG_ORDER = [f"{plane}{option}" for option in ("m", "rdiv", "bias", "mode") for plane in range(4)]


def _ffmpeg_line(line: str, name: str, notes: list[str]) -> list[RawKernel]:
    body = re.sub(r"^.*?convolution\s*=\s*", "", line)
    body = re.sub(r"['\"]", "", body).strip()
    options: dict[str, str] = {}
    for index, part in enumerate(body.split(":")):
        key, equals, value = part.partition("=")
        key = key.strip() if equals else (_FFMPEG_ORDER[index] if index < 16 else "")
        if key not in _FFMPEG_ORDER:
            raise KernelError(f"'{shortened(line)}': '{shortened(part)}' is not an option of FFmpeg's convolution")
        options[key] = (value if equals else part).strip()
    planes = [plane for plane in range(4) if f"{plane}m" in options]
    if not planes:
        raise KernelError(f"'{shortened(line)}': no matrix", hint="0m='0 -1 0 -1 5 -1 0 -1 0'")
    kernels = [_ffmpeg_plane(options, plane, name) for plane in planes]
    if all(kernel == kernels[0] for kernel in kernels):
        return kernels[:1]
    notes.append("FFmpeg's planes of an RGB image are green, blue, red: plane0 was meant for green")
    return [kernel._replace(name=f"plane{plane}") for plane, kernel in zip(planes, kernels, strict=True)]


def _ffmpeg_plane(options: dict[str, str], plane: int, name: str) -> RawKernel:
    taps = parse_rows(options[f"{plane}m"], f"FFmpeg {plane}m")[0]
    mode = options.get(f"{plane}mode", "square")
    side = math.isqrt(len(taps))
    if mode == "square" and side * side != len(taps):
        raise KernelError(f"FFmpeg {plane}m has {len(taps)} numbers, which is not a square", taps=len(taps))
    try:
        rdiv = parse_number(options.get(f"{plane}rdiv", "0"))
        bias = parse_number(options.get(f"{plane}bias", "0"))
    except ValueError as error:
        raise KernelError(f"FFmpeg plane {plane}: {error}") from None
    total = sum(taps)
    scale = rdiv or (1.0 / total if total else 1.0)
    # A common divisor is divided by, not multiplied with its rounded inverse: 1/16 stays exact for 9 or 255 too.
    inverse = 1.0 / scale
    divisor = round(inverse) if abs(inverse - round(inverse)) < 1e-9 * abs(inverse) and round(inverse) else None
    scaled = [tap / divisor if divisor else tap * scale for tap in taps]
    if mode == "row":
        rows = [scaled]
    elif mode == "column":
        rows = [[tap] for tap in scaled]
    else:
        rows = [scaled[row * side : (row + 1) * side] for row in range(side)]
    return RawKernel(name, [rows], bias or None)
