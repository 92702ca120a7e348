"""``convcli shape``: output sizes, parameters, MACs and receptive fields, without a model and without NumPy.

Annotations are evaluated where they stand, not postponed: Typer would compile every one of them from text at each
start, which takes 2 ms.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from convcli.errors import GeometryError, UsageError
from convcli.geometry.sizes import is_shape_text, parse_input
from convcli.layers.kinds import NAMES
from convcli.process.system import local_path
from convcli.render.text import say, tell

if TYPE_CHECKING:
    from collections.abc import Sequence

    from convcli.layers.layer import Layer, Shape
    from convcli.layers.walk import Walk

_EPILOG = f"""Layers: {", ".join(NAMES)}; 1d, 2d and 3d follow the input

\b
Keys: k kernel_size, s stride, p padding, d dilation, g groups, m multiplier,
  op output_padding, f scale_factor, bias, ceil, mode, name, from (a+b)

\b
Examples:
  convcli shape 3x304x228 conv:64,k=7,s=2,p=3 maxpool:k=3,s=2,p=1
  convcli shape photo.jpg --out-channels 6 --kernel-size 3 --formula
  convcli shape 3x304x228 'conv:64,k=7,s=2,p=?' --target 152x114
  convcli shape stack.toml --input 3x224x224
"""
_SIZES = "N|HxW"


commands = typer.Typer(rich_markup_mode=None)


@commands.command("shape", epilog=_EPILOG)
def shape(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT [LAYER]...",
            help="Input shape (CxHxW, CxL, CxDxHxW), an image (its header is read) or a stack file; then layers: "
            "conv:64,k=7,s=2,p=3 maxpool:2 relu, 'Conv2d(3, 64, 7, stride=2)', or stack files. An ONNX model alone, or "
            "after its input, is measured; a checkpoint alone lists its weights.",
        ),
    ] = None,
    input_: Annotated[
        str | None, typer.Option("--input", metavar="SHAPE|IMAGE", help="The input; then every INPUT word is a layer.")
    ] = None,
    channels_last: Annotated[bool, typer.Option("--channels-last", help="The input shape is HxWxC.")] = False,
    out_channels: Annotated[str | None, typer.Option(metavar="N", help="One Conv2d by flags: its maps.")] = None,
    kernel_size: Annotated[str | None, typer.Option(metavar=_SIZES, help="Taps of its kernel.")] = None,
    stride: Annotated[str | None, typer.Option(metavar=_SIZES, help="Step between windows (default 1).")] = None,
    padding: Annotated[
        str | None, typer.Option(metavar="N|HxW|T,B,L,R|same|valid|full", help="Pixels added around (default 0).")
    ] = None,
    dilation: Annotated[str | None, typer.Option(metavar=_SIZES, help="Spacing between taps (default 1).")] = None,
    groups: Annotated[str | None, typer.Option(metavar="N", help="Blocks of channels kept apart (default 1).")] = None,
    bias: Annotated[bool | None, typer.Option("--bias/--no-bias", help="One addition per map (default: yes).")] = None,
    transposed: Annotated[bool, typer.Option("--transposed", help="Transposed convolution.")] = False,
    output_padding: Annotated[str | None, typer.Option(metavar=_SIZES, help="Pixels added at the end.")] = None,
    target: Annotated[
        str | None, typer.Option(metavar=_SIZES, help="Solve for each ? in a layer (k, s, p, d, op) that gives this.")
    ] = None,
    bound: Annotated[
        int, typer.Option(min=1, max=64, metavar="N", help="Largest value tried when several are ?.")
    ] = 11,
    onnx: Annotated[str | None, typer.Option(metavar="FILE", help="Read the layers of an ONNX model.")] = None,
    formula: Annotated[bool, typer.Option("--formula", help="Write each sum out with its numbers.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
    csv: Annotated[bool, typer.Option("--csv", help="Comma-separated, one line per layer.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="A Markdown table.")] = False,
) -> None:
    """Print what layers do to an input's shape: output, parameters, MACs, receptive field, unused input.

    MACs are the multiply-accumulates of convolution weights at every position (transposed: of the input), padding
    included; additions of a bias are apart, flops are 2 · macs. Start is the middle of the first receptive field, with
    pixel 0 from 0 to 1; jump is its step.
    """
    if json + csv + markdown > 1:
        raise UsageError("--json, --csv and --markdown are three answers to one question", hint="choose one")
    flags = {
        "out_channels": out_channels,
        "kernel_size": kernel_size,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "bias": None if bias is None else str(bias).lower(),
        "output_padding": output_padding,
    }
    given = [f"{name}={value}" for name, value in flags.items() if value is not None]
    word = f"{'convtranspose' if transposed else 'conv'}:{','.join(given)}"
    output_as = "json" if json else "csv" if csv else "markdown" if markdown else "text"
    rest, input_text = list(words or []), input_
    # Found before the words are sorted out: a model is neither an input nor a layer.
    models = {word: kind for word in rest for kind in [_model_kind(word)] if kind}
    if checkpoint := next((word for word, kind in models.items() if kind == "checkpoint"), ""):
        _list_weights(checkpoint, len(rest) > 1 or bool(given or onnx or target), output_as)
        return
    if "onnx" in models.values() and onnx is None:
        onnx = next(word for word, kind in models.items() if kind == "onnx")
        rest.remove(onnx)
    from convcli.layers.text import is_stack, split_words

    if onnx is not None and input_text is None and len(rest) == 1:
        input_text = rest.pop()
    elif input_text is None and rest and not is_stack(rest[0]):
        input_text = rest.pop(0)
    # A whole chain in quotes, as for --layers; names of files may have blanks.
    rest = [each for word in rest for each in ([word] if is_stack(word) else split_words(word))]
    if given or transposed:
        if rest or onnx:
            raise UsageError("layers and the flags of one Conv2d", hint="write all layers as text, without flags")
        rest = [word]
    if input_text is not None and not channels_last and onnx is None:
        _check_axes(input_text, rest)
    if target is not None or any("?" in each for each in rest):
        text = _solve(rest, input_text, target, channels_last, bound, output_as)
    else:
        text = _render(_walk(rest, input_text, onnx, channels_last), output_as, formula)
    (tell if output_as == "text" else say)(text)


def _model_kind(word: str) -> str:
    """Return ``onnx`` or ``checkpoint`` for the name of such a file, by its name or else its content."""
    from convcli.layers.layer import CHECKPOINTS

    low = word.lower()
    if low.endswith((*CHECKPOINTS, ".pth.tar", ".pt2", ".index.json", ".onnx")):
        return "onnx" if low.endswith(".onnx") else "checkpoint"
    # Shapes and layers written as text: the disk is not asked for them.
    if is_shape_text(word) or (":" in word and "://" not in word) or "(" in word or low.endswith(".toml"):
        return ""
    try:
        with local_path(word).open("rb") as file:
            # 128 bytes tell the formats apart: checkpoints have gigabytes.
            head = file.read(128)
    except OSError:
        return ""
    # safetensors, a bare pickle, an archive of torch; ONNX by the first two fields of a ModelProto.
    if (head[8:9] == b"{" and head[5:8] == b"\0\0\0") or head[:2] == b"\x80\x02" or b"data.pkl" in head:
        return "checkpoint"
    return "onnx" if head[:1] == b"\x08" and head[2:3] in (b"\x12", b"\x1a", b"\x22", b"\x3a", b"\x42") else ""


def _check_axes(input_text: str, words: "Sequence[str]") -> None:
    """Raise if an input of two or four numbers has two readings; note one that looks as if channels were last."""
    from convcli.geometry.sizes import is_shape_text, parse_input

    if not is_shape_text(input_text):
        return
    sizes = [str(size) for size in parse_input(input_text)]
    # A note and no error: maps of 64 channels and 3x3 samples exist too.
    if len(sizes) == 3 and sizes[2] in ("1", "3", "4") and len(sizes[0]) > 1:
        read = f"{input_text} is read as {sizes[0]} channels of {sizes[1]}x{sizes[2]}"
        note = f"--channels-last reads {sizes[2]} channels of {sizes[0]}x{sizes[1]}"
        say(f"note: {read}; {note}", err=True)
    if len(sizes) not in (2, 4):
        return
    from convcli.layers.chain import has_open_axes

    plain = next((word for word in words if has_open_axes(word, len(sizes) - 1)), "")
    if not plain:
        return
    name = plain.partition(":")[0]
    if len(sizes) == 2:
        hint = f"1x{input_text} is an image of one channel; {name}1d takes {sizes[0]} channels of length {sizes[1]}"
    else:
        rest = "x".join(sizes[1:])
        hint = f"{rest} is one picture of a batch of {sizes[0]}; {name}3d takes {sizes[0]} channels of {rest}"
    raise UsageError(f"{input_text} before {name} has two readings", hint=hint, text=input_text, position=0)


def _list_weights(name: str, has_more: bool, how: str) -> None:
    """List the weights of a checkpoint, the only word."""
    if has_more:
        import shlex

        raise UsageError("a checkpoint is listed by itself", hint=f"convcli shape {shlex.quote(name)}")
    from convcli.layers.checkpoint import list_weights
    from convcli.render.shape_details import render_weights

    (tell if how == "text" else say)(render_weights(list_weights(name), how))


def _read_input(text: str, channels_last: bool) -> "Shape":
    """Return the shape that text or an image's header gives, channels first, without alpha."""
    if not text.strip():
        raise UsageError("the input is empty", hint="CxHxW, such as 3x304x228, or an image", text=text, position=0)
    if is_shape_text(text):
        return parse_input(text, channels_last=channels_last)
    from pathlib import Path

    if not local_path(text).exists():
        hint = "an input such as 3x304x228, photo.jpg or stack.toml comes first"
        sizes = text.strip("()[] ").replace(" ", "").replace(",", "x")
        if is_shape_text(sizes):
            hint = f"{sizes} is a shape"
        raise UsageError(f"{text!r} is neither a shape nor a file", hint=hint)
    from convcli.images.reading import probe

    info = probe(Path(text))
    # Networks read colours: alpha is not one of their channels.
    return (sum(name != "a" for name in info.plane_names), info.height_px, info.width_px)


def _open_stacks(words: "Sequence[str]", n_axes: int) -> "list[str | Layer]":
    """Return a chain with the layers of stacks in place of their names."""
    from convcli.layers.text import is_stack

    chain: list[str | Layer] = []
    for word in words:
        if is_stack(word):
            from convcli.layers.stack import open_stack

            chain += open_stack(word, n_axes=n_axes).layers
        else:
            chain.append(word)
    return chain


def _walk(words: "Sequence[str]", input_text: str | None, onnx: str | None, channels_last: bool) -> "Walk":
    """Return the shapes of layers as text, of stack files, the first on its own input, or of an ONNX model."""
    from convcli.layers.text import read_chain
    from convcli.layers.walk import walk

    input_shape = None if input_text is None else _read_input(input_text, channels_last)
    if onnx is not None:
        from convcli.layers.onnx import read_onnx

        if words:
            raise UsageError(f"--onnx brings its own layers, and {words[0]!r} is one more", hint="--input 3x224x224")
        return read_onnx(local_path(onnx), input_shape).walk
    if input_shape is None:
        from convcli.layers.stack import open_stack

        if not words:
            raise UsageError("no input given", hint="convcli shape 3x304x228 conv:64,k=7,s=2,p=3")
        input_shape = open_stack(words[0]).input
        if not input_shape:
            raise UsageError(f"{words[0]} says no input", hint="--input 3x224x224")
    if not words:
        raise UsageError("no layer given", hint=f"convcli shape {input_text} conv:64,k=7,s=2,p=3")
    n_axes = len(input_shape) - 1  # besides the channels
    return walk(read_chain(_open_stacks(words, n_axes), n_axes), input_shape)


def _solve(
    words: "Sequence[str]", input_text: str | None, target: str | None, channels_last: bool, bound: int, how: str
) -> str:
    """Return the answers to ``?`` as text; raise with the nearest sizes if there are none."""
    from convcli.geometry.sizes import parse_sizes
    from convcli.layers.inverse import solve

    if target is None:
        raise UsageError("a '?' needs the size it is to give", hint="--target 152x114")
    if input_text is None or not words:
        raise UsageError("--target needs an input and a layer with '?'", hint="conv:64,k=7,s=2,p=?")
    if how in ("csv", "markdown"):
        raise UsageError(f"answers to '?' come as text or --json, not --{how}")
    from convcli.render.shape_details import nearest_text, render_solutions, searched_text, solutions_as_dict

    input_shape = _read_input(input_text, channels_last)
    chain = _open_stacks(words, len(input_shape) - 1)
    found = solve(chain, input_shape, parse_sizes(target, "target", minimum=1), bound=bound)
    if not found.answers:
        raise GeometryError(
            f"nothing gives {target}: searched {searched_text(found)}",
            hint=f"nearest: {nearest_text(found)}" if found.nearest else None,
            **solutions_as_dict(found, input_shape),
        )
    return render_solutions(found, input_shape, how)


def _render(stack: "Walk", how: str, formula: bool) -> str:
    """Return a stack's shapes as text, Markdown, CSV or JSON."""
    from convcli.render.shape import render_shape

    if formula and how in ("json", "csv"):
        raise UsageError("--formula is text", hint=f"without --{how}")
    text = render_shape(stack, how)
    if formula:
        from convcli.render.shape_details import render_formulas

        sums = render_formulas(stack)
        text += f"\n\n```\n{sums}\n```" if how == "markdown" else f"\n\n{sums}"  # Markdown would take * for emphasis
    return text
