"""Several banks become one: ``a + b``, ``a - b``, ``a * b`` in a SPEC, and stacks of banks (NumPy)."""

from __future__ import annotations

import numpy as np

from convcli.banks.bank import Array, KernelBank, by, check_taps, pad_to, to_anchor
from convcli.errors import KernelError


def combine(operator: str, left: KernelBank, right: KernelBank) -> KernelBank:
    """Return ``left + right``, ``left - right`` or ``left * right`` (one kernel applied after the other).

    Banks of equally many kernels go pairwise; a bank of one goes with every kernel of the other. Taps are aligned at
    their anchors, the tap at ``(k-1)//2``.

    Raises
    ------
    KernelError
        If the numbers of kernels or planes do not fit, or either is 3-D.
    """
    counts, planes = (left.n_kernels, right.n_kernels), (left.in_channels, right.in_channels)
    both = f"'{left.name}' {operator} '{right.name}'"
    if counts[0] != counts[1] and 1 not in counts:
        raise KernelError(f"{both}: {counts[0]} and {counts[1]} kernels do not pair", hint="select one with select=1")
    if planes[0] != planes[1] and 1 not in planes:
        message = f"{both}: {planes[0]} and {planes[1]} planes do not pair"
        raise KernelError(message, hint="a kernel of one plane pairs with any")
    if left.weight.ndim != 4 or right.weight.ndim != 4:
        raise KernelError(f"{both}: 3-D kernels take no arithmetic", hint="apply them one after the other: --layers")
    if operator == "*":
        weight = _convolved(left.weight, right.weight, both)
    else:
        size = [max(pair) for pair in zip(left.kernel_hw, right.kernel_hw, strict=True)]
        check_taps(max(counts) * max(planes) * size[0] * size[1], both)
        other = pad_to(right.weight, size)
        weight = pad_to(left.weight, size) + (other if operator == "+" else -other)
    # Names and rule are those of the bank, not of a number (a kernel of 1x1) beside it.
    main = left if counts[0] >= counts[1] and left.kernel_hw != (1, 1) else right
    names = main.kernel_names
    name = f"{left.name} {operator} {right.name}"
    return KernelBank(
        name=name,
        weight=weight,
        kernel_names=(name,) if len(names) == 1 else names,
        bias=_bias(operator, left, right),
        combine=main.combine,
        source="; ".join(dict.fromkeys(bank.source for bank in (left, right) if bank.source)),
        summary=name,
        tags=tuple(dict.fromkeys((*left.tags, *right.tags))),
        notes=tuple(dict.fromkeys((*left.notes, *right.notes))),
    )


def _convolved(left: Array, right: Array, what: str) -> Array:
    """Return kernels equal to ``left`` followed by ``right``: the full convolution of their taps."""
    (rows_a, columns_a), (rows_b, columns_b) = left.shape[-2:], right.shape[-2:]
    shape = np.broadcast_shapes(left.shape[:2], right.shape[:2])
    rows, columns = rows_a + rows_b - 1, columns_a + columns_b - 1
    check_taps(shape[0] * shape[1] * rows * columns, what)
    # The first kernel leaves one plane, and the second would have to read several.
    if left.shape[1] > 1 and right.shape[1] > 1:
        message = f"{what}: one of the two must read a single plane, and they read {left.shape[1]} and {right.shape[1]}"
        raise KernelError(message, hint="apply one after the other: --layers 'conv:A conv:B'")
    taps = np.zeros((*shape, rows, columns))
    # Each tap of the smaller kernel adds a shifted copy of the larger: the fewest passes.
    small, large = (left, right) if rows_a * columns_a <= rows_b * columns_b else (right, left)
    for row in range(small.shape[-2]):
        for column in range(small.shape[-1]):
            window = taps[..., row : row + large.shape[-2], column : column + large.shape[-1]]
            window += small[..., row, column, None, None] * large
    # Anchors add up. For two even sizes the sum lies one tap before the product's (k-1)//2.
    anchor = ((rows_a - 1) // 2 + (rows_b - 1) // 2, (columns_a - 1) // 2 + (columns_b - 1) // 2)
    return to_anchor(taps, anchor)


def _bias(operator: str, left: KernelBank, right: KernelBank) -> tuple[float, ...] | None:
    """Return the bias of both; in a product ``left``'s passes through ``right``'s taps first."""
    if left.bias is None and right.bias is None:
        return None
    first, second = np.array(left.biases), np.array(right.biases)
    if operator == "*":
        first = first * right.weight.sum(axis=(1, 2, 3))
    return tuple(float(value) for value in (first - second if operator == "-" else first + second))


def stack_banks(banks: list[KernelBank]) -> KernelBank:
    """Put banks together into one, kernels named ``bank-kernel``."""
    planes = [bank.in_channels for bank in banks]
    dimensions = [bank.dims for bank in banks]
    # One weight tensor holds them all, so these must agree.
    for facts, what in ((planes, "planes"), (dimensions, "dimensions")):
        if len(set(facts)) > 1:
            listed = ", ".join(f"{bank.name} {count}" for bank, count in zip(banks, facts, strict=True))
            raise KernelError(f"kernels of different {what} do not stack: {listed}", hint="run them one by one")
    size = [max(sizes) for sizes in zip(*(bank.shape[2:] for bank in banks), strict=True)]
    check_taps(sum(bank.n_kernels for bank in banks) * banks[0].in_channels * int(np.prod(size)), "the stack")
    notes = [f"{bank.name}: {note}" for bank in banks for note in bank.notes]
    padded = [bank for bank in banks if list(bank.shape[2:]) != size]
    notes += [f"{bank.name}: {by(bank.shape[2:])} padded with zeros to {by(size)} to stack" for bank in padded]
    has_bias = any(bank.bias is not None for bank in banks)
    return KernelBank(
        name="+".join(bank.name for bank in banks),
        weight=np.concatenate([pad_to(bank.weight, size) for bank in banks]),
        kernel_names=tuple(name for bank in banks for name in _stacked_names(bank)),
        bias=tuple(value for bank in banks for value in bank.biases) if has_bias else None,
        source="; ".join(dict.fromkeys(bank.source for bank in banks if bank.source)),
        summary="; ".join(dict.fromkeys(bank.summary for bank in banks if bank.summary)),
        tags=tuple(dict.fromkeys(tag for bank in banks for tag in bank.tags)),
        notes=tuple(notes),
        dims=banks[0].dims,
    )


def _stacked_names(bank: KernelBank) -> list[str]:
    # A single kernel called as its bank needs no second name: 'box', but 'sobel-x'.
    if bank.n_kernels == 1 and bank.kernel_names[0] in (bank.name, bank.file_name, "matrix"):
        return [bank.file_name]
    return [f"{bank.file_name}-{name}" for name in bank.kernel_names]
