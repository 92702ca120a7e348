"""Banks as source code: NumPy, C and GLSL (NumPy). Written only."""

from __future__ import annotations

import json

import numpy as np

from convcli.banks.bank import KernelBank, by
from convcli.banks.formats.exported import Exported, identifier, matrices, nested, text_file
from convcli.banks.numbers import format_number
from convcli.errors import KernelError


def _about(bank: KernelBank) -> str:
    """Return one printable line: name, summary, shape and citation."""
    text = f"{bank.name}: {bank.summary or 'kernels'}; correlation taps, shape {by(bank.shape)}"
    text += f"; {bank.source}" if bank.source else ""
    # It goes into a comment, which nothing in it may end.
    return "".join(letter if letter.isprintable() and letter.isascii() else "?" for letter in text).replace("*/", "* /")


def write_numpy(bank: KernelBank, _rounding: bool) -> Exported:
    """Write Python that makes the weight, its names and its bias."""
    name = identifier(bank.name)
    rows = json.dumps(bank.weight.tolist()).replace("]], [[", "]],\n    [[").replace("], [", "],\n      [")
    lines = [f"# {_about(bank)}", "import numpy as np", "", f"{name} = np.array({rows})"]
    lines.append(f"{name}_names = {[str(kernel) for kernel in bank.kernel_names]!r}")
    if bank.bias is not None:
        lines.append(f"{name}_bias = np.array({list(bank.bias)!r})")
    return text_file(lines)


def _double(value: float) -> str:
    text = format_number(value)
    return text if any(mark in text for mark in ".e") else f"{text}.0"


def write_c(bank: KernelBank, _rounding: bool) -> Exported:
    """Write C: one array of doubles, and the bias."""
    name = identifier(bank.name)
    sizes = "".join(f"[{size}]" for size in bank.shape)
    body = nested(bank.weight.tolist(), _double, "{}").replace("}, {", "},\n  {")
    lines = [f"/* {_about(bank)} */", f"static const double {name}{sizes} = {body};"]
    if bank.bias is not None:
        lines.append(f"static const double {name}_bias[{bank.n_kernels}] = {nested(list(bank.bias), _double, '{}')};")
    return text_file(lines)


def write_glsl(bank: KernelBank, rounding: bool) -> Exported:
    """Write GLSL: a flat array of floats for each kernel, row by row, row 0 on top."""
    matrices(bank, "GLSL text")  # refuses kernels of several planes
    height, width = bank.kernel_hw
    # GLSL has no double before version 4.0.
    single = bank.weight.astype(np.float32)
    if not np.isfinite(single).all():
        raise KernelError(f"'{bank.name}' has taps beyond a 32-bit float", hint="scale=1e-6 in the SPEC, or --format c")
    error = float(np.abs(single.astype(np.float64) - bank.weight).max())
    if error and not rounding:
        raise KernelError(
            f"'{bank.name}' has taps that a 32-bit float rounds", hint=f"--round: the largest error is {error:.3g}"
        )
    lines = [f"// {_about(bank)}", f"// {height} rows of {width}; texture coordinates may run upward"]
    for kernel, taps in zip(bank.kernel_names, single[:, 0], strict=True):
        label = identifier(bank.name if bank.n_kernels == 1 else f"{bank.name}_{kernel}")
        numbers = ", ".join(_float32(tap) for tap in taps.ravel())
        lines.append(f"const float {label}[{taps.size}] = float[{taps.size}]({numbers});")
    if bank.bias is not None:
        numbers = ", ".join(_float32(value) for value in np.array(bank.bias, dtype=np.float32))
        lines.append(
            f"const float {identifier(bank.name)}_bias[{bank.n_kernels}] = float[{bank.n_kernels}]({numbers});"
        )
    notes = (f"rounded to 32-bit floats: the largest error of a tap is {error:.3g}",) if error else ()
    return text_file(lines, notes)


def _float32(value: np.float32) -> str:
    # GLSL ES makes no float of an integer, so 1 is written as 1.0.
    text = format(value, "").lower() if value != int(value) or abs(value) > 2**24 else f"{int(value)}.0"
    return text if "." in text or "e" in text else f"{text}.0"
