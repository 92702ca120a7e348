"""Maps as float arrays: .npy, .npz, .safetensors and float .tiff, written band by band where possible.

In all of them the maps are one block (O, H, W) behind a header, so a band of rows of every map is written into its
place and nothing is collected. .npz needs a checksum of the whole, and standard output cannot seek: for these the maps
are kept in memory until the end. Names are ``maps`` (the block), ``names`` and ``stamp``; in a TIFF each map is a page.
"""

from __future__ import annotations

import io
import json
import struct
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from convcli.errors import OutputError
from convcli.images.files import TargetFile, opened_target
from convcli.images.formats import RAW, Picture
from convcli.images.info import Metadata
from convcli.images.write import PictureWriter, Target

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

RAW_FORMATS = (*RAW, "tiff")
_SAFETENSORS_NAME = {"float32": "F32", "float64": "F64"}


def open_raw(
    target: Target,
    *,
    raw_format: str,
    names: tuple[str, ...],
    height_px: int,
    width_px: int,
    stamp: str = "",
    dtype: DTypeLike = "float32",
    leading: tuple[int, ...] = (),
    tile: int | None = None,
) -> PictureWriter:
    """Begin a file of maps; bands are (O, h, W) here, not (h, W, P).

    Parameters
    ----------
    target : path or binary file
    raw_format : {"npy", "npz", "safetensors", "tiff", "zarr"}
    names : tuple of str
        Of the O maps. ``.npy`` has no room for names or stamp.
    height_px, width_px : int
    stamp : str
    dtype : {"float32", "float64"}
    leading : tuple of int
        Axes of the stored block before rows and columns, ``(O,)`` by default; their product is O.
    tile : int, optional
        Side of the tiles of a TIFF, a multiple of 16; strips without.

    Raises
    ------
    OutputError
        The format is not one of these, or the file cannot be made.

    Examples
    --------
    >>> file = io.BytesIO()
    >>> with open_raw(file, raw_format="npy", names=("x-l", "y-l"), height_px=4, width_px=3) as writer:
    ...     for top in (0, 2):
    ...         writer.write(np.full((2, 2, 3), top, np.float32))
    >>> _ = file.seek(0)
    >>> np.load(file)[1, :, 0].tolist()
    [0.0, 0.0, 2.0, 2.0]
    """
    if raw_format not in RAW_FORMATS:
        raise OutputError(f"{raw_format} cannot store raw maps", hint=f"--format {' or '.join(RAW_FORMATS)}")
    shape = (*(leading or (len(names),)), height_px, width_px)
    if raw_format == "zarr":
        from convcli.images.zarr_store import open_zarr

        return open_zarr(target, names, shape, stamp, np.dtype(dtype))
    with opened_target(target) as file:
        block = _BlockWriter(file, raw_format, names, shape, stamp, np.dtype(dtype), tile)
        return PictureWriter(file, block, streams=block.streams)


class _BlockWriter:
    """A header, a block (O, H, W), a tail."""

    def __init__(
        self,
        target: TargetFile,
        raw_format: str,
        names: tuple[str, ...],
        shape: tuple[int, ...],
        stamp: str,
        dtype: np.dtype[Any],
        tile: int | None,
    ) -> None:
        self._target, self._format, self._names, self._stamp = target, raw_format, names, stamp
        self._stored_shape, self._shape = shape, (len(names), *shape[-2:])
        # Little-endian on every machine: safetensors has no other order.
        self._dtype = dtype.newbyteorder("<")
        self._row = 0
        self.streams = target.is_seekable and raw_format != "npz"
        self._file: BinaryIO = target.file if self.streams else io.BytesIO()
        self._kept = np.empty(self._shape, self._dtype) if raw_format == "npz" else None
        self._tiff, self._grid = None, None
        if raw_format == "npy":
            header = {"descr": self._dtype.str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(self._file, header)  # every NumPy reads version 1
        elif raw_format == "safetensors":
            self._file.write(self._safetensors_header())
        elif raw_format == "tiff":
            from convcli.images.tiff import TiffWriter

            page = Picture(shape[-1], shape[-2], 1, depth="float", metadata=Metadata(stamp=stamp), tile=tile)
            self._tiff = TiffWriter(self._file, page, len(names), self._dtype, names)
            self._grid = self._tiff.grid
        self._start = self._file.tell()

    def encode(self, maps: NDArray[Any]) -> NDArray[Any]:
        """Return a band (O, h, W) as it is stored, a copy: the caller may reuse its memory."""
        return np.array(maps, dtype=self._dtype, order="C")

    def append(self, band: NDArray[Any]) -> None:
        """Write the rows of every map into their places."""
        n_maps, height, width = self._shape
        if band.shape[0] != n_maps or band.shape[2] != width or self._row + band.shape[1] > height:
            raise ValueError(f"band {band.shape} at row {self._row} does not fit maps {self._shape}")
        if self._kept is not None:
            self._kept[:, self._row : self._row + band.shape[1]] = band
        elif self._grid is not None:
            for index in range(n_maps):
                for place, piece in self._grid.places(band[index], self._row):
                    self._file.seek(self._start + index * self._grid.page_bytes + place)
                    self._file.write(piece.data)
        else:
            # Maps lie one behind the other, so a band has a place in each.
            row_bytes = width * self._dtype.itemsize
            for index in range(n_maps):
                self._file.seek(self._start + (index * height + self._row) * row_bytes)
                self._file.write(band[index].data)
        self._row += band.shape[1]

    def finish(self) -> None:
        """Write the tail of the file."""
        if self._row != self._shape[1]:
            raise ValueError(f"maps are {self._shape[1] - self._row} rows short")
        if self._kept is not None:
            maps = self._kept.reshape(self._stored_shape)
            np.savez(self._file, maps=maps, names=np.array(self._names), stamp=np.array(self._stamp))
        elif self._tiff is not None:
            # Rows are in their places already; pages are only described.
            self._tiff.adopt_pages()
            self._tiff.finish()
        # Made in memory: an .npz, or a target that cannot seek.
        if self._file is not self._target.file:
            assert isinstance(self._file, io.BytesIO)
            self._target.file.write(self._file.getbuffer())

    def _safetensors_header(self) -> bytes:
        n_bytes = int(np.prod(self._shape)) * self._dtype.itemsize
        header = {
            "__metadata__": {"names": json.dumps(self._names), "stamp": self._stamp},
            "maps": {
                "dtype": _SAFETENSORS_NAME[self._dtype.name],
                "shape": list(self._stored_shape),
                "data_offsets": [0, n_bytes],
            },
        }
        text = json.dumps(header).encode()
        # Data begin at a multiple of 8, as the library writes them.
        text += b" " * (-len(text) % 8)
        return struct.pack("<Q", len(text)) + text
