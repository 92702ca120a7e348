"""A plan run into memory: small pictures of its input, of its maps as they are stored, and of what was clipped."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from convcli.errors import ImageError
from convcli.images.blocks import Blocks
from convcli.images.files import FileState
from convcli.images.planes import read_window
from convcli.pipeline.outputs import OutputFile
from convcli.pipeline.run import Pipeline
from convcli.pipeline.tones import WHITE
from convcli.pipeline.transforms.base import Band
from convcli.pipeline.writers import OutputFiles, PictureOutput
from convcli.process.system import available_threads

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convcli.images.info import Image, LargeImage
    from convcli.pipeline.plan import Plan
    from convcli.pipeline.transforms.base import Writer
    from convcli.pipeline.writers import Job

#: Samples around the window that its close-up shows, as a share of its own size.
_AROUND = 1.0
#: Longest side of a window that needs a close-up to be seen.
_SMALL_WINDOW = 64


class Window(NamedTuple):
    """The part of the input that the middle output sees; rows and columns may lie outside the picture.

    ``closeup`` has the input's samples around it at full size, from ``closeup_at`` on; None for large windows.
    """

    output: tuple[int, int]
    top: float
    left: float
    height: float
    width: float
    closeup: NDArray[np.uint8] | None
    closeup_at: tuple[int, int]


class Tile(NamedTuple):
    """A map, or a picture of several, made small by averages; each block of the masks was clipped somewhere in it."""

    maps: tuple[int, ...]
    samples: NDArray[np.uint8]
    low: NDArray[np.bool_]
    high: NDArray[np.bool_]
    is_whole: bool


class Preview(NamedTuple):
    """Pictures of one input: ``n_left_out`` maps have no tile; of several frames it shows the first."""

    input: NDArray[np.uint8]
    window: Window | None
    tiles: tuple[Tile, ...]
    n_left_out: int


def preview(plan: Plan, *, longest_px: int = 320, most_tiles: int = 48) -> Preview:
    """Run a plan again and return small pictures of it; nothing is written.

    Parameters
    ----------
    plan : Plan
    longest_px : int
        No picture is longer on either side; larger ones are averaged by a whole factor.
    most_tiles : int
        Maps past this number are left out.

    Raises
    ------
    ConvcliError
        The input cannot be read again, or its result has replaced it.
    """
    one = _as_it_was(plan.frames[0] if plan.frames else plan)
    outputs = _tile_outputs(one)
    shown: list[tuple[NDArray[np.uint8], Window | None]] = []
    tiles: list[TileOutput] = []

    def open_tile(job: Job, output: OutputFile) -> Writer:
        if not shown:
            shown.append(_input_of(job.image, one, longest_px))
        tiles.append(TileOutput(job, output, longest_px))
        return tiles[-1]

    shown_plan = replace(one, outputs=outputs[:most_tiles])
    Pipeline(threads=available_threads()).run_picture(shown_plan, OutputFiles(shown_plan), open_tile)
    picture, window = shown[0]
    return Preview(picture, window, tuple(tile.made() for tile in tiles), len(outputs) - len(tiles[:most_tiles]))


def _as_it_was(plan: Plan) -> Plan:
    """Return the plan on the file that ``--backup`` has kept, where the result has taken the place of the input."""
    place, planned = plan.outputs[0].path, plan.input.state
    if not plan.request.in_place or place is None or (planned and not planned.change(FileState.of(place))):
        return plan
    backup = plan.request.backup_of(place)
    if backup is None:
        raise ImageError("the result has replaced the input; --backup .orig keeps it beside, and then it is shown")
    # Disks without links have a copy, whose state is another; a backup that is gone is said when it is read.
    state = FileState.of(backup) if backup.exists() else planned
    return replace(plan, input=plan.input._replace(path=backup, state=state))


def _tile_outputs(plan: Plan) -> tuple[OutputFile, ...]:
    """Return an output in memory for every map; a picture stays one."""
    made = []
    for output in plan.outputs:
        # Other depths have no bytes to show; one bit is kept, for its tone splits at half of white.
        kind = {"sheet": "map", "before-after": "picture"}.get(output.kind, output.kind)
        bytes_only = output._replace(path=None, kind=kind, depth="1" if output.depth == "1" else "8", format="png")
        parts = [output.maps] if kind == "picture" else [(index,) for index in output.maps]
        made += [bytes_only._replace(maps=part) for part in parts]
    return tuple(made)


def _small(size_hw: tuple[int, int], n_planes: int, longest_px: int) -> Blocks:
    """Return planes averaged so that neither side is longer."""
    return Blocks(n_planes, size_hw, -(-max(size_hw) // longest_px))


class _Kept:
    """An encoder that hands the samples back."""

    notes = ()
    band_px = 1

    def encode(self, samples: NDArray[Any]) -> NDArray[Any]:
        return samples

    def close(self) -> None:
        """Nothing is open."""


class TileOutput(PictureOutput):
    """One tile under way; its samples are those that a file would hold."""

    def __init__(self, job: Job, output: OutputFile, longest_px: int) -> None:
        super().__init__(job, output, _Kept())  # type: ignore[arg-type]
        # Compiled loops that go from samples to bytes at once do not tell where they clip.
        self.one_pass = False
        self._white = WHITE[output.depth]
        self._size = (output.size_hw, longest_px)
        self._blocks: Blocks | None = None
        self._clipped = _small(output.size_hw, 2, longest_px)

    def encode(self, maps: NDArray[Any], top: int) -> Band:
        """Tone a band, and mark the samples that its tone clips."""
        clipped = np.zeros((2, *maps.shape[1:]), np.bool_)
        with np.errstate(invalid="ignore", over="ignore"):
            for index, one in enumerate(maps):
                gain, offset, absolute = self.tone.gain_offset(index)
                stored = np.rint(gain * (np.abs(one) if absolute else one) + offset)
                clipped[0] |= stored < 0
                clipped[1] |= stored > self._white
        band = super().encode(maps, top)
        return Band((top, band.payload, clipped), band.counts)

    def append(self, band: Band) -> None:
        """Add a band to the tile."""
        top, samples, clipped = band.payload
        if self._blocks is None:
            (size_hw, longest_px), n_planes = self._size, samples.shape[2]
            self._blocks = _small(size_hw, n_planes, longest_px)
        self._blocks.add(*self._blocks.reduce(samples.transpose(2, 0, 1), top))
        self._clipped.add(*self._clipped.reduce(clipped, top))
        self.counts += band.counts

    def made(self) -> Tile:
        """Return the finished tile."""
        assert self._blocks is not None
        samples = np.rint(self._blocks.planes() * (255 / self._white)).astype(np.uint8).transpose(1, 2, 0)
        low, high = self._clipped.planes() > 0
        return Tile(self.output.maps, samples, low, high, samples.shape[:2] == self.output.size_hw)


def _input_of(image: Image | LargeImage, plan: Plan, longest_px: int) -> tuple[NDArray[np.uint8], Window | None]:
    """Return the input as a small picture, and the window of the middle output on it."""
    info, planes = plan.info, image.planes
    # Planes that are no colours are shown by the first of them.
    n_colours = 3 if info.plane_names[:3] == ("r", "g", "b") else 1
    height, width = planes.shape[1:]
    blocks = _small((height, width), n_colours, longest_px)
    for top in range(0, height, 256):
        rows = _bytes(planes, top, min(top + 256, height), n_colours, info.white)
        blocks.add(*blocks.reduce(rows.transpose(2, 0, 1), top))
    window = _window_of(plan)
    if window is not None and max(window.height, window.width) <= _SMALL_WINDOW:
        first, end = _around(window.top, window.height, height)
        left, right = _around(window.left, window.width, width)
        closeup = _bytes(planes, first, end, n_colours, info.white)[:, left:right]
        window = window._replace(closeup=np.rint(closeup).astype(np.uint8), closeup_at=(first, left))
    return np.rint(blocks.planes()).astype(np.uint8).transpose(1, 2, 0), window


def _bytes(planes: Any, top: int, bottom: int, n_colours: int, white: float) -> NDArray[np.float64]:
    """Return rows (h, W, colours) on a scale of 0 to 255."""
    rows = read_window(planes, slice(top, bottom), slice(0, planes.shape[2]))
    known = np.nan_to_num(rows[:n_colours].astype(np.float64), nan=0.0, posinf=white, neginf=0.0)
    scaled: NDArray[np.float64] = np.clip(known * (255 / white), 0, 255).transpose(1, 2, 0)
    return scaled


def _around(start: float, size: float, length: int) -> tuple[int, int]:
    """Return the rows, or columns, of a close-up: the window and as much on each side, inside the picture."""
    more = max(4.0, _AROUND * size)
    first = max(0, min(int(start - more), length - 1))
    return first, max(first + 1, min(length, int(start + size + more) + 1))


def _window_of(plan: Plan) -> Window | None:
    """Return the window of the middle sample of the last output; None for maps of volumes and of nothing."""
    row = plan.transform.walk.rows[-1]
    if len(row.output) != 3 or not row.receptive_field:
        return None
    output = row.output[1] // 2, row.output[2] // 2
    sides = []
    for axis in (0, 1):
        middle = float(row.start[axis]) + output[axis] * float(row.jump[axis])
        sides.append(middle - row.receptive_field[axis] / 2)
    height, width = map(float, row.receptive_field)
    return Window(output, sides[0], sides[1], height, width, None, (0, 0))
