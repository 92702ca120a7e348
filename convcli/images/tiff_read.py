"""TIFF pages through tifffile, every sample as it is stored; rows of pages too large to hold.

The loader follows from the tags. tifffile decodes whole bytes without compression, deflate, PackBits, LZMA and, with
the package imagecodecs, all others. Without it, LZW strips are handed to Pillow one by one, as bytes, so that any
sample type survives; pages of JPEG, faxes and subsampled YCbCr, which have 8 bits at most, are left to Pillow whole.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import tifffile  # noqa: TID253

from convcli.errors import ImageError
from convcli.images.headers import ORIENTATION_TAG, bits_notes, parts_notes, tiff_metadata
from convcli.images.info import ImageInfo, check_count
from convcli.images.pillow import pixels_of
from convcli.images.planes import turn_upright
from convcli.images.tiff_colours import PALETTE, RGB, YCBCR, colours_of, palette_of
from convcli.images.windows import RawRows, SegmentRows, decode_lzw, open_tiff_page, undo_float_predictor, unpack_bits

if TYPE_CHECKING:
    from numpy.typing import NDArray

logging.getLogger("tifffile").addHandler(logging.NullHandler())  # without a handler Python prints what tifffile logs
_READABLE = {"uint8", "uint16", "uint32", "int8", "int16", "int32", "float16", "float32", "float64", "bool"}
_FLOAT_PREDICTOR = 3
_PACKBITS, _JPEG, _LZW, _PILLOW = 32773, 7, 5, (2, 3, 4, 6, 7, 50001)  # faxes, both kinds of JPEG, WebP
#: Sizes of samples that tifffile unpacks; others are unpacked here.
_WHOLE_BITS = (1, 8, 16, 32, 64)
#: Depths that are spread over 0..255, as in a PNG.
_SPREAD = (1, 2, 4)
_MODES: dict[tuple[str, ...], str] = {
    ("l",): "L",
    ("l", "a"): "LA",
    ("r", "g", "b"): "RGB",
    ("r", "g", "b", "a"): "RGBA",
}


class TiffDecoder:
    """A page of a TIFF.

    Raises
    ------
    ImageError
        The page does not exist, is not a picture of rows and columns, or has more planes than ``max_planes``.
    """

    def __init__(self, file: BinaryIO, frame: int, orientation: str, max_planes: int | None) -> None:
        file.seek(0)
        self._file, self._orientation, self._max_planes = file, orientation, max_planes
        self._lock = threading.Lock()
        self._tiff = tifffile.TiffFile(file)
        self.seek(frame)

    def seek(self, frame: int) -> bool:
        """Go to a page."""
        n_pages = len(self._tiff.pages)
        if frame >= n_pages:
            raise ImageError(f"has no frame {frame}", hint=f"{n_pages} frames, counted from 0")
        page = self._page = self._tiff.pages[frame].aspage()
        self._compression = int(page.tags.valueof(259, default=1))
        self._photometric = int(page.photometric) if 262 in page.tags else RGB  # of one plane: grey
        self._bits = page.bitspersample
        found = page.tags.valueof(ORIENTATION_TAG, default=1)
        self._found = found if found in range(1, 9) else 1
        self._turn = self._found if self._orientation == "apply" else 1
        if self._compression in (1, _PACKBITS):
            page.predictor = 1  # the tag is for LZW and its like (TIFF 6.0 §14): libtiff ignores it here
        # tifffile undoes it with imagecodecs only.
        is_apart = page.predictor == _FLOAT_PREDICTOR and page.dtype is not None and page.dtype.kind == "f"
        self._own_floats = is_apart and _FLOAT_PREDICTOR not in tifffile.TIFF.UNPREDICTORS
        self._check_kind()
        # The same pictures come out whether imagecodecs is there or not; it is needed for JPEG of 12 bits.
        for_pillow = self._compression in _PILLOW and (self._bits in (1, 8) or not self._can_decode())
        subsampled = self._photometric == YCBCR and self._compression not in _PILLOW
        self._pillow = open_tiff_page(self._file, frame) if for_pillow or subsampled else None
        # tifffile is told that LZW strips are not compressed: it gets them decoded, and undoes predictor and byte order
        self._own_lzw = self._compression == _LZW and _LZW not in tifffile.TIFF.DECOMPRESSORS
        if self._own_lzw:
            page.compression = page.fillorder = 1  # the order of bits is that of the codes, not of the samples
        self._describe(n_pages)
        return True

    def decode(self) -> NDArray[Any]:
        """Return all samples (H, W, P)."""
        if self._pillow is not None:
            self._pillow.load()
            plain = self._pillow if self._pillow.mode in ("1", *_MODES.values()) else self._pillow.convert("RGB")
            samples = pixels_of(plain)  # Pillow turns a TIFF upright by itself
            return samples if self._turn != 1 else turn_upright(samples, {6: 8, 8: 6}.get(self._found, self._found))
        page = self._page
        if self._own_lzw or self._own_floats or self._bits not in _WHOLE_BITS:
            n_rows = -(-page.imagelength // self._segment_rows())
            samples = np.concatenate([self._decode_row(index) for index in range(n_rows)])
        else:
            samples = page.asarray()
            samples = samples.transpose(1, 2, 0) if page.axes == "SYX" else samples
        samples = samples.reshape(page.imagelength, page.imagewidth, -1)
        return turn_upright(self._meaning(samples), self._turn)

    def jpegs(self) -> Iterator[bytes]:
        """Yield the strips or tiles that Pillow decodes from JPEG, whole: their tables stand in a tag."""
        if self._pillow is not None and self._compression == _JPEG:
            tables = self._page.jpegtables or b"\xff\xd8\xff\xd9"
            for offset, n_bytes in zip(self._page.dataoffsets, self._page.databytecounts, strict=False):
                self._file.seek(offset)
                yield tables[:-2] + self._file.read(n_bytes)[2:]

    def window(self) -> RawRows | SegmentRows | None:
        """Return the rows without reading them, or None where that is not possible."""
        page = self._page
        shape = (page.imagelength, page.imagewidth, page.samplesperpixel)
        if self._turn != 1 or self._pillow is not None or self._converts or self.info.dtype != page.dtype.name:
            return None
        is_raw = self._compression == 1 and page.fillorder == 1 and self._bits in _WHOLE_BITS
        if is_raw and page.axes != "SYX" and page.is_contiguous:
            end = page.dataoffsets[0] + shape[0] * shape[1] * shape[2] * page.dtype.itemsize
            missing = end - self._file.seek(0, 2)
            if missing > 0:
                raise ImageError(f"is truncated: {missing:,} bytes missing", hint="copy or download the file again")
            return RawRows(self._file, page.dataoffsets[0], shape, page.dtype.newbyteorder(self._tiff.byteorder))
        return SegmentRows(shape, page.dtype, self._segment_rows(), self._decode_row)

    def _check_kind(self) -> None:
        """Refuse pages that are no pictures, claim too many planes, or lack strips."""
        page, n_planes = self._page, self._page.samplesperpixel
        check_count("planes", n_planes, self._max_planes)
        dtype = page.dtype
        if dtype is None or dtype.name not in _READABLE or page.axes not in ("YX", "YXS", "SYX"):
            kind = f"{page.axes} of {dtype}"
            raise ImageError(f"cannot be decoded (TIFF page {kind})", hint="pages of rows and columns are read")
        is_odd = self._bits not in _WHOLE_BITS
        if is_odd and (
            page.fillorder == 2 or page.predictor != 1 or not isinstance(self._bits, int) or not self._bits % 8
        ):
            raise ImageError(f"cannot be decoded ({self._bits} bits a sample)", hint="store it with 8, 16 or 32 bits")
        if self._photometric == PALETTE and (n_planes != 1 or self._bits > 8):
            raise ImageError("cannot be decoded (TIFF palette of this kind)", hint="convert it to RGB first")
        if self._compression not in _PILLOW and not self._can_decode():
            raise ImageError(
                f"cannot be decoded (compression {self._compression}, predictor {int(page.predictor)})",
                hint="pip install imagecodecs, or store it uncompressed",
            )
        n_there, n_wanted = len(page.dataoffsets), int(np.prod(page.chunked)) if page.dataoffsets else 1
        places = zip(page.dataoffsets, page.databytecounts, strict=False)
        self._missing = {at for at, place in enumerate(places) if 0 in place}
        if n_there < n_wanted:
            raise ImageError(f"is damaged: {n_there} of {n_wanted} strips or tiles", hint="copy it again")

    def _can_decode(self) -> bool:
        """Return whether tifffile decodes the page with the packages there are."""
        is_known = self._compression in (1, _LZW) or self._compression in tifffile.TIFF.DECOMPRESSORS
        predictor = self._page.predictor
        return is_known and (predictor == 1 or self._own_floats or predictor in tifffile.TIFF.UNPREDICTORS)

    def _sample_notes(self, n_pages: int, dtype: str) -> list[str]:
        """Note what the tags leave open, and what reading changes."""
        page, bits, notes = self._page, self._bits, [*bits_notes(self._bits, dtype), *parts_notes(self._page.tags)]
        if page.dtype.name == "float16":
            notes.append("float16 samples are read as float32")
        if bits == 1 and self._photometric != PALETTE:
            notes.append("1-bit samples are read as 0 and 255")
        if bits not in (*_WHOLE_BITS, *_SPREAD) and page.dtype.kind != "f":
            notes.append(f"white is {self._white:.0f} ({bits} bits)")
        if 262 not in page.tags:
            notes.append("the file does not say which value is white: 0 is taken for black")
        if self._missing:
            kind = "tiles" if page.is_tiled else "strips"
            missing = f"{len(self._missing)} of {len(page.dataoffsets)} {kind}"
            notes.append(f"{missing} are not stored and read as {page.nodata:g}")
        # ImageJ gives stacks beyond 4 GiB one page only.
        n_in_stack = (self._tiff.imagej_metadata or {}).get("images", 1) if self._tiff.is_imagej else 1
        if n_in_stack > n_pages:
            notes.append(f"{n_in_stack - n_pages} images of an ImageJ stack without pages are not read")
        return notes

    def _describe(self, n_pages: int) -> None:
        page, n_planes, bits = self._page, self._page.samplesperpixel, self._bits
        dtype = page.dtype.name
        out = "uint8" if bits in _SPREAD else "float32" if dtype == "float16" else dtype
        whole = 255.0 if bits in _SPREAD else float(2 ** (bits - (page.dtype.kind == "i")) - 1)
        self._white = 1.0 if page.dtype.kind == "f" else whole
        notes = self._sample_notes(n_pages, out)
        if self._pillow is not None:
            by_mode = {mode: names for names, mode in _MODES.items()} | {"1": ("l",)}
            names = by_mode.get(self._pillow.mode, ("r", "g", "b"))
            mode, out, self._white, self._converts = self._pillow.mode, "uint8", 255.0, True
            if mode == "CMYK":
                notes.append("CMYK is converted to RGB without its ICC profile")
            elif self._photometric == YCBCR and self._compression not in _PILLOW:
                notes.append("YCbCr is converted to RGB")
        else:
            self._colours = colours_of(page, self._photometric)
            self._converts = self._colours.converts or bits in _SPREAD
            names = self._colours.names
            notes += self._colours.notes
            is_plain = bits == 8 and page.dtype.kind == "u"
            mode = _MODES.get(names, f"{n_planes}xuint8") if is_plain else f"{n_planes}x{dtype}"
            inks = "CMYK" if self._colours.kind == "inks" else mode
            mode = "P" if self._photometric == PALETTE else "1" if bits == 1 else inks
        height, width = page.imagelength, page.imagewidth
        if self._turn >= 5:
            height, width = width, height
        if self._orientation == "ignore" and self._found != 1:
            notes.append(f"orientation {self._found} is ignored")
        metadata = tiff_metadata(page, self._found if self._orientation == "keep" else 1)
        if mode == "CMYK":
            metadata = metadata._replace(icc=None)  # it describes inks that are gone
        self.info = ImageInfo(
            "tiff", mode, width, height, names, out, self._white, n_pages, self._found, metadata, tuple(notes)
        )

    def _meaning(self, samples: NDArray[Any]) -> NDArray[Any]:
        """Return stored samples as what they mean: palette, inks and inverted grey become colour and grey."""
        if self._photometric == PALETTE:
            return palette_of(self._page)[samples[:, :, 0].astype(np.intp)]
        if self._bits in _SPREAD:
            samples = samples.astype(np.uint8) * np.uint8(255 // (2**self._bits - 1))
        return self._colours.of(samples.astype(self.info.dtype, copy=False), self._white)

    def _segment_rows(self) -> int:
        page = self._page
        return int(page.tilelength if page.is_tiled else min(page.rowsperstrip, page.imagelength))

    def _decode_row(self, index: int) -> NDArray[Any]:
        """Decode one row of tiles, or one strip, of all planes, shape (rows, W, P)."""
        page, step = self._page, self._segment_rows()
        height, width, n_planes = page.imagelength, page.imagewidth, page.samplesperpixel
        across, down = -(-width // page.tilewidth) if page.is_tiled else 1, -(-height // step)
        n_rows = min(step, height - index * step)
        band = np.full((n_rows, width, n_planes), page.nodata, page.dtype)
        n_apart = n_planes if page.axes == "SYX" else 1
        for plane in range(n_apart):
            for column in range(across):
                segment = self._segment((plane * down + index) * across + column, n_rows)
                if segment is None:
                    continue  # a sparse tile
                left = column * page.tilewidth if page.is_tiled else 0
                part = segment[:n_rows, : width - left]
                planes = slice(plane, plane + 1) if n_apart > 1 else slice(None)
                band[: len(part), left : left + part.shape[1], planes] = part
        return band

    def _segment(self, at: int, n_rows: int) -> NDArray[Any] | None:
        """Decode one strip or tile, shape (rows, columns, planes), or return None for one that is not stored."""
        page = self._page
        if at in self._missing:
            return None
        with self._lock:
            self._file.seek(page.dataoffsets[at])
            data = self._file.read(page.databytecounts[at])  # under the lock: threads share the place in the file
        rows = page.tilelength if page.is_tiled else n_rows
        width = page.tilewidth if page.is_tiled else page.imagewidth
        n_planes = 1 if page.axes == "SYX" else page.samplesperpixel
        if self._own_lzw:
            data = decode_lzw(
                data, rows, -(-width * n_planes * self._bits // 8), int(page.tags.valueof(266, default=1))
            )
        if self._bits in _WHOLE_BITS and not self._own_floats:
            segment, _, shape = page.decode(data, at, jpegtables=page.jpegtables)
            return None if segment is None else segment.reshape(shape[1], shape[2], -1)
        if not self._own_lzw and self._compression != 1:
            data = tifffile.TIFF.DECOMPRESSORS[self._compression](data)
        if self._own_floats:
            return undo_float_predictor(data, (rows, width, n_planes), page.dtype)
        return unpack_bits(data, rows, width, n_planes, self._bits).astype(page.dtype)
