"""Pictures of several frames or pages: GIF, WebP, AVIF and PNG through Pillow, TIFF pages through our own writer.

To the caller the frames are one tall picture: rows of the first frame, then of the second, and so on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from convcli.errors import OutputError
from convcli.images import formats
from convcli.images.files import opened_target
from convcli.images.pillow_write import PillowWriter
from convcli.images.tiff import open_tiff
from convcli.images.write import Encoder, PictureWriter, Target


def open_animation(
    target: Target,
    *,
    n_frames: int,
    durations_ms: Sequence[float | None] = (),
    loop: int | None = None,
    **options: Any,
) -> PictureWriter:
    """Begin a file of several frames of one size.

    Parameters
    ----------
    target, **options
        As for :func:`~convcli.images.write.open_picture`, of one frame.
    n_frames : int
    durations_ms : sequence of float or None
        How long each frame is shown; a tenth of a second where unknown. A list may grow until the file is closed. TIFF
        pages have none.
    loop : int, optional
        How often it is played; 0 is for ever, None once.

    Raises
    ------
    OutputError
        The format holds one picture only, or not such samples.
    """
    picture = formats.Picture(**{"picture_format": "gif"} | options)
    name, is_tiff = picture.picture_format, picture.picture_format == "tiff"
    if not formats.BY_NAME[name].animated:
        raise OutputError(
            f"{name} holds one picture, not {n_frames} frames",
            hint=f"--format {' or '.join(formats.able('animated', True))}, or --frames first",
        )
    if not is_tiff and picture.depth != "8":
        raise OutputError(f"an animated {name} has 8 bits a sample", hint="--depth 8, or --format tiff")
    picture = picture.checked()
    with opened_target(target) as file:
        if is_tiff:
            encoder: Encoder = open_tiff(file.file, picture, n_pages=n_frames)
        else:
            encoder = PillowWriter(file.file, picture, durations_ms, loop)
        # Pillow takes all frames at once.
        return PictureWriter(file, encoder, streams=is_tiff and file.is_seekable)
