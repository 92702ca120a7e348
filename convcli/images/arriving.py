"""Planes of an image that is still being decoded: rows are handed out as they arrive.

Decoding a photograph takes as long as convolving and encoding it, on one core. Here it runs in a thread of its own,
and :meth:`ArrivingPlanes.rows` waits for the rows it was asked for. Pillow does not say how far its decoder is, but
it asks for the next piece of a file only when it has used up the last one. For a PNG the pieces are inflated already,
so their length tells the rows. For a JPEG the unused fourth byte of each RGB pixel does, which Pillow's decoder sets
to 255 where fresh memory is 0; a decoder that left it 0 would merely deliver everything at the end.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from convcli.errors import ImageError
from convcli.images.failures import translating
from convcli.images.pixels import LENT_PLANES, lend_core
from convcli.images.png_inflate import InflatedIdat

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.ImageFile import ImageFile


class ArrivingPlanes:
    """Planes (P, H, W) of an 8-bit image, decoded in the background.

    Parameters
    ----------
    image : PIL.ImageFile.ImageFile
        A JPEG or PNG of mode L, RGB or RGBA, opened, not loaded; its orientation stays as it is.
    file : binary file
        What it reads from; must stay open until :meth:`close`.
    where : str
        Name for errors.
    memory : ndarray of shape (H, W, bytes a pixel), uint8
        What Pillow decodes into.

    Attributes
    ----------
    samples : ndarray of shape (H, W, P), uint8
        The memory being decoded into; complete after :meth:`wait`.
    """

    def __init__(self, image: ImageFile, file: BinaryIO, where: str, memory: NDArray[np.uint8]) -> None:
        self._image, self._where = image, where
        n_planes = LENT_PLANES[image.mode]
        self.samples = memory[:, :, :n_planes]
        height, width = self.samples.shape[:2]
        self.shape = (n_planes, height, width)
        self.dtype = memory.dtype
        self._n_ready = 0
        self._error: ImageError | None = None
        self._stopped = False
        self._changed = threading.Condition()
        self._idat: InflatedIdat | None = None
        self._marks = memory[:, -1, -1]
        self._row_bytes = 1 + width * n_planes
        if image.format == "PNG":
            self._idat = InflatedIdat(file, image.tile[0].offset, self._row_bytes * height)
            image.load_read = self._next_piece  # type: ignore[attr-defined]
        else:
            image.fp = _Watched(file, self._look)  # type: ignore[assignment]
        self._thread = threading.Thread(target=self._decode, name="decode", daemon=True)
        self._thread.start()

    @classmethod
    def start(cls, image: ImageFile, file: BinaryIO, where: str) -> ArrivingPlanes | None:
        """Begin to decode; None if that is not possible in the background."""
        if image.mode not in LENT_PLANES or (image.format == "JPEG" and image.mode != "RGB"):
            return None
        if image.format == "PNG" and (image.info.get("interlace") or not hasattr(os, "pread")):
            return None
        image.load_prepare()
        memory = lend_core(image.im, image.mode, image.size)
        return None if memory is None else cls(image, file, where, memory)

    def rows(self, top: int, bottom: int) -> NDArray[Any]:
        """Return rows ``[top, bottom)`` of every plane, shape (P, bottom - top, W), as soon as they are decoded.

        Raises
        ------
        ImageError
            The file turned out to be damaged.
        """
        with self._changed:
            while self._n_ready < bottom and self._error is None:
                self._changed.wait()
            if self._n_ready < bottom and self._error is not None:
                raise self._error
        return self.samples[top:bottom].transpose(2, 0, 1)

    def wait(self) -> NDArray[np.uint8]:
        """Return all samples (H, W, P) when they are there; raises as :meth:`rows`."""
        self.rows(0, self.shape[1])
        return self.samples

    def close(self) -> None:
        """End decoding, finished or not; whoever still waits gets an ``ImageError``."""
        self._stopped = True
        if self._idat is not None:
            self._idat.close()
        self._thread.join()

    def _next_piece(self, _n_bytes: int) -> bytes:
        """Give Pillow the next piece of the PNG's inflated data; all pieces before it are decoded."""
        assert self._idat is not None
        self._arrived(min(self._idat.n_given // self._row_bytes, self.shape[1]))
        return self._idat.read()

    def _look(self) -> None:
        """Count the rows of a JPEG that are there; called when the decoder wants more of the file."""
        missing = np.flatnonzero(self._marks[self._n_ready :] == 0)
        self._arrived(self._n_ready + int(missing[0]) if missing.size else self.shape[1])

    def _arrived(self, n_ready: int) -> None:
        if self._stopped:
            raise OSError("decoding was stopped")
        if n_ready > self._n_ready:
            with self._changed:
                self._n_ready = n_ready
                self._changed.notify_all()

    def _decode(self) -> None:
        n_ready, error = self._n_ready, None
        try:
            with translating(self._where):
                self._image.load()
            n_ready = self.shape[1]
        except ImageError as caught:
            error = caught
        with self._changed:
            self._n_ready, self._error = max(self._n_ready, n_ready), error
            self._changed.notify_all()


class _Watched:
    """A file that tells when it is read."""

    def __init__(self, file: BinaryIO, look: Any) -> None:
        self._file, self._look = file, look
        self.seek, self.tell = file.seek, file.tell

    def read(self, n_bytes: int = -1) -> bytes:
        self._look()
        return self._file.read(n_bytes)
