"""An image plan in the words of its report: what ``--dry-run`` prints and every report holds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from convcli.geometry.arithmetic import unused_input_px
from convcli.pipeline.binding import describe_kernel
from convcli.pipeline.request import ApplyRequest
from convcli.version import __version__

if TYPE_CHECKING:
    from convcli.pipeline.outputs import Plan
    from convcli.pipeline.plan import ImagePlan


def describe(plan: Plan) -> dict[str, Any]:
    """Return everything known about a plan before it runs, as plain data."""
    from convcli.engine import native

    return _describe(plan) | {"loops": native.describe()}


def _describe(plan: Plan) -> dict[str, Any]:
    from convcli.pipeline.animation import AnimationPlan
    from convcli.pipeline.plan import ImagePlan

    if isinstance(plan, AnimationPlan):
        report = _describe(plan.frames[0])
        report["input"] |= {"path": plan.source.label, "frames": len(plan.frames)}
        return report | {"notes": list(plan.notes)}
    if isinstance(plan, ImagePlan):
        return describe_plan(plan)
    from convcli.pipeline.stack import StackPlan, describe_stack

    if isinstance(plan, StackPlan):
        return describe_stack(plan)
    from convcli.pipeline.volume import VolumePlan, describe_volume

    assert isinstance(plan, VolumePlan)
    return describe_volume(plan)


def conventions(plan: Plan) -> dict[str, object]:
    """Return what a file says about how it was made."""
    from convcli.pipeline.animation import AnimationPlan

    if isinstance(plan, AnimationPlan):
        return conventions(plan.frames[0])
    words: dict[str, object] = {"input": plan.source.stem, "tone": plan.request.tone}
    if plan.request.stack is not None:
        return words | {"stack": str(plan.request.stack)}
    report = describe(plan)
    conv = dict(report["conv"])
    del conv["reason"]  # how many cores there were says nothing about the samples
    return words | {"kernel": report["kernel"]["name"], **conv}


def describe_plan(plan: ImagePlan) -> dict[str, object]:
    """Return everything known before a pixel is read, as plain data.

    Keys are the words of the flags; shapes are channels, rows, columns; padding is per side.
    """
    info, bank, conv, bound = plan.info, plan.bank, plan.conv, plan.bound
    bias = bound.bias if bound.late_bias is None else bound.late_bias
    n_planes = len(plan.selection.names)
    output_shape = list(conv.output_shape)
    return {
        "convcli": __version__,
        "input": plan.describe_input(),
        "kernel": describe_kernel(bank),
        "conv": describe_conv(plan),
        "shape": {
            "input": [n_planes, info.height_px, info.width_px],
            "output": output_shape,
            "maps": len(plan.maps),
            "parameters": int(bound.weight.size) + len(bias if bias is not None else ()),
            "macs": conv_macs(plan),
            "unused_input": unused_input(plan),
        },
        "outputs": [output.as_dict() for output in plan.outputs],
        "notes": list(plan.notes),
    }


def describe_conv(plan: ImagePlan) -> dict[str, object]:
    """Return the convolution with its conventions: the part that every output carries as its stamp."""
    request, conv = plan.request, plan.conv
    bias = plan.bound.bias if plan.late_bias is None else plan.late_bias
    (top, bottom), (left, right) = conv.padding
    return {
        "mode": request.mode,
        "stride": list(request.stride),
        "padding": {"top": top, "bottom": bottom, "left": left, "right": right},
        "padding_mode": str(conv.border),
        "border": conv.border.pattern,
        "dilation": list(request.dilation),
        "groups": plan.bound.groups,
        "transposed": request.transposed,
        **({"output_padding": list(request.output_padding)} if request.transposed else {}),
        "bias": None if bias is None else bias.tolist(),
        "anchor": _anchor(request, plan.bound.weight.shape),
        "combine": plan.combination.combine,
        "tone": request.tone,
        "dtype": request.dtype,
        "engine": conv.engine,
        "reason": conv.reason,
    }


def _anchor(request: ApplyRequest, weight_shape: tuple[int, ...]) -> list[int] | None:
    """Return the tap over the output sample; with a stride the padding says it better, and this is ``None``."""
    if request.anchor is not None:
        return list(request.anchor)
    if request.padding != "same" or request.stride != (1, 1) or request.transposed:
        return None
    return [(size - 1) // 2 for size in weight_shape[-2:]]


def conv_macs(plan: ImagePlan) -> int:
    """Return exact multiply-accumulates, bias apart; a transposed convolution is counted on its input.

    Source: one product per tap, input channel of the group, output channel and position.
    """
    weight = plan.bound.weight.shape
    if plan.request.transposed:
        return math.prod(weight) * plan.info.height_px * plan.info.width_px
    return math.prod(weight) * math.prod(plan.conv.output_shape[-2:])


def unused_input(plan: ImagePlan) -> list[int]:
    """Return rows at the bottom and columns at the right that no window reaches."""
    if plan.request.transposed:
        return [0, 0]
    lost = zip(
        (plan.info.height_px, plan.info.width_px),
        plan.bound.weight.shape[-2:],
        plan.request.stride,
        plan.request.dilation,
        plan.conv.padding,
        plan.conv.output_shape[-2:],
        strict=True,
    )
    return [
        unused_input_px(size, kernel, stride=stride, dilation=dilation, pad_before_px=pads[0], output_px=output)
        for size, kernel, stride, dilation, pads, output in lost
    ]
