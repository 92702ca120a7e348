"""Sheets: the input, then a row a kernel with its taps and one tile a plane, in one colour scale.

The layout is known before a pixel is read. Tiles of large maps are the mean of blocks of samples; where taps sum to
zero both signs would cancel, and a tile has the strongest value of each block.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, sqrt
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from convcli.images.blocks import Blocks
from convcli.images.colormaps import SHARE, Scale
from convcli.images.planes import read_window, select_planes, view_planes
from convcli.pipeline.tones import Tone, ToneSpec
from convcli.pipeline.transforms.base import STRIP_BYTES, Band, Writer
from convcli.pipeline.writers import bind_tone, metadata_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convcli.images.planes import PlaneSource
    from convcli.images.sheet import Cell
    from convcli.pipeline.naming import MapName
    from convcli.pipeline.outputs import OutputFile
    from convcli.pipeline.plan import Plan
    from convcli.pipeline.writers import Job

#: Sides of a tile: captions need the least, and small sheets do not grow beyond the largest.
LEAST_PX, MOST_PX = 124, 320
_SLACK_PX = 8
#: Pixels that a sheet of many tiles is to have.
_PAGE_PX = 5_000_000
#: Rows that are drawn, and tiles of one; pictures of more open in no viewer.
MOST_ROWS, MOST_COLUMNS = 1024, 8
#: Layers that a title names.
_MOST_LAYERS = 12
#: Longest side of the pictures of before and after.
_PAIR_PX = 1200


class Layout(NamedTuple):
    """Where the tiles of a sheet lie: rows of map indexes, how many columns of rows, and how maps become tiles."""

    rows: tuple[tuple[int, ...], ...]
    n_groups: int
    box_hw: tuple[int, int]
    factor: int
    n_left_out: int = 0

    @property
    def cell_px(self) -> int:
        """Width of every cell."""
        return max(LEAST_PX, self.input_hw[1])

    @property
    def input_hw(self) -> tuple[int, int]:
        """Box of the input, with room for one that a map without padding is a little smaller than."""
        return (self.box_hw[0] + _SLACK_PX, self.box_hw[1] + _SLACK_PX)


def plan_sheet(maps: Sequence[MapName], size_hw: tuple[int, int], *, has_taps: bool) -> Layout:
    """Lay out the maps: a row a kernel, in as many columns of rows as make the page about four by three.

    Examples
    --------
    >>> from convcli.pipeline.naming import MapName
    >>> layout = plan_sheet([MapName(k, c) for c in "rgb" for k in "xy"], (400, 600), has_taps=True)
    >>> layout.rows, layout.n_groups, layout.factor, layout.box_hw
    (((0, 2, 4), (1, 3, 5)), 1, 2, (200, 300))
    """
    by_kernel: dict[str, list[int]] = {}
    for index, named in enumerate(maps):
        by_kernel.setdefault(named.kernel, []).append(index)
    every = [row[at : at + MOST_COLUMNS] for row in by_kernel.values() for at in range(0, len(row), MOST_COLUMNS)]
    rows = tuple(map(tuple, every[:MOST_ROWS]))
    n_cells = max(map(len, rows)) + has_taps
    height, width = size_hw
    side = sqrt(_PAGE_PX / ((len(rows) + 1) * n_cells) * max(height, width) / min(height, width))
    tile_px = int(min(max(side, LEAST_PX), MOST_PX))
    factor = ceil(max(size_hw) / tile_px)
    small = (ceil(height / factor), ceil(width / factor))
    # Small maps are enlarged by whole steps, so that every sample stays a square.
    zoom = max(1, tile_px // max(small))
    box = (max(12, small[0] * zoom), small[1] * zoom)
    row_px, cell_px = box[0] + 50, max(LEAST_PX, box[1]) + 10
    n_groups = max(1, round(sqrt(len(rows) * row_px * 4 / 3 / (n_cells * cell_px))))
    return Layout(rows, min(n_groups, len(rows)), box, factor, len(every) - len(rows))


class Tiles(Writer):
    """The writer of a sheet: takes bands of maps, and draws the page when the last one is there."""

    def __init__(self, job: Job, output: OutputFile) -> None:
        plan = job.plan
        self._job = job
        self._is_toned = plan.request.tone != "auto" or output.kind == "before-after"
        raw = Tone(ToneSpec("clip"), white=1.0, depth="float")
        super().__init__(plan, output, bind_tone(plan, output, job.ranges) if self._is_toned else raw)
        if output.kind == "sheet":
            self._layout = plan_sheet(plan.maps, output.size_hw, has_taps=plan.transform.taps(0) is not None)
        else:
            factor = ceil(max(output.size_hw) / _PAIR_PX)
            box = (ceil(output.size_hw[0] / factor), ceil(output.size_hw[1] / factor))
            self._layout = Layout((tuple(output.maps),), 1, box, factor)
        strongest = [not self._is_toned and named.nature == "zero-sum" for named in plan.maps]
        self._blocks = Blocks(len(output.maps), output.size_hw, self._layout.factor, strongest)

    def encode(self, maps: NDArray[Any], top: int) -> Band:
        """Reduce a band of maps, or of their stored samples where a tone is asked for, to blocks."""
        samples, counts = self.tone.apply(maps)
        return Band(self._blocks.reduce(samples if self._is_toned else maps, top), counts)

    def append(self, band: Band) -> None:
        """Take a band's blocks."""
        self._blocks.add(*band.payload)
        self.counts += band.counts

    def finish(self) -> None:
        """Draw the page and put the file in its place."""
        from convcli.images.write import write_picture

        page = self._pair() if self.output.kind == "before-after" else self._sheet()
        output, encoding = self.output, self._plan.request.encoding
        metadata = metadata_of(self._job, output)
        write_picture(
            self._job.files.open(output.path), page, picture_format=output.format, metadata=metadata, **encoding
        )
        self.n_bytes = output.file_bytes()

    def _sheet(self) -> NDArray[np.uint8]:
        from convcli.images.sheet import Legend, draw_page, number

        plan, layout = self._plan, self._layout
        tiles = self._blocks.planes()
        shown = np.concatenate([tiles[index].ravel() for row in layout.rows for index in row])
        colormap = plan.request.colormap
        natures = {plan.maps[index].nature for row in layout.rows for index in row}
        if self._is_toned or natures == {"brightness"}:
            colormap = colormap or "gray"  # like the photo
        self._scale = scale = Scale(0, 255, colormap) if self._is_toned else Scale.of(shown, colormap)
        self.facts = {"scale": [scale.low, scale.high], "colormap": scale.name}
        ends = f"{number(scale.low)} to {number(scale.high)}"
        lines = [
            f"One scale for all maps: {SHARE:.1%} of the values lie within {ends}, others are drawn like its ends."
        ]
        if self._is_toned:
            lines = [f"Stored samples, tone {plan.request.tone}; beneath each tile the values before it."]
        if layout.factor > 1:
            strongest = "zero-sum" in natures and not self._is_toned
            how = "strongest" if strongest and len(natures) == 1 else "mean"
            where = ", the strongest where taps sum to zero" if strongest and len(natures) > 1 else ""
            lines.append(f"A tile shows the {how} of {layout.factor}x{layout.factor} samples{where}.")
        if np.isnan(shown).any():
            lines.append("Yellow: not a number.")
        if layout.n_left_out:
            lines.append(f"{layout.n_left_out} more rows are not drawn.")
        rows = [[*self._taps(row), *(self._tile(tiles[index], index) for index in row)] for row in layout.rows]
        before = input_cells(self._job, layout.input_hw)
        groups = [rows[at :: layout.n_groups] for at in range(layout.n_groups)]
        # Planes stand over the column of their maps where there is one for each.
        if len(layout.rows[0]) > 1 and len(before) == len(rows[0]):
            groups, before = [[before, *group] for group in groups], []
        return draw_page(page_title(plan), Legend(scale, tuple(lines)), before, groups, layout.cell_px)

    def _taps(self, row: tuple[int, ...]) -> list[Cell]:
        """Return the cell of the taps of a row, if kernels made it."""
        taps = self._plan.transform.taps(row[0])
        if taps is None:
            return []
        from convcli.images.swatch import swatch_cell

        named = self._plan.maps[row[0]]
        # A kernel of several planes has taps of its own for each of them.
        names = (
            self._plan.selection.names if self._plan.transform.taps_on_planes else [str(at) for at in range(len(taps))]
        )
        planes = () if named.channel else names
        return [swatch_cell(taps, named.kernel, self._layout.box_hw, planes=planes)]

    def _tile(self, tile: NDArray[Any], index: int) -> Cell:
        from convcli.images.sheet import Cell, draw_numbers, span

        named, counts = self._plan.maps[index], self.counts
        name = named.channel if self._plan.transform.taps(index) is not None else named.label
        values = span(float(counts.minimum[index]), float(counts.maximum[index]))
        text = (f"{name}  {values}",) if named.channel else (*((name,) if name else ()), values)
        return Cell(draw_numbers(tile, self._scale, *self._layout.box_hw), text)

    def _pair(self) -> NDArray[np.uint8]:
        from convcli.images.sheet import Cell, Legend, draw_page, span

        plan, counts = self._plan, self.counts
        planes = np.rint(self._blocks.planes()).astype(np.uint8)
        if len(planes) == 1:
            planes = np.moveaxis(Scale(0, 255, plan.request.colormap or "gray").paint(planes[0]), -1, 0)
        values = span(float(counts.minimum.min()), float(counts.maximum.max()))
        tones = ", ".join(dict.fromkeys(map(str, plan.tones("8"))))
        after = Cell(np.moveaxis(planes, 0, -1), (_name(plan), f"{values}, tone {tones}"))
        before = input_cells(self._job, self._layout.input_hw)[0]
        lines = [f"Means of {self._layout.factor}x{self._layout.factor} samples."] if self._layout.factor > 1 else []
        return draw_page(page_title(plan), Legend(None, tuple(lines)), [], [[[before, after]]], self._layout.cell_px)


def page_title(plan: Plan) -> list[str]:
    """Return the title of a page: input and kernel, shapes, and how the kernel ran."""
    parts = plan.transform.describe()
    by = {side: "x".join(map(str, parts["shape"][side])) for side in ("input", "output")}
    text = f"{by['input']} to {by['output']}"
    if "conv" in parts:
        conv = parts["conv"]
        sides = list(conv["padding"].values())
        padding = sides[0] if len(set(sides)) == 1 else ",".join(map(str, sides))
        pairs = {word: "x".join(map(str, dict.fromkeys(conv[word]))) for word in ("stride", "dilation")}
        kind = f"{conv['mode']}{' transposed' if conv['transposed'] else ''}"
        text += f"; {kind}, stride {pairs['stride']}, padding {padding} {conv['padding_mode']}, "
        text += f"dilation {pairs['dilation']}, groups {conv['groups']}"
    if "stack" in parts:
        rows = plan.transform.walk.rows
        told = [f"{row.layer.label} {'x'.join(map(str, row.output))}" for row in rows[:_MOST_LAYERS]]
        text += f"; {', '.join(told)}" + (f", ... {len(rows)} layers" if len(rows) > _MOST_LAYERS else "")
    return [f"{plan.input.stem}: {_name(plan)}", text]


def _name(plan: Plan) -> str:
    parts = plan.transform.describe()
    return str((parts.get("kernel") or parts["stack"])["name"])


def input_cells(job: Job, box_hw: tuple[int, int]) -> list[Cell]:
    """Return the input as cells that fit a box: the photo, then each plane that runs, if they differ from it."""
    from convcli.images.sheet import Cell, draw_numbers, span

    plan, planes = job.plan, job.image.planes
    white = plan.info.white
    everything = select_planes(plan.info.plane_names, None, alpha=False)
    pictured = everything.names[:3] == ("r", "g", "b")
    if pictured:
        everything = select_planes(plan.info.plane_names, ("r", "g", "b"), alpha=False)
    elif len(everything.names) > 1:
        everything = everything._replace(names=everything.names[:1], indexes=everything.indexes[:1])
    name = f"{plan.input.stem}, the input"
    photo, low, high = _shrunk(view_planes(planes, everything, white=white), box_hw)
    if pictured:
        picture = np.rint(np.clip(photo / white, 0, 1) * 255).astype(np.uint8)
        cells = [Cell(_enlarged(np.moveaxis(picture, 0, -1), box_hw), (name, span(low.min(), high.max())))]
    else:
        cells = [Cell(draw_numbers(photo[0], Scale(0, white, "gray"), *box_hw), (name, span(low[0], high[0])))]
    if plan.selection == everything and len(everything.names) == 1:
        return cells
    used = photo
    if plan.selection != everything:
        used, low, high = _shrunk(view_planes(planes, plan.selection, white=white), box_hw)
    for plane, least, most, plane_name in zip(used, low, high, plan.selection.names, strict=True):
        cells.append(
            Cell(draw_numbers(plane, Scale(0, white, "gray"), *box_hw), (f"{plane_name}  {span(least, most)}",))
        )
    return cells


def _shrunk(planes: NDArray[Any] | PlaneSource, box_hw: tuple[int, int]) -> tuple[NDArray[Any], ...]:
    """Return planes as means of blocks that fit a box, and minimum and maximum of each plane."""
    n_planes, height, width = planes.shape
    factor = max(1, ceil(height / box_hw[0]), ceil(width / box_hw[1]))
    blocks = Blocks(n_planes, (height, width), factor)
    step = max(1, STRIP_BYTES // (4 * n_planes * width))
    lows, highs = [], []
    for top in range(0, height, step):
        bottom = min(top + step, height)
        # Contiguous: samples of a picture lie plane beside plane.
        band = np.ascontiguousarray(read_window(planes, slice(top, bottom), slice(0, width)))
        blocks.add(*blocks.reduce(band, top))
        lows.append(band.min(axis=(1, 2)))
        highs.append(band.max(axis=(1, 2)))
    return blocks.planes(), np.min(lows, axis=0).astype(float), np.max(highs, axis=0).astype(float)


def _enlarged(picture: NDArray[np.uint8], box_hw: tuple[int, int]) -> NDArray[np.uint8]:
    zoom = max(1, min(box_hw[0] // picture.shape[0], box_hw[1] // picture.shape[1]))
    return np.repeat(np.repeat(picture, zoom, axis=0), zoom, axis=1)
