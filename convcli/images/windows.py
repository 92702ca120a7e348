"""Rows of an image that stays in its file: raw rows, and tiles or strips of a TIFF decoded on demand."""

from __future__ import annotations

import io
import struct
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from convcli.errors import ImageError
from convcli.images.planes import check_white, read_window
from convcli.process.system import available_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.TiffImagePlugin import TiffImageFile

    from convcli.images.planes import PlaneSource


class RawRows:
    """Uncompressed interleaved rows of shape (H, W, P) at an offset of a file, which is read under a lock.

    ``dtype`` has the file's byte order; ``upside_down`` means that its last row is the picture's first (PFM).

    Examples
    --------
    >>> import io
    >>> rows = RawRows(io.BytesIO(bytes(range(12))), 0, (2, 2, 3), np.dtype("u1"))
    >>> rows.shape, rows.rows(1, 2)[2].tolist()
    ((3, 2, 2), [[8, 11]])
    """

    def __init__(
        self,
        file: BinaryIO,
        offset: int,
        shape: tuple[int, int, int],
        dtype: np.dtype[Any],
        *,
        upside_down: bool = False,
    ) -> None:
        self._file = file
        self._offset, self._hwp, self._stored, self._upside_down = offset, shape, dtype, upside_down
        self._row_bytes = shape[1] * shape[2] * dtype.itemsize
        self._lock = threading.Lock()
        self.shape = (shape[2], shape[0], shape[1])
        self.dtype = dtype.newbyteorder("=")

    def samples(self, top: int, bottom: int) -> NDArray[Any]:
        """Return rows ``[top, bottom)``, shape (bottom - top, W, P), in native byte order."""
        n_rows = bottom - top
        first = self._hwp[0] - bottom if self._upside_down else top
        band = np.empty((n_rows, *self._hwp[1:]), self._stored)
        self._read(self._offset + first * self._row_bytes, band.reshape(-1).view(np.uint8).data)
        return (band[::-1] if self._upside_down else band).astype(self.dtype, copy=False)

    def rows(self, top: int, bottom: int) -> NDArray[Any]:
        """Return rows ``[top, bottom)`` of every plane, shape (P, bottom - top, W)."""
        return self.samples(top, bottom).transpose(2, 0, 1)

    def _read(self, start: int, into: memoryview) -> None:
        n_read = 0
        with self._lock:
            self._file.seek(start)
            while n_read < len(into):
                n_more = self._file.readinto(into[n_read:])  # type: ignore[attr-defined]
                if not n_more:
                    missing = len(into) - n_read
                    raise ImageError(f"is truncated: {missing:,} bytes missing", hint="copy or download the file again")
                n_read += n_more


class SegmentRows:
    """Rows of an image (H, W, P) stored in strips or tiles, decoded a row of segments at a time and cached.

    ``decode(i)`` returns rows ``i * segment_rows`` on, shape (rows, W, P).
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        dtype: np.dtype[Any],
        segment_rows: int,
        decode: Callable[[int], NDArray[Any]],
    ) -> None:
        self._hwp, self._segment_rows, self._decode = shape, segment_rows, decode
        self.shape = (shape[2], shape[0], shape[1])
        self.dtype = dtype.newbyteorder("=")
        self._kept: OrderedDict[int, NDArray[Any]] = OrderedDict()
        self._locks: dict[int, threading.Lock] = {}
        self._lock = threading.Lock()
        segment_bytes = max(1, segment_rows * shape[1] * shape[2] * dtype.itemsize)
        # A band straddles two segments, so each thread needs two; small ones are kept up to 32 MiB.
        self._n_kept = max(2 * available_threads(), min(64, (32 << 20) // segment_bytes))

    def rows(self, top: int, bottom: int) -> NDArray[Any]:
        """Return rows ``[top, bottom)`` of every plane, shape (P, bottom - top, W)."""
        step = self._segment_rows
        parts = []
        for index in range(top // step, -(-bottom // step)):
            start = index * step
            parts.append(self._segment(index)[max(top - start, 0) : bottom - start])
        band = parts[0] if len(parts) == 1 else np.concatenate(parts)
        return band.transpose(2, 0, 1)

    def _segment(self, index: int) -> NDArray[Any]:
        with self._lock:
            lock = self._locks.setdefault(index, threading.Lock())
        with lock:  # two bands that share a row of tiles decode it once
            with self._lock:
                if index in self._kept:
                    self._kept.move_to_end(index)
                    return self._kept[index]
            segment = self._decode(index)
            with self._lock:
                self._kept[index] = segment
                while len(self._kept) > self._n_kept:
                    dropped, _ = self._kept.popitem(last=False)
                    self._locks.pop(dropped, None)
            return segment


class NamedRows:
    """Rows of an image whose ``white`` is checked, read in a ``guard()`` that puts the file's name into errors."""

    def __init__(self, rows: PlaneSource, white: float, guard: Callable[[], AbstractContextManager[None]]) -> None:
        self._rows, self._white, self._guard = rows, white, guard
        self.shape, self.dtype = rows.shape, rows.dtype

    def rows(self, top: int, bottom: int) -> NDArray[Any]:
        """Return rows ``[top, bottom)`` of every plane, shape (P, bottom - top, W)."""
        return self.window(slice(top, bottom), slice(None))

    def window(self, rows: slice, columns: slice) -> NDArray[Any]:
        """Return a window of every plane, shape (P, rows, columns)."""
        with self._guard():
            samples = read_window(self._rows, rows, columns)
            check_white(samples, self._white)
        return samples


def open_tiff_page(file: BinaryIO, frame: int) -> TiffImageFile:
    """Open a page with Pillow, for compressions that only libtiff decodes."""
    from PIL.TiffImagePlugin import TiffImageFile

    file.seek(0)
    image = TiffImageFile(file)
    image.seek(frame)
    image.info.pop("xmp", None)  # Pillow would look for an orientation there too
    return image


def decode_lzw(data: bytes, rows: int, row_bytes: int, fill_order: int) -> bytes:
    """Decode an LZW strip to bytes: Pillow reads it as the only strip of a grey picture ``row_bytes`` wide."""
    from PIL.TiffImagePlugin import TiffImageFile

    # Size, bits, LZW, grey, order of bits, and the one strip: 8 bytes in, as long as its data.
    tags = (
        (256, row_bytes), (257, rows), (258, 8), (259, 5), (262, 1), (266, fill_order), (273, 8), (277, 1),
        (278, rows), (279, len(data)),
    )  # fmt: skip
    directory = struct.pack("<H", len(tags)) + b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    start = 8 + len(data)
    file = io.BytesIO(struct.pack("<2sHI", b"II", 42, start) + data + directory + bytes(4))
    return TiffImageFile(file).tobytes()


def unpack_bits(data: bytes, rows: int, width: int, n_planes: int, bits: int) -> NDArray[Any]:
    """Return samples of 2 to 31 bits, packed with the highest bit first; each row begins with a byte (TIFF 6.0 §3)."""
    n_row = -(-width * n_planes * bits // 8)
    if len(data) < rows * n_row:
        raise ImageError(f"is truncated: {rows * n_row - len(data):,} bytes missing", hint="copy it again")
    packed = np.frombuffer(data, np.uint8, rows * n_row).reshape(rows, n_row)
    single = np.unpackbits(packed, axis=1, count=width * n_planes * bits).reshape(rows, width, n_planes, bits)
    return single @ (1 << np.arange(bits - 1, -1, -1, dtype=np.int64))


def undo_float_predictor(data: bytes, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return float samples (H, W, P) of TIFF's predictor 3 (Adobe's TIFF Technical Note 3).

    The bytes of a row lie apart, all first ones before all second ones, and each is a difference from the pixel before.

    Examples
    --------
    >>> undo_float_predictor(bytes([63, 1, 64, 192, 192, 0, 0, 0]), (1, 2, 1), np.dtype("f4")).ravel()
    array([1., 3.], dtype=float32)
    """
    rows, width, n_planes = shape
    n_bytes = rows * width * n_planes * dtype.itemsize
    if len(data) < n_bytes:
        raise ImageError(f"is truncated: {n_bytes - len(data):,} bytes missing", hint="copy it again")
    differences = np.frombuffer(data, np.uint8, n_bytes).reshape(rows, -1, n_planes)
    apart = np.add.accumulate(differences, axis=1, dtype=np.uint8).reshape(rows, dtype.itemsize, -1)
    together = np.ascontiguousarray(apart.swapaxes(1, 2)).view(dtype.newbyteorder(">"))
    return together.reshape(shape).astype(dtype.newbyteorder("="))
