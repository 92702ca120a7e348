"""``.safetensors``, read by its own short definition: 8 bytes of length, a JSON header, raw numbers (NumPy).

Not by the library of that name, so that a first layer can be looked at without an extra, and because the library cannot
hand bfloat16 to NumPy. Checked here: every offset lies in the file, and every shape needs just the bytes it has.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convcli.banks.bank import KernelBank
from convcli.banks.formats.arrays import bank_of_array, choose_entry, unused_bias
from convcli.banks.limits import check_taps
from convcli.errors import KernelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1", "BOOL": "?",
}  # fmt: skip
_LARGEST_HEADER = 100_000_000


def read_header(path: Path) -> tuple[dict[str, Any], int, int]:
    """Return the entries of a file, where their bytes begin, and how many there are.

    Raises
    ------
    KernelError
        A header that is cut off, larger than the file, not JSON, or not of tensors.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 10 or length > min(size - 8, _LARGEST_HEADER):
            raise KernelError(f"{path}: the header claims {length:,} bytes, the file has {max(0, size - 8):,}")
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError):
            raise KernelError(f"{path}: the header is not JSON") from None
    if not isinstance(header, dict):
        raise KernelError(f"{path}: the header is not a table of tensors")
    start = 8 + length
    for name, entry in header.items():
        if name != "__metadata__":
            _check_entry(path, name, entry, size - start)
    return header, start, size - start


def _check_entry(path: Path, name: str, entry: Any, n_bytes: int) -> None:
    try:
        dtype, shape, (begin, end) = str(entry["dtype"]), entry["shape"], entry["data_offsets"]
        whole = all(type(number) is int and number >= 0 for number in (*shape, begin, end))
    except (TypeError, KeyError, ValueError):
        raise KernelError(f"{path}#{name}: dtype, shape or data_offsets are missing") from None
    if not whole or not begin <= end <= n_bytes:
        raise KernelError(f"{path}#{name}: bytes {begin} to {end} are not in the file, which has {n_bytes:,}")
    width = np.dtype(_DTYPES[dtype]).itemsize if dtype in _DTYPES else None
    if width is not None and math.prod(shape) * width != end - begin:
        claimed = math.prod(shape) * width
        raise KernelError(f"{path}#{name}: the shape needs {claimed:,} bytes, {end - begin:,} are given")


def read(path: Path, *, entry: str, layout: str | None) -> KernelBank:
    """Read one entry as a bank."""
    try:
        header, start, _ = read_header(path)
        shapes = {name: tuple(value["shape"]) for name, value in header.items() if name != "__metadata__"}
        chosen, bias = choose_entry(shapes, entry, path)
        metadata = header.get("__metadata__", {})
        if not entry and bias is None and f"{chosen.removesuffix('weight')}bias" in shapes and "convcli" in metadata:
            bias = f"{chosen.removesuffix('weight')}bias"  # our own file: one bank with its bias
        return bank_of_array(
            _tensor(path, chosen, header[chosen], start),
            name=f"{path.stem}-{chosen.removesuffix('.weight')}" if len(shapes) > 2 or entry else path.stem,
            layout=layout,
            checkpoint=True,
            bias=_tensor(path, bias, header[bias], start) if bias else None,
            kernel_names=_names(metadata),
            notes=unused_bias(chosen, shapes) if bias is None else (),
            source=f"{path.name}#{chosen}",
        )
    except OSError as error:
        raise KernelError(f"cannot read {path}: {error.strerror or error}", path=str(path)) from None


def _names(metadata: Any) -> tuple[str, ...] | None:
    try:
        names = json.loads(metadata["convcli"])["kernel_names"]
        return tuple(str(name) for name in names)
    except (KeyError, TypeError, ValueError, RecursionError):
        return None


def _tensor(path: Path, name: str, entry: dict[str, Any], start: int) -> NDArray[np.generic]:
    if entry["dtype"] not in _DTYPES:
        raise KernelError(f"{path}#{name} holds {entry['dtype']}, which is not read", hint="save it as float32")
    check_taps(math.prod(entry["shape"]), f"{path}#{name}")
    begin, end = entry["data_offsets"]
    with path.open("rb") as file:
        file.seek(start + begin)
        flat = np.frombuffer(file.read(end - begin), dtype=_DTYPES[entry["dtype"]])
    if entry["dtype"] == "BF16":  # the upper half of a float32
        flat = (flat.astype(np.uint32) << 16).view(np.float32)
    return flat.reshape(entry["shape"])


def read_arrays(path: Path) -> dict[str, NDArray[np.generic]]:
    """Return every tensor of a file by its name.

    Raises
    ------
    KernelError
        A damaged file, or a type of numbers that is not read.
    """
    try:
        header, start, _ = read_header(path)
        names = [name for name in header if name != "__metadata__"]
        return {name: _tensor(path, name, header[name], start) for name in names}
    except OSError as error:
        raise KernelError(f"cannot read {path}: {error.strerror or error}", path=str(path)) from None


def listing(path: Path) -> dict[str, tuple[int, ...]]:
    """Return every entry's shape."""
    return {name: tuple(value["shape"]) for name, value in read_header(path)[0].items() if name != "__metadata__"}


def write(path_bytes: dict[str, NDArray[np.float64]], metadata: dict[str, str]) -> bytes:
    """Return the file of float64 arrays by name."""
    header: dict[str, Any] = {"__metadata__": metadata}
    place = 0
    for name, array in path_bytes.items():
        header[name] = {"dtype": "F64", "shape": list(array.shape), "data_offsets": [place, place + array.nbytes]}
        place += array.nbytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    data = b"".join(np.ascontiguousarray(array, dtype="<f8").tobytes() for array in path_bytes.values())
    return len(text).to_bytes(8, "little") + text + data
