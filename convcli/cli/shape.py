"""``convcli shape``: output sizes, parameters, MACs and receptive fields, without a model and without NumPy."""

from __future__ import annotations

from typing import Annotated

import typer

_EPILOG = (
    "Examples: convcli shape 3x304x228 conv:64,k=7,s=2,p=3 maxpool:k=3,s=2,p=1 | "
    "convcli shape 12x32x32 --out-channels 6 --kernel-size 3 --groups 3"
)


def register(app: typer.Typer) -> None:
    """Add the command to the program."""
    app.command(name="shape", epilog=_EPILOG)(shape)


def shape(
    source: Annotated[str, typer.Argument(metavar="INPUT", help="Input shape: CxHxW (or CxL, CxDxHxW).")],
    layers: Annotated[
        list[str] | None,
        typer.Argument(metavar="[LAYER]...", help="conv:64,k=7,s=2,p=3 · maxpool:2 · avgpool:k=3,s=2 · …"),
    ] = None,
    out_channels: Annotated[str | None, typer.Option(metavar="N", help="One Conv2d by flags: its maps.")] = None,
    kernel_size: Annotated[str | None, typer.Option(metavar="N|HxW", help="Taps of its kernel.")] = None,
    stride: Annotated[str | None, typer.Option(metavar="N|HxW", help="Step between windows.")] = None,
    padding: Annotated[
        str | None, typer.Option(metavar="N|HxW|T,B,L,R|same|valid|full", help="Pixels added around the input.")
    ] = None,
    dilation: Annotated[str | None, typer.Option(metavar="N|HxW", help="Spacing between taps.")] = None,
    groups: Annotated[str | None, typer.Option(metavar="N", help="Blocks of channels kept apart.")] = None,
    bias: Annotated[bool | None, typer.Option("--bias/--no-bias", help="One addition per map (default: yes).")] = None,
    transposed: Annotated[bool, typer.Option("--transposed", help="Transposed convolution.")] = False,
    output_padding: Annotated[str | None, typer.Option(metavar="N|HxW", help="Pixels added at the end.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Machine-readable, on standard output.")] = False,
) -> None:
    """Print what layers do to an input's shape: output, parameters, MACs, receptive field, unused input."""
    from convcli.errors import UsageError
    from convcli.layer_text import layers_from_values, parse_layers
    from convcli.size_text import parse_sizes
    from convcli.stack import walk

    input_shape = parse_sizes(source, "input", minimum=1)
    n_axes = len(input_shape) - 1
    if n_axes not in (1, 2, 3):
        raise UsageError(f"input {source} has {len(input_shape)} numbers", hint="CxHxW, such as 3x304x228")
    flags: dict[str, object] = {
        "out_channels": out_channels,
        "kernel_size": kernel_size,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "bias": bias,
        "output_padding": output_padding,
    }
    given = {name: value for name, value in flags.items() if value is not None}
    chain = [layer for text in layers or () for layer in parse_layers(text, n_axes)]
    if given or transposed:
        if chain:
            raise UsageError("layers as text and the flags of one Conv2d", hint="write all of them as text")
        chain = [*layers_from_values("convtranspose" if transposed else "conv", given, n_axes=n_axes)]
    if not chain:
        raise UsageError("no layer given", hint="convcli shape 3x304x228 conv:64,k=7,s=2,p=3")
    stack = walk(chain, input_shape)
    if json:
        from convcli.render.shape import stack_as_dict
        from convcli.report import to_json

        typer.echo(to_json(stack_as_dict(stack)))
        return
    from convcli.render.shape import render_stack

    typer.echo(render_stack(stack))
