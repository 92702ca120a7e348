"""Frames of animations and pages of files: their headers, or their samples, in one pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from convcli.images import formats
from convcli.images.info import Image, ImageInfo, Limits, check_size
from convcli.images.reading import Source, decoded, open_decoder, opened

if TYPE_CHECKING:
    from convcli.images.reading import Decoder


def probe_frames(
    source: Source, frames: Sequence[int], *, orientation: str = "apply", **limits: Any
) -> list[ImageInfo]:
    """Return the facts in the headers of several frames or pages, in one pass.

    Parameters
    ----------
    source, orientation, **limits
        As for :func:`~convcli.images.reading.probe`.
    frames : sequence of int
        Frames, from 0; any order, rising is fastest. The first bad one raises as :func:`~convcli.images.reading.probe`.
    """
    asked = Limits(**limits)
    with opened(source) as file:
        return [decoder.info for decoder in _at_frames(file, frames, orientation, asked)]


def read_frames(
    source: Source, *, orientation: str = "apply", frames: Sequence[int] | None = None, **limits: Any
) -> Iterator[Image]:
    """Read the frames of an animation or the pages of a file, one after the other, in one pass.

    Parameters
    ----------
    source, orientation, **limits
        As for :func:`~convcli.images.reading.read`.
    frames : sequence of int, optional
        Frames, from 0, rising; all by default.

    Yields
    ------
    Image
        Each frame complete, as it is shown; pages may differ in size and type. A bad one raises as ``read``.
    """
    asked = Limits(**limits)
    with opened(source) as file:
        if frames is None:
            frames = range(open_decoder(file, 0, orientation, asked).info.n_frames)
        for decoder in _at_frames(file, frames, orientation, asked):
            yield decoded(decoder, file, asked)


def _at_frames(file: BinaryIO, frames: Sequence[int], orientation: str, limits: Limits) -> Iterator[Decoder]:
    """Yield a decoder at each frame, the same one where it can go on."""
    decoder: Decoder | None = None
    for frame in frames:
        if decoder is None or not decoder.seek(frame):
            decoder = open_decoder(file, frame, orientation, limits)
            row = formats.BY_NAME.get(decoder.info.format)
            if row is None or not row.windows:  # frames that are composed whole, one after the other
                check_size(decoder.info, limits.max_pixels, len(frames))
        yield decoder
