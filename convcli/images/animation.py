"""Pictures of several frames or pages: animated GIF, WebP and PNG through Pillow, TIFF pages through our own writer.

To the caller the frames are one tall picture: rows of the first frame, then of the second, and so on.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from convcli.errors import OutputError
from convcli.images import formats
from convcli.images.info import NO_METADATA, Metadata
from convcli.images.targets import Target, TargetFile
from convcli.images.write import Copied, PictureWriter, check_picture, fitting_icc

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PLUGIN = {"gif": "GifImagePlugin", "webp": "WebPImagePlugin", "png": "PngImagePlugin"}
#: Shown for so long where the input does not say, as browsers do.
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
    del subsampling  # no format of several frames has it
    if not formats.BY_NAME[picture_format].animated:
        raise OutputError(
            f"{picture_format} holds one picture, not {n_frames} frames",
            hint=f"--format {' or '.join(formats.able('animated', True))}, or --frames first",
        )
    if picture_format != "tiff" and depth != "8":
        raise OutputError(f"an animated {picture_format} has 8 bits a sample", hint="--depth 8, or --format tiff")
    check_picture(picture_format, n_planes, depth, (height_px, width_px))
    metadata = fitting_icc(metadata, n_planes)
    file = TargetFile(target)
    try:
        if picture_format == "tiff":
            from convcli.images.tiff import TiffWriter

            dtype = np.dtype({"8": np.uint8, "16": np.uint16, "float": np.float32}[depth])
            sink: BinaryIO = file.file if file.is_seekable else io.BytesIO()
            writer: Any = TiffWriter(
                sink, width_px, height_px, n_planes, dtype, metadata=metadata, compress=compress, n_pages=n_frames
            )
            if not file.is_seekable:
                writer = Copied(writer, sink, file.file)
        else:
            times = [time or _DURATION_MS for time in (*durations_ms, *[None] * n_frames)][:n_frames]
            writer = _PillowFrames(file.file, picture_format, height_px, times, loop, metadata, quality)
    except BaseException:
        file.discard()
        raise
    return PictureWriter(file, writer, streams=picture_format == "tiff" and file.is_seekable)


class _PillowFrames:
    """Collect the rows of all frames and have Pillow encode them."""

    def __init__(
        self,
        file: BinaryIO,
        picture_format: str,
        height_px: int,
        durations_ms: Sequence[float],
        loop: int | None,
        metadata: Metadata,
        quality: int | None,
    ) -> None:
        self._file, self._format, self._height, self._quality = file, picture_format, height_px, quality
        self._durations, self._loop, self._metadata = list(durations_ms), loop, metadata
        self._bands: list[NDArray[np.uint8]] = []

    def encode(self, rows: NDArray[Any]) -> NDArray[np.uint8]:
        """Return a copy of the rows, for the caller may reuse their memory."""
        return np.array(rows.reshape(*rows.shape[:2], -1), dtype=np.uint8, order="C")

    def append(self, band: NDArray[np.uint8]) -> None:
        """Keep rows until all are there."""
        self._bands.append(band)

    def finish(self) -> None:
        """Encode all frames."""
        from PIL import Image

        importlib.import_module(f"PIL.{_PLUGIN[self._format]}")
        samples = np.concatenate(self._bands)
        n_planes = samples.shape[2]
        frames = []
        for top in range(0, len(samples), self._height):
            part = samples[top : top + self._height]
            image = Image.fromarray(part[..., 0] if n_planes == 1 else part)
            frames.append(image.convert("RGB" if n_planes == 1 else "RGBA") if self._needs_colour(n_planes) else image)
        buffer = io.BytesIO()  # Pillow seeks while it writes; standard output cannot
        frames[0].save(
            buffer, self._format.upper(), save_all=True, append_images=frames[1:], duration=self._whole_ms(),
            **self._options(),
        )  # fmt: skip
        self._file.write(buffer.getbuffer())

    def _needs_colour(self, n_planes: int) -> bool:
        return self._format == "webp" and n_planes < 3

    def _whole_ms(self) -> list[int]:
        return [round(time) for time in self._durations]

    def _options(self) -> dict[str, Any]:
        meta = self._metadata
        options: dict[str, Any] = {} if self._loop is None else {"loop": self._loop}
        if self._format == "webp":
            lossless: dict[str, Any] = {"lossless": True, "exact": True, "method": 0}
            options |= lossless if self._quality is None else {"quality": self._quality}
        if self._format == "gif":
            # Frames stand alone: what a convolution made of one must not shine through the next.
            options |= {"disposal": 2, "optimize": False, "comment": meta.stamp.encode("utf-8", "replace")[:65000]}
        if self._format == "png":
            from PIL.PngImagePlugin import PngInfo

            text = PngInfo()
            text.add_itxt("Description", meta.stamp)
            options["pnginfo"] = text
        if meta.icc and self._format != "gif":
            options["icc_profile"] = meta.icc
        return options
