"""PyTorch checkpoints, weights only: torch's restricted reader, which builds tensors and runs nothing (torch)."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convcli.banks.bank import AnyArray, KernelBank, check_taps
from convcli.banks.formats import library
from convcli.banks.formats.arrays import arrays_of
from convcli.banks.formats.entries import Archive
from convcli.banks.formats.exported import Exported, lost_reduction
from convcli.errors import KernelError

#: Tensors, tables and lists of one checkpoint.
_MOST_NODES = 100_000
_HINT = "save a state_dict with torch.save(model.state_dict(), ...), or a .safetensors file"


def read_tensors(path: Path) -> dict[str, Any]:
    """Return every tensor of a checkpoint by its dotted name; refuse one that holds more than weights."""
    import warnings

    _refuse_program(path)
    torch = _import_torch("reading")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            data = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - broken and hostile files raise errors of every kind
        reason = " ".join(str(error).split())
        if "Weights only load failed" in reason or "weights_only" in reason:
            raise KernelError(
                f"{path} holds more than weights (objects that need pickle): never read", hint=_HINT, path=str(path)
            ) from None
        raise KernelError(f"{path} is not a readable checkpoint: {reason[:120]}", hint=_HINT, path=str(path)) from None
    found: dict[str, Any] = {}
    _collect(data, "", found, [_MOST_NODES], depth=0)
    return found


def _refuse_program(path: Path) -> None:
    """Raise for archives of programs, saying how their tensors are saved."""
    import zipfile

    # A state file since torch 1.6 is a zip archive too: the names inside tell them apart.
    names: list[str] = []
    with contextlib.suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    last = f"torch.save(model.state_dict(), {path.stem + '.weights.pt'!r})"
    if any(name.endswith("constants.pkl") for name in names):
        hint = f"model = torch.jit.load({path.name!r}); {last}"
        raise KernelError(f"{str(path)!r} is a TorchScript program, which is never run", hint=hint)
    if any("serialized_exported_program" in name or "/models/" in name for name in names):
        hint = f"model = torch.export.load({path.name!r}).module(); {last}"
        raise KernelError(f"{str(path)!r} is an exported program (pt2), which is never run", hint=hint)


def _import_torch(doing: str) -> Any:
    hint = "pip install torch, or save a .safetensors file"
    return library("torch", f"{doing} PyTorch files needs torch, which is not installed", hint)


def _collect(data: Any, prefix: str, found: dict[str, Any], left: list[int], depth: int) -> None:
    """Put every tensor into ``found`` by its dotted name; lists that share their items cannot make it endless."""
    torch = _import_torch("reading")
    left[0] -= 1
    if left[0] < 0:
        raise KernelError(f"more than {_MOST_NODES:,} entries, nested or shared: not a checkpoint", hint=_HINT)
    if isinstance(data, torch.Tensor):
        found[prefix or "tensor"] = data
    elif isinstance(data, (Mapping, list, tuple)) and depth < 6:
        items = data.items() if isinstance(data, Mapping) else enumerate(data)
        for key, value in items:
            _collect(value, f"{prefix}.{key}" if prefix else str(key), found, left, depth + 1)


def _array(tensor: Any, what: str) -> AnyArray:
    check_taps(tensor.numel(), what)
    if tensor.is_sparse or tensor.is_quantized or tensor.is_complex():
        raise KernelError(f"{what} is sparse, quantized or complex, not plain numbers", hint="save it as float32")
    # torch makes the float64: NumPy has no bfloat16.
    array: AnyArray = tensor.detach().double().numpy()
    return array


def open_archive(path: Path) -> Archive:
    """Return the tensors of a checkpoint."""
    tensors = read_tensors(path)
    return Archive(
        {name: tuple(tensor.shape) for name, tensor in tensors.items()},
        lambda name: _array(tensors[name], f"{path}#{name}"),
        {name: str(tensor.dtype).removeprefix("torch.") for name, tensor in tensors.items()},
    )


def write_torch(bank: KernelBank, _rounding: bool) -> Exported:
    """Write a state_dict of ``weight`` and ``bias`` in float64."""
    torch = _import_torch("writing")
    buffer = io.BytesIO()
    torch.save({name: torch.from_numpy(array.copy()) for name, array in arrays_of(bank).items()}, buffer)
    return Exported(buffer.getvalue(), lost_reduction(bank))
