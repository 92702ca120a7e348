"""Plays and times of animations that Pillow does not tell: those of an AVIF in its boxes, and the end of a GIF.

An edit list that repeats is played until the time of its track is over (AV1 Image File Format §3.1; ISO/IEC 14496-12
§8.6.6): the time of the track is that of the edit times the plays, all ones for ever.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO

Data = bytes | bytearray | memoryview


def of_animation(file: BinaryIO, name: str, loop: object) -> tuple[int | None, tuple[str, ...]]:
    """Return how often an animation is shown, 0 for ever, and notes on its container; ``loop`` is Pillow's number."""
    if name == "avif":
        file.seek(0)
        data = file.read()
        n_rounded = _n_rounded_times(data)
        rounded = f"times of {n_rounded} frames are read in whole milliseconds"
        return plays_of(data), (rounded,) if n_rounded else ()
    if name == "gif":  # it counts repetitions after the first time, others all
        ends = () if _ends_well(file) else ("the GIF ends without its trailer: later frames may be missing",)
        return (loop + 1 if isinstance(loop, int) and loop else 0 if loop == 0 else 1), ends
    return (loop if isinstance(loop, int) else None), ()


def _ends_well(file: BinaryIO) -> bool:
    """Return whether a GIF ends with its trailer, give or take padding."""
    place = file.tell()
    size = file.seek(0, 2)
    file.seek(max(0, size - 64))
    tail = file.read().rstrip(b"\0")
    file.seek(place)
    return tail.endswith(b";")


def _boxes(data: Data, start: int, end: int, kind: bytes) -> Iterator[tuple[int, int]]:
    """Yield where the contents of the boxes of a kind begin and end."""
    while start + 8 <= end:
        n_bytes, found = struct.unpack_from(">I4s", data, start)
        head = 8
        if n_bytes == 1 and start + 16 <= end:
            (n_bytes,), head = struct.unpack_from(">Q", data, start + 8), 16
        if n_bytes < head:  # 0: up to the end; nonsense likewise
            n_bytes = end - start
        if found == kind:
            yield start + head, min(start + n_bytes, end)
        start += n_bytes


def _find(data: Data, start: int, end: int, *path: bytes) -> int | None:
    """Return where the contents of the first box at a path begin, with room for the fields read here, or None."""
    for kind in path:
        start, end = next(_boxes(data, start, end, kind), (0, 0))
    return start if end - start >= 16 else None


def _field(data: Data, at: int, before: tuple[int, int]) -> tuple[int, str]:
    """Return place and type of a duration: version 0 and 1 of a box have ``before`` bytes in front of it."""
    return (at + 4 + before[1], ">Q") if data[at] else (at + 4 + before[0], ">I")


def _tracks(data: Data) -> Iterator[tuple[int, int, int]]:
    """Yield movie header, track header and edit list of every track that has an edit list."""
    for movie in _boxes(data, 0, len(data), b"moov"):
        header = _find(data, *movie, b"mvhd")
        for track in _boxes(data, *movie, b"trak"):
            places = header, _find(data, *track, b"tkhd"), _find(data, *track, b"edts", b"elst")
            if None not in places:
                yield places  # type: ignore[misc]


def plays_of(data: Data) -> int | None:
    """Return how often the animation is played, 0 for ever; None where it does not say."""
    for _, track, edit in _tracks(data):
        if not data[edit + 3] & 1:
            return 1
        at, kind = _field(data, track, (16, 24))
        (total,) = struct.unpack_from(kind, data, at)
        at, once_kind = _field(data, edit, (4, 4))
        (once,) = struct.unpack_from(once_kind, data, at)
        if total == 2 ** (64 if kind == ">Q" else 32) - 1:
            return 0
        return -(-total // once) if once else None
    return None


def _n_rounded_times(data: Data) -> int:
    """Return how many frames last no whole number of milliseconds, in which Pillow gives their times."""
    for movie in _boxes(data, 0, len(data), b"moov"):
        for track in _boxes(data, *movie, b"trak"):
            header = _find(data, *track, b"mdia", b"mdhd")
            table = _find(data, *track, b"mdia", b"minf", b"stbl", b"stts")
            if header is not None and table is not None:
                (unit,) = struct.unpack_from(">I", data, header + (20 if data[header] else 12))
                n_runs = min(struct.unpack_from(">I", data, table + 4)[0], (len(data) - table - 8) // 8)
                runs = struct.iter_unpack(">II", data[table + 8 : table + 8 + 8 * n_runs])
                return sum(count for count, time in runs if unit and 1000 * time % unit)
    return 0


def set_plays(data: bytearray | memoryview, plays: int) -> None:
    """Let an animation that is played for ever be played so often."""
    for movie, track, edit in _tracks(data):
        at, kind = _field(data, edit, (4, 4))
        (once,) = struct.unpack_from(kind, data, at)
        data[edit + 3] = int(plays > 1)
        for place, before in ((movie, (12, 20)), (track, (16, 24))):
            at, kind = _field(data, place, before)
            struct.pack_into(kind, data, at, once * plays)
