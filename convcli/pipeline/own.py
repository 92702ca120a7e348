"""Outputs of earlier runs, known by what they say: the text of how they were made, or the report beside them.

A name proves nothing: a photograph may be called ``a_box.png``.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from convcli.images.files import PART_SUFFIX
from convcli.pipeline.names import MANIFEST_NAME

#: A stamp as :func:`convcli.pipeline.writers.make_stamp` writes it, in any format that has room for text.
_STAMP = re.compile(rb'convcli [0-9]\S* (?=\{"input": ")')
#: Text stands before the pixels, in some formats behind them.
_HEAD_BYTES, _TAIL_BYTES = 1 << 18, 1 << 16
_MOST_REPORT_BYTES = 1 << 26
_REPORT_BEGIN = b'{\n "convcli": "'


def read_stamp(path: Path) -> dict[str, Any] | None:
    """Return how a picture was made, as it says itself; None where it does not.

    Examples
    --------
    >>> read_stamp(Path("examples/camera.png")) is None
    True
    """
    try:
        with path.open("rb") as file:
            data = file.read(_HEAD_BYTES)
            if len(data) == _HEAD_BYTES and (size := os.fstat(file.fileno()).st_size) > _HEAD_BYTES:
                file.seek(max(_HEAD_BYTES, size - _TAIL_BYTES))
                data += file.read(_TAIL_BYTES)
    except (OSError, ValueError):
        return None
    for found in _STAMP.finditer(data):
        text = data[found.end() : found.end() + _TAIL_BYTES].decode("ascii", "replace")
        try:
            words, _ = json.JSONDecoder().raw_decode(text)
        except ValueError:
            continue
        return dict(words)
    return None


def _listed_in(report: Path) -> frozenset[str]:
    """Return the names of the files that a report of ours lists; empty where it is no such report."""
    try:
        if report.stat().st_size > _MOST_REPORT_BYTES:
            return frozenset()
        found = json.loads(report.read_bytes())
        return frozenset(Path(one["path"]).name for one in found["outputs"] if found["convcli"])
    except (OSError, ValueError, TypeError, KeyError):
        return frozenset()


def is_output(path: Path) -> bool:
    """Return whether a picture is an output of an earlier run, which a search does not take for a photograph."""
    stamp = read_stamp(path)
    if stamp is not None:
        return "in_place" not in stamp  # a photograph that was changed in its place is still one
    reports = (path.with_name(f"{path.name}.json"), path.with_name("report.json"))
    return any(path.name in _listed_in(report) for report in reports)


def is_record(path: Path) -> bool:
    """Return whether a file is a record of ours, or unfinished: nobody expects a search to take it."""
    if path.suffix == ".json":
        try:
            with path.open("rb") as file:
                return file.read(len(_REPORT_BEGIN)) == _REPORT_BEGIN
        except OSError:
            return False
    return path.name == MANIFEST_NAME or path.suffix == PART_SUFFIX


def is_orphan(report: Path) -> bool:
    """Return whether a report of ours was left alone: none of the files that it lists is beside it."""
    names = _listed_in(report)
    return bool(names) and not any(os.path.lexists(report.with_name(name)) for name in names)
