"""Report files: JSON, CSV, Markdown and HTML from the same dicts."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convcli.images.files import opened_target, save_bytes
from convcli.pipeline.report import printable, to_json
from convcli.pipeline.shards import COLUMNS
from convcli.render.shape_details import SHAPE_HEADINGS, shape_row
from convcli.render.text import render_csv, render_markdown

if TYPE_CHECKING:
    from convcli.pipeline.plan import Plan

MAP_HEADINGS = ("input", "map", "path", "min", "max", "mean", "std", "tone", "clipped low", "clipped high")
_NO_SHAPE = ("",) * len(SHAPE_HEADINGS)


def report_text(
    reports: Sequence[Mapping[str, Any]], suffix: str, *, plans: Sequence[Plan] = (), command: str = ""
) -> str:
    """Return the reports in the format of a suffix: ``.json``, ``.csv``, ``.md`` or ``.html``.

    The page runs ``plans`` again for its pictures; without them it has none. ``command`` is the line that made it all.
    """
    if suffix == ".json":
        # One input gives an object: a script for single pictures need not unpack a list.
        return to_json(reports[0] if len(reports) == 1 else reports, indent=1) + "\n"
    if suffix == ".csv":
        # Headings without spaces can be names of columns in SQL and data frames.
        headings = [heading.replace(" ", "_") for heading in (*MAP_HEADINGS, *SHAPE_HEADINGS)]
        return render_csv(headings, _csv_rows(reports))
    if suffix == ".md":
        return _markdown(reports, command)
    from convcli.render.pages.report_page import report_page

    return report_page(reports, plans=plans, command=command)


def _csv_rows(reports: Sequence[Mapping[str, Any]]) -> Iterator[tuple[object, ...]]:
    """Yield a row per map with the shapes of its layer, and a row for each layer without maps."""
    for report in reports:
        told = {one["layer"] for one in report.get("maps", ())}
        path = printable(str(report.get("input", {}).get("path", "")))
        for index, layer in enumerate(report.get("layers", ())):
            if index not in told:
                yield (path, *[""] * (len(MAP_HEADINGS) - 1), *shape_row(layer))
        for row, layer in map_rows([report]):
            yield (*row, *(_NO_SHAPE if layer is None else shape_row(layer)))


def _markdown(reports: Sequence[Mapping[str, Any]], command: str) -> str:
    """Return the command, the layers with their shapes, and the maps."""
    shapes = [
        (printable(str(report["input"]["path"])), *shape_row(layer))
        for report in reports
        for layer in report.get("layers", ())
    ]
    # Indented and not between fences: the line may hold one.
    parts = [f"    {printable(command)}"] if command else []
    if shapes:
        parts.append(render_markdown(("input", *SHAPE_HEADINGS), shapes, align="llrrrrrrlrrrr"))
    parts.append(render_markdown(MAP_HEADINGS, [row for row, _ in map_rows(reports)], align="lllrrrrlrr"))
    return "\n\n".join(parts) + "\n"


def write_report(text: str, path: Path, *, overwrite: bool = False) -> None:
    """Write a report file, whole or not at all.

    Raises
    ------
    OutputError
        It exists and may not be replaced, or it cannot be written.
    """
    save_bytes(path, text.encode("utf-8", "surrogateescape"), overwrite=overwrite, makes_folder=True)


def map_rows(reports: Sequence[Mapping[str, Any]]) -> Iterator[tuple[tuple[object, ...], Mapping[str, Any] | None]]:
    """Yield a row per map, and its layer; an input that failed or was left alone has one row that says so."""
    for report in reports:
        path = printable(str(report.get("input", {}).get("path", "")))
        if report.get("status") == "failed":
            yield (path, "failed", printable(str(report["error"]["message"])), *[""] * 7), None
        elif report.get("status") == "skipped":
            yield (path, "left alone", printable(str(report["reason"])), *[""] * 7), None
        for one in report.get("maps", ()):
            numbers = [one[key] for key in ("min", "max", "mean", "std", "tone", "clipped_low", "clipped_high")]
            layer = report["layers"][one["layer"]]
            yield (path, printable(one["name"]), printable(str(one.get("path", ""))), *numbers), layer


def write_rows(path: Path, rows: Iterable[Mapping[str, object]]) -> None:
    """Write rows whole or not at all; the suffix, .csv or .jsonl, names the format.

    Raises
    ------
    OutputError
        The file cannot be written.
    """
    with opened_target(path) as target:
        text = io.TextIOWrapper(target.file, encoding="utf-8", errors="backslashreplace", newline="")
        table = csv.DictWriter(text, COLUMNS) if path.suffix == ".csv" else None
        if table is not None:
            table.writeheader()
        for row in rows:
            if table is not None:
                table.writerow(row)
            else:
                text.write(f"{to_json(row)}\n")
        text.flush()
        text.detach()
    target.commit()
