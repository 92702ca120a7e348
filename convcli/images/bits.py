"""Facts of files that Pillow does not tell: bits of stored samples, chunks of a PNG, plays and ends of animations."""

from __future__ import annotations

import struct
from typing import BinaryIO


def stored_bits(file: BinaryIO, name: str, otherwise: int) -> int:
    """Return the bits of a stored sample; PNG §11.2.2, ISO 15444-1 §A.5.1, AV1 in ISOBMFF §2.3, SGI 1.0."""
    if name not in ("png", "sgi", "avif", "jp2"):
        return otherwise
    file.seek(0)
    # Zeros behind it: a header that is cut gives a wrong number here and an error of its decoder later.
    head = file.read(1 << 16).ljust(64, b"\0") + bytes(64)
    if name in ("png", "sgi"):
        # SGI counts bytes; a PNG's palette has 8 bits a colour, whatever its indexes have.
        return 8 * head[3] if name == "sgi" else head[24] if head[25] != 3 else 8
    at = head.find(b"av1C" if name == "avif" else b"\xff\x4f\xff\x51")
    if at < 0:
        return otherwise
    if name == "avif":
        # Third byte of av1C: tier, high_bitdepth, twelve_bit.
        return 12 if head[at + 6] & 0x20 else 10 if head[at + 6] & 0x40 else 8
    # Ssiz of the first component: its bits less one, and a bit for the sign.
    return (head[at + 42] & 0x7F) + 1


def bits_notes(stored_bits: int, dtype: str) -> tuple[str, ...]:
    """Note when stored samples have more bits than those they are read with, or than float32 sums hold.

    Examples
    --------
    >>> bits_notes(10, "uint8"), bits_notes(12, "uint16"), bits_notes(32, "int32")
    (('10-bit samples are read with 8 bits',), (), ('int32 samples are rounded to 24 bits unless --dtype float64',))
    """
    held = int(dtype.strip("uintfloa"))
    if stored_bits > held:
        return (f"{stored_bits}-bit samples are read with {held} bits",)
    is_wide = dtype in ("uint32", "int32", "float64")
    return (f"{dtype} samples are rounded to 24 bits unless --dtype float64",) if is_wide else ()


def has_chunk(file: BinaryIO, name: bytes) -> bool:
    """Whether a PNG has a chunk before its pixels."""
    file.seek(8)
    while len(head := file.read(8)) == 8:
        n_bytes, kind = struct.unpack(">I4s", head)
        if kind in (name, b"IDAT"):
            return bool(kind == name)
        file.seek(n_bytes + 4, 1)
    return False


def of_animation(file: BinaryIO, name: str, loop: object) -> tuple[int | None, tuple[str, ...]]:
    """Return how often an animation is shown, 0 for ever, and notes on its container; ``loop`` is Pillow's number."""
    if name == "avif":
        from convcli.images.avif import n_rounded_times, plays_of

        file.seek(0)
        data = file.read()
        n_rounded = n_rounded_times(data)
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
