"""Arrays with names: NumPy, PyTorch, safetensors and ONNX (NumPy)."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from convcli.banks.bank import KernelBank
from convcli.banks.formats.exported import Exported, lost_reduction, without_bias

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array: TypeAlias = "NDArray[np.float64]"


def _arrays(bank: KernelBank, prefix: str) -> dict[str, Array]:
    weight = bank.weight[:, :, 0] if bank.dims == 1 else bank.weight
    arrays = {f"{prefix}weight": np.ascontiguousarray(weight)}
    if bank.bias is not None:
        arrays[f"{prefix}bias"] = np.array(bank.bias, dtype=np.float64)
    return arrays


def npy(bank: KernelBank, rounding: bool) -> Exported:
    """Write one array of four or five dimensions."""
    notes = without_bias(bank, "a .npy file", rounding)
    buffer = io.BytesIO()
    np.save(buffer, bank.weight, allow_pickle=False)
    return Exported(buffer.getvalue(), notes)


def npz(bank: KernelBank, _rounding: bool) -> Exported:
    """Write weight, bias and kernel names."""
    buffer = io.BytesIO()
    arrays = {"weight": bank.weight, **({"bias": np.array(bank.bias)} if bank.bias is not None else {})}
    np.savez_compressed(buffer, allow_pickle=False, kernel_names=np.array(bank.kernel_names), **arrays)
    return Exported(buffer.getvalue(), lost_reduction(bank))


def safetensors(bank: KernelBank, _rounding: bool) -> Exported:
    """Write ``NAME.weight`` and ``NAME.bias`` in float64, the kernel names as metadata."""
    from convcli.banks.formats import safetensors_file

    about = json.dumps({"kernel_names": list(bank.kernel_names), "source": bank.source})
    arrays = _arrays(bank, f"{bank.file_name}.")
    return Exported(safetensors_file.write(arrays, {"convcli": about}), lost_reduction(bank))


def torch(bank: KernelBank, _rounding: bool) -> Exported:
    """Write a state_dict of ``weight`` and ``bias`` in float64."""
    from convcli.banks.formats import torch_file

    return Exported(torch_file.write(_arrays(bank, "")), lost_reduction(bank))


def onnx(bank: KernelBank, _rounding: bool) -> Exported:
    """Write a model of one Conv node."""
    from convcli.banks.formats import onnx_file

    arrays = _arrays(bank, "")
    return Exported(onnx_file.write(arrays["weight"], arrays.get("bias"), bank.file_name), lost_reduction(bank))
