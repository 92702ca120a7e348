"""Banks to every format: what :mod:`convcli.banks.formats` reads, and source text of NumPy, C and GLSL (NumPy).

Taps are written as correlation taps, in the fewest digits that read back to the same float64. Whatever a format cannot
hold is a :class:`~convcli.errors.KernelError`, unless rounding is allowed; then its size is said.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from convcli.banks.bank import KernelBank
from convcli.banks.numbers import format_number
from convcli.errors import KernelError, near_names

Array = NDArray[np.float64]


class Exported(NamedTuple):
    """A bank in one format: bytes of the file, and what has to be said about them."""

    data: bytes
    notes: tuple[str, ...] = ()


#: Suffix → format, for ``-o FILE`` without ``--format``.
SUFFIXES = {
    ".toml": "toml", ".json": "json", ".yaml": "yaml", ".yml": "yaml", ".csv": "csv", ".tsv": "tsv", ".txt": "text",
    ".npy": "npy", ".npz": "npz", ".pt": "torch", ".pth": "torch", ".safetensors": "safetensors", ".onnx": "onnx",
    ".mat": "libvips", ".m": "matlab", ".py": "numpy", ".c": "c", ".h": "c", ".glsl": "glsl", ".frag": "glsl",
    ".png": "png", ".tif": "tiff", ".tiff": "tiff",
}  # fmt: skip


def export_bank(bank: KernelBank, format: str, *, rounding: bool = False, turn: bool = False) -> Exported:
    r"""Write a bank in a format.

    Parameters
    ----------
    bank : KernelBank
        What to write.
    format : str
        One of :data:`FORMATS`.
    rounding : bool
        Allow what loses something; the loss is then in the notes.
    turn : bool
        Turn the taps by 180° first, for a program that convolves.

    Returns
    -------
    Exported

    Raises
    ------
    KernelError
        Unknown format, or one that cannot hold the bank.

    Examples
    --------
    >>> from convcli.banks import load_bank
    >>> export_bank(load_bank("roberts"), "gmic").data
    b'(1,0;0,-1) (0,1;-1,0)\n'
    """
    if format not in _WRITERS:
        near = near_names(format, FORMATS)
        raise KernelError(f"no format '{format}'", hint=near or f"formats are {', '.join(FORMATS)}", format=format)
    if turn:
        bank = bank.with_(weight=np.flip(bank.weight, (-2, -1)))
        if any(size % 2 == 0 for size in bank.kernel_hw):
            bank = bank.noted("an even kernel turned by 180° lies one sample off: programs anchor it differently")
    return _WRITERS[format](bank, rounding)


# --- our own syntax and its relatives ---------------------------------------------------------------------------------


def _tables(bank: KernelBank) -> list[dict[str, object]]:
    if bank.weight.ndim != 4:
        raise KernelError(f"'{bank.name}' is 3-D ({_by(bank.shape)}), which text does not hold", hint=_ARRAYS)
    kernels = []
    for index, name in enumerate(bank.kernel_names):
        planes = bank.weight[index].tolist()
        kernel: dict[str, object] = {"name": name, "taps": planes if len(planes) > 1 else planes[0]}
        if bank.bias is not None:
            kernel["bias"] = bank.bias[index]
        kernels.append(kernel)
    return kernels


_ARRAYS = "--format npy, npz, torch, safetensors or onnx"


def _head(bank: KernelBank) -> dict[str, object]:
    head: dict[str, object] = {"name": bank.name, "summary": bank.summary, "source": bank.source}
    head |= {"tags": list(bank.tags), "orientation": "correlate", "combine": bank.combine}
    if bank.dims == 1:
        head["dims"] = 1
    return {key: value for key, value in head.items() if value not in ("", [])}


def _lost_reduction(bank: KernelBank, notes: tuple[str, ...] = ()) -> tuple[str, ...]:
    if bank.reduction is None:
        return notes
    return (*notes, f"the rule that makes {len(bank.reduction)} maps of the {bank.n_kernels} kernels is not written")


def _toml(bank: KernelBank, _rounding: bool) -> Exported:
    lines = [f"{key} = {_toml_value(value)}" for key, value in _head(bank).items()]
    for kernel in _tables(bank):
        lines += ["", "[[kernel]]", f"name = {_toml_value(kernel['name'])}"]
        if "bias" in kernel:
            lines.append(f"bias = {format_number(float(str(kernel['bias'])))}")
        lines += ["taps = [", *(f"    {_toml_value(row)}," for row in _as_list(kernel["taps"])), "]"]
    return Exported(("\n".join(lines) + "\n").encode(), _lost_reduction(bank))


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _toml_value(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=True).replace("\x7f", "\\u007f")
    return format_number(float(str(value))) if not isinstance(value, int) else str(value)


def _json(bank: KernelBank, _rounding: bool) -> Exported:
    text = json.dumps({**_head(bank), "kernels": _tables(bank)}, indent=1, ensure_ascii=False)
    text = re.sub(r"\[\s+([-+\d.eE,\s]+?)\s+\]", lambda row: "[" + re.sub(r"\s+", " ", row.group(1)) + "]", text)
    return Exported((text + "\n").encode(), _lost_reduction(bank))


def _yaml(bank: KernelBank, _rounding: bool) -> Exported:
    lines = [f"{key}: {json.dumps(value)}" for key, value in _head(bank).items()]
    lines.append("kernels:")
    for kernel in _tables(bank):
        lines.append(f"  - name: {json.dumps(kernel['name'])}")
        if "bias" in kernel:
            lines.append(f"    bias: {_yaml_number(float(str(kernel['bias'])))}")
        lines += ["    taps:", *(f"      - {_yaml_row(row)}" for row in _as_list(kernel["taps"]))]
    return Exported(("\n".join(lines) + "\n").encode(), _lost_reduction(bank))


def _yaml_row(row: object) -> str:
    if isinstance(row, list):
        return "[" + ", ".join(_yaml_row(item) for item in row) + "]"
    return _yaml_number(float(str(row)))


def _yaml_number(value: float) -> str:
    text = format_number(value)
    return text.replace("e", ".0e") if "e" in text and "." not in text else text  # 1e-05 is text in YAML 1.1


# --- tables and one-line syntaxes: matrices only ----------------------------------------------------------------------


def _matrices(bank: KernelBank, what: str) -> list[Array]:
    if bank.weight.ndim != 4 or bank.in_channels > 1:
        raise KernelError(
            f"'{bank.name}' has kernels of {_by(bank.shape[1:])}, {what} holds matrices",
            hint=f"{_ARRAYS}, toml or json",
        )
    return [bank.weight[index, 0] for index in range(bank.n_kernels)]


def _without_bias(bank: KernelBank, what: str, rounding: bool) -> tuple[str, ...]:
    """Refuse a bias that a format has no place for, or say that it is left out."""
    if bank.bias is None or not any(bank.bias):
        return _lost_reduction(bank)
    values = ", ".join(format_number(value) for value in bank.bias[:8])
    if not rounding:
        raise KernelError(
            f"{what} has no place for the bias {values}", hint="--round leaves it out; or bias=… undoes it"
        )
    return _lost_reduction(bank, (f"the bias {values} is left out: {what} has no place for it",))


def _separated(mark: str) -> Callable[[KernelBank, bool], Exported]:
    def write(bank: KernelBank, _rounding: bool) -> Exported:
        blocks = []
        for index, matrix in enumerate(_matrices(bank, "a table")):
            name = re.sub(r"[\x00-\x1f\x7f-\x9f]+", " ", bank.kernel_names[index])
            head = [f"# kernel: {name}"] if bank.n_kernels > 1 else []
            head += [f"# bias: {format_number(bank.bias[index])}"] if bank.bias is not None else []
            blocks.append("\n".join([*head, *(mark.join(map(format_number, row)) for row in matrix.tolist())]))
        return Exported(("\n\n".join(blocks) + "\n").encode(), _lost_reduction(bank))

    return write


def _odd(matrix: Array) -> Array:
    """Pad an even axis with one zero in front: programs that anchor at k/2 then agree with (k-1)//2."""
    return np.pad(matrix, [(1 - size % 2, 0) for size in matrix.shape])


def _libvips(bank: KernelBank, _rounding: bool) -> Exported:
    blocks = []
    for index, matrix in enumerate(_matrices(bank, "a libvips matrix")):
        odd = _odd(matrix)
        offset = format_number(bank.bias[index]) if bank.bias is not None else "0"
        head = f"{odd.shape[1]} {odd.shape[0]} 1 {offset}"
        blocks.append("\n".join([head, *(" ".join(map(format_number, row)) for row in odd.tolist())]))
    notes: tuple[str, ...] = ("run: vips conv in.png out.v kernel.mat --precision float",)
    if bank.n_kernels > 1:
        notes += (f"libvips reads the first of the {bank.n_kernels} matrices; export SPEC#NAME for another",)
    return Exported(("\n".join(blocks) + "\n").encode(), _padded(bank, _lost_reduction(bank, notes)))


def _padded(bank: KernelBank, notes: tuple[str, ...]) -> tuple[str, ...]:
    if all(size % 2 for size in bank.kernel_hw):
        return notes
    return (*notes, f"{_by(bank.kernel_hw)} is padded with a zero row or column in front, to keep its anchor")


def _magick(bank: KernelBank, rounding: bool) -> Exported:
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
        ("; ".join(texts) + "\n").encode(), (*notes, *_without_bias(bank, "an ImageMagick kernel", rounding))
    )


def _gmic(bank: KernelBank, rounding: bool) -> Exported:
    if bank.weight.ndim != 4:
        _matrices(bank, "a G'MIC literal")
    texts = [
        "^".join(";".join(",".join(map(format_number, row)) for row in plane) for plane in kernel)
        for kernel in bank.weight.tolist()
    ]
    notes = ("run: correlate (convolve would turn the taps by 180°)", *_without_bias(bank, "a G'MIC literal", rounding))
    return Exported((" ".join(f"({text})" for text in texts) + "\n").encode(), notes)


def _matlab(bank: KernelBank, rounding: bool) -> Exported:
    name = identifier(bank.name)
    texts = []
    for index, matrix in enumerate(_matrices(bank, "a MATLAB matrix"), 1):
        rows = "; ".join(" ".join(map(format_number, row)) for row in matrix.tolist())
        texts.append(f"{name if bank.n_kernels == 1 else f'{name}(:,:,{index})'} = [{rows}];")
    notes = ("imfilter and filter2 use these taps; conv2 would turn them by 180°",)
    return Exported(("\n".join(texts) + "\n").encode(), (*notes, *_without_bias(bank, "a MATLAB matrix", rounding)))


def identifier(name: str) -> str:
    """Return a name that programming languages take for a variable.

    Examples
    --------
    >>> identifier("frei-chen"), identifier("3x3")
    ('frei_chen', 'k3x3')
    """
    word = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")[:60] or "kernel"
    return word if not word[0].isdigit() else f"k{word}"


# --- arrays -----------------------------------------------------------------------------------------------------------


def _arrays(bank: KernelBank, prefix: str) -> dict[str, Array]:
    weight = bank.weight[:, :, 0] if bank.dims == 1 else bank.weight
    arrays = {f"{prefix}weight": np.ascontiguousarray(weight)}
    if bank.bias is not None:
        arrays[f"{prefix}bias"] = np.array(bank.bias, dtype=np.float64)
    return arrays


def _npy(bank: KernelBank, rounding: bool) -> Exported:
    notes = _without_bias(bank, "a .npy file", rounding)
    buffer = io.BytesIO()
    np.save(buffer, bank.weight, allow_pickle=False)
    return Exported(buffer.getvalue(), notes)


def _npz(bank: KernelBank, _rounding: bool) -> Exported:
    buffer = io.BytesIO()
    arrays = {"weight": bank.weight, **({"bias": np.array(bank.bias)} if bank.bias is not None else {})}
    np.savez_compressed(buffer, allow_pickle=False, kernel_names=np.array(bank.kernel_names), **arrays)
    return Exported(buffer.getvalue(), _lost_reduction(bank))


def _safetensors(bank: KernelBank, _rounding: bool) -> Exported:
    from convcli.banks.formats import safetensors_file

    about = json.dumps({"kernel_names": list(bank.kernel_names), "source": bank.source})
    arrays = _arrays(bank, f"{bank.file_name}.")
    return Exported(safetensors_file.write(arrays, {"convcli": about}), _lost_reduction(bank))


def _torch(bank: KernelBank, _rounding: bool) -> Exported:
    from convcli.banks.formats import torch_file

    return Exported(torch_file.write(_arrays(bank, "")), _lost_reduction(bank))


def _onnx(bank: KernelBank, _rounding: bool) -> Exported:
    from convcli.banks.formats import onnx_file

    arrays = _arrays(bank, "")
    return Exported(onnx_file.write(arrays["weight"], arrays.get("bias"), bank.file_name), _lost_reduction(bank))


def _from(module: str, function: str) -> Callable[[KernelBank, bool], Exported]:
    def write(bank: KernelBank, rounding: bool) -> Exported:
        from importlib import import_module

        exported: Exported = getattr(import_module(f"convcli.banks.formats.{module}"), function)(bank, rounding)
        return exported

    return write


def _by(sizes: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in sizes)


_WRITERS: dict[str, Callable[[KernelBank, bool], Exported]] = {
    "toml": _toml,
    "json": _json,
    "yaml": _yaml,
    "csv": _separated(","),
    "tsv": _separated("\t"),
    "text": _separated(" "),
    "npy": _npy,
    "npz": _npz,
    "torch": _torch,
    "safetensors": _safetensors,
    "onnx": _onnx,
    "libvips": _libvips,
    "imagemagick": _magick,
    "gmic": _gmic,
    "ffmpeg": _from("write_ffmpeg", "write"),
    "matlab": _matlab,
    "png": _from("write_picture", "png"),
    "tiff": _from("write_picture", "tiff"),
    "numpy": _from("write_source", "numpy_source"),
    "c": _from("write_source", "c_source"),
    "glsl": _from("write_source", "glsl_source"),
}
#: Every format that can be written.
FORMATS = tuple(_WRITERS)
