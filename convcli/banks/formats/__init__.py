"""Kernel files of every format, told by what is in them rather than by how they are called.

Readers return a :class:`~convcli.banks.bank.KernelBank` and never run anything that a file brings along: no pickle, no
tags, no external data. What a header claims is compared with the bytes that are there before memory is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from convcli.errors import KernelError

if TYPE_CHECKING:
    from convcli.banks.bank import KernelBank

#: Formats by the module that reads them.
_READERS = {
    "npy": "arrays",
    "npz": "arrays",
    "safetensors": "safetensors_file",
    "torch": "torch_file",
    "onnx": "onnx_file",
    "image": "picture",
    "text": "text",
}
_IMAGE_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"P5", b"P2", b"P6", b"Pf", b"PF")


def sniff(path: Path) -> str:
    """Tell a kernel file's format by its first bytes; the suffix only breaks ties.

    Returns
    -------
    str
        ``npy``, ``npz``, ``torch``, ``safetensors``, ``onnx``, ``image`` or ``text``.

    Raises
    ------
    KernelError
        Missing, not a file, empty, or a binary format that is not read, with what to save instead.
    """
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise KernelError(f"{path} is a folder, not a kernel file", path=str(path))
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        raise KernelError(f"cannot read {path}: {error.strerror or error}", path=str(path)) from None
    if size == 0 or not head.strip():
        raise KernelError(f"{path} is empty", path=str(path))
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    if head.startswith(b"PK\x03\x04"):
        return _archive_kind(path)
    if head.startswith(_IMAGE_MAGIC) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return "image"
    if len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 2**63:
        return "safetensors"
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "torch"
    _refuse_foreign(path, head)
    if b"\0" in head or path.suffix.lower() == ".onnx":
        if path.suffix.lower() == ".onnx" or head[:1] == b"\x08":
            return "onnx"
        raise KernelError(f"{path} is not text and of no format that is read", hint=_KNOWN, path=str(path))
    return "text"


_KNOWN = (
    "toml json yaml csv txt npy npz pt safetensors onnx, libvips mat, images, ImageMagick, G'MIC, FFmpeg, MATLAB text"
)


def _refuse_foreign(path: Path, head: bytes) -> None:
    if head.startswith(b"MATLAB 5.0") or head.startswith(b"\x89HDF"):
        kind = "a binary MATLAB file" if head.startswith(b"MATLAB") else "an HDF5 file"
        raise KernelError(
            f"{path} is {kind}, which is not read", hint="in MATLAB: writematrix(k, 'k.csv')", path=str(path)
        )


def _archive_kind(path: Path) -> str:
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError) as error:
        raise KernelError(f"{path} is a broken archive: {error}", path=str(path)) from None
    if any(name.endswith(("/data.pkl", "/constants.pkl")) or name == "data.pkl" for name in names):
        return "torch"
    if any(name.endswith(".npy") for name in names):
        return "npz"
    raise KernelError(f"{path} is an archive without arrays", hint="np.savez or torch.save make one", path=str(path))


def _read(read: Callable[..., KernelBank], path: Path, entry: str, layout: str | None) -> KernelBank:
    """Read an entry, or some kernels of one: ``conv1.weight#0`` is the first of that entry's."""
    try:
        return read(path, entry=entry, layout=layout)
    except KernelError as error:
        whole, hash_, kernel = entry.rpartition("#")
        if not hash_ or error.facts.get("entry") != entry:  # another fault than an entry that is not there
            raise
    from convcli.banks.load import selected

    return selected(read(path, entry=whole, layout=layout), kernel)


def read_bank(path: Path, *, entry: str = "", layout: str | None = None) -> KernelBank:
    """Read a kernel file of any format.

    Parameters
    ----------
    path : Path
        The file.
    entry : str
        Which array of an archive or checkpoint, or which kernel of a bank; empty for all or the only one. A second
        ``#`` selects kernels of an array: ``conv1.weight#0``.
    layout : str, optional
        Order of an array's axes where it is not the usual one, of the letters o i d h w.

    Returns
    -------
    KernelBank

    Raises
    ------
    KernelError
        With line, entry or sizes of what does not fit.
    """
    kind = sniff(path)
    reader = import_module(f"convcli.banks.formats.{_READERS[kind]}")
    try:
        bank = _read(reader.read, path, entry, layout)
    except KernelError as error:
        raise (error if str(path) in str(error) else error.within(str(path))) from None
    expected = {"npy": (".npy",), "npz": (".npz",), "image": (), "text": ()}.get(kind, ())
    if expected and path.suffix.lower() not in expected:
        bank = bank.noted(f"{path.name} is read as {kind}, which is what it holds")
    return bank
