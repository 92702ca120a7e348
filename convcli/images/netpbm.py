"""PPM, PGM and PFM: rows as they are, behind a line of text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class PpmWriter:
    """Write binary PGM (P5) or PPM (P6), 8 or 16 bits, row by row.

    The text stamp becomes comment lines, which is where the format has room for it.
    """

    def __init__(self, file: BinaryIO, width_px: int, height_px: int, n_planes: int, depth: str, stamp: str) -> None:
        self._file = file
        self._dtype = np.dtype(">u2" if depth == "16" else "u1")
        comments = "".join(f"# {line}\n" for line in stamp.splitlines())
        maxval = 65535 if depth == "16" else 255
        kind = "P6" if n_planes == 3 else "P5"
        file.write(f"{kind}\n{comments}{width_px} {height_px}\n{maxval}\n".encode("utf-8", "replace"))

    def encode(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return the rows in the file's byte order."""
        return np.array(rows, dtype=self._dtype, order="C")

    def append(self, band: NDArray[Any]) -> None:
        """Write rows."""
        self._file.write(band.data)

    def finish(self) -> None:
        """Nothing follows the rows."""


class PfmWriter:
    """Write a float PFM (Pf, PF); its rows go from bottom to top, so they are collected."""

    def __init__(self, file: BinaryIO, width_px: int, height_px: int, n_planes: int) -> None:
        self._file = file
        self._bands: list[NDArray[np.float32]] = []
        self._head = f"{'PF' if n_planes == 3 else 'Pf'}\n{width_px} {height_px}\n-1.0\n".encode()

    def encode(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """Return the rows as little-endian float32, upside down."""
        return np.array(rows[::-1], dtype="<f4", order="C")

    def append(self, band: NDArray[np.float32]) -> None:
        """Keep rows until all are there."""
        self._bands.append(band)

    def finish(self) -> None:
        """Write the header and the rows, last band first."""
        self._file.write(self._head)
        for band in reversed(self._bands):
            self._file.write(band.data)
