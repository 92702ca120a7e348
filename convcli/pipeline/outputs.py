"""Output files planned: contents, names, depths, and the limits of their formats."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from convcli.errors import OutputError, UsageError
from convcli.images import formats
from convcli.images.files import vanished
from convcli.pipeline.inputs import InputFile
from convcli.pipeline.naming import PAGES, PICTURE_TEMPLATE, PICTURES, SUFFIX_END, output_path
from convcli.pipeline.request import ApplyRequest

if TYPE_CHECKING:
    from convcli.images.info import ImageInfo

#: What may stand in a template for {stem} and tell inputs of one name apart, the simplest first.
_TELLING = ("{stem}", "{parent}/{stem}", "{stem}-{suffix}", "{parent}/{stem}-{suffix}")


class OutputFile(NamedTuple):
    """One file to be written.

    Attributes
    ----------
    path : Path or None
        ``None`` is standard output.
    kind : {"map", "picture", "sheet", "before-after", "raw"}
    maps : tuple of int
        Which maps, after combining, it holds; neighbours.
    format : str
    depth : {"1", "8", "16", "float"}
    size_hw : (int, int)
        Rows and columns of a map.
    url : str
        Where the file goes from ``path``; empty if it stays.
    """

    path: Path | None
    kind: str
    maps: tuple[int, ...]
    format: str
    depth: str
    size_hw: tuple[int, int]
    url: str = ""

    @property
    def n_bytes(self) -> int:
        """Size of the samples before compression, in bytes."""
        height, width = self.size_hw
        return len(self.maps) * height * -(-width * {"1": 1, "8": 8, "16": 16, "float": 32}[self.depth] // 8)

    @property
    def is_raw(self) -> bool:
        """Whether it holds the values of the maps, which no tone changes."""
        return self.kind == "raw" or self.format in formats.RAW

    def file_bytes(self) -> int | None:
        """Return the bytes of the finished file, if it has a place."""
        if self.path is None:
            return None
        try:
            if formats.BY_NAME[self.format].folder:
                return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())
            return self.path.stat().st_size
        except FileNotFoundError:
            raise vanished(self.path) from None

    def as_dict(self) -> dict[str, object]:
        """Return the file as plain data."""
        return {
            "path": self.url or (str(self.path) if self.path else "-"),
            "kind": self.kind,
            "format": self.format,
            "depth": self.depth,
            "sample_bytes": self.n_bytes,
        }

    def holds(self, dtype: str) -> bool:
        """Return whether samples of a type keep their precision."""
        return dtype == "uint8" or self.depth == "float" or (dtype, self.depth) == ("uint16", "16")

    @property
    def span(self) -> slice:
        """Its maps among all."""
        return slice(self.maps[0], self.maps[-1] + 1)


class OutputNames(NamedTuple):
    """Paths of the outputs of one input, which ``format`` gives their suffix; ``bank`` is part of the names."""

    request: ApplyRequest
    input: InputFile
    bank: str
    format: str

    def path(self, template: str, *, kernel: str, channel: str, index: int = 0) -> Path | None:
        """Return one path; ``-o`` wins over ``--name`` wins over ``template``; ``None`` is standard output."""
        request, file = self.request, self.input
        if request.to_stdout or request.output is not None:
            return request.output
        if request.in_place and file.path is not None:
            # A link stays, and the file that it names is replaced.
            return Path(os.path.realpath(file.path)) if file.path.is_symlink() else file.path
        from convcli.banks.bank import safe_name

        values = {
            "dir": str(file.below),
            "parent": file.parent,
            "file": file.file,
            "stem": file.stem,
            "suffix": file.suffix,
            "bank": self.bank,
            "kernel": safe_name(kernel),
            "channel": channel,
            "index": str(index),
            "frame": f"{file.frame or 0:03}",
            "ext": formats.BY_NAME[self.format].suffixes[0][1:],
        }
        if request.whole_names and request.name is None:
            template = template.replace("{stem}", "{file}")
        # Frames of one file would share their names: maps get a folder for each frame, single files a number.
        # A --name template stays as it is; batch_files refuses the clashes that it leaves.
        if file.frame is not None and request.name is None:
            folder, _, name = template.rpartition("/")
            template = (
                f"{folder}/{{frame}}/{name}"
                if "{bank}/" in template
                else f"{folder}/{name}".replace(".{ext}", "_{frame}.{ext}")
            )
        return output_path(request.out_dir, request.name or template, values)

    def file(
        self, path: Path | None, kind: str, maps: tuple[int, ...], depth: str, size_hw: tuple[int, int]
    ) -> OutputFile:
        """Return the file at one of the paths."""
        return OutputFile(path, kind, maps, self.format, depth, size_hw, self.request.url_of(path))


def choose_format(
    request: ApplyRequest, info: ImageInfo, kind: str, n_planes: int, size_hw: tuple[int, int]
) -> tuple[str, str]:
    """Return the format of the outputs, and a note where a picture leaves the format of its input.

    Without ``--format`` or a suffix a picture keeps it, where it holds the result.
    """
    if request.format is not None or kind != "picture" or info.format == "png":
        return request.format or "png", ""
    row = formats.BY_NAME.get(info.format)
    if row is None or not row.planes:
        why = "is only read"
    elif row.note:  # GIF: every picture would lose colours
        why = f"cannot hold it: {row.note}"
    elif n_planes not in row.planes or (info.dtype == "uint16" and n_planes not in (row.deep_planes or row.planes)):
        why = f"cannot hold {n_planes} planes"
    elif max(size_hw) > row.most_px:
        why = f"cannot hold {max(size_hw)} pixels a side"
    elif request.depth is not None and request.depth not in row.depths:
        why = f"cannot hold --depth {request.depth}"
    elif info.dtype not in ("uint8", "float32") and not row.is_deep:
        why = f"cannot hold {info.dtype} samples"
    elif any(key not in row.options for key in request.encoder_flags):
        why = f"does not take {', '.join(request.encoder_flags.values())}"
    else:
        return row.name, ""
    return "png", f"written as png: {info.format} {why}"


def choose_depth(request: ApplyRequest, info: ImageInfo, layout: str, output_format: str) -> str:
    """Return bits a stored sample: as asked, else as the input as far as the format holds it."""
    if layout == "raw" or formats.BY_NAME[output_format].depths[0] == "float":
        return "float"
    if request.depth is not None:
        return request.depth
    if request.output is not None and request.output.suffix.lower() == ".pbm":
        return "1"
    if request.colormap is not None or layout in PAGES:
        return "8"
    # Maps have negative and large values, which TIFF can keep; a picture of bytes stays a picture of bytes.
    if output_format == "tiff" and (layout == "maps" or info.dtype.startswith("float")):
        return "float"
    row = formats.BY_NAME[output_format]
    is_deep = row.is_deep and (not row.deep_planes or info.n_planes in row.deep_planes)
    return "16" if info.dtype != "uint8" and is_deep else "8"


def output_notes(output: OutputFile, info: ImageInfo, n_planes: int, encoding: Mapping[str, Any]) -> list[str]:
    """Return notes on losses: bits of samples, size of tiles, and in pictures profile, resolution, EXIF and colours."""
    notes = []
    is_bit = output.depth == "1"
    if not output.holds(info.dtype) or is_bit:
        stored = f"{output.depth} bit{'' if is_bit else 's'} as {output.format}"
        kept = "--depth float" if output.format == "tiff" else "--format tiff --depth float"
        notes.append(f"{info.dtype} samples are stored with {stored}; {kept} keeps float32")
    if output.kind == "raw" and output.format == "tiff":
        notes.append("tiff holds the raw float maps, a page each; --depth 8 or 16 makes it a picture")
    if output.kind == "picture":
        from convcli.images.write import picture_notes

        metadata = info.metadata._replace(stamp="")  # formats without room for it have a sidecar
        # --compress and --tile change the bytes on disk, never the samples.
        lossy = {key: value for key, value in encoding.items() if key not in ("compress", "tile")}
        notes += picture_notes(output.format, n_planes, metadata, **lossy)
    return notes


def check_outputs(request: ApplyRequest, info: ImageInfo, n_colours: int, outputs: tuple[OutputFile, ...]) -> None:
    """Refuse outputs that their format cannot hold and images that are too large, before a pixel is read.

    Raises
    ------
    ImageError
        More pixels than ``--max-pixels``, which formats that are read by windows do not have by default.
    OutputError
        The format cannot hold such planes or depth.
    UsageError
        Means are not one per plane, or colours are asked for a picture that has its own.
    """
    from convcli.images.info import DEFAULT_MAX_PIXELS, check_size

    row = formats.BY_NAME.get(info.format)
    if request.max_pixels is not None or row is None or not row.windows:
        check_size(info, request.max_pixels)
    n_means = len(request.normalize[0]) if request.normalize else 1
    if n_means not in (1, n_colours):
        raise UsageError(
            f"--normalize has {n_means} means for {n_colours} planes", hint="one value for all planes, or one per plane"
        )
    # A bank may write thousands of files of one kind: each kind is checked once.
    for output in {(one.kind, one.format, one.depth, one.size_hw, len(one.maps)): one for one in outputs}.values():
        _check_output(request, info, output, max(DEFAULT_MAX_PIXELS, request.max_pixels or 0))


def _check_output(request: ApplyRequest, info: ImageInfo, output: OutputFile, limit: int) -> None:
    height, width = output.size_hw
    # Four times the input is no mistake: a transposed convolution of stride 2 doubles both sides.
    if height * width > max(limit, 4 * info.width_px * info.height_px):
        raise OutputError(
            f"the output would be {height} x {width}, {height * width:,} pixels a map; the limit is {limit:,}",
            hint=f"--max-pixels {height * width} if you mean it",
        )
    if output.kind in PICTURES and request.colormap is not None and len(output.maps) > 1:
        raise UsageError(
            f"--colormap colours single maps, and this picture has {len(output.maps)} planes", hint="--channels luma"
        )
    if output.kind in ("map", "picture") and output.format not in formats.RAW:
        if request.colormap is not None and output.depth == "float":
            raise UsageError(f"--colormap does nothing to {output.format}, which holds floats", hint="--format png")
        formats.check_picture(output.format, 3 if request.colormap else len(output.maps), output.depth, output.size_hw)


def keeps_apart(template: str) -> str:
    """Return the hint of a template, quoted so that it can be pasted."""
    import shlex

    return f"--name {shlex.quote(template)} keeps them apart"


def how_to_tell_apart(inputs: Sequence[InputFile], template: str = PICTURE_TEMPLATE) -> str:
    """Return a hint: a template like the given one whose fields differ for all inputs, if there is one.

    Examples
    --------
    >>> how_to_tell_apart([InputFile(Path("a/p.jpg")), InputFile(Path("b/p.jpg"))], "{stem}.{ext}")
    "--name '{parent}/{stem}.{ext}' keeps them apart; or another --out-dir"
    """
    files = {one._replace(frame=None) for one in inputs}
    if len(files) == 1:
        return keeps_apart(before_end(template, "_{frame}"))
    values = [{"dir": str(one.below), "parent": one.parent, "stem": one.stem, "suffix": one.suffix} for one in files]
    # The tree of a search is kept, also by a template that has lost it.
    tree = "{dir}/" if any(value["dir"] != "." for value in values) else ""
    base = template.removeprefix("{dir}/")
    for telling in _TELLING:
        wanted = tree + (base.replace("{stem}", telling, 1) if "{stem}" in base else f"{telling}-{base}")
        if len({wanted.format_map(defaultdict(str, value)).casefold() for value in values}) == len(values):
            return f"{keeps_apart(wanted)}; or another --out-dir"
    return "another --out-dir, one folder at a time"


def before_end(template: str, addition: str) -> str:
    """Return a template with an addition before its suffix.

    >>> before_end("{stem}.{ext}", "-{kernel}")
    '{stem}-{kernel}.{ext}'
    """
    end = next((end for end in (".{ext}", SUFFIX_END) if template.endswith(end)), "")
    return f"{template.removesuffix(end)}{addition}{end}"
