"""A bank on an image, tile by tile of the output: for pictures whose rows are too long for strips."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from convcli.engine.borders import parse_border
from convcli.engine.plan import plan_conv
from convcli.engine.runner import Runner, prepare
from convcli.engine.tiles import Axis, gather, window_of
from convcli.images.planes import read_window
from convcli.pipeline.transforms.base import Writer
from convcli.pipeline.transforms.strips import ConvRun
from convcli.pipeline.workers import work_in_order

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convcli.engine.plan import ConvPlan
    from convcli.engine.store import ToneCounts
    from convcli.images.planes import PlaneSource
    from convcli.pipeline.request import ApplyRequest
    from convcli.pipeline.transforms.base import Tools
    from convcli.pipeline.transforms.binding import BoundBank


class TiledRun(ConvRun):
    """A run that gives a writer of tiles each one by itself, in as many threads as the run has.

    Every tile is convolved without padding over the exact window that it needs, by the engine that was chosen for the
    whole; so memory does not grow with the picture, and sums of whole numbers are those of the whole to the bit.
    """

    def __init__(
        self, conv: ConvPlan, bound: BoundBank, planes: NDArray[Any] | PlaneSource, tools: Tools, request: ApplyRequest
    ) -> None:
        super().__init__(conv, bound, planes, tools, request)
        self._runners: dict[tuple[object, ...], Runner] = {}
        self._lock = threading.Lock()

    def fill(self, writers: Sequence[Writer]) -> None:
        """Compute every tile and put it where it belongs; writers of bands get strips."""
        side = min(writer.tile_px for writer in writers)
        if not side or self._conv.transposed or self._has_gaps:
            super().fill(writers)
            return

        def work(place: tuple[int, int]) -> list[ToneCounts]:
            self._tools.check()
            top, left = place
            maps = self._tile(top, min(top + side, self._height), left, min(left + side, self._width))
            return [writer.put(maps[writer.output.span], top, left) for writer in writers]

        places = ((top, left) for top in range(0, self._height, side) for left in range(0, self._width, side))
        for counts in work_in_order(places, work, self._tools.threads):
            for writer, count in zip(writers, counts, strict=True):
                writer.counts += count

    def _tile(self, top: int, bottom: int, left: int, right: int) -> NDArray[Any]:
        """Return a tile of the combined maps; rows and columns count from those that are kept."""
        conv = self._conv
        sizes, moves = conv.input_shape[-2:], (conv.kernel_hw, conv.stride_hw, conv.dilation_hw)
        before = (pair[0] for pair in conv.padding)
        axes = [Axis(*numbers) for numbers in zip(sizes, *moves, before, strict=True)]
        spans = ((self._top + top, self._top + bottom), (self._left + left, self._left + right))
        windows = [window_of(axis, *span, conv.border) for axis, span in zip(axes, spans, strict=True)]
        block = gather(lambda where: read_window(self._planes, *where), windows, conv.border.value)
        # A window may be a view of the picture, whose samples lie side by side.
        maps = self._runner_for(block).run(np.ascontiguousarray(block))
        return self._combination.apply(maps)

    def _runner_for(self, block: NDArray[Any]) -> Runner:
        """Return the prepared kernels for windows of this shape: those at the edges differ."""
        key = (block.shape, str(block.dtype))
        with self._lock:
            if key not in self._runners:
                conv = self._conv
                plan = plan_conv(
                    input_shape=block.shape,
                    weight=self._bound.weight,
                    stride=conv.stride_hw,
                    padding=((0, 0), (0, 0)),
                    dilation=conv.dilation_hw,
                    groups=conv.groups,
                    border=parse_border("zeros"),
                    dtype=conv.dtype,
                    input_dtype=str(block.dtype),
                    engine=conv.engine,
                    threads=1,
                    memory=self._memory,
                    device=conv.device,
                )
                self._runners[key] = prepare(plan, self._bound.weight, self._bound.bias)
            return self._runners[key]
