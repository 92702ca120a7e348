"""Transforms and their maps, handed to writers: strip by strip as they are computed, or when they are whole."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar, cast

import numpy as np

from convcli.geometry.arithmetic import window_px

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convcli.engine import ConvPlan, Runner
    from convcli.engine.store import ToneCounts
    from convcli.images.planes import PlaneSource
    from convcli.pipeline.names import MapName
    from convcli.pipeline.outputs import OutputFile
    from convcli.pipeline.request import ApplyRequest
    from convcli.pipeline.tones import Tone, ToneSpec
    from convcli.pipeline.transforms.binding import BoundBank, Combination

T = TypeVar("T")
Ranges = tuple["NDArray[Any]", "NDArray[Any]"]

#: Bytes of all maps in one strip of rows: enough to make Python's share small, few enough to stay in a core's caches.
STRIP_BYTES = 4 << 20
#: Where rows are long, the maps in a strip take no more than this part of the memory: an eighth, or one row.
MEMORY_SHARE = 8
#: A strip is no fewer rows than this, and no fewer than so many times those of a window: the rest is read twice.
LEAST_ROWS, LEAST_WINDOWS = 32, 4


class Stopped(Exception):  # noqa: N818 - no error: somebody asked for it
    """Work was asked to end; what it had begun is undone."""


class Band(NamedTuple):
    """A band ready to be appended: its encoded samples, and the counts of its tone."""

    payload: Any
    counts: ToneCounts


class OutputWriter(Protocol):
    """One output file under way."""

    output: OutputFile
    counts: ToneCounts
    tone: Tone
    is_raw: bool
    one_pass: bool

    def encode(self, maps: NDArray[Any], top: int) -> Band:
        """Make a band of its maps (M, h, W), whose first row is ``top``, ready; in any thread."""

    def encode_samples(self, samples: NDArray[Any], counts: ToneCounts, top: int) -> Band:
        """Make a band of stored samples (h, W, M) ready, where :attr:`one_pass` is set."""

    def append(self, band: Band) -> None:
        """Write a band; bands come from top to bottom."""

    def finish(self) -> int | None:
        """Put the file in its place; return its bytes, if it has a place."""

    def abort(self) -> None:
        """Leave nothing behind."""


class Run(Protocol):
    """A transform under way on one image."""

    def ranges(self) -> Ranges:
        """Return minimum and maximum of each map, which some tones need first."""

    def fill(self, writers: Sequence[OutputWriter]) -> None:
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
    def late_bias(self) -> NDArray[np.float64] | None:
        """Bias per colour plane that is added behind the engine, if any."""
        return None

    @property
    def uses_torch(self) -> bool:
        """Whether running it may load torch, of which one copy is enough."""
        return True

    @abstractmethod
    def tones(self, depth: str, *, on_sheet: bool) -> tuple[ToneSpec, ...]:
        """Return the tone of each map at a depth, ``auto`` resolved."""

    @abstractmethod
    def weight_bytes(self) -> bytes:
        """Return everything besides the flags that decides the maps, as bytes for a digest."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return its part of the report: kernel or stack, conventions, shapes and counts."""

    @abstractmethod
    def start(self, planes: NDArray[Any] | PlaneSource, tools: Tools) -> Run:
        """Return its run on planes (C, H, W)."""


def whole(planes: NDArray[Any] | PlaneSource) -> NDArray[Any]:
    """Return planes as one array."""
    return planes if isinstance(planes, np.ndarray) else planes.rows(0, planes.shape[1])


class ConvRun:
    """A bank on one image, a strip of rows at a time.

    Every strip is computed, toned and encoded in one thread while it is in that core's cache, and appended in order.

    Parameters
    ----------
    conv : ConvPlan
    bound : BoundBank
    combination : Combination
    planes : ndarray of shape (C, H, W) or PlaneSource
    tools : Tools
    memory : int, optional
        Bound on working memory in bytes.
    """

    def __init__(
        self,
        conv: ConvPlan,
        bound: BoundBank,
        combination: Combination,
        *,
        planes: NDArray[Any] | PlaneSource,
        tools: Tools,
        memory: int | None,
    ) -> None:
        self._conv, self._combination, self._planes, self._tools = conv, combination, planes, tools
        self._runner = tools.prepare(conv, bound.weight, bound.bias)
        self._n_kernels, self._memory = bound.n_kernels, memory
        self._n_maps = len(bound.maps) // bound.n_kernels * combination.n_maps(bound.n_kernels)

    def ranges(self) -> Ranges:
        """Return minimum and maximum of each combined map, in a pass of its own."""

        def extremes(top: int, bottom: int) -> Ranges:
            maps = self._maps(top, bottom)
            return maps.min(axis=(1, 2)), maps.max(axis=(1, 2))

        lows, highs = zip(*self._strips(extremes, self._conv.output_shape[0]), strict=True)
        return np.min(lows, axis=0), np.max(highs, axis=0)

    def fill(self, writers: Sequence[OutputWriter]) -> None:
        """Compute, combine and encode every strip, and append it to every writer."""
        passes = self._passes(writers)
        # Bytes take less of the cache than the sums they are made from.
        n_maps = self._conv.output_shape[0] if passes is None else -(-self._n_maps // 2)

        def encode(top: int, bottom: int) -> list[Band]:
            made = None if passes is None else [self._picture(*one, top, bottom) for one in passes]
            if made is not None and None not in made:
                return cast("list[Band]", made)
            maps = self._maps(top, bottom)
            return [writer.encode(maps[writer.output.span], top) for writer in writers]

        for bands in self._strips(encode, n_maps):
            for writer, band in zip(writers, bands, strict=True):
                writer.append(band)

    def _passes(self, writers: Sequence[OutputWriter]) -> list[tuple[OutputWriter, int | None]] | None:
        """Return the writers if the compiled loops make their strips from samples to bytes, each with its map or None.

        One writer of all maps, or a writer for each.
        """
        combination, n_kernels = self._combination, self._n_kernels
        if combination.reduction or not all(writer.one_pass for writer in writers):
            return None
        n_maps, dtype = self._n_maps, self._planes.dtype
        if len(writers) == 1 and len(writers[0].output.maps) == n_maps:
            plain = combination.combine == ("none" if n_kernels == 1 else "magnitude")
            return [(writers[0], None)] if plain and self._runner.makes_pictures(dtype, n_kernels) else None
        single = combination.combine == "none" and all(len(writer.output.maps) == 1 for writer in writers)
        if not single or not self._runner.makes_bytes(dtype):
            return None
        return [(writer, writer.output.maps[0]) for writer in writers]

    def _picture(self, writer: OutputWriter, map_index: int | None, top: int, bottom: int) -> Band | None:
        """Return a strip made in one pass, or None where its values leave what float32 can tell apart."""
        n_maps = len(writer.output.maps)
        samples = np.empty((bottom - top, self._conv.output_shape[2], n_maps), np.uint8)
        tones = [writer.tone.gain_offset(index) for index in range(n_maps)]
        counts = self._runner.picture(self._planes, top, bottom, samples, tones, map_index)
        return None if counts is None else writer.encode_samples(samples, counts, top)

    def _maps(self, top: int, bottom: int) -> NDArray[Any]:
        """Return a strip of combined maps (M, h, W), in the type that costs the engine least."""
        n_maps, _, width = self._conv.output_shape
        out = np.empty((n_maps, bottom - top, width), self._conv.dtype)
        maps = self._runner.rows(self._planes, top, bottom, out=out)
        return self._combination.apply(maps, self._n_kernels)

    def _strips(self, work: Callable[[int, int], T], n_maps: int) -> Iterator[T]:
        """Yield ``work(top, bottom)`` of every strip of ``n_maps`` in order, a few strips ahead on other threads."""
        from convcli.engine.plan import DEFAULT_MEMORY

        height = self._conv.output_shape[1]
        memory = self._memory or DEFAULT_MEMORY
        step = strip_rows(self._conv, memory // MEMORY_SHARE, n_maps)
        strips = ((top, min(top + step, height)) for top in range(0, height, step))
        if self._tools.threads == 1 or step >= height:
            for top, bottom in strips:
                self._tools.check()
                yield work(top, bottom)
            return

        def work_on(strip: tuple[int, int]) -> T:
            self._tools.check()
            return work(*strip)

        from convcli.pipeline.workers import work_in_order

        yield from work_in_order(strips, work_on, self._tools.threads)


def strip_rows(conv: ConvPlan, most_bytes: int, n_maps: int) -> int:
    """Return the output rows that one thread computes, tones and encodes at a time.

    A multiple of the plan's bands, or a part of one where a band of all maps is large; tiles of a transform, which are
    as high as a band, are not divided.
    """
    row_bytes = n_maps * conv.output_shape[2] * np.dtype(conv.dtype).itemsize
    rows = STRIP_BYTES // row_bytes
    if conv.engine == "fft" or (rows >= conv.band_rows and conv.engine != "direct"):
        return conv.band_rows * max(1, rows // conv.band_rows)
    window = window_px(conv.kernel_hw[0], conv.dilation_hw[0])
    least = max(LEAST_ROWS, LEAST_WINDOWS * window // conv.stride_hw[0])
    most = rows if conv.engine == "direct" else conv.band_rows
    return max(min(max(most, least), max(least, rows // LEAST_ROWS * LEAST_ROWS), most_bytes // row_bytes), 1)


class WholeRun:
    """Maps that are computed whole, by a stack or over frames.

    Parameters
    ----------
    results : sequence of (slice, ndarray of shape (M, H, W))
        Where maps stand among all maps of the plan, and the maps.
    check : callable
        Called between pieces of work; raises to stop.
    """

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

    def fill(self, writers: Sequence[OutputWriter]) -> None:
        """Encode the maps of every output in strips."""
        for writer in writers:
            first = writer.output.maps[0]
            span, maps = next((span, maps) for span, maps in self._results if span.start <= first < span.stop)
            maps = maps[first - span.start : first - span.start + len(writer.output.maps)]
            step = max(1, STRIP_BYTES // max(maps[:, 0].nbytes, 1))
            for top in range(0, maps.shape[1], step):
                self._check()
                # A copy: tones work in place, and another writer may want the same maps.
                writer.append(writer.encode(maps[:, top : top + step].copy(), top))
