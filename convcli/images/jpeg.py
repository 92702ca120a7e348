"""A check of JPEG data that the decoder mends in silence: scans cut short, restart markers lost.

libjpeg counts damage as a warning and fills the rest with grey, and Pillow passes no warning on. Signs of a cut are
restart markers that are too few or out of order (ITU-T T.81 §E.1.3), a grey corner, and in a progressive picture
coefficients that no scan completes (§G.1.1.1). A grey corner is confirmed: bytes appended to a scan that is cut short
are taken as data and change the picture; after a whole scan they are skipped. Progressive pictures, whose last scan
leaves no grey, are all tried so. A scan that ends within the last unit of a picture is not noticed.
"""

from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
from PIL.JpegImagePlugin import JpegImageFile

from convcli.errors import ImageError
from convcli.images.pillow import pixels_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

_EOI, _SOS, _DRI = b"\xff\xd9", 0xDA, 0xDD
_BASELINE, _PROGRESSIVE = (0xC0, 0xC1), (0xC2,)
#: Markers that begin a frame; C4, C8 and CC are something else (T.81 table B.1).
_FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
#: Without FF, which would begin a marker.
_FILLER = bytes(range(1, 251)) * 40
_HINT = "copy or download the file again"


class _Scans(NamedTuple):
    """The compressed data of a JPEG: kind of frame, restart interval, number of units, components, extent."""

    kind: int
    interval: int
    n_units: int
    components: bytes
    start: int
    end: int


def check_scan(file: BinaryIO, samples: NDArray[Any]) -> None:
    """Raise ``ImageError`` for a JPEG of which a part of ``samples`` (H, W, P) was not decoded from data."""
    file.seek(0)
    data = file.read()
    scans = _find_scans(data)
    if scans is None:
        return
    if scans.kind in _BASELINE and scans.interval:
        _check_restarts(data, scans)
    is_progressive = scans.kind in _PROGRESSIVE
    suspect = is_progressive or _has_grey_corner(samples)
    if (is_progressive and _lacks_scans(data, scans)) or (suspect and _is_cut(data, scans.end, samples)):
        raise ImageError("is damaged: its data end before the picture does", hint=_HINT)


def _find_scans(data: bytes) -> _Scans | None:
    """Read the header up to the first scan; None for a file without a known end."""
    at, interval, kind, n_units, components = 2, 0, 0, 0, b""
    while at + 4 <= len(data) and data[at] == 0xFF:
        code, length = data[at + 1], struct.unpack_from(">H", data, at + 2)[0]
        if code == 0xFF:  # any number of FF may precede a marker (§B.1.1.2)
            at += 1
            continue
        if code == _DRI:
            interval = struct.unpack_from(">H", data, at + 4)[0]
        elif code in _FRAMES:
            height, width, n_parts = struct.unpack_from(">HHB", data, at + 5)
            components, factors = (data[at + first : at + 10 + 3 * n_parts : 3] for first in (10, 11))
            across, down = (max((f >> s & 15 for f in factors), default=1) if n_parts > 1 else 1 for s in (4, 0))
            kind, n_units = code, -(-width // (8 * max(across, 1))) * -(-height // (8 * max(down, 1)))
        elif code == _SOS:
            end = data.find(_EOI, at + 2 + length)
            return _Scans(kind, interval, n_units, components, at, end) if end > 0 else None
        at += 2 + length
    return None


def _check_restarts(data: bytes, scans: _Scans) -> None:
    codes = np.frombuffer(data[scans.start + 2 : scans.end], np.uint8)
    kinds = codes[1:][codes[:-1] == 0xFF]
    if (kinds == _SOS).any():
        return  # components come one by one: each scan has a count of its own
    restarts = kinds[(kinds >= 0xD0) & (kinds <= 0xD7)]
    n_wanted = -(-scans.n_units // scans.interval) - 1
    if len(restarts) != n_wanted or ((restarts - 0xD0) != np.arange(len(restarts)) % 8).any():
        raise ImageError(f"is damaged: {len(restarts)} restart markers of {n_wanted}, or not in order", hint=_HINT)


def _has_grey_corner(samples: NDArray[Any]) -> bool:
    corners = (
        samples[rows, columns] for rows in (slice(4), slice(-4, None)) for columns in (slice(4), slice(-4, None))
    )
    # Coefficients of 0 make mid-grey.
    return any((corner == 128).all() for corner in corners)


def _lacks_scans(data: bytes, scans: _Scans) -> bool:
    """Return whether a progressive picture has coefficients of which no scan brings the last bit."""
    missing = {(part, k) for part in scans.components for k in range(64)}
    at = scans.start
    while 0 <= at < scans.end:
        n_parts = data[at + 4]
        first, last, shifts = data[at + 5 + 2 * n_parts : at + 8 + 2 * n_parts]
        if shifts & 15 == 0:
            parts = data[at + 5 : at + 5 + 2 * n_parts : 2]
            missing -= {(part, k) for part in parts for k in range(first, last + 1)}
        at = data.find(b"\xff\xda", at + 2)
    return bool(missing)


def _is_cut(data: bytes, end: int, samples: NDArray[Any]) -> bool:
    """Return whether bytes appended to the last scan change the picture."""
    longer = io.BytesIO(data[:end] + _FILLER + data[end:])
    try:
        found = pixels_of(JpegImageFile(longer))
        if np.array_equal(found, samples):
            return False
        return not np.array_equal(found, pixels_of(JpegImageFile(io.BytesIO(data))))  # samples may have been turned
    except OSError:  # the appended bytes were taken as data, and make no sense
        return True
