"""Losses of pictures and animations in their formats, a note each with its numbers, known before a pixel is read."""

from __future__ import annotations

from collections.abc import Sequence

from convcli.images.formats import BY_NAME, DURATION_MS, Format, fitting, stored_ms
from convcli.images.headers import orientation_block
from convcli.images.info import Metadata

_TITLES = {"jpeg": "JPEG", "webp": "WebP", "avif": "AVIF", "jp2": "JPEG 2000"}
#: EXIF that a TIFF keeps: nothing but an orientation.
_TIFF_EXIF = tuple(orientation_block(orientation) for orientation in range(1, 9))
#: PNG and BMP count dots a metre: 300 DPI come back as 299.9994.
_NEARLY = 0.02
_KEPT_NAMES = {"icc": "ICC profile", "dpi": "DPI", "exif": "EXIF", "stamp": "text stamp"}


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
