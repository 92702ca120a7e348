"""Kernels as text: TOML, JSON, YAML, rows, libvips and one-line syntaxes, told apart by their content (NumPy)."""

from __future__ import annotations

import re
from pathlib import Path

from convcli.banks.bank import KernelBank
from convcli.banks.formats import encoding_of, libvips, rows
from convcli.banks.formats.literal import parse_literal
from convcli.banks.formats.programs import PROGRAMS
from convcli.banks.raw import RawBank, is_bank_key, parse_bank_toml
from convcli.banks.spec import FFMPEG
from convcli.errors import UNOPENED, KernelError

#: Text is read whole; a bank of 48 kernels of 49x49 in text is under 3 MiB.
_MAX_BYTES = 64 * 1024 * 1024
#: Lines of TOML; ``k = [1 2; 3 4]`` is MATLAB's.
_TOML = re.compile(
    r"^[ \t]*(\[\[\s*kernels?\s*\]\]|[A-Za-z_\"][\w\"-]*\s*=\s*(\"|'|\[\s*(\[|$|\"|'|[-+\d.][^;\n]*,)|[-+\d.]+\s*$"
    r"|true|false|$))",
    re.M,
)
_MATLAB = re.compile(
    r"^[ \t]*[A-Za-z]\w*\s*(\(\s*:\s*,\s*:\s*,\s*\d+\s*\))?\s*=\s*\[([^\[\]]*\]\s*;|[^\[\]]*[;\s][^\[\]]*\])", re.M
)
_MAGICK = re.compile(r"\s*\d+(x\d+)?([-+]\d+[-+]\d+)?[@<>]?\s*:")
#: A list of lists, or a key and its colon.
_YAML = re.compile(r"^[ \t]*(-\s*\[|-\s*-|-\s+\w+\s*:|[A-Za-z_]\w*\s*:(\s|$))", re.M)
#: Code and printouts: a call of arrays, braces of C, a factor before a bracket, a transpose, nested brackets.
_CODE = re.compile(
    r"\b(array|tensor|Tensor|asarray|Mat|matrix|outer|ones|zeros|eye|d?(mat|vec)[234](x[234])?|(float|double|int|half)\s*"
    r"\[\d*\])\s*\(|[=(]\s*\{|^[ \t]*\{\s*[-+{.\d]|^[ \t]*(static|const|float|double|int|import|from|let|var)\b"
    r"|^[ \t]*[-+\d./()e]+\s*\.?\*\s*\[|=\s*[-+\d./()e]+\s*\.?\*\s*\[|\]\s*\.?'|\]\s*[)\]}]\s*\.?[*/]"
    r"|^[ \t]*(>>>?|In \[\d+\]:) |^[ \t]*[A-Za-z]\w*\s*=\s*-?[A-Za-z]\w*\.?['*/+;-]"
    r"|^[ \t]*[A-Za-z]\w* =[ \t]*\n\s*([-+.\d]|Columns )|^[ \t]*[A-Za-z]\w*\s*=\s*([A-Za-z][\w.]*\(|\(\s*[(\[])",
    re.M,
)
#: ``[[`` or ``[(``, alone or assigned: lists of Python.
_NESTED = re.compile(r"(?:[A-Za-z_]\w*\s*=\s*)?\[\s*[\[(]")
_KEY = re.compile(r"^[ \t]*[\"']?([A-Za-z_][\w-]*)[\"']?\s*=(?!=)", re.M)
#: A file of each syntax, for hints; one-line syntaxes have theirs in :mod:`convcli.banks.formats.literal`.
EXAMPLES = {
    "toml": "taps = [[0, 1, 0], [1, -4, 1], [0, 1, 0]]",
    "json": "[[0, 1, 0], [1, -4, 1], [0, 1, 0]]",
    "yaml": "taps: [[0, 1, 0], [1, -4, 1], [0, 1, 0]]",
    "vips": "a line 3 3 1 0 (width, height, scale, offset) and 3 lines such as 0 1 0",
    "table": "lines such as 0 1 0, or -1, 1/9, sqrt(2); all as long",
    "code": "k = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]]) / 4",
}
#: Syntax that a suffix promises; what the file holds counts, and a note tells it.
_EXPECTED = {".toml": "toml", ".json": "json", ".yaml": "yaml", ".yml": "yaml", ".csv": "table", ".tsv": "table"}


def read(path: Path, layout: str | None) -> KernelBank:
    """Read a text file as a bank."""
    from convcli.banks.load import bank_of_raw

    if layout is not None:
        raise KernelError(f"{path}: layout={layout} is for arrays, not for text", hint=f"leave layout={layout} out")
    text = read_text(path)
    kind = text_kind(text, path)
    bank = bank_of_raw(parse_text(text, name=path.stem, path=path, kind=kind))
    if _EXPECTED.get(path.suffix.lower(), kind) != kind:
        bank = bank.noted(f"{path.name} is read as {kind}, which is what it holds")
    return bank


def read_text(path: Path) -> str:
    """Return the characters of a text file without a byte-order mark."""
    try:
        size = path.stat().st_size
        if size > _MAX_BYTES:
            message = f"{path} has {size:,} bytes; kernels as text have at most {_MAX_BYTES:,}"
            raise KernelError(message, hint="arrays have no such limit: np.save('k.npy', k)")
        data = path.read_bytes()
    except OSError as error:
        raise KernelError(f"cannot read {path}: {error.strerror or error}", hint=UNOPENED, path=str(path)) from None
    try:
        text = data.decode(encoding_of(data[:4096]))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"{path}: line {line}: not text (byte {error.start})"
        raise KernelError(message, hint="save it as UTF-8", line=line) from None
    # \r\r\n: text mode of Windows, applied twice. \r: line ends of old Macs.
    return re.sub(r"\r+\n|\r", "\n", text.removeprefix("\ufeff"))


def text_kind(text: str, path: Path) -> str:
    r"""Return the syntax of a text.

    Examples
    --------
    >>> text_kind("1 0 -1\n2 0 -2", Path("k.txt")), text_kind("k = [1 2; 3 4];", Path("k.m"))
    ('table', 'literal')
    >>> text_kind("k = np.ones((3, 3)) / 9", Path("k.py")), text_kind("CONV NORM\n1 2 1\n", Path("k"))
    ('code', 'SExtractor')
    """
    program = next((name for name, program in PROGRAMS.items() if program.mark.match(text)), None)
    if program is not None:
        return program
    # From the surest mark to the vaguest: a table is what nothing else claims.
    head = _without_comments(text).lstrip()
    if re.match(r"\{\s*[\"}]", head) or (path.suffix.lower() == ".json" and head.startswith("{")):
        return "json"
    if path.suffix.lower() == ".toml" and "=" in head and not FFMPEG.search(head):
        return "toml"
    if FFMPEG.search(head) or (_MAGICK.match(head) and "=" not in head):
        return "literal"
    if _is_toml(head):
        return "toml"
    if _CODE.search(head) or "..." in head:
        return "code"
    if re.match(r"\[\s*(\[|[-+\d.\"][^;\]\n]*,[^;\]]*\]\s*$)", head):
        return "json" if _is_json(head) else "code"
    if head.startswith(("(", "[")) or (_MATLAB.match(head) and not _NESTED.match(head)):
        return "literal"
    if _NESTED.match(head):
        return "code"
    if _TOML.search(head):
        return "toml"
    if _YAML.search(head):
        return "yaml"
    if any(";" in line.rstrip("; ") and re.search(r"\d[ \t]+[-+.\d]", line) for line in head.split("\n")):
        return "literal"
    return "vips" if _is_vips(text, path) else "table"


def _is_toml(head: str) -> bool:
    """Whether a text has a bank's tables or keys: ``k = [[1, 2]]`` alone is code."""
    if re.search(r"(?m)^[ \t]*\[\[\s*kernels?\s*\]\]", head):
        return True
    key = _KEY.match(head)
    named = key is not None and is_bank_key(key[1]) and key[1] not in ("kernel", "kernels")
    return named and bool(_TOML.match(head)) and not _CODE.match(head)


def _is_json(head: str) -> bool:
    """Whether brackets hold JSON, or are near enough that JSON's error tells the place."""
    import json

    try:
        json.loads(head)
    except (ValueError, RecursionError):
        # Brackets by the hundred overflow the reader: JSON then says that they nest too deeply.
        return bool(re.search(r"[\"{:]|NaN|Infinity", head)) or head.count("[") > 200
    return True


def _without_comments(text: str) -> str:
    # The syntax shows early; a text of many MiB need not be searched to its end.
    return re.sub(r"(?m)^[ \t]*[#%].*$\n?", "", text[:200_000])


def _is_vips(text: str, path: Path) -> bool:
    """Whether a text is a libvips matrix: a header of width and height, and just those rows."""
    if libvips.blocks_of(text) is None:
        return path.suffix.lower() == ".mat"
    if path.suffix.lower() == ".mat":
        return True
    widths = {len(re.split(r"[,\s]+", line.strip())) for line in text.splitlines() if line.strip()}
    return len(widths) > 1  # lines that are all as long are a plain table


def parse_text(text: str, *, name: str, path: Path, kind: str) -> RawBank:
    """Read kernels from text of the syntax that :func:`text_kind` tells."""
    program = PROGRAMS.get(kind)
    if program is None and not _without_comments(text).strip():
        raise KernelError(f"{path} has no numbers", hint=_example(kind), path=str(path))
    try:
        if program is not None:
            return program.parse(text, name)
        if kind == "toml":
            return parse_bank_toml(text, name=name)
        if kind in ("json", "yaml"):
            from convcli.banks.formats import structured

            return structured.parse(text, name, kind)
        if kind == "vips":
            return RawBank(name=name, kernels=libvips.parse(text, name), source="libvips matrix")
        if kind == "table":
            return rows.parse(text, name)
        if kind == "code":
            from convcli.banks.formats import code

            literal = code.parse(text, name)
        else:
            literal = parse_literal(re.sub(r"(?m)^[ \t]*#.*$\n?", "", text), name=name)
        return RawBank(name=name, kernels=literal.kernels, notes=literal.notes)
    except KernelError as error:
        raise error.within(str(path)).hinted(_example(kind)) from None


def _example(kind: str) -> str:
    return f"for example {PROGRAMS[kind].example if kind in PROGRAMS else EXAMPLES.get(kind, '')}".strip()
