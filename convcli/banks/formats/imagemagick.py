"""ImageMagick's kernels: ``3x3+1+1: 0,1,0 …`` (NumPy)."""

from __future__ import annotations

import re

import numpy as np

from convcli.banks.bank import KernelBank
from convcli.banks.formats.exported import Exported, joined, matrices, text_file, without_bias
from convcli.banks.formats.literal import Literal, Rows, anchored, in_rows, number, numbered, shortened
from convcli.banks.raw import RawKernel
from convcli.banks.rotation import rotate_taps
from convcli.banks.spec import MAGICK_HEAD
from convcli.errors import KernelError


def parse(text: str, name: str) -> Literal:
    """Read ``WxH+X+Y: taps``, lists with ``;``, ``nan`` or ``-`` holes, ``@ > <`` rotations."""
    kernels: list[RawKernel] = []
    notes: list[str] = []
    for part in (part for part in re.split(r"\s*;\s*", text.strip()) if part):
        head = MAGICK_HEAD.match(part)
        if head is None:
            raise KernelError(
                f"'{shortened(part)}': expected 'WxH: taps'", hint="for example '3x3: 0,1,0 1,-4,1 0,1,0'"
            )
        width = int(head.group(1))
        height = int(head.group(2) or width)  # '3: …' is 3x3
        rows = _rows(part[head.end() :], width, height, notes)
        rows = _at_origin(rows, head, notes)
        kernels += [RawKernel(name, [turned], None) for turned in _turns(rows, head.group(5))]
    notes.append("ImageMagick's -morphology Correlate uses these taps; Convolve would turn them by 180°")
    return Literal(numbered(kernels), tuple(dict.fromkeys(notes)))


def _rows(text: str, width: int, height: int, notes: list[str]) -> Rows:
    tokens = [token for token in re.split(r"[\s,]+", text.strip()) if token]
    if width * height != len(tokens):
        raise KernelError(
            f"an ImageMagick kernel of {width}x{height} needs {width * height} taps, {len(tokens)} are given",
            expected=width * height,
            taps=len(tokens),
        )
    # Holes are no part of the neighbourhood: for a sum they are taps of 0.
    holes = [token.lower() in ("nan", "-") for token in tokens]
    if any(holes):
        notes.append(
            f"{sum(holes)} hole{'s' if sum(holes) > 1 else ''} (nan or -) of the ImageMagick kernel: taps of 0 here"
        )
    values = [
        0.0 if hole else number(token, 1, "ImageMagick kernel") for hole, token in zip(holes, tokens, strict=True)
    ]
    return in_rows(values, width)


def _at_origin(rows: Rows, head: re.Match[str], notes: list[str]) -> Rows:
    """Move the tap at the given origin to (k-1)//2 by padding zeros around."""
    # Without an origin ImageMagick's ParseKernelArray takes (k-1)/2, as we do.
    if head.group(3) is None:
        return rows
    height, width = len(rows), len(rows[0])
    x, y = int(head.group(3)), int(head.group(4) or head.group(3))
    if not (0 <= x < width and 0 <= y < height):
        raise KernelError(f"the origin +{x}+{y} lies outside the {width}x{height} kernel", x=x, y=y)
    moved = anchored(rows, y, x)
    if moved != rows:
        notes.append(f"padded with zeros to keep the origin +{x}+{y} of the {width}x{height} kernel")
    return moved


def _turns(rows: Rows, flag: str | None) -> list[Rows]:
    if flag == "@" and (len(rows), len(rows[0])) != (3, 3):
        raise KernelError(f"'@' turns 3x3 kernels only, this one is {len(rows[0])}x{len(rows)}")
    # '>' turns by 0, 90, 180, 270 degrees; '<' pairs the opposite ones: 0, 180, 90, 270. All turn clockwise.
    degrees = {"@": range(0, 360, 45), ">": range(0, 360, 90), "<": (0, 180, 90, 270)}.get(flag or "", (0,))
    return [rotate_taps(np.array(rows), -angle)[0].tolist() for angle in degrees]


def write_imagemagick(bank: KernelBank, rounding: bool) -> Exported:
    """Write kernels with their origin, ``;`` between several."""
    notes: tuple[str, ...] = ("run: -morphology Correlate (Convolve would turn the taps by 180°)",)
    if bank.n_kernels > 1:
        notes += (
            "with several kernels ImageMagick runs one after the other, unless -define morphology:compose=Lighten",
        )
    texts = []
    for matrix in matrices(bank, "an ImageMagick kernel"):
        height, width = matrix.shape
        # With its origin, so that nothing is left to a default.
        texts.append(f"{width}x{height}+{(width - 1) // 2}+{(height - 1) // 2}: {joined(matrix, ',', ' ')}")
    return text_file(texts, (*notes, *without_bias(bank, "an ImageMagick kernel", rounding)), mark="; ")
