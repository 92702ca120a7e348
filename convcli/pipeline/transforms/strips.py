"""The convolution of a bound bank: padding and algorithm planned, then run a strip of rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np

from convcli.errors import GeometryError, UsageError
from convcli.geometry.arithmetic import Pair, resolve_padding, window_px
from convcli.geometry.transposed import resolve_transpose_padding
from convcli.pipeline.transforms.base import STRIP_BYTES, Band, Ranges, Tools, Writer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convcli.engine.plan import ConvPlan
    from convcli.engine.runner import Runner
    from convcli.images.info import ImageInfo
    from convcli.images.planes import PlaneSource
    from convcli.pipeline.request import ApplyRequest
    from convcli.pipeline.transforms.binding import BoundBank

T = TypeVar("T")

#: Where rows are long, the maps in a strip take no more than this part of the memory: an eighth, or one row.
MEMORY_SHARE = 8
#: A strip is no fewer rows than this, and no fewer than so many times those of a window: the rest is read twice.
LEAST_ROWS, LEAST_WINDOWS = 32, 4
#: Copies of a strip of maps that are there at once: sums, and their combination or samples.
_MAPS_KEPT = 2
#: Rows of tiles that a thread has at once: the one that it makes, and two that wait for their turn.
WAITING = 3


def plan_engine(
    request: ApplyRequest, bound: BoundBank, info: ImageInfo, n_planes: int, *, computed: bool = False
) -> ConvPlan:
    """Plan the convolution itself; ``computed`` planes reach the engine as floats, not as stored samples."""
    from convcli.engine.borders import parse_border
    from convcli.engine.plan import plan_conv
    from convcli.engine.problem import check_range

    input_px = (info.height_px, info.width_px)
    # The command repeats edges unless told otherwise; a transposed convolution knows no border but zeros.
    border = request.padding_mode or ("zeros" if request.transposed else "replicate")
    kernel_px: tuple[int, int] = (bound.weight.shape[-2], bound.weight.shape[-1])
    conv = plan_conv(
        input_shape=(n_planes, *input_px),
        weight=bound.weight,
        stride=request.stride,
        padding=resolve_request_padding(request, input_px, kernel_px),
        dilation=request.dilation,
        groups=bound.groups,
        border=parse_border(border),
        transposed=request.transposed,
        output_padding=request.output_padding,
        dtype=request.dtype,
        input_dtype=request.dtype if computed or request.unit else info.dtype,
        engine=request.engine,
        threads=request.threads,
        memory=request.memory,
        maps_kept=_MAPS_KEPT,
        device=request.device,
    )
    # The plan's bound covers sums of products; a bias added behind them may still leave the type's range.
    bias = bound.bias if bound.late_bias is None else bound.late_bias
    if bias is not None:
        largest = float(abs(bias).max())
        check_range(largest + conv.bound, conv.dtype, f"bias of {largest:.4g}")
    return conv


def resolve_request_padding(
    request: ApplyRequest, input_px: tuple[int, int], kernel_px: tuple[int, int]
) -> tuple[Pair, Pair]:
    """Return pixels added per side, (before, after) for rows and columns; ``--anchor`` moves ``same``."""
    if request.anchor is None:
        if request.transposed:
            pairs = resolve_transpose_padding(
                request.padding, input_px, kernel_px, request.stride, request.dilation, request.output_padding
            )
        else:
            pairs = resolve_padding(request.padding, input_px, kernel_px, request.stride, request.dilation)
        return pairs[0], pairs[1]
    if request.padding != "same" or request.transposed:
        raise UsageError(
            "--anchor goes with --padding same", hint="per-side padding moves the kernel: --padding 0,2,0,2"
        )
    anchored = []
    for size, kernel, stride, dilation, anchor in zip(
        input_px, kernel_px, request.stride, request.dilation, request.anchor, strict=True
    ):
        if anchor >= kernel:
            raise GeometryError(
                f"--anchor {anchor} is outside a kernel of {kernel} taps", hint=f"0 to {kernel - 1}", kernel_px=kernel
            )
        before = anchor * dilation
        needed = (-(-size // stride) - 1) * stride + window_px(kernel, dilation) - size
        anchored.append((before, max(needed - before, 0)))
    return anchored[0], anchored[1]


class ConvRun:
    """A bank on one image, a strip of rows at a time.

    Every strip is computed, toned and encoded in one thread while it is in that core's cache, and appended in order.

    Of the request, ``memory`` bounds the strips and ``region`` says which rows and columns are computed and kept.
    """

    def __init__(
        self, conv: ConvPlan, bound: BoundBank, planes: NDArray[Any] | PlaneSource, tools: Tools, request: ApplyRequest
    ) -> None:
        self._conv, self._combination, self._planes, self._tools = conv, bound.combination, planes, tools
        self._runner: Runner = tools.prepare(conv, bound.weight, bound.bias)
        if request.nodata is not None:
            from convcli.engine.masked import MaskedRunner

            self._runner = MaskedRunner(conv, bound.weight, bound.bias)
        self._memory, self._bound = request.memory, bound
        self._has_gaps = request.nodata is not None
        _, height, width = conv.output_shape
        self._left, self._top, self._width, self._height = request.region or (0, 0, width, height)
        self._n_maps = len(bound.combined_maps)

    def ranges(self) -> Ranges:
        """Return minimum and maximum of each combined map, in a pass of its own."""

        def extremes(top: int, bottom: int) -> Ranges:
            maps = self._maps(top, bottom)
            if self._has_gaps:  # minimum and maximum of the values that are there
                return np.fmin.reduce(maps, axis=(1, 2)), np.fmax.reduce(maps, axis=(1, 2))
            return maps.min(axis=(1, 2)), maps.max(axis=(1, 2))

        lows, highs = zip(*self._strips(extremes, self._step(self._conv.output_shape[0])), strict=True)
        return np.fmin.reduce(lows), np.fmax.reduce(highs)

    def fill(self, writers: Sequence[Writer]) -> None:
        """Compute, combine and encode every strip, and append it to every writer."""
        passes, unit = self._passes(writers), max(writer.band_px for writer in writers)
        # Bytes take less of the cache than the sums they are made from.
        n_maps = self._conv.output_shape[0] if passes is None else -(-self._n_maps // 2)

        def encode(top: int, bottom: int) -> list[Band]:
            made = None if passes is None else [self._picture(*one, top, bottom) for one in passes]
            # One None is enough to compute the maps, and then every writer may take them.
            if made is not None and None not in made:
                return cast("list[Band]", made)
            maps = self._maps(top, bottom)
            return [writer.encode(maps[writer.output.span], top - self._top) for writer in writers]

        step = self._step(n_maps)
        for bands in self._joined(encode, step, writers) if unit > 1 else self._strips(encode, step):
            for writer, band in zip(writers, bands, strict=True):
                writer.append(band)

    def _passes(self, writers: Sequence[Writer]) -> list[tuple[Writer, int | None]] | None:
        """Return the writers if the compiled loops make their strips from samples to bytes, each with its map or None.

        One writer of all maps, or a writer for each.
        """
        # The loops write whole rows and know one or all maps: a region's columns and MR8's groups need maps first.
        combination = self._combination
        if (
            combination.reduction
            or self._bound.alpha_white is not None
            or self._width < self._conv.output_shape[2]
            or not all(writer.one_pass for writer in writers)
        ):
            return None
        n_maps, dtype = self._n_maps, self._planes.dtype
        if len(writers) == 1 and len(writers[0].output.maps) == n_maps:
            plain = combination.combine == ("none" if combination.n_kernels == 1 else "magnitude")
            return [(writers[0], None)] if plain and self._runner.makes_pictures(dtype, combination.n_kernels) else None
        single = combination.combine == "none" and all(len(writer.output.maps) == 1 for writer in writers)
        if not single or not self._runner.makes_bytes(dtype):
            return None
        return [(writer, writer.output.maps[0]) for writer in writers]

    def _picture(self, writer: Writer, map_index: int | None, top: int, bottom: int) -> Band | None:
        """Return a strip made in one pass, or None where values exceed the precision of float32."""
        n_maps = len(writer.output.maps)
        samples = np.empty((bottom - top, self._conv.output_shape[2], n_maps), np.uint8)
        tones = [writer.tone.gain_offset(index) for index in range(n_maps)]
        counts = self._runner.picture(self._planes, top, bottom, samples, tones, map_index)
        return None if counts is None else writer.encode_samples(samples, counts, top - self._top)

    def _maps(self, top: int, bottom: int) -> NDArray[Any]:
        """Return a strip of combined maps (M, h, W), in the type that costs the engine least."""
        n_maps, _, width = self._conv.output_shape
        out = np.empty((n_maps, bottom - top, width), self._conv.dtype)
        maps = self._runner.rows(self._planes, top, bottom, out=out)
        if self._width < width:
            # Contiguous: the compiled tone reads rows whose values lie side by side.
            maps = np.ascontiguousarray(maps[:, :, self._left : self._left + self._width])
        maps = self._combination.apply(maps)
        if self._bound.alpha_white is None:
            return maps
        from convcli.pipeline.transforms.alpha import unpremultiply

        return unpremultiply(maps, self._bound.alpha_white, self._bound.late_bias)

    def _joined(
        self, encode: Callable[[int, int], list[Band]], step: int, writers: Sequence[Writer]
    ) -> Iterator[list[Band]]:
        """Yield bands of whole rows of tiles in order, each made of strips of ``step`` rows in one thread.

        A finished row of tiles waits for its turn, so there are as many threads as the memory has room for: one at
        least, which holds one row of tiles and one strip.
        """
        unit = max(writer.band_px for writer in writers)
        rows = unit * max(1, step // unit)

        def join(top: int, bottom: int) -> list[Band]:
            strips = [encode(first, min(first + step, bottom)) for first in range(top, bottom, step)]
            return [writer.join(bands) for writer, *bands in zip(writers, *strips, strict=True)]

        n_bytes = sum(writer.output.n_bytes for writer in writers) * rows // self._height
        return self._strips(join, rows, most_threads=self._room() // max(1, WAITING * n_bytes))

    def _room(self) -> int:
        """Return the bytes of memory that strips may take."""
        from convcli.engine.plan import DEFAULT_MEMORY

        return self._memory or DEFAULT_MEMORY

    def _step(self, n_maps: int) -> int:
        """Return the rows of a strip of ``n_maps``."""
        return strip_rows(self._conv, self._room() // MEMORY_SHARE, n_maps)

    def _strips(self, work: Callable[[int, int], T], step: int, most_threads: int | None = None) -> Iterator[T]:
        """Yield ``work(top, bottom)`` of every strip in order, a few strips ahead on other threads."""
        end = self._top + self._height
        threads = self._tools.threads if most_threads is None else min(self._tools.threads, most_threads)
        strips = ((top, min(top + step, end)) for top in range(self._top, end, step))
        # Threads for a single strip would cost more than they save.
        share = min(step / self._height, 1.0)
        if threads <= 1 or step >= self._height:
            for top, bottom in strips:
                self._tools.check()
                yield work(top, bottom)
                self._tools.advance(share)
            return

        def work_on(strip: tuple[int, int]) -> T:
            self._tools.check()
            return work(*strip)

        from convcli.pipeline.workers import work_in_order

        for done in work_in_order(strips, work_on, threads):
            yield done
            self._tools.advance(share)


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
