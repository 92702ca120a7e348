"""A bank on one image: planned from its header, described, and started strip by strip."""

from __future__ import annotations

from abc import abstractmethod
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from convcli.errors import GeometryError, UsageError
from convcli.images import formats
from convcli.images.planes import select_planes
from convcli.pipeline.naming import PICTURES
from convcli.pipeline.transforms.base import Planned, Run, Tools, Transform
from convcli.pipeline.transforms.binding import BoundBank, bind_bank
from convcli.pipeline.transforms.strips import ConvRun, plan_engine

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convcli.banks.bank import KernelBank
    from convcli.engine.borders import Border
    from convcli.engine.plan import ConvPlan
    from convcli.geometry.arithmetic import Pair
    from convcli.images.info import ImageInfo
    from convcli.images.planes import PlaneSource
    from convcli.layers.kinds.conv import Conv
    from convcli.layers.walk import Walk
    from convcli.pipeline.request import ApplyRequest

#: Plans of convolutions kept for images of the same shape.
_PLANS_KEPT = 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AnyBank(Transform):
    """A bank bound to planes, on one image or on the frames of a volume."""

    bank: KernelBank
    bound: BoundBank

    @property
    def n_indexes(self) -> int:
        """How many indexes the maps hold where ``argmax`` made them, else 0."""
        combination = self.bound.combination
        return combination.n_parts if combination.combine == "argmax" else 0

    def taps(self, map_index: int) -> NDArray[np.float64]:
        """Return the taps that made a map: all planes of one kernel, or of every kernel that was combined."""
        bound = self.bound
        plane, place = divmod(map_index, bound.combination.n_maps)
        made = [bound.taps(plane * bound.n_kernels + index) for index in bound.combination.parts(place)]
        # A kernel that runs on several planes is drawn once.
        alike = all(len(taps) > 1 and (taps == taps[0]).all() for taps in made)
        planes = np.concatenate([taps[:1] if alike else taps for taps in made])
        return planes.reshape(-1, *planes.shape[-2:])

    def weight_bytes(self) -> bytes:
        """Return everything of the bank that decides maps and their names, as bytes for a digest."""
        bank = self.bank
        biases, combined = (bank.bias, bank.out_bias), (bank.combine, bank.reduction, bank.reduction_op)
        words = (bank.shape, biases, bank.kernel_names, combined)
        return repr(words).encode() + bank.weight.tobytes()

    @abstractmethod
    def sides(self) -> tuple[Pair, ...]:
        """Return the padding along each axis, (before, after)."""

    @property
    def walk(self) -> Walk:
        """The convolution as a layer, bound to the input; its bias apart."""
        # Counts come from the arithmetic of `convcli shape`, so that both commands agree.
        from convcli.layers.walk import walk

        return walk([conv_layer(self.request, self.bound, self.sides())], self.input_shape)

    def report(self, border: Border, engine: str, reason: str) -> dict[str, Any]:
        """Return kernel, convolution and shapes; keys are the words of the flags, padding is per side."""
        request, bank = self.request, self.bank
        bias = self.bound.bias if self.bound.late_bias is None else self.bound.late_bias
        (row,) = self.walk.rows
        *frames, (top, bottom), (left, right) = self.sides()
        conv: dict[str, object] = {
            "mode": request.mode,
            "stride": list(request.stride),
            "padding": {"top": top, "bottom": bottom, "left": left, "right": right},
            **({"padding_frames": list(frames[0])} if frames else {}),
            "padding_mode": str(border),
            "border": border.pattern,
            "dilation": list(request.dilation),
            "groups": self.bound.groups,
            "transposed": request.transposed,
            **({"output_padding": list(request.output_padding)} if request.transposed else {}),
            "bias": None if bias is None else bias.tolist(),
            **({} if frames else {"anchor": _anchor(request, self.bound.weight.shape)}),
            **({"luminance": True} if request.luminance else {}),
            **({} if request.nodata is None else {"nodata": request.nodata}),
            "combine": self.bound.combination.combine,
            "tone": request.tone,
            "dtype": request.dtype,
            "engine": engine,
            "reason": reason,
        }
        names = {"kernels": list(bank.kernel_names), "shape": list(bank.shape)}
        return {
            "kernel": {"name": bank.name, **names, "orientation": "correlate", "source": bank.source},
            "conv": conv,
            "shape": {
                "input": list(self.input_shape),
                "output": list(row.output),
                "maps": len(self.maps),
                # conv_layer leaves the bias out, because some are added behind the engine.
                "parameters": row.parameters + len(bias if bias is not None else ()),
                "macs": row.macs,
                "unused_input": list(row.unused[-2:]),
            },
        }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Bank(AnyBank):
    """A bank on one image, planned."""

    conv: ConvPlan

    def sides(self) -> tuple[Pair, ...]:
        """Return the padding of rows and columns."""
        return self.conv.padding

    @property
    def uses_torch(self) -> bool:
        """Whether its engine is torch."""
        return self.conv.engine == "torch"

    @property
    def loops(self) -> str:
        """The loops that its plan names."""
        return self.conv.loops

    def describe(self) -> dict[str, Any]:
        """Return kernel, convolution and shapes."""
        conv = self.conv
        return self.report(conv.border, conv.engine, conv.reason)

    def start(self, planes: NDArray[Any] | PlaneSource, tools: Tools) -> Run:
        """Return its run, a strip at a time."""
        request = self.request
        tools = tools._replace(threads=request.threads or tools.threads)
        if request.format and formats.BY_NAME[request.format].folder:
            from convcli.pipeline.transforms.tiled import TiledRun

            return TiledRun(self.conv, self.bound, planes, tools, request)
        return ConvRun(self.conv, self.bound, planes, tools, request)


def conv_layer(request: ApplyRequest, bound: BoundBank, padding: tuple[Pair, ...]) -> Conv:
    """Return a bound bank as a layer, bias apart."""
    from convcli.layers.kinds import conv

    ones = (1,) * (len(padding) - 2)
    weight = bound.weight.shape
    return (conv.ConvTranspose if request.transposed else conv.Conv)(
        n_axes=len(padding),
        out_channels=weight[1] * bound.groups if request.transposed else weight[0],
        groups=bound.groups,
        kernel_size=weight[2:],
        stride=(*ones, *request.stride),
        padding=padding,
        dilation=(*ones, *request.dilation),
        output_padding=request.output_padding,
        bias=False,
        label="convtranspose" if request.transposed else "conv",
    )


def _anchor(request: ApplyRequest, weight_shape: tuple[int, ...]) -> list[int] | None:
    """Return the tap over the output sample; with a stride the padding says it better, and this is ``None``."""
    if request.anchor is not None:
        return list(request.anchor)
    if request.padding != "same" or request.stride != (1, 1) or request.transposed:
        return None
    return [(size - 1) // 2 for size in weight_shape[-2:]]


class BankPlanner:
    """Plans a bank on the images of one request."""

    def __init__(self, request: ApplyRequest, loaded: KernelBank | None = None) -> None:
        from convcli.banks.bank import check_taps, max_taps
        from convcli.banks.load import load_bank, turned

        self.request = request
        limit = nullcontext() if request.max_taps is None else max_taps(request.max_taps)
        with limit:
            self.loaded = bank = loaded or load_bank(*request.kernels)
            self.bank = turned(bank) if request.mode == "convolve" else bank
            check_taps(self.bank.weight.size, f"kernel {self.bank.name}")
        # By planes: grey and colour pictures of one folder repeat a kernel differently.
        self._bound: dict[tuple[str, ...], BoundBank] = {}
        self._convs: dict[tuple[object, ...], ConvPlan] = {}

    def plan(self, label: str, info: ImageInfo) -> Planned:
        """Plan one input from its header; see :meth:`convcli.pipeline.plan.Planner.plan`."""
        request, bank, kind = self.request, self.bank, self.request.kind
        if bank.weight.ndim == 5:
            size = "x".join(map(str, bank.shape[2:]))
            raise GeometryError(
                f"kernel {bank.name} is 3-D ({size}) and runs over frames; {label} is one picture",
                hint="a file of several frames or pages, with all of them: --frames all",
            )
        selection = select_planes(info.plane_names, request.channels, alpha=False)
        bound = self._bind(selection.names)
        notes = list(bank.notes)
        if kind in PICTURES and not bound.is_picture:
            kind = "sheet"
            notes.append(self._why_sheet(len(bound.combined_maps)))
        if request.luminance:
            from convcli.pipeline.transforms.alpha import with_luminance

            bound = with_luminance(bound, request, selection.names)
        alpha = None
        if info.has_alpha and request.channels is None:
            from convcli.pipeline.transforms.alpha import choose_alpha, with_plain_alpha

            alpha, said = choose_alpha(request, info, kind, bound)
            notes += said
            if alpha in ("premultiply", "filter"):
                selection = select_planes(info.plane_names, None, alpha=True)
                bound = self._bind(selection.names)
            if alpha == "premultiply":
                bound = with_plain_alpha(bound, 1.0 if request.unit else info.white)
        # Computed planes are floats: loops for stored samples must not be planned for them.
        computed = selection.luma or str(alpha).startswith("premultiply") or request.nodata is not None
        conv = self._plan_conv(bound, info, selection.names, computed=computed)
        # Only the plan knows the output's size, which the plane that is kept must have.
        if alpha in ("keep", "premultiply-keep"):
            from convcli.pipeline.transforms.alpha import keep_alpha_of_same_size

            alpha, said = keep_alpha_of_same_size(alpha, info, conv.output_shape[-2:])
            notes += said
        maps = bound.combined_maps
        if alpha in ("premultiply", "filter"):
            maps = tuple(one._replace(nature="alpha") if one.channel == "a" else one for one in maps)
        transform = Bank(
            request=request,
            maps=maps,
            input_shape=(len(selection.names), info.height_px, info.width_px),
            bank=bank,
            bound=bound,
            conv=conv,
        )
        outputs = ((0, len(transform.maps), conv.output_shape[-2:]),)
        name = bank.file_name
        return Planned(transform, selection, alpha, kind, outputs, name, name, tuple(notes))

    def _why_sheet(self, n_maps: int) -> str:
        """Return the note about maps that make no picture; refuse depths that a sheet has not."""
        if self.request.depth not in (None, "8"):
            raise UsageError(
                "several maps make a sheet, which has 8 bits", hint="--combine max, or --layout maps, or no --depth"
            )
        return f"{n_maps} maps have no natural combination into one picture: a labelled sheet of them"

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
            self._bound[planes] = bind_bank(self.bank, planes, self.request)
        return self._bound[planes]
