"""Kernels as other programs write them on one line: MATLAB, JSON, G'MIC; ImageMagick and FFmpeg have own modules.

The taps are taken as written. Which of them a program flips is its affair: ImageMagick's ``-morphology Convolve`` and
G'MIC's ``convolve`` do, their ``Correlate``/``correlate``, libvips and FFmpeg do not; ``rotate=180`` turns them here.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

from convcli.banks.bankfile import FieldError, RawKernel, bank_from_data
from convcli.banks.formats.literal import Literal, parse_rows, shortened
from convcli.banks.numbers import parse_number
from convcli.banks.spec import FFMPEG, MAGICK_HEAD
from convcli.errors import KernelError

_MATLAB_NAME = re.compile(r"([A-Za-z]\w*)\s*(?:\(\s*:\s*,\s*:\s*,\s*(\d+)\s*\))?\s*=\s*")


def parse_literal(text: str, *, name: str = "matrix") -> Literal:
    """Read taps written on one line, in whichever syntax they are.

    Parameters
    ----------
    text : str
        For example ``1 0 -1; 2 0 -2``, ``[[1,0],[0,1]]``, ``3x3: 0,1,0 …``, ``(1,0,-1;2,0,-2)``, ``0m='0 1 0 …'``.
    name : str
        Name of the kernel when there is one.

    Returns
    -------
    Literal

    Raises
    ------
    KernelError
        With the row and the numbers that do not fit.

    Examples
    --------
    >>> parse_literal("1 0 -1; 2 0 -2").kernels[0].planes
    [[[1.0, 0.0, -1.0], [2.0, 0.0, -2.0]]]
    """
    stripped = text.strip()
    if FFMPEG.search(stripped):
        from convcli.banks.formats.ffmpeg import parse_ffmpeg

        return parse_ffmpeg(stripped, name)
    if MAGICK_HEAD.match(stripped):
        from convcli.banks.formats.magick import parse_magick

        return parse_magick(stripped, name)
    if stripped.startswith("("):
        return parse_gmic(stripped, name)
    if re.match(r"\[\s*\[", stripped):
        return _parse_json(stripped, name)
    return parse_matlab(stripped, name)


def parse_matlab(text: str, name: str) -> Literal:
    """Read ``[1 0 -1; 2 0 -2]``, with or without brackets, ``name =``, ``;`` behind and a ``/16`` or ``*2`` after."""
    kernels: list[RawKernel] = []
    position, text = 0, re.sub(r"%[^\n]*|\.\.\.\s*\n", "", text).strip()
    while position < len(text):
        match = _MATLAB_NAME.match(text, position)
        start = match.end() if match else position
        body, scale, position = _bracketed(text, start)
        rows = parse_rows(body, f"'{shortened(text)}'")
        planes = [[[tap * scale for tap in row] for row in rows] if scale != 1.0 else rows]
        label = (match.group(2) and f"{match.group(1)}{match.group(2)}") or match.group(1) if match else None
        kernels.append(RawKernel(label or name, planes, None))
    if len(kernels) > 1 and len({kernel.name for kernel in kernels}) == 1:
        kernels = [kernel._replace(name=f"{name}{index}") for index, kernel in enumerate(kernels, 1)]
    return Literal(kernels, _row_note(text, kernels))


def _bracketed(text: str, start: int) -> tuple[str, float, int]:
    """Return what is inside the brackets at ``start`` (or all of it), the factor behind, and where it ends."""
    if text[start : start + 1] != "[":
        return text[start:], 1.0, len(text)
    close = text.find("]", start)
    if close < 0:
        raise KernelError(f"'{shortened(text)}': the bracket is not closed")
    behind = re.compile(r"\s*(?:\.?([*/])\s*([^;\n\s]+))?\s*;?\s*").match(text, close + 1)
    scale = 1.0
    if behind and behind.group(1):
        try:
            scale = parse_number(f"1{behind.group(1)}{behind.group(2)}")
        except ValueError as error:
            raise KernelError(f"'{shortened(text)}': {error}") from None
    end = behind.end() if behind else close + 1
    if end < len(text) and not _MATLAB_NAME.match(text, end) and text[end] != "[":
        raise KernelError(f"'{shortened(text)}': cannot read '{shortened(text[end:])}' behind the bracket")
    return text[start + 1 : close], scale, end


def _row_note(text: str, kernels: list[RawKernel]) -> tuple[str, ...]:
    taps = len(kernels[0].planes[0][0])
    side = math.isqrt(taps)
    if len(kernels) > 1 or len(kernels[0].planes[0]) > 1 or side * side != taps or side < 3 or "[" in text:
        return ()
    return (f"{taps} numbers without ';' are one row (1x{taps}); write ';' between rows for {side}x{side}",)


def _parse_json(text: str, name: str) -> Literal:
    # Rational text inside a literal needs no quotes here: [[1/2, -sqrt(2)]].
    quoted = re.sub(r"[^\[\],\s\"][^\[\],\"]*", lambda match: json.dumps(match.group(0).strip()), text)
    try:
        data: Any = json.loads(quoted)
    except (ValueError, RecursionError) as error:
        if re.match(r"\[\s*\[[^\]]*;", text):
            raise KernelError(
                f"'{shortened(text)}': ';' inside double brackets", hint="[1 2; 3 4] or [[1,2],[3,4]]"
            ) from None
        position = getattr(error, "colno", 1)
        raise KernelError(f"'{shortened(text)}': not a list of rows at character {position}") from None
    depth = _depth(data)
    entries = [data] if depth <= 2 else (list(data) if depth == 3 else data)
    if depth > 4:
        raise KernelError(
            f"'{shortened(text)}': {depth} nested lists; a bank has at most 4 (kernel, plane, row, column)"
        )
    tables = [{"taps": entry, **({} if len(entries) > 1 else {"name": name})} for entry in entries]
    try:
        return Literal(bank_from_data({"kernel": tables}, name=name).kernels)
    except FieldError as error:
        raise KernelError(f"'{shortened(text)}': {error.field}: {error.reason}") from None


def _depth(data: Any) -> int:
    depth = 0
    while isinstance(data, list):
        depth, data = depth + 1, data[0] if data else None
    return depth


def parse_gmic(text: str, name: str) -> Literal:
    """Read G'MIC's ``(1,0,-1;2,0,-2)``: ``;`` ends rows, ``^`` channels; several literals are several kernels."""
    parts = re.findall(r"\(([^()]*)\)", text)
    if not parts or re.sub(r"\([^()]*\)|[\s,]", "", text):
        raise KernelError(f"'{shortened(text)}': not a G'MIC literal", hint="for example (1,0,-1;2,0,-2;1,0,-1)")
    kernels: list[RawKernel] = []
    for index, part in enumerate(parts, 1):
        if "/" in part:
            raise KernelError(
                f"'{shortened(text)}': '/' separates slices of a volume in G'MIC, and this kernel would be 3-D",
                hint="write decimals, or [1/16 2/16] for fractions",
            )
        planes = [parse_rows(plane, f"'{shortened(text)}'") for plane in part.split("^")]
        if len({(len(plane), len(plane[0])) for plane in planes}) > 1:
            raise KernelError(f"'{shortened(text)}': channels of different sizes")
        kernels.append(RawKernel(name if len(parts) == 1 else str(index), planes, None))
    return Literal(kernels, ("G'MIC's correlate uses these taps; its convolve would turn them by 180°",))
