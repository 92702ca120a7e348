"""A job: inputs cut into shards, each done at least once and committed once, by whichever process runs it.

::

    job.json                 flags, taps, versions, number of shards
    lists/00000017.jsonl     an input a line: name, bytes, ETag
    done/00000017.jsonl      a line a map: input, ETag, output, bytes, digest, minimum, maximum, mean, clipped, error

``done/17`` is the commit: it comes last, in a mode that refuses a second one, and nothing else says that shard 17 is
done. The lists are written before ``job.json``, so that a job that can be read is whole.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from convcli.errors import ImageError, OutputError, UsageError
from convcli.pipeline.flags import parse_bytes
from convcli.pipeline.objects import Entry, Objects
from convcli.pipeline.report import to_json

#: Raised when a job can no longer be read by older programs.
FORMAT = 1
#: Names of lists and commits have eight digits.
MOST_SHARDS = 10**8
JOB_NAME = "job.json"


class ShardSize(NamedTuple):
    """Bounds of a shard; a single input may be larger than ``n_bytes``."""

    n_inputs: int = 1000
    n_bytes: int = 256 << 20


def parse_shard_size(text: str) -> ShardSize:
    """Return the bounds that ``--shard`` states: ``1000``, ``256M`` or ``1000,256M``.

    Examples
    --------
    >>> parse_shard_size("100"), parse_shard_size("500,64M")
    (ShardSize(n_inputs=100, n_bytes=268435456), ShardSize(n_inputs=500, n_bytes=67108864))
    """
    parts = [part.strip() for part in text.split(",")]
    counts = [int(part) for part in parts if re.fullmatch("[0-9]{1,9}", part)]
    sizes = [part for part in parts if not part.isdecimal()]
    if len(counts) > 1 or len(sizes) > 1 or 0 in counts or not text.strip():
        hint = "--shard 1000, --shard 256M, or both: --shard 1000,256M"
        raise UsageError(f"--shard {text!r} is not the size of a shard", hint=hint)
    size = ShardSize()._replace(**({"n_inputs": counts[0]} if counts else {}))
    return size._replace(n_bytes=parse_bytes(sizes[0], "--shard")) if sizes else size


def cut(pages: Iterable[list[Entry]], size: ShardSize) -> Iterator[list[Entry]]:
    """Yield shards of entries, in their order; a page is taken when the entries before it are used up.

    Examples
    --------
    >>> page = [Entry("a", 10, ""), Entry("b", 10, ""), Entry("c", 30, "")]
    >>> [[entry.name for entry in shard] for shard in cut([page], ShardSize(2, 25))]
    [['a', 'b'], ['c']]
    """
    shard: list[Entry] = []
    n_bytes = 0
    for page in pages:
        for entry in page:
            if shard and (len(shard) == size.n_inputs or n_bytes + entry.size > size.n_bytes):
                yield shard
                shard, n_bytes = [], 0
            shard.append(entry)
            n_bytes += entry.size
    if shard:
        yield shard


def _list_name(shard: int) -> str:
    return f"lists/{shard:08}.jsonl"


class Job:
    """A job that was planned, read from its folder.

    Parameters
    ----------
    place : Objects

    Raises
    ------
    UsageError
        There is no job, or another version of the program made it.
    """

    def __init__(self, place: Objects) -> None:
        self.place = place
        try:
            facts = json.loads(place.get(JOB_NAME)[0])
        except ImageError:
            raise UsageError(f"{place.text} is no job", hint="convcli job plan makes one") from None
        except ValueError:
            raise UsageError(f"{place.text}/{JOB_NAME} is not JSON", hint="plan the job again, elsewhere") from None
        if not isinstance(facts, dict) or facts.get("format") != FORMAT:
            raise UsageError(f"{place.text}/{JOB_NAME} is of another format than {FORMAT}", hint="the same convcli")
        if not isinstance(facts.get("shards"), int) or not 0 < facts["shards"] <= MOST_SHARDS:
            raise UsageError(f"{place.text}/{JOB_NAME} has no number of shards", hint="plan the job again, elsewhere")
        self.facts: dict[str, Any] = facts

    @property
    def kind(self) -> str:
        """The kind of objects that hold the rows."""
        return str(self.facts.get("stats", "jsonl"))

    @property
    def n_shards(self) -> int:
        """Number of shards."""
        return int(self.facts["shards"])

    def entries(self, shard: int) -> list[Entry]:
        """Return the inputs of a shard."""
        if not 0 <= shard < self.n_shards:
            raise UsageError(f"there is no shard {shard} in a job of {self.n_shards}", hint=f"0 to {self.n_shards - 1}")
        data = self.place.get(_list_name(shard))[0]
        try:
            return [Entry(**json.loads(line)) for line in data.splitlines()]
        except (ValueError, TypeError):
            raise UsageError(
                f"{_list_name(shard)} of {self.place.text} is damaged", hint="plan the job again"
            ) from None

    def committed(self) -> bytearray:
        """Return a byte a shard, 1 for those that are done; beside it a page of names is in memory."""
        done, found = bytearray(self.n_shards), re.compile(rf"done/([0-9]{{8}})\.{self.kind}")
        for page in self.place.pages("done"):
            for entry in page:
                # Commits of a longer job, whose plan was removed, are none of this one.
                if (match := found.fullmatch(entry.name)) and int(match[1]) < len(done):
                    done[int(match[1])] = 1
        return done

    def commit(self, shard: int, rows: list[dict[str, object]]) -> bool:
        """Commit a shard; return whether this run was the first to do so."""
        return self.place.create(self._commit_name(shard), encode_rows(rows, self.kind))

    def is_committed(self, shard: int) -> bool:
        """Return whether a shard is done."""
        return self.place.exists(self._commit_name(shard))

    def shard_rows(self, shard: int) -> Sequence[dict[str, Any]]:
        """Return the rows of a committed shard."""
        return decode_rows(self.place.get(self._commit_name(shard))[0], self.kind)

    def _commit_name(self, shard: int) -> str:
        return f"done/{shard:08}.{self.kind}"

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield the rows of all committed shards, in their order."""
        for shard, is_done in enumerate(self.committed()):
            if is_done:
                yield from self.shard_rows(shard)


def refuse_taken(place: Objects) -> None:
    """Refuse a place that holds a job, as :func:`write_job` does, before anything makes way for another."""
    if place.exists(_list_name(0)):
        raise _taken(place)


def _taken(place: Objects) -> OutputError:
    what = f"{place.text} holds a job, or a plan that was interrupted"
    return OutputError(what, hint="convcli job run, or apply --resume, goes on with it; or name another place")


def write_job(place: Objects, pages: Iterable[list[Entry]], size: ShardSize, facts: Mapping[str, object]) -> Job:
    """Write the lists of a job, then its facts with the numbers of shards, inputs and bytes.

    Raises
    ------
    ImageError
        There is no input.
    OutputError
        The place holds a job, or one that is being planned.
    """
    n_shards = n_inputs = n_bytes = 0
    for shard in cut(pages, size):
        # Created, not put: two plans at once would mix their lists.
        if not place.create(_list_name(n_shards), encode_rows((entry._asdict() for entry in shard), "jsonl")):
            raise _taken(place)
        n_shards += 1
        n_inputs += len(shard)
        n_bytes += sum(entry.size for entry in shard)
    if not n_shards:
        where = str(facts.get("input") or "the list")
        hint = "check the bucket and the prefix" if "://" in where else "--recursive searches folders below"
        raise ImageError(f"{where}: no image", hint=hint)
    whole = {"format": FORMAT, **facts, "shards": n_shards, "inputs": n_inputs, "bytes": n_bytes}
    if not place.create(JOB_NAME, f"{to_json(whole, indent=1, exact=True)}\n".encode()):
        raise _taken(place)
    return Job(place)


#: Columns of a row and their types; a failed input has the first two and its error.
COLUMNS = {
    **dict.fromkeys(("input", "etag", "output", "member"), "string"),
    "bytes": "int64",
    **dict.fromkeys(("digest", "kernel", "channel"), "string"),
    **dict.fromkeys(("min", "max", "mean", "std"), "float64"),
    **dict.fromkeys(("clipped_low", "clipped_high", "not_a_number"), "int64"),
    "error": "string",
}
ROW_KINDS = ("jsonl", "parquet")


def encode_rows(rows: Iterable[Mapping[str, object]], kind: str) -> bytes:
    r"""Return rows as bytes of a kind.

    Raises
    ------
    UsageError
        It is Parquet, and the extra for it is not installed.

    Examples
    --------
    >>> encode_rows([{"input": "a.jpg", "error": "no picture"}], "jsonl")
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


def decode_rows(data: bytes, kind: str) -> Sequence[dict[str, Any]]:
    """Return the rows that :func:`encode_rows` wrote."""
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
