"""Reports as plain data: one dict per image, written as JSON, CSV, Markdown or HTML by ``convcli.render``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from convcli.geometry.arithmetic import unused_input_px
from convcli.version import __version__

if TYPE_CHECKING:
    from convcli.pipeline.outputs import Plan
    from convcli.pipeline.plan import ImagePlan
    from convcli.pipeline.request import ApplyRequest
    from convcli.pipeline.writers import Sink


def printable(text: str) -> str:
    r"""Return ``text`` with control characters as escapes, so that a file name cannot drive the terminal.

    Examples
    --------
    >>> printable("a\x1b[31m b\n")
    'a\\x1b[31m b\\n'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


def plain(value: object) -> object:
    """Return ``value`` as JSON types: NumPy scalars and paths become numbers and text, NaN and inf become text.

    Examples
    --------
    >>> plain({"shape": (3, 4), "mean": float("nan")})
    {'shape': [3, 4], 'mean': 'nan'}
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence | set | frozenset):
        return [plain(item) for item in value]
    item = getattr(value, "item", None)
    return plain(item()) if callable(item) else str(value)


def to_json(value: object, *, indent: int | None = None) -> str:
    """Return ``value`` as JSON text in ASCII, which any stream takes; one line unless ``indent`` is given.

    Examples
    --------
    >>> to_json({"stride": (2, 2)})
    '{"stride": [2, 2]}'
    """
    return json.dumps(plain(value), indent=indent, allow_nan=False)


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
    from convcli.pipeline.binding import describe_kernel

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


#: Share of clipped samples above which the report warns.
CLIP_WARNING = 0.001


def image_report(plan: Plan, sinks: list[Sink], sizes: list[int | None], seconds: float) -> dict[str, Any]:
    """Return the plan's description with what the run found: values, clipped samples, bytes, seconds."""
    report: dict[str, Any] = describe(plan)
    maps: dict[int, dict[str, Any]] = {}
    for sink, size, entry in zip(sinks, sizes, report["outputs"], strict=True):
        entry["bytes"] = size
        counts = sink.counts
        raw = sink.is_raw
        tones = plan.tones(sink.output.depth)
        for place, index in enumerate(sink.output.maps):
            named = plan.maps[index]
            maps[index] = {
                "name": named.label,
                "kernel": named.kernel,
                "channel": named.channel,
                "path": entry["path"],
                "min": float(counts.minimum[place]),
                "max": float(counts.maximum[place]),
                "mean": float(counts.mean[place]),
                "tone": "none" if raw else str(tones[index]),
                "clipped_low": int(counts.n_low[place]),
                "clipped_high": int(counts.n_high[place]),
                "not_a_number": int(counts.n_nan[place]),
                **_gain(sink, place),
                "samples": counts.n,
            }
    report["maps"] = [maps[index] for index in sorted(maps)]
    report["warnings"] = _warnings(report["maps"])
    report["seconds"] = round(seconds, 4)
    plain_report = plain(report)
    assert isinstance(plain_report, dict)
    return plain_report


def _gain(sink: Sink, place: int) -> dict[str, float]:
    r"""Return how a value became a sample: gain * v + offset, or of \|v\| where the tone is abs."""
    if sink.is_raw:
        return {}
    gain, offset, _ = sink.tone.gain_offset(place)
    return {"gain": gain, "offset": offset}


def _warnings(maps: list[dict[str, Any]]) -> list[str]:
    """Say where the tone clipped more than one sample in a thousand, and which flag avoids it."""
    n_nan = sum(one["not_a_number"] for one in maps)
    nan = [f"{n_nan} samples are not a number (stored as 0 in integers)"] if n_nan else []
    clipped = [one for one in maps if one["clipped_low"] + one["clipped_high"] > CLIP_WARNING * one["samples"]]
    if not clipped:
        return nan
    low, high = sum(one["clipped_low"] for one in clipped), sum(one["clipped_high"] for one in clipped)
    share = 100 * (low + high) / sum(one["samples"] for one in clipped)
    values = f"{min(one['min'] for one in clipped):.5g} to {max(one['max'] for one in clipped):.5g}"
    fact = f"{low} samples clipped low and {high} high ({_percent(share)}, values {values})"
    return [*nan, f"{fact}; --tone stretch or signed, or -o maps.npy keep them"]


def _percent(share: float) -> str:
    """Return a share in percent as text, with two digits.

    Examples
    --------
    >>> _percent(100.0), _percent(62.4), _percent(0.123)
    ('100 %', '62 %', '0.12 %')
    """
    return f"{share:.0f} %" if share >= 10 else f"{share:.2g} %"
