"""TOML, JSON and YAML as :mod:`convcli.banks.bankfile` reads them (NumPy by way of the bank)."""

from __future__ import annotations

import json
import re

from convcli.banks.bank import KernelBank
from convcli.banks.formats.exported import ARRAY_FORMATS, Exported, by, lost_reduction
from convcli.banks.numbers import format_number
from convcli.errors import KernelError


def _tables(bank: KernelBank) -> list[dict[str, object]]:
    if bank.weight.ndim != 4:
        raise KernelError(f"'{bank.name}' is 3-D ({by(bank.shape)}), which text does not hold", hint=ARRAY_FORMATS)
    kernels = []
    for index, name in enumerate(bank.kernel_names):
        planes = bank.weight[index].tolist()
        kernel: dict[str, object] = {"name": name, "taps": planes if len(planes) > 1 else planes[0]}
        if bank.bias is not None:
            kernel["bias"] = bank.bias[index]
        kernels.append(kernel)
    return kernels


def _head(bank: KernelBank) -> dict[str, object]:
    head: dict[str, object] = {"name": bank.name, "summary": bank.summary, "source": bank.source}
    head |= {"tags": list(bank.tags), "orientation": "correlate", "combine": bank.combine}
    if bank.dims == 1:
        head["dims"] = 1
    return {key: value for key, value in head.items() if value not in ("", [])}


def toml(bank: KernelBank, _rounding: bool) -> Exported:
    """Write our own bank file."""
    lines = [f"{key} = {_toml_value(value)}" for key, value in _head(bank).items()]
    for kernel in _tables(bank):
        lines += ["", "[[kernel]]", f"name = {_toml_value(kernel['name'])}"]
        if "bias" in kernel:
            lines.append(f"bias = {format_number(float(str(kernel['bias'])))}")
        lines += ["taps = [", *(f"    {_toml_value(row)}," for row in _as_list(kernel["taps"])), "]"]
    return Exported(("\n".join(lines) + "\n").encode(), lost_reduction(bank))


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _toml_value(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=True).replace("\x7f", "\\u007f")
    return format_number(float(str(value))) if not isinstance(value, int) else str(value)


def json_text(bank: KernelBank, _rounding: bool) -> Exported:
    """Write the same tables as JSON, a row a line."""
    text = json.dumps({**_head(bank), "kernels": _tables(bank)}, indent=1, ensure_ascii=False)
    text = re.sub(r"\[\s+([-+\d.eE,\s]+?)\s+\]", lambda row: "[" + re.sub(r"\s+", " ", row.group(1)) + "]", text)
    return Exported((text + "\n").encode(), lost_reduction(bank))


def yaml(bank: KernelBank, _rounding: bool) -> Exported:
    """Write the same tables as YAML, rows in flow style."""
    lines = [f"{key}: {json.dumps(value)}" for key, value in _head(bank).items()]
    lines.append("kernels:")
    for kernel in _tables(bank):
        lines.append(f"  - name: {json.dumps(kernel['name'])}")
        if "bias" in kernel:
            lines.append(f"    bias: {_yaml_number(float(str(kernel['bias'])))}")
        lines += ["    taps:", *(f"      - {_yaml_row(row)}" for row in _as_list(kernel["taps"]))]
    return Exported(("\n".join(lines) + "\n").encode(), lost_reduction(bank))


def _yaml_row(row: object) -> str:
    if isinstance(row, list):
        return "[" + ", ".join(_yaml_row(item) for item in row) + "]"
    return _yaml_number(float(str(row)))


def _yaml_number(value: float) -> str:
    text = format_number(value)
    return text.replace("e", ".0e") if "e" in text and "." not in text else text  # 1e-05 is text in YAML 1.1
