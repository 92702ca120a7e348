"""A check of PNG data that end with a whole row, before the last: Pillow leaves the rows that are missing black."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from convcli.errors import ImageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
#: Adam7 (§8.2): first row and column, steps of rows and columns.
_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
_PIECE_BYTES = 1 << 20


def check_rows(file: BinaryIO, samples: NDArray[Any]) -> None:
    """Raise ``ImageError`` for a PNG with fewer rows than ``samples`` (H, W, P), which were decoded from it."""
    file.seek(16)
    width, height, depth, colour, _, _, is_interlaced = struct.unpack(">IIBBBBB", file.read(13))
    last = samples[-1]
    # Missing rows have one value; data are counted where the last row has: they are decompressed once more for that.
    if not is_interlaced and (last != last[:1]).any():
        return
    passes = _PASSES if is_interlaced else ((0, 0, 1, 1),)
    sizes = [(len(range(y, height, dy)), len(range(x, width, dx))) for y, x, dy, dx in passes]
    row_bits = _CHANNELS[colour] * depth
    n_wanted = sum(n_rows * (1 + -(-n_columns * row_bits // 8)) for n_rows, n_columns in sizes if n_columns)
    n_found = _count(file, n_wanted)
    if n_found < n_wanted:
        raise ImageError(
            f"is truncated: {n_found:,} of {n_wanted:,} bytes of its rows", hint="copy or download the file again"
        )


def _count(file: BinaryIO, n_wanted: int) -> int:
    """Return how many bytes the data decompress to, at most a little more than wanted."""
    stream, n_found = zlib.decompressobj(), 0
    try:
        for data in _data(file):
            while data and n_found < n_wanted:
                n_found += len(stream.decompress(data, _PIECE_BYTES))
                data = stream.unconsumed_tail
    except zlib.error:
        pass  # the decoder has refused what it could not read
    return n_found


def _data(file: BinaryIO) -> Iterator[bytes]:
    file.seek(8)
    while len(head := file.read(8)) == 8:
        n_bytes, kind = struct.unpack(">I4s", head)
        if kind == b"IDAT":
            yield file.read(n_bytes)
            file.seek(4, 1)
        else:
            file.seek(n_bytes + 4, 1)
