"""One large image as a job: a Zarr store is made when it is planned, and every task fills whole shards of it.

The list of a job has a tile a line, named by its region of the output; each is one shard of the store, a file of its
own, so that tasks which write different tiles never meet. A tile that is run again has the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convcli.errors import ConvcliError, ImageError
from convcli.images.folders import store_header
from convcli.images.reading import probe
from convcli.images.zarr_store import open_zarr
from convcli.images.zarr_tiles import ZarrTiles
from convcli.pipeline.contradictions import refuse
from convcli.pipeline.job_facts import encode, versions
from convcli.pipeline.names import InputFile
from convcli.pipeline.objects import PAGE, Entry, Objects, file_etag
from convcli.pipeline.plan import Plan, Planner
from convcli.pipeline.request import ApplyRequest, parse_request
from convcli.pipeline.run import Pipeline
from convcli.pipeline.shards import Job, ShardSize, write_job
from convcli.pipeline.tones import Tone, ToneSpec
from convcli.pipeline.transforms.base import Writer
from convcli.pipeline.writers import make_stamp, output_files
from convcli.process.system import is_url

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convcli.engine.store import ToneCounts
    from convcli.pipeline.outputs import OutputFile

SUFFIX = ".zarr"


def tile_facts(words: Sequence[str], flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of a job of tiles.

    Raises
    ------
    ConvcliError
        The flags do not fit tiles, or the kernel is unknown.
    """
    output = str(flags["output"])
    refuse([
        (len(words) != 1 or words[0] == "-" or is_url(words[0]), "-o FILE.zarr on a cluster takes one local image",
         "name one file or Zarr store"),
        (is_url(output), f"{output}: tiles are written into a local or shared folder", "-o /shared/maps.zarr"),
        (flags.get("region"), "--region does nothing to tiles", "leave it out"),
    ])  # fmt: skip
    given = {**flags, "output": os.path.abspath(output)}  # noqa: PTH100 - links stay
    given.pop("overwrite", None)
    request = parse_request(given)
    refuse([
        (request.stack, "--stack runs on whole images, not on tiles", "leave --cluster out"),
        (request.transposed, "--transposed runs on whole images, not on tiles", "leave --cluster out"),
        (request.nodata is not None, "--nodata runs on whole images, not on tiles", "leave --cluster out"),
    ])  # fmt: skip
    path = os.path.abspath(words[0])  # noqa: PTH100
    # A store is a folder: its header changes when it is made anew.
    etag = file_etag(store_header(Path(path)))
    return {
        "flags": given,
        "loaded": encode(Planner(request).loaded),
        "versions": versions(),
        "input": path,
        "tiles": etag,
    }


def plan_tiles(place: Objects, facts: Mapping[str, Any], size: ShardSize, *, overwrite: bool) -> Job:
    """Make the store of the output and cut its tiles into shards.

    Raises
    ------
    ConvcliError
        The image cannot be read, or the store exists.
    """
    plan = _plan(Planner(_request(facts)._replace(overwrite=overwrite)), facts, None)
    output = plan.outputs[0]
    names = tuple(named.label for named in plan.maps)
    shape = (*plan.transform.leading, *output.size_hw)
    with output_files(plan) as files:
        target = files.open(output.path, output.format)
        with open_zarr(target, names, shape, make_stamp(plan), np.dtype(plan.request.dtype)) as store:
            side = store.tile_px
    pixel_bytes = len(names) * np.dtype(plan.request.dtype).itemsize
    write_job(place, _tiles(output.size_hw, side, pixel_bytes), size, facts)
    return Job(place)


def _tiles(size_hw: tuple[int, int], side: int, pixel_bytes: int) -> Iterator[list[Entry]]:
    page: list[Entry] = []
    for top in range(0, size_hw[0], side):
        for left in range(0, size_hw[1], side):
            width, height = min(side, size_hw[1] - left), min(side, size_hw[0] - top)
            page.append(Entry(f"{left},{top},{width},{height}", width * height * pixel_bytes, ""))
            if len(page) == PAGE:
                yield page
                page = []
    yield page


def run_tiles(job: Job, planner: Planner, entries: Sequence[Entry], *, cores: int | None) -> list[dict[str, object]]:
    """Compute tiles and write them into the store; return a row for each map of a tile, or for one that failed."""
    store = ZarrTiles(Path(str(planner.request.output)))
    pipeline = Pipeline(threads=cores or os.cpu_count() or 1)
    rows: list[dict[str, object]] = []
    for entry in entries:
        left, top, width, height = map(int, entry.name.split(","))
        try:
            plan = _plan(planner, job.facts, (left, top, width, height))
            slot = _Slot(plan, store, top, left, max(width, height))
            with output_files(plan) as files:
                pipeline.run_picture(plan, files, open_one=partial(_given, slot))
        except ConvcliError as error:
            rows.append({"input": entry.name, "etag": "", "error": error.message})
            continue
        rows += slot.rows(entry.name)
    return rows


def _given(slot: Any, _work: object, _output: object) -> Any:
    return slot


def _request(facts: Mapping[str, Any]) -> ApplyRequest:
    return parse_request(facts["flags"])


def _plan(planner: Planner, facts: Mapping[str, Any], region: tuple[int, int, int, int] | None) -> Plan:
    """Plan the image, or a region of its maps."""
    request = planner.request
    path = Path(facts["input"])
    if file_etag(store_header(path)) != facts["tiles"]:
        raise ImageError("it has changed since it was listed", hint="plan another job")
    source = InputFile(path)
    info = probe(source.readable, **request.reading)
    refuse([(info.n_frames > 1, f"{facts['input']} has {info.n_frames} frames", "one frame: leave --cluster out")])
    return Planner(request._replace(region=region), planner.loaded).plan(source, info)


class _Slot(Writer):
    """A tile of a store that exists."""

    is_raw = True

    def __init__(self, plan: Plan, store: ZarrTiles, top: int, left: int, side: int) -> None:
        output: OutputFile = plan.outputs[0]
        super().__init__(plan, output, Tone(ToneSpec("clip"), white=1.0, depth="float"))
        self._store, self._top, self._left, self.tile_px = store, top, left, side

    def put(self, maps: NDArray[Any], top: int, left: int) -> ToneCounts:
        """Write it where it belongs."""
        _, counts = self.tone.apply(maps)
        self._store.put(maps, self._top + top, self._left + left)
        return counts

    def finish(self) -> int | None:
        """Nothing is left to be written."""
        return None

    def rows(self, tile: str) -> list[dict[str, object]]:
        """Return a row for each map."""
        counts, found = self.counts, []
        for place, index in enumerate(self.output.maps):
            named = self._plan.maps[index]
            values = {"min": counts.minimum, "max": counts.maximum, "mean": counts.mean, "std": counts.std}
            row: dict[str, object] = {"input": tile, "etag": "", "output": str(self.output.path)}
            row |= {"bytes": 0, "kernel": named.kernel, "channel": named.channel}
            row |= {name: float(array[place]) for name, array in values.items()}
            row |= {"clipped_low": 0, "clipped_high": 0, "not_a_number": int(counts.n_nan[place])}
            found.append(row)
        return found
