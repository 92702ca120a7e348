"""Arrays as banks: which axis is what, and NumPy's own files without pickle (NumPy)."""

from __future__ import annotations

import io
import math
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from convcli.banks.bank import KernelBank
from convcli.banks.limits import check_taps
from convcli.errors import KernelError, near_names

if TYPE_CHECKING:
    from numpy.typing import NDArray

_AXES = "oidhw"


def bank_of_array(
    array: NDArray[np.generic],
    *,
    name: str,
    layout: str | None = None,
    checkpoint: bool = False,
    bias: NDArray[np.generic] | None = None,
    kernel_names: tuple[str, ...] | None = None,
    notes: tuple[str, ...] = (),
    source: str = "",
) -> KernelBank:
    """Make a bank of an array of 1 to 5 dimensions.

    2-D is one kernel, 4-D is (O, I, kH, kW), 5-D is (O, I, kD, kH, kW). 3-D is (O, I, k), a ``Conv1d``, in a checkpoint
    and a stack of 2-D kernels (O, kH, kW) elsewhere, which is said; ``layout`` says otherwise.

    Raises
    ------
    KernelError
        Not numbers, empty, too many dimensions or taps, or a layout that does not fit.
    """
    if array.dtype.kind not in "iufb":
        raise KernelError(f"'{name}' holds {array.dtype}, not real numbers", dtype=str(array.dtype))
    if array.size == 0 or not 1 <= array.ndim <= 5:
        raise KernelError(
            f"'{name}' has shape {_by(array.shape) or 'none'}; 1 to 5 dimensions, none empty, are kernels"
        )
    check_taps(array.size, f"'{name}'")
    default = {1: "w", 2: "hw", 3: "oiw" if checkpoint else "ohw", 4: "oihw", 5: "oidhw"}[array.ndim]
    order = default if layout is None else _checked_layout(layout, array, name)
    said = list(notes)
    if array.ndim == 3 and layout is None and not checkpoint:
        said.append(
            f"{_by(array.shape)} is read as {len(array)} kernels of {_by(array.shape[1:])}; layout=oik is Conv1d"
        )
    if array.ndim == 1 and layout is None:
        said.append(f"{array.size} numbers in a row, no rows and columns: taken as one kernel of 1x{array.size}")
    wanted = [axis for axis in _AXES if axis in order]
    weight = np.transpose(array, [order.index(axis) for axis in wanted]).astype(np.float64)
    full = "oidhw" if "d" in order else "oihw"
    shape = [weight.shape[wanted.index(axis)] if axis in wanted else 1 for axis in full]
    weight = weight.reshape(shape)
    names = kernel_names if kernel_names and len(kernel_names) == len(weight) else _numbered(len(weight), name)
    values = None if bias is None else tuple(float(value) for value in np.asarray(bias, np.float64).ravel())
    return KernelBank(
        name=name,
        weight=weight,
        kernel_names=names,
        bias=values,
        notes=tuple(said),
        dims=3 if "d" in order else (1 if "h" not in order else 2),
        source=source,
    )


def _checked_layout(layout: str, array: NDArray[np.generic], name: str) -> str:
    order = layout.lower().replace("k", "w")
    if len(order) != array.ndim or len(set(order)) != len(order) or not set(order) <= set(_AXES) or "w" not in order:
        raise KernelError(
            f"layout={layout} does not fit '{name}' of shape {_by(array.shape)}",
            hint=f"{array.ndim} different letters of o (kernel) i (plane) d h w, such as {'oihw'[-array.ndim :]}",
            layout=layout,
        )
    return order


def _numbered(count: int, name: str) -> tuple[str, ...]:
    return (name,) if count == 1 else tuple(str(index) for index in range(count))


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in shape)


def choose_entry(shapes: Mapping[str, tuple[int, ...]], entry: str, path: Path) -> tuple[str, str | None]:
    """Return the array that ``entry`` names, and the bias that belongs to it where a module is named.

    ``conv1`` means ``conv1.weight`` with ``conv1.bias``, ``conv1.weight`` the weight alone. What stands before it in
    the file (``state_dict.``, ``module.``) may be left out where only one entry ends so. With nothing named, the only
    array that can be kernels is taken.

    Raises
    ------
    KernelError
        No such entry, or none named where there are several; the hint lists what there is.
    """
    if entry in shapes:
        return entry, None
    if entry and f"{entry}.weight" in shapes:
        bias = f"{entry}.bias"
        return f"{entry}.weight", bias if bias in shapes else None
    if entry:  # model.conv1.weight, in a checkpoint that wraps its model
        inner = [name for name in shapes if name.endswith((f".{entry}", f".{entry}.weight"))]
        if len(inner) == 1:
            return choose_entry(shapes, inner[0].removesuffix(".weight") if entry[-7:] != ".weight" else inner[0], path)
    kernels = [name for name, shape in shapes.items() if len(shape) >= 3] or [
        name for name, shape in shapes.items() if len(shape) == 2
    ]
    if not entry and len(kernels) == 1:
        return kernels[0], None
    if not entry and len(shapes) == 1:
        return next(iter(shapes)), None
    listed = ", ".join(f"{name} {_by(shapes[name])}" for name in kernels[:10]) or ", ".join(list(shapes)[:10])
    more = f" and {len(kernels) - 10} more (convcli kernels check lists them)" if len(kernels) > 10 else ""
    if not entry:
        example = f"{path.name}#{(kernels or list(shapes) or ['?'])[0]}"
        message = f"{path} has {len(shapes)} entries; name one with #, as in '{example}'"
        raise KernelError(message, hint=f"there are {listed}{more}", entries=list(shapes))
    near = near_names(entry, shapes)
    raise KernelError(
        f"{path} has no entry '{entry}'",
        hint=near or f"there are {listed}{more}" if shapes else "it has no arrays",
        entry=entry,
        entries=list(shapes),
    )


def unused_bias(chosen: str, shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
    """Return a note where a weight is loaded alone although the file has its bias."""
    module = chosen.removesuffix(".weight")
    if module == chosen or f"{module}.bias" not in shapes:
        return ()
    return (f"{module}.bias is in the file and not used; #{module} takes both",)


def read_npy(stream: BinaryIO, size: int, what: str) -> NDArray[np.generic]:
    """Read one ``.npy`` of ``size`` bytes: the header's claim is checked against them before memory is taken.

    Raises
    ------
    KernelError
        Objects (they need pickle), a header that is broken or claims more than there is.
    """
    shape, fortran, dtype = _header(stream, what)
    if dtype.hasobject:
        raise KernelError(f"{what} holds Python objects, which need pickle: never read", hint="save plain numbers")
    if dtype.kind not in "iufb":
        raise KernelError(f"{what} holds {dtype}, not real numbers", dtype=str(dtype))
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
            warnings.simplefilter("ignore")
            version = np.lib.format.read_magic(stream)
            reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = reader(stream)
    except Exception as error:  # noqa: BLE001 - a broken header makes NumPy's tokenizer raise many kinds
        reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
        raise KernelError(f"{what}: broken .npy header: {reason}") from None
    return shape, fortran, dtype


def read(path: Path, *, entry: str, layout: str | None) -> KernelBank:
    """Read ``.npy`` or ``.npz``."""
    try:
        if zipfile.is_zipfile(path):
            return _read_npz(path, entry, layout)
        with path.open("rb") as file:
            array = read_npy(file, path.stat().st_size, str(path))
    except (OSError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise KernelError(f"cannot read {path}: {error}", path=str(path)) from None
    if entry:
        from convcli.banks.load import selected

        return selected(bank_of_array(array, name=path.stem, layout=layout), entry)
    return bank_of_array(array, name=path.stem, layout=layout)


def _read_npz(path: Path, entry: str, layout: str | None) -> KernelBank:
    with zipfile.ZipFile(path) as archive:
        members = {
            info.filename.removesuffix(".npy"): info for info in archive.infolist() if info.filename.endswith(".npy")
        }
        shapes = {name: _npz_shape(archive, info, str(path)) for name, info in members.items()}
        numeric = {name: shape for name, shape in shapes.items() if shape is not None}
        chosen, bias = choose_entry(numeric or dict.fromkeys(shapes, ()), entry, path)

        def array(name: str) -> NDArray[np.generic]:
            info = members[name]
            check_taps(info.file_size // 8, f"{path}#{name}")
            with archive.open(info) as member:
                data = member.read(info.file_size + 1)
            return read_npy(io.BytesIO(data), len(data), f"{path}#{name}")

        names = _npz_names(archive, members)
        own = "weight" if chosen == "weight" and "bias" in members and not entry else None
        bias = "bias" if own else bias
        return bank_of_array(
            array(chosen),
            name=path.stem if len(numeric) <= 2 and not entry else f"{path.stem}-{chosen}",
            layout=layout,
            bias=array(bias) if bias else None,
            kernel_names=names,
            notes=unused_bias(chosen, numeric) if bias is None and numeric else (),
        )


def _npz_shape(archive: zipfile.ZipFile, info: zipfile.ZipInfo, what: str) -> tuple[int, ...] | None:
    """Return the shape an entry's header claims; None for text, which holds kernel names."""
    with archive.open(info) as member:
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
