"""A check of JPEG data that the decoder mends in silence: scans cut short, restart markers lost.

libjpeg counts damage as a warning, fills the rest with grey, and Pillow passes no warning on. Two signs are looked
for: the order and number of restart markers (ITU-T T.81 §E.1.3), and a grey corner, where a scan may have ended early.
A scan that did takes bytes appended to it as data, and the picture changes; a whole one does not.
"""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from convcli.errors import ImageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EOI, _SOS, _DRI = b"\xff\xd9", 0xDA, 0xDD
_BASELINE = (0xC0, 0xC1)
_FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
_FILLER = bytes(range(1, 251)) * 40
_HINT = "copy or download the file again"


def check_scan(file: BinaryIO, samples: NDArray[Any]) -> None:
    """Refuse a JPEG of which a part was not decoded from data.

    Parameters
    ----------
    file : seekable binary file
    samples : ndarray of shape (H, W, P)
        As decoded.

    Raises
    ------
    ImageError
        Data are missing.
    """
    file.seek(0)
    data = file.read()
    start, n_wanted = _find_scan(data)
    if n_wanted is not None:
        _check_restarts(data, start, n_wanted)
    if start and _has_grey_corner(samples) and _is_cut(data, start):
        raise ImageError("is damaged: its data end before the picture does", hint=_HINT)


def _find_scan(data: bytes) -> tuple[int, int | None]:
    """Return where the first scan's data begin, and the number of restart markers in them where that is known."""
    at, interval, n_units, known = 2, 0, 0, False
    while at + 4 <= len(data) and data[at] == 0xFF:
        kind, length = data[at + 1], struct.unpack_from(">H", data, at + 2)[0]
        if kind == 0xFF:
            at += 1
            continue
        if kind == _DRI:
            interval = struct.unpack_from(">H", data, at + 4)[0]
        elif kind in _FRAMES:
            height, width, n_parts = struct.unpack_from(">HHB", data, at + 5)
            factors = data[at + 11 : at + 10 + 3 * n_parts : 3]
            across, down = (max((f >> s & 15 for f in factors), default=1) or 1 for s in (4, 0))
            across, down = (across, down) if n_parts > 1 else (1, 1)
            n_units = -(-width // (8 * across)) * -(-height // (8 * down))
            known = kind in _BASELINE
        elif kind == _SOS:
            known = known and interval > 0 and n_units > 0
            return at + 2 + length, -(-n_units // interval) - 1 if known else None
        at += 2 + length
    return 0, None


def _check_restarts(data: bytes, start: int, n_wanted: int) -> None:
    codes = np.frombuffer(data, np.uint8, offset=start)
    marks = np.flatnonzero(codes[:-1] == 0xFF)
    kinds = codes[marks + 1]
    ends = np.flatnonzero((kinds != 0) & (kinds != 0xFF) & ((kinds < 0xD0) | (kinds > 0xD7)))
    if ends.size and kinds[ends[0]] == _SOS:
        return  # components come one by one: each scan has a count of its own
    kinds = kinds[: ends[0]] if ends.size else kinds
    restarts = kinds[(kinds >= 0xD0) & (kinds <= 0xD7)]
    if len(restarts) != n_wanted or ((restarts - 0xD0) != np.arange(len(restarts)) % 8).any():
        raise ImageError(f"is damaged: {len(restarts)} restart markers of {n_wanted}, or not in order", hint=_HINT)


def _has_grey_corner(samples: NDArray[Any]) -> bool:
    corners = (
        samples[rows, columns] for rows in (slice(4), slice(-4, None)) for columns in (slice(4), slice(-4, None))
    )
    return any((corner == 128).all() for corner in corners)


def _is_cut(data: bytes, start: int) -> bool:
    """Return whether bytes appended to the last scan change the picture."""
    from PIL.JpegImagePlugin import JpegImageFile

    end = data.rfind(_EOI)
    if end <= start:
        return False
    longer = data[:end] + _FILLER + data[end:]
    return JpegImageFile(io.BytesIO(data)).tobytes() != JpegImageFile(io.BytesIO(longer)).tobytes()
