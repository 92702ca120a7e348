"""Text for people: messages on the standard streams, how an expected failure is told, and tables.

Rich draws prettier tables but costs 30 ms at every start; these come out at once and are easy to read back by a script.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence

from convcli.errors import ConvcliError
from convcli.process.ending import EXIT_INTERRUPTED

#: Colours of the words that begin a message: SGR codes, bold red, yellow and cyan.
_COLOURS = {"error": "1;31", "warning": "1;33", "hint": "36"}
#: A column of text is not made narrower than this, in letters.
_NARROWEST = 12


def columns(*, err: bool = False) -> int | None:
    """Return the width of the terminal that a person reads, or None where programs read: those get lines whole."""
    stream = sys.stderr if err else sys.stdout
    if stream is None or not stream.isatty():
        return None
    import shutil

    # A terminal of no known width says 0.
    return max(shutil.get_terminal_size().columns, 20)


def takes_colours(*, err: bool = False) -> bool:
    """Return whether a stream is a terminal that may be coloured: NO_COLOR counts if it is set (no-color.org)."""
    stream = sys.stderr if err else sys.stdout
    is_plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return stream is not None and stream.isatty() and not is_plain


def say(text: str, *, err: bool = False) -> None:
    """Write a line to standard output, or to standard error, and flush it."""
    stream = sys.stderr if err else sys.stdout
    if stream is not None:  # pythonw, or closed by the shell
        stream.write(f"{text}\n")
        # Both streams may go to one terminal or log: without flush their lines change order.
        stream.flush()


def tell(text: str, *, err: bool = False) -> None:
    """Write text for a person: on a terminal, lines too long for it go on below their first word's column."""
    room = columns(err=err)
    say(text if room is None else "\n".join(folded(line, room) for line in text.split("\n")), err=err)


def folded(line: str, room: int) -> str:
    """Return a line in lines of at most ``room`` letters, broken at spaces; words are never broken.

    Examples
    --------
    >>> print(folded("note     too long to fit", 18))
    note     too long
             to fit
    """
    if len(line) <= room:
        return line
    import re
    import textwrap

    found = re.match(r"(convcli: )?\w+: |[\w ]{8} (?=\S)", line)
    # The words go on under the first one behind a label, if that leaves them room.
    indent = found.end() if found and found.end() < room // 2 else 2
    options = {"subsequent_indent": " " * indent, "break_long_words": False, "break_on_hyphens": False}
    return textwrap.fill(line, room, **options, replace_whitespace=False, drop_whitespace=True)  # type: ignore[arg-type]


def warn(what: str, *texts: str) -> None:
    """Write ``convcli: what: text`` to standard error for each text, with control characters made visible."""
    from convcli.pipeline.report import printable

    for text in texts:
        _label(f"convcli: {what}: {printable(text)}", what)


def note_reading(n_frames: int, notes: Sequence[str]) -> None:
    """Say on standard error that only the first frame of a file is read, and what the reader could not keep."""
    warn("note", *([f"only the first of {n_frames:,} frames is read"] if n_frames > 1 else []), *notes)


def _label(line: str, what: str) -> None:
    """Write a message, the word that says what it is in colour where the terminal has them."""
    room = columns(err=True)
    line = line if room is None else folded(line, room)
    code = _COLOURS.get(what)
    if code and takes_colours(err=True):
        line = line.replace(f"{what}:", f"\x1b[{code}m{what}:\x1b[0m", 1)
    say(line, err=True)


def failure_json(error: ConvcliError) -> str:
    """Return a failure as one line of JSON, for ``--json``.

    Examples
    --------
    >>> failure_json(ConvcliError("no", hint="yes"))
    '{"status": "failed", "error": {"kind": "error", "exit_code": 1, "message": "no", "hint": "yes"}}'
    """
    from convcli.pipeline.report import to_json

    return to_json({"status": "failed", "error": error.as_dict()})


def interrupted_json(message: str = "interrupted") -> str:
    """Return an interrupt as one line of JSON, as :func:`failure_json` tells failures."""
    from convcli.pipeline.report import to_json

    error = {"kind": "interrupted", "exit_code": EXIT_INTERRUPTED, "message": message, "hint": None}
    return to_json({"status": "failed", "error": error})


def complain(error: ConvcliError) -> None:
    """Write the fact and what to do, one line each, with control characters of user text made visible."""
    from convcli.pipeline.report import printable

    warn("error", str(error))
    if error.hint:
        _label(f"hint: {printable(error.hint)}", "hint")


def by(sizes: Iterable[object]) -> str:
    """Return sizes as text.

    Examples
    --------
    >>> by((64, 152, 114))
    '64x152x114'
    """
    return "x".join(map(str, sizes))


def by_axis(values: Sequence[object]) -> str:
    """Return one number if all axes agree, else one per axis.

    Examples
    --------
    >>> by_axis((3, 3)), by_axis((3, 1)), by_axis(())
    ('3', '3x1', '-')
    """
    return by(values[:1] if len(set(values)) == 1 else values) or "-"


def render_table(
    headings: Sequence[str], rows: Sequence[Sequence[object]], align: str = "", *, width: int | None = None
) -> str:
    """Return a table as text: headings, a rule, one line per row, two spaces between columns.

    Parameters
    ----------
    headings : sequence of str
        One per column; a line break in a heading makes a second heading line.
    rows : sequence of sequence of object
        Cells, turned into text by ``str``.
    align : str, optional
        One letter per column, ``l`` or ``r``; columns past its end are left-aligned.
    width : int, optional
        Letters a line may have; those of the terminal if absent, and none are too many for a pipe. Columns of text are
        made narrower first, their cells on several lines; then the table goes on below, its first column repeated.

    Returns
    -------
    str
        Lines without trailing spaces, joined by line breaks, no line break at the end.

    Examples
    --------
    >>> print(render_table(["layer", "maps"], [["conv", 64], ["relu", 8]], align="lr"))
    layer  maps
    -----  ----
    conv     64
    relu      8
    """
    cells = [[str(cell) for cell in row] for row in rows]
    align = align.ljust(len(headings), "l")
    titles = [heading.split("\n") for heading in headings]
    n_title_lines = max(map(len, titles))
    # Short headings stand on the lowest line, next to their column.
    titles = [[""] * (n_title_lines - len(title)) + title for title in titles]
    title_lines = [*zip(*titles, strict=True)]
    widths = [max(map(len, column)) for column in zip(*title_lines, *cells, strict=True)]
    room = width or columns()
    if room is not None and _total(widths) > room:
        narrow = _narrowed(widths, [max(map(len, title)) for title in titles], align, room)
        if narrow is None and len(headings) > 2:
            return _in_parts(headings, cells, align, widths, room)
        widths = narrow or widths
    rule = ["-" * width for width in widths]
    lines = [_line(row, widths, align) for row in [*title_lines, rule]]
    for row in cells:
        lines += [_line(part, widths, align) for part in _folded(row, widths)]
    return "\n".join(lines)


def _total(widths: Sequence[int]) -> int:
    return sum(widths) + 2 * (len(widths) - 1)


def _narrowed(widths: Sequence[int], least: Sequence[int], align: str, room: int) -> list[int] | None:
    """Return widths that fit, the widest column of text made narrower again and again; None if there is no way."""
    fitted = list(widths)
    while _total(fitted) > room:
        texts = [i for i, size in enumerate(fitted) if align[i] != "r" and size > max(_NARROWEST, least[i])]
        if not texts:
            return None
        fitted[max(texts, key=fitted.__getitem__)] -= 1
    return fitted


def _in_parts(
    headings: Sequence[str], cells: Sequence[Sequence[str]], align: str, widths: Sequence[int], room: int
) -> str:
    """Return a table in parts one below the other, each with the first column and as many others as fit."""
    parts: list[list[int]] = [[0]]
    for index in range(1, len(headings)):
        if len(parts[-1]) > 1 and _total([widths[i] for i in (*parts[-1], index)]) > room:
            parts.append([0])
        parts[-1].append(index)
    tables = []
    for part in parts:
        rows = [[row[i] for i in part] for row in cells]
        tables.append(render_table([headings[i] for i in part], rows, "".join(align[i] for i in part), width=room))
    return "\n\n".join(tables)


def _folded(cells: Sequence[str], widths: Sequence[int]) -> list[list[str]]:
    """Return the lines of a row, whose cells may be wider than their columns."""
    if all(len(cell) <= width for cell, width in zip(cells, widths, strict=True)):
        return [list(cells)]
    import textwrap

    folded = [textwrap.wrap(cell, width) or [""] for cell, width in zip(cells, widths, strict=True)]
    return [[part[line] if line < len(part) else "" for part in folded] for line in range(max(map(len, folded)))]


def _line(cells: Sequence[str], widths: Sequence[int], align: str) -> str:
    """Pad the cells of one row to their columns."""
    columns = zip(cells, widths, align, strict=True)
    # Trailing spaces would show as changes in version control.
    return "  ".join(cell.rjust(width) if side == "r" else cell.ljust(width) for cell, width, side in columns).rstrip()


def render_markdown(headings: Sequence[str], rows: Sequence[Sequence[object]], align: str = "") -> str:
    """Return a table in GitHub's Markdown; ``|`` in a cell is escaped.

    Examples
    --------
    >>> print(render_markdown(["layer", "maps"], [["conv", 64]], align="lr"))
    | layer | maps |
    | --- | ---: |
    | conv | 64 |
    """
    rules = ["---:" if align[i : i + 1] == "r" else "---" for i in range(len(headings))]
    lines = [[heading.replace("\n", " ") for heading in headings], rules, *(map(str, row) for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def render_csv(headings: Sequence[object], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as comma-separated values."""
    import csv
    import io

    text = io.StringIO()
    # By default csv ends lines in CR LF, and Unix tools take the CR for a part of the last cell.
    csv.writer(text, lineterminator="\n").writerows([headings, *rows])
    return text.getvalue()
