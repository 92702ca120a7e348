"""Names of outputs, and flags that exclude each other or would have no effect: refused before a file is opened."""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from convcli.errors import OutputError, UsageError, near_names
from convcli.images import formats
from convcli.pipeline.flags import parse_format
from convcli.process.system import local_path

#: One file per map: a map of a single-plane kernel is named by kernel and plane, of a dense bank by kernel alone.
MAP_TEMPLATE = "{dir}/{stem}_{bank}/{kernel}-{channel}.{ext}"
DENSE_TEMPLATE = "{dir}/{stem}_{bank}/{kernel}.{ext}"
PICTURE_TEMPLATE = "{dir}/{stem}_{bank}.{ext}"
#: Layouts of one picture, for which maps are combined; and layouts that are drawn, with captions.
PICTURES, PAGES = ("picture", "before-after"), ("sheet", "before-after")
FIELDS = ("dir", "parent", "file", "stem", "suffix", "bank", "kernel", "channel", "index", "frame", "ext")
#: The end of a ``--name`` whose outputs have the suffix, and so the format, of their input.
SUFFIX_END = ".{suffix}"
#: The record of a batch in its output folder: :mod:`convcli.pipeline.manifest`.
MANIFEST_NAME = ".convcli-manifest.jsonl"


class MapName(NamedTuple):
    """One output map: which kernel made it, from which planes, and the nature of its values, which decides its tone.

    ``channel`` is empty for a kernel that mixes planes by taps of its own (a dense bank). ``nature`` is a key of
    :data:`convcli.pipeline.tones.AUTO`.
    """

    kernel: str
    channel: str
    nature: str = "other"

    @property
    def label(self) -> str:
        """``kernel-channel``, as in file names."""
        return f"{self.kernel}-{self.channel}" if self.channel else self.kernel


def check_template(template: str) -> str:
    """Return ``template`` if every field of it is known and it stays below the output folder.

    Raises
    ------
    UsageError
        Unknown field, bad braces, an absolute path or ``..``.

    Examples
    --------
    >>> check_template("{stem}/{kernel}.{ext}")
    '{stem}/{kernel}.{ext}'
    """
    try:
        # Parsed and checked first: str.format would let a template read attributes of its values.
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise UsageError(f"--name {template!r}: {error}", hint=f"fields: {_braced(FIELDS)}") from None
    for _, name, format_spec, conversion in parts:
        if name is not None and (name not in FIELDS or format_spec or conversion):
            hint = f"{near_names(name, FIELDS)} fields: {_braced(FIELDS)}".strip()
            raise UsageError(f"--name {template!r}: {{{name}}} is not a field", hint=hint)
    path = PurePosixPath(template)
    # A fixed suffix could contradict --format, which decides the content.
    if path.suffix and path.suffix not in (".{ext}", SUFFIX_END):
        raise UsageError(
            f"--name {template!r} ends in {path.suffix}",
            hint="end it in .{ext}, --format names the format; or in .{suffix}, which is the input's",
        )
    if path.is_absolute() or ".." in path.parts or "\0" in template or not template.strip("/ "):
        raise UsageError(f"--name {template!r} leaves the output folder", hint="a relative path without '..'")
    return template


def _braced(names: Iterable[str]) -> str:
    return " ".join(f"{{{name}}}" for name in names)


def output_path(out_dir: Path, template: str, values: Mapping[str, str]) -> Path:
    """Return one output path; values other than ``dir`` are names already made safe.

    Examples
    --------
    >>> output_path(Path("out"), "{dir}/{stem}.{ext}", {"dir": "", "stem": "cat", "ext": "png"})
    PosixPath('out/cat.png')
    """
    # An empty field in front leaves a slash there, which would make the path absolute.
    relative = template.format_map(values).lstrip("/")
    # The template was checked, but a field may bring dots of its own.
    if ".." in PurePosixPath(relative).parts:
        raise OutputError(f"{relative} leaves the output folder", hint="rename the input, or give --name")
    return out_dir / relative


def parse_output(text: str, _flag: str) -> Path:
    """Return the file that ``-o`` names."""
    path = local_path(text)
    # A Zarr store is a folder, and one output all the same: whether it may be replaced is asked later.
    if text.endswith("/") or (path.is_dir() and path.suffix.lower() != ".zarr"):
        hint = f"--out-dir {path} for a file a map, or -o {path / 'edges.png'}"
        raise UsageError(f"-o {text} is a folder, and one file is asked for", hint=hint)
    return path


def refuse(cases: Iterable[tuple[object, str, str]]) -> None:
    """Raise a UsageError for the first of (whether it holds, message, hint) that holds."""
    for holds, message, hint in cases:
        if holds:
            raise UsageError(message, hint=hint)


def bind_output(values: dict[str, object], text: str) -> None:
    """Let the suffix of ``-o``, typed as ``text``, name the format, unless ``--format`` does; ``-`` is standard output.

    Raises
    ------
    UsageError
        No format is named, two are, or the format cannot hold several maps in one file.
    """
    output = Path(str(values["output"]))
    to_stdout = str(output) == "-"
    values["to_stdout"], values["output"] = to_stdout, None if to_stdout else output
    if "format" not in values:
        if not to_stdout and not output.suffix:
            raise UsageError(f"-o {text} has no suffix to name its format", hint="-o edges.png, or --format png")
        values["format"] = "png" if to_stdout else parse_format(output.suffix, f"-o {text}: format")
    named = formats.BY_SUFFIX.get(output.suffix.lower())
    if not to_stdout and named is not None and named.name != values["format"]:
        raise UsageError(f"-o {text} and --format {values['format']} disagree", hint="keep one of them")
    if values.get("layout") == "maps" and values["format"] not in (*formats.RAW, "tiff"):
        raise UsageError(
            f"-o {text} is one file and cannot hold the maps as {values['format']}",
            hint="--out-dir for one file per map, -o maps.npy for all maps, or --layout sheet",
        )


def refuse_contradictions(request: Any, encoding: Mapping[str, str]) -> None:
    """Refuse flags of a request that exclude each other or would be ignored; ``encoding`` has those of the encoder."""
    raw, one_file, depth = request.is_raw, request.is_one_file, request.depth
    refuse([
        *_of_place(request),
        (not request.kernels and not request.runs_layers, "no kernel given",
         "-k sobel; `convcli kernels list` shows the names"),
        (request.kernels and request.runs_layers, "--kernel excludes --layers and --stack",
         "--layers 'conv:KERNEL maxpool:2'"),
        (request.layers is not None and request.stack is not None, "--layers and --stack exclude each other",
         "put all layers into one of them"),
        (request.until is not None and request.stack is None, "--until is for ONNX models", "--stack MODEL.onnx"),
        (request.overwrite and request.skip_existing, "--overwrite and --skip-existing exclude each other",
         "keep one of them"),
        (one_file and request.out_dir != Path(), "--out-dir does nothing beside -o", "keep one of them"),
        (one_file and request.name is not None, "--name does nothing beside -o", "keep one of them"),
        (request.outputs != "last" and not request.runs_layers, "--outputs is for layers",
         "--layers 'conv:sobel relu', or --stack FILE"),
        (raw and request.tone != "auto", "--tone does nothing to raw maps", "a picture format, or no --tone"),
        (raw and request.colormap is not None, "--colormap does nothing to raw maps", "a picture format"),
        (request.to_stdout and formats.BY_NAME[request.format or "png"].folder, "-o - is no folder", "--format npy"),
        (raw and depth in ("1", "8", "16"), "raw maps are float32", "--depth float, or a picture format"),
        (raw and request.layout in (*PICTURES, *PAGES), f"{request.format} holds raw maps", "a picture format"),
        (request.kind != "picture" and request.alpha != "premultiply", "--alpha is for pictures", "--layout picture"),
        (request.kind in PAGES and depth not in (None, "8"), f"a {request.kind} has 8 bits", "leave --depth out"),
        (request.colormap is not None and depth not in (None, "8"), "colours have 8 bits", "no --depth"),
        (request.dtype == "float64" and request.device == "mps", "mps has no float64", "--dtype float32"),
        (request.output_padding != (0, 0) and not request.transposed, "--output-padding needs --transposed",
         "add --transposed, or leave it out"),
        (request.luminance and request.kind not in PICTURES, "--luminance is for pictures", "--layout picture"),
        (request.luminance and request.channels, "--luminance takes all colours", "no --channels"),
        (request.luminance and request.groups is not None, "--luminance decides the groups", "no --groups"),
        (request.nodata is not None and request.transposed, "--nodata does nothing to a transposed convolution",
         "leave one of them out"),
        (request.nodata is not None and request.device != "cpu", f"--nodata does not run on {request.device}",
         "no --device"),
    ])  # fmt: skip
    if request.format is not None or request.kind != "picture":  # else that of the input, which the plan knows
        check_format(request.format or "png", None if request.follows_input else depth, encoding, raw=raw)


def _of_place(request: Any) -> Sequence[tuple[object, str, str]]:
    """Return the cases of ``--in-place`` and ``--backup``."""
    asked = request.in_place
    others = {
        "-o": request.is_one_file,
        "--out-dir": request.out_dir != Path() or request.out_url,
        "--name": request.name is not None,
        "--format": request.format is not None,
        "--skip-existing": request.skip_existing,
        "--frames": request.frames not in (None, "all"),
    }
    named = next((flag for flag, given in others.items() if given), "")
    return (
        (asked and named, f"--in-place and {named} exclude each other", "keep one of them"),
        (asked and request.layout not in (None, "picture"), f"--in-place writes no {request.layout}", "no --layout"),
        (request.backup is not None and not asked, "--backup is for --in-place", "add --in-place"),
    )


def check_format(name: str, depth: str | None, encoding: Mapping[str, str], *, raw: bool) -> None:
    """Refuse a depth, or flags of the encoder (by key), that the format ``name`` does not take; name those that do."""
    row = formats.BY_NAME[name]
    if depth is not None and not row.raw and depth not in row.depths:
        able = [*formats.able("depths", depth), *(formats.RAW if depth == "float" else ())]
        hint = f"--format {', '.join(able[:-1])} or {able[-1]}" if able[1:] else f"--format {able[0]}"
        raise UsageError(f"--depth {depth} cannot be stored as {name}", hint=hint)
    for key, flag in encoding.items():
        if key not in (row.raw_options if raw else row.options):
            hint = f"--format {' or '.join(formats.able('options', key))}, or no {flag}"
            raise UsageError(f"{flag} does nothing to {'raw maps' if raw else name}", hint=hint)
