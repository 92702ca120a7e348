"""``convcli animate``: the sliding window of a layer, as a picture that moves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from convcli.cli.options import option

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def register(app: typer.Typer) -> None:
    """Add the ``animate`` command."""
    app.command("animate")(animate)


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
    json: Annotated[bool, typer.Option("--json", help="Say where it is as JSON.")] = False,
) -> None:
    """Draw the window of a layer as it slides over its input, one output sample a frame.

    With --values and -k each frame is written out with its numbers.

    \b
    Examples:
      convcli animate 5x5 conv:1,k=3,s=2,p=1 -o slide.svg
      convcli animate 3x3 convtranspose:1,k=3,s=2 -o up.gif
    """  # noqa: D301 - the mark that keeps the lines below apart
    # Imports stand in the functions: Typer imports this module for its help too, which needs none of them.
    from pathlib import Path

    from convcli.cli.play import write_page
    from convcli.errors import UsageError
    from convcli.render.pages.scene import lay_out
    from convcli.render.pages.sliding import make_slide

    # Standard output gets SVG, which is text: a terminal can show it.
    suffix = ".svg" if output == "-" else Path(output).suffix.lower()
    if suffix not in (".svg", ".gif"):
        raise UsageError(f"-o {output}: an animation is .svg or .gif", hint="-o slide.svg")
    # GIF counts time in hundredths of a second, and browsers slow down frames shorter than two of them.
    if not 0.05 <= fps <= 50:
        raise UsageError(f"--fps {fps:g} cannot be followed", hint="--fps 0.05 to 50")
    slide = make_slide(input_, layer, values=_matrix(values), taps=_matrix(kernel))
    scene = lay_out(slide, cell)
    if suffix == ".gif":
        from convcli.render.pages.slide_gif import draw_gif

        write_page(output, draw_gif(scene, seconds=1 / fps), overwrite=overwrite, json=json)
    else:
        from convcli.render.pages.slide_svg import draw_svg

        write_page(output, draw_svg(scene, seconds=1 / fps), overwrite=overwrite, json=json)


def _matrix(spec: str | None) -> NDArray[np.float64] | None:
    """Return the one matrix that a SPEC names."""
    from convcli.errors import UsageError

    if spec is None:
        return None
    from convcli.banks.load import load_bank

    bank = load_bank(spec)
    # The drawing has one plane and one window: several kernels or planes do not fit into it.
    if bank.weight.size != bank.weight[0, 0].size or bank.weight.ndim != 4:
        raise UsageError(
            f"{spec!r} is {'x'.join(map(str, bank.shape))}: one matrix is drawn", hint="one kernel of it: sobel#x"
        )
    matrix: NDArray[np.float64] = bank.weight[0, 0]
    return matrix
