"""Damage within the data of a JPEG: what a plain Huffman decoder finds left over or missing is refused."""

from __future__ import annotations

import io
import random
import re

import numpy as np
import pytest
import tifffile
from PIL import Image as Pillow

from convcli.errors import ImageError
from convcli.images.reading import read


def photo(size: int = 48, **options: object) -> bytes:
    rows, columns = np.mgrid[:size, :size]
    noise = np.random.default_rng(1).integers(0, 40, (size, size, 3))
    samples = np.stack([rows * 4, columns * 4, rows + columns], axis=2) + noise
    file = io.BytesIO()
    Pillow.fromarray(samples.clip(0, 255).astype(np.uint8)).save(file, "JPEG", **options)
    return file.getvalue()


def segments(data: bytes) -> tuple[dict[int, list[bytes]], int]:
    """Segments by their code, and where the scan begins (ITU-T T.81 §B)."""
    at, found = 2, {}
    while True:
        code, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        found.setdefault(code, []).append(data[at + 4 : at + 2 + length])
        at += 2 + length
        if code == 0xDA:
            return found, at


def huffman_tables(segment: bytes) -> dict[int, dict[tuple[int, int], int]]:
    tables, at = {}, 0
    while at < len(segment):
        kind, counts, code = segment[at], segment[at + 1 : at + 17], 0
        table, at = {}, at + 17
        for length, count in enumerate(counts, start=1):
            for _ in range(count):
                table[length, code] = segment[at]
                code, at = code + 1, at + 1
            code <<= 1
        tables[kind] = table
    return tables


def bits_left(data: bytes) -> int:
    """Bits of the scan that are left when all units are decoded; negative where they do not suffice."""
    found, start = segments(data)
    tables = {kind: table for one in found[0xC4] for kind, table in huffman_tables(one).items()}
    frame, scan = found[0xC0][0], found[0xDA][0]
    sizes = {frame[6 + 3 * i]: divmod(frame[7 + 3 * i], 16) for i in range(frame[5])}
    height, width = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big")
    across, down = (8 * max(size[axis] for size in sizes.values()) for axis in (0, 1))
    blocks = [divmod(scan[2 + 2 * i], 16) for i in range(scan[0]) for _ in range(int(np.prod(sizes[scan[1 + 2 * i]])))]
    raw = data[start : data.index(b"\xff\xd9", start)].replace(b"\xff\0", b"\xff")
    bits, at = "".join(f"{byte:08b}" for byte in raw), 0

    def symbol(table: dict[tuple[int, int], int]) -> int:
        nonlocal at
        for length in range(1, 17):
            found = table.get((length, int(bits[at : at + length] or "0", 2)))
            if found is not None or at + length > len(bits):
                at += length
                return found or 0
        raise ValueError("no such code")

    for _ in range(-(-height // down) * -(-width // across)):
        for dc, ac in blocks:
            n_bits, k = symbol(tables[dc]), 1
            at += n_bits
            while k < 64:
                run, n_bits = divmod(symbol(tables[16 + ac]), 16)
                if n_bits == 0 and run < 15:
                    break
                k, at = k + run + 1, at + n_bits
            if at > len(bits):
                return len(bits) - at
    return len(bits) - at


def damaged(data: bytes, rng: random.Random) -> bytes:
    """A copy with bytes of its scan overwritten, left out or repeated."""
    at, n_bytes = rng.randrange(segments(data)[1], len(data) - 44), rng.choice((1, 4, 40))
    kept = {"over": bytes(rng.randrange(255) for _ in range(n_bytes)), "out": b"", "twice": data[at : at + n_bytes] * 2}
    return data[:at] + kept[rng.choice(("over", "out", "twice"))] + data[at + n_bytes :]


@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"optimize": True}], ids=str)
def test_data_left_over_or_missing_are_refused(options: dict[str, object]) -> None:
    whole, rng = photo(**options), random.Random(7)
    assert 0 <= bits_left(whole) < 8
    kinds = {"whole": 0, "sooner": 0, "later": 0}
    for _ in range(60):
        data = damaged(whole, rng)
        if re.search(rb"\xff[^\0]", data[segments(data)[1] : -2]):  # a marker where data should be
            with pytest.raises(ImageError):
                read(data)
            continue
        try:
            left = bits_left(data)
        except ValueError:  # decoders differ in what they take for the next code
            continue
        try:
            read(data)
            kinds["whole"] += 1
            assert -8 < left < 72, left  # a decoder looks 64 bits ahead
        except ImageError as error:
            text = str(error)
            kinds["sooner" if "before its data end" in text else "later"] += 1
            assert left >= 8 if "before its data end" in text else left < 0 or "broken data" in text, (left, text)
    assert all(kinds.values()), kinds


@pytest.mark.parametrize("padding", [b"", b"\0", b"\0" * 40, b"\xff\xff"])
@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("size", [(1, 1), (16, 8), (57, 33), (320, 240)])
def test_a_padded_scan_is_whole(padding: bytes, mode: str, size: tuple[int, int]) -> None:
    file = io.BytesIO()
    Pillow.open(io.BytesIO(photo())).resize(size).convert(mode).save(file, "JPEG")
    data = file.getvalue()[:-2] + padding + b"\xff\xd9"
    expected = np.asarray(Pillow.open(io.BytesIO(data)).convert(mode.replace("CMYK", "RGB")))
    np.testing.assert_array_equal(read(data).samples.reshape(expected.shape), expected)


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_jpegs_within_a_tiff(mode: str) -> None:
    """libtiff warns, and Pillow passes no warning on."""
    file, rng = io.BytesIO(), random.Random(3)
    Pillow.open(io.BytesIO(photo(200))).convert(mode).save(file, "TIFF", compression="jpeg", strip_size=8192)
    whole = file.getvalue()
    read(whole)
    with tifffile.TiffFile(io.BytesIO(whole)) as tiff:
        page = tiff.pages[0]
        places = list(zip(page.dataoffsets, page.databytecounts, strict=True))
        tables = page.jpegtables
    assert len(places) > 1
    n_refused = 0
    for _ in range(30):
        start, n_bytes = rng.choice(places)
        strip = tables[:-2] + whole[start + 2 : start + n_bytes]
        scan = start + segments(strip)[1] - len(tables) + 4
        data = bytearray(whole)
        for at in range(rng.randrange(scan, start + n_bytes - 40), start + n_bytes - 38)[:8]:
            data[at] = rng.randrange(255)
        damaged_strip = tables[:-2] + bytes(data[start + 2 : start + n_bytes])
        try:
            left = bits_left(damaged_strip)
        except ValueError:
            continue
        has_marker = re.search(rb"\xff[^\0]", damaged_strip[segments(damaged_strip)[1] : -2]) is not None
        try:
            read(bytes(data))
            assert has_marker or -8 < left < 72, left
        except ImageError:
            n_refused += 1
            assert has_marker or left < 0 or left >= 8, left
            read(bytes(data), accept_damaged=True)
    assert n_refused > 5
