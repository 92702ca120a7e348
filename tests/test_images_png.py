"""Every kind of PNG (depth, colour, transparency, interlace), written byte by byte and compared with its samples."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest

from convcli.errors import ImageError
from convcli.images.reading import probe, read

RNG = np.random.default_rng(6)
GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6
DEPTHS = {GREY: (1, 2, 4, 8, 16), RGB: (8, 16), PALETTE: (1, 2, 4, 8), GREY_ALPHA: (8, 16), RGB_ALPHA: (8, 16)}
CHANNELS = {GREY: 1, RGB: 3, PALETTE: 1, GREY_ALPHA: 2, RGB_ALPHA: 4}
#: Adam7 (PNG §8.2): first row, first column, step of rows, step of columns.
PASSES = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
KINDS = [
    (colour, depth, key, interlaced)
    for colour, depths in DEPTHS.items()
    for depth in depths
    for key in (
        ("none", "hit", "miss") if colour in (GREY, RGB) else ("none", "hit") if colour == PALETTE else ("none",)
    )
    for interlaced in (False, True)
]


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def packed_row(row: np.ndarray, depth: int) -> bytes:
    """Samples of a row as bits, the highest first."""
    bits = "".join(f"{value:0{depth}b}" for value in row.ravel())
    n_bytes = -(-len(bits) // 8)
    return int(bits.ljust(8 * n_bytes, "0"), 2).to_bytes(n_bytes, "big")


def filtered(rows: list[bytes], n_pixel: int) -> bytes:
    """Rows with filters 0 to 4 in turn (PNG §9.2), by plain loops."""
    out, above = b"", b""
    for number, row in enumerate(rows):
        kind, line = number % 5, bytearray()
        above = above or bytes(len(row))
        for x, value in enumerate(row):
            left, corner = (row[x - n_pixel], above[x - n_pixel]) if x >= n_pixel else (0, 0)
            up = above[x]
            nearest = min((left, up, corner), key=lambda one: abs(left + up - corner - one))
            line.append((value - (0, left, up, (left + up) // 2, nearest)[kind]) % 256)
        out, above = out + bytes([kind]) + bytes(line), row
    return out


def png(samples: np.ndarray, colour: int, depth: int, extra: list[bytes], interlaced: bool, n_short: int = 0) -> bytes:
    height, width, n_planes = samples.shape
    pixel = max(1, n_planes * depth // 8)
    parts = [samples[y::dy, x::dx] for y, x, dy, dx in PASSES] if interlaced else [samples]
    rows = [[packed_row(row, depth) for row in part] for part in parts if part.size]
    body = b"".join(filtered(part, pixel) for part in rows)
    if n_short:
        body = body[: -n_short * (1 + len(rows[-1][-1]))]
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    chunks = [chunk(b"IHDR", header), *extra, chunk(b"IDAT", zlib.compress(body)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("size", [(1, 1), (3, 2), (9, 13)])
@pytest.mark.parametrize(("colour", "depth", "key", "interlaced"), KINDS)
def test_every_kind_of_png(colour: int, depth: int, key: str, interlaced: bool, size: tuple[int, int]) -> None:
    top = 2**depth - 1
    n_colours = min(top + 1, 200)
    samples = RNG.integers(0, n_colours if colour == PALETTE else top + 1, (*size, CHANNELS[colour]))
    extra, alpha = [], None
    white = 65535 if depth == 16 else 255
    if colour == PALETTE:
        table = RNG.integers(0, 256, (n_colours, 3))
        extra.append(chunk(b"PLTE", table.astype(np.uint8).tobytes()))
        expected = table[samples[..., 0]]
        if key == "hit":  # entries beyond the table are opaque
            clear = RNG.integers(0, 256, n_colours // 2 + 1)
            extra.append(chunk(b"tRNS", clear.astype(np.uint8).tobytes()))
            full = np.concatenate([clear, np.full(n_colours, 255)])[:n_colours]
            alpha = full[samples[..., 0]]
    else:
        expected = samples * (255 // top) if depth < 8 else samples
        if key != "none":
            wanted = samples[0, 0] if key == "hit" else samples.max(axis=(0, 1)) ^ 1
            extra.append(chunk(b"tRNS", b"".join(struct.pack(">H", value) for value in wanted)))
            alpha = np.where((samples == wanted).all(axis=2), 0, white)
    if alpha is not None:
        expected = np.concatenate([expected, alpha[..., None]], axis=2)
    data = png(samples, colour, depth, extra, interlaced)
    image = read(data)
    np.testing.assert_array_equal(image.samples, expected)
    assert image.info.white == white
    assert image.samples.dtype == (np.uint16 if depth == 16 else np.uint8)
    has_alpha = alpha is not None or colour in (GREY_ALPHA, RGB_ALPHA)
    names = ("r", "g", "b") if colour in (RGB, PALETTE, RGB_ALPHA) else ("l",)
    assert probe(data).plane_names == (*names, *("a",) * has_alpha)
    notes = "; ".join(image.info.notes)
    assert ("palette is expanded" in notes) == (colour == PALETTE)
    assert ("declares transparent" in notes) == (key != "none" and colour != PALETTE)
    assert ("1-bit samples are read as 0 and 255" in notes) == (depth == 1 and colour == GREY)


@pytest.mark.parametrize("n_short", [1, 3])
@pytest.mark.parametrize(("colour", "depth", "key", "interlaced"), [kind for kind in KINDS if kind[2] == "none"])
def test_missing_rows_are_refused(colour: int, depth: int, key: str, interlaced: bool, n_short: int) -> None:
    samples = RNG.integers(0, 2, (9, 13, CHANNELS[colour]))
    extra = [chunk(b"PLTE", bytes([9, 9, 9, 200, 0, 7]))] if colour == PALETTE else []
    samples[-1], samples[-2] = 0, 0  # black rows that are there
    read(png(samples, colour, depth, extra, interlaced))
    with pytest.raises(ImageError, match=r"is truncated: [\d,]+ of [\d,]+ bytes of its rows|truncated or damaged"):
        read(png(samples, colour, depth, extra, interlaced, n_short))
