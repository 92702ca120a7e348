"""Maps handed to sinks: those of a bank as they are computed, strip by strip, others when they are whole."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

import numpy as np

from convcli.geometry.arithmetic import window_px
from convcli.pipeline.workers import work_in_order

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convcli.engine import ConvPlan, Runner
    from convcli.images.planes import PlaneSource
    from convcli.pipeline.plan import ImagePlan
    from convcli.pipeline.writers import Band, PictureSink, Sink

T = TypeVar("T")
Ranges = tuple["NDArray[Any]", "NDArray[Any]"]

#: Bytes of all maps in one strip of rows: enough to make Python's share small, few enough to stay in a core's caches.
STRIP_BYTES = 4 << 20
#: Where rows are long, the maps in a strip take no more than this part of the memory: an eighth, or one row.
MEMORY_SHARE = 8
#: A strip is no fewer rows than this, and no fewer than so many times those of a window: the rest is read twice.
LEAST_ROWS, LEAST_WINDOWS = 32, 4


class Run(Protocol):
    """One plan under way."""

    def ranges(self) -> Ranges:
        """Return minimum and maximum of each map, which some tones need first."""

    def fill(self, sinks: list[Sink]) -> None:
        """Give every sink the maps of its output, from top to bottom."""


class ConvRun:
    """A bank on one image, a strip of rows at a time.

    Every strip is computed, toned and encoded in one thread while it is in that core's cache, and appended in order.

    Parameters
    ----------
    plan : ImagePlan
    planes : ndarray of shape (C, H, W) or PlaneSource
    runner : Runner
    threads : int
        Strips at a time.
    check : callable
        Called before every strip; raises to stop.
    """

    def __init__(
        self,
        plan: ImagePlan,
        planes: NDArray[Any] | PlaneSource,
        runner: Runner,
        *,
        threads: int,
        check: Callable[[], None],
    ) -> None:
        self._plan, self._planes, self._runner = plan, planes, runner
        self._threads, self._check = threads, check

    def ranges(self) -> Ranges:
        """Return minimum and maximum of each combined map, in a pass of its own."""

        def extremes(top: int, bottom: int) -> Ranges:
            maps = self._maps(top, bottom)
            return maps.min(axis=(1, 2)), maps.max(axis=(1, 2))

        lows, highs = zip(*self._strips(extremes, self._plan.conv.output_shape[0]), strict=True)
        return np.min(lows, axis=0), np.max(highs, axis=0)

    def fill(self, sinks: list[Sink]) -> None:
        """Compute, combine and encode every strip, and append it to every sink."""
        passes = self._passes(sinks)
        # Bytes take less of the cache than the sums they are made from.
        n_maps = self._plan.conv.output_shape[0] if passes is None else -(-len(self._plan.maps) // 2)

        def encode(top: int, bottom: int) -> list[Band]:
            made = None if passes is None else [self._picture(*one, top, bottom) for one in passes]
            if made is not None and None not in made:
                return cast("list[Band]", made)
            maps = self._maps(top, bottom)
            return [sink.encode(maps[sink.output.span], top) for sink in sinks]

        for bands in self._strips(encode, n_maps):
            for sink, band in zip(sinks, bands, strict=True):
                sink.append(band)

    def _passes(self, sinks: list[Sink]) -> list[tuple[PictureSink, int | None]] | None:
        """Return the sinks if the compiled loops make their strips from samples to bytes, each with its map or None.

        One sink of all maps, or a sink for each.
        """
        from convcli.pipeline.writers import PictureSink

        combination, n_kernels = self._plan.combination, self._plan.bound.n_kernels
        pictures = [sink for sink in sinks if isinstance(sink, PictureSink) and sink.one_pass]
        if len(pictures) < len(sinks) or combination.reduction:
            return None
        n_maps, dtype = len(self._plan.maps), self._planes.dtype
        if len(pictures) == 1 and len(pictures[0].output.maps) == n_maps:
            plain = combination.combine == ("none" if n_kernels == 1 else "magnitude")
            return [(pictures[0], None)] if plain and self._runner.makes_pictures(dtype, n_kernels) else None
        single = combination.combine == "none" and all(len(sink.output.maps) == 1 for sink in pictures)
        if not single or not self._runner.makes_bytes(dtype):
            return None
        return [(sink, sink.output.maps[0]) for sink in pictures]

    def _picture(self, sink: PictureSink, map_index: int | None, top: int, bottom: int) -> Band | None:
        """Return a strip made in one pass, or None where its values leave what float32 can tell apart."""
        n_maps = len(sink.output.maps)
        samples = np.empty((bottom - top, self._plan.conv.output_shape[2], n_maps), np.uint8)
        tones = [sink.tone.gain_offset(index) for index in range(n_maps)]
        counts = self._runner.picture(self._planes, top, bottom, samples, tones, map_index)
        return None if counts is None else sink.encode_samples(samples, counts, top)

    def _maps(self, top: int, bottom: int) -> NDArray[Any]:
        """Return a strip of combined maps (M, h, W), in the type that costs the engine least."""
        n_maps, _, width = self._plan.conv.output_shape
        out = np.empty((n_maps, bottom - top, width), self._plan.conv.dtype)
        maps = self._runner.rows(self._planes, top, bottom, out=out)
        return self._plan.combination.apply(maps, self._plan.bound.n_kernels)

    def _strips(self, work: Callable[[int, int], T], n_maps: int) -> Iterator[T]:
        """Yield ``work(top, bottom)`` of every strip of ``n_maps`` in order, a few strips ahead on other threads."""
        height = self._plan.conv.output_shape[1]
        from convcli.engine.plan import DEFAULT_MEMORY

        memory = self._plan.request.memory or DEFAULT_MEMORY
        step = strip_rows(self._plan.conv, memory // MEMORY_SHARE, n_maps)
        strips = ((top, min(top + step, height)) for top in range(0, height, step))
        if self._threads == 1 or step >= height:
            for top, bottom in strips:
                self._check()
                yield work(top, bottom)
            return

        def work_on(strip: tuple[int, int]) -> T:
            self._check()
            return work(*strip)

        yield from work_in_order(strips, work_on, self._threads)


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

    def fill(self, sinks: list[Sink]) -> None:
        """Encode the maps of every output in strips."""
        for sink in sinks:
            first = sink.output.maps[0]
            span, maps = next((span, maps) for span, maps in self._results if span.start <= first < span.stop)
            maps = maps[first - span.start : first - span.start + len(sink.output.maps)]
            step = max(1, STRIP_BYTES // max(maps[:, 0].nbytes, 1))
            for top in range(0, maps.shape[1], step):
                self._check()
                # A copy: tones work in place, and another sink may want the same maps.
                sink.append(sink.encode(maps[:, top : top + step].copy(), top))
