"""A 3-D bank on the frames of a file: they are one volume (C, F, H, W), and every output frame is a set of maps.

All frames are in memory at once. Along frames the padding is as ``--padding`` says in words, ``same`` where it gives
pixels; stride and dilation are those of rows and columns, and 1 along frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from convcli import __version__
from convcli.binding import BoundBank, MapName, bind_bank
from convcli.combine import Combination
from convcli.describe import describe_input, describe_kernel
from convcli.errors import UsageError
from convcli.geometry import conv_output_px, resolve_padding
from convcli.images.planes import select_planes
from convcli.naming import DENSE_TEMPLATE, MAP_TEMPLATE, PICTURE_TEMPLATE, InputFile
from convcli.outputs import OutputFile, OutputNames, Plan, choose_depth, choose_layout, depth_notes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convcli.banks import KernelBank
    from convcli.images import ImageInfo, ToneSpec
    from convcli.request import ApplyRequest

Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class VolumePlan(Plan):
    """A 3-D bank on the frames of one file, planned.

    Attributes
    ----------
    frames : tuple of int
        Which frames of the file are the volume, in order.
    bank, bound
    padding : tuple of (int, int)
        (before, after) along frames, rows, columns.
    combination : Combination
    n_out_frames : int
        Maps are frame by frame: map ``f * M + m`` is map ``m`` of output frame ``f``.
    """

    frames: tuple[int, ...]
    bank: KernelBank
    bound: BoundBank
    padding: Pairs
    combination: Combination
    n_out_frames: int

    def tones(self, depth: str) -> tuple[ToneSpec, ...]:
        """Return the tone of each map, ``auto`` resolved by its taps."""
        del depth
        from convcli.images import parse_tone

        asked = parse_tone(self.request.tone)
        return tuple(asked.resolve(zero_sum=named.zero_sum) for named in self.maps)

    def weight_bytes(self) -> bytes:
        """Return the taps as bytes, for a digest."""
        return self.bank.weight.tobytes()

    def run(self, volume: NDArray[Any]) -> NDArray[Any]:
        """Convolve a volume (C, F, H, W); return maps (F' * M, H', W')."""
        from convcli.engine import conv3d

        request, bound = self.request, self.bound
        maps = conv3d(
            volume,
            bound.weight,
            bound.bias,
            stride=(1, *request.stride),
            padding=self.padding,
            dilation=(1, *request.dilation),
            groups=bound.groups,
            padding_mode=request.padding_mode or "replicate",
            engine=request.engine,
            threads=request.threads,
            memory=request.memory,
        )
        combined = [self.combination.apply(maps[:, frame].copy(), bound.n_kernels) for frame in range(maps.shape[1])]
        return np.concatenate(combined)


def plan_volume(
    request: ApplyRequest, bank: KernelBank, source: InputFile, info: ImageInfo, frames: tuple[int, ...]
) -> VolumePlan:
    """Plan a 3-D bank on ``frames`` of a file whose first frame ``info`` describes.

    Raises
    ------
    GeometryError
        The window does not fit into the frames, or groups do not divide.
    UsageError
        A flag has no meaning for a volume.
    """
    if request.transposed or request.anchor is not None:
        raise UsageError("--transposed and --anchor are not for 3-D kernels", hint="leave them out, or use conv3d")
    selection = select_planes(info.plane_names, request.channels, alpha=False)
    bound = bind_bank(bank, selection.names, groups=request.groups, mode=request.mode, bias=request.bias)
    input_px = (len(frames), info.height_px, info.width_px)
    kernel_px = bank.weight.shape[2:]
    stride, dilation = (1, *request.stride), (1, *request.dilation)
    depth_word = request.padding if isinstance(request.padding, str) else "same"
    depth_pad = resolve_padding(depth_word, input_px[:1], kernel_px[:1], (1,), (1,))
    padding = (*depth_pad, *resolve_padding(request.padding, input_px[1:], kernel_px[1:], stride[1:], dilation[1:]))
    sizes = [
        conv_output_px(size, kernel, stride=step, dilation=gap, pad_px=sum(pads))
        for size, kernel, step, gap, pads in zip(input_px, kernel_px, stride, dilation, padding, strict=True)
    ]
    layout = choose_layout(request)
    combination = Combination.of(bank, request.combine or (bank.combine if layout == "picture" else "none"))
    frame_maps = combination.names(bound.maps, bound.n_kernels)
    maps = tuple(
        MapName(kernel=f"{frame:03}-{one.kernel}", channel=one.channel, zero_sum=one.zero_sum)
        for frame in range(sizes[0])
        for one in frame_maps
    )
    outputs = _outputs(request, source, layout, info, bank, frame_maps, tuple(sizes))
    return VolumePlan(
        request=request,
        source=source,
        info=info,
        selection=selection,
        maps=maps,
        alpha=None,
        outputs=outputs,
        notes=(*info.notes, *bank.notes, *depth_notes(info, outputs), f"{len(frames)} frames are one volume"),
        frames=frames,
        bank=bank,
        bound=bound,
        padding=padding,
        combination=combination,
        n_out_frames=sizes[0],
    )


def _outputs(
    request: ApplyRequest,
    source: InputFile,
    layout: str,
    info: ImageInfo,
    bank: KernelBank,
    frame_maps: tuple[MapName, ...],
    sizes: tuple[int, ...],
) -> tuple[OutputFile, ...]:
    """Name a file per map and frame, or one for all; a picture of several frames becomes a sheet of them."""
    output_format = request.format or "png"
    depth = choose_depth(request, info, layout, output_format)
    names = OutputNames(request=request, source=source, bank=bank.file_name)
    n_maps, size_hw = len(frame_maps), (sizes[1], sizes[2])
    if layout != "maps":
        kind = "raw" if layout == "raw" else "picture" if sizes[0] * n_maps in (1, 3) else "sheet"
        path = names.path(PICTURE_TEMPLATE, kernel=bank.file_name, channel=layout)
        everything = tuple(range(sizes[0] * n_maps))
        return (OutputFile(path=path, kind=kind, maps=everything, format=output_format, depth=depth, size_hw=size_hw),)
    files = []
    for frame in range(sizes[0]):
        for index, named in enumerate(frame_maps):
            template = MAP_TEMPLATE if named.channel else DENSE_TEMPLATE
            kernel = f"{frame:03}-{named.kernel}"
            path = names.path(template, kernel=kernel, channel=named.channel or "all", index=frame * n_maps + index)
            place = (frame * n_maps + index,)
            files.append(
                OutputFile(path=path, kind="map", maps=place, format=output_format, depth=depth, size_hw=size_hw)
            )
    return tuple(files)


def describe_volume(plan: VolumePlan) -> dict[str, object]:
    """Return a volume's plan as plain data, in the words of a bank's report."""
    info, bound = plan.info, plan.bound
    n_planes = len(plan.selection.names)
    shape_in = [n_planes, len(plan.frames), info.height_px, info.width_px]
    shape_out = [len(plan.maps) // plan.n_out_frames, plan.n_out_frames, *plan.outputs[0].size_hw]
    n_positions = plan.n_out_frames * plan.outputs[0].size_hw[0] * plan.outputs[0].size_hw[1]
    (_, _), (top, bottom), (left, right) = plan.padding
    return {
        "convcli": __version__,
        "input": describe_input(plan) | {"shape": shape_in, "frames": len(plan.frames)},
        "kernel": describe_kernel(plan.bank),
        "conv": {
            "mode": plan.request.mode,
            "stride": list(plan.request.stride),
            "padding": {"top": top, "bottom": bottom, "left": left, "right": right},
            "padding_frames": list(plan.padding[0]),
            "padding_mode": plan.request.padding_mode or "replicate",
            "border": "",
            "dilation": list(plan.request.dilation),
            "groups": bound.groups,
            "transposed": False,
            "combine": plan.combination.combine,
            "tone": plan.request.tone,
            "dtype": plan.request.dtype,
            "engine": plan.request.engine,
            "reason": "3-D: a sum of 2-D convolutions over the kernel's depth",
        },
        "shape": {
            "input": shape_in,
            "output": shape_out,
            "maps": len(plan.maps),
            "parameters": int(bound.weight.size),
            "macs": int(bound.weight.size) * n_positions,
            "unused_input": [0, 0],
        },
        "outputs": [output.as_dict() for output in plan.outputs],
        "notes": list(plan.notes),
    }
