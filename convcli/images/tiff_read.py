"""TIFFs that Pillow cannot read (float colour, 16-bit grey + alpha, many bands), and rows of those too large to hold.

This file is tifffile's; it is imported only when one of these is met.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import tifffile  # noqa: TID253

from convcli.errors import ImageError
from convcli.images.exif import upright_view
from convcli.images.header import left_out
from convcli.images.info import ImageInfo, Metadata
from convcli.images.windows import RawRows, SegmentRows

if TYPE_CHECKING:
    from numpy.typing import NDArray

# tifffile tells its log of every oddity; without a handler that ends on the terminal
logging.getLogger("tifffile").addHandler(logging.NullHandler())
_READABLE = {"uint8", "uint16", "uint32", "int8", "int16", "int32", "float16", "float32", "float64", "bool"}
_WHITE_IS_ZERO, _RGB, _PALETTE = 0, 2, 3


class TifffileDecoder:
    """A page of a TIFF, opened by tifffile.

    Raises
    ------
    ImageError
        The page does not exist, or is of a kind that is not a picture of rows and columns.
    """

    def __init__(self, file: BinaryIO, frame: int, orientation: str) -> None:
        file.seek(0)
        self._file = file
        self._lock = threading.Lock()
        self._tiff = tifffile.TiffFile(file)
        n_pages = len(self._tiff.pages)
        if frame >= n_pages:
            raise ImageError(f"has no frame {frame}", hint=f"{n_pages} frames, counted from 0")
        page = self._tiff.pages[frame].aspage()
        self._page = page
        dtype = page.dtype
        if dtype is None or dtype.name not in _READABLE or page.axes not in ("YX", "YXS", "SYX"):
            kind = f"{page.axes} of {dtype}"
            raise ImageError(f"cannot be decoded (TIFF page {kind})", hint="pages of rows and columns are read")
        if int(page.photometric) == _PALETTE:
            raise ImageError("cannot be decoded (TIFF palette of this kind)", hint="convert it to RGB first")
        n_planes = page.samplesperpixel
        found = page.tags.valueof(274, default=1)
        found = found if found in range(1, 9) else 1
        self.turn = found if orientation == "apply" else 1
        height, width = page.imagelength, page.imagewidth
        if self.turn >= 5:
            height, width = width, height
        self._out_dtype = {"bool": "uint8", "float16": "float32"}.get(dtype.name, dtype.name)
        notes = [f"{dtype.name} samples are read as {self._out_dtype}"] if self._out_dtype != dtype.name else []
        self._white = 1.0 if dtype.kind == "f" else 255.0 if dtype.kind == "b" else float(np.iinfo(dtype).max)
        self.info = ImageInfo(
            format="tiff",
            mode=f"{n_planes}x{dtype.name}",
            width_px=width,
            height_px=height,
            plane_names=_plane_names(page, n_planes),
            dtype=self._out_dtype,
            white=self._white,
            n_frames=n_pages,
            orientation=found,
            metadata=_metadata(page),
            notes=tuple(notes),
        )

    def seek(self, frame: int) -> bool:  # noqa: ARG002 - part of the protocol
        """Return False: pages are opened one by one."""
        return False

    def arrive(self, where: str) -> None:
        """Return None: pages are decoded whole, or by windows."""

    def decode(self) -> NDArray[Any]:
        """Return all samples (H, W, P), upright."""
        return upright_view(self._shaped(self._page.asarray()), self.turn)

    def window(self) -> RawRows | SegmentRows | None:
        """Return the rows without reading them, or None where that is not possible."""
        page = self._page
        height, width, n_planes = page.imagelength, page.imagewidth, page.samplesperpixel
        if self.turn != 1 or page.axes == "SYX" or page.dtype is None or int(page.photometric) == _WHITE_IS_ZERO:
            return None
        if page.dtype.name != self._out_dtype or not _can_decode(page):
            return None
        shape = (height, width, n_planes)
        if page.is_contiguous and page.compression == 1:
            missing = page.dataoffsets[0] + height * width * n_planes * page.dtype.itemsize - self._file.seek(0, 2)
            if missing > 0:
                raise ImageError(f"is truncated: {missing:,} bytes missing", hint="copy or download the file again")
            stored = page.dtype.newbyteorder(self._tiff.byteorder)
            return RawRows(self._file, page.dataoffsets[0], shape, stored)
        segment_rows = page.tilelength if page.is_tiled else min(page.rowsperstrip, height)
        return SegmentRows(shape, page.dtype, segment_rows, self._decode_row)

    def _decode_row(self, index: int) -> NDArray[Any]:
        """Decode one row of tiles, or one strip."""
        page = self._page
        height, width, n_planes = page.imagelength, page.imagewidth, page.samplesperpixel
        segment_rows = page.tilelength if page.is_tiled else min(page.rowsperstrip, height)
        across = -(-width // page.tilewidth) if page.is_tiled else 1
        n_rows = min(segment_rows, height - index * segment_rows)
        band = np.zeros((n_rows, width, n_planes), page.dtype)
        for column in range(across):
            at = index * across + column
            with self._lock:
                self._file.seek(page.dataoffsets[at])
                data = self._file.read(page.databytecounts[at])
            segment, _, shape = page.decode(data, at, jpegtables=page.jpegtables)
            if segment is None:
                continue  # a sparse tile: zeros
            segment = segment.reshape(shape[0] * shape[1], shape[2], -1)[:n_rows]
            left = column * page.tilewidth if page.is_tiled else 0
            part = segment[:, : width - left]
            band[: len(part), left : left + part.shape[1]] = part
        return band

    def _shaped(self, samples: NDArray[Any]) -> NDArray[Any]:
        page = self._page
        if page.axes == "SYX":
            samples = samples.transpose(1, 2, 0)
        samples = samples.reshape(page.imagelength, page.imagewidth, -1)
        if samples.dtype == np.bool_:
            samples = samples.astype(np.uint8) * np.uint8(255)
        samples = samples.astype(self._out_dtype, copy=False)
        if int(page.photometric) == _WHITE_IS_ZERO:
            samples = (samples.dtype.type(self._white) - samples).astype(samples.dtype)
        return samples


def _can_decode(page: tifffile.TiffPage) -> bool:
    """Return whether tifffile decodes the page without the package imagecodecs; if not, Pillow may."""
    try:
        tifffile.TIFF.DECOMPRESSORS[page.compression]
        tifffile.TIFF.UNPREDICTORS[page.predictor]
    except KeyError:
        return False
    return True


def _plane_names(page: tifffile.TiffPage, n_planes: int) -> tuple[str, ...]:
    """Name the planes: r, g, b or l, alpha where declared, the others by number."""
    names = ["r", "g", "b"] if int(page.photometric) == _RGB and n_planes >= 3 else ["l"]
    extras = [int(extra) for extra in page.extrasamples]
    for index in range(n_planes - len(names)):
        is_alpha = index == n_planes - len(names) - 1 and index < len(extras) and extras[index] in (1, 2)
        names.append("a" if is_alpha else f"c{index}")
    return tuple(names)


def _metadata(page: tifffile.TiffPage) -> Metadata:
    icc = page.tags.valueof(34675)
    dpi = None
    try:
        across, down = page.get_resolution(unit=2)
        if 1 < across < 1e6 and 1 < down < 1e6:
            dpi = (float(across), float(down))
    except (KeyError, ValueError, ZeroDivisionError, TypeError):
        pass
    icc = icc if isinstance(icc, bytes) and icc else None
    return Metadata(icc=icc, dpi=dpi, left_out=left_out({}, page.tags))
