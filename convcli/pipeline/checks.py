"""What can be refused about a request: words before any file is opened, outputs before a pixel is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convcli.errors import OutputError, UsageError
from convcli.images import formats
from convcli.pipeline.flags import choice
from convcli.pipeline.request import ApplyRequest

if TYPE_CHECKING:
    from convcli.images import ImageInfo
    from convcli.pipeline.outputs import OutputFile


def check_words(request: ApplyRequest) -> None:
    """Refuse words of the flags that no image is needed to refuse.

    Raises
    ------
    UsageError
        Tone, engine, border or colormap is unknown.
    """
    from convcli.engine import ENGINES, parse_border
    from convcli.pipeline.tones import parse_tone

    parse_tone(request.tone)
    choice(request.engine, "--engine", ("auto", *ENGINES))
    if request.padding_mode is not None:
        parse_border(request.padding_mode)
    if request.colormap is not None:
        from convcli.images import COLORMAPS

        choice(request.colormap, "--colormap", COLORMAPS)


def check_outputs(request: ApplyRequest, info: ImageInfo, n_colours: int, outputs: tuple[OutputFile, ...]) -> None:
    """Refuse what the files cannot hold, or the image is too large for, before a pixel is read.

    Raises
    ------
    ImageError
        More pixels than ``--max-pixels``, which formats that are read by windows do not have by default.
    OutputError
        The format cannot hold such planes or depth.
    UsageError
        Means are not one per plane, or colours are asked for a picture that has its own.
    """
    from convcli.images.info import DEFAULT_MAX_PIXELS, check_size

    row = formats.BY_NAME.get(info.format)
    if request.max_pixels is not None or row is None or not row.windows:
        check_size(info, request.max_pixels)
    n_means = len(request.normalize[0]) if request.normalize else 1
    if n_means not in (1, n_colours):
        raise UsageError(
            f"--normalize has {n_means} means for {n_colours} planes", hint="one value for all planes, or one per plane"
        )
    for output in {(one.kind, one.format, one.depth, one.size_hw, len(one.maps)): one for one in outputs}.values():
        _check_output(request, info, output, max(DEFAULT_MAX_PIXELS, request.max_pixels or 0))


def _check_output(request: ApplyRequest, info: ImageInfo, output: OutputFile, limit: int) -> None:
    from convcli.images.formats import check_picture

    height, width = output.size_hw
    if height * width > max(limit, 4 * info.width_px * info.height_px):
        raise OutputError(
            f"the output would be {height} x {width}, {height * width:,} pixels a map; the limit is {limit:,}",
            hint=f"--max-pixels {height * width} if you mean it",
        )
    if output.kind == "picture" and request.colormap is not None and len(output.maps) > 1:
        raise UsageError(
            f"--colormap colours single maps, and this picture has {len(output.maps)} planes", hint="--channels luma"
        )
    if output.kind in ("map", "picture") and output.format not in formats.RAW:
        if request.colormap is not None and output.depth == "float":
            raise UsageError(f"--colormap does nothing to {output.format}, which holds floats", hint="--format png")
        check_picture(output.format, 3 if request.colormap else len(output.maps), output.depth, output.size_hw)
