"""``convcli compare`` and ``convcli explain``: what engines compute of one image, with one bank."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from convcli.cli.flags import Json, SectionedCommand, option, with_options
from convcli.errors import UsageError, near_names
from convcli.render.text import note_reading, tell

if TYPE_CHECKING:
    from convcli.engine.plan import ConvPlan
    from convcli.pipeline.naming import MapName

#: Fields of the flags of ``apply`` that both have.
_CONVOLUTION = {
    "kernels", "stride", "padding", "padding_mode", "dilation", "groups", "transposed", "output_padding", "mode",
    "bias", "channels",
}  # fmt: skip
_Image = Annotated[str, typer.Argument(metavar="IMAGE", help="An image; - is standard input.")]

commands = typer.Typer(rich_markup_mode=None)


@commands.command("compare", cls=SectionedCommand)
@with_options(_CONVOLUTION | {"dtype", "device", "threads", "memory"})
def compare(
    image: _Image,
    *,
    limit: Annotated[
        float, option("--limit", metavar="SECONDS", help="Leave out engines that would take longer [30].")
    ] = 30.0,
    json: Json = False,
    **flags: Any,
) -> None:
    """Run every engine that can do the job; print time, memory and the difference from a float64 reference.

    The experiment of "is my hand-made convolution the same as PyTorch's?"

    \b
    Examples:
      convcli compare photo.jpg -k sobel
    """  # noqa: D301 - the mark that keeps the lines below apart
    from convcli.engine.compare import compare_engines
    from convcli.pipeline.api import open_one
    from convcli.pipeline.report import to_json
    from convcli.render.engines import comparison_as_dict, render_comparison

    if not limit > 0:  # nan is not either
        raise UsageError(f"--limit {limit:g} leaves every engine out", hint="seconds above 0, such as --limit 30")
    # Only torch runs on a device: the other engines would refuse the flag.
    device = (flags.pop("device") or "cpu").strip().lower()
    with open_one(image, flags) as one:
        note_reading(one.plan.info.n_frames, one.plan.info.notes)

        def planner(engine: str = "auto", **changes: object) -> "ConvPlan":
            return one.conv(engine=engine, device=device if engine == "torch" else "cpu", **changes)

        label, bound = one.plan.input.label, one.bank.bound
        found = compare_engines(planner, one.planes, bound.weight, bound.bias, limit_s=limit)
        if all(measurement.seconds is None for measurement in found.measurements):
            raise UsageError(f"no engine runs within --limit {limit:g}", hint="a longer one, such as --limit 30")
        kernel = " + ".join(flags["kernels"])
        job = {"image": label, "kernel": kernel, "planes": one.planes.shape}
    if json:
        typer.echo(to_json({**job, **comparison_as_dict(found)}))
    else:
        tell(render_comparison(found, label, kernel))
    if not found.agree:
        # A script that compares engines learns from the exit code that they disagree.
        raise typer.Exit(1)


@commands.command("explain", cls=SectionedCommand)
@with_options(_CONVOLUTION | {"anchor", "unit"})
def explain(
    image: _Image,
    at: Annotated[str, typer.Option("--at", metavar="ROW,COL", help="The output sample, counted from 0.")],
    map_: Annotated[
        str | None,
        option("--map", metavar="NAME|INDEX", help="Which map: x-r, x, or its number [the first]."),
    ] = None,
    *,
    json: Json = False,
    html: Annotated[str | None, option("--html", metavar="FILE", help="The play page, opened at this sample.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace that page if it exists.")] = False,
    **flags: Any,
) -> None:
    """Write one output sample out: the patch of the image, the taps, their products, and the sum.

    \b
    Examples:
      convcli explain photo.jpg -k sobel --at 120,80
      convcli explain photo.jpg -k sobel --at 120,80 --html why.html
    """  # noqa: D301 - the mark that keeps the lines below apart
    from convcli.engine.explain import explain_sample
    from convcli.engine.runner import prepare
    from convcli.pipeline.api import open_one
    from convcli.pipeline.report import to_json
    from convcli.render.engines import explanation_as_dict, render_explanation

    row, column = _parse_at(at)
    with open_one(image, flags) as one:
        note_reading(one.plan.info.n_frames, one.plan.info.notes)
        conv, bound, label = one.bank.conv, one.bank.bound, one.plan.input.label
        index = _find_map(bound.maps, map_)
        told = explain_sample(conv, one.planes, bound.weight, bound.bias, index, row, column)
        # One row is enough to ask the engine, even of a huge image.
        computed = prepare(conv, bound.weight, bound.bias).rows(one.planes, row, row + 1)[:, 0, column]
        if html is not None:
            from convcli.cli.pages import write_explained

            write_explained(html, one, index, (row, column), overwrite=overwrite)
        planes = [one.plan.selection.names[plane] for plane in told.planes]
    values = {named.label: float(value) for named, value in zip(bound.maps, computed, strict=True)}
    name = bound.maps[index].label
    if json:
        typer.echo(to_json(explanation_as_dict(told, conv, name, values)))
    else:
        tell(render_explanation(told, conv, label, name, planes, values))


def _parse_at(text: str) -> tuple[int, int]:
    parts = text.split(",")
    if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
        raise UsageError(f"--at {text!r} is not a sample", hint="row and column, counted from 0: --at 120,80")
    return int(parts[0]), int(parts[1])


def _find_map(maps: "tuple[MapName, ...]", name: str | None) -> int:
    """Return the index of the map that ``name`` means: its label, its kernel, or a number."""
    if name is None:
        return 0
    labels = [named.label for named in maps]
    # Labels before kernels: a kernel may be called like the label of another map.
    for names in (labels, [named.kernel for named in maps]):
        if name in names:
            return names.index(name)
    if name.isdecimal() and int(name) < len(maps):
        return int(name)
    hint = near_names(name, labels) or f"one of {', '.join(labels[:12])}{', ...' if len(labels) > 12 else ''}"
    raise UsageError(f"--map {name!r}: there is no such map among {len(maps)}", hint=hint)
