"""Rows of a job as one file: JSON lines or CSV, a row at a time."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from pathlib import Path

from convcli.images.files import opened_target
from convcli.pipeline.job_rows import COLUMNS
from convcli.pipeline.report import to_json


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
