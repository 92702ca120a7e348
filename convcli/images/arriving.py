"""Planes of an image that is still being decoded: rows are handed out as they arrive.

Decoding a photograph takes as long as convolving and encoding it, on one core. Here it runs in a thread of its own, and
:meth:`ArrivingPlanes.rows` waits for the rows it was asked for. Pillow does not say how far its decoder is, but it asks
for the next piece of the file only when it has used up the last one, and it writes the unused fourth byte of
each RGB pixel (255, where fresh memory is 0); so whenever it reads, that byte of the last column tells which rows
are there. A decoder that leaves it 0 merely delivers everything at the end.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from convcli.errors import ImageError
from convcli.images.failures import translating
from convcli.images.pixels import lend_core

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile


class ArrivingPlanes:
    """Planes (3, H, W) of an 8-bit RGB image, decoded in the background.

    Parameters
    ----------
    image : PIL.ImageFile.ImageFile
        Mode RGB, opened, not loaded; its orientation stays as it is.
    file : binary file
        What it reads from; must stay open until :meth:`close`.
    where : str
        Name for errors.

    Attributes
    ----------
    samples : ndarray of shape (H, W, 3), uint8
        The memory being decoded into; complete after :meth:`wait`.
    """

    def __init__(self, image: ImageFile, file: BinaryIO, where: str, samples: NDArray[np.uint8]) -> None:
        self._image, self._where = image, where
        self._marks = samples[:, -1, 3]
        self.samples = samples[:, :, :3]
        height, width = self.samples.shape[:2]
        self.shape = (3, height, width)
        self.dtype = samples.dtype
        self._n_ready = 0
        self._error: ImageError | None = None
        self._stopped = False
        self._changed = threading.Condition()
        image.fp = _Watched(file, self._look)  # type: ignore[assignment]
        self._thread = threading.Thread(target=self._decode, name="decode", daemon=True)
        self._thread.start()

    @classmethod
    def start(cls, image: ImageFile, file: BinaryIO, where: str) -> ArrivingPlanes | None:
        """Begin to decode; None if Pillow does not lend its memory."""
        if image.mode != "RGB":
            return None
        image.load_prepare()
        samples = lend_core(image.im, "RGBA", image.size)
        return None if samples is None else cls(image, file, where, samples)

    def rows(self, top: int, bottom: int) -> NDArray[Any]:
        """Return rows ``[top, bottom)`` of every plane, shape (3, bottom - top, W), as soon as they are decoded.

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
        """Return all samples (H, W, 3) when they are there; raises as :meth:`rows`."""
        self.rows(0, self.shape[1])
        return self.samples

    def close(self) -> None:
        """End decoding, finished or not; whoever still waits gets an ``ImageError``."""
        self._stopped = True
        self._thread.join()

    def _look(self) -> None:
        """Count the rows that are there; called whenever the decoder wants more of the file."""
        if self._stopped:
            raise OSError("decoding was stopped")
        missing = np.flatnonzero(self._marks[self._n_ready :] == 0)
        n_ready = self._n_ready + int(missing[0]) if missing.size else len(self._marks)
        if n_ready > self._n_ready:
            with self._changed:
                # the last row may be half written: a decoder may stop in the middle of a row, but not after its end
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
