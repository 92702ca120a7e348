"""Bank files in TOML, JSON and YAML: the same tables in three syntaxes (PyYAML for YAML)."""

from __future__ import annotations

import json
import re
from typing import Any

from convcli.banks.bank import KernelBank, by
from convcli.banks.formats import library
from convcli.banks.formats.exported import ARRAY_FORMATS, Exported, lost_reduction, text_file
from convcli.banks.formats.literal import kernels_of_lists
from convcli.banks.numbers import format_number
from convcli.banks.places import row_line
from convcli.banks.raw import FieldError, RawBank, bank_from_data
from convcli.errors import KernelError


def parse_json(text: str, name: str) -> RawBank:
    """Read a bank file in JSON, or nested lists."""
    return _from_data(_json(text), name, text)


def parse_yaml(text: str, name: str) -> RawBank:
    """Read a bank file in YAML, or nested lists."""
    return _from_data(_yaml(text), name, text)


def _from_data(data: Any, name: str, text: str) -> RawBank:
    """Make a bank of a table with the keys of TOML, or of bare nested lists."""
    try:
        if isinstance(data, list):
            return RawBank(name=name, kernels=kernels_of_lists(data, name))
        return bank_from_data(data, name=name)
    except FieldError as error:
        line = _line_of(text, error)
        where = f"line {line}, " if line else ""
        raise KernelError(f"{where}{error.field}: {error.reason}", line=line, field=error.field) from None


def _line_of(text: str, error: FieldError) -> int | None:
    """Return the line of the n-th occurrence of a key, or of a row of its taps; a guess: the parsers give none."""
    pattern = re.compile(rf"""["']?\b{re.escape(error.key)}\b["']?\s*:""")
    found = list(pattern.finditer(text))
    index = error.kernel or 0
    if index >= len(found):
        bare = error.row and index == 0 and text.lstrip().startswith("[")
        return row_line(text, error.row, 1) if bare else None
    line = text.count("\n", 0, found[index].start()) + 1
    return row_line(text[found[index].start() :], error.row, line) if error.row else line


def _json(text: str) -> Any:
    def refuse(word: str) -> float:
        raise ValueError(f"{word} is not finite: taps must be finite")

    try:
        # JSON has no NaN and no Infinity, but Python's reader takes them.
        return json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise KernelError(
            f"line {error.lineno}, column {error.colno}: not JSON: {error.msg}", line=error.lineno
        ) from None
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise KernelError(f"not a JSON kernel: {reason}") from None


def _yaml(text: str) -> Any:
    yaml = library("yaml", "reading YAML needs the pyyaml package")
    # Written in C, and not in every build of PyYAML.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        # Aliases of aliases, nine deep, make 300 bytes into gigabytes; kernels have no use for them.
        for event in yaml.parse(text, Loader=loader):
            if getattr(event, "anchor", None):
                line = event.start_mark.line + 1 if event.start_mark else 1
                raise KernelError(f"line {line}: YAML anchors and aliases are not read", line=line)
        return yaml.load(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = error.problem or "cannot be read"
        raise KernelError(f"line {line}: not YAML: {problem}", line=line) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise KernelError(f"not YAML: {' '.join(str(error).split())[:120] or 'nested too deeply'}") from None


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
    # The taps are correlation taps, whatever the file they came from declared.
    head |= {"tags": list(bank.tags), "orientation": "correlate", "combine": bank.combine}
    if bank.dims == 1:  # 2 is the default, and text holds no 3-D
        head["dims"] = 1
    return {key: value for key, value in head.items() if value not in ("", [])}


def write_toml(bank: KernelBank, _rounding: bool) -> Exported:
    """Write a bank file, see :mod:`convcli.banks.raw`."""
    lines = [f"{key} = {_toml_value(value)}" for key, value in _head(bank).items()]
    for kernel in _tables(bank):
        lines += ["", "[[kernel]]", f"name = {_toml_value(kernel['name'])}"]
        if "bias" in kernel:
            lines.append(f"bias = {format_number(float(str(kernel['bias'])))}")
        lines += ["taps = [", *(f"    {_toml_value(row)}," for row in _as_list(kernel["taps"])), "]"]
    return text_file(lines, lost_reduction(bank))


def _as_list(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _toml_value(value: object) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_toml_value(item) for item in value) + "]"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=True).replace("\x7f", "\\u007f")
    return format_number(float(str(value))) if not isinstance(value, int) else str(value)


def write_json(bank: KernelBank, _rounding: bool) -> Exported:
    """Write the same tables as JSON, a row on each line."""
    text = json.dumps({**_head(bank), "kernels": _tables(bank)}, indent=1, ensure_ascii=False)
    text = re.sub(r"\[\s+([-+\d.eE,\s]+?)\s+\]", lambda row: "[" + re.sub(r"\s+", " ", row.group(1)) + "]", text)
    return text_file([text], lost_reduction(bank))


def write_yaml(bank: KernelBank, _rounding: bool) -> Exported:
    """Write the same tables as YAML, rows in flow style."""
    lines = [f"{key}: {json.dumps(value)}" for key, value in _head(bank).items()]
    lines.append("kernels:")
    for kernel in _tables(bank):
        lines.append(f"  - name: {json.dumps(kernel['name'])}")
        if "bias" in kernel:
            lines.append(f"    bias: {_yaml_number(float(str(kernel['bias'])))}")
        lines += ["    taps:", *(f"      - {_yaml_row(row)}" for row in _as_list(kernel["taps"]))]
    return text_file(lines, lost_reduction(bank))


def _yaml_row(row: object) -> str:
    if isinstance(row, list):
        return "[" + ", ".join(_yaml_row(item) for item in row) + "]"
    return _yaml_number(float(str(row)))


def _yaml_number(value: float) -> str:
    text = format_number(value)
    return text.replace("e", ".0e") if "e" in text and "." not in text else text  # 1e-05 is text in YAML 1.1
