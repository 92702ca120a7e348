"""Matrices as text: CSV and its kin, libvips, ImageMagick, G'MIC, MATLAB (NumPy)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from convcli.banks.bank import KernelBank
from convcli.banks.formats.exported import ARRAY_FORMATS, Exported, by, identifier, lost_reduction, without_bias
from convcli.banks.numbers import format_number
from convcli.errors import KernelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array: TypeAlias = "NDArray[np.float64]"


def _matrices(bank: KernelBank, what: str) -> list[Array]:
    if bank.weight.ndim != 4 or bank.in_channels > 1:
        raise KernelError(
            f"'{bank.name}' has kernels of {by(bank.shape[1:])}, {what} holds matrices",
            hint=f"{ARRAY_FORMATS}, toml or json",
        )
    return [bank.weight[index, 0] for index in range(bank.n_kernels)]


def csv(bank: KernelBank, _rounding: bool) -> Exported:
    """Write rows with commas; a blank line ends a kernel."""
    return _separated(bank, ",")


def tsv(bank: KernelBank, _rounding: bool) -> Exported:
    """Write rows with tabs; a blank line ends a kernel."""
    return _separated(bank, "\t")


def spaces(bank: KernelBank, _rounding: bool) -> Exported:
    """Write rows with spaces; a blank line ends a kernel."""
    return _separated(bank, " ")


def _separated(bank: KernelBank, mark: str) -> Exported:
    blocks = []
    for index, matrix in enumerate(_matrices(bank, "a table")):
        name = re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", bank.kernel_names[index])
        head = [f"# kernel: {name}"] if bank.n_kernels > 1 else []
        head += [f"# bias: {format_number(bank.bias[index])}"] if bank.bias is not None else []
        blocks.append("\n".join([*head, *(mark.join(map(format_number, row)) for row in matrix.tolist())]))
    return Exported(("\n\n".join(blocks) + "\n").encode(), lost_reduction(bank))


def _odd(matrix: Array) -> Array:
    """Pad an even axis with one zero in front: programs that anchor at k/2 then agree with (k-1)//2."""
    return np.pad(matrix, [(1 - size % 2, 0) for size in matrix.shape])


def libvips(bank: KernelBank, _rounding: bool) -> Exported:
    """Write libvips matrices: width, height, scale, offset, rows."""
    blocks = []
    for index, matrix in enumerate(_matrices(bank, "a libvips matrix")):
        odd = _odd(matrix)
        offset = format_number(bank.bias[index]) if bank.bias is not None else "0"
        head = f"{odd.shape[1]} {odd.shape[0]} 1 {offset}"
        blocks.append("\n".join([head, *(" ".join(map(format_number, row)) for row in odd.tolist())]))
    notes: tuple[str, ...] = ("run: vips conv in.png out.v kernel.mat --precision float",)
    if bank.n_kernels > 1:
        notes += (f"libvips reads the first of the {bank.n_kernels} matrices; export SPEC#NAME for another",)
    return Exported(("\n".join(blocks) + "\n").encode(), _padded(bank, lost_reduction(bank, notes)))


def _padded(bank: KernelBank, notes: tuple[str, ...]) -> tuple[str, ...]:
    if all(size % 2 for size in bank.kernel_hw):
        return notes
    return (*notes, f"{by(bank.kernel_hw)} is padded with a zero row or column in front, to keep its anchor")


def imagemagick(bank: KernelBank, rounding: bool) -> Exported:
    """Write ImageMagick kernels with their origin, ``;`` between several."""
    notes: tuple[str, ...] = ("run: -morphology Correlate (Convolve would turn the taps by 180°)",)
    if bank.n_kernels > 1:
        notes += (
            "with several kernels ImageMagick runs one after the other, unless -define morphology:compose=Lighten",
        )
    texts = []
    for matrix in _matrices(bank, "an ImageMagick kernel"):
        height, width = matrix.shape
        rows = " ".join(",".join(map(format_number, row)) for row in matrix.tolist())
        texts.append(f"{width}x{height}+{(width - 1) // 2}+{(height - 1) // 2}: {rows}")
    return Exported(
        ("; ".join(texts) + "\n").encode(), (*notes, *without_bias(bank, "an ImageMagick kernel", rounding))
    )


def gmic(bank: KernelBank, rounding: bool) -> Exported:
    """Write G'MIC literals; planes as channels."""
    if bank.weight.ndim != 4:
        _matrices(bank, "a G'MIC literal")
    texts = [
        "^".join(";".join(",".join(map(format_number, row)) for row in plane) for plane in kernel)
        for kernel in bank.weight.tolist()
    ]
    notes = ("run: correlate (convolve would turn the taps by 180°)", *without_bias(bank, "a G'MIC literal", rounding))
    return Exported((" ".join(f"({text})" for text in texts) + "\n").encode(), notes)


def matlab(bank: KernelBank, rounding: bool) -> Exported:
    """Write MATLAB assignments, pages of one array for several kernels."""
    name = identifier(bank.name)
    texts = []
    for index, matrix in enumerate(_matrices(bank, "a MATLAB matrix"), 1):
        rows = "; ".join(" ".join(map(format_number, row)) for row in matrix.tolist())
        texts.append(f"{name if bank.n_kernels == 1 else f'{name}(:,:,{index})'} = [{rows}];")
    notes = ("imfilter and filter2 use these taps; conv2 would turn them by 180°",)
    return Exported(("\n".join(texts) + "\n").encode(), (*notes, *without_bias(bank, "a MATLAB matrix", rounding)))
