"""``convcli apply``: flags → what they ask for; whoever reads the command line runs it.

No deferred annotations here: Typer would evaluate each of them again at every start.
"""

from typing import Annotated

import typer

from convcli.cli.call import make_call

# Panels of --help; the option list below is in their order.
_CONV, _IN, _OUT, _RUN = "Convolution", "Input", "Output", "Running"


def _option(*names: str, help: str, metavar: str = "TEXT", panel: str = _CONV) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        *names, help=help, metavar=metavar, rich_help_panel=panel, show_default=False
    )
    return option


def register(app: typer.Typer) -> None:
    """Add the ``apply`` command."""
    app.command("apply")(apply)


def apply(
    context: typer.Context,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(metavar="INPUT...", help="Images, quoted globs, folders with --recursive; - is standard input."),
    ] = None,
    kernel: Annotated[
        list[str] | None,
        _option("-k", "--kernel", metavar="SPEC", help="Name, family:key=value, file[#entry] or matrix; repeatable."),
    ] = None,
    stack: Annotated[str | None, _option("--stack", metavar="FILE.toml", help="Run a stack of layers instead.")] = None,
    outputs: Annotated[
        str | None,
        _option("--outputs", metavar="last|all|NAMES", help="Of a stack: which maps [last]."),
    ] = None,
    stride: Annotated[str | None, _option("--stride", metavar="N|HxW", help="Step between windows [1].")] = None,
    padding: Annotated[
        str | None,
        _option("--padding", metavar="N|HxW|T,B,L,R|WORD", help="Or same, same_lower, valid, full [same]."),
    ] = None,
    padding_mode: Annotated[
        str | None,
        _option(
            "--padding-mode",
            metavar="MODE",
            help="zeros, constant:V, replicate, reflect, symmetric, circular [replicate].",
        ),
    ] = None,
    dilation: Annotated[str | None, _option("--dilation", metavar="N|HxW", help="Spacing between taps [1].")] = None,
    groups: Annotated[
        str | None, _option("--groups", metavar="auto|N", help="auto: single-channel kernels on every plane [auto].")
    ] = None,
    transposed: Annotated[bool, _option("--transposed", help="Transposed convolution.")] = False,
    output_padding: Annotated[
        str | None, _option("--output-padding", metavar="N|HxW", help="Of a transposed convolution [0].")
    ] = None,
    bias: Annotated[
        str | None, _option("--bias", metavar="V[,V...]", help="Added to every map, or one value per kernel.")
    ] = None,
    mode: Annotated[
        str | None,
        _option("--mode", metavar="correlate|convolve", help="convolve rotates taps by 180 deg [correlate]."),
    ] = None,
    anchor: Annotated[
        str | None, _option("--anchor", metavar="N|HxW", help="Tap over the output sample [(k-1)//2].")
    ] = None,
    engine: Annotated[
        str | None,
        _option("--engine", metavar="NAME", help="reference, im2col, gemm, direct, separable, fft, torch [auto]."),
    ] = None,
    dtype: Annotated[
        str | None, _option("--dtype", metavar="float32|float64", help="Type that sums are made in [float32].")
    ] = None,
    device: Annotated[
        str | None, _option("--device", metavar="cpu|cuda|mps", help="Where torch runs the job [cpu].")
    ] = None,
    channels: Annotated[
        str | None, _option("--channels", metavar="r,g,b|luma|a|...", help="Planes to use.", panel=_IN)
    ] = None,
    orientation: Annotated[
        str | None, _option("--orientation", metavar="apply|keep|ignore", help="EXIF orientation [apply].", panel=_IN)
    ] = None,
    alpha: Annotated[
        str | None,
        _option(
            "--alpha",
            metavar="premultiply|keep|filter|drop",
            help="Alpha of pictures [premultiply]; maps leave it out unless --channels names a.",
            panel=_IN,
        ),
    ] = None,
    frames: Annotated[
        str | None, _option("--frames", metavar="all|first|N|A-B", help="Of multi-page and animated files.", panel=_IN)
    ] = None,
    unit: Annotated[bool, _option("--unit", help="Map samples to 0..1 first.", panel=_IN)] = False,
    normalize: Annotated[
        str | None,
        _option("--normalize", metavar="imagenet|MEAN,STD", help="After --unit, which it implies.", panel=_IN),
    ] = None,
    max_pixels: Annotated[
        int | None,
        _option(
            "--max-pixels",
            metavar="N",
            help="Refuse larger images [268435456; none for TIFF and PPM, read by windows].",
            panel=_IN,
        ),
    ] = None,
    max_taps: Annotated[
        int | None, _option("--max-taps", metavar="N", help="Refuse larger kernels [33554432].", panel=_IN)
    ] = None,
    recursive: Annotated[
        bool, _option("-r", "--recursive", help="Search folders; their tree is kept below --out-dir.", panel=_IN)
    ] = False,
    files_from: Annotated[
        str | None, _option("--files-from", metavar="FILE|-", help="Read input names from a file.", panel=_IN)
    ] = None,
    null: Annotated[bool, _option("-0", "--null", help="Names in --files-from end in NUL.", panel=_IN)] = False,
    output: Annotated[
        str | None, _option("-o", "--output", metavar="FILE|-", help="One file; its suffix is the format.", panel=_OUT)
    ] = None,
    out_dir: Annotated[
        str | None, _option("--out-dir", metavar="DIR", help="Where outputs go [here].", panel=_OUT)
    ] = None,
    layout: Annotated[
        str | None, _option("--layout", metavar="maps|picture|sheet", help="[maps; picture with -o].", panel=_OUT)
    ] = None,
    combine: Annotated[
        str | None,
        _option(
            "--combine",
            metavar="OP",
            help="Maps of one plane into one: none, magnitude, max, argmax, min, sum, mean.",
            panel=_OUT,
        ),
    ] = None,
    format: Annotated[
        str | None,
        _option("--format", metavar="FMT", help="png jpeg tiff webp bmp ppm pfm gif npy npz safetensors.", panel=_OUT),
    ] = None,
    name: Annotated[
        str | None,
        _option("--name", metavar="TEMPLATE", help="'{dir}/{stem}/{kernel}-{channel}.{ext}' and the like.", panel=_OUT),
    ] = None,
    tone: Annotated[
        str | None,
        _option(
            "--tone",
            metavar="TONE",
            help="auto, clip, abs, signed, stretch, offset:V, scale:V: how values become samples [auto].",
            panel=_OUT,
        ),
    ] = None,
    depth: Annotated[
        str | None, _option("--depth", metavar="8|16|float", help="Bits a stored sample [as input].", panel=_OUT)
    ] = None,
    colormap: Annotated[
        str | None, _option("--colormap", metavar="NAME", help="Colours for maps: viridis, ...", panel=_OUT)
    ] = None,
    compress: Annotated[
        str | None, _option("--compress", metavar="fast|default|small", help="PNG [fast].", panel=_OUT)
    ] = None,
    overwrite: Annotated[bool, _option("--overwrite", help="Replace existing outputs.", panel=_OUT)] = False,
    skip_existing: Annotated[
        bool, _option("--skip-existing", help="Leave inputs whose outputs exist.", panel=_OUT)
    ] = False,
    report: Annotated[
        str | None, _option("--report", metavar="FILE.json|md|csv|html", help="Write the report there.", panel=_OUT)
    ] = None,
    json: Annotated[bool, _option("--json", help="Report on stdout as JSON.", panel=_OUT)] = False,
    quiet: Annotated[bool, _option("-q", "--quiet", help="Say nothing but errors.", panel=_OUT)] = False,
    dry_run: Annotated[
        bool, _option("--dry-run", help="Print shapes, files and bytes; write nothing.", panel=_RUN)
    ] = False,
    jobs: Annotated[
        int | None, _option("-j", "--jobs", metavar="N", help="Files at a time [cores].", panel=_RUN)
    ] = None,
    threads: Annotated[
        int | None, _option("--threads", metavar="N", help="Threads within a file [cores].", panel=_RUN)
    ] = None,
    memory: Annotated[
        str | None, _option("--memory", metavar="SIZE", help="Bound on working memory: 512M, 2G.", panel=_RUN)
    ] = None,
    fail_fast: Annotated[bool, _option("--fail-fast", help="Stop at the first bad input.", panel=_RUN)] = False,
    resume: Annotated[
        bool, _option("--resume", help="Do only what is missing or changed since the last run.", panel=_RUN)
    ] = False,
) -> None:
    """Apply a kernel bank to images: one feature map per kernel and plane, and a shape report.

    \b
    convcli apply photo.jpg -k sobel                 maps and a report in photo_sobel/
    convcli apply photo.jpg -k sharpen -o sharp.jpg  one picture
    """  # noqa: D301 - the mark that keeps the lines below apart
    values = {
        "stack": stack, "outputs": outputs, "stride": stride,
        "padding": padding, "padding_mode": padding_mode, "dilation": dilation, "groups": groups,
        "transposed": transposed, "output_padding": output_padding, "bias": bias, "mode": mode, "anchor": anchor,
        "engine": engine, "dtype": dtype, "device": device, "channels": channels, "orientation": orientation,
        "alpha": alpha, "frames": frames, "unit": unit, "normalize": normalize, "max_pixels": max_pixels,
        "max_taps": max_taps, "recursive": recursive, "files_from": files_from, "null": null,
        "output": output, "out_dir": out_dir, "layout": layout, "combine": combine, "format": format, "name": name,
        "tone": tone, "depth": depth, "colormap": colormap, "compress": compress, "overwrite": overwrite,
        "skip_existing": skip_existing, "report": report, "json": json, "quiet": quiet,
        "dry_run": dry_run, "jobs": jobs, "threads": threads, "memory": memory, "fail_fast": fail_fast,
        "resume": resume,
    }  # fmt: skip
    context.obj(make_call(inputs or [], kernel or [], values))
