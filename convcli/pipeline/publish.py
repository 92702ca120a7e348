"""Inputs from a store and outputs into one, for a batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convcli.errors import OutputError, UsageError
from convcli.images import formats
from convcli.pipeline.places import open_store
from convcli.pipeline.staging import KEPT, local_copy

#: Of a Zarr store or group.
HEADER = "zarr.json"

if TYPE_CHECKING:
    from convcli.pipeline.inputs import InputFile
    from convcli.pipeline.plan import Plan


def ahead(inputs: Sequence[InputFile]) -> Iterator[InputFile]:
    """Yield inputs; objects of a store are copied before, several at once. One that fails does so when it is read."""
    with ThreadPoolExecutor(8) as pool:
        for first in range(0, len(inputs), KEPT):
            some = inputs[first : first + KEPT]
            for copying in [pool.submit(local_copy, file.url) for file in some if file.is_stored]:
                error = copying.exception()
                if isinstance(error, UsageError):  # others are told where the copy is read
                    raise error
            yield from some


def publish(plan: Plan, report: dict[str, Any]) -> None:
    """Put the outputs of a plan into their store, and remove them here.

    Raises
    ------
    OutputError
        An object of that name is there already, and may not be replaced; or the store refuses it.
    """
    del report
    request = plan.request
    store = open_store(request.out_url)
    if request.overwrite:
        _clear_replaced(plan)

    def put(path: Path) -> None:
        name = path.relative_to(request.stage).as_posix()
        data = path.read_bytes()
        if request.overwrite:
            store.put(name, data)
        elif not store.create(name, data):
            raise OutputError(f"{request.out_url}/{name} exists", hint="--overwrite replaces it")
        path.unlink()

    # A request takes tens of milliseconds in which nothing is computed: the maps of an input go together.
    with ThreadPoolExecutor(8) as pool:
        files = [file for path in plan.written_paths for file in _files_of(path)]
        list(pool.map(put, (file for file in files if file.name != HEADER)))
    # A folder of chunks can be read once its header is there: the outermost comes last.
    for file in sorted((file for file in files if file.name == HEADER), key=lambda file: -len(file.parts)):
        put(file)


def _clear_replaced(plan: Plan) -> None:
    """Delete the Zarr stores that a plan replaces: chunks of the old maps would show where the new ones have none.

    Of a job, only what this run will not put: another run of the same shard may have stored, and committed, the rest.
    """
    for output in plan.outputs:
        if output.path is not None and formats.BY_NAME[output.format].folder:
            new = {file.relative_to(output.path).as_posix() for file in _files_of(output.path)}
            open_store(output.url).clear(keep=new if plan.request.whole_names else ())


def _files_of(path: Path) -> list[Path]:
    return [file for file in sorted(path.rglob("*")) if file.is_file()] if path.is_dir() else [path]


def published(plans: Sequence[Plan]) -> set[Path]:
    """Return those paths of plans whose objects exist."""
    request = plans[0].request
    store = open_store(request.out_url)
    names = {path.relative_to(request.stage).as_posix(): path for plan in plans for path in plan.written_paths}
    wanted = names | {f"{name}/{HEADER}": path for name, path in names.items() if path.suffix == ".zarr"}
    if len(wanted) <= 16:  # a few questions cost less than a listing
        return {path for name, path in wanted.items() if store.exists(name)}
    return {wanted[entry.name] for page in store.pages() for entry in page if entry.name in wanted}
