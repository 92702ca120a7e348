"""Pictures in files, a band of rows at a time where the format allows it.

PNG, TIFF, PPM and PFM are encoded band by band: :meth:`PictureWriter.encode` may run in any thread and in any order,
:meth:`PictureWriter.append` takes the results from top to bottom. Other formats are collected and left to Pillow.
"""

from __future__ import annotations

import os
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from convcli.images.files import TargetFile, opened_target
from convcli.images.formats import Picture

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from numpy.typing import NDArray

Target = str | os.PathLike[str] | BinaryIO | TargetFile


class Encoder(Protocol):
    """One format: turns rows into something that can be appended in order."""

    def encode(self, rows: NDArray[Any]) -> Any: ...  # noqa: D102
    def append(self, band: Any) -> None: ...  # noqa: D102
    def finish(self) -> None: ...  # noqa: D102


class PictureWriter:
    """A file being written band by band; see :func:`open_picture` and :func:`~convcli.images.arrays.open_raw`.

    A context manager: leaving it normally closes the file, leaving it by an exception removes it.
    """

    def __init__(self, target: TargetFile, encoder: Encoder, *, streams: bool) -> None:
        self._target = target
        self._encoder = encoder
        self._done = False
        #: Side of the tiles that :meth:`put` takes; 0 where there are bands only.
        self.tile_px: int = getattr(encoder, "tile_px", 0)
        #: Rows that :meth:`join` needs a multiple of, but at the end of a picture; 1: bands are appended as they are.
        self.band_px: int = getattr(encoder, "band_px", 1)
        #: Whether bands reach the file as they come (else the samples are collected until :meth:`close`).
        self.streams = streams

    @property
    def notes(self) -> tuple[str, ...]:
        """Losses that only the samples show, one line each; complete after :meth:`close`."""
        return tuple(getattr(self._encoder, "notes", ()))

    def encode(self, rows: NDArray[Any]) -> Any:
        """Turn a band of samples (h, W, P) or (h, W) into what :meth:`append` takes; safe in any thread, any order."""
        return self._encoder.encode(rows)

    def join(self, bands: Sequence[Any]) -> Any:
        """Turn encoded bands, neighbours, into one, where ``band_px`` is more than 1; safe in any thread."""
        return self._encoder.join(bands)  # type: ignore[attr-defined]

    def append(self, band: Any) -> None:
        """Write an encoded band; bands are appended from top to bottom."""
        with self._target.explained():
            self._encoder.append(band)

    def put(self, maps: NDArray[Any], top: int, left: int) -> None:
        """Write a tile of maps (O, h, w), in any order and from any thread, where there is a ``tile_px``."""
        with self._target.explained():
            self._encoder.put(maps, top, left)  # type: ignore[attr-defined]

    def write(self, rows: NDArray[Any]) -> None:
        """Encode and append the next rows."""
        band = self.encode(rows)
        self.append(band if self.band_px == 1 else self.join([band]))

    def close(self) -> None:
        """End the file and give it its name.

        Raises
        ------
        OutputError
            The name is taken, the disk is full or the file cannot be written; nothing is left of it.
        """
        if self._done:
            return
        try:
            with self._target.explained():
                self._encoder.finish()
            self._target.commit()
        except BaseException:  # Ctrl-C too leaves no half of a file
            self.abort()
            raise
        self._done = True

    def abort(self) -> None:
        """Remove what was written so far; does nothing after :meth:`close`."""
        if not self._done:
            self._target.discard()
        self._done = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()


def open_picture(target: Target, **options: Any) -> PictureWriter:
    """Begin a picture file.

    Parameters
    ----------
    target : path or binary file
        A path is written to a temporary name and renamed by ``close``; a file that exists is refused, unless a
        :class:`~convcli.images.files.TargetFile` says that it may be replaced.
    **options
        Fields of :class:`convcli.images.formats.Picture`.

    Raises
    ------
    OutputError
        The format cannot hold such samples, or the file cannot be made.
    """
    picture = Picture(**options).checked()
    with opened_target(target) as file:
        encoder, streams = _make_encoder(file, picture)
        return PictureWriter(file, encoder, streams=streams)


def _make_encoder(file: TargetFile, picture: Picture) -> tuple[Encoder, bool]:
    """Return the encoder, and whether bands reach the file as they come."""
    if picture.picture_format == "png":
        from convcli.images.png import PngWriter

        return PngWriter(file.file, picture), True
    if picture.picture_format == "tiff":
        from convcli.images.tiff import open_tiff

        return open_tiff(file.file, picture), file.is_seekable
    if picture.picture_format in ("ppm", "pfm"):
        from convcli.images.netpbm import PfmWriter, PpmWriter

        is_ppm = picture.picture_format == "ppm"
        return (PpmWriter if is_ppm else PfmWriter)(file.file, picture), is_ppm
    from convcli.images.pillow_write import PillowWriter

    return PillowWriter(file.file, picture), False


def write_picture(target: Target, samples: NDArray[Any], **options: Any) -> None:
    """Write a whole picture: (H, W) or (H, W, P) of uint8, uint16, float32 or bool; options as :func:`open_picture`.

    Examples
    --------
    >>> import io, numpy as np
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
        # Bands of about 256 KiB, so that a large picture is not copied whole.
        rows = max(1, (1 << 18) // max(1, samples[0].nbytes))
        rows = -(-rows // writer.band_px) * writer.band_px
        for top in range(0, height, rows):
            writer.write(samples[top : top + rows])
