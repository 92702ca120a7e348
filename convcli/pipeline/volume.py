"""A 3-D bank on the frames of a file: they are one volume (C, F, H, W), and every output frame is a set of maps.

All frames are in memory at once. Along frames the padding is as ``--padding`` says in words, ``same`` where it gives
pixels; stride and dilation are those of rows and columns, and 1 along frames.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from convcli.errors import GeometryError, UsageError
from convcli.geometry.arithmetic import conv_output_px, resolve_padding, unused_input_px
from convcli.images.planes import select_planes
from convcli.pipeline.alpha import leave_out_alpha
from convcli.pipeline.binding import BoundBank, MapName, bind_bank, describe_kernel
from convcli.pipeline.combine import Combination
from convcli.pipeline.names import InputFile
from convcli.pipeline.outputs import (
    Plan,
    bank_bytes,
    depth_notes,
    format_notes,
)
from convcli.pipeline.plan import bank_outputs, is_picture
from convcli.pipeline.tones import resolve_tones
from convcli.version import __version__

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convcli.banks import KernelBank
    from convcli.images import ImageInfo
    from convcli.pipeline.request import ApplyRequest
    from convcli.pipeline.tones import ToneSpec

Pairs = tuple[tuple[int, int], ...]


@dataclass(frozen=True, kw_only=True, eq=False)
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
        """Return the tone of each map, ``auto`` resolved as for a bank on one picture."""
        n_kernels = self.bound.n_kernels
        return resolve_tones(self.request.tone, self.maps, depth, combination=self.combination, n_kernels=n_kernels)

    def weight_bytes(self) -> bytes:
        """Return the bank as bytes, for a digest."""
        return bank_bytes(self.bank)

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


def plan_volume(request: ApplyRequest, bank: KernelBank, source: InputFile, frames: tuple[int, ...]) -> VolumePlan:
    """Plan a 3-D bank on ``frames`` of a file.

    Raises
    ------
    GeometryError
        The frames are not alike, the window does not fit into them, or groups do not divide.
    UsageError
        A flag has no meaning for a volume.
    """
    _refuse_flags(request)
    info = _read_headers(request, source, frames)
    selection = select_planes(info.plane_names, request.channels, alpha=False)
    bound = bind_bank(bank, selection.names, groups=request.groups, mode=request.mode, bias=request.bias)
    input_px = (len(frames), info.height_px, info.width_px)
    padding, sizes = _geometry(request, input_px, bank.weight.shape[2:])
    kind = request.kind
    combination = Combination.of(bank, request.combine or (bank.combine if kind == "picture" else "none"))
    maps = _name_maps(combination.names(bound.maps, bound.n_kernels), sizes[0])
    notes = [*info.notes, *bank.notes, *leave_out_alpha(request, info), f"{len(frames)} frames are one volume"]
    if kind == "picture" and not (sizes[0] == 1 and is_picture(bound, combination)):
        kind = "sheet"
        notes.append(f"{len(maps)} maps of {sizes[0]} frames are no single picture: drawn as a labelled sheet")
    outputs = bank_outputs(request, source, kind, info, bank, maps, (sizes[1], sizes[2]))
    notes += [*depth_notes(info, outputs), *format_notes(outputs[0], info, len(maps), request.encoding)]
    return VolumePlan(
        request=request,
        source=source,
        info=info,
        selection=selection,
        maps=maps,
        alpha=None,
        outputs=outputs,
        notes=tuple(dict.fromkeys(notes)),
        frames=frames,
        bank=bank,
        bound=bound,
        padding=padding,
        combination=combination,
        n_out_frames=sizes[0],
    )


def _refuse_flags(request: ApplyRequest) -> None:
    """Refuse what a convolution over frames does not do."""
    tells = [
        (request.transposed, "--transposed"),
        (request.anchor is not None, "--anchor"),
        (request.device != "cpu", f"--device {request.device}"),
        (request.alpha in ("keep", "filter"), f"--alpha {request.alpha}"),
    ]
    for is_so, flag in tells:
        if is_so:
            raise UsageError(f"{flag} does nothing to a 3-D kernel", hint="leave it out, or take a 2-D kernel")


def _read_headers(request: ApplyRequest, source: InputFile, frames: tuple[int, ...]) -> ImageInfo:
    """Return what the header of the first frame says, if those of the others say the same."""
    from convcli.images import probe_frames

    first, *others = probe_frames(source.readable, frames, orientation=request.orientation)
    said = _say(first)
    for frame, info in zip(frames[1:], others, strict=True):
        if _say(info) != said:
            raise GeometryError(
                f"frame {frame} is {_say(info)} and frame {frames[0]} is {said}: they are no volume",
                hint="--frames picks those that are alike",
            )
    return first


def _say(info: ImageInfo) -> str:
    """Return what frames of a volume have in common."""
    return f"{info.height_px}x{info.width_px} {','.join(info.plane_names)} {info.dtype} (white {info.white:g})"


def _geometry(
    request: ApplyRequest, input_px: tuple[int, int, int], kernel_px: tuple[int, ...]
) -> tuple[Pairs, tuple[int, ...]]:
    """Return padding and output size along frames, rows and columns."""
    stride, dilation = (1, *request.stride), (1, *request.dilation)
    depth_word = request.padding if isinstance(request.padding, str) else "same"
    depth_pad = resolve_padding(depth_word, input_px[:1], kernel_px[:1], (1,), (1,))
    padding = (*depth_pad, *resolve_padding(request.padding, input_px[1:], kernel_px[1:], stride[1:], dilation[1:]))
    sizes = tuple(
        conv_output_px(size, kernel, stride=step, dilation=gap, pad_px=sum(pads))
        for size, kernel, step, gap, pads in zip(input_px, kernel_px, stride, dilation, padding, strict=True)
    )
    return padding, sizes


def _name_maps(maps: tuple[MapName, ...], n_frames: int) -> tuple[MapName, ...]:
    """Return the names of the maps of every output frame: ``002-x`` is kernel ``x`` at frame 2."""
    return tuple(
        MapName(kernel=f"{frame:03}-{one.kernel}", channel=one.channel, zero_sum=one.zero_sum)
        for frame in range(n_frames)
        for one in maps
    )


def describe_volume(plan: VolumePlan) -> dict[str, object]:
    """Return a volume's plan as plain data, in the words of a bank's report."""
    info, bound = plan.info, plan.bound
    height, width = plan.outputs[0].size_hw
    shape_in = [len(plan.selection.names), len(plan.frames), info.height_px, info.width_px]
    n_taps, n_biases = int(bound.weight.size), 0 if bound.bias is None else len(bound.bias)
    return {
        "convcli": __version__,
        "input": plan.describe_input() | {"shape": shape_in, "frames": len(plan.frames)},
        "kernel": describe_kernel(plan.bank),
        "conv": _describe_conv(plan),
        "shape": {
            "input": shape_in,
            "output": [len(plan.maps) // plan.n_out_frames, plan.n_out_frames, height, width],
            "maps": len(plan.maps),
            "parameters": n_taps + n_biases,
            "macs": n_taps * plan.n_out_frames * height * width,
            "unused_input": _unused_input(plan),
        },
        "outputs": [output.as_dict() for output in plan.outputs],
        "notes": list(plan.notes),
    }


def _describe_conv(plan: VolumePlan) -> dict[str, object]:
    """Return the convolution with its conventions."""
    from convcli.engine import parse_border

    request, bound = plan.request, plan.bound
    border = parse_border(request.padding_mode or "replicate")
    (top, bottom), (left, right) = plan.padding[1:]
    return {
        "mode": request.mode,
        "stride": list(request.stride),
        "padding": {"top": top, "bottom": bottom, "left": left, "right": right},
        "padding_frames": list(plan.padding[0]),
        "padding_mode": str(border),
        "border": border.pattern,
        "dilation": list(request.dilation),
        "groups": bound.groups,
        "transposed": False,
        "bias": None if bound.bias is None else bound.bias.tolist(),
        "combine": plan.combination.combine,
        "tone": request.tone,
        "dtype": request.dtype,
        "engine": request.engine,
        "reason": "3-D: a sum of 2-D convolutions over the kernel's depth",
    }


def _unused_input(plan: VolumePlan) -> list[int]:
    """Return rows at the bottom and columns at the right that no window reaches."""
    lost = zip(
        (plan.info.height_px, plan.info.width_px),
        plan.bound.weight.shape[-2:],
        plan.request.stride,
        plan.request.dilation,
        plan.padding[1:],
        plan.outputs[0].size_hw,
        strict=True,
    )
    return [
        unused_input_px(size, kernel, stride=stride, dilation=dilation, pad_before_px=pads[0], output_px=output)
        for size, kernel, stride, dilation, pads, output in lost
    ]
