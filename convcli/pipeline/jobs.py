"""Plan a job, count its commits, merge its rows."""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from convcli.errors import ImageError, OutputError, UsageError
from convcli.images import formats
from convcli.images.recognise import TAR
from convcli.layers.stack import is_model
from convcli.pipeline.flags import choice
from convcli.pipeline.inputs import is_folder, is_folder_url, matches, named
from convcli.pipeline.job_facts import whole_name, without_urls
from convcli.pipeline.naming import refuse
from convcli.pipeline.objects import Entry, Folder, Objects, in_pages
from convcli.pipeline.places import open_objects
from convcli.pipeline.report import to_json
from convcli.pipeline.request import ApplyRequest, parse_request
from convcli.pipeline.shards import ROW_KINDS, Job, ShardSize, need_parquet, parse_shard_size, write_job
from convcli.process.system import is_url

#: The first name below {dir} holds the whole name of the input, and nothing else that varies between inputs.
_TELLS_APART = re.compile(r"\{dir\}/[^{}/]*\{file\}([^{}/]|\{bank\}|\{ext\})*(/|\Z)")


class Batch(NamedTuple):
    """The inputs and the flags of a job."""

    words: Sequence[str]
    flags: Mapping[str, Any]
    listed: Sequence[str] = ()
    recursive: bool = False
    #: Objects that hold the rows of shards: JSON lines or Parquet.
    stats: str = "jsonl"

    @property
    def is_tiled(self) -> bool:
        """Whether it is one image, whose maps go into one Zarr store."""
        return str(self.flags.get("output", "")).lower().endswith(".zarr")

    def shard_size(self, asked: str | None) -> ShardSize:
        """Return the bounds of a shard, as asked for or by default."""
        # A tile is up to 64 MiB of maps: enough work for a task, and there may be no more tiles than workers.
        return parse_shard_size(asked or ("1" if self.is_tiled else "1000,256M"))


def plan_job(place: Objects, batch: Batch, size: ShardSize) -> Job:
    """List the inputs, cut them into shards and write the job; no image is read.

    Parameters
    ----------
    place : Objects
        A folder or store that holds no job.
    batch : Batch
        One folder or names of files, and the flags of ``apply``, as :func:`~convcli.pipeline.request.parse_request`
        takes them.
    size : ShardSize

    Raises
    ------
    ConvcliError
        The flags contradict each other, the kernel is unknown, there is no input, or the output folder is not empty.
    """
    facts, pages = _facts(place, batch)
    if batch.is_tiled:
        from convcli.pipeline.tiles import plan_tiles

        return plan_tiles(place, facts, size, overwrite=bool(batch.flags.get("overwrite")))
    out_dir = facts["flags"]["out_dir"]
    if not batch.flags.get("overwrite") and next(open_objects(out_dir).pages(), None):
        raise OutputError(f"{out_dir} is not empty", hint="a folder of its own, or --overwrite")
    return write_job(place, pages, size, facts)


def resume_job(place: Objects, batch: Batch) -> Job:
    """Return the job that was planned for a batch.

    Raises
    ------
    UsageError
        There is none, or it was planned for another batch.
    """
    job = Job(place)
    facts, _ = _facts(place, batch)
    for name, value in json.loads(to_json(facts)).items():
        if job.facts.get(name) != value:
            raise UsageError(
                f"the job in {place.text} was planned with another {_SAID.get(name, name)}",
                hint="the same command as then, or convcli job run, or another --out-dir",
            )
    return job


#: Facts of a job as messages name them.
_SAID = {"flags": "set of flags", "loaded": "kernel", "input": "input", "versions": "version of convcli or NumPy"}
_SAID |= {"packed": "--format", "stats": "kind of --stats"}


def _facts(place: Objects, batch: Batch) -> tuple[dict[str, Any], Iterator[list[Entry]]]:
    """Return the facts that decide about every shard, and the pages of its inputs; tiles have none yet."""
    from convcli.pipeline.job_facts import encode, versions
    from convcli.pipeline.plan import Planner

    if choice(batch.stats, "--stats", ROW_KINDS) == "parquet":
        need_parquet()
    if batch.is_tiled:
        from convcli.pipeline.tiles import tile_facts

        return {**tile_facts(batch.words, batch.flags), "stats": batch.stats}, iter(())
    given, packed = dict(batch.flags), False
    word, _, inner = str(given.get("format") or "").lower().partition(":")
    if word == "tar":
        packed, given["format"] = True, inner or None
    request = parse_request(given)
    flags = _checked(request, given)
    refuse([(packed and request.name is not None, "--name does nothing in a tar", "leave it out")])
    leave = (str(flags["out_dir"]), whole_name(place.text))
    root, pages = _find(batch, leave)
    flags.pop("overwrite", None)
    facts = {
        "flags": {key: value for key, value in flags.items() if value is not None},
        "loaded": encode(Planner(request).loaded),
        "versions": versions(),
        "input": root,
        "packed": packed,
        "stats": batch.stats,
    }
    return facts, pages


def _checked(request: ApplyRequest, flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the flags with whole paths; refuse what could give two inputs one name."""
    refuse([
        (request.is_one_file, "-o is one file, and a job has many inputs", "--layout picture --out-dir DIR"),
        ("out_dir" not in flags, "a job needs a folder for its outputs", "--out-dir DIR"),
        (is_model(request.stack), "a job holds layers, and a model's depend on the image's size",
         "convcli apply, or its first layers as a stack file"),
        (request.skip_existing, "--skip-existing does nothing to a job", "a job does what is missing"),
        (request.name is not None and not _TELLS_APART.match(request.name or ""),
         f"--name {request.name!r} could give two inputs one name, and a job cannot see them together",
         "begin it with {dir}/{file}/, or {dir}/{file}_{bank}.{ext}"),
    ])  # fmt: skip
    given = without_urls(flags)
    for key in {"out_dir", "stack"} & given.keys():
        # A stack that ships has a name and no path.
        if key == "out_dir" or Path(given[key]).exists():
            given[key] = whole_name(str(given[key]))
    return given


def _find(batch: Batch, leave: Sequence[str]) -> tuple[str, Iterator[list[Entry]]]:
    """Return a folder and the names below it, or no folder and whole names; places in ``leave`` are not searched."""
    words, listed = batch.words, batch.listed
    if len(words) == 1 and not listed and _is_folder(words[0]):
        stored = is_url(words[0])
        root = whole_name(words[0].rstrip("/") or "/")
        left = [f"{each[len(root) :].strip('/')}/" for each in leave if each.startswith(f"{root}/")]
        # A store has no folders: all names below a prefix are meant.
        return root, _pictures(open_objects(root).pages(), left, batch.recursive or stored)
    if not words and not listed:
        raise UsageError("no input given", hint="convcli job plan JOB photos/ -k sobel --out-dir edges")
    return "", in_pages(_named(words, listed))


def _is_folder(word: str) -> bool:
    # A tar is no picture, and yet an object.
    return is_folder(word) or (is_folder_url(word) and not word.lower().endswith(TAR))


def _pictures(pages: Iterator[list[Entry]], left: Sequence[str], recursive: bool) -> Iterator[list[Entry]]:
    for page in pages:
        yield [
            entry
            for entry in page
            if Path(entry.name).suffix.lower() in (*formats.PICTURE_SUFFIXES, TAR)
            and not entry.name.startswith(tuple(left))
            and (recursive or "/" not in entry.name)
        ]


def _named(words: Sequence[str], listed: Sequence[str]) -> Iterator[Entry]:
    """Yield named files, a pattern as those that it means; of several, one that is not there fails by itself."""
    seen: set[str] = set()
    names = [name for word in words for name in (matches(word) or [word])]
    if not listed and len(names) == 1 and names[0] != "-" and not is_url(names[0]) and not Path(names[0]).exists():
        raise ImageError(f"{names[0]}: no such file or folder", hint="check the name; quote names with spaces")
    for name in (*names, *listed):
        if name == "-" or _is_folder(name):
            kind = "standard input" if name == "-" else "a folder beside other inputs"
            raise ImageError(f"{name} is {kind}", hint="one folder, or names of files, or --files-from FILE")
        path = whole_name(name)
        if path not in seen:
            seen.add(path)
            # To ask a store about each name would take longer than the job: objects have no ETag here.
            yield Entry(name, 0, "") if named(name).url else Folder(Path()).entry(path)


class Status(NamedTuple):
    """How far a job is."""

    n_shards: int
    n_inputs: int
    #: Shards that are not committed, four bytes each.
    missing: Sequence[int]


def job_status(job: Job) -> Status:
    """Return how far a job is, from a listing of its commits."""
    done = job.committed()
    missing = array("I", (shard for shard in range(job.n_shards) if not done[shard]))
    return Status(job.n_shards, int(job.facts["inputs"]), missing)


def summarise(rows: Iterator[dict[str, Any]]) -> dict[str, Any]:
    """Return totals over the rows of a job: inputs, maps, bytes, clipped samples, and the failed inputs.

    Examples
    --------
    >>> rows = [{"input": "a", "output": "x", "bytes": 3, "clipped_low": 1, "clipped_high": 0}]
    >>> summarise(iter([*rows, {"input": "b", "error": "cannot be read"}]))["failures"]
    [{'input': 'b', 'error': 'cannot be read'}]
    """
    n_done = n_maps = n_bytes = n_clipped = 0
    failures: list[dict[str, str]] = []
    last = last_output = None
    for row in rows:
        if "error" in row:
            failures.append({"input": row["input"], "error": row["error"]})
            continue
        # Rows of one input, and of one file, stand together.
        n_done += row["input"] != last
        output = row["output"], row.get("member")
        n_bytes += row["bytes"] if output != last_output else 0
        last, last_output = row["input"], output
        n_maps += 1
        n_clipped += row["clipped_low"] + row["clipped_high"]
    totals = {"inputs_done": n_done, "inputs_failed": len({one["input"] for one in failures}), "maps": n_maps}
    return {**totals, "bytes": n_bytes, "samples_clipped": n_clipped, "failures": failures}


def open_job(text: str) -> Job:
    """Return the job in a folder or store.

    Raises
    ------
    UsageError
        There is none.
    """
    return Job(open_objects(text))
