"""A PNG's data inflated by ISA-L in a thread, handed to Pillow as stored blocks that need no inflating.

Pillow spends a fifth of a photograph's decoding in zlib and the rest in undoing the PNG filters, one after the other
on one core. Here both run at once; and as the stored stream is as long as the rows, it is known at any time how many
rows Pillow has got.
"""

from __future__ import annotations

import contextlib
import io
import os
import queue
import struct
import threading
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

_STORED_BYTES = 65535
_PIECE_BYTES = 1 << 18
_READ_BYTES = 1 << 16
#: Pieces inflated ahead of Pillow; 4 MiB.
_AHEAD = 16


class InflatedIdat:
    """The IDAT data of a PNG as a zlib stream of stored blocks, in the pieces that Pillow asks for.

    Parameters
    ----------
    file : binary file
        A real file or a ``BytesIO``; its position is left alone.
    offset : int
        Of the first IDAT chunk's data.
    n_bytes : int
        Length of all rows with their filter bytes; whatever the file holds beyond is left out.
    """

    def __init__(self, file: BinaryIO, offset: int, n_bytes: int) -> None:
        self._read_at = _reader(file)
        self._offset, self._n_bytes = offset, n_bytes
        self._pieces: queue.Queue[tuple[bytes, int] | BaseException | None] = queue.Queue(_AHEAD)
        #: Bytes of rows handed out so far.
        self.n_given = 0
        self._stopped = False
        self._ended = False
        self._thread = threading.Thread(target=self._inflate, name="inflate", daemon=True)
        self._thread.start()

    def read(self) -> bytes:
        """Return the next piece of the stored stream; empty at the end of what the file has.

        Raises
        ------
        OSError
            The data is not a deflate stream.
        """
        if self._ended:
            return b""
        piece = self._pieces.get()
        if isinstance(piece, BaseException):
            raise OSError(f"broken PNG data ({piece})") from piece
        if piece is None:
            self._ended = True
            return b""
        stream, n_raw = piece
        self.n_given += n_raw
        return stream

    def close(self) -> None:
        """End the thread; a reader that still waits gets the end of the data."""
        self._stopped = True
        self._thread.join()
        with contextlib.suppress(queue.Full):
            self._pieces.put_nowait(None)

    def _inflate(self) -> None:
        from isal import isal_zlib

        broken: Any = isal_zlib.error
        try:
            inflater = isal_zlib.decompressobj()
            adler, n_left, head = 1, self._n_bytes, b"\x78\x01"
            for compressed in self._idat():
                data = compressed
                while data and n_left and not self._stopped:
                    raw = inflater.decompress(data, min(_PIECE_BYTES, n_left))
                    data = inflater.unconsumed_tail
                    adler = isal_zlib.adler32(raw, adler)
                    n_left -= len(raw)
                    self._put((head + _stored(raw, last=not n_left), len(raw)))
                    head = b""
                    if inflater.eof:
                        break
                if self._stopped or not n_left or inflater.eof:
                    break
            if not n_left:
                self._put((struct.pack(">I", adler), 0))
            self._put(None)
        except (broken, OSError, ValueError) as error:
            self._put(error)

    def _put(self, piece: tuple[bytes, int] | BaseException | None) -> None:
        while not self._stopped:
            try:
                self._pieces.put(piece, timeout=0.05)
            except queue.Full:
                continue
            return

    def _idat(self) -> Iterator[bytes]:
        """Yield the data of consecutive IDAT chunks."""
        place = self._offset - 8
        while (head := self._read_at(place, 8))[4:] == b"IDAT":
            place += 8
            end = place + int.from_bytes(head[:4], "big")
            while place < end:
                data = self._read_at(place, min(end - place, _READ_BYTES))
                if not data:
                    return
                place += len(data)
                yield data
            place += 4  # the checksum, which Pillow does not look at either: that of the deflate stream tells


def _reader(file: BinaryIO) -> Callable[[int, int], bytes]:
    """Return a function (offset, length) -> bytes that leaves the position of ``file`` alone."""
    if isinstance(file, io.BytesIO):
        buffer = file.getvalue()  # not a copy, as long as nobody writes
        return lambda offset, length: buffer[offset : offset + length]
    number = file.fileno()
    return lambda offset, length: os.pread(number, length, offset)


def _stored(raw: bytes, *, last: bool) -> bytes:
    """Return deflate blocks that hold ``raw`` uncompressed (RFC 1951 §3.2.4).

    Examples
    --------
    >>> import zlib
    >>> zlib.decompress(_stored(b"abc" * 50_000, last=True), -15) == b"abc" * 50_000
    True
    """
    parts = []
    for start in range(0, len(raw), _STORED_BYTES):
        piece = raw[start : start + _STORED_BYTES]
        is_last = last and start + _STORED_BYTES >= len(raw)
        parts += [struct.pack("<BHH", is_last, len(piece), len(piece) ^ 0xFFFF), piece]
    return b"".join(parts)
