"""Arrays as banks: the meaning of their axes, and the entries of checkpoints (NumPy)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from convcli.banks.bank import Array, KernelBank, by, check_taps
from convcli.errors import KernelError, near_names

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Kernel, plane, depth, row, column: the order of torch's weights.
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
    and a stack of 2-D kernels (O, kH, kW) elsewhere, with a note; ``layout`` overrides this.

    Raises
    ------
    KernelError
        Not numbers, empty, too many dimensions or taps, or a layout that does not fit.
    """
    # Complex numbers, text, dates and objects are no taps.
    if array.dtype.kind not in "iufb":
        raise KernelError(f"'{name}' holds {array.dtype}, not real numbers", dtype=str(array.dtype))
    if array.size == 0 or not 1 <= array.ndim <= 5:
        raise KernelError(f"'{name}' has shape {by(array.shape) or 'none'}; 1 to 5 dimensions, none empty, are kernels")
    check_taps(array.size, f"'{name}'")
    order, assumed = _axes(array, name, layout, checkpoint)
    wanted = [axis for axis in _AXES if axis in order]
    weight = np.transpose(array, [order.index(axis) for axis in wanted]).astype(np.float64)
    full = "oidhw" if "d" in order else "oihw"
    shape = [weight.shape[wanted.index(axis)] if axis in wanted else 1 for axis in full]
    weight = weight.reshape(shape)
    names = (name,) if len(weight) == 1 else tuple(map(str, range(len(weight))))
    names = kernel_names if kernel_names and len(kernel_names) == len(weight) else names
    values = None if bias is None else tuple(float(value) for value in np.asarray(bias, np.float64).ravel())
    return KernelBank(
        name=name,
        weight=weight,
        kernel_names=names,
        bias=values,
        notes=(*notes, *assumed),
        dims=3 if "d" in order else (1 if "h" not in order else 2),
        source=source,
    )


def _axes(array: NDArray[np.generic], name: str, layout: str | None, checkpoint: bool) -> tuple[str, tuple[str, ...]]:
    """Return the letter of every axis, and a note if they are an assumption."""
    if layout is not None:
        return _checked_layout(layout, array, name), ()
    # Checkpoints hold weights of Conv1d, files of people stacks of matrices.
    order = {1: "w", 2: "hw", 3: "oiw" if checkpoint else "ohw", 4: "oihw", 5: "oidhw"}[array.ndim]
    if order == "ohw":
        kernels = f"{len(array)} kernels of {by(array.shape[1:])}"
        return order, (f"{by(array.shape)} is read as {kernels}; layout=oik is Conv1d",)
    if order == "w":
        return order, (f"{array.size} numbers in a row, no rows and columns: taken as one kernel of 1x{array.size}",)
    return order, ()


def _checked_layout(layout: str, array: NDArray[np.generic], name: str) -> str:
    # k is torch's word for the only axis of a Conv1d.
    order = layout.lower().replace("k", "w")
    if len(order) != array.ndim or len(set(order)) != len(order) or not set(order) <= set(_AXES) or "w" not in order:
        raise KernelError(
            f"layout={layout} does not fit '{name}' of shape {by(array.shape)}",
            hint=f"{array.ndim} different letters of o (kernel) i (plane) d h w, such as {'oihw'[-array.ndim :]}",
            layout=layout,
        )
    return order


def choose_entry(shapes: Mapping[str, tuple[int, ...]], entry: str, path: Path) -> tuple[str, str | None]:
    """Return the array that ``entry`` names, and its bias if ``entry`` names a module.

    ``conv1`` means ``conv1.weight`` with ``conv1.bias``, ``conv1.weight`` the weight alone. A prefix in the file
    (``state_dict.``, ``module.``) may be left out if only one entry ends in ``entry``. Without an entry, take the only
    array that can be kernels.

    Raises
    ------
    KernelError
        No such entry, or none named among several; the hint lists the entries.
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
    # A matrix is the weight of a Linear layer, so it counts only where nothing else does.
    kernels = [name for name, shape in shapes.items() if len(shape) >= 3] or [
        name for name, shape in shapes.items() if len(shape) == 2
    ]
    if not entry and len(kernels) == 1:
        return kernels[0], None
    if not entry and len(shapes) == 1:
        return next(iter(shapes)), None
    listed = ", ".join(f"{name} {by(shapes[name])}" for name in kernels[:10]) or ", ".join(list(shapes)[:10])
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
    """Return a note if a weight is loaded alone although the file has its bias."""
    module = chosen.removesuffix(".weight")
    if module == chosen or f"{module}.bias" not in shapes:
        return ()
    return (f"{module}.bias is in the file and not used; #{module} takes both",)


def bank_of_entry(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    array: Callable[[str], NDArray[np.generic]],
    chosen: tuple[str, str | None],
    *,
    named: bool,
    layout: str | None,
    kernel_names: tuple[str, ...] | None = None,
) -> KernelBank:
    """Make a bank of a checkpoint's weight and bias, the ``chosen`` entries; ``named`` if the user named them."""
    weight, bias = chosen
    return bank_of_array(
        array(weight),
        # A layer that is alone in its file goes by the file's name.
        name=f"{path.stem}-{weight.removesuffix('.weight')}" if len(shapes) > 2 or named else path.stem,
        layout=layout,
        checkpoint=True,
        bias=array(bias) if bias else None,
        kernel_names=kernel_names,
        notes=unused_bias(weight, shapes) if bias is None else (),
        source=f"{path.name}#{weight}",
    )


def arrays_of(bank: KernelBank, prefix: str = "") -> dict[str, Array]:
    """Return weight and bias of a bank by the names that checkpoints give them."""
    weight = bank.weight[:, :, 0] if bank.dims == 1 else bank.weight
    arrays = {f"{prefix}weight": np.ascontiguousarray(weight)}
    if bank.bias is not None:
        arrays[f"{prefix}bias"] = np.array(bank.bias, dtype=np.float64)
    return arrays
