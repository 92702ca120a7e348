"""Kernels as other programs write them on one line: MATLAB, JSON, ImageMagick, G'MIC and FFmpeg (stdlib).

The taps are taken as written. Which of them a program flips is its affair: ImageMagick's ``-morphology Convolve`` and
G'MIC's ``convolve`` do, their ``Correlate``/``correlate``, libvips and FFmpeg do not; ``rotate=180`` turns them here.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, NamedTuple

from convcli.banks.bankfile import FieldError, RawKernel, bank_from_data
from convcli.banks.numbers import parse_number
from convcli.errors import KernelError

Rows = list[list[float]]

FFMPEG = re.compile(r"(?:^|[\s'\"])convolution\s*=|(?:^|[\s:'\"=])[0-3](?:m|rdiv|bias|mode)\s*=")
_MAGICK_HEAD = re.compile(r"\s*(\d+)(?:x(\d+))?([-+]\d+)?([-+]\d+)?([@<>])?\s*:\s*")
_MATLAB_NAME = re.compile(r"([A-Za-z]\w*)\s*(?:\(\s*:\s*,\s*:\s*,\s*(\d+)\s*\))?\s*=\s*")


class Literal(NamedTuple):
    """What a literal holds: kernels, which syntax it was, and what has to be said about it."""

    kernels: list[RawKernel]
    syntax: str
    notes: tuple[str, ...] = ()


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
    >>> parse_literal("3x1+0+0: 1,nan,3").syntax
    'imagemagick'
    """
    stripped = text.strip()
    if FFMPEG.search(stripped):
        return parse_ffmpeg(stripped, name)
    if _MAGICK_HEAD.match(stripped):
        return parse_magick(stripped, name)
    if stripped.startswith("("):
        return parse_gmic(stripped, name)
    if re.match(r"\[\s*\[", stripped):
        return _parse_json(stripped, name)
    return parse_matlab(stripped, name)


def parse_rows(text: str, what: str) -> Rows:
    """Read rows separated by ``;`` or line ends, numbers by spaces or commas; all rows as long as the first."""
    lines = [line.strip() for line in re.split(r"[;\n\r]+", text)]
    rows = [
        [_number(token, number, what) for token in _tokens(line)]
        for number, line in enumerate((line for line in lines if line), 1)
    ]
    if not rows:
        raise KernelError(f"{what}: no numbers")
    for number, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise KernelError(
                f"{what}: ragged rows: row 1 has {_count(len(rows[0]))}, row {number} has {_count(len(row))}",
                hint="every row needs the same number of taps; ';' ends a row",
                row=number,
                columns=len(row),
                expected=len(rows[0]),
            )
    return rows


def _tokens(line: str) -> list[str]:
    if line.startswith(",") or line.endswith(",") or re.search(r",\s*,", line):
        return re.split(r"\s*,\s*", line)  # an empty one is complained about as a number
    return [token for token in re.split(r"\s*,\s*|\s+", line) if token]


def _number(token: str, row: int, what: str) -> float:
    try:
        return parse_number(token)
    except ValueError as error:
        if token.lower().lstrip("+-") in ("nan", "inf", "infinity"):
            raise KernelError(f"{what}: row {row}: {token} is not finite: taps must be finite", row=row) from None
        raise KernelError(f"{what}: row {row}: {error}", row=row) from None


def _count(numbers: int) -> str:
    return f"{numbers} number{'' if numbers == 1 else 's'}"


def parse_matlab(text: str, name: str) -> Literal:
    """Read ``[1 0 -1; 2 0 -2]``, with or without brackets, ``name =``, ``;`` behind and a ``/16`` or ``*2`` after."""
    kernels: list[RawKernel] = []
    position, text = 0, re.sub(r"%[^\n]*|\.\.\.\s*\n", "", text).strip()
    while position < len(text):
        match = _MATLAB_NAME.match(text, position)
        start = match.end() if match else position
        body, scale, position = _bracketed(text, start)
        rows = parse_rows(body, f"'{_short(text)}'")
        planes = [[[tap * scale for tap in row] for row in rows] if scale != 1.0 else rows]
        label = (match.group(2) and f"{match.group(1)}{match.group(2)}") or match.group(1) if match else None
        kernels.append(RawKernel(label or name, planes, None))
    if len(kernels) > 1 and len({kernel.name for kernel in kernels}) == 1:
        kernels = [kernel._replace(name=f"{name}{index}") for index, kernel in enumerate(kernels, 1)]
    return Literal(kernels, "matlab", _row_note(text, kernels))


def _bracketed(text: str, start: int) -> tuple[str, float, int]:
    """Return what is inside the brackets at ``start`` (or all of it), the factor behind, and where it ends."""
    if text[start : start + 1] != "[":
        return text[start:], 1.0, len(text)
    close = text.find("]", start)
    if close < 0:
        raise KernelError(f"'{_short(text)}': the bracket is not closed")
    behind = re.compile(r"\s*(?:\.?([*/])\s*([^;\n\s]+))?\s*;?\s*").match(text, close + 1)
    scale = 1.0
    if behind and behind.group(1):
        try:
            scale = parse_number(f"1{behind.group(1)}{behind.group(2)}")
        except ValueError as error:
            raise KernelError(f"'{_short(text)}': {error}") from None
    end = behind.end() if behind else close + 1
    if end < len(text) and not _MATLAB_NAME.match(text, end) and text[end] != "[":
        raise KernelError(f"'{_short(text)}': cannot read '{_short(text[end:])}' behind the bracket")
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
                f"'{_short(text)}': ';' inside double brackets", hint="[1 2; 3 4] or [[1,2],[3,4]]"
            ) from None
        position = getattr(error, "colno", 1)
        raise KernelError(f"'{_short(text)}': not a list of rows at character {position}") from None
    depth = _depth(data)
    entries = [data] if depth <= 2 else (list(data) if depth == 3 else data)
    if depth > 4:
        raise KernelError(f"'{_short(text)}': {depth} nested lists; a bank has at most 4 (kernel, plane, row, column)")
    tables = [{"taps": entry, **({} if len(entries) > 1 else {"name": name})} for entry in entries]
    try:
        return Literal(bank_from_data({"kernel": tables}, name=name).kernels, "json")
    except FieldError as error:
        raise KernelError(f"'{_short(text)}': {error.field}: {error.reason}") from None


def _depth(data: Any) -> int:
    depth = 0
    while isinstance(data, list):
        depth, data = depth + 1, data[0] if data else None
    return depth


def parse_magick(text: str, name: str) -> Literal:
    """Read ImageMagick's ``WxH+X+Y: taps``, lists with ``;``, ``nan`` or ``-`` holes, ``@ > <`` rotations."""
    kernels: list[RawKernel] = []
    notes: list[str] = []
    for part in (part for part in re.split(r"\s*;\s*", text.strip()) if part):
        head = _MAGICK_HEAD.match(part)
        if head is None:
            raise KernelError(f"'{_short(part)}': expected 'WxH: taps'", hint="for example '3x3: 0,1,0 1,-4,1 0,1,0'")
        width = int(head.group(1))
        height = int(head.group(2) or width)
        rows = _magick_rows(part[head.end() :], width, height, notes)
        rows = _magick_origin(rows, head, notes)
        kernels += [RawKernel(name, [turned], None) for turned in _magick_turns(rows, head.group(5))]
    if len(kernels) > 1:
        kernels = [kernel._replace(name=str(index)) for index, kernel in enumerate(kernels, 1)]
    notes.append("ImageMagick's -morphology Correlate uses these taps; Convolve would turn them by 180°")
    return Literal(kernels, "imagemagick", tuple(dict.fromkeys(notes)))


def _magick_rows(text: str, width: int, height: int, notes: list[str]) -> Rows:
    tokens = [token for token in re.split(r"[\s,]+", text.strip()) if token]
    if width * height != len(tokens):
        raise KernelError(
            f"an ImageMagick kernel of {width}x{height} needs {width * height} taps, {len(tokens)} are given",
            expected=width * height,
            taps=len(tokens),
        )
    holes = [token.lower() in ("nan", "-") for token in tokens]
    if any(holes):
        notes.append(
            f"{sum(holes)} hole{'s' if sum(holes) > 1 else ''} (nan or -) of the ImageMagick kernel: taps of 0 here"
        )
    values = [
        0.0 if hole else _number(token, 1, "ImageMagick kernel") for hole, token in zip(holes, tokens, strict=True)
    ]
    return [values[row * width : (row + 1) * width] for row in range(height)]


def _magick_origin(rows: Rows, head: re.Match[str], notes: list[str]) -> Rows:
    """Move the tap at the given origin to (k-1)//2 by padding zeros around."""
    if head.group(3) is None:
        return rows
    height, width = len(rows), len(rows[0])
    x, y = int(head.group(3)), int(head.group(4) or head.group(3))
    if not (0 <= x < width and 0 <= y < height):
        raise KernelError(f"the origin +{x}+{y} lies outside the {width}x{height} kernel", x=x, y=y)
    left, right = _origin_pads(width, x)
    top, bottom = _origin_pads(height, y)
    if left + right + top + bottom:
        notes.append(f"padded with zeros to keep the origin +{x}+{y} of the {width}x{height} kernel")
    blank = [0.0] * (left + width + right)
    middle = [[0.0] * left + row + [0.0] * right for row in rows]
    return [list(blank) for _ in range(top)] + middle + [list(blank) for _ in range(bottom)]


def _origin_pads(size: int, anchor: int) -> tuple[int, int]:
    behind = size - 1 - anchor
    return max(0, behind - 1 - anchor), max(0, anchor - behind)


def _magick_turns(rows: Rows, flag: str | None) -> list[Rows]:
    if flag is None:
        return [rows]
    if flag == "@":
        if (len(rows), len(rows[0])) != (3, 3):
            raise KernelError(f"'@' turns 3x3 kernels only, this one is {len(rows[0])}x{len(rows)}")
        turns = [rows]
        for _ in range(7):
            turns.append(_ring_clockwise(turns[-1]))
        return turns
    quarter = [rows]
    for _ in range(3):
        quarter.append([list(column) for column in zip(*reversed(quarter[-1]), strict=True)])
    order = (0, 1, 2, 3) if flag == ">" else (0, 2, 1, 3)
    return [quarter[turn] for turn in order]


def _ring_clockwise(rows: Rows) -> Rows:
    ring = [(0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0)]
    turned = [list(row) for row in rows]
    for (row, column), (old_row, old_column) in zip(ring, ring[-1:] + ring[:-1], strict=True):
        turned[row][column] = rows[old_row][old_column]
    return turned


def parse_gmic(text: str, name: str) -> Literal:
    """Read G'MIC's ``(1,0,-1;2,0,-2)``: ``;`` ends rows, ``^`` channels; several literals are several kernels."""
    parts = re.findall(r"\(([^()]*)\)", text)
    if not parts or re.sub(r"\([^()]*\)|[\s,]", "", text):
        raise KernelError(f"'{_short(text)}': not a G'MIC literal", hint="for example (1,0,-1;2,0,-2;1,0,-1)")
    kernels: list[RawKernel] = []
    for index, part in enumerate(parts, 1):
        if "/" in part:
            raise KernelError(
                f"'{_short(text)}': '/' separates slices of a volume in G'MIC, and this kernel would be 3-D",
                hint="write decimals, or [1/16 2/16] for fractions",
            )
        planes = [parse_rows(plane, f"'{_short(text)}'") for plane in part.split("^")]
        if len({(len(plane), len(plane[0])) for plane in planes}) > 1:
            raise KernelError(f"'{_short(text)}': channels of different sizes")
        kernels.append(RawKernel(name if len(parts) == 1 else str(index), planes, None))
    return Literal(kernels, "gmic", ("G'MIC's correlate uses these taps; its convolve would turn them by 180°",))


def parse_ffmpeg(text: str, name: str) -> Literal:
    """Read FFmpeg's ``convolution`` options: ``0m='0 1 0 …':0rdiv=1/16:0bias=128:0mode=row``, lines are kernels."""
    lines = [line for line in (line.strip() for line in text.splitlines()) if line and not line.startswith("#")]
    kernels: list[RawKernel] = []
    notes: list[str] = []
    for line in lines:
        kernels += _ffmpeg_line(line, name, notes)
    if len(lines) > 1:
        kernels = [kernel._replace(name=str(index)) for index, kernel in enumerate(kernels, 1)]
    return Literal(kernels, "ffmpeg", tuple(dict.fromkeys(notes)))


_FFMPEG_ORDER = [f"{plane}{option}" for option in ("m", "rdiv", "bias", "mode") for plane in range(4)]


def _ffmpeg_line(line: str, name: str, notes: list[str]) -> list[RawKernel]:
    body = re.sub(r"^.*?convolution\s*=\s*", "", line)
    body = re.sub(r"['\"]", "", body).strip()
    options: dict[str, str] = {}
    for index, part in enumerate(body.split(":")):
        key, equals, value = part.partition("=")
        key = key.strip() if equals else (_FFMPEG_ORDER[index] if index < 16 else "")
        if key not in _FFMPEG_ORDER:
            raise KernelError(f"'{_short(line)}': '{_short(part)}' is not an option of FFmpeg's convolution")
        options[key] = (value if equals else part).strip()
    planes = [plane for plane in range(4) if f"{plane}m" in options]
    if not planes:
        raise KernelError(f"'{_short(line)}': no matrix", hint="0m='0 -1 0 -1 5 -1 0 -1 0'")
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


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 50 else text[:47] + "..."
