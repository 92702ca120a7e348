"""The contract of transforms: planned from a header, described, started on planes; their maps go to writers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from convcli.engine.store import ToneCounts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convcli.engine.plan import ConvPlan
    from convcli.engine.runner import Runner
    from convcli.images.planes import PlaneSelection, PlaneSource
    from convcli.images.write import PictureWriter
    from convcli.layers.walk import Walk
    from convcli.pipeline.naming import MapName
    from convcli.pipeline.outputs import OutputFile
    from convcli.pipeline.request import ApplyRequest
    from convcli.pipeline.tones import Tone

Ranges = tuple["NDArray[Any]", "NDArray[Any]"]


#: Bytes of all maps in one strip of rows: enough to make Python's share small, few enough to stay in a core's caches.
STRIP_BYTES = 4 << 20


class Stopped(Exception):  # noqa: N818 - no error: somebody asked for it
    """Work was asked to end, and its unfinished files are removed."""


class Band(NamedTuple):
    """A band ready to be appended: its encoded samples, and the counts of its tone."""

    payload: Any
    counts: ToneCounts


class Writer:
    """One output file under way: encodes bands of maps in any thread, and appends them from top to bottom."""

    #: Whether maps are stored as they are.
    is_raw = False
    #: Whether :meth:`encode_samples` takes stored samples made by the compiled loops.
    one_pass = False
    #: Side of the tiles that :meth:`put` takes in any order; 0: bands only.
    tile_px = 0
    #: Rows that :meth:`join` needs a multiple of, but at the end; 1: bands are appended as they are.
    band_px = 1
    #: Losses that only the samples show; complete after :meth:`finish`.
    notes: tuple[str, ...] = ()
    #: Bytes of the finished file, if it has a place.
    n_bytes: int | None = None
    encoder: PictureWriter

    def __init__(self, plan: Any, output: OutputFile, tone: Tone) -> None:
        self.output, self.tone, self._plan = output, tone, plan
        self.facts: Mapping[str, object] = {}  # more about its file for the report
        self.counts = ToneCounts.zero(len(output.maps))

    def encode(self, maps: NDArray[Any], top: int) -> Band:
        """Make a band of its maps (M, h, W), whose first row is ``top``, ready."""
        raise NotImplementedError

    def encode_samples(self, samples: NDArray[Any], counts: ToneCounts, top: int) -> Band:
        """Make a band of stored samples (h, W, M) ready."""
        raise NotImplementedError

    def put(self, maps: NDArray[Any], top: int, left: int) -> ToneCounts:
        """Write a tile of its maps (M, h, W) at a row and column."""
        raise NotImplementedError

    def join(self, bands: Sequence[Band]) -> Band:
        """Make neighbouring bands one, where :attr:`band_px` is more than 1; in any thread."""
        return Band(self.encoder.join([band.payload for band in bands]), reduce(add, (band.counts for band in bands)))

    def append(self, band: Band) -> None:
        """Write a band."""
        self.encoder.append(band.payload)
        self.counts += band.counts

    def finish(self) -> None:
        """Put the file in its place."""
        self.encoder.close()
        self.notes = self.encoder.notes
        self.n_bytes = self.output.file_bytes()


class Run(Protocol):
    """A transform under way on one image."""

    def ranges(self) -> Ranges:
        """Return minimum and maximum of each map, which some tones need first."""

    def fill(self, writers: Sequence[Writer]) -> None:
        """Give every writer the maps of its output, from top to bottom."""


class Tools(NamedTuple):
    """Resources that a batch lends to a run."""

    #: Strips at a time.
    threads: int
    #: Called before every strip; raises to stop.
    check: Callable[[], None]
    #: Return the prepared kernels of a plan, kept for images of the same shape.
    prepare: Callable[[ConvPlan, NDArray[Any], NDArray[Any] | None], Runner]
    #: Yield the planes of the other frames of a volume.
    other_frames: Callable[[], Iterator[NDArray[Any] | PlaneSource]]
    #: Called with the share of a pass that was just done.
    advance: Callable[[float], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Transform(ABC):
    """The computation on one image, planned.

    Attributes
    ----------
    request : ApplyRequest
    maps : tuple of MapName
        Its results, in order.
    input_shape : tuple of int
        Planes, rows and columns that run; frames stand before rows.
    frames : tuple of int
        Frames of the file that are one volume, in order; empty where each picture is an input by itself.
    """

    request: ApplyRequest
    maps: tuple[MapName, ...]
    input_shape: tuple[int, ...]
    frames: tuple[int, ...] = ()

    @property
    def leading(self) -> tuple[int, ...]:
        """Axes before rows and columns of a raw file of all maps."""
        return (len(self.maps),)

    @property
    @abstractmethod
    def walk(self) -> Walk:
        """Layers bound to the input: their shapes and counts."""

    def layer_of(self, map_index: int) -> int:
        """Return which row of :attr:`walk` gives a map; a bank is one layer."""
        del map_index
        return 0

    @property
    def uses_torch(self) -> bool:
        """Whether running it may load torch, of which one copy is enough."""
        return True

    @property
    def loops(self) -> str:
        """The loops that run it, in words."""
        from convcli.engine import loops

        return loops()

    @property
    def n_indexes(self) -> int:
        """How many indexes the maps hold where ``argmax`` made them, else 0."""
        return 0

    def taps(self, map_index: int) -> NDArray[np.float64] | None:
        """Return the taps that made a map, (planes, rows, columns), to be drawn beside it; None where layers did."""
        del map_index
        return None

    @property
    def taps_on_planes(self) -> bool:
        """Whether the taps of one kernel are for the planes of the image."""
        return True

    @abstractmethod
    def weight_bytes(self) -> bytes:
        """Return everything besides the flags that decides the maps, as bytes for a digest."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return its part of the report: kernel or stack, conventions, shapes and counts."""

    @abstractmethod
    def start(self, planes: NDArray[Any] | PlaneSource, tools: Tools) -> Run:
        """Return its run on planes (C, H, W)."""


class Planned(NamedTuple):
    """The part of a plan that depends on the kind of transform.

    ``outputs`` are runs of maps of one size, as (first map, end, size); ``kernel`` names a file that holds all maps.
    """

    transform: Transform
    selection: PlaneSelection
    alpha: str | None
    kind: str
    outputs: tuple[tuple[int, int, tuple[int, int]], ...]
    folder: str
    kernel: str
    notes: tuple[str, ...]


def crop(maps: NDArray[Any], request: ApplyRequest) -> NDArray[Any]:
    """Return the part of maps (..., H, W) that ``--region`` asks for."""
    if request.region is None:
        return maps
    left, top, width, height = request.region
    return maps[..., top : top + height, left : left + width]


def whole(planes: NDArray[Any] | PlaneSource) -> NDArray[Any]:
    """Return planes as one array."""
    return planes if isinstance(planes, np.ndarray) else planes.rows(0, planes.shape[1])


class WholeRun:
    """Maps that are computed whole, by a stack or over frames: slices of all maps of the plan, each with its maps."""

    def __init__(self, results: Sequence[tuple[slice, NDArray[Any]]], *, check: Callable[[], None]) -> None:
        self._results = results
        self._check = check

    def ranges(self) -> Ranges:
        """Return minimum and maximum of each map."""
        maps = [result for _, result in self._results]
        return (
            np.concatenate([one.min(axis=(1, 2)) for one in maps]),
            np.concatenate([one.max(axis=(1, 2)) for one in maps]),
        )

    def fill(self, writers: Sequence[Writer]) -> None:
        """Encode the maps of every output in strips."""
        for writer in writers:
            first = writer.output.maps[0]
            span, maps = next((span, maps) for span, maps in self._results if span.start <= first < span.stop)
            maps = maps[first - span.start : first - span.start + len(writer.output.maps)]
            step = max(1, STRIP_BYTES // max(maps[:, 0].nbytes, 1))
            step = -(-step // writer.band_px) * writer.band_px
            for top in range(0, maps.shape[1], step):
                self._check()
                # A copy: tones work in place, and another writer may want the same maps.
                band = writer.encode(maps[:, top : top + step].copy(), top)
                writer.append(band if writer.band_px == 1 else writer.join([band]))
