"""Output files planned: which there are, what each holds, and what they are called."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from convcli.images import formats
from convcli.pipeline.names import DENSE_TEMPLATE, MAP_TEMPLATE, InputFile, output_path
from convcli.pipeline.request import ApplyRequest

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convcli.banks import KernelBank
    from convcli.images import ImageInfo
    from convcli.images.planes import PlaneSelection
    from convcli.pipeline.binding import MapName
    from convcli.pipeline.tones import ToneSpec

#: Longest side of one tile of a contact sheet, in pixels; larger maps are averaged down by a whole factor.
TILE_PX = 320


class OutputFile(NamedTuple):
    """One file to be written.

    Attributes
    ----------
    path : Path or None
        ``None`` is standard output.
    kind : {"map", "picture", "sheet", "raw"}
    maps : tuple of int
        Which maps, after combining, it holds; neighbours.
    format : str
    depth : {"8", "16", "float"}
    size_hw : (int, int)
        Rows and columns of a map.
    """

    path: Path | None
    kind: str
    maps: tuple[int, ...]
    format: str
    depth: str
    size_hw: tuple[int, int]

    @property
    def n_bytes(self) -> int:
        """Size of the samples before compression, in bytes."""
        return len(self.maps) * self.size_hw[0] * self.size_hw[1] * {"8": 1, "16": 2, "float": 4}[self.depth]

    def as_dict(self) -> dict[str, object]:
        """Return the file as plain data."""
        return {
            "path": str(self.path) if self.path else "-",
            "kind": self.kind,
            "format": self.format,
            "depth": self.depth,
            "sample_bytes": self.n_bytes,
        }

    @property
    def span(self) -> slice:
        """Its maps among all."""
        return slice(self.maps[0], self.maps[-1] + 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class Plan(ABC):
    """What is known about one input before its pixels are read, whatever runs on it.

    ``keeps_report`` is set where only some maps are made, beside others whose report stays as it is.
    """

    request: ApplyRequest
    source: InputFile
    info: ImageInfo
    selection: PlaneSelection
    maps: tuple[MapName, ...]
    alpha: str | None
    outputs: tuple[OutputFile, ...]
    notes: tuple[str, ...]
    keeps_report: bool = False

    @property
    def white(self) -> float:
        """Value of white in the units that the planes have when they run."""
        return 1.0 if self.request.unit else self.info.white

    @property
    def late_bias(self) -> NDArray[Any] | None:
        """Bias per colour plane that is added behind the engine, if any."""
        return None

    @property
    def uses_torch(self) -> bool:
        """Whether running it may load torch, of which one copy is enough."""
        return True

    @property
    def report_path(self) -> Path | None:
        """``report.json`` beside the maps of a folder of their own; a sidecar where a format holds no stamp."""
        first = self.outputs[0]
        if first.path is None or self.keeps_report:
            return None
        if first.kind == "map":
            return None if self.request.name is not None else first.path.parent / "report.json"
        has_stamp = "stamp" in formats.BY_NAME[first.format].keeps  # else a sidecar says how the file was made
        return None if has_stamp else first.path.with_name(f"{first.path.name}.json")

    @property
    def written_paths(self) -> tuple[Path, ...]:
        """Every path that running this plan creates."""
        paths = [output.path for output in self.outputs if output.path is not None]
        return (*paths, self.report_path) if self.report_path else tuple(paths)

    def describe_input(self) -> dict[str, object]:
        """Return what is known of the input: where, what, and its planes, rows and columns as they run."""
        info = self.info
        return {
            "path": self.source.label,
            "format": info.format,
            "dtype": info.dtype,
            "shape": [len(self.selection.names), info.height_px, info.width_px],
            "planes": list(self.selection.names),
            "frames": info.n_frames,
        }

    @abstractmethod
    def tones(self, depth: str) -> tuple[ToneSpec, ...]:
        """Return the tone of each map at a depth, ``auto`` resolved."""

    @abstractmethod
    def weight_bytes(self) -> bytes:
        """Return whatever decides the maps besides the flags, as bytes for a digest."""


class OutputNames(NamedTuple):
    """Paths of the outputs of one input."""

    request: ApplyRequest
    source: InputFile
    bank: str

    def path(self, template: str, *, kernel: str, channel: str, index: int = 0) -> Path | None:
        """Return one path; ``-o`` wins over ``--name`` wins over ``template``; ``None`` is standard output."""
        request, source = self.request, self.source
        if request.to_stdout or request.output is not None:
            return request.output
        from convcli.banks import safe_name

        output_format = request.format or "png"
        values = {
            "dir": str(source.below),
            "parent": source.parent,
            "stem": source.stem,
            "suffix": source.suffix,
            "bank": self.bank,
            "kernel": safe_name(kernel),
            "channel": channel,
            "index": str(index),
            "frame": f"{source.frame or 0:03}",
            "ext": formats.BY_NAME[output_format].suffixes[0][1:],
        }
        if source.frame is not None and request.name is None:
            folder, _, file = template.rpartition("/")
            template = (
                f"{folder}/{{frame}}/{file}"
                if "{bank}/" in template
                else f"{folder}/{file}".replace(".{ext}", "_{frame}.{ext}")
            )
        return output_path(request.out_dir, request.name or template, values)


def map_files(
    names: OutputNames, maps: tuple[MapName, ...], *, depth: str, size_hw: tuple[int, int], first: int = 0
) -> tuple[OutputFile, ...]:
    """Name a file per map.

    Parameters
    ----------
    names : OutputNames
    maps : tuple of MapName
        Those of one size.
    depth : {"8", "16", "float"}
    size_hw : (int, int)
    first : int
        Where they begin among all maps of the input.
    """
    return tuple(
        OutputFile(
            path=names.path(
                MAP_TEMPLATE if named.channel else DENSE_TEMPLATE,
                kernel=named.kernel,
                channel=named.channel or "all",
                index=index,
            ),
            kind="map",
            maps=(index,),
            format=names.request.format or "png",
            depth=depth,
            size_hw=size_hw,
        )
        for index, named in enumerate(maps, start=first)
    )


def choose_depth(request: ApplyRequest, info: ImageInfo, layout: str, output_format: str) -> str:
    """Return bits a stored sample: as asked, else as the input as far as the format holds it."""
    if layout == "raw" or formats.BY_NAME[output_format].depths[0] == "float":
        return "float"
    if request.depth is not None:
        return request.depth
    if request.colormap is not None or layout == "sheet":
        return "8"
    if output_format == "tiff" and (layout == "maps" or info.dtype.startswith("float")):
        return "float"
    row = formats.BY_NAME[output_format]
    is_deep = row.is_deep and (not row.deep_planes or info.n_planes in row.deep_planes)
    return "16" if info.dtype != "uint8" and is_deep else "8"


def depth_notes(info: ImageInfo, outputs: tuple[OutputFile, ...]) -> list[str]:
    """Say it where samples are stored with fewer bits than they came with."""
    depth, output_format = outputs[0].depth, outputs[0].format
    if info.dtype == "uint8" or depth == "float" or (info.dtype == "uint16" and depth == "16"):
        return []
    return [f"{info.dtype} samples are stored with {depth} bits as {output_format}; --format tiff keeps float32"]


def format_notes(output: OutputFile, info: ImageInfo, n_planes: int, encoding: Mapping[str, Any]) -> list[str]:
    """Say what a picture format cannot keep: profile, resolution, EXIF, colours."""
    if output.kind != "picture":
        return []
    from convcli.images import picture_notes

    metadata = info.metadata._replace(stamp="")  # what has no room for it has a sidecar
    lossy = {key: value for key, value in encoding.items() if key != "compress"}
    return list(picture_notes(output.format, n_planes, metadata, **lossy))


def bank_bytes(bank: KernelBank) -> bytes:
    """Return everything of a bank that decides maps and their names, as bytes for a digest."""
    words = (bank.shape, bank.bias, bank.kernel_names, bank.combine, bank.reduction, bank.reduction_op)
    return repr(words).encode() + bank.weight.tobytes()


def raw_notes(output: OutputFile) -> list[str]:
    """Say that a TIFF is not a picture where one might expect it."""
    if output.kind != "raw" or output.format != "tiff":
        return []
    return ["tiff holds the raw float maps, a page each; --depth 8 or 16 makes it a picture"]


def sheet_notes(output: OutputFile) -> list[str]:
    """Say how much smaller than the maps the tiles of a sheet are."""
    factor = tile_factor(output.size_hw)
    return [f"tiles are averages over {factor}x{factor} samples"] if output.kind == "sheet" and factor > 1 else []


def tile_factor(size_hw: tuple[int, int]) -> int:
    """Return the whole factor that brings a map to at most :data:`TILE_PX` pixels a side."""
    return -(-max(size_hw) // TILE_PX)
