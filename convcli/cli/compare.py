"""``convcli compare``: every engine on one job, with time, memory and the difference from the reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from convcli.cli import one_image as one
from convcli.cli.one_image import open_one, option

if TYPE_CHECKING:
    from convcli.engine import ConvPlan


def register(app: typer.Typer) -> None:
    """Add the ``compare`` command."""
    app.command("compare")(compare)


def compare(
    image: one.Image,
    kernel: one.Kernels,
    stride: one.Stride = None,
    padding: one.Padding = None,
    padding_mode: one.PaddingMode = None,
    dilation: one.Dilation = None,
    groups: one.Groups = None,
    transposed: one.Transposed = False,
    output_padding: one.OutputPadding = None,
    mode: one.Mode = None,
    bias: one.Bias = None,
    channels: one.Channels = None,
    dtype: Annotated[
        str | None, option("--dtype", metavar="float32|float64", help="Type that sums are made in [float32].")
    ] = None,
    device: Annotated[
        str | None, option("--device", metavar="cpu|cuda|mps", help="Where torch runs its part [cpu].")
    ] = None,
    threads: Annotated[int | None, option("--threads", metavar="N", help="Threads of our engines [cores].")] = None,
    memory: Annotated[str | None, option("--memory", metavar="SIZE", help="Bound on working memory: 64M.")] = None,
    limit: Annotated[
        float, option("--limit", metavar="SECONDS", help="Leave out engines that would take longer [30].")
    ] = 30.0,
    json: one.Json = False,
) -> None:
    """Run every engine that can do the job; print time, memory and the difference from a float64 reference.

    The experiment of "is my hand-made convolution the same as PyTorch's?": convcli compare photo.jpg -k sobel
    """
    from convcli.engine.compare import compare_engines
    from convcli.errors import UsageError
    from convcli.pipeline.report import to_json
    from convcli.render.compare import comparison_as_dict, render_comparison

    if not limit > 0:  # nan is not either
        raise UsageError(f"--limit {limit:g} leaves every engine out", hint="seconds above 0, such as --limit 30")
    flags = {
        "kernels": tuple(kernel), "stride": stride, "padding": padding, "padding_mode": padding_mode,
        "dilation": dilation, "groups": groups, "transposed": transposed, "output_padding": output_padding,
        "mode": mode, "bias": bias, "channels": channels, "dtype": dtype, "threads": threads, "memory": memory,
    }  # fmt: skip
    with open_one(image, flags) as one:
        on_device = (device or "cpu").strip().lower()

        def planner(engine: str = "auto", **changes: object) -> ConvPlan:
            where = on_device if engine == "torch" else "cpu"
            return one.plan(engine=engine, device=where, **changes)

        found = compare_engines(planner, one.planes, one.bound.weight, one.bound.bias, limit_s=limit)
        if all(measurement.seconds is None for measurement in found.measurements):
            raise UsageError(f"no engine runs within --limit {limit:g}", hint="a longer one, such as --limit 30")
        job = {"image": one.label, "kernel": " + ".join(kernel), "planes": one.planes.shape}
    if json:
        typer.echo(to_json({**job, **comparison_as_dict(found)}))
    else:
        typer.echo(render_comparison(found, one.label, " + ".join(kernel)))
    if not found.agree:
        raise typer.Exit(1)
