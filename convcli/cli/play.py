"""``convcli play``: a page on which a convolution can be tried, in one file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from convcli.cli.options import option

if TYPE_CHECKING:
    from convcli.pipeline.api import OneImage


def register(app: typer.Typer) -> None:
    """Add the ``play`` command."""
    app.command("play")(play)


def play(
    photo: Annotated[
        str | None, typer.Argument(metavar="PHOTO", help="An image; - is standard input. Without one, a cat's.")
    ] = None,
    kernel: Annotated[
        list[str] | None, option("-k", "--kernel", metavar="SPEC", help="First in the menu [sobel]; repeatable.")
    ] = None,
    output: Annotated[str, option("-o", "--output", metavar="FILE|-", help="The page [play.html].")] = "play.html",
    size: Annotated[
        int, typer.Option("--size", min=16, max=1600, metavar="PX", help="Longest side of the photo on the page.")
    ] = 400,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the page if it exists.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Say where it is as JSON.")] = False,
) -> None:
    """Write a page on which kernels can be tried: no server, no network, one file.

    The photo and the library's kernels are in it. Taps, stride, padding, dilation, border and tone can be changed;
    pointing at an output sample shows patch, taps, products and sum, as convcli explain does.

    \b
    Examples:
      convcli play photo.jpg -k sobel
      convcli play photo.jpg -k gabor:wavelength=8 -k "1 0 -1" -o mine.html
    """  # noqa: D301 - the mark that keeps the lines below apart
    from pathlib import Path

    from convcli.process.system import read_input
    from convcli.render.pages.photo import DEFAULT, load_photo
    from convcli.render.pages.play import play_page

    source = None if photo is None else read_input() if photo == "-" else Path(photo)
    shown = load_photo(source, name=photo or DEFAULT, longest_px=size)
    write_page(output, play_page(shown, kernel or (), longest_px=size), overwrite=overwrite, json=json)


def write_explained(output: str, one: OneImage, map_index: int, at: tuple[int, int], *, overwrite: bool) -> None:
    """Write the page of an image as ``explain`` has planned it, at the sample that it explains."""
    from pathlib import Path

    from convcli.errors import UsageError
    from convcli.render.pages.photo import load_photo
    from convcli.render.pages.play import MOST_PIXELS, play_page
    from convcli.render.pages.start import start_at

    request, info, label = one.plan.request, one.plan.info, one.plan.source.label
    # Standard input is used up by the plan, and the page reads the image again.
    if label == "<stdin>" or len(request.kernels) != 1:
        raise UsageError("--html takes one image file and one kernel", hint="a file, and one -k")
    start = start_at(request, one.bank.conv, one.bank.bound, one.plan.selection.names, map_index, at)
    # The page computes with bytes of the whole picture: otherwise its numbers differ from those explained.
    if info.dtype != "uint8" or info.width_px * info.height_px > MOST_PIXELS:
        raise UsageError(
            f"--html shows pictures of 8 bits and at most {MOST_PIXELS:,} pixels; this one has {info.dtype} samples, "
            f"{info.height_px}x{info.width_px}",
            hint="a part of it, saved as an 8-bit PNG",
        )
    longest = max(info.width_px, info.height_px)
    page = play_page(
        load_photo(Path(label), name=label, longest_px=longest), request.kernels, start=start, longest_px=longest
    )
    write_page(output, page, overwrite=overwrite, err=True)


def write_page(output: str, page: str | bytes, *, overwrite: bool, err: bool = False, json: bool = False) -> None:
    """Write a page, or an animation, to a file or to standard output, and say where it is."""
    from convcli.errors import UsageError
    from convcli.images.files import save_bytes
    from convcli.pipeline.report import printable, to_json
    from convcli.process.system import local_path, write_output

    content = page if isinstance(page, bytes) else page.encode("utf-8")
    if output == "-" and json:
        raise UsageError("-o - and --json both want standard output", hint="-o FILE")
    if output == "-":
        write_output(content)
        return
    save_bytes(local_path(output), content, overwrite=overwrite)
    if json:
        typer.echo(to_json({"path": output, "bytes": len(content)}))
        return
    typer.echo(
        f"{printable(output)}: {len(content) / 1024:.0f} KiB"
        + ("" if isinstance(page, bytes) else ", open it in a browser"),
        err=err,
    )
