"""Outputs that follow their input: in its format, where ``--name`` says so, or in its place."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from convcli.errors import ImageError, OutputError, UsageError
from convcli.images import formats

if TYPE_CHECKING:
    from convcli.images.info import ImageInfo
    from convcli.pipeline.inputs import InputFile
    from convcli.pipeline.outputs import OutputFile
    from convcli.pipeline.request import ApplyRequest


def follow(request: ApplyRequest, file: InputFile, info: ImageInfo) -> tuple[ApplyRequest, list[str]]:
    """Return the request with the format of an input that its outputs follow, and notes.

    Raises
    ------
    UsageError
        The input is no file, or its suffix names no format that is written.
    OutputError
        Files of its format are not written.
    """
    if file.path is None and request.in_place:
        raise UsageError("--in-place replaces files, and this input is none", hint="--out-dir DIR, or -o FILE")
    name = info.format
    if not request.in_place:
        row = formats.BY_SUFFIX.get(f".{file.suffix.lower()}")
        name = row.name if row is not None else f".{file.suffix}" if file.suffix else "a file without one"
    if name not in formats.WRITTEN:
        what = "--in-place keeps the format" if request.in_place else "--name ends in {suffix}"
        hint = "--out-dir DIR --format png" if request.in_place else "end it in .{ext}, with --format png"
        raise OutputError(f"{what}, and {name} is not written", hint=hint)
    if request.format not in (None, name):
        raise UsageError(f"--format {request.format} and the suffix .{file.suffix} disagree", hint="end it in .{ext}")
    return _without_options(request._replace(format=name), name)


def _without_options(request: ApplyRequest, name: str) -> tuple[ApplyRequest, list[str]]:
    """Set options of encoders back that this format does not take: other inputs of the batch may take them."""
    row = formats.BY_NAME[name]
    unused = [key for key in request.encoder_flags if key not in row.options]
    notes = [f"--{key} does nothing to {name}, but to {', '.join(formats.able('options', key))}" for key in unused]
    if request.depth is not None and request.depth not in row.depths:
        raise UsageError(f"--depth {request.depth} cannot be stored as {name}", hint="no --depth, or another --format")
    usual = type(request)().encoding
    return request._replace(**{key: usual[key] for key in unused}), notes


def check_in_place(request: ApplyRequest, info: ImageInfo, output: OutputFile, file: InputFile) -> list[str]:
    """Refuse to replace a file by less than it held, or one that nobody may write; return notes on what is kept.

    Raises
    ------
    ImageError
        The file is read-only.
    OutputError
        Samples would lose precision, or pictures in the file would be lost.
    """
    if output.kind != "picture":
        hint = "one kernel, or --combine; --out-dir DIR --layout sheet shows them all"
        raise UsageError(f"{len(output.maps)} maps have no natural combination into one picture", hint=hint)
    path = output.path
    assert path is not None, "only files are replaced"
    mode = path.stat().st_mode
    if not mode & 0o222 or not os.access(path, os.W_OK):
        raise ImageError(f"is read-only (mode {mode & 0o7777:o})", hint=f"chmod u+w {path.name!r}, or --out-dir DIR")
    if not output.holds(info.dtype) and request.depth is None:
        raise OutputError(
            f"{info.dtype} samples would be stored with {output.depth} bits in its place",
            hint=f"--out-dir DIR keeps it, --depth {output.depth} if you mean it",
        )
    lost = [note for note in info.notes if "are not read" in note]
    if lost:
        raise OutputError(f"{lost[0]}, and would be lost", hint="--out-dir DIR keeps the file")
    return [
        "replaced in its place: mode and owner are kept",
        *(["a link: the file that it names is replaced, the link stays"] if path != file.path else []),
        *(["other names of the file (hard links) keep the old picture"] if path.stat().st_nlink > 1 else []),
        *([f"the old file stays beside it, with {request.backup} at the end"] if request.backup else []),
    ]
