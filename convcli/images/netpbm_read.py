"""Binary PGM, PPM and PFM, read as they are stored: any maxval, 16 bits, float; by windows where the file is large.

Pillow stretches 16-bit colour to 8 bits and an odd maxval to 255; here samples keep their units and maxval is white.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from convcli.errors import ImageError
from convcli.images.info import ImageInfo
from convcli.images.windows import RawRows

if TYPE_CHECKING:
    from numpy.typing import NDArray

_KINDS = {b"P5": 1, b"P6": 3, b"Pf": 1, b"PF": 3}
_HEAD_BYTES = 65536
_COMMENT = re.compile(rb"#[^\n]*\n?")


class NetpbmDecoder:
    """An opened PGM, PPM or PFM.

    Raises
    ------
    ImageError
        The header is damaged, or the file is shorter than it says.
    """

    def __init__(self, file: BinaryIO, frame: int) -> None:
        file.seek(0)
        head = file.read(_HEAD_BYTES)
        kind = head[:2]
        tokens, offset = _tokens(head)
        is_float = kind in (b"Pf", b"PF")
        width, height = _number(tokens[0], "width"), _number(tokens[1], "height")
        if is_float:
            dtype, white = _float_type(tokens[2])
        else:
            white = _number(tokens[2], "maxval")
            if white > 65535:
                raise ImageError(f"has maxval {white}", hint="PGM and PPM go to 65535")
            dtype = np.dtype("u1" if white < 256 else ">u2")
        if frame:
            raise ImageError(f"has no frame {frame}", hint="frames count from 0")
        n_planes = _KINDS[kind]
        n_bytes = width * height * n_planes * dtype.itemsize
        n_there = file.seek(0, 2) - offset
        if n_there < n_bytes:
            raise ImageError(
                f"is truncated: {n_bytes - n_there:,} of {n_bytes:,} bytes missing", hint="copy or download it again"
            )
        notes = () if is_float or white in (255, 65535) else (f"white is maxval {white}",)
        self._rows = rows = RawRows(file, offset, (height, width, n_planes), dtype, upside_down=is_float)
        self.info = ImageInfo(
            format="pfm" if is_float else "ppm",
            mode=kind.decode(),
            width_px=width,
            height_px=height,
            plane_names=("r", "g", "b") if n_planes == 3 else ("l",),
            dtype=rows.dtype.name,
            white=float(white),
            notes=notes,
        )

    def seek(self, frame: int) -> bool:  # noqa: ARG002 - one frame is all there is
        """Return False: another frame is opened anew."""
        return False

    def decode(self) -> NDArray[Any]:
        """Return all samples (H, W, P), read-only."""
        samples = self._rows.samples(0, self.info.height_px)
        samples.flags.writeable = False
        return samples

    def window(self) -> RawRows:
        """Return the rows without reading them."""
        return self._rows

    def arrive(self, where: str) -> None:
        """Return None: there is nothing to decode."""


def _tokens(head: bytes) -> tuple[list[bytes], int]:
    """Return the three numbers of the header and the offset of the first sample."""
    tokens: list[bytes] = []
    at = 2
    while len(tokens) < 3:
        while at < len(head) and (head[at : at + 1].isspace() or head[at : at + 1] == b"#"):
            found = _COMMENT.match(head, at)
            at = found.end() if found else at + 1
        start = at
        while at < len(head) and not head[at : at + 1].isspace() and at - start < 32:
            at += 1
        if at == start or at >= len(head):
            raise ImageError("is truncated in its header", hint="copy or download the file again")
        tokens.append(head[start:at])
    return tokens, at + 1


def _number(token: bytes, name: str) -> int:
    if not token.isdigit() or len(token) > 10 or int(token) < 1:
        shown = token[:20].decode("ascii", "backslashreplace")
        raise ImageError(f"has {name} {shown!r} in its header", hint="the file is damaged")
    return int(token)


def _float_type(token: bytes) -> tuple[np.dtype[Any], float]:
    """Return the sample type by the sign of the scale (negative: little-endian)."""
    try:
        scale = float(token)
    except ValueError:
        scale = 0.0
    if not 0 < abs(scale) < float("inf"):
        raise ImageError(f"has scale {token[:20]!r} in its header", hint="the file is damaged")
    return np.dtype("<f4" if scale < 0 else ">f4"), 1.0
