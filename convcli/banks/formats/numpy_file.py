"""NumPy's own files, read without pickle (NumPy)."""

from __future__ import annotations

import contextlib
import io
import math
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from convcli.banks.bank import AnyArray, KernelBank, check_taps
from convcli.banks.formats.arrays import bank_of_array, not_real
from convcli.banks.formats.entries import Archive
from convcli.banks.formats.exported import Exported, lost_reduction, without_bias
from convcli.errors import KernelError


def _read_npy(stream: BinaryIO, size: int, what: str) -> AnyArray:
    """Read one ``.npy`` of ``size`` bytes, after the header's claim is compared with them."""
    shape, fortran, dtype = _header(stream, what)
    if dtype.hasobject:
        raise KernelError(f"{what} holds Python objects, which need pickle: never read", hint="save plain numbers")
    if dtype.kind not in "iufb":
        raise not_real(what, dtype)
    # A header of a hundred bytes can claim terabytes.
    count, left = math.prod(shape), size - stream.tell()
    if min(shape, default=0) < 0 or count * dtype.itemsize != left:
        raise KernelError(
            f"{what}: the header claims {count * dtype.itemsize:,} bytes of data, the file has {left:,}",
            claimed=count * dtype.itemsize,
            present=left,
        )
    check_taps(count, what)
    flat = np.frombuffer(stream.read(left), dtype=dtype)
    return flat.reshape(shape, order="F" if fortran else "C")


def _header(stream: BinaryIO, what: str) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Return shape, Fortran order and type that a ``.npy`` header claims; NumPy reads it as a literal, not as code."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers that Python 2 wrote
            version = np.lib.format.read_magic(stream)
            # Version 3 differs from 2 in the encoding of field names only, and fields are refused.
            reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = reader(stream)
    except Exception as error:  # noqa: BLE001 - a broken header makes NumPy's tokenizer raise many kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise KernelError(f"{what}: broken .npy header: {reason}") from None
    return shape, fortran, dtype


def read(path: Path, layout: str | None) -> KernelBank:
    """Read ``.npy``."""
    with _explained(path), path.open("rb") as file:
        array = _read_npy(file, path.stat().st_size, str(path))
    return bank_of_array(array, name=path.stem, layout=layout)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise KernelError(f"cannot read {path}: {error}", path=str(path)) from None


def open_archive(path: Path) -> Archive:
    """Return the arrays of an ``.npz``."""
    with _explained(path), zipfile.ZipFile(path) as archive:
        files = [info for info in archive.infolist() if info.filename.endswith(".npy")]
        members = {info.filename.removesuffix(".npy"): info for info in files}
        shapes = {name: _npz_shape(archive, info, str(path)) for name, info in members.items()}
        names = _npz_names(archive, members)

    def array(name: str) -> AnyArray:
        # The claim of the archive, before anything is unpacked.
        check_taps(members[name].file_size // 8, f"{path}#{name}")
        with _explained(path), zipfile.ZipFile(path) as archive, archive.open(members[name]) as member:
            # One byte more than claimed, so that a longer member is noticed.
            data = member.read(members[name].file_size + 1)
        return _read_npy(io.BytesIO(data), len(data), f"{path}#{name}")

    numeric = {name: shape for name, shape in shapes.items() if shape is not None}
    # An archive of text alone is told by the text's type, where it is read.
    return Archive(numeric or dict.fromkeys(shapes, ()), array, kernel_names=names, is_plain=True)


def _npz_shape(archive: zipfile.ZipFile, info: zipfile.ZipInfo, what: str) -> tuple[int, ...] | None:
    """Return the shape an entry's header claims; None for text, which holds kernel names."""
    with archive.open(info) as member:
        # A header of version 1 has 65,535 bytes at most.
        head = io.BytesIO(member.read(70_000))
    shape, _, dtype = _header(head, f"{what}#{info.filename}")
    return None if dtype.kind == "U" else tuple(shape)


def _npz_names(archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo]) -> tuple[str, ...] | None:
    info = members.get("kernel_names")
    if info is None or info.file_size > 2**22:
        return None
    with archive.open(info) as member:
        array = np.load(io.BytesIO(member.read(2**22)), allow_pickle=False)
    return tuple(str(name) for name in array.ravel()) if array.dtype.kind == "U" else None


def write_npy(bank: KernelBank, rounding: bool) -> Exported:
    """Write one array of four or five dimensions."""
    notes = without_bias(bank, "a .npy file", rounding)
    buffer = io.BytesIO()
    np.save(buffer, bank.weight, allow_pickle=False)
    return Exported(buffer.getvalue(), notes)


def write_npz(bank: KernelBank, _rounding: bool) -> Exported:
    """Write weight, bias and kernel names."""
    buffer = io.BytesIO()
    arrays = {"weight": bank.weight, **({"bias": np.array(bank.bias)} if bank.bias is not None else {})}
    np.savez_compressed(buffer, allow_pickle=False, kernel_names=np.array(bank.kernel_names), **arrays)
    return Exported(buffer.getvalue(), lost_reduction(bank))
