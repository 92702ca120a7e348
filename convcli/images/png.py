"""PNG: its chunks, a check that all rows are there, and a writer over ISA-L's deflate.

The writer takes a picture band by band, in as many threads as the caller has.

A band is filtered by one NumPy subtraction (each row minus the row above, its first row as it is), so bands do not
depend on each other; each is deflated by itself and ended with a full flush, which makes the pieces one deflate
stream when joined. The checksum of the whole (Adler-32) is combined from those of the bands. On 12 megapixels of RGB
that is 20 to 40 times faster than Pillow's default and 8 times faster than Pillow's quickest.

``fast`` is ISA-L level 1 with the filter *up*; ``default`` ISA-L level 3 with the best of five filters for each
row; ``small`` the same filters under zlib level 9.
"""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from convcli.errors import ImageError
from convcli.images.formats import Picture
from convcli.images.info import Metadata

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"
#: Planes → colour type in IHDR: grey, grey with alpha, RGB, RGBA.
_COLOR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}
#: Largest prime below 2^16 (RFC 1950).
_ADLER_BASE = 65521
#: Samples of a pixel by colour type; Adam7 (§8.2): first row and column, steps of rows and columns.
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
#: Bytes that the check unpacks at once.
_PIECE_BYTES = 1 << 20
_END_OF_DEFLATE = b"\x03\x00"  # an empty last block: bands need not know which of them is the last


def chunks(file: BinaryIO) -> Iterator[tuple[bytes, int, int]]:
    """Yield kind, length and place of each chunk's body, where the file stands then."""
    at = file.seek(len(SIGNATURE))
    while len(head := file.read(8)) == 8:
        n_bytes, kind = struct.unpack(">I4s", head)
        yield kind, n_bytes, at + 8
        at = file.seek(at + 8 + n_bytes + 4)


def is_animated(file: BinaryIO) -> bool:
    """Return whether a PNG announces an animation before its pixels."""
    return next((kind == b"acTL" for kind, _, _ in chunks(file) if kind in (b"acTL", b"IDAT")), False)


def check_rows(file: BinaryIO, samples: NDArray[Any]) -> None:
    """Raise ``ImageError`` for a PNG with fewer rows than ``samples`` (H, W, P), which were decoded from it.

    Pillow leaves rows black where the data end with a whole row.
    """
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
        for kind, n_bytes, _ in chunks(file):
            data = file.read(n_bytes) if kind == b"IDAT" else b""
            while data and n_found < n_wanted:
                n_found += len(stream.decompress(data, _PIECE_BYTES))
                data = stream.unconsumed_tail
    except zlib.error:
        pass  # the decoder has refused what it could not read
    return n_found


class PngBand(NamedTuple):
    """A band ready to be appended: whole IDAT chunks, and numbers for the checksum of the stream."""

    chunks: bytes
    adler: int
    n_bytes: int
    n_rows: int


class PngWriter:
    r"""Write one PNG, band by band, to a file that need not seek.

    One bit takes one plane of uint8 samples, non-zero for white.

    Examples
    --------
    >>> import io
    >>> file = io.BytesIO()
    >>> writer = PngWriter(file, Picture(width_px=4, height_px=2, n_planes=1))
    >>> writer.append(writer.encode(np.zeros((2, 4), np.uint8)))
    >>> writer.finish()
    >>> file.getvalue()[:4]
    b'\x89PNG'
    """

    def __init__(self, file: BinaryIO, picture: Picture) -> None:
        self._file = file
        self._bits = bits = int(picture.depth)
        # Filters look a whole byte back where a pixel has less.
        self._pixel_bytes = max(1, picture.n_planes * bits // 8)
        self._row_bytes = (picture.width_px * picture.n_planes * bits + 7) // 8
        self._compress = picture.compress
        self._local = threading.local()
        self._adler = 1  # of no bytes (RFC 1950)
        self._rows_left = picture.height_px
        size = picture.width_px, picture.height_px
        header = struct.pack(">IIBBBBB", *size, bits, _COLOR_TYPE[picture.n_planes], 0, 0, 0)
        file.write(SIGNATURE + chunk(b"IHDR", header) + _metadata_chunks(picture.metadata))
        # The zlib header: deflate with a window of 32 KiB.
        file.write(chunk(b"IDAT", b"\x78\x01"))

    def encode(self, rows: NDArray[Any]) -> PngBand:
        """Filter and deflate rows (h, W, P) or (h, W) of uint8 or uint16; in any thread, bands in any order."""
        data = self._row_data(rows)
        filtered = _filter_up(data) if self._compress == "fast" else _filter_best(data, self._pixel_bytes)
        flat = filtered.reshape(-1).data
        deflated = self._deflate(flat)
        from isal import isal_zlib

        return PngBand(chunk(b"IDAT", deflated), isal_zlib.adler32(flat), filtered.size, len(data))

    def append(self, band: PngBand) -> None:
        """Write an encoded band; bands are appended from top to bottom."""
        self._adler = adler32_combine(self._adler, band.adler, band.n_bytes)
        self._rows_left -= band.n_rows
        self._file.write(band.chunks)

    def finish(self) -> None:
        """End the file; raise ``ValueError`` if rows are missing."""
        if self._rows_left:
            raise ValueError(f"PNG is {self._rows_left} rows short")
        tail = _END_OF_DEFLATE + struct.pack(">I", self._adler)
        self._file.write(chunk(b"IDAT", tail) + chunk(b"IEND", b""))

    def _row_data(self, rows: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the rows as PNG stores them, unfiltered: (h, row_bytes)."""
        if self._bits == 16:
            rows = np.ascontiguousarray(rows, dtype=">u2").view(np.uint8)
        elif self._bits == 1:
            return np.packbits(rows.reshape(rows.shape[0], -1) != 0, axis=1)
        if rows.dtype != np.uint8:
            raise ValueError(f"PNG of {self._bits} bits cannot store {rows.dtype}")
        return np.ascontiguousarray(rows).reshape(rows.shape[0], self._row_bytes)

    def _deflate(self, data: memoryview) -> bytes:
        local = self._local
        if not hasattr(local, "deflater"):
            # After a full flush the stream is byte-aligned and without history, so one object serves a thread's bands.
            from isal import isal_zlib

            local.deflater = (
                # Raw deflate: header and checksum are those of the whole picture.
                zlib.compressobj(9, zlib.DEFLATED, -15, 9)
                if self._compress == "small"
                else isal_zlib.compressobj(3 if self._compress == "default" else 1, zlib.DEFLATED, -15)
            )
        return bytes(local.deflater.compress(data) + local.deflater.flush(zlib.Z_FULL_FLUSH))


def _filter_up(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return rows with their filter byte: the first unfiltered, the others minus the row above."""
    filtered = np.empty((data.shape[0], data.shape[1] + 1), np.uint8)
    filtered[0, 0] = 0
    filtered[1:, 0] = 2
    filtered[0, 1:] = data[0]
    np.subtract(data[1:], data[:-1], out=filtered[1:, 1:])
    return filtered


def _filter_best(data: NDArray[np.uint8], pixel_bytes: int) -> NDArray[np.uint8]:
    """Return rows with the filter of each row that leaves the smallest sum of absolute differences (PNG spec §12.8)."""
    n_rows, n_bytes = data.shape
    left = np.zeros_like(data)
    left[:, pixel_bytes:] = data[:, :-pixel_bytes]
    above = np.zeros_like(data)
    above[1:] = data[:-1]
    corner = np.zeros_like(data)
    corner[1:] = left[:-1]
    average = ((left.astype(np.uint16) + above) >> 1).astype(np.uint8)
    candidates = [data, data - left, data - above, data - average, data - _paeth(left, above, corner)]
    # Differences wrap at 256: as signed bytes they are small on both sides of 0.
    costs = np.stack([np.abs(one.view(np.int8).astype(np.int16)).sum(axis=1, dtype=np.int64) for one in candidates])
    best = costs.argmin(axis=0)
    best[0] = 0 if best[0] >= 2 else best[0]  # nothing above the first row of a band
    filtered = np.empty((n_rows, n_bytes + 1), np.uint8)
    filtered[:, 0] = best
    for kind, candidate in enumerate(candidates):
        chosen = best == kind
        filtered[chosen, 1:] = candidate[chosen]
    return filtered


def _paeth(left: NDArray[np.uint8], above: NDArray[np.uint8], corner: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return Paeth's predictor: the neighbour nearest to left + above - corner."""
    a, b, c = (part.astype(np.int16) for part in (left, above, corner))
    to_left, to_above = np.abs(b - c), np.abs(a - c)
    to_corner = np.abs(a + b - c - c)
    # Ties go to the left, then above, as the specification has it.
    nearest = np.where(to_above <= to_corner, above, corner)
    return np.where((to_left <= to_above) & (to_left <= to_corner), left, nearest)


def adler32_combine(first: int, second: int, second_bytes: int) -> int:
    """Return the Adler-32 of two pieces joined, from the checksum of each.

    Examples
    --------
    >>> adler32_combine(zlib.adler32(b"one "), zlib.adler32(b"two"), 3) == zlib.adler32(b"one two")
    True
    """
    low_1, high_1 = first & 0xFFFF, first >> 16
    low_2, high_2 = second & 0xFFFF, second >> 16
    # Each sum began with 1; as zlib's adler32_combine.
    low = (low_1 + low_2 - 1) % _ADLER_BASE
    high = (high_1 + high_2 + (low_1 - 1) * second_bytes) % _ADLER_BASE
    return high << 16 | low


def chunk(kind: bytes, body: bytes) -> bytes:
    """Return a chunk with its length and its checksum."""
    from isal import isal_zlib

    crc = isal_zlib.crc32(body, isal_zlib.crc32(kind))
    return b"".join((struct.pack(">I", len(body)), kind, body, struct.pack(">I", crc)))


def _metadata_chunks(metadata: Metadata) -> bytes:
    """Return the chunks that precede the pixels: ICC, physical size, EXIF, text."""
    parts = []
    if metadata.icc:
        parts.append(chunk(b"iCCP", b"ICC Profile\0\0" + zlib.compress(metadata.icc, 6)))
    if metadata.dpi:
        # PNG's integers end at 2^31 - 1; 0 dots would make no sense.
        per_metre = [min(max(round(dots / 0.0254), 1), 0x7FFFFFFF) for dots in metadata.dpi]
        parts.append(chunk(b"pHYs", struct.pack(">IIB", *per_metre, 1)))
    if metadata.exif:
        parts.append(chunk(b"eXIf", metadata.exif))
    if metadata.stamp:
        try:
            text = metadata.stamp.encode("latin-1")
            parts.append(chunk(b"tEXt", b"Description\0" + text))  # Latin-1 only; iTXt is UTF-8
        except UnicodeEncodeError:
            body = b"Description\0\0\0\0\0" + metadata.stamp.encode("utf-8", "replace")
            parts.append(chunk(b"iTXt", body))
    return b"".join(parts)
