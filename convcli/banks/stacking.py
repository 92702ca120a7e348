"""Several banks as one: kernels of different sizes are padded with zeros around their anchors (NumPy)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from convcli.banks.bank import KernelBank, pad_to
from convcli.banks.limits import check_taps
from convcli.errors import KernelError


def stack_banks(banks: list[KernelBank]) -> KernelBank:
    """Put banks together into one, kernels named ``bank-kernel``.

    Raises
    ------
    KernelError
        If they read different numbers of planes or have different dimensions.
    """
    planes = [bank.in_channels for bank in banks]
    dimensions = [bank.dims for bank in banks]
    for facts, what in ((planes, "planes"), (dimensions, "dimensions")):
        if len(set(facts)) > 1:
            listed = ", ".join(f"{bank.name} {count}" for bank, count in zip(banks, facts, strict=True))
            raise KernelError(f"kernels of different {what} do not stack: {listed}", hint="run them one by one")
    size = [max(sizes) for sizes in zip(*(bank.shape[2:] for bank in banks), strict=True)]
    check_taps(sum(bank.n_kernels for bank in banks) * banks[0].in_channels * int(np.prod(size)), "the stack")
    notes = [f"{bank.name}: {note}" for bank in banks for note in bank.notes]
    padded = [bank for bank in banks if list(bank.shape[2:]) != size]
    notes += [f"{bank.name}: {_by(bank.shape[2:])} padded with zeros to {_by(size)} to stack" for bank in padded]
    has_bias = any(bank.bias is not None for bank in banks)
    return KernelBank(
        name="+".join(bank.name for bank in banks),
        weight=np.concatenate([pad_to(bank.weight, size) for bank in banks]),
        kernel_names=tuple(name for bank in banks for name in _stacked_names(bank)),
        bias=tuple(value for bank in banks for value in bank.bias or (0.0,) * bank.n_kernels) if has_bias else None,
        source="; ".join(dict.fromkeys(bank.source for bank in banks if bank.source)),
        summary="; ".join(dict.fromkeys(bank.summary for bank in banks if bank.summary)),
        tags=tuple(dict.fromkeys(tag for bank in banks for tag in bank.tags)),
        notes=tuple(notes),
        dims=banks[0].dims,
    )


def _stacked_names(bank: KernelBank) -> list[str]:
    if bank.n_kernels == 1 and bank.kernel_names[0] in (bank.name, bank.file_name, "matrix"):
        return [bank.file_name]
    return [f"{bank.file_name}-{name}" for name in bank.kernel_names]


def _by(sizes: Sequence[int]) -> str:
    return "x".join(str(size) for size in sizes)
