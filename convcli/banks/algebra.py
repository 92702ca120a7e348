"""Modifiers behind a SPEC, such as ``rotate=45`` (NumPy).

A modifier that invents, moves or drops a value adds a note to the bank. Rotations are counter-clockwise as seen
on the screen, about the middle of the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from convcli.banks.bank import KernelBank, by, check_taps, pad_to
from convcli.banks.numbers import format_number, parse_flag, parse_number
from convcli.banks.rotation import rotate_taps
from convcli.errors import KernelError, near_names


def modify(bank: KernelBank, modifiers: Iterable[tuple[str, str]]) -> KernelBank:
    """Return the bank after modifiers, names and values as written, in the order given.

    Raises
    ------
    KernelError
        For a value that does not fit, with the values that do.

    Examples
    --------
    >>> from convcli import load_bank
    >>> modify(load_bank("1 2; 3 4"), [("flip", "h"), ("scale", "1/2")]).weight[0, 0]
    array([[1. , 0.5],
           [2. , 1.5]])
    """
    for name, value in modifiers:
        try:
            changed = _ACTIONS[name](bank, value)
        except ValueError as error:
            message, hint = f"'{bank.name}': {name}={value}: {error}", f"for example {_EXAMPLES[name]}"
            raise KernelError(message, hint=hint, modifier=name, value=value) from None
        named = changed.name if name == "name" else f"{bank.name}{':' if ':' not in bank.name else ','}{name}={value}"
        if changed.out_bias is not None and name != "name":
            note = f"the transposed layer's bias is left out after {name}={value}"
            changed = replace(changed, out_bias=None).noted(note)
        # A single kernel called as its bank is renamed with it: maps are named after kernels.
        alone = changed.n_kernels == 1 and bank.kernel_names == (bank.name,) == changed.kernel_names
        bank = replace(changed, name=named, kernel_names=(named,) if alone else changed.kernel_names)
    return bank


def _rotate(bank: KernelBank, degrees: float) -> KernelBank:
    if bank.weight.ndim != 4:
        raise ValueError("3-D kernels are not rotated")
    taps, note = rotate_taps(bank.weight, degrees)
    return replace(bank, weight=taps).noted(*([note] if note else []))


def _flip(bank: KernelBank, value: str) -> KernelBank:
    axes = {"h": (-1,), "v": (-2,), "hv": (-2, -1), "vh": (-2, -1), "none": ()}.get(value.lower())
    if axes is None:
        raise ValueError("not h (left-right), v (up-down), hv or none")
    return replace(bank, weight=np.flip(bank.weight, axes))


def _transpose(bank: KernelBank, value: str) -> KernelBank:
    return replace(bank, weight=bank.weight.swapaxes(-1, -2)) if parse_flag(value) else bank


def _normalize(bank: KernelBank, value: str) -> KernelBank:
    norms, word = {"l1": 1, "l2": 2, "max": np.inf}, value.lower()
    if word == "none":
        return bank
    if word != "sum" and word not in norms:
        near = near_names(value, ("sum", *norms))
        raise ValueError(f"not sum, l1, l2, max or none{'; ' + near if near else ''}")
    flat = bank.weight.reshape(bank.n_kernels, -1)
    size = flat.sum(axis=1) if word == "sum" else np.linalg.norm(flat, norms[word], axis=1)
    # A sum that only rounding has left would blow the taps up, not normalise them.
    empty = np.abs(size) <= 1e-12 * np.abs(flat).sum(axis=1)
    if empty.any():
        name = bank.kernel_names[int(np.argmax(empty))]
        raise ValueError(f"the taps of '{name}' sum to {size[empty][0]:.3g}; normalize=l1 or l2 works for them")
    return replace(bank, weight=bank.weight / size.reshape(-1, *[1] * (bank.weight.ndim - 1)))


def _zero_mean(bank: KernelBank, value: str) -> KernelBank:
    if not parse_flag(value):
        return bank
    axes = tuple(range(1, bank.weight.ndim))
    return replace(bank, weight=bank.weight - bank.weight.mean(axis=axes, keepdims=True))


def _scale(bank: KernelBank, value: str) -> KernelBank:
    factor = parse_number(value)
    # The result is scaled, and the bias is a part of it.
    bias = None if bank.bias is None else tuple(item * factor for item in bank.bias)
    return replace(bank, weight=bank.weight * factor, bias=bias)


def _bias(bank: KernelBank, value: str) -> KernelBank:
    given = [parse_number(part) for part in value.split(",")]
    if len(given) not in (1, bank.n_kernels):
        raise ValueError(f"{len(given)} values for {bank.n_kernels} kernels")
    added = given * (bank.n_kernels if len(given) == 1 else 1)
    # A bias of the file, or of an earlier modifier, stays.
    return replace(bank, bias=tuple(old + new for old, new in zip(bank.biases, added, strict=True)))


def _blend_identity(bank: KernelBank, value: str) -> KernelBank:
    amount = parse_number(value)
    if bank.in_channels != 1:
        raise ValueError(f"kernels that read {bank.in_channels} planes have no identity to blend with")
    weight = bank.weight.copy()
    # The anchor, not the middle: even sizes have the output pixel on this tap.
    weight[(..., *((size - 1) // 2 for size in weight.shape[2:]))] += amount
    return replace(bank, weight=weight)


def _pad(bank: KernelBank, value: str) -> KernelBank:
    rows, columns = _pair(value, 0)
    height, width = bank.kernel_hw
    # Refused before the memory is taken, here and in the modifiers below.
    check_taps(bank.weight.size // (height * width) * (height + 2 * rows) * (width + 2 * columns), bank.name)
    return replace(
        bank, weight=np.pad(bank.weight, [(0, 0)] * (bank.weight.ndim - 2) + [(rows, rows), (columns, columns)])
    )


def _crop(bank: KernelBank, value: str) -> KernelBank:
    rows, columns = _pair(value, 0)
    height, width = bank.kernel_hw
    if 2 * rows >= height or 2 * columns >= width:
        raise ValueError(f"nothing would be left of {height}x{width}")
    kept = bank.weight[..., rows : height - rows, columns : width - columns]
    # Taps that are all 0 lose nothing, and have no sum to divide by.
    total = float(np.abs(bank.weight).sum())
    lost = 1 - float(np.abs(kept).sum()) / total if total else 0.0
    cropped = replace(bank, weight=kept)
    return cropped.noted(f"cropped to {by(cropped.kernel_hw)}: {lost:.3g} of the absolute sum is cut off")


def _dilate(bank: KernelBank, value: str) -> KernelBank:
    spacing = _pair(value, 1)
    size = [step * (taps - 1) + 1 for step, taps in zip(spacing, bank.kernel_hw, strict=True)]
    check_taps(bank.weight.size // (bank.kernel_hw[0] * bank.kernel_hw[1]) * size[0] * size[1], bank.name)
    # Written out (à trous): the taps that a convolution with this dilation uses.
    weight = np.zeros((*bank.shape[:-2], *size))
    weight[..., :: spacing[0], :: spacing[1]] = bank.weight
    return replace(bank, weight=weight)


def _expand(bank: KernelBank, value: str) -> KernelBank:
    step = parse_number(value)
    # Otherwise the last direction would lie nearer to the first than the others do.
    if step <= 0 or 360 % step:
        raise ValueError("does not divide 360 degrees")
    turns = int(360 // step)
    if turns > 360:
        raise ValueError(f"{turns} rotations; at most 360")
    check_taps(turns * bank.weight.size, f"'{bank.name}' in {turns} rotations")
    banks = [_rotate(bank, step * turn) for turn in range(turns)]
    # Interpolated turns need more room than exact ones.
    size = [max(sizes) for sizes in zip(*(turned.kernel_hw for turned in banks), strict=True)]
    angles = [_padded_angle(step * turn) for turn in range(turns)]
    order = [(kernel, turn) for kernel in range(bank.n_kernels) for turn in range(turns)]
    padded = [pad_to(turned.weight, size) for turned in banks]
    return replace(
        banks[0],
        weight=np.stack([padded[turn][kernel] for kernel, turn in order]),
        kernel_names=tuple(
            angles[turn] if bank.n_kernels == 1 else f"{bank.kernel_names[kernel]}-{angles[turn]}"
            for kernel, turn in order
        ),
        bias=None if bank.bias is None else tuple(bank.bias[kernel] for kernel, _ in order),
        # A compass answers by its strongest direction; another rule of the bank's own stays.
        combine="max" if bank.combine in ("none", "max") else bank.combine,
        notes=tuple(dict.fromkeys(note for turned in banks for note in turned.notes)),
        reduction=None,
    )


def _padded_angle(degrees: float) -> str:
    """Return degrees with three places before the point, so that names sort: 022.5."""
    whole, point, rest = format_number(degrees).partition(".")
    return whole.zfill(3) + point + rest


def _select(bank: KernelBank, value: str) -> KernelBank:
    indices: list[int] = []
    for part in (part.strip() for part in value.split(",")):
        indices += _selected(bank, part)
    if not indices:
        raise ValueError("selects nothing")
    kept = replace(
        bank,
        weight=bank.weight[indices],
        kernel_names=tuple(bank.kernel_names[index] for index in indices),
        bias=None if bank.bias is None else tuple(bank.bias[index] for index in indices),
        combine=bank.combine if len(indices) > 1 else "none",
        reduction=None,
    )
    return kept.noted("the reduction of the whole bank is left out") if bank.reduction else kept


def _selected(bank: KernelBank, part: str) -> list[int]:
    """Return the kernels that one part means: a name, a number from 0, or a range ``2..5`` with both ends."""
    # Names come first: '045' of a compass is a name, not number 45.
    if part in bank.kernel_names:
        return [bank.kernel_names.index(part)]
    first, dots, last = part.partition("..")
    if first.isdigit() and (last.isdigit() if dots else True):
        low, high = int(first), int(last) if dots else int(first)
        if low <= high < bank.n_kernels:
            return list(range(low, high + 1))
        raise ValueError(f"there are kernels 0 to {bank.n_kernels - 1}")
    listed = ", ".join(bank.kernel_names[:12]) + (", …" if bank.n_kernels > 12 else "")
    near = near_names(part, bank.kernel_names)
    raise ValueError(f"no kernel '{part}'; {near or 'there are ' + listed}")


def _name(bank: KernelBank, value: str) -> KernelBank:
    if not value:
        raise ValueError("a name is needed")
    names = (value,) if bank.n_kernels == 1 else bank.kernel_names
    return replace(bank, name=value, kernel_names=names)


def _pair(value: str, low: int) -> tuple[int, int]:
    parts = value.lower().split("x")
    if len(parts) > 2 or not all(part.strip().isdigit() for part in parts):
        raise ValueError("not N or HxW")
    pair = (int(parts[0]), int(parts[-1]))
    # The largest size of a kernel in the catalogue of families.
    if min(pair) < low or max(pair) > 8191:
        raise ValueError(f"not {low} to 8191")
    return pair


#: A value of each modifier whose errors do not list the values that fit.
_EXAMPLES = {
    "rotate": "rotate=45",
    "flip": "flip=h",
    "transpose": "transpose=true",
    "normalize": "normalize=l1",
    "zero_mean": "zero_mean=true",
    "scale": "scale=1/8",
    "bias": "bias=128, or a number per kernel",
    "blend_identity": "blend_identity=0.5",
    "pad": "pad=2",
    "crop": "crop=2",
    "dilate": "dilate=2",
    "expand": "expand=45",
    "select": "select=0, select=0,2, select=2..5 or select=NAME",
    "name": "name=mine",
}

_ACTIONS: dict[str, Callable[[KernelBank, str], KernelBank]] = {
    "rotate": lambda bank, value: _rotate(bank, parse_number(value)),
    "flip": _flip,
    "transpose": _transpose,
    "normalize": _normalize,
    "zero_mean": _zero_mean,
    "scale": _scale,
    "bias": _bias,
    "blend_identity": _blend_identity,
    "pad": _pad,
    "crop": _crop,
    "dilate": _dilate,
    "expand": _expand,
    "select": _select,
    "name": _name,
}
