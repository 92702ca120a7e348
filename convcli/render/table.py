"""Tables in plain text and Markdown; each column is as wide as its widest cell.

Rich draws prettier ones but costs 30 ms at every start; these come out at once and are easy to read back by a script.
"""

from __future__ import annotations

from collections.abc import Sequence


def render_table(headings: Sequence[str], rows: Sequence[Sequence[object]], align: str = "") -> str:
    """Return a table as text: headings, a rule, one line per row, two spaces between columns.

    Parameters
    ----------
    headings : sequence of str
        One per column; a line break in a heading makes a second heading line.
    rows : sequence of sequence of object
        Cells, turned into text by ``str``.
    align : str, optional
        One letter per column, ``l`` or ``r``; columns past its end are left-aligned.

    Returns
    -------
    str
        Lines without trailing spaces, joined by line breaks, no line break at the end.

    Raises
    ------
    ValueError
        A row does not have one cell per heading.

    Examples
    --------
    >>> print(render_table(["layer", "maps"], [["conv", 64], ["relu", 8]], align="lr"))
    layer  maps
    -----  ----
    conv     64
    relu      8
    """
    cells = [[str(cell) for cell in row] for row in rows]
    for row in cells:
        if len(row) != len(headings):
            raise ValueError(f"a row of {len(row)} cells under {len(headings)} headings")
    titles = [heading.split("\n") for heading in headings]
    n_title_lines = max((len(title) for title in titles), default=0)
    title_lines = [
        # Short headings stand on the lowest line, next to their column.
        [title[i - n_title_lines + len(title)] if i >= n_title_lines - len(title) else "" for title in titles]
        for i in range(n_title_lines)
    ]
    widths = [max(len(row[i]) for row in title_lines + cells) for i in range(len(headings))]
    rule = ["-" * width for width in widths]
    return "\n".join(_line(row, widths, align) for row in [*title_lines, rule, *cells])


def _line(cells: Sequence[str], widths: Sequence[int], align: str) -> str:
    """Pad the cells of one row to their columns."""
    padded = [
        cell.rjust(width) if align[i : i + 1] == "r" else cell.ljust(width)
        for i, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    # Trailing spaces would show as changes in version control.
    return "  ".join(padded).rstrip()


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
    lines = [
        [heading.replace("\n", " ") for heading in headings],
        rules,
        *([str(cell) for cell in row] for row in rows),
    ]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
