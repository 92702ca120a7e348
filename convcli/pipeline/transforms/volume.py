"""A 3-D bank on the frames of a file: they are one volume (C, F, H, W), and every output frame is a set of maps.

All frames are in memory at once. Along frames the padding is as ``--padding`` says in words, ``same`` where it gives
pixels; stride and dilation are those of rows and columns, and 1 along frames.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from convcli.errors import GeometryError
from convcli.geometry.arithmetic import Pair, resolve_padding
from convcli.images.planes import select_planes
from convcli.pipeline.naming import PICTURES, MapName, refuse
from convcli.pipeline.transforms.alpha import leave_out_alpha
from convcli.pipeline.transforms.bank import AnyBank, conv_layer
from convcli.pipeline.transforms.base import Planned, Run, Tools, WholeRun, crop, whole
from convcli.pipeline.transforms.binding import bind_bank

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convcli.banks.bank import KernelBank
    from convcli.images.info import ImageInfo
    from convcli.images.planes import PlaneSource
    from convcli.pipeline.request import ApplyRequest


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Volume(AnyBank):
    """A 3-D bank on the frames of one file, planned.

    Attributes
    ----------
    padding : tuple of (int, int)
        (before, after) along frames, rows, columns.
    n_out_frames : int
    is_raw : bool
        Maps stand kernel by kernel, (O, F, H, W), as in a raw file; else frame by frame.
    """

    padding: tuple[Pair, ...]
    n_out_frames: int
    is_raw: bool

    @property
    def leading(self) -> tuple[int, ...]:
        """Maps and frames, the axes of a raw file before rows and columns."""
        return (len(self.maps) // self.n_out_frames, self.n_out_frames)

    def taps(self, map_index: int) -> NDArray[np.float64]:
        """Return the taps that made a map: every frame has the same kernels."""
        return AnyBank.taps(self, map_index % (len(self.maps) // self.n_out_frames))

    def sides(self) -> tuple[Pair, ...]:
        """Return the padding along frames, rows and columns."""
        return self.padding

    def describe(self) -> dict[str, Any]:
        """Return kernel, convolution and shapes, in the words of a bank's report."""
        from convcli.engine.borders import parse_border

        border = parse_border(self.request.padding_mode or "replicate")
        reason = "3-D: a sum of 2-D convolutions over the kernel's depth"
        report = self.report(border, self.request.engine, reason)
        # The layer knows nothing of --combine, which leaves fewer maps.
        report["shape"]["output"][:2] = self.leading
        return report

    def start(self, planes: NDArray[Any] | PlaneSource, tools: Tools) -> Run:
        """Convolve the volume."""
        from convcli.engine.functional import conv3d

        request, bound = self.request, self.bound
        frames = [whole(planes), *map(whole, tools.other_frames())]
        # Checked again: a damaged file may hold other sizes than its headers say.
        for frame in frames[1:]:
            if frame.shape[1:] != self.input_shape[2:]:
                raise GeometryError(
                    f"a frame is {frame.shape[1]}x{frame.shape[2]} and the first is "
                    f"{self.input_shape[2]}x{self.input_shape[3]}: they are no volume",
                    hint="--frames picks those of one size",
                )
        maps = conv3d(
            np.stack([frame.astype(request.dtype) for frame in frames], axis=1),
            bound.weight,
            bound.bias,
            # The flags have a number for rows and one for columns: the step along frames is 1.
            stride=(1, *request.stride),
            padding=self.padding,
            dilation=(1, *request.dilation),
            groups=bound.groups,
            padding_mode=request.padding_mode or "replicate",
            engine=request.engine,
            threads=request.threads,
            memory=request.memory,
        )
        combined = [bound.combination.apply(maps[:, frame].copy()) for frame in range(maps.shape[1])]
        # A raw file has the axes maps, frames, rows, columns; files and tiles come frame by frame.
        results = np.stack(combined, axis=1 if self.is_raw else 0)
        return WholeRun(
            [(slice(0, len(self.maps)), crop(results.reshape(-1, *results.shape[2:]), request))], check=tools.check
        )


def plan_volume(request: ApplyRequest, bank: KernelBank, infos: list[ImageInfo], frames: tuple[int, ...]) -> Planned:
    """Plan a 3-D bank on ``frames`` of a file, from the header of each, which must be alike."""
    _refuse_flags(request)
    info = _common_header(infos, frames)
    selection = select_planes(info.plane_names, request.channels, alpha=False)
    bound = bind_bank(bank, selection.names, request)
    input_shape = (len(selection.names), len(frames), info.height_px, info.width_px)
    padding = _resolve_padding(request, input_shape[1:], bank.weight.shape[2:])
    n_frames, height, width = conv_layer(request, bound, padding).sizes(input_shape[1:])[1]
    kind = request.kind
    maps = _name_maps(bound.combined_maps, n_frames, by_kernel=kind == "raw")
    notes = [*bank.notes, *leave_out_alpha(request, info), f"{len(frames)} frames are one volume"]
    if kind in PICTURES and not (n_frames == 1 and bound.is_picture):
        kind = "sheet"
        notes.append(f"{len(maps)} maps of {n_frames} frames are no single picture: drawn as a labelled sheet")
    transform = Volume(
        request=request,
        maps=maps,
        input_shape=input_shape,
        bank=bank,
        bound=bound,
        frames=frames,
        padding=padding,
        n_out_frames=n_frames,
        is_raw=kind == "raw",
    )
    outputs = ((0, len(maps), (height, width)),)
    return Planned(transform, selection, None, kind, outputs, bank.file_name, bank.file_name, tuple(notes))


def _refuse_flags(request: ApplyRequest) -> None:
    """Refuse flags that a convolution over frames does not have."""
    tells = [
        (request.transposed, "--transposed"),
        (request.nodata is not None, "--nodata"),
        (request.luminance, "--luminance"),
        (request.anchor is not None, "--anchor"),
        (request.device != "cpu", f"--device {request.device}"),
        (request.alpha in ("keep", "filter"), f"--alpha {request.alpha}"),
    ]
    hint = "leave it out, or take a 2-D kernel"
    refuse([(is_so, f"{flag} does nothing to a 3-D kernel", hint) for is_so, flag in tells])


def _common_header(infos: list[ImageInfo], frames: tuple[int, ...]) -> ImageInfo:
    """Return the first header, if the others say the same."""
    said = _say(infos[0])
    for frame, info in zip(frames, infos, strict=True):
        if _say(info) != said:
            raise GeometryError(
                f"frame {frame} is {_say(info)} and frame {frames[0]} is {said}: they are no volume",
                hint="--frames picks those that are alike",
            )
    return infos[0]


def _say(info: ImageInfo) -> str:
    """Return the properties that frames of a volume share, as text."""
    return f"{info.height_px}x{info.width_px} {','.join(info.plane_names)} {info.dtype} (white {info.white:g})"


def _resolve_padding(request: ApplyRequest, input_px: tuple[int, ...], kernel_px: tuple[int, ...]) -> tuple[Pair, ...]:
    """Return padding along frames, rows and columns."""
    # Pixels are given for rows and columns only; "same" keeps the number of frames.
    depth_word = request.padding if isinstance(request.padding, str) else "same"
    depth_pad = resolve_padding(depth_word, input_px[:1], kernel_px[:1], (1,), (1,))
    return (
        *depth_pad,
        *resolve_padding(request.padding, input_px[1:], kernel_px[1:], request.stride, request.dilation),
    )


def _name_maps(maps: tuple[MapName, ...], n_frames: int, *, by_kernel: bool) -> tuple[MapName, ...]:
    """Return the names of the maps of every output frame: ``002-x`` is kernel ``x`` at frame 2."""
    # Leading zeros: names then sort like the frames.
    frames = [[one._replace(kernel=f"{frame:03}-{one.kernel}") for one in maps] for frame in range(n_frames)]
    return tuple(itertools.chain(*(zip(*frames, strict=True) if by_kernel else frames)))
