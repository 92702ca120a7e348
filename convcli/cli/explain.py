"""``convcli explain``: one output sample written out, as on a blackboard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from convcli.cli import one_image as one
from convcli.cli.one_image import open_one, option

if TYPE_CHECKING:
    from convcli.pipeline.binding import MapName


def register(app: typer.Typer) -> None:
    """Add the ``explain`` command."""
    app.command("explain")(explain)


def explain(
    image: one.Image,
    kernel: one.Kernels,
    at: Annotated[str, option("--at", metavar="ROW,COL", help="The output sample, counted from 0.")],
    map_: Annotated[
        str | None, option("--map", metavar="NAME|INDEX", help="Which map: x-r, x, or its number [the first].")
    ] = None,
    stride: one.Stride = None,
    padding: one.Padding = None,
    padding_mode: one.PaddingMode = None,
    dilation: one.Dilation = None,
    groups: one.Groups = None,
    transposed: one.Transposed = False,
    output_padding: one.OutputPadding = None,
    mode: one.Mode = None,
    bias: one.Bias = None,
    anchor: Annotated[
        str | None, option("--anchor", metavar="N|HxW", help="Tap over the output sample [(k-1)//2].")
    ] = None,
    channels: one.Channels = None,
    unit: Annotated[bool, option("--unit", metavar="", help="Map samples to 0..1 first.")] = False,
    json: one.Json = False,
    html: Annotated[str | None, option("--html", metavar="FILE", help="The play page, opened at this sample.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace that page if it exists.")] = False,
) -> None:
    """Write one output sample out: the patch of the image, the taps, their products, and the sum.

    convcli explain photo.jpg -k sobel --at 120,80
    """
    from convcli.engine import prepare
    from convcli.engine.explain import explain_sample
    from convcli.pipeline.report import to_json
    from convcli.render.explain import explanation_as_dict, render_explanation

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
        if html is not None:
            from convcli.cli.play import write_explained

            write_explained(html, one, plan, index, (row, column), overwrite=overwrite)
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
