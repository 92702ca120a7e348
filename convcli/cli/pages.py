"""``convcli play``, a page on which a convolution can be tried, and ``convcli animate``, a picture that moves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from convcli.cli.flags import option
from convcli.errors import UsageError
from convcli.process.system import local_path, read_input, write_output
from convcli.render.text import note_reading

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from convcli.pipeline.api import OneImage

_Json = Annotated[bool, typer.Option("--json", help="Say where it is as JSON.")]

commands = typer.Typer(rich_markup_mode=None)


@commands.command("play")
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
    json: _Json = False,
) -> None:
    """Write a page on which kernels can be tried: no server, no network, one file.

    The photo and the library's kernels are in it. Taps, stride, padding, dilation, border and tone can be changed;
    pointing at an output sample shows patch, taps, products and sum, as convcli explain does.

    \b
    Examples:
      convcli play photo.jpg -k sobel
      convcli play photo.jpg -k gabor:wavelength=8 -k "1 0 -1" -o mine.html
    """  # noqa: D301 - the mark that keeps the lines below apart
    # Here and not at the top, as below: the help needs no NumPy.
    from convcli.render.pages.photo import DEFAULT, load_photo
    from convcli.render.pages.play import play_page

    _refuse_suffix("-o", output)
    source = None if photo is None else read_input() if photo == "-" else local_path(photo)
    shown = load_photo(source, name=photo or DEFAULT, longest_px=size)
    note_reading(shown.n_frames, shown.notes)
    _write_page(output, play_page(shown, kernel or (), longest_px=size), overwrite=overwrite, json=json)


def write_explained(output: str, one: OneImage, map_index: int, at: tuple[int, int], *, overwrite: bool) -> None:
    """Write the page of an image as ``explain`` has planned it, at the sample that it explains."""
    from convcli.render.pages.photo import load_photo
    from convcli.render.pages.play import MOST_PIXELS, play_page, start_at

    _refuse_suffix("--html", output)
    request, info, label = one.plan.request, one.plan.info, one.plan.input.label
    # Standard input is used up by the plan, and the page reads the image again.
    if label == "<stdin>" or len(request.kernels) != 1:
        raise UsageError("--html takes one image file and one kernel", hint="a file, and one -k")
    start = start_at(one, map_index, at)
    # The page computes with bytes of the whole picture: otherwise its numbers differ from those explained.
    if info.dtype != "uint8" or info.width_px * info.height_px > MOST_PIXELS:
        raise UsageError(
            f"--html shows pictures of 8 bits and at most {MOST_PIXELS:,} pixels; this one has {info.dtype} samples, "
            f"{info.height_px}x{info.width_px}",
            hint="a part of it, saved as an 8-bit PNG",
        )
    longest = max(info.width_px, info.height_px)
    photo = load_photo(Path(label), name=label, longest_px=longest)
    page = play_page(photo, request.kernels, start=start, longest_px=longest)
    _write_page(output, page, overwrite=overwrite, err=True)


def _refuse_suffix(flag: str, output: str) -> None:
    suffix = Path(output).suffix.lower()
    if suffix not in ("", ".html", ".htm"):  # a picture's name on a page helps nobody
        raise UsageError(f"{flag} {output}: a page is .html", hint=f"{flag} {Path(output).with_suffix('.html')}")


@commands.command("animate")
def animate(
    input_: Annotated[str, typer.Argument(metavar="SIZE", help="One plane: HxW, or L for a layer of one axis.")],
    layer: Annotated[
        str, typer.Argument(metavar="LAYER", help="conv, convtranspose, maxpool or avgpool, as in convcli shape.")
    ],
    output: Annotated[
        str, option("-o", "--output", metavar="FILE", help="By its suffix an .svg or a .gif [slide.svg]; - is SVG.")
    ] = "slide.svg",
    values: Annotated[
        str | None, option("--values", metavar="MATRIX|FILE", help="Numbers of the input: '1 2; 3 4', or a file.")
    ] = None,
    kernel: Annotated[
        str | None, option("-k", "--kernel", metavar="SPEC", help="Taps: one kernel of the layer's size.")
    ] = None,
    fps: Annotated[float, typer.Option("--fps", metavar="F", help="Windows a second.")] = 1.25,
    cell: Annotated[int, typer.Option("--cell", min=12, max=120, metavar="PX", help="Size of a sample.")] = 34,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file if it exists.")] = False,
    json: _Json = False,
) -> None:
    """Draw the window of a layer as it slides over its input, one output sample a frame.

    With --values and -k each frame is written out with its numbers.

    \b
    Examples:
      convcli animate 5x5 conv:1,k=3,s=2,p=1 -o slide.svg
      convcli animate 3x3 convtranspose:1,k=3,s=2 -o up.gif
    """  # noqa: D301 - the mark that keeps the lines below apart
    from convcli.render.pages.scene import draw_svg, lay_out
    from convcli.render.pages.sliding import make_slide

    # Standard output gets SVG, which is text: a terminal can show it.
    suffix = ".svg" if output == "-" else Path(output).suffix.lower()
    if suffix not in (".svg", ".gif"):
        raise UsageError(f"-o {output}: an animation is .svg or .gif", hint="-o slide.svg")
    # GIF counts time in hundredths of a second, and browsers slow down frames shorter than two of them.
    if not 0.05 <= fps <= 50:
        raise UsageError(f"--fps {fps:g} cannot be followed", hint="--fps 0.05 to 50")
    scene = lay_out(make_slide(input_, layer, values=_matrix(values), taps=_matrix(kernel)), cell)
    if suffix == ".svg":
        drawn: str | bytes = draw_svg(scene, seconds=1 / fps)
    else:
        from convcli.render.pages.slide_gif import draw_gif

        drawn = draw_gif(scene, seconds=1 / fps)
    _write_page(output, drawn, overwrite=overwrite, json=json)


def _matrix(spec: str | None) -> NDArray[np.float64] | None:
    """Return the one matrix that a SPEC names."""
    if spec is None:
        return None
    from convcli.banks.load import load_bank

    bank = load_bank(spec)
    # The drawing has one plane and one window: several kernels or planes do not fit into it.
    if bank.weight.size != bank.weight[0, 0].size or bank.weight.ndim != 4:
        sizes = "x".join(map(str, bank.shape))
        raise UsageError(f"{spec!r} is {sizes}: one matrix is drawn", hint="one kernel of it: sobel#x")
    matrix: NDArray[np.float64] = bank.weight[0, 0]
    return matrix


def _write_page(output: str, page: str | bytes, *, overwrite: bool, err: bool = False, json: bool = False) -> None:
    """Write a page, or an animation, to a file or to standard output, and say where it is."""
    from convcli.images.files import save_bytes
    from convcli.pipeline.report import printable, to_json

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
    how = "" if isinstance(page, bytes) else ", open it in a browser"
    typer.echo(f"{printable(output)}: {len(content) / 1024:.0f} KiB{how}", err=err)
