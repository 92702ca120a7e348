"""Banks to every format: what :mod:`convcli.banks.formats` reads, and source text of NumPy, C and GLSL.

Taps are written as correlation taps, in the fewest digits that read back to the same float64. Whatever a format cannot
hold is a :class:`~convcli.errors.KernelError`, unless rounding is allowed; then its size is said.
"""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module

from convcli.banks.bank import KernelBank
from convcli.banks.formats.exported import Exported
from convcli.errors import KernelError, near_names

#: Suffix → format, for ``-o FILE`` without ``--format``.
SUFFIXES = {
    ".toml": "toml", ".json": "json", ".yaml": "yaml", ".yml": "yaml", ".csv": "csv", ".tsv": "tsv", ".txt": "text",
    ".npy": "npy", ".npz": "npz", ".pt": "torch", ".pth": "torch", ".safetensors": "safetensors", ".onnx": "onnx",
    ".mat": "libvips", ".m": "matlab", ".py": "numpy", ".c": "c", ".h": "c", ".glsl": "glsl", ".frag": "glsl",
    ".png": "png", ".tif": "tiff", ".tiff": "tiff",
}  # fmt: skip

_WRITERS = {
    "toml": "write_tables:toml",
    "json": "write_tables:json_text",
    "yaml": "write_tables:yaml",
    "csv": "write_lines:csv",
    "tsv": "write_lines:tsv",
    "text": "write_lines:spaces",
    "npy": "write_arrays:npy",
    "npz": "write_arrays:npz",
    "torch": "write_arrays:torch",
    "safetensors": "write_arrays:safetensors",
    "onnx": "write_arrays:onnx",
    "libvips": "write_lines:libvips",
    "imagemagick": "write_lines:imagemagick",
    "gmic": "write_lines:gmic",
    "ffmpeg": "write_ffmpeg:write",
    "matlab": "write_lines:matlab",
    "png": "write_picture:png",
    "tiff": "write_picture:tiff",
    "numpy": "write_source:numpy_source",
    "c": "write_source:c_source",
    "glsl": "write_source:glsl_source",
}
#: Every format that can be written.
FORMATS = tuple(_WRITERS)


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
        bank = replace(bank, weight=bank.weight[..., ::-1, ::-1])
        if any(size % 2 == 0 for size in bank.kernel_hw):
            bank = bank.noted("an even kernel turned by 180° lies one sample off: programs anchor it differently")
    module, function = _WRITERS[format].split(":")
    exported: Exported = getattr(import_module(f"convcli.banks.formats.{module}"), function)(bank, rounding)
    return exported
