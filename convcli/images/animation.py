"""Pictures of several frames or pages: animated GIF, WebP and PNG through Pillow, TIFF pages through our own writer.

To the caller the frames are one tall picture: rows of the first frame, then of the second, and so on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from convcli.errors import OutputError
from convcli.images import formats
from convcli.images.info import NO_METADATA, Metadata
from convcli.images.pillow_write import PillowWriter, Settings
from convcli.images.tiff import open_tiff
from convcli.images.write import PictureWriter, Target, opened_target

#: Time of a frame where the input does not say, as browsers take it.
_DURATION_MS = 100.0


def open_animation(
    target: Target,
    *,
    n_frames: int,
    width_px: int,
    height_px: int,
    n_planes: int,
    depth: str = "8",
    picture_format: str = "gif",
    durations_ms: Sequence[float | None] = (),
    loop: int | None = None,
    metadata: Metadata = NO_METADATA,
    compress: str = "fast",
    quality: int | None = None,
    subsampling: str | None = None,
) -> PictureWriter:
    """Begin a file of several frames of one size.

    Parameters
    ----------
    target, width_px, height_px, n_planes, depth, metadata, compress, quality, subsampling
        As for :func:`convcli.images.open_picture`, of one frame.
    n_frames : int
    picture_format : {"gif", "webp", "png", "tiff"}
    durations_ms : sequence of float or None
        How long each frame is shown; a tenth of a second where unknown. TIFF pages have none.
    loop : int, optional
        How often it is played; 0 is for ever, None once.

    Raises
    ------
    OutputError
        The format holds one picture only, or not such samples.
    """
    if not formats.BY_NAME[picture_format].animated:
        raise OutputError(
            f"{picture_format} holds one picture, not {n_frames} frames",
            hint=f"--format {' or '.join(formats.able('animated', True))}, or --frames first",
        )
    if picture_format != "tiff" and depth != "8":
        raise OutputError(f"an animated {picture_format} has 8 bits a sample", hint="--depth 8, or --format tiff")
    formats.check_picture(picture_format, n_planes, depth, (height_px, width_px))
    metadata = formats.fitting_icc(metadata, n_planes)
    times = [time or _DURATION_MS for time in (*durations_ms, *[None] * n_frames)][:n_frames]
    with opened_target(target) as file:
        if picture_format == "tiff":
            encoder: Any = open_tiff(
                file.file, width_px, height_px, n_planes, depth, metadata, compress, n_pages=n_frames
            )
        else:
            settings = Settings(compress, quality, subsampling)
            encoder = PillowWriter(file.file, picture_format, height_px, metadata, settings, times, loop)
        return PictureWriter(file, encoder, streams=picture_format == "tiff" and file.is_seekable)
