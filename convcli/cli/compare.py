"""``convcli compare``: every engine on one job, with time, memory and the difference from the reference."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from convcli.cli.help import SectionedCommand
from convcli.cli.options import CONVOLUTION, with_options

if TYPE_CHECKING:
    from convcli.engine.plan import ConvPlan

_LIMIT = "Leave out engines that would take longer [30]."


def register(app: typer.Typer) -> None:
    """Add the ``compare`` command."""
    keys = CONVOLUTION | {"dtype", "device", "threads", "memory"}
    app.command("compare", cls=SectionedCommand)(with_options(compare, keys))


def compare(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="An image; - is standard input.")],
    *,
    limit: Annotated[float, typer.Option("--limit", metavar="SECONDS", help=_LIMIT, show_default=False)] = 30.0,
    json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
    **flags: Any,
) -> None:
    """Run every engine that can do the job; print time, memory and the difference from a float64 reference.

    The experiment of "is my hand-made convolution the same as PyTorch's?"

    \b
    Examples:
      convcli compare photo.jpg -k sobel
    """  # noqa: D301 - the mark that keeps the lines below apart
    from convcli.engine.compare import compare_engines
    from convcli.errors import UsageError
    from convcli.pipeline.api import open_one
    from convcli.pipeline.report import to_json
    from convcli.render.compare import comparison_as_dict, render_comparison

    if not limit > 0:  # nan is not either
        raise UsageError(f"--limit {limit:g} leaves every engine out", hint="seconds above 0, such as --limit 30")
    # Only torch runs on a device: the other engines would refuse the flag.
    device = (flags.pop("device") or "cpu").strip().lower()
    with open_one(image, flags) as one:

        def planner(engine: str = "auto", **changes: object) -> "ConvPlan":
            return one.conv(engine=engine, device=device if engine == "torch" else "cpu", **changes)

        label, bound = one.plan.source.label, one.bank.bound
        found = compare_engines(planner, one.planes, bound.weight, bound.bias, limit_s=limit)
        if all(measurement.seconds is None for measurement in found.measurements):
            raise UsageError(f"no engine runs within --limit {limit:g}", hint="a longer one, such as --limit 30")
        kernel = " + ".join(flags["kernels"])
        job = {"image": label, "kernel": kernel, "planes": one.planes.shape}
    if json:
        typer.echo(to_json({**job, **comparison_as_dict(found)}))
    else:
        from convcli.render.messages import tell

        tell(render_comparison(found, label, kernel))
    if not found.agree:
        # A script that compares engines learns from the exit code that they disagree.
        raise typer.Exit(1)
