"""A check of JPEG data that the decoder mends in silence: scans cut short or overwritten, restart markers lost.

libjpeg counts damage as a warning, fills what is missing with grey and skips what is left over; Pillow passes no
warning on. How far the decoder reads tells it, though. Data of a single scan are handed out in pieces
(:class:`ScanFeed`): a sound scan is whole with its last byte, neither sooner nor later. Restart markers too few
or out of order are a cut as well (ITU-T T.81 §E.1.3).

Pictures of several scans are decoded when all are read. There, coefficients that no scan completes (§G.1.1.1) are a
cut, and bytes appended to the last scan are taken as data if it is cut short: the picture changes. Damage that leaves
the number of units and the bits of each as they were, as a changed coefficient does, is not noticed.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np
from PIL.JpegImagePlugin import JpegImageFile

from convcli.errors import ImageError
from convcli.images.pillow import PillowDecoder, pixels_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: End of image, start of scan, restart interval (T.81 table B.1).
_EOI, _SOS, _DRI = b"\xff\xd9", 0xDA, 0xDD
_BASELINE, _PROGRESSIVE = (0xC0, 0xC1), (0xC2,)
#: Markers that begin a frame; C4, C8 and CC are something else (T.81 table B.1).
_FRAMES = (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0))
#: Without FF, which would begin a marker.
_FILLER = bytes(range(1, 251)) * 40
#: What a decoder looks ahead: 64 bits.
_AHEAD = bytes(range(1, 9))
_CUT = "is damaged: its data end before the picture does"
_HINT = "copy or download the file again"


class _Scans(NamedTuple):
    """The compressed data of a JPEG: kind of frame, restart interval, number of units, components, extent."""

    kind: int
    interval: int
    n_units: int
    components: bytes
    start: int
    end: int


class ScanFeed(io.BytesIO):
    """A JPEG of one scan that notes how far it is read.

    Pillow asks for more bytes while the picture is not whole. A piece ends before the last byte of the scan, another
    after a few bytes of filler, which the decoder needs to look ahead and skips where the scan is sound.
    """

    def __init__(self, data: bytes, end: int) -> None:
        super().__init__(b"".join((memoryview(data)[:end], _AHEAD, _EOI)))
        # Some cameras pad a scan; fill bytes before a marker are allowed (§B.1.1.2).
        tail = data[max(0, end - 65536) : end]
        self._last = end - len(tail) + len(tail.rstrip(b"\0\xff")) - 1
        self._after = end + len(_AHEAD)
        self._asked_at = 0

    def read(self, size: int | None = -1) -> bytes:
        """Return bytes up to the next of the two places."""
        self._asked_at = place = self.tell()
        stops = [stop - place for stop in (self._last, self._after) if stop > place]
        wanted = [] if size is None or size < 0 else [size]
        return super().read(min((*stops[:1], *wanted), default=-1))

    def check(self) -> None:
        """Raise ``ImageError`` if the picture was whole before the last byte, or not with it."""
        if self._asked_at < self._last:
            raise ImageError("is damaged: its picture is whole before its data end", hint=_HINT)
        if self._asked_at >= self._after:
            raise ImageError(_CUT, hint=_HINT)


def decode_checked(decoder: PillowDecoder, file: BinaryIO) -> NDArray[Any]:
    """Decode a JPEG; raise ``ImageError`` for one of which a part was not decoded from data."""
    file.seek(0)
    data = file.read()
    scans = _find_scans(data)
    if scans is None:
        return decoder.decode()
    if scans.kind in _BASELINE and scans.interval:
        _check_restarts(data, scans)
    if scans.kind in _BASELINE and data[scans.start + 4] == len(scans.components):
        feed = ScanFeed(data, scans.end)
        decoder.reopen(feed)
        samples = decoder.decode()
        feed.check()
        return samples
    samples = decoder.decode()
    lacks = scans.kind in _PROGRESSIVE and _lacks_scans(data, scans)
    if lacks or _is_cut(data, scans.end, samples):
        raise ImageError(_CUT, hint=_HINT)
    return samples


def check_strips(strips: Iterable[bytes]) -> None:
    """Raise ``ImageError`` for strips or tiles of a TIFF, each a JPEG, that libtiff decodes in spite of damage."""
    for data in strips:
        scans = _find_scans(data + _EOI)
        if scans is None or scans.kind not in _BASELINE or data[scans.start + 4] != len(scans.components):
            continue
        feed = ScanFeed(data + _EOI, scans.end)
        try:
            JpegImageFile(feed).load()
        except (OSError, SyntaxError):
            continue  # of a kind that libtiff alone reads
        feed.check()


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
