"""Pictures to files, a band of rows at a time where the format allows it.

PNG, TIFF, PPM and PFM are encoded band by band: :meth:`PictureWriter.encode` may run in any thread and in any order,
:meth:`PictureWriter.append` takes the results from top to bottom. JPEG, WebP, BMP and GIF are collected and left to
Pillow. A file appears under its name only when it is whole.
"""

from __future__ import annotations

import io
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import numpy as np

from convcli.errors import OutputError
from convcli.images import formats
from convcli.images.info import NO_METADATA, Metadata
from convcli.images.targets import Target, TargetFile

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import NDArray


_DTYPE: dict[str, np.dtype[Any]] = {
    "1": np.dtype(np.uint8),
    "8": np.dtype(np.uint8),
    "16": np.dtype(np.uint16),
    "float": np.dtype(np.float32),
}
_KEPT_NAMES = {"icc": "ICC profile", "dpi": "DPI", "exif": "EXIF", "stamp": "text stamp"}


def picture_notes(
    picture_format: str,
    n_planes: int,
    metadata: Metadata,
    *,
    quality: int | None = None,
    subsampling: str | None = None,
) -> tuple[str, ...]:
    """Return what a format cannot keep of a picture, each in one line; known before a pixel is read.

    Examples
    --------
    >>> picture_notes("bmp", 3, Metadata(icc=b"profile"))
    ('bmp cannot keep the ICC profile',)
    >>> picture_notes("jpeg", 3, Metadata(), quality=50, subsampling="4:2:0")
    ('JPEG is lossy (quality 50, chroma 4:2:0)',)
    """
    rule = formats.BY_NAME[picture_format]
    notes = [
        f"{picture_format} cannot keep the {_KEPT_NAMES[field]}"
        for field in _KEPT_NAMES
        if getattr(metadata, field) and field not in rule.keeps
    ]
    if metadata.icc and "icc" in rule.keeps and fitting_icc(metadata, n_planes).icc is None:
        space = metadata.icc[16:20].decode("ascii", "replace").strip()
        notes.append(f"the ICC profile is of {space} and is left out of a picture of {n_planes} planes")
    if metadata.left_out:
        notes.append(f"left out of the picture: {', '.join(metadata.left_out)}")
    if picture_format == "jpeg" or quality is not None:
        chroma = "no chroma subsampling" if subsampling in (None, "4:4:4") else f"chroma {subsampling}"
        title = {"jpeg": "JPEG", "webp": "WebP"}[picture_format]
        notes.append(f"{title} is lossy (quality {quality or 92}, {'chroma 4:2:0' if title == 'WebP' else chroma})")
    if rule.note and not (picture_format == "gif" and n_planes == 1):
        notes.append(rule.note)
    if picture_format == "webp" and n_planes < 3:
        notes.append("webp has no grey: the plane is stored three times")
    return tuple(notes)


def fitting_icc(metadata: Metadata, n_planes: int) -> Metadata:
    """Return the metadata without an ICC profile that is of another colour space than the picture.

    Decoders reject or misread a grey picture with an RGB profile. ICC.1 §7.2.6: bytes 16 to 19 name the space.

    Examples
    --------
    >>> fitting_icc(Metadata(icc=bytes(16) + b"RGB " + bytes(108)), 1).icc is None
    True
    """
    others = (b"RGB ", b"CMYK", b"Lab ") if n_planes < 3 else (b"GRAY", b"CMYK", b"Lab ")
    return metadata._replace(icc=None) if metadata.icc and metadata.icc[16:20] in others else metadata


class _Encoder(Protocol):
    """One format: turns rows into something that can be appended in order."""

    def encode(self, rows: NDArray[Any]) -> Any: ...
    def append(self, band: Any) -> None: ...
    def finish(self) -> None: ...


class PictureWriter:
    """One picture being written; see :func:`open_picture`.

    A context manager: leaving it normally closes the file, leaving it by an exception removes it.
    """

    def __init__(self, target: TargetFile, encoder: _Encoder, *, streams: bool) -> None:
        self._target = target
        self._encoder = encoder
        self._done = False
        #: Whether bands reach the file as they come (else the samples are collected until :meth:`close`).
        self.streams = streams

    def encode(self, rows: NDArray[Any]) -> Any:
        """Turn a band of samples (h, W, P) or (h, W) into what :meth:`append` takes; safe in any thread, any order."""
        return self._encoder.encode(rows)

    def append(self, band: Any) -> None:
        """Write an encoded band; bands are appended from top to bottom."""
        with self._target.explained():
            self._encoder.append(band)

    def write(self, rows: NDArray[Any]) -> None:
        """Encode and append the next rows."""
        self.append(self.encode(rows))

    def close(self) -> None:
        """End the file and give it its name.

        Raises
        ------
        OutputError
            The disk is full or the file cannot be written; nothing is left of it.
        """
        if self._done:
            return
        try:
            with self._target.explained():
                self._encoder.finish()
            self._target.commit()
        except BaseException:
            self.abort()
            raise
        self._done = True

    def abort(self) -> None:
        """Remove what was written so far; does nothing after :meth:`close`."""
        self._done = True
        self._target.discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


def open_picture(
    target: Target,
    *,
    width_px: int,
    height_px: int,
    n_planes: int,
    depth: str = "8",
    picture_format: str = "png",
    metadata: Metadata = NO_METADATA,
    compress: str = "fast",
    quality: int | None = None,
    subsampling: str | None = None,
) -> PictureWriter:
    """Begin a picture file.

    Parameters
    ----------
    target : path or binary file
        A path is written to a temporary name and renamed by ``close``; an existing file is replaced, which is the
        caller's policy to allow.
    width_px, height_px : int
    n_planes : {1, 2, 3, 4}
        Grey, grey + alpha, RGB, RGB + alpha.
    depth : {"1", "8", "16", "float"}
        Samples are uint8 (for ``1``: zero or not), uint8, uint16, float32.
    picture_format : str
        A name of :data:`convcli.images.formats.FORMATS` that can be written.
    metadata : Metadata
        What of it the format cannot keep is told by :func:`picture_notes`.
    compress : {"fast", "default", "small"}
    quality : int, optional
        1 to 100. JPEG: 92 if absent; WebP is lossless if absent.
    subsampling : {"4:4:4", "4:2:2", "4:2:0"}, optional
        Resolution of the colours of a JPEG: full, half the columns, half the columns and rows.

    Raises
    ------
    OutputError
        The format cannot hold such samples, or the file cannot be made.
    """
    check_picture(picture_format, n_planes, depth, (height_px, width_px))
    metadata = fitting_icc(metadata, n_planes)
    file = TargetFile(target)
    try:
        with file.explained():
            encoder, streams = _make_encoder(
                file, picture_format, width_px, height_px, n_planes, depth, metadata, compress, quality, subsampling
            )
    except BaseException:
        file.discard()
        raise
    return PictureWriter(file, encoder, streams=streams)


def write_picture(target: Target, samples: NDArray[Any], **options: Any) -> None:
    """Write a whole picture: (H, W) or (H, W, P) of uint8, uint16, float32 or bool; options as :func:`open_picture`.

    Examples
    --------
    >>> file = io.BytesIO()
    >>> write_picture(file, np.zeros((2, 3, 3), np.uint8))
    >>> file.getvalue()[1:4]
    b'PNG'
    """
    depth = {"b": "1", "f": "float"}.get(samples.dtype.kind, "16" if samples.dtype.itemsize == 2 else "8")
    height, width = samples.shape[:2]
    n_planes = samples.shape[2] if samples.ndim == 3 else 1
    options.setdefault("depth", depth)
    with open_picture(target, width_px=width, height_px=height, n_planes=n_planes, **options) as writer:
        rows = max(1, (1 << 18) // max(1, samples[0].nbytes))
        for top in range(0, height, rows):
            writer.write(samples[top : top + rows])


def check_picture(picture_format: str, n_planes: int, depth: str, size_hw: tuple[int, int]) -> None:
    """Refuse what a format cannot hold.

    Raises
    ------
    OutputError
        With a hint that names formats that can.
    """
    rule = formats.BY_NAME[picture_format]
    if depth not in rule.depths:
        able = formats.able("depths", depth)
        raise OutputError(f"{picture_format} cannot store depth {depth}", hint=f"--format {' or '.join(able)}")
    if n_planes not in rule.planes:
        able = formats.able("planes", n_planes)
        hint = f"--format {' or '.join(able)}" if able else "--format npy, or --layout maps"
        raise OutputError(f"{picture_format} cannot store {n_planes} planes", hint=hint)
    if max(size_hw) > rule.most_px:
        size = f"{size_hw[0]} x {size_hw[1]} pixels"
        raise OutputError(f"{picture_format} cannot store {size}: at most {rule.most_px} a side", hint="--format png")


def _make_encoder(
    file: TargetFile,
    picture_format: str,
    width_px: int,
    height_px: int,
    n_planes: int,
    depth: str,
    metadata: Metadata,
    compress: str,
    quality: int | None,
    subsampling: str | None,
) -> tuple[_Encoder, bool]:
    if picture_format == "png":
        from convcli.images.png import PngWriter

        bits = int(depth)
        return PngWriter(file.file, width_px, height_px, n_planes, bits, metadata=metadata, compress=compress), True
    if picture_format == "tiff":
        from convcli.images.tiff import TiffWriter

        sink: BinaryIO = file.file if file.is_seekable else io.BytesIO()
        writer = TiffWriter(sink, width_px, height_px, n_planes, _DTYPE[depth], metadata=metadata, compress=compress)
        return (writer, True) if file.is_seekable else (Copied(writer, sink, file.file), False)
    if picture_format in ("ppm", "pfm"):
        from convcli.images.netpbm import PfmWriter, PpmWriter

        if picture_format == "ppm":
            return PpmWriter(file.file, width_px, height_px, n_planes, depth, metadata.stamp), True
        return PfmWriter(file.file, width_px, height_px, n_planes), False
    from convcli.images.pillow_write import PillowWriter

    return PillowWriter(file.file, picture_format, metadata, compress, quality, subsampling), False


class Copied:
    """A writer that needs to seek, before a target that cannot: finished in memory, then copied."""

    def __init__(self, inner: _Encoder, buffer: BinaryIO, file: BinaryIO) -> None:
        self.encode, self.append = inner.encode, inner.append
        self._inner, self._buffer, self._file = inner, buffer, file

    def finish(self) -> None:
        """Finish in memory, then copy."""
        self._inner.finish()
        self._file.write(self._buffer.getvalue())  # type: ignore[attr-defined]
