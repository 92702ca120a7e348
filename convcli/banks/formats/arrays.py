"""Arrays as banks: the meaning of their axes, and the entries of checkpoints (NumPy)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from convcli.banks.bank import AnyArray, Array, KernelBank, by, check_taps
from convcli.banks.formats.entries import is_channelwise, layout_of, leaf_of, open_archive, resolve
from convcli.errors import KernelError

#: Kernel, plane, depth, row, column: the order of torch's weights.
_AXES = "oidhw"
#: Kernels are rarely larger: first axes of this size at most are taken for one that may lie in front.
_LARGEST_SQUARE = 11


def bank_of_array(
    array: AnyArray,
    *,
    name: str,
    layout: str | None = None,
    bias: AnyArray | None = None,
    kernel_names: tuple[str, ...] | None = None,
    notes: tuple[str, ...] = (),
    source: str = "",
) -> KernelBank:
    """Make a bank of an array of 1 to 5 dimensions.

    2-D is one kernel, 4-D is (O, I, kH, kW), 5-D is (O, I, kD, kH, kW). 3-D is a stack of 2-D kernels (O, kH, kW), with
    a note; ``layout`` overrides this. A bias that fits the second axis is that of a transposed layer.

    Raises
    ------
    KernelError
        Not numbers, empty, too many dimensions or taps, or a layout that does not fit.
    """
    # Complex numbers, text, dates and objects are no taps.
    if array.dtype.kind not in "iufb":
        raise not_real(f"'{name}'", array.dtype)
    if array.size == 0 or not 1 <= array.ndim <= 5:
        message = f"'{name}' has shape {by(array.shape) or 'none'}; 1 to 5 dimensions, none empty, are kernels"
        raise KernelError(message, hint="name another array with #NAME, or save the part that is the kernel: k[0]")
    check_taps(array.size, f"'{name}'")
    order, assumed = _axes(array, name, layout)
    if layout is None and order == "oihw":
        assumed = (*assumed, *doubt(array.shape))
    wanted = [axis for axis in _AXES if axis in order]
    weight = np.transpose(array, [order.index(axis) for axis in wanted]).astype(np.float64)
    full = "oidhw" if "d" in order else "oihw"
    shape = [weight.shape[wanted.index(axis)] if axis in wanted else 1 for axis in full]
    weight = weight.reshape(shape)
    names = (name,) if len(weight) == 1 else tuple(map(str, range(len(weight))))
    names = kernel_names if kernel_names and len(kernel_names) == len(weight) else names
    own, out, said = _biases(weight.shape, bias)
    return KernelBank(
        name=name,
        weight=weight,
        kernel_names=names,
        bias=own,
        out_bias=out,
        notes=(*notes, *assumed, *said),
        dims=3 if "d" in order else (1 if "h" not in order else 2),
        source=source,
    )


def not_real(what: str, dtype: np.dtype[np.generic]) -> KernelError:
    """Return the error of an array of complex numbers, text, dates or objects."""
    hint = "save k.real or abs(k)" if dtype.kind == "c" else "save numbers: k.astype('float64')"
    return KernelError(f"{what} holds {dtype}, not real numbers", hint=hint, dtype=str(dtype))


def _biases(
    shape: tuple[int, ...], bias: AnyArray | None
) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None, tuple[str, ...]]:
    """Return a bias of the kernels, one of a transposed layer's maps, and a note on one that is not used here."""
    if bias is None:
        return None, None, ()
    values = tuple(float(value) for value in np.asarray(bias, np.float64).ravel())
    first, second = shape[:2]
    groups = len(values) // second
    if len(values) == first:
        return values, None, ()
    if groups and groups * second == len(values) and first % groups == 0:
        flag = f" --groups {groups}" if groups > 1 else ""
        layer = f"a transposed layer, {first} to {len(values)}"
        note = f"its {len(values)} biases are of {layer}: used with --transposed{flag}"
        return None, values, (note,)
    return None, None, (f"its {len(values)} biases fit neither {first} nor {second} maps and are not used",)


def doubt(shape: tuple[int, ...]) -> tuple[str, ...]:
    """Return a note on an array that looks as if its kernels were last; nothing in it tells."""
    first, second, rows, columns = shape
    if first != second or first > _LARGEST_SQUARE or rows == columns:
        return ()
    taken = f"{first} kernels of {rows}x{columns} on {second} planes"
    return (f"{by(shape)} is read as {taken}; layout=hwio reads {columns} kernels of {first}x{second} on {rows}",)


def _axes(array: AnyArray, name: str, layout: str | None) -> tuple[str, tuple[str, ...]]:
    """Return the letter of every axis, and a note if they are an assumption."""
    if layout is not None:
        return _checked_layout(layout, array, name), ()
    # Checkpoints hold weights of Conv1d, which have a layout of their own; files of people stacks of matrices.
    order = {1: "w", 2: "hw", 3: "ohw", 4: "oihw", 5: "oidhw"}[array.ndim]
    if order == "ohw":
        kernels = f"{len(array)} kernels of {by(array.shape[1:])}"
        return order, (f"{by(array.shape)} is read as {kernels}; layout=oik is Conv1d",)
    if order == "w":
        return order, (f"{array.size} numbers in a row, no rows and columns: taken as one kernel of 1x{array.size}",)
    return order, ()


def _checked_layout(layout: str, array: AnyArray, name: str) -> str:
    # k is torch's word for the only axis of a Conv1d.
    order = layout.lower().replace("k", "w")
    if len(order) != array.ndim or len(set(order)) != len(order) or not set(order) <= set(_AXES) or "w" not in order:
        raise KernelError(
            f"layout={layout} does not fit '{name}' of shape {by(array.shape)}",
            hint=f"{array.ndim} different letters of o (kernel) i (plane) d h w, such as {'oihw'[-array.ndim :]}",
            layout=layout,
        )
    return order


def read_entry(path: Path, entry: str, layout: str | None, with_bias: bool | None) -> KernelBank:
    """Make a bank of an entry; ``with_bias`` takes or leaves its bias whatever the name asks for."""
    archive = open_archive(path)
    chosen = resolve(archive, entry, path)
    name, shape = chosen.weight, archive.shapes[chosen.weight]
    array, bias = archive.read(name), None
    takes_bias = chosen.with_bias if with_bias is None else with_bias
    bias_shape = archive.shapes[chosen.bias] if chosen.bias else ()
    notes: tuple[str, ...] = ()
    if chosen.bias and takes_bias:
        bias = archive.read(chosen.bias)
    elif chosen.bias and with_bias is None:
        module = leaf_of(name)[0][:-1]
        both = f"#{module} takes" if module else "without # both are taken:"
        notes = (f"{chosen.bias} is in the file and not used; {both} {name} and {chosen.bias}",)
    order: str | None = layout
    if layout is None:
        order = layout_of(name, shape, bias_shape)
        # The usual order has its own notes; Conv1d's is usual in a checkpoint only.
        if order in ("w", "hw", "oihw", "oidhw") or (order == "oiw" and archive.is_plain):
            order = None
        else:
            array, order, said = _torch_axes(name, array, order)
            notes = (*notes, *said)
    short = name.removesuffix(".weight")
    return bank_of_array(
        array,
        name=f"{path.stem}-{short}" if len(archive.shapes) > 2 or entry else path.stem,
        layout=order,
        bias=bias,
        kernel_names=archive.kernel_names,
        notes=notes,
        source=f"{path.name}#{name}",
    )


def _torch_axes(name: str, array: AnyArray, order: str) -> tuple[AnyArray, str, tuple[str, ...]]:
    """Return an entry with axes that a bank can have, their letters, and notes on a reading that was a choice."""
    said = by(array.shape)
    if order in ("oi", "io"):
        kernels = array.shape[order.index("o")]
        note = f"{name} {said} is a linear layer: {kernels} kernels of one tap; layout=hw reads one kernel of {said}"
        return array[..., None], f"{order}w", (note,)
    if not order.endswith(("io", "oi")):
        return array, order, ()
    if is_channelwise(name):
        *sides, channels, each = array.shape
        note = (
            f"{name} {said} is read as {each} kernel{'s' * (each > 1)} a channel; --groups {channels} keeps them apart"
        )
        return array.reshape(*sides, channels * each), f"{order[:-2]}o", (note,)
    last = "kernels, planes (transposed)" if order.endswith("oi") else "planes, kernels"
    torchs = f"layout={'oihw' if array.ndim == 4 else 'oidhw' if array.ndim == 5 else 'oiw'}"
    note = f"{name} {said} is read as Keras, flax and TensorFlow store it: sizes, {last}; {torchs} reads it as torch's"
    # A transposed weight is (in, out, …) in torch: letters name the places that they have in a bank.
    return array, order.replace("oi", "io") if order.endswith("oi") else order, (note,)


def arrays_of(bank: KernelBank, prefix: str = "") -> dict[str, Array]:
    """Return weight and bias of a bank by the names that checkpoints give them."""
    weight = bank.weight[:, :, 0] if bank.dims == 1 else bank.weight
    arrays = {f"{prefix}weight": np.ascontiguousarray(weight)}
    if bank.bias is not None:
        arrays[f"{prefix}bias"] = np.array(bank.bias, dtype=np.float64)
    return arrays
