"""One large image as a job: a Zarr store is made when it is planned, and every task fills whole shards of it.

The list of a job has a tile a line, named by its region of the output; each is one shard of the store, a file or object
of its own, so that tasks which write different tiles never meet. A tile that is run again has the same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convcli.errors import ConvcliError, ImageError, OutputError
from convcli.images.reading import probe
from convcli.images.zarr_store import encode_tile, open_zarr
from convcli.pipeline.inputs import is_folder_url, is_zarr_url, named
from convcli.pipeline.job_facts import decode, encode, versions, whole_name, without_urls
from convcli.pipeline.naming import refuse
from convcli.pipeline.objects import Entry, Objects, file_etag, in_pages
from convcli.pipeline.places import join, open_objects, open_store, open_zarr_url
from convcli.pipeline.plan import Plan, Planner
from convcli.pipeline.publish import publish
from convcli.pipeline.request import parse_request
from convcli.pipeline.run import Pipeline
from convcli.pipeline.search import no_image_below
from convcli.pipeline.shards import Job, ShardSize, refuse_taken, write_job
from convcli.pipeline.staging import local_copy
from convcli.pipeline.tones import Tone, ToneSpec
from convcli.pipeline.transforms.base import Writer
from convcli.pipeline.writers import make_stamp, output_files
from convcli.process.system import available_threads, is_url

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convcli.engine.store import ToneCounts
    from convcli.pipeline.outputs import OutputFile


def tile_facts(words: Sequence[str], flags: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts of a job of tiles.

    Raises
    ------
    ConvcliError
        The flags do not fit tiles, or the kernel is unknown.
    """
    output = str(flags["output"])
    refuse([
        (len(words) != 1 or words[0] == "-", "-o FILE.zarr on a cluster takes one image", "name one"),
        (flags.get("region"), "--region does nothing to tiles", "leave it out"),
    ])  # fmt: skip
    given = {**flags, "output": whole_name(output)}
    given.pop("overwrite", None)
    request = parse_request(given)
    refuse([
        (request.stack, "--stack runs on whole images, not on tiles", "leave --cluster out"),
        (request.transposed, "--transposed runs on whole images, not on tiles", "leave --cluster out"),
        (request.nodata is not None, "--nodata runs on whole images, not on tiles", "leave --cluster out"),
    ])  # fmt: skip
    name = whole_name(words[0])
    return {
        "flags": without_urls(given),
        "loaded": encode(Planner(request).loaded),
        "versions": versions(),
        "input": name,
        "tiles": _etag(name),
    }


def _etag(name: str) -> str:
    """Return the ETag of the image; that of a Zarr store is its header's, which changes when it is made anew."""
    if is_zarr_url(name):
        return open_zarr_url(name)[1]
    if is_folder_url(name):
        raise no_image_below(name)
    return local_copy(name)[1] if is_url(name) else file_etag(Path(name))


def plan_tiles(place: Objects, facts: Mapping[str, Any], size: ShardSize, *, overwrite: bool) -> Job:
    """Make the store of the output and cut its tiles into shards.

    Raises
    ------
    ConvcliError
        The image cannot be read, or the store exists.
    """
    refuse_taken(place)
    request = parse_request(facts["flags"])._replace(overwrite=overwrite)
    plan = _plan(Planner(request, decode(facts["loaded"])), facts, None)
    output = plan.outputs[0]
    names = tuple(named.label for named in plan.maps)
    shape = (*plan.transform.leading, *output.size_hw)
    with output_files(plan) as files:
        target = files.open(output.path, output.format)
        with open_zarr(target, names, shape, make_stamp(plan), np.dtype(plan.request.dtype)) as store:
            side = store.tile_px
    if plan.request.out_url:
        _make_remote(plan)
    pixel_bytes = len(names) * np.dtype(plan.request.dtype).itemsize
    return write_job(place, in_pages(_tiles(output.size_hw, side, pixel_bytes)), size, facts)


def _make_remote(plan: Plan) -> None:
    """Put the headers of a store, which tiles will fill, where it goes; refuse to replace anything unasked."""
    url = plan.outputs[0].url
    if not plan.request.overwrite and next(open_store(url).pages(), None):
        raise OutputError(f"{url} exists", hint="another name; --overwrite deletes it before a tile is computed")
    publish(plan, {})


def _tiles(size_hw: tuple[int, int], side: int, pixel_bytes: int) -> Iterator[Entry]:
    for top in range(0, size_hw[0], side):
        for left in range(0, size_hw[1], side):
            width, height = min(side, size_hw[1] - left), min(side, size_hw[0] - top)
            yield Entry(f"{left},{top},{width},{height}", width * height * pixel_bytes, "")


def run_tiles(job: Job, planner: Planner, entries: Sequence[Entry], *, cores: int | None) -> list[dict[str, object]]:
    """Compute tiles and write them into the store; return a row for each map of a tile, or for one that failed."""
    request = planner.request
    store = request.url_of(request.output) or str(request.output)
    place = open_objects(join(store, "0"))
    try:
        header, _ = place.get("zarr.json")
    except ImageError as error:
        raise OutputError(f"{store} is gone ({error})", hint="plan the job again") from None
    pipeline = Pipeline(threads=cores or available_threads())

    def run(left: int, top: int, width: int, height: int) -> _Slot:
        plan = _plan(planner, job.facts, (left, top, width, height))
        slot = _Slot(plan, place, header, (top, left), max(width, height))
        with output_files(plan) as files:
            pipeline.run_picture(plan, files, open_one=lambda _job, _output: slot)
        return slot

    rows: list[dict[str, object]] = []
    for entry in entries:
        try:
            rows += run(*map(int, entry.name.split(","))).rows(entry.name)
        except ConvcliError as error:
            rows.append({"input": entry.name, "etag": "", "error": error.message})
    return rows


def _plan(planner: Planner, facts: Mapping[str, Any], region: tuple[int, int, int, int] | None) -> Plan:
    """Plan the image, or a region of its maps."""
    request, file = planner.request, named(facts["input"])._replace(etag=facts["tiles"])
    info = probe(file.readable, **request.reading)
    refuse([(info.n_frames > 1, f"{facts['input']} has {info.n_frames} frames", "one frame: leave --cluster out")])
    return Planner(request._replace(region=region), planner.loaded).plan(file, info)


class _Slot(Writer):
    """A tile of a store that exists."""

    is_raw = True

    def __init__(self, plan: Plan, place: Objects, header: bytes, corner: tuple[int, int], side: int) -> None:
        output: OutputFile = plan.outputs[0]
        super().__init__(plan, output, Tone(ToneSpec("clip"), white=1.0, depth="float"))
        self._place, self._header, self._corner, self.tile_px = place, header, corner, side

    def put(self, maps: NDArray[Any], top: int, left: int) -> ToneCounts:
        """Write it where it belongs."""
        _, counts = self.tone.apply(maps)
        for name, data in encode_tile(self._header, maps, self._corner[0] + top, self._corner[1] + left).items():
            self._place.put(name, data)
        return counts

    def finish(self) -> None:
        """Nothing is left to be written."""

    def rows(self, tile: str) -> list[dict[str, object]]:
        """Return a row for each map."""
        counts, found = self.counts, []
        for place, index in enumerate(self.output.maps):
            named = self._plan.maps[index]
            values = {"min": counts.minimum, "max": counts.maximum, "mean": counts.mean, "std": counts.std}
            row: dict[str, object] = {"input": tile, "etag": "", "output": self.output.url or str(self.output.path)}
            row |= {"bytes": 0, "kernel": named.kernel, "channel": named.channel}
            row |= {name: float(array[place]) for name, array in values.items()}
            row |= {"clipped_low": 0, "clipped_high": 0, "not_a_number": int(counts.n_nan[place])}
            found.append(row)
        return found
