"""A TIFF writer that takes pages and bands of rows in order: 1, 8 and 16 bits, 32-bit float, any number of planes.

Pillow cannot store 16-bit or float colour. Baseline TIFF 6.0 is small enough to write out: each band becomes a strip,
or whole rows of bands become tiles; the directory of tags follows the samples of its page, and the pointers before it
are filled in last. Files past 4 GiB become BigTIFF, which needs to be known at the start. Any TIFF reader reads them.
"""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from convcli.images.formats import Picture
from convcli.images.headers import ORIENTATION_TAG, parse_exif
from convcli.images.info import Metadata
from convcli.images.tiff_tiles import Grid, cut

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

#: Types of tags, and bytes of a value (TIFF 6.0 §2; LONG8 is BigTIFF's).
_SHORT, _LONG, _ASCII, _RATIONAL, _UNDEFINED, _LONG8 = 3, 4, 2, 5, 7, 16
_BYTES_OF = {_SHORT: 2, _LONG: 4, _ASCII: 1, _RATIONAL: 8, _UNDEFINED: 1, _LONG8: 8}
#: NumPy's kind of a type → SampleFormat.
_SAMPLE_FORMAT = {"u": 1, "i": 2, "f": 3}
_DTYPE = {"1": np.uint8, "8": np.uint8, "16": np.uint16, "float": np.float32}
#: Compression by zlib; 32946 is an older number for the same.
_DEFLATE = 8
#: Bytes of samples beyond which offsets need 64 bits; 16 MiB are left for tags and for noise, which deflate enlarges.
_BIG = 2**32 - 2**24


class TiffBand(NamedTuple):
    """A strip, or rows of tiles, ready to be appended."""

    pieces: tuple[bytes, ...]
    n_rows: int


class TiffWriter:
    r"""Write a TIFF of one or more pages of the same shape and type.

    The file must seek. ``fast`` does not compress, the others deflate (level 6, 9). ``dtype`` replaces that of the
    picture's depth. Bands become strips as they are; where the picture has a ``tile``, :meth:`join` makes them tiles.

    Examples
    --------
    >>> import io
    >>> file = io.BytesIO()
    >>> writer = TiffWriter(file, Picture(width_px=3, height_px=2, n_planes=1, depth="float"))
    >>> writer.append(writer.encode(np.zeros((2, 3), np.float32)))
    >>> writer.finish()
    >>> file.getvalue()[:4]
    b'II*\x00'
    """

    def __init__(
        self,
        file: BinaryIO,
        picture: Picture,
        n_pages: int = 1,
        dtype: np.dtype[Any] | None = None,
        page_names: tuple[str, ...] = (),
    ) -> None:
        self._file = file
        self._width, self._height, self._n_planes = picture.width_px, picture.height_px, picture.n_planes
        self._dtype = np.dtype(dtype or _DTYPE[picture.depth]).newbyteorder("<")
        self._bits = 1 if picture.depth == "1" else self._dtype.itemsize * 8
        self._metadata = picture.metadata
        self._level = {"fast": 0, "default": 6, "small": 9}[picture.compress]
        self._n_pages, self._page_names = n_pages, page_names
        pixel_bytes = self._n_planes * self._dtype.itemsize
        self.grid = Grid(picture.tile, self._height, self._width, pixel_bytes) if picture.tile else None
        page_bytes = self.grid.most_bytes if self.grid else self._width * self._height * pixel_bytes
        self.is_big = page_bytes * n_pages > _BIG
        #: Bands are joined to a multiple of so many rows; only the end of a page may be lower.
        self.band_px = picture.tile or 1
        self._page = 0
        self._rows_left = self._height
        #: Offset and length of each strip or tile, rows of each band.
        self._pieces: list[tuple[int, int]] = []
        self._heights: list[int] = []
        # BigTIFF: version 43 and offsets of 8 bytes. The first directory is not known yet.
        head = struct.pack("<2sHHHQ", b"II", 43, 8, 0, 0) if self.is_big else struct.pack("<2sHI", b"II", 42, 0)
        file.write(head)
        self._end = len(head)
        # Where the next directory is to be named: here at first, later behind the one before.
        self._pointer = len(head) - (8 if self.is_big else 4)

    def encode(self, rows: NDArray[Any]) -> Any:
        """Turn a band of rows (h, W, P) or (h, W) into a strip, or prepare it to be joined; may run in any thread."""
        if self.grid:
            stored = rows != 0 if self._bits == 1 else rows.astype(self._dtype, copy=False)
            return stored.reshape(len(rows), self._width, self._n_planes)
        return TiffBand((self._pack(rows),), len(rows))

    def join(self, bands: Sequence[NDArray[Any]]) -> TiffBand:
        """Turn prepared bands, which are whole rows of tiles, into tiles; may run in any thread."""
        return TiffBand(tuple(map(self._pack, cut(bands, self.band_px))), sum(map(len, bands)))

    def _pack(self, samples: NDArray[Any]) -> bytes:
        if self._bits == 1:
            data = np.packbits(samples.reshape(len(samples), -1) != 0, axis=1)
        else:
            data = np.ascontiguousarray(samples, dtype=self._dtype)
        raw = data.reshape(-1).view(np.uint8).data
        return zlib.compress(raw, self._level) if self._level else bytes(raw)

    def append(self, band: TiffBand) -> None:
        """Write a strip or rows of tiles; the page ends by itself with its last row."""
        for piece in band.pieces:
            self._file.write(piece)
            self._pieces.append((self._end, len(piece)))
            self._end += len(piece)
        self._heights.append(band.n_rows)
        self._rows_left -= band.n_rows
        if self._rows_left <= 0:
            self._finish_page()

    def adopt_pages(self) -> None:
        """Describe pages that are already in the file, behind the header, uncompressed and in order."""
        n_page = self._width * self._height * self._n_planes * self._dtype.itemsize
        n_page = self.grid.page_bytes if self.grid else n_page
        start = self._end
        self._end += n_page * self._n_pages
        self._file.seek(self._end)
        for page in range(self._n_pages):
            first = start + page * n_page
            self._pieces = self.grid.tiles(first) if self.grid else [(first, n_page)]
            self._heights = [self._height]
            self._finish_page()

    def finish(self) -> None:
        """Raise ``ValueError`` if rows or pages are missing, or were too many."""
        if self._page != self._n_pages or self._heights:
            raise ValueError(f"TIFF has {self._page} whole pages of {self._n_pages}")

    def _finish_page(self) -> None:
        *others, last = self._heights
        rows_per_strip = {*others} or {last}
        if self.grid and any(n_rows % self.band_px for n_rows in others):
            raise ValueError(f"TIFF tiles need bands of a multiple of {self.band_px} rows; only the last may be lower")
        if not self.grid and (len(rows_per_strip) != 1 or last > min(rows_per_strip)):
            raise ValueError("TIFF strips need one height; only the last may be lower")
        # A directory begins on an even byte, that of a BigTIFF at a multiple of 8.
        padding = -self._end % 8
        self._file.write(b"\0" * padding)
        at = self._end + padding
        directory, pointer = self._directory(at, rows_per_strip.pop())
        self._file.write(directory)
        self._end = at + len(directory)
        self._file.seek(self._pointer)
        self._file.write(struct.pack("<Q" if self.is_big else "<I", at))
        self._file.seek(0, 2)
        self._pointer = at + pointer
        self._pieces, self._heights = [], []
        self._page += 1
        self._rows_left = self._height

    def _directory(self, at: int, rows_per_strip: int) -> tuple[bytes, int]:
        """Return the directory of the page with the values that do not fit into it, and where its next-pointer is."""
        entries = sorted(self._tags(rows_per_strip))  # tags rise (TIFF 6.0 §2)
        entry_bytes, inline, n_format = (20, 8, "<Q") if self.is_big else (12, 4, "<H")
        head = struct.pack(n_format, len(entries))
        pointer = len(head) + entry_bytes * len(entries)
        spill = b""
        for tag, kind, values in entries:
            count = len(values) // _BYTES_OF[kind]
            if len(values) > inline:
                where = at + pointer + inline + len(spill)
                spill += values + b"\0" * (-len(values) % 8)
                values = struct.pack("<Q" if self.is_big else "<I", where)
            head += struct.pack("<HHQ" if self.is_big else "<HHI", tag, kind, count) + values.ljust(inline, b"\0")
        return head + b"\0" * inline + spill, pointer

    def _tags(self, rows_per_strip: int) -> list[tuple[int, int, bytes]]:
        kind, code = (_LONG8, "Q") if self.is_big else (_LONG, "I")
        n_planes, n_pieces = self._n_planes, len(self._pieces)
        offsets, lengths = (struct.pack(f"<{n_pieces}{code}", *numbers) for numbers in zip(*self._pieces, strict=True))
        # 256, 257 size; 258 bits; 259 compression; 262 grey or RGB; 277 planes; 284 interleaved.
        colour = 3 if n_planes in (3, 4) else 1
        tags = [
            (256, _LONG, struct.pack("<I", self._width)),
            (257, _LONG, struct.pack("<I", self._height)),
            (258, _SHORT, struct.pack(f"<{n_planes}H", *[self._bits] * n_planes)),
            (259, _SHORT, struct.pack("<H", _DEFLATE if self._level else 1)),
            (262, _SHORT, struct.pack("<H", 2 if colour == 3 else 1)),
            (277, _SHORT, struct.pack("<H", n_planes)),
            (284, _SHORT, struct.pack("<H", 1)),
            (339, _SHORT, struct.pack(f"<{n_planes}H", *[_SAMPLE_FORMAT[self._dtype.kind]] * n_planes)),
        ]
        # Rows, offsets and lengths of strips; the same of tiles, whose width comes first.
        rows, where, sizes = (323, 324, 325) if self.grid else (278, 273, 279)
        tags += [
            (rows, _LONG, struct.pack("<I", self.band_px if self.grid else rows_per_strip)),
            (where, kind, offsets),
            (sizes, kind, lengths),
        ]
        if self.grid:
            tags.append((322, _LONG, struct.pack("<I", self.band_px)))
        if n_planes > colour:
            # ExtraSamples: alpha that is not premultiplied, then planes without a meaning.
            extra = [2] + [0] * (n_planes - colour - 1)
            tags.append((338, _SHORT, struct.pack(f"<{len(extra)}H", *extra)))
        if self._n_pages > 1:  # PageNumber; it holds 16 bits
            tags.append((297, _SHORT, struct.pack("<HH", min(self._page, 65535), min(self._n_pages, 65535))))
        if self._page < len(self._page_names):
            tags.append((285, _ASCII, _ascii(self._page_names[self._page])))
        return tags + _metadata_tags(self._metadata, first=self._page == 0)


def _metadata_tags(metadata: Metadata, *, first: bool) -> list[tuple[int, int, bytes]]:
    tags = []
    # ImageDescription: the stamp speaks of the whole file.
    if metadata.stamp and first:
        tags.append((270, _ASCII, _ascii(metadata.stamp)))
    if metadata.dpi:
        from fractions import Fraction

        for tag, dots in zip((282, 283), metadata.dpi, strict=True):
            exact = Fraction(dots).limit_denominator(10_000)  # RATIONAL: two integers of 32 bits
            tags.append((tag, _RATIONAL, struct.pack("<II", exact.numerator, exact.denominator)))
        tags.append((296, _SHORT, struct.pack("<H", 2)))  # dots per inch
    if metadata.exif and (orientation := parse_exif(metadata.exif)[0]) != 1:
        tags.append((ORIENTATION_TAG, _SHORT, struct.pack("<H", orientation)))
    if metadata.icc:
        tags.append((34675, _UNDEFINED, metadata.icc))  # the ICC profile
    return tags


def _ascii(text: str) -> bytes:
    """Return text as TIFF stores it; letters beyond ASCII as UTF-8, as most readers expect."""
    return text.replace("\0", " ").encode("utf-8", "replace") + b"\0"


class Copied:
    """A writer that needs to seek, for a file that cannot: finished in memory, then copied."""

    def __init__(self, inner: TiffWriter, buffer: io.BytesIO, file: BinaryIO) -> None:
        self.encode, self.join, self.append, self.band_px = inner.encode, inner.join, inner.append, inner.band_px
        self._inner, self._buffer, self._file = inner, buffer, file

    def finish(self) -> None:
        """Finish in memory, then copy."""
        self._inner.finish()
        self._file.write(self._buffer.getbuffer())


def open_tiff(file: BinaryIO, picture: Picture, n_pages: int = 1) -> TiffWriter | Copied:
    """Begin a TIFF; where the file cannot seek, it is finished in memory and then copied."""
    if file.seekable():
        return TiffWriter(file, picture, n_pages)
    buffer = io.BytesIO()
    return Copied(TiffWriter(buffer, picture, n_pages), buffer, file)
