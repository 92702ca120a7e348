"""``.safetensors``, read by its own short definition: 8 bytes of length, a JSON header, raw numbers (NumPy for those).

The library of that name is not used: it is an extra, and cannot hand bfloat16 to NumPy. Checked here: every offset lies
in the file, and every shape needs exactly the bytes it has.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convcli.banks.formats.entries import Archive
from convcli.errors import UNOPENED, KernelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from convcli.banks.bank import KernelBank
    from convcli.banks.formats.exported import Exported

#: The format's types → NumPy's, which has no bfloat16: its bits are taken as they are.
_DTYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1", "F8_E4M3": "|u1", "F8_E5M2": "|u1",
}  # fmt: skip
#: The library's own limit, in bytes.
_LARGEST_HEADER = 100_000_000
_METADATA = "__metadata__"


def _header(path: Path) -> tuple[dict[str, Any], dict[str, Any], int]:
    """Return a file's tensors (``dtype``, ``shape``, ``data_offsets`` by name), metadata, and the start of the data."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 10 or length > min(size - 8, _LARGEST_HEADER):  # the length and {}
                raise KernelError(f"{path}: the header claims {length:,} bytes, the file has {max(0, size - 8):,}")
            header = json.loads(file.read(length))
    except OSError as error:
        raise KernelError(f"cannot read {path}: {error.strerror or error}", hint=UNOPENED, path=str(path)) from None
    except (ValueError, RecursionError):
        raise KernelError(f"{path}: the header is not JSON") from None
    if not isinstance(header, dict):
        raise KernelError(f"{path}: the header is not a table of tensors")
    metadata = header.pop(_METADATA, {})
    for name, entry in header.items():
        _check_entry(path, name, entry, size - 8 - length)
    return header, metadata if isinstance(metadata, dict) else {}, 8 + length


def _check_entry(path: Path, name: str, entry: Any, n_bytes: int) -> None:
    try:
        dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        whole = all(type(number) is int and number >= 0 for number in (*shape, begin, end))
        if not isinstance(dtype, str):
            raise TypeError
    except (TypeError, KeyError, ValueError):
        raise KernelError(f"{path}#{name}: dtype, shape or data_offsets are missing or wrong") from None
    if not whole or not begin <= end <= n_bytes:
        raise KernelError(f"{path}#{name}: bytes {begin} to {end} are not in the file, which has {n_bytes:,}")
    claimed = math.prod(shape) * int(_DTYPES[dtype][-1]) if dtype in _DTYPES else end - begin
    if claimed != end - begin:
        raise KernelError(f"{path}#{name}: the shape needs {claimed:,} bytes, {end - begin:,} are given")


def open_archive(path: Path) -> Archive:
    """Return the tensors of a file, or of all files that an index of shards names."""
    if path.name.endswith(".json"):
        return _sharded(path)
    header, metadata, start = _header(path)
    return Archive(
        {name: tuple(entry["shape"]) for name, entry in header.items()},
        lambda name: _tensor(path, name, header[name], start),
        {name: str(entry["dtype"]).lower() for name, entry in header.items()},
        kernel_names=_names(metadata),
    )


def _sharded(path: Path) -> Archive:
    """Return the tensors of the files beside an index, which says what lies where."""
    from convcli.banks.formats.entries import open_archive as open_any

    try:
        places = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        files = dict.fromkeys(str(each) for each in places.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise KernelError(f"{str(path)!r} is not an index of shards: no weight_map in it") from None
    shards: dict[str, Archive] = {}
    for file in files:
        shard = path.parent / file
        # An index comes from strangers: a path such as ../x must not open files elsewhere.
        if shard.parent != path.parent or not shard.is_file() or shard.name.endswith(".json"):
            raise KernelError(f"{str(path)!r} names {file!r}, which is not a file beside it", hint="fetch every shard")
        shards[file] = open_any(shard)
    # A shard may hold tensors that the index assigns to another one: the index decides.
    held = {name: shards[file] for name, file in places.items() if name in shards[file].shapes}
    return Archive(
        {name: shard.shapes[name] for name, shard in held.items()},
        lambda name: held[name].read(name),
        {name: shard.dtypes.get(name, "") for name, shard in held.items()},
    )


def _names(metadata: dict[str, Any]) -> tuple[str, ...] | None:
    try:
        names = json.loads(metadata["convcli"])["kernel_names"]
        return tuple(str(name) for name in names)
    except (KeyError, TypeError, ValueError, RecursionError):
        return None


def _tensor(path: Path, name: str, entry: dict[str, Any], start: int) -> NDArray[np.generic]:
    import numpy as np

    from convcli.banks.bank import check_taps

    if entry["dtype"] not in _DTYPES:
        raise KernelError(f"{path}#{name} holds {entry['dtype']}, which is not read", hint="save it as float32")
    check_taps(math.prod(entry["shape"]), f"{path}#{name}")
    begin, end = entry["data_offsets"]
    try:
        with path.open("rb") as file:
            file.seek(start + begin)
            data = file.read(end - begin)
    except OSError as error:
        raise KernelError(f"cannot read {path}: {error.strerror or error}", hint=UNOPENED, path=str(path)) from None
    flat = np.frombuffer(data, dtype=_DTYPES[entry["dtype"]])
    if entry["dtype"] == "BF16":  # the upper half of a float32
        flat = (flat.astype(np.uint32) << 16).view(np.float32)
    if entry["dtype"] == "F8_E5M2":  # the upper half of a float16
        flat = (flat.astype(np.uint16) << 8).view(np.float16)
    if entry["dtype"] == "F8_E4M3":
        flat = _eight_bits()[flat]
    return flat.reshape(entry["shape"])


def _eight_bits() -> NDArray[np.float32]:
    """Return the 256 numbers of an E4M3 float: bias 7, no infinity, NaN for all ones (Micikevicius et al. 2022)."""
    import numpy as np

    codes = np.arange(256)
    exponent, mantissa = codes >> 3 & 15, codes & 7
    # Numbers without an exponent have no leading one, and the smallest exponent.
    values: NDArray[np.float32] = np.zeros(256, np.float32)
    values[:] = np.ldexp(np.where(exponent, 8, 0) + mantissa, np.maximum(exponent, 1) - 10)
    values[codes & 127 == 127] = np.nan
    values[128:] = -values[:128]
    return values


def write_safetensors(bank: KernelBank, _rounding: bool) -> Exported:
    """Write ``NAME.weight`` and ``NAME.bias`` in float64, the kernel names as metadata."""
    import numpy as np

    from convcli.banks.formats.arrays import arrays_of
    from convcli.banks.formats.exported import Exported, lost_reduction

    about = json.dumps({"kernel_names": list(bank.kernel_names), "source": bank.source})
    header: dict[str, Any] = {_METADATA: {"convcli": about}}
    data = b""
    for name, array in arrays_of(bank, f"{bank.file_name}.").items():
        stored = np.ascontiguousarray(array, dtype="<f8").tobytes()
        offsets = [len(data), len(data) + len(stored)]
        header[name] = {"dtype": "F64", "shape": list(array.shape), "data_offsets": offsets}
        data += stored
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # data begin at a multiple of 8, as the library writes them
    return Exported(len(text).to_bytes(8, "little") + text + data, lost_reduction(bank))
