"""Lines of fields in bank files, for errors: the parsers of TOML, JSON and YAML give no positions (stdlib)."""

from __future__ import annotations

import re


def line_of(text: str, kernel: int | None, key: str, row: int = 0) -> int:
    """Find the line of a key in the bank's head or in the given ``[[kernel]]`` table, or of a row of its taps."""
    lines = text.splitlines()
    tables = [number for number, line in enumerate(lines, 1) if re.match(r"\s*\[\[\s*kernels?\s*\]\]", line)]
    if kernel is None:
        start, end = 1, (tables[0] - 1 if tables else len(lines))
    elif kernel < len(tables):
        start, end = tables[kernel], (tables[kernel + 1] - 1 if kernel + 1 < len(tables) else len(lines))
    else:
        start, end = 1, len(lines)  # one kernel without a table of its own
    pattern = re.compile(rf"""\s*["']?{re.escape(key)}["']?\s*=""")
    line = next((number for number in range(start, end + 1) if pattern.match(lines[number - 1])), start)
    return line if row < 1 else row_line("\n".join(lines[line - 1 : end]), row, line)


def row_line(text: str, row: int, first: int) -> int:
    """Return the line of the row-th innermost bracket of a text that starts in line ``first``."""
    rows = [found.start() for found in re.finditer(r"\[[^\[\]]*\]", text)]
    return first if row > len(rows) else first + text.count("\n", 0, rows[row - 1])
