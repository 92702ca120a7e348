"""Names of inputs, frames and output files; clashes are refused before a pixel is read."""

from __future__ import annotations

import os
import string
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from convcli.errors import ImageError, OutputError, UsageError, near_names
from convcli.images.opening import RemoteZarr, is_zarr_url

if TYPE_CHECKING:
    from convcli.images.files import FileState

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


class InputFile(NamedTuple):
    """One input: where it is, and where it stood below the folder that was searched.

    ``path`` is ``None`` for an object of a store, which is at ``url``, and for standard input, whose bytes are in
    ``data``. ``frame`` is a page or frame of a file that has several. ``below`` keeps the tree of a recursive search
    under ``--out-dir``; ``searched`` is a file that was found in a folder, not named. ``etag`` is the one that a file
    or object must have, if any; ``state`` is that of the file when it was planned; ``is_output`` is a file that a
    search found where outputs go and that an earlier run wrote.
    """

    path: Path | None
    data: bytes = b""
    frame: int | None = None
    below: PurePosixPath = PurePosixPath()
    searched: bool = False
    url: str = ""
    etag: str = ""
    state: FileState | None = None
    is_output: bool = False

    @property
    def readable(self) -> Path | bytes | RemoteZarr:
        """The source for ``convcli.images``: the path, that of a local copy, a remote store, or bytes.

        Raises
        ------
        ImageError
            It has another ETag than :attr:`etag`.
        """
        if self.data:  # of standard input, or of a tar
            return self.data
        path: Path | RemoteZarr
        if self.url and is_zarr_url(self.url):
            from convcli.pipeline.places import open_store

            path, etag = open_store(self.url.rstrip("/")).zarr()
        elif self.url:
            from convcli.pipeline.staging import local_copy

            path, etag = local_copy(self.url)
        elif self.path is None:
            return self.data
        elif self.etag:
            from convcli.pipeline.objects import file_etag

            path, etag = self.path, file_etag(self.path)
        else:
            return self.path
        # A file that has gone has no ETag: it fails where it is read, with the reason.
        if self.etag and etag not in ("", self.etag):
            raise ImageError("it has changed since it was listed", hint="run it again, or plan another job")
        return path

    @property
    def is_stored(self) -> bool:
        """Whether it has to be copied from a store before it can be read."""
        return bool(self.url) and not self.data and not is_zarr_url(self.url)

    @property
    def label(self) -> str:
        """Name for messages and reports; a frame of several as ``file[3]``."""
        name = self.url or ("<stdin>" if self.path is None else str(self.path))
        return name if self.frame is None else f"{name}[{self.frame}]"

    @property
    def _named(self) -> PurePath:
        """The name as a path; the scheme of a URL is a folder there."""
        return PurePosixPath(self.url or "stdin") if self.path is None else self.path

    @property
    def stem(self) -> str:
        """File name without its last suffix."""
        return self._named.stem or self._named.name

    @property
    def file(self) -> str:
        """File name with its suffix."""
        return self._named.name

    @property
    def suffix(self) -> str:
        """Last suffix of the file, without its dot."""
        return self._named.suffix.removeprefix(".")

    @property
    def parent(self) -> str:
        """Name of the folder that the file is in; empty for the current one and for standard input."""
        # The parent of "../a.png" is "..", which must not lead out of the output folder.
        return self._named.parent.name.replace("..", "")


@dataclass(slots=True)
class Search:
    """How inputs are searched, and what was met meanwhile.

    Attributes
    ----------
    recursive : bool
        Search folders below folders; their tree is kept in ``InputFile.below``. A linked folder is searched once, if
        it is not part of the tree already.
    out_dir : Path, optional
        Outputs go there. Files that earlier batches wrote into this folder, or into others within a searched folder,
        are left out.
    out_url : str
        Where outputs go if that is a store; objects below it are left out.
    allow_empty : bool
        Whether folders without images, patterns that match nothing and empty lists are no mistake.
    skipped : list of Path
        The files left out: pictures that earlier runs wrote into ``out_dir``, and ``out_dir`` itself as one entry.
    passed : Counter
        Numbers of the other files that were passed over, by suffix or in words.
    """

    recursive: bool = False
    out_dir: Path | None = None
    out_url: str = ""
    allow_empty: bool = False
    skipped: list[Path] = field(default_factory=list)
    passed: Counter[str] = field(default_factory=Counter)


def is_special(path: str | os.PathLike[str]) -> bool:
    """Return whether this is a pipe or a device, which would be waited for; a broken link is not."""
    return os.path.exists(path) and not (os.path.isfile(path) or os.path.isdir(path))  # noqa: PTH110, PTH112, PTH113


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
    path = Path(text)
    # A Zarr store is a folder, and one output all the same: whether it may be replaced is asked later.
    if text.endswith("/") or (path.is_dir() and path.suffix.lower() != ".zarr"):
        hint = f"--out-dir {path} for a file a map, or -o {path / 'edges.png'}"
        raise UsageError(f"-o {text} is a folder, and one file is asked for", hint=hint)
    return path
