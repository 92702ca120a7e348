"""Bank files in TOML, JSON and YAML: the same tables in three syntaxes, whose parsers give no places (PyYAML)."""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from convcli.banks.bank import KernelBank, by
from convcli.banks.formats import library
from convcli.banks.formats.exported import ARRAY_FORMATS, Exported, lost_reduction, nested, text_file
from convcli.banks.formats.literal import kernels_of_lists
from convcli.banks.numbers import format_number
from convcli.banks.raw import FieldError, RawBank, bank_from_data
from convcli.errors import KernelError


def parse(text: str, name: str, kind: str) -> RawBank:
    """Read a bank file in JSON or YAML: a table with the keys of TOML, or bare nested lists."""
    data = _json(text) if kind == "json" else _yaml(text)
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
        return _row_line(text, error.row, 1) if bare else None
    line = text.count("\n", 0, found[index].start()) + 1
    return _row_line(text[found[index].start() :], error.row, line) if error.row else line


def toml_line(text: str, error: FieldError) -> int:
    """Find the line of a key in the bank's head or in its ``[[kernel]]`` table, or of a row of its taps."""
    lines = text.splitlines()
    tables = [number for number, line in enumerate(lines, 1) if re.match(r"\s*\[\[\s*kernels?\s*\]\]", line)]
    start, end = 1, len(lines)  # also of one kernel without a table of its own
    if error.kernel is None and tables:
        end = tables[0] - 1
    elif error.kernel is not None and error.kernel < len(tables):
        start, end = [*tables, len(lines) + 1][error.kernel : error.kernel + 2]
        end -= 1
    pattern = re.compile(rf"""\s*["']?{re.escape(error.key)}["']?\s*=""")
    line = next((number for number in range(start, end + 1) if pattern.match(lines[number - 1])), start)
    return line if error.row < 1 else _row_line("\n".join(lines[line - 1 : end]), error.row, line)


def _row_line(text: str, row: int, first: int) -> int:
    """Return the line of the row-th innermost bracket of a text that starts in line ``first``."""
    rows = [found.start() for found in re.finditer(r"\[[^\[\]]*\]", text)]
    return first if row > len(rows) else first + text.count("\n", 0, rows[row - 1])


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


class _Table(NamedTuple):
    """One kernel as it is written: rows of numbers, or planes of rows where it reads several."""

    name: str
    rows: list[Any]
    bias: float | None


def _tables(bank: KernelBank) -> list[_Table]:
    if bank.weight.ndim != 4:
        raise KernelError(f"'{bank.name}' is 3-D ({by(bank.shape)}), which text does not hold", hint=ARRAY_FORMATS)
    planes = bank.weight[:, 0] if bank.in_channels == 1 else bank.weight
    return list(map(_Table, bank.kernel_names, planes.tolist(), bank.bias or [None] * bank.n_kernels))


def _head(bank: KernelBank) -> dict[str, object]:
    head: dict[str, object] = {"name": bank.name, "summary": bank.summary, "source": bank.source}
    # The taps are correlation taps, whatever the file they came from declared.
    head |= {"tags": list(bank.tags), "orientation": "correlate", "combine": bank.combine}
    if bank.dims == 1:  # 2 is the default, and text holds no 3-D
        head["dims"] = 1
    return {key: value for key, value in head.items() if value not in ("", [])}


def write_toml(bank: KernelBank, _rounding: bool) -> Exported:
    """Write a bank file, see :mod:`convcli.banks.raw`."""
    lines = [f"{key} = {_quoted(value)}" for key, value in _head(bank).items()]
    for kernel in _tables(bank):
        lines += ["", "[[kernel]]", f"name = {_quoted(kernel.name)}"]
        if kernel.bias is not None:
            lines.append(f"bias = {format_number(kernel.bias)}")
        lines += ["taps = [", *(f"    {nested(row, format_number)}," for row in kernel.rows), "]"]
    return text_file(lines, lost_reduction(bank))


def _quoted(value: object) -> str:
    return json.dumps(value).replace("\x7f", "\\u007f")  # TOML takes JSON's texts, but for this character


def write_json(bank: KernelBank, _rounding: bool) -> Exported:
    """Write the same tables as JSON, a row on each line."""
    kernels = [
        {"name": kernel.name, "taps": kernel.rows, **({} if kernel.bias is None else {"bias": kernel.bias})}
        for kernel in _tables(bank)
    ]
    text = json.dumps({**_head(bank), "kernels": kernels}, indent=1, ensure_ascii=False)
    text = re.sub(r"\[\s+([-+\d.eE,\s]+?)\s+\]", lambda row: "[" + re.sub(r"\s+", " ", row.group(1)) + "]", text)
    return text_file([text], lost_reduction(bank))


def write_yaml(bank: KernelBank, _rounding: bool) -> Exported:
    """Write the same tables as YAML, rows in flow style."""
    lines = [f"{key}: {json.dumps(value)}" for key, value in _head(bank).items()]
    lines.append("kernels:")
    for kernel in _tables(bank):
        lines.append(f"  - name: {json.dumps(kernel.name)}")
        if kernel.bias is not None:
            lines.append(f"    bias: {_yaml_number(kernel.bias)}")
        lines += ["    taps:", *(f"      - {nested(row, _yaml_number)}" for row in kernel.rows)]
    return text_file(lines, lost_reduction(bank))


def _yaml_number(value: float) -> str:
    text = format_number(value)
    return text.replace("e", ".0e") if "e" in text and "." not in text else text  # 1e-05 is text in YAML 1.1
