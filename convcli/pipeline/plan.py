"""One image planned: everything its report can say before a pixel is read.

A :class:`Planner` is made once a batch: it loads the bank and answers, for each input, with an :class:`ImagePlan` of
integers, names and paths. Whatever can be refused is refused here.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convcli.errors import GeometryError, UsageError
from convcli.geometry.arithmetic import Pair, resolve_padding, resolve_transpose_padding, window_px
from convcli.images.planes import select_planes
from convcli.pipeline.alpha import choose_alpha, keep_alpha_of_same_size, with_plain_alpha
from convcli.pipeline.binding import BoundBank, MapName, bind_bank
from convcli.pipeline.checks import check_outputs, check_words
from convcli.pipeline.combine import Combination
from convcli.pipeline.names import PICTURE_TEMPLATE, InputFile
from convcli.pipeline.outputs import (
    OutputFile,
    OutputNames,
    Plan,
    bank_bytes,
    choose_depth,
    depth_notes,
    format_notes,
    map_files,
    raw_notes,
    sheet_notes,
)
from convcli.pipeline.request import ApplyRequest

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from convcli.banks import KernelBank
    from convcli.engine import ConvPlan
    from convcli.images import ImageInfo
    from convcli.pipeline.tones import ToneSpec


#: Plans of convolutions kept for images of the same shape.
_PLANS_KEPT = 64


@dataclass(frozen=True, kw_only=True, eq=False)
class ImagePlan(Plan):
    """A bank on one image, planned.

    ``alpha`` is what a picture does with the alpha plane, see :func:`convcli.pipeline.alpha.choose_alpha`.
    """

    bank: KernelBank
    bound: BoundBank
    conv: ConvPlan
    combination: Combination

    def tones(self, depth: str) -> tuple[ToneSpec, ...]:
        """Return the tone of each map, ``auto`` resolved; see :func:`convcli.pipeline.tones.resolve_tones`."""
        from convcli.pipeline.tones import resolve_tones

        return resolve_tones(
            self.request.tone,
            self.maps,
            depth,
            combination=self.combination,
            n_kernels=self.bound.n_kernels,
            computes_alpha=self.alpha in ("premultiply", "filter"),
            on_sheet=self.outputs[0].kind == "sheet",
        )

    @property
    def late_bias(self) -> NDArray[np.float64] | None:
        """Bias per colour plane that is added behind the engine, if any."""
        return self.bound.late_bias

    @property
    def uses_torch(self) -> bool:
        """Whether its engine is torch."""
        return self.conv.engine == "torch"

    def weight_bytes(self) -> bytes:
        """Return the bank as bytes, for a digest."""
        return bank_bytes(self.bank)


class Planner:
    """Plans the inputs of one request.

    Parameters
    ----------
    request : ApplyRequest

    Raises
    ------
    KernelError
        The bank cannot be loaded.
    """

    def __init__(self, request: ApplyRequest) -> None:
        from convcli.banks import load_bank
        from convcli.banks.bank import check_taps, max_taps

        self.request = request
        check_words(request)
        limit = nullcontext() if request.max_taps is None else max_taps(request.max_taps)
        with limit:
            self.bank = load_bank(*request.kernels)
            check_taps(self.bank.weight.size, f"kernel {self.bank.name}")
        self._bound: dict[tuple[str, ...], BoundBank] = {}
        self._convs: dict[tuple[object, ...], ConvPlan] = {}

    def plan(self, source: InputFile, info: ImageInfo) -> ImagePlan:
        """Plan one input from its header.

        Raises
        ------
        GeometryError
            The window does not fit, or groups do not divide.
        UsageError
            The image lacks a plane that was asked for, or the output cannot hold what was asked.
        """
        request, bank = self.request, self.bank
        if bank.weight.ndim == 5:
            raise GeometryError(
                f"kernel {bank.name} is 3-D ({'x'.join(map(str, bank.shape[2:]))}) and runs over frames; "
                f"{source.label} is one picture",
                hint="a file of several frames or pages, with all of them: --frames all",
            )
        layout = request.kind
        notes = [*info.notes, *bank.notes]
        selection = select_planes(info.plane_names, request.channels, alpha=False)
        bound = self._bind(selection.names)
        combination = Combination.of(bank, request.combine or (bank.combine if layout == "picture" else "none"))
        if layout == "picture" and not is_picture(bound, combination):
            layout = "sheet"
            if request.depth not in (None, "8"):
                raise UsageError(
                    "several maps make a sheet, which has 8 bits", hint="--combine max, or --layout maps, or no --depth"
                )
            n_maps = len(combination.names(bound.maps, bound.n_kernels))
            notes.append(f"{n_maps} maps have no natural combination into one picture: a labelled sheet of them")
        alpha = choose_alpha(request, info, layout, bound, notes)
        if alpha in ("premultiply", "filter"):
            selection = select_planes(info.plane_names, None, alpha=True)
            bound = self._bind(selection.names)
            if alpha == "premultiply":
                bound = with_plain_alpha(bound)
        maps = combination.names(bound.maps, bound.n_kernels)
        conv = self._plan_conv(
            bound, info, selection.names, computed=selection.luma or str(alpha).startswith("premultiply")
        )
        alpha = keep_alpha_of_same_size(alpha, info, conv.output_shape[-2:], notes)
        outputs = bank_outputs(request, source, layout, info, bank, maps, conv.output_shape[-2:])
        check_outputs(request, info, len(selection.names) - (alpha == "filter"), outputs)
        notes += [*depth_notes(info, outputs), *raw_notes(outputs[0]), *sheet_notes(outputs[0])]
        n_planes = len(maps) + (alpha in ("keep", "premultiply-keep"))
        notes += format_notes(outputs[0], info, n_planes, request.encoding)
        return ImagePlan(
            request=request,
            source=source,
            info=info,
            bank=bank,
            selection=selection,
            bound=bound,
            conv=conv,
            combination=combination,
            maps=maps,
            alpha=alpha,
            outputs=outputs,
            notes=tuple(dict.fromkeys(notes)),
        )

    def _plan_conv(self, bound: BoundBank, info: ImageInfo, planes: tuple[str, ...], *, computed: bool) -> ConvPlan:
        """Plan the convolution once for all images of one shape and type."""
        key = (planes, info.height_px, info.width_px, info.dtype, computed)
        if key not in self._convs:
            if len(self._convs) >= _PLANS_KEPT:
                self._convs.clear()
            self._convs[key] = plan_engine(self.request, bound, info, len(planes), computed=computed)
        return self._convs[key]

    def _bind(self, planes: tuple[str, ...]) -> BoundBank:
        if planes not in self._bound:
            request = self.request
            self._bound[planes] = bind_bank(
                self.bank,
                planes,
                groups=request.groups,
                mode=request.mode,
                bias=request.bias,
                transposed=request.transposed,
            )
        return self._bound[planes]


#: Copies of a strip of maps that are there at once: sums, and what they are combined into and stored as.
_MAPS_KEPT = 2


def plan_engine(
    request: ApplyRequest, bound: BoundBank, info: ImageInfo, n_planes: int, *, computed: bool = False
) -> ConvPlan:
    """Plan the convolution itself; ``computed`` planes reach the engine as floats, not as stored samples."""
    from convcli.engine import parse_border, plan_conv
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
    bias = bound.bias if bound.late_bias is None else bound.late_bias
    if bias is not None:
        largest = float(abs(bias).max())
        check_range(largest + conv.bound, conv.dtype, f"bias of {largest:.4g}")
    return conv


def resolve_request_padding(
    request: ApplyRequest, input_px: tuple[int, int], kernel_px: tuple[int, int]
) -> tuple[Pair, Pair]:
    """Return pixels added per side, (before, after) for rows and columns; ``--anchor`` moves ``same``.

    Raises
    ------
    GeometryError
        The anchor lies outside the kernel.
    UsageError
        An anchor with a padding other than ``same``: explicit pixels already say where the kernel sits.
    """
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


def is_picture(bound: BoundBank, combination: Combination) -> bool:
    """Whether maps of colour planes make one picture: a single map, or one per plane of grey or RGB."""
    n_maps = len(combination.names(bound.maps, bound.n_kernels))
    one_per_plane = bound.depthwise and combination.n_maps(bound.n_kernels) == 1
    return n_maps == 1 or (one_per_plane and n_maps == 3)


def bank_outputs(
    request: ApplyRequest,
    source: InputFile,
    layout: str,
    info: ImageInfo,
    bank: KernelBank,
    maps: tuple[MapName, ...],
    output_hw: tuple[int, int],
) -> tuple[OutputFile, ...]:
    """Name every file; a map's name is made of names already safe."""
    output_format = request.format or "png"
    names = OutputNames(request=request, source=source, bank=bank.file_name)
    depth = choose_depth(request, info, layout, output_format)
    if layout == "maps":
        return map_files(names, maps, depth=depth, size_hw=output_hw)
    path = names.path(PICTURE_TEMPLATE, kernel=bank.file_name, channel=layout)
    everything = tuple(range(len(maps)))
    return (OutputFile(path=path, kind=layout, maps=everything, format=output_format, depth=depth, size_hw=output_hw),)
