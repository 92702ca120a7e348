"""``convcli explain``: one output sample written out, as on a blackboard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from convcli.cli.one_image import open_one, option

if TYPE_CHECKING:
    from convcli.binding import MapName


def register(app: typer.Typer) -> None:
    """Add the ``explain`` command."""
    app.command("explain")(explain)


def explain(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="An image; - is standard input.")],
    kernel: Annotated[list[str], option("-k", "--kernel", metavar="SPEC", help="As in apply; repeatable.")],
    at: Annotated[str, option("--at", metavar="ROW,COL", help="The output sample, counted from 0.")],
    map_: Annotated[
        str | None, option("--map", metavar="NAME|INDEX", help="Which map: x-r, x, or its number [the first].")
    ] = None,
    stride: Annotated[str | None, option("--stride", metavar="N|HxW", help="Step between windows [1].")] = None,
    padding: Annotated[
        str | None, option("--padding", metavar="N|HxW|T,B,L,R|WORD", help="Or same, same_lower, valid, full [same].")
    ] = None,
    padding_mode: Annotated[
        str | None,
        option(
            "--padding-mode",
            metavar="MODE",
            help="zeros, constant:V, replicate, reflect, symmetric, circular [replicate].",
        ),
    ] = None,
    dilation: Annotated[str | None, option("--dilation", metavar="N|HxW", help="Spacing between taps [1].")] = None,
    groups: Annotated[str | None, option("--groups", metavar="auto|N", help="As in apply [auto].")] = None,
    transposed: Annotated[bool, option("--transposed", metavar="", help="Transposed convolution.")] = False,
    output_padding: Annotated[
        str | None, option("--output-padding", metavar="N|HxW", help="Of a transposed convolution [0].")
    ] = None,
    mode: Annotated[
        str | None, option("--mode", metavar="correlate|convolve", help="convolve rotates taps by 180 deg [correlate].")
    ] = None,
    bias: Annotated[str | None, option("--bias", metavar="V[,V...]", help="Added to every map, or per kernel.")] = None,
    anchor: Annotated[
        str | None, option("--anchor", metavar="N|HxW", help="Tap over the output sample [(k-1)//2].")
    ] = None,
    channels: Annotated[str | None, option("--channels", metavar="r,g,b|luma|...", help="Planes to use.")] = None,
    unit: Annotated[bool, option("--unit", metavar="", help="Map samples to 0..1 first.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """Write one output sample out: the patch of the image, the taps, their products, and the sum.

    convcli explain photo.jpg -k sobel --at 120,80
    """
    from convcli.engine import prepare
    from convcli.engine.explain import explain_sample
    from convcli.render.explain import explanation_as_dict, render_explanation
    from convcli.report import to_json

    row, column = _parse_at(at)
    flags = {
        "kernels": tuple(kernel), "stride": stride, "padding": padding, "padding_mode": padding_mode,
        "dilation": dilation, "groups": groups, "transposed": transposed, "output_padding": output_padding,
        "mode": mode, "bias": bias, "anchor": anchor, "channels": channels, "unit": unit,
    }  # fmt: skip
    with open_one(image, flags) as one:
        plan = one.plan()
        index = _find_map(one.bound.maps, map_)
        weight, shift = one.bound.weight, one.bound.bias
        told = explain_sample(plan, one.planes, weight, shift, index, row, column)
        computed = prepare(plan, weight, shift).rows(one.planes, row, row + 1)[:, 0, column]
        planes = [one.plane_names[plane] for plane in told.planes]
    values = {named.label: float(value) for named, value in zip(one.bound.maps, computed, strict=True)}
    if json:
        typer.echo(to_json(explanation_as_dict(told, plan, one.bound.maps[index].label, values)))
    else:
        typer.echo(render_explanation(told, plan, one.label, one.bound.maps[index].label, planes, values))


def _parse_at(text: str) -> tuple[int, int]:
    from convcli.errors import UsageError

    parts = text.split(",")
    if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
        raise UsageError(f"--at {text!r} is not a sample", hint="row and column, counted from 0: --at 120,80")
    return int(parts[0]), int(parts[1])


def _find_map(maps: tuple[MapName, ...], name: str | None) -> int:
    """Return the index of the map that ``name`` means: its label, its kernel, or a number."""
    from convcli.errors import UsageError, near_names

    if name is None:
        return 0
    labels = [named.label for named in maps]
    for names in (labels, [named.kernel for named in maps]):
        if name in names:
            return names.index(name)
    if name.isdecimal() and int(name) < len(maps):
        return int(name)
    hint = near_names(name, labels) or f"one of {', '.join(labels[:12])}{', ...' if len(labels) > 12 else ''}"
    raise UsageError(f"--map {name!r}: there is no such map among {len(maps)}", hint=hint)
