"""Report files: JSON, CSV, Markdown and HTML from the same dicts."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from convcli.pipeline.report import printable, to_json
from convcli.render.table import render_markdown

_HEADINGS = ("input", "map", "path", "min", "max", "mean", "tone", "clipped low", "clipped high")
_HTML = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>convcli report</title>
<style>body{{font:14px sans-serif;margin:2em}}table{{border-collapse:collapse}}
td,th{{border:1px solid #bbb;padding:.2em .6em;text-align:right}}
td:first-child,td:nth-child(2),td:nth-child(3){{text-align:left}}</style></head>
<body><h1>convcli report</h1>
{body}
</body></html>
"""


def _rows(reports: Sequence[Mapping[str, Any]]) -> list[tuple[object, ...]]:
    """Return a row per map; an input that failed or was left alone has one row that says so."""
    rows: list[tuple[object, ...]] = []
    for report in reports:
        source = report.get("input", {}).get("path", "")
        if report.get("status") == "failed":
            rows.append((source, "failed", report["error"]["message"], *[""] * 6))
        elif report.get("status") == "skipped":
            rows.append((source, "left alone", report["reason"], *[""] * 6))
        for one in report.get("maps", ()):
            numbers = (one["min"], one["max"], one["mean"], one["tone"], one["clipped_low"], one["clipped_high"])
            rows.append((source, one["name"], one.get("path", ""), *numbers))
    return rows


def report_text(reports: Sequence[Mapping[str, Any]], suffix: str) -> str:
    """Return the reports in the format of a suffix: ``.json``, ``.csv``, ``.md`` or ``.html``."""
    if suffix == ".json":
        # One input gives an object: a script for single pictures need not unpack a list.
        return to_json(reports[0] if len(reports) == 1 else reports, indent=1) + "\n"
    # File names may hold escape codes, which a terminal that shows the table would obey.
    rows = [tuple(printable(cell) if isinstance(cell, str) else cell for cell in row) for row in _rows(reports)]
    if suffix == ".csv":
        text = io.StringIO()
        # By default csv ends lines in CR LF, and Unix tools take the CR for a part of the last cell.
        writer = csv.writer(text, lineterminator="\n")
        # Headings without spaces can be names of columns in SQL and data frames.
        writer.writerow([heading.replace(" ", "_") for heading in _HEADINGS])
        writer.writerows(rows)
        return text.getvalue()
    if suffix == ".md":
        return render_markdown(_HEADINGS, rows, align="lllrrrlrr") + "\n"
    head = "".join(f"<th>{heading}</th>" for heading in _HEADINGS)
    # Escaped: a file may be called <script>.
    body = "\n".join("<tr>" + "".join(f"<td>{html.escape(str(c))}</td>" for c in row) + "</tr>" for row in rows)
    return _HTML.format(body=f"<table><tr>{head}</tr>\n{body}</table>")


def write_report(reports: Sequence[Mapping[str, Any]], path: Path, *, overwrite: bool = False) -> None:
    """Write a report file, whole or not at all.

    Raises
    ------
    OutputError
        It exists and may not be replaced, or it cannot be written.
    """
    from convcli.images.files import save_bytes

    data = report_text(reports, path.suffix).encode("utf-8", "surrogateescape")
    save_bytes(path, data, overwrite=overwrite, makes_folder=True)
