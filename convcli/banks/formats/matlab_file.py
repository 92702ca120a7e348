"""MATLAB's binary ``.mat``, versions 5 and 7 (SciPy): matrices by name, cells as ``#name.1``."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np

from convcli.banks.bank import AnyArray, KernelBank, by, check_taps
from convcli.banks.formats import library
from convcli.banks.formats.arrays import bank_of_array
from convcli.banks.formats.entries import Archive, resolve
from convcli.errors import KernelError

#: miCOMPRESSED of MathWorks, "MAT-File Format"; its data element is a zlib stream.
_COMPRESSED = 15
#: Cells nest, so a small file can hold any number of them.
_MOST_CELLS = 10_000


def _check_size(path: Path) -> None:
    """Refuse compressed variables that would unpack to more than the limit of taps, before SciPy unpacks them."""
    data = path.read_bytes()
    # The header is 128 bytes long, and ends in the letters MI as a 16-bit number of its writer.
    order = "big" if data[126:128] == b"MI" else "little"
    position, total = 128, 0
    while position + 8 <= len(data):
        kind = int.from_bytes(data[position : position + 4], order)  # type: ignore[arg-type]
        size = int.from_bytes(data[position + 4 : position + 8], order)  # type: ignore[arg-type]
        if kind == _COMPRESSED:
            unpack, packed = zlib.decompressobj(), data[position + 8 : position + 8 + size]
            while packed and not unpack.eof:
                # Counted a MiB at a time and dropped.
                total += len(unpack.decompress(packed, 2**20))
                packed = unpack.unconsumed_tail
                check_taps(total // 8, str(path))
        position += 8 + size


def _arrays(path: Path) -> dict[str, AnyArray]:
    """Return every numeric matrix by its name."""
    io = library("scipy.io", "reading MATLAB's .mat needs SciPy", "pip install 'convcli[mat]'")
    _check_size(path)
    found: dict[str, AnyArray] = {}
    refused: list[str] = []
    for name, value in io.loadmat(path).items():
        if not name.startswith("__"):
            _collect(name, value, found, refused)
    if not found:
        what = f" ({', '.join(refused[:5])})" if refused else ""
        raise KernelError(f"{path} has no real matrix{what}", hint="save full(double(k))", path=str(path))
    return found


def _collect(name: str, value: Any, found: dict[str, AnyArray], refused: list[str]) -> None:
    if not isinstance(value, np.ndarray):
        refused.append(f"{name} is sparse" if hasattr(value, "tocoo") else f"{name} is no matrix")
    elif value.dtype == object and len(found) + value.size <= _MOST_CELLS:
        for index, cell in enumerate(value.ravel(order="F"), 1):
            _collect(f"{name}.{index}", cell, found, refused)
    elif value.dtype.names:
        for field in value.dtype.names:
            # Of an array of structs only the first is read.
            for cell in value[field].ravel()[:1]:
                _collect(f"{name}.{field}", cell, found, refused)
    elif value.dtype.kind in "iufb" and value.size:
        found[name] = value
    else:
        refused.append(f"{name} is {'complex' if value.dtype.kind == 'c' else value.dtype}")


def open_archive(path: Path) -> Archive:
    """Return the matrices of a file."""
    arrays = _arrays(path)
    return Archive({name: tuple(array.shape) for name, array in arrays.items()}, lambda name: arrays[name])


def read_entry(path: Path, entry: str, layout: str | None, _with_bias: bool | None) -> KernelBank:
    """Read one matrix; the pages of a 3-D array are kernels."""
    archive = open_archive(path)
    chosen = resolve(archive, entry, path).weight
    array = archive.read(chosen)
    # Pages last, as MATLAB stacks them; 4-D are the weights of its convolution2dLayer.
    order = layout or {3: "hwo", 4: "hwio"}.get(array.ndim)
    notes: tuple[str, ...] = ()
    if layout is None and array.ndim > 2:
        axes = "rows, columns, planes, kernels" if array.ndim > 3 else "rows, columns, kernels"
        notes = (f"MATLAB's {by(array.shape)} is read as {axes}",)
    return bank_of_array(array, name=chosen, layout=order, notes=notes, source=f"{path.name}#{chosen}")
