"""Kernels as text: TOML, JSON, YAML, rows, libvips and one-line syntaxes, told apart by their content (NumPy)."""

from __future__ import annotations

import re
from pathlib import Path

from convcli.banks.bank import KernelBank
from convcli.banks.formats import libvips, rows
from convcli.banks.formats.literal import parse_literal
from convcli.banks.raw import RawBank, parse_bank_toml
from convcli.banks.spec import FFMPEG
from convcli.errors import KernelError

#: Text is read whole; a bank of 48 kernels of 49x49 in text is under 3 MiB.
_MAX_BYTES = 64 * 1024 * 1024
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
    """Return the characters of a text file without a byte-order mark."""
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise KernelError(f"{path} has {size:,} bytes; kernels as text have at most {_MAX_BYTES:,}")
        data = path.read_bytes()
    except OSError as error:
        raise KernelError(f"cannot read {path}: {error.strerror or error}", path=str(path)) from None
    try:
        return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise KernelError(f"{path}: line {line}: not text (byte {error.start})", line=line) from None


def text_kind(text: str, path: Path) -> str:
    r"""Return the syntax of a text.

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
    if libvips.blocks_of(text) is None:
        return path.suffix.lower() == ".mat"
    if path.suffix.lower() == ".mat":
        return True
    widths = {len(re.split(r"[,\s]+", line.strip())) for line in text.splitlines() if line.strip()}
    return len(widths) > 1  # lines that are all as long are a plain table


def parse_text(text: str, *, name: str, path: Path) -> RawBank:
    """Read kernels from text of any syntax."""
    if not _without_comments(text).strip():
        raise KernelError(f"{path} has no numbers", path=str(path))
    kind = text_kind(text, path)
    try:
        if kind == "toml":
            return parse_bank_toml(text, name=name)
        if kind in ("json", "yaml"):
            from convcli.banks.formats import structured

            return structured.parse_json(text, name) if kind == "json" else structured.parse_yaml(text, name)
        if kind == "vips":
            return RawBank(name=name, kernels=libvips.parse(text, name), source="libvips matrix")
        if kind == "literal":
            literal = parse_literal(re.sub(r"(?m)^\s*#.*$\n?", "", text), name=name)
            return RawBank(name=name, kernels=literal.kernels, notes=literal.notes)
        return RawBank(name=name, kernels=rows.parse(text, name, csv=path.suffix.lower() == ".csv"))
    except KernelError as error:
        raise error.within(str(path)) from None
