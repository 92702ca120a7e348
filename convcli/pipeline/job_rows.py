"""Rows of a shard as an object: JSON lines, or Parquet, for which this is the only file that imports pyarrow."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from convcli.errors import UsageError
from convcli.pipeline.report import to_json

#: Columns of a row and their types; a failed input has the first two and its error.
COLUMNS = {
    **dict.fromkeys(("input", "etag", "output", "member"), "string"),
    "bytes": "int64",
    **dict.fromkeys(("digest", "kernel", "channel"), "string"),
    **dict.fromkeys(("min", "max", "mean", "std"), "float64"),
    **dict.fromkeys(("clipped_low", "clipped_high", "not_a_number"), "int64"),
    "error": "string",
}
KINDS = ("jsonl", "parquet")


def encode(rows: Iterable[Mapping[str, object]], kind: str) -> bytes:
    r"""Return rows as bytes of a kind.

    Raises
    ------
    UsageError
        It is Parquet, and the extra for it is not installed.

    Examples
    --------
    >>> encode([{"input": "a.jpg", "error": "no picture"}], "jsonl")
    b'{"input": "a.jpg", "error": "no picture"}\n'
    """
    if kind == "jsonl":
        return "".join(f"{to_json(row)}\n" for row in rows).encode()
    arrow = need_parquet()
    # Numbers that JSON cannot hold are texts in a report.
    table = [{key: _typed(row.get(key), kind) for key, kind in COLUMNS.items()} for row in rows]
    schema = arrow.schema([(key, getattr(arrow, kind)()) for key, kind in COLUMNS.items()])
    file = io.BytesIO()
    from pyarrow import parquet

    parquet.write_table(arrow.Table.from_pylist(table, schema=schema), file)
    return file.getvalue()


def decode(data: bytes, kind: str) -> Sequence[dict[str, Any]]:
    """Return the rows that :func:`encode` wrote."""
    if kind == "jsonl":
        return [json.loads(line) for line in data.splitlines()]
    need_parquet()
    from pyarrow import parquet

    rows = parquet.read_table(io.BytesIO(data)).to_pylist()
    return [{key: value for key, value in row.items() if value is not None} for row in rows]


def need_parquet() -> Any:
    """Return the package, or raise a UsageError that says what to install."""
    try:
        import pyarrow
    except ImportError:
        raise UsageError(
            "--stats parquet needs the package pyarrow", hint="pip install 'convcli[parquet]', or --stats jsonl"
        ) from None
    return pyarrow


def _typed(value: object, kind: str) -> object:
    return float(value) if kind == "float64" and isinstance(value, str | int) else value
