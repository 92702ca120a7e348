"""``convcli explain``: one output sample written out, as on a blackboard."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from convcli.cli.help import SectionedCommand
from convcli.cli.options import CONVOLUTION, with_options

if TYPE_CHECKING:
    from convcli.pipeline.names import MapName

_AT = "The output sample, counted from 0."
_HTML = "The play page, opened at this sample."
_MAP = "Which map: x-r, x, or its number [the first]."


def register(app: typer.Typer) -> None:
    """Add the ``explain`` command."""
    app.command("explain", cls=SectionedCommand)(with_options(explain, CONVOLUTION | {"anchor", "unit"}))


def explain(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="An image; - is standard input.")],
    at: Annotated[str, typer.Option("--at", metavar="ROW,COL", help=_AT)],
    map_: Annotated[str | None, typer.Option("--map", metavar="NAME|INDEX", help=_MAP, show_default=False)] = None,
    *,
    json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
    html: Annotated[str | None, typer.Option("--html", metavar="FILE", help=_HTML, show_default=False)] = None,
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
    from convcli.render.explain import explanation_as_dict, render_explanation

    row, column = _parse_at(at)
    with open_one(image, flags) as one:
        conv, bound, label = one.bank.conv, one.bank.bound, one.plan.source.label
        index = _find_map(bound.maps, map_)
        told = explain_sample(conv, one.planes, bound.weight, bound.bias, index, row, column)
        # One row is enough to ask the engine, even of a huge image.
        computed = prepare(conv, bound.weight, bound.bias).rows(one.planes, row, row + 1)[:, 0, column]
        if html is not None:
            from convcli.cli.play import write_explained

            write_explained(html, one, index, (row, column), overwrite=overwrite)
        planes = [one.plan.selection.names[plane] for plane in told.planes]
    values = {named.label: float(value) for named, value in zip(bound.maps, computed, strict=True)}
    name = bound.maps[index].label
    if json:
        typer.echo(to_json(explanation_as_dict(told, conv, name, values)))
    else:
        from convcli.render.messages import tell

        tell(render_explanation(told, conv, label, name, planes, values))


def _parse_at(text: str) -> tuple[int, int]:
    from convcli.errors import UsageError

    parts = text.split(",")
    if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
        raise UsageError(f"--at {text!r} is not a sample", hint="row and column, counted from 0: --at 120,80")
    return int(parts[0]), int(parts[1])


def _find_map(maps: "tuple[MapName, ...]", name: str | None) -> int:
    """Return the index of the map that ``name`` means: its label, its kernel, or a number."""
    from convcli.errors import UsageError, near_names

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
