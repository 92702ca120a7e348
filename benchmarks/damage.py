"""Damaged copies of files, for corpus.py: bytes anywhere, or a PNG's contents under sound checksums."""

from __future__ import annotations

import random
import zlib


def damaged(data: bytes, rng: random.Random) -> bytes:
    """Return a copy with one to eight faults: bytes overwritten, a piece cut out or repeated, an end missing."""
    copy = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(copy)) if rng.random() < 0.5 else min(rng.randrange(64), len(copy) - 1)
        fault = rng.random()
        if fault < 0.6:
            copy[at] = rng.choice((0, 255, 127, 128, rng.randrange(256)))
        elif fault < 0.75:
            copy[at : at + 4] = rng.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"))
        elif fault < 0.85:
            del copy[at : at + rng.randint(1, 64)]
        elif fault < 0.95:
            copy[at:at] = copy[at : at + rng.randint(1, 64)]
        else:
            del copy[max(at, 8) :]
        if not copy:
            return b"\0"
    return bytes(copy)


def damaged_png(data: bytes, rng: random.Random) -> bytes:
    """Return a PNG whose chunks or filtered rows are damaged, and whose lengths, checksums and streams are sound."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        n_bytes = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + n_bytes]))
        at += 12 + n_bytes
    for _ in range(rng.randint(1, 3)):
        if not chunks:
            break
        at = rng.randrange(len(chunks))
        kind, body = chunks[at]
        fault = rng.random()
        if fault < 0.1:
            chunks.insert(rng.randrange(len(chunks)), chunks[at])
        elif fault < 0.2:
            del chunks[at]
        elif fault < 0.3:
            other = rng.randrange(len(chunks))
            chunks[at], chunks[other] = chunks[other], chunks[at]
        elif fault < 0.6 and kind in (b"IDAT", b"fdAT"):
            chunks[at] = kind, body[: 4 * (kind == b"fdAT")] + _with_damaged_rows(body[4 * (kind == b"fdAT") :], rng)
        else:
            chunks[at] = kind, damaged(body, rng) if body else body
    parts = [
        len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big") for kind, body in chunks
    ]
    return data[:8] + b"".join(parts)


def _with_damaged_rows(stream: bytes, rng: random.Random) -> bytes:
    try:
        return zlib.compress(damaged(zlib.decompressobj().decompress(stream, 1 << 24) or b"\0", rng))
    except zlib.error:
        return stream
