"""PBM, PGM, PPM and PFM: samples as they are stored, with any maxval; by windows where the file is large and binary.

Pillow stretches 16-bit colour to 8 bits and an odd maxval to 255; here samples keep their units and maxval is white.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from convcli.errors import ImageError
from convcli.images.formats import Picture
from convcli.images.headers import named_texts
from convcli.images.info import ImageInfo, Metadata
from convcli.images.windows import RawRows

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Magic -> planes. P1 to P3 are text, P1 and P4 bits, Pf and PF float.
_PLANES = {b"P1": 1, b"P2": 1, b"P3": 3, b"P4": 1, b"P5": 1, b"P6": 3, b"Pf": 1, b"PF": 3}
#: Searched for the header, which may hold remarks of any length.
_HEAD_BYTES = 65536
_COMMENT = re.compile(rb"#[^\n]*\n?")
_GAP = rb"(?:\s|#[^\n]*\n)+"
#: Magic and size, then maxval or scale, then one blank.
_BITS_HEAD = re.compile(rb"P[14]" + _GAP + rb"(\S{1,32})" + _GAP + rb"(\S{1,32})\s")
_HEAD = re.compile(rb"P[2356Ff]" + _GAP + rb"(\S{1,32})" + _GAP + rb"(\S{1,32})" + _GAP + rb"(\S{1,32})\s")


class NetpbmDecoder:
    """An opened PBM, PGM, PPM or PFM.

    Raises
    ------
    ImageError
        The header is damaged, or the file is shorter than it says.
    """

    def __init__(self, file: BinaryIO, frame: int) -> None:
        if frame:
            raise ImageError(f"has no frame {frame}", hint="frames count from 0")
        file.seek(0)
        head = file.read(_HEAD_BYTES)
        self._file, self._kind = file, head[:2]
        is_bits, is_float = self._kind in (b"P1", b"P4"), self._kind in (b"Pf", b"PF")
        found = (_BITS_HEAD if is_bits else _HEAD).match(head)
        if found is None:
            raise ImageError("is truncated in its header, or damaged", hint="copy or download the file again")
        tokens, self._offset = found.groups(), found.end()
        width, height = _number(tokens[0], "width"), _number(tokens[1], "height")
        scaled: tuple[str, ...] = ()
        if is_float:
            stored, white = _float_type(tokens[2]), 1.0
            # Readers differ: some multiply by it, some divide, most look at its sign.
            scale = abs(float(tokens[2]))
            scaled = (f"the scale {scale:g} in the header is not applied",) if scale != 1 else ()
        else:
            white = 255 if is_bits else _number(tokens[2], "maxval")
            if white > 65535:
                raise ImageError(f"has maxval {white}", hint="PGM and PPM go to 65535")
            # Two bytes a sample, the high one first, from maxval 256 on: pgm(5).
            stored = np.dtype("u1" if white < 256 else ">u2")
        shape = (height, width, _PLANES[self._kind])
        rest = self._check_length(shape, stored)
        said = "1-bit samples are read as 0 and 255" if is_bits else f"white is maxval {white}"
        self._rows = None
        if self._kind in (b"P5", b"P6", b"Pf", b"PF"):
            # A PFM has its bottom row first.
            self._rows = RawRows(file, self._offset, shape, stored, upside_down=is_float)
        self.info = ImageInfo(
            format="pfm" if is_float else "ppm",
            mode=self._kind.decode(),
            width_px=width,
            height_px=height,
            plane_names=("r", "g", "b") if shape[2] == 3 else ("l",),
            dtype=stored.newbyteorder("=").name,
            white=float(white),
            metadata=Metadata(left_out=named_texts(["comment"] if _has_remark(head[: self._offset]) else [])),
            notes=((said,) if is_bits or white not in (1, 255, 65535) or (white == 1 and not is_float) else ())
            + scaled
            + rest,
        )

    def _check_length(self, shape: tuple[int, int, int], stored: np.dtype[Any]) -> tuple[str, ...]:
        """Refuse a file that is cut; note bytes after the picture, as there may be several, one behind the other."""
        height, width, n_planes = shape
        is_text = self._kind in (b"P1", b"P2", b"P3")
        # A text has a character a sample at least.
        row_bytes = width * n_planes * (1 if is_text else stored.itemsize)
        if self._kind == b"P4":
            row_bytes = -(-width // 8)
        n_wanted = height * row_bytes
        n_rest = self._file.seek(0, 2) - self._offset - n_wanted
        if n_rest < 0:
            raise ImageError(
                f"is truncated: {-n_rest:,} of {n_wanted:,} bytes missing", hint="copy or download it again"
            )
        self._file.seek(self._offset + n_wanted)
        is_blank = is_text or not self._file.read(64).strip(b"\0 \t\r\n")
        return () if is_blank else (f"{n_rest:,} bytes after the picture are not read",)

    def seek(self, frame: int) -> bool:  # noqa: ARG002 - one frame is all there is
        """Return False: another frame is opened anew."""
        return False

    def decode(self) -> NDArray[Any]:
        """Return all samples (H, W, P)."""
        if self._rows is not None:
            return self._rows.samples(0, self.info.height_px)
        self._file.seek(self._offset)
        return self._unpack_bits() if self._kind == b"P4" else self._parse_text()

    def window(self) -> RawRows | None:
        """Return the rows without reading them; None for bits and text."""
        return self._rows

    def _unpack_bits(self) -> NDArray[np.uint8]:
        height, width = self.info.height_px, self.info.width_px
        row_bytes = -(-width // 8)
        packed = np.frombuffer(self._file.read(height * row_bytes), np.uint8).reshape(height, row_bytes)
        # 1 is black in a PBM.
        return (1 - np.unpackbits(packed, axis=1, count=width))[:, :, None] * np.uint8(255)

    def _parse_text(self) -> NDArray[Any]:
        shape = (self.info.height_px, self.info.width_px, self.info.n_planes)
        n_samples = shape[0] * shape[1] * shape[2]
        text = _COMMENT.sub(b" ", self._file.read())
        if self._kind == b"P1":  # digits may stand without a space between them
            text = b" ".join(re.findall(rb"[^\s]", text)[:n_samples])
        if bad := re.search(rb"[^0-9\s]+", text):
            shown = bad[0][:20].decode("ascii", "backslashreplace")
            raise ImageError(f"has {shown!r} among its samples", hint="the file is damaged")
        samples = np.fromstring(text.decode(), np.int64, sep=" ")[:n_samples]
        if len(samples) < n_samples:
            missing = n_samples - len(samples)
            raise ImageError(f"is truncated: {missing:,} of {n_samples:,} samples missing", hint="copy it again")
        most = 1 if self._kind == b"P1" else int(self.info.white)
        if samples.max() > most:
            raise ImageError(f"has sample {samples.max()}, above its maxval {most}", hint="the file is damaged")
        if self._kind == b"P1":
            samples = (1 - samples) * 255
        return samples.astype(self.info.dtype).reshape(shape)


def _has_remark(head: bytes) -> bool:
    """Whether a header has a comment that convcli did not write."""
    remarks = [line.strip(b"# \t\r\n") for line in _COMMENT.findall(head)]
    return any(remark and not remark.startswith(b"convcli ") for remark in remarks)


def _number(token: bytes, name: str) -> int:
    if not token.isdigit() or len(token) > 10 or int(token) < 1:
        shown = token[:20].decode("ascii", "backslashreplace")
        raise ImageError(f"has {name} {shown!r} in its header", hint="the file is damaged")
    return int(token)


def _float_type(token: bytes) -> np.dtype[Any]:
    """Return the sample type by the sign of the scale (negative: little-endian)."""
    try:
        scale = float(token)
    except ValueError:
        scale = 0.0
    if not 0 < abs(scale) < float("inf"):
        raise ImageError(f"has scale {token[:20]!r} in its header", hint="the file is damaged")
    return np.dtype("<f4" if scale < 0 else ">f4")


class PpmWriter:
    """Write binary PBM (P4), PGM (P5) or PPM (P6), 1, 8 or 16 bits, row by row.

    The text stamp becomes comment lines.
    """

    def __init__(self, file: BinaryIO, picture: Picture) -> None:
        self._file = file
        self._dtype = np.dtype(">u2" if picture.depth == "16" else "u1")
        comments = "".join(f"# {line}\n" for line in picture.metadata.stamp.splitlines())
        self._is_bit = picture.depth == "1"
        maxval = {"1": "", "8": "255\n", "16": "65535\n"}[picture.depth]
        kind = "P4" if self._is_bit else "P6" if picture.n_planes == 3 else "P5"
        head = f"{kind}\n{comments}{picture.width_px} {picture.height_px}\n{maxval}"
        file.write(head.encode("utf-8", "replace"))

    def encode(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return the rows in the file's byte order; in a PBM 1 is black."""
        if self._is_bit:
            return np.packbits(rows.reshape(len(rows), -1) == 0, axis=1)
        return np.array(rows, dtype=self._dtype, order="C")

    def append(self, band: NDArray[Any]) -> None:
        """Write rows."""
        self._file.write(band.data)

    def finish(self) -> None:
        """Write nothing: the file ends with its rows."""


class PfmWriter:
    """Write a float PFM (Pf, PF); its rows go from bottom to top, so they are collected."""

    def __init__(self, file: BinaryIO, picture: Picture) -> None:
        self._file = file
        self._bands: list[NDArray[np.float32]] = []
        kind = "PF" if picture.n_planes == 3 else "Pf"
        # The sign of the scale says little-endian.
        self._head = f"{kind}\n{picture.width_px} {picture.height_px}\n-1.0\n".encode()

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
