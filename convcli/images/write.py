"""Pictures in files, a band of rows at a time where the format allows it, and what their formats lose.

PNG, TIFF, PPM and PFM are encoded band by band: :meth:`PictureWriter.encode` may run in any thread and in any order,
:meth:`PictureWriter.append` takes the results from top to bottom. Other formats are collected and left to Pillow.
"""

from __future__ import annotations

import os
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from convcli.images.files import TargetFile, opened_target
from convcli.images.formats import BY_NAME, DURATION_MS, Format, Picture, fitting, stored_ms
from convcli.images.headers import orientation_block
from convcli.images.info import Metadata

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Self

    from numpy.typing import NDArray

Target = str | os.PathLike[str] | BinaryIO | TargetFile

_TITLES = {"jpeg": "JPEG", "webp": "WebP", "avif": "AVIF", "jp2": "JPEG 2000"}
#: EXIF that a TIFF keeps: nothing but an orientation.
_TIFF_EXIF = tuple(orientation_block(orientation) for orientation in range(1, 9))
#: PNG and BMP count dots a metre: 300 DPI come back as 299.9994.
_NEARLY = 0.02
_KEPT_NAMES = {"icc": "ICC profile", "dpi": "DPI", "exif": "EXIF", "stamp": "text stamp"}


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


def picture_notes(
    picture_format: str,
    n_planes: int,
    metadata: Metadata,
    *,
    quality: int | None = None,
    subsampling: str | None = None,
) -> tuple[str, ...]:
    """Return the losses of a picture in a format, one line each; known before a pixel is read.

    Examples
    --------
    >>> picture_notes("bmp", 3, Metadata(icc=b"profile"))
    ('bmp cannot keep the ICC profile',)
    >>> picture_notes("avif", 3, Metadata(), subsampling="4:2:0")
    ('AVIF is lossy (quality 90, chroma 4:2:0)',)
    """
    row = BY_NAME[picture_format]
    notes = [
        f"{picture_format} cannot keep the {_KEPT_NAMES[field]}"
        for field in _KEPT_NAMES
        if getattr(metadata, field) and field not in row.keeps
        if not (field == "exif" and picture_format == "tiff" and metadata.exif in _TIFF_EXIF)
    ]
    notes += _unfitting(row, metadata, fitting(picture_format, metadata, n_planes), n_planes)
    if metadata.left_out:
        notes.append(f"left out of the picture: {', '.join(metadata.left_out)}")
    quality = row.quality if quality is None else quality
    if "quality" in row.options and quality is not None:
        chroma = "no chroma subsampling" if subsampling in (None, "4:4:4") else f"chroma {subsampling}"
        chroma = {"webp": ", chroma 4:2:0", "jp2": ""}.get(picture_format, f", {chroma}")
        notes.append(f"{_TITLES[picture_format]} is lossy (quality {quality}{chroma})")
    if row.note and not (picture_format == "gif" and n_planes < 3):
        notes.append(row.note)
    if row.alpha_is_bit and n_planes in (2, 4):
        notes.append("GIF's alpha has 1 bit: below half of white it becomes clear, else opaque")
    if picture_format == "webp" and n_planes < 3:
        notes.append("webp has no grey: the plane is stored three times")
    return tuple(notes)


def _unfitting(row: Format, metadata: Metadata, kept: Metadata, n_planes: int) -> list[str]:
    """Note metadata that the format has a place for, and that do not fit into it."""
    notes, (icc, dpi, exif) = [], metadata[:3]
    if icc and "icc" in row.keeps and kept.icc is None:
        space = icc[16:20].decode("ascii", "replace").strip()
        notes.append(f"the ICC profile is of {space} and is left out of a picture of {n_planes} planes")
    if exif and "exif" in row.keeps and kept.exif is None:
        notes.append(f"{row.name} cannot keep EXIF of {len(exif):,} bytes (at most {row.most_exif_bytes:,})")
    if dpi and "dpi" in row.keeps and kept.dpi is None:
        notes.append(f"{row.name} cannot keep {max(dpi):,.0f} DPI (at most {row.most_dpi:,})")
    elif dpi and row.has_whole_dpi and any(abs(dots - round(dots)) > _NEARLY for dots in dpi):
        was, now = (" x ".join(f"{number:g}" for number in pair) for pair in (dpi, map(round, dpi)))
        notes.append(f"DPI are rounded to whole numbers ({was} to {now})")
    return notes


def timing_notes(
    picture_format: str, durations_ms: Sequence[float | None], plays: int | None = None
) -> tuple[str, ...]:
    """Note when a format cannot keep the times of frames, or how often they are played.

    Examples
    --------
    >>> timing_notes("gif", (40.0, 75.0), 1)
    ('1 of 2 frame times are rounded to 10 ms (75 to 80)',)
    >>> timing_notes("webp", (40.0, 75.0, None), 0)
    ('1 frames have no time: 100 ms each',)
    """
    row, known = BY_NAME[picture_format], [time for time in durations_ms if time is not None]
    n_missing = len(durations_ms) - len(known)
    if not row.time_unit_ms:
        timed = f"{picture_format} keeps no frame times: {sum(known):g} ms in all, played {_times(plays)}"
        return (timed,) if known else ()
    notes = [f"{n_missing} frames have no time: {DURATION_MS} ms each"] if n_missing else []
    if plays is None:
        notes.append("the file does not say how often it is played: once")
    changed = [(time, stored) for time in known if (stored := stored_ms(picture_format, time)) != time]
    cut = [pair for pair in changed if pair[0] > row.most_ms]
    rounded = [pair for pair in changed if pair[0] <= row.most_ms]
    of = f"of {len(durations_ms)} frame times are"
    for pairs, what in ((rounded, f"rounded to {row.time_unit_ms} ms"), (cut, f"cut to {row.most_ms:,} ms")):
        if pairs:
            time, stored = max(pairs, key=lambda pair: abs(pair[0] - pair[1]))
            notes.append(f"{len(pairs)} {of} {what} ({time:.4g} to {stored})")
    if (plays or 1) > row.most_plays:
        notes.append(f"{picture_format} is played at most {row.most_plays:,} times, not {plays:,}")
    return tuple(notes)


def _times(plays: int | None) -> str:
    return {None: "once", 0: "for ever", 1: "once"}.get(plays, f"{plays:,} times" if plays else "")
