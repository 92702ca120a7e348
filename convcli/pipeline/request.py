"""Flags of ``apply``: each is one field, which holds its type, its :class:`Option` and its default.

:data:`OPTIONS` are the rows of all fields. The command line, ``convcli.apply``, the manifest and the README's table
read them. Annotations are evaluated at once: they are the table.
"""

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from convcli.engine.algorithms import ALL
from convcli.errors import UsageError, near_names
from convcli.geometry.arithmetic import PADDING_WORDS, Pair, parse_count
from convcli.geometry.sizes import parse_padding, parse_pair
from convcli.images import formats
from convcli.pipeline import flags
from convcli.pipeline.flags import SECTIONS, Option, one_of, switch
from convcli.pipeline.frames import check_frames
from convcli.pipeline.naming import SUFFIX_END, bind_output, check_template, parse_output, refuse_contradictions
from convcli.process.system import local_path

Floats = tuple[float, ...]
Padding = str | tuple[Pair, Pair]
_CONV, _IN, _OUT, _RUN = SECTIONS


def _able(option: str) -> str:
    return ", ".join(formats.able("options", option))


_path, _text = flags.text_only(local_path), flags.text_only(str.strip)
_positive, _whole = partial(parse_pair, minimum=1), partial(parse_pair, minimum=0)
_number: Callable[..., Option] = partial(Option, kind=int)
_BORDERS = ("zeros", "constant:", "replicate", "reflect", "symmetric", "circular")
_ENGINES = ("auto", *ALL)
_COMBINES = ("none", "magnitude", "max", "argmax", "min", "sum", "mean")
_TONES = ("auto", "clip", "abs", "abs:", "signed", "stretch", "offset:", "scale:")


# fmt: off
class ApplyRequest(NamedTuple):
    """Parsed arguments of ``apply``, the same for every input of a batch.

    ``None`` leaves the choice to :mod:`convcli.pipeline.plan`, which makes it for each input.
    """

    kernels: Annotated[tuple[str, ...], Option(
        _CONV, "SPEC", "Name, family:key=value, file[#entry] or matrix; repeatable.", kind=list, short="-k")] = ()
    layers: Annotated[str | None, Option(
        _CONV, "'WORD WORD'", "Run layers: 'conv:sobel maxpool:2 relu', words as of shape.", "", _text)] = None
    stack: Annotated[str | None, Option(
        _CONV, "FILE|NAME|-", "Run a stack: TOML, one that ships, or an ONNX model.", "", _text)] = None
    until: Annotated[str | None, Option(_CONV, "NODE", "Stop at this node of the ONNX model.", "", _text)] = None
    outputs: Annotated[str, Option(
        _CONV, "last|all|input|NAMES", "Which maps of layers are written.", "last",
        _text, ("last", "all", "input"))] = "last"
    stride: Annotated[Pair, Option(_CONV, "N|HxW", "Step between windows.", "1", _positive)] = (1, 1)
    padding: Annotated[Padding, Option(
        _CONV, "N|HxW|T,B,L,R|WORD", "Pixels added around, or same, same_lower, valid, full.", "same",
        flags.text_only(parse_padding), PADDING_WORDS)] = "same"
    padding_mode: Annotated[str | None, Option(
        _CONV, "MODE", "zeros, constant:V, replicate, reflect, symmetric, circular.", "replicate",
        _text, _BORDERS)] = None
    dilation: Annotated[Pair, Option(_CONV, "N|HxW", "Spacing between taps.", "1", _positive)] = (1, 1)
    groups: Annotated[int | None, Option(
        _CONV, "auto|N", "auto: single-channel kernels on every plane.", "auto", flags.parse_groups, ("auto",))] = None
    transposed: Annotated[bool, switch(_CONV, "Transposed convolution.")] = False
    output_padding: Annotated[Pair, Option(_CONV, "N|HxW", "Added at the end, if transposed.", "0", _whole)] = (0, 0)
    bias: Annotated[Floats | None, Option(
        _CONV, "V[,V...]|false", "Added to every map, or one per kernel; false: none.", "", flags.parse_bias)] = None
    mode: Annotated[str, one_of(
        _CONV, "correlate|convolve", "convolve rotates taps by 180 deg.", "correlate")] = "correlate"
    anchor: Annotated[Pair | None, Option(_CONV, "N|HxW", "Tap over the output sample.", "(k-1)//2", _whole)] = None
    engine: Annotated[str, Option(_CONV, "NAME", f"{', '.join(_ENGINES[1:])}.", "auto", flags.word, _ENGINES)] = "auto"
    dtype: Annotated[str, one_of(_CONV, "float32|float64", "Type that sums are made in.", "float32")] = "float32"
    device: Annotated[str, one_of(_CONV, "cpu|cuda|mps", "Where torch runs the job.", "cpu")] = "cpu"

    channels: Annotated[tuple[str, ...] | None, Option(
        _IN, "r,g,b|luma|a|...", "Planes to use.", "", flags.parse_channels)] = None
    orientation: Annotated[str, one_of(_IN, "apply|keep|ignore", "What EXIF orientation does.", "apply")] = "apply"
    alpha: Annotated[str, one_of(
        _IN, "premultiply|keep|filter|drop", "Alpha of pictures; maps have it only if --channels names a.",
        "premultiply")] = "premultiply"
    frames: Annotated[str | None, Option(
        _IN, "all|first|N|A-B", "Which pages or frames.", "", flags.text_only(check_frames), ("all", "first"))] = None
    unit: Annotated[bool, switch(_IN, "Map samples to 0..1 first.")] = False
    normalize: Annotated[tuple[Floats, Floats] | None, Option(
        _IN, "imagenet|MEAN,STD", "Subtract MEAN, divide by STD, plane by plane; implies --unit.", "",
        flags.parse_normalize, ("imagenet",))] = None
    max_pixels: Annotated[int | None, _number(
        _IN, "N", "Refuse larger images.", "268435456; none for TIFF and PPM, read by windows", flags.parse_limit,
        changes_pixels=False)] = None
    max_planes: Annotated[int | None, _number(
        _IN, "N", "Refuse images of more planes.", "1024", flags.parse_limit, changes_pixels=False)] = None
    max_frames: Annotated[int | None, _number(
        _IN, "N", "Refuse files of more frames.", "100000", flags.parse_limit, changes_pixels=False)] = None
    accept_damaged: Annotated[bool, switch(_IN, "Read damaged JPEGs as far as they go.")] = False
    nodata: Annotated[float | None, Option(
        _IN, "V|nan", "Marks missing samples: the mean of the others in a window stands in.", "",
        flags.parse_nodata, ("nan",))] = None
    luminance: Annotated[bool, switch(_IN, "Filter brightness (Y of YCbCr), keep colours: for pictures.")] = False
    max_taps: Annotated[int | None, _number(
        _IN, "N", "Refuse larger kernels.", "33554432", flags.parse_limit, changes_pixels=False)] = None

    output: Annotated[Path | None, Option(
        _OUT, "FILE|-", "One file; its suffix is the format.", "", parse_output, short="-o")] = None
    out_dir: Annotated[Path, Option(_OUT, "DIR", "Where outputs go.", "here", _path, changes_pixels=False)] = Path()
    layout: Annotated[str | None, one_of(
        _OUT, "maps|picture|sheet|before-after",
        "One file per map; one picture; a sheet of input, kernels and maps; or input beside result.",
        "maps; picture with -o")] = None
    combine: Annotated[str | None, Option(
        _OUT, "OP", f"Maps of one plane into one: {', '.join(_COMBINES)}.", values=_COMBINES)] = None
    format: Annotated[str | None, Option(
        _OUT, "FMT", f"{' '.join(formats.WRITTEN)}.", "png; pictures: as the input", flags.parse_format,
        formats.WRITTEN)] = None
    name: Annotated[str | None, Option(
        _OUT, "TEMPLATE", "Names of outputs, such as '{dir}/{stem}/{kernel}-{channel}.{ext}'.",
        parse=flags.text_only(check_template))] = None
    region: Annotated[tuple[int, int, int, int] | None, Option(
        _OUT, "X,Y,W,H", "Only these samples of the output.", "", flags.parse_region)] = None
    tone: Annotated[str, Option(
        _OUT, "TONE", "auto, clip, abs, abs:V, signed, stretch, offset:V, scale:V: how values become samples.", "auto",
        flags.word, _TONES)] = "auto"
    depth: Annotated[str | None, one_of(
        _OUT, "1|8|16|float", "Bits per stored sample; 1 is split at half of white.", "as input")] = None
    colormap: Annotated[str | None, Option(_OUT, "NAME", "Colours for maps: viridis, ...", "", flags.word)] = None
    compress: Annotated[str, one_of(
        _OUT, "fast|default|small", f"Effort of {_able('compress')}.", "fast",
        changes_pixels=False, encodes=True)] = "fast"
    quality: Annotated[int | None, _number(
        _OUT, "1..100", f"Of {_able('quality')}; makes webp and jp2 lossy.", "jpeg 92, avif 90", flags.parse_percent,
        encodes=True)] = None
    subsampling: Annotated[str | None, Option(
        _OUT, "444|422|420", f"Resolution of colours in {_able('subsampling')}.", "444", flags.parse_subsampling,
        flags.SUBSAMPLINGS, encodes=True)] = None
    tile: Annotated[int | None, _number(
        _OUT, "N", f"Side of square tiles in {_able('tile')}, a multiple of 16.", "strips", flags.parse_tile,
        encodes=True)] = None
    in_place: Annotated[bool, switch(
        _OUT, "Replace the inputs, in their format; mode and owner are kept.", changes_pixels=False)] = False
    backup: Annotated[str | None, Option(
        _OUT, "SUFFIX", "With --in-place: keep each old file, with this behind its name.", "",
        flags.text_only(flags.parse_backup), changes_pixels=False)] = None
    overwrite: Annotated[bool, switch(_OUT, "Replace existing outputs.", changes_pixels=False)] = False
    skip_existing: Annotated[bool, switch(_OUT, "Leave inputs whose outputs exist.", changes_pixels=False)] = False

    threads: Annotated[int | None, _number(
        _RUN, "N", "Threads within a file.", "cores", partial(parse_count, minimum=1), changes_pixels=False)] = None
    memory: Annotated[int | None, Option(
        _RUN, "SIZE", "Bound on working memory: 512M, 2G.", "", flags.parse_bytes, changes_pixels=False)] = None

    #: Set by ``-o -``, which leaves ``output`` absent.
    to_stdout: bool = False
    #: Set by a job, no process of which sees all names: outputs are named by the file with its suffix.
    whole_names: bool = False
    #: Set by an output that is a URL: outputs are written below ``stage`` and put from there below ``out_url``.
    out_url: str = ""
    stage: Path = Path()

    @property
    def is_one_file(self) -> bool:
        """Whether ``-o`` names one file, or standard output."""
        return self.output is not None or self.to_stdout

    def url_of(self, path: Path | None) -> str:
        """Return where an output goes; empty if it stays where it is written."""
        if not self.out_url or path is None:
            return ""
        return f"{self.out_url}/{path.relative_to(self.stage).as_posix()}"

    def backup_of(self, path: Path) -> Path | None:
        """Return the name under which the old file stays when its place is taken, if it does."""
        return None if self.backup is None else path.with_name(f"{path.name}{self.backup}")

    @property
    def runs_layers(self) -> bool:
        """Whether layers run, and no bank."""
        return self.layers is not None or self.stack is not None

    @property
    def is_raw(self) -> bool:
        """Whether files hold float maps, which are no pictures."""
        return self.kind == "raw" or self.format in formats.RAW

    @property
    def encoding(self) -> dict[str, Any]:
        """Keyword arguments for the encoder of an output."""
        return {row.key: getattr(self, row.key) for row in OPTIONS if row.encodes}

    @property
    def encoder_flags(self) -> dict[str, str]:
        """Flags of the encoder that are not at their defaults, by field."""
        # A flag at its default asks for nothing: formats without it must not be refused.
        usual = ApplyRequest().encoding
        return {row.key: row.flag for row in OPTIONS if row.encodes and getattr(self, row.key) != usual[row.key]}

    @property
    def reading(self) -> dict[str, Any]:
        """Keyword arguments for reading: see :class:`convcli.images.info.Limits`."""
        names = ("orientation", "max_pixels", "max_planes", "max_frames", "accept_damaged")
        return {name: getattr(self, name) for name in names}

    @property
    def kind(self) -> str:
        """``maps``, ``picture``, ``sheet`` or ``raw``: by layout, format and ``-o`` together."""
        is_array = self.format in formats.RAW or self.layout == "maps"
        if self.is_one_file and (is_array or (self.format, self.layout, self.depth) == ("tiff", None, None)):
            return "raw"
        return self.layout or ("picture" if self.is_one_file or self.in_place else "maps")

    @property
    def follows_input(self) -> bool:
        """Whether each output has the format of its input."""
        return self.in_place or (self.name is not None and self.name.endswith(SUFFIX_END))


class RunFlags(NamedTuple):
    """Arguments of the command that say how a batch runs and prints."""

    recursive: Annotated[bool, switch(_IN, "Search folders; their tree is kept below --out-dir.", "-r")] = False
    files_from: Annotated[str | None, Option(_IN, "FILE|-", "Read input names from a file.")] = None
    null: Annotated[bool, switch(_IN, "Names in --files-from end in NUL.", "-0")] = False
    report: Annotated[str | None, Option(_OUT, "FILE.json|md|csv|html", "Write the report there.")] = None
    show: Annotated[bool, switch(_OUT, "Draw the result of one input in the terminal.")] = False
    json: Annotated[bool, switch(_OUT, "Report on stdout as JSON.")] = False
    quiet: Annotated[bool, switch(_OUT, "Say nothing but errors: no warnings about data either.", "-q")] = False
    dry_run: Annotated[bool, switch(_RUN, "Print shapes, files and bytes; write nothing.")] = False
    jobs: Annotated[int | None, _number(_RUN, "N", "Files at a time.", "cores", short="-j")] = None
    fail_fast: Annotated[bool, switch(_RUN, "Stop at the first bad input.")] = False
    allow_empty: Annotated[bool, switch(_IN, "No image in a folder, pattern or list is no error.")] = False
    resume: Annotated[bool, switch(_RUN, "Do only what is missing or changed since the last run.")] = False
    cluster: Annotated[str | None, Option(
        _RUN, "local:N|tcp://...|FILE.json|slurm:N", "Run shards of the batch on a Dask cluster.")] = None
    shard: Annotated[str | None, Option(_RUN, "N|SIZE", "Most inputs and bytes per shard.", "1000,256M")] = None
    stats: Annotated[str | None, one_of(_RUN, "jsonl|parquet", "Format of the rows of shards.", "jsonl")] = None
    job: Annotated[str | None, Option(_RUN, "DIR", "Where --cluster keeps what is done.", "in --out-dir")] = None
# fmt: on

#: Every flag, in the order of the help.
OPTIONS: tuple[Option, ...] = tuple(
    sorted(
        (
            hint.__metadata__[0]._replace(key=key)
            for record in (ApplyRequest, RunFlags)
            for key, hint in record.__annotations__.items()
            if hasattr(hint, "__metadata__")
        ),
        key=lambda row: SECTIONS.index(row.section),
    )
)


def parse_request(given: Mapping[str, Any]) -> ApplyRequest:
    """Turn flags of ``convcli apply`` into an :class:`ApplyRequest`.

    Parameters
    ----------
    given : mapping of str to object
        By field: text as typed, or a value of the field's type. ``None`` counts as absent.

    Raises
    ------
    UsageError
        A word is unknown, a number does not parse, or two flags contradict each other.

    Examples
    --------
    >>> parse_request({"kernels": ("sobel",), "stride": "2"}).stride
    (2, 2)
    """
    values = {key: value for key, value in given.items() if value is not None}
    stage: dict[str, Any] = {}
    if "://" in repr([values.get(key) for key in ("kernels", "out_dir", "output", "stack")]):
        from convcli.pipeline.staging import with_local_names

        values, stage = with_local_names(values)
    rows = {row.key: row for row in OPTIONS if row.key in ApplyRequest._fields}
    for key, value in values.items():
        if key not in rows:
            raise UsageError(f"unknown flag {key!r}", hint=near_names(key, rows) or None)
        if value == "":  # an unset variable of the shell; Path("") would mean the current folder
            raise UsageError(f"{rows[key].flag} is empty", hint="leave it out, or give it a value")
        if rows[key].kind is bool and not isinstance(value, bool):
            raise UsageError(f"{rows[key].flag} is a switch, not {value!r}", hint=f"{key}=True")
        if rows[key].kind is list:
            values[key] = (value,) if isinstance(value, str) else tuple(value)
        # Numbers go the way of text, so that Python callers meet the checks of the command line.
        elif isinstance(value, str | int | float | os.PathLike) and not isinstance(value, bool):
            values[key] = rows[key].value_of(os.fspath(value) if isinstance(value, os.PathLike) else str(value))
    if "normalize" in values:
        values["unit"] = True  # means and standard deviations of networks are of samples in 0..1
    if "output" in values:
        bind_output(values, str(given["output"]))
    request = ApplyRequest(**values, **stage)
    # Outputs that follow their inputs have many formats: each input is planned with the options that its format takes.
    refuse_contradictions(request, {} if request.follows_input else request.encoder_flags)
    return request
