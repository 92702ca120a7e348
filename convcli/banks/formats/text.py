"""Kernels as text: TOML, JSON, YAML, tables, libvips and one-line syntaxes, told apart by what they look like."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from convcli.banks.bank import KernelBank
from convcli.banks.bankfile import FieldError, RawBank, RawKernel, bank_from_data, parse_bank_toml
from convcli.banks.formats.literals import parse_literal
from convcli.banks.formats.tables import parse_table, parse_vips, vips_blocks
from convcli.banks.limits import MAX_TEXT_BYTES
from convcli.banks.spec import FFMPEG
from convcli.errors import KernelError

_TOML = re.compile(
    r"^\s*(\[\[\s*kernels?\s*\]\]|[A-Za-z_\"][\w\"-]*\s*=\s*(\"|'|\[\s*(\[|$|\"|'|[-+\d.][^;\n]*,)|[-+\d.]+\s*$|true|false|$))",
    re.M,
)
_MATLAB = re.compile(
    r"^\s*[A-Za-z]\w*\s*(\(\s*:\s*,\s*:\s*,\s*\d+\s*\))?\s*=\s*\[([^\[\]]*\]\s*;|[^\[\]]*[;\s][^\[\]]*\])", re.M
)
_MAGICK = re.compile(r"\s*\d+(x\d+)?([-+]\d+[-+]\d+)?[@<>]?\s*:")
_YAML = re.compile(r"^\s*(-\s*\[|-\s*-|-\s+\w+\s*:|[A-Za-z_]\w*\s*:(\s|$))", re.M)


_EXPECTED = {".toml": "toml", ".json": "json", ".yaml": "yaml", ".yml": "yaml", ".csv": "table", ".tsv": "table"}


def read(path: Path, *, entry: str, layout: str | None) -> KernelBank:
    """Read a text file as a bank."""
    from convcli.banks.load import bank_of_raw, selected

    if layout is not None:
        raise KernelError(f"{path}: layout={layout} is for arrays, not for text")
    text = read_text(path)
    bank = bank_of_raw(parse_text(text, name=path.stem, path=path))
    kind = text_kind(text, path)
    if _EXPECTED.get(path.suffix.lower(), kind) != kind:
        bank = bank.noted(f"{path.name} is read as {kind}, which is what it holds")
    return selected(bank, entry)


def read_text(path: Path) -> str:
    """Return a text file's characters; a byte-order mark is dropped.

    Raises
    ------
    KernelError
        Too large, not readable, or not text.
    """
    try:
        size = path.stat().st_size
        if size > MAX_TEXT_BYTES:
            raise KernelError(f"{path} has {size:,} bytes; kernels as text have at most {MAX_TEXT_BYTES:,}")
        data = path.read_bytes()
    except OSError as error:
        raise KernelError(f"cannot read {path}: {error.strerror or error}", path=str(path)) from None
    for encoding in ("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig",):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise KernelError(f"{path}: line {line}: not text (byte {error.start})", line=line) from None
    raise AssertionError("unreachable")


def text_kind(text: str, path: Path) -> str:
    r"""Tell which syntax a text is in.

    Examples
    --------
    >>> text_kind("1 0 -1\n2 0 -2", Path("k.txt")), text_kind("k = [1 2; 3 4];", Path("k.m"))
    ('table', 'literal')
    """
    head = _without_comments(text).lstrip()
    if head.startswith("{"):
        return "json"
    if re.match(r"\[\s*(\[|[-+\d.\"][^;\]\n]*,[^;\]]*\]\s*$)", head) and "[[k" not in head[:4]:
        return "json"
    if _MAGICK.match(head) or head.startswith(("(", "[")) or FFMPEG.search(head):
        return "toml" if head.startswith("[[") else "literal"
    if _MATLAB.match(head) and not re.search(r"\[\s*\[", head):
        return "literal"
    if _TOML.search(head):
        return "toml"
    if _YAML.search(head):
        return "yaml"
    return "vips" if _is_vips(text, path) else "table"


def _without_comments(text: str) -> str:
    return re.sub(r"(?m)^\s*[#%].*$\n?", "", text[:200_000])


def _is_vips(text: str, path: Path) -> bool:
    """Whether a text is a libvips matrix: a header of width and height, and just those rows."""
    if vips_blocks(text) is None:
        return path.suffix.lower() == ".mat"
    if path.suffix.lower() == ".mat":
        return True
    widths = {len(re.split(r"[,\s]+", line.strip())) for line in text.splitlines() if line.strip()}
    return len(widths) > 1  # where all lines are alike it reads as a plain table too, and that is what it is then


def parse_text(text: str, *, name: str, path: Path) -> RawBank:
    """Read kernels from text of any syntax.

    Raises
    ------
    KernelError
        With the line, and the field where there is one.
    """
    if not _without_comments(text).strip():
        raise KernelError(f"{path} has no numbers", path=str(path))
    kind = text_kind(text, path)
    try:
        if kind == "toml":
            return parse_bank_toml(text, name=name)
        if kind == "json":
            return _from_data(_json(text), name, text)
        if kind == "yaml":
            return _from_data(_yaml(text), name, text)
        if kind == "vips":
            return RawBank(name=name, kernels=parse_vips(text, name), source="libvips matrix")
        if kind == "literal":
            literal = parse_literal(re.sub(r"(?m)^\s*#.*$\n?", "", text), name=name)
            return RawBank(name=name, kernels=literal.kernels, notes=literal.notes)
        kernels, notes = parse_table(text, name, csv=path.suffix.lower() == ".csv")
        return RawBank(name=name, kernels=kernels, notes=notes)
    except KernelError as error:
        raise error.within(str(path)) from None


def _from_data(data: Any, name: str, text: str) -> RawBank:
    """Make a bank of a table as in TOML, or of bare nested lists."""
    try:
        if isinstance(data, list):
            return RawBank(name=name, kernels=_nested(data, name))
        return bank_from_data(data, name=name)
    except FieldError as error:
        line = _line_of(text, error.kernel, error.key)
        where = f"line {line}, " if line else ""
        raise KernelError(f"{where}{error.field}: {error.reason}", line=line, field=error.field) from None


def _nested(data: list[Any], name: str) -> list[RawKernel]:
    """2-D is one kernel, 3-D several, 4-D several of several planes."""
    depth, inner = 0, data
    while isinstance(inner, list) and inner:
        depth, inner = depth + 1, inner[0]
    if depth > 4:
        raise FieldError(None, "kernel", f"{depth} nested lists; a bank has at most 4 (kernel, plane, row, column)")
    entries = data if depth >= 3 else [data]
    tables = [{"taps": entry, "name": name if len(entries) == 1 else str(index)} for index, entry in enumerate(entries)]
    return bank_from_data({"kernel": tables}, name=name).kernels


def _line_of(text: str, kernel: int | None, key: str) -> int | None:
    """Find the line of the n-th occurrence of a key, as good as text without positions allows."""
    pattern = re.compile(rf"""["']?\b{re.escape(key)}\b["']?\s*:""")
    lines = [number for number, line in enumerate(text.splitlines(), 1) for _ in pattern.finditer(line)]
    index = kernel or 0
    return lines[index] if index < len(lines) else None


def _json(text: str) -> Any:
    def refuse(word: str) -> float:
        raise ValueError(f"{word} is not finite: taps must be finite")

    try:
        return json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise KernelError(
            f"line {error.lineno}, column {error.colno}: not JSON: {error.msg}", line=error.lineno
        ) from None
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise KernelError(f"not a JSON kernel: {reason}") from None


def _yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError:
        raise KernelError("reading YAML needs the pyyaml package", hint="pip install 'convcli[formats]'") from None
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        # An alias can stand for a list of aliases, nine deep, in 300 bytes: kernels have no use for them.
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
