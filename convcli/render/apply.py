"""Reports of ``apply`` for a person: the plan of shapes, a row per map, notes, and the files written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from convcli.pipeline.report import printable
from convcli.render.text import by, by_axis, render_table

if TYPE_CHECKING:
    from convcli.pipeline.batch import BatchPlan

#: Rows of the table of maps before the rest is left to report.json.
_MAX_ROWS = 16


def _number(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _size(n_bytes: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if n_bytes < 1024:
            return f"{n_bytes:.0f} {unit}" if unit == "bytes" else f"{n_bytes:.1f} {unit}"
        n_bytes /= 1024
    return f"{n_bytes:.1f} GiB"


def shape_lines(report: Mapping[str, Any]) -> list[str]:
    """Return the shape report: input, kernel, convolution, output, one line each."""
    if "stack" in report:
        return _stack_lines(report)
    conv, shape, kernel = report["conv"], report["shape"], report["kernel"]
    pad = conv["padding"]
    sides = ",".join(str(pad[side]) for side in ("top", "bottom", "left", "right"))
    same = len(set(pad.values())) == 1
    lost = shape["unused_input"]
    lines = [
        _input_line(report),
        f"kernel   {printable(kernel['name'])}  {by(kernel['shape'])} ({_names(kernel['kernels'])})",
        f"conv     {conv['mode']}{' transposed' if conv['transposed'] else ''}, stride {by_axis(conv['stride'])}, "
        f"padding {pad['top'] if same else sides} {conv['padding_mode']} {conv['border']}, "
        f"dilation {by_axis(conv['dilation'])}, groups {conv['groups']}",
        f"output   {by(shape['output'])}  {shape['parameters']:,} parameters, {shape['macs']:,} MACs",
    ]
    if any(lost):
        lines.append(f"unused   {lost[0]} rows at the bottom, {lost[1]} columns at the right are in no window")
    lines.append(f"engine   {conv['engine']}: {conv['reason']}")
    # Some reasons name the loops already.
    if report["loops"] not in conv["reason"]:
        lines.append(f"loops    {report['loops']}")
    return lines


def _input_line(report: Mapping[str, Any]) -> str:
    path, dtype, planes = (report["input"][key] for key in ("path", "dtype", "planes"))
    return f"input    {printable(path)}  {by(report['shape']['input'])} {dtype} ({','.join(planes)})"


def _stack_lines(report: Mapping[str, Any]) -> list[str]:
    shape, stack = report["shape"], report["stack"]
    rows = [(printable(one["layer"]), by(one["output"])) for one in report["layers"]]
    return [
        _input_line(report),
        f"layers   {printable(stack['name'])}  {shape['parameters']:,} parameters, {shape['macs']:,} MACs",
        "",
        render_table(("layer", "output"), rows, align="lr"),
    ]


def _names(names: Sequence[str]) -> str:
    # Eight names fill a line; banks from checkpoints have hundreds of kernels.
    shown = ", ".join(printable(name) for name in names[:8])
    return f"{shown}, ... {len(names)} in all" if len(names) > 8 else shown


def render_result(report: Mapping[str, Any]) -> str:
    """Return what running an image found, as text: it follows :func:`shape_lines`, which are known before."""
    numbers = ("min", "max", "mean", "std")
    others = ("tone", "clipped_low", "clipped_high")
    rows = [
        (printable(one["name"]), *(_number(one[key]) for key in numbers), *(one[key] for key in others))
        for one in report["maps"][:_MAX_ROWS]
    ]
    headings = ("map", "min", "max", "mean", "std", "tone", "clipped low", "clipped high")
    lines = ["", render_table(headings, rows, align="lrrrrlrr")]
    if len(report["maps"]) > _MAX_ROWS:
        lines.append(f"... and {len(report['maps']) - _MAX_ROWS} more maps in the report")
    lines.append("")
    lines += _tone_lines(report["maps"])
    lines += [f"note     {printable(note)}" for note in report["notes"]]
    lines.append(f"written  {_where(report['outputs'])}, {report['seconds']:.2f} s")
    return "\n".join(lines)


def _tone_lines(maps: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each choice that ``auto`` made, with its reason."""
    groups: dict[str, list[str]] = {}
    for one in maps:
        if "tone_reason" in one:
            groups.setdefault(f"{one['tone']}: {one['tone_reason']}", []).append(one["name"])
    only = len(groups) == 1
    return [f"tone     {choice}{'' if only else f' ({_names(names)})'}" for choice, names in groups.items()]


def _where(outputs: Sequence[Mapping[str, Any]]) -> str:
    """Name one file, or the folder of several with their number and bytes."""
    # Standard output has no size to ask for: the samples before compression stand in.
    total = _size(sum(one.get("bytes") or one["sample_bytes"] for one in outputs))
    if len(outputs) == 1:
        return f"{printable(outputs[0]['path'])} ({total})"
    folders = {str(PurePath(one["path"]).parent) for one in outputs}
    place = printable(folders.pop()) + "/" if len(folders) == 1 else f"{len(folders)} folders"
    return f"{place} ({len(outputs)} files, {total})"


def plan_as_dict(batch: BatchPlan) -> dict[str, object]:
    """Return the plan of a batch as plain data."""
    from convcli.pipeline.report import describe

    images = [describe(plan) for plan in batch.plans]
    return {
        "status": "planned",
        "inputs": batch.n_inputs,
        "images": images,
        "files": sum(len(plan.written_paths) for plan in batch.plans),
        # Before compression: the bytes of a file are known only once it is written.
        "sample_bytes": sum(output.n_bytes for plan in batch.plans for output in plan.outputs),
        "existing": list(batch.existing),
        "settled": [outcome.as_dict() for outcome in batch.settled],
    }


def render_plan(batch: BatchPlan, *, overwrite: bool) -> str:
    """Return the plan of a batch as text: the whole plan of one image, a line each of several."""
    total: dict[str, Any] = plan_as_dict(batch)
    lines: list[str] = []
    there = set(batch.existing)
    if len(batch.plans) == 1:
        lines += shape_lines(total["images"][0])
        lines += [f"note     {printable(note)}" for note in batch.plans[0].notes]
        lines += [f"would write {printable(str(path))}" for path in batch.plans[0].written_paths if path not in there]
    else:
        rows = [
            (
                printable(plan.input.label),
                by([len(plan.selection.names), plan.info.height_px, plan.info.width_px]),
                by([len(plan.maps), *plan.outputs[0].size_hw]),
                len(plan.written_paths),
                printable(str(plan.outputs[0].path)),
            )
            for plan in batch.plans
        ]
        lines.append(render_table(("input", "shape", "output", "files", "first file"), rows, align="lrrrl"))
    if batch.existing:
        lines += _existing_lines(batch.existing, overwrite=overwrite)
    files = "1 file" if total["files"] == 1 else f"{total['files']} files"
    lines.append(f"{files}, {_size(total['sample_bytes'])} before compression; nothing written")
    return "\n".join(lines)


def _existing_lines(existing: Sequence[object], *, overwrite: bool) -> list[str]:
    """List files that the run would refuse or replace."""
    verb = "would replace" if overwrite else "exists     "
    shown = [f"{verb} {printable(str(path))}" for path in existing[:_MAX_ROWS]]
    more = [f"... and {len(existing) - _MAX_ROWS} more that exist"] if len(existing) > _MAX_ROWS else []
    hint = "the run would end with 6; --overwrite replaces, --skip-existing leaves them"
    return [*shown, *more, *([] if overwrite else [f"{len(existing)} exist: {hint}"])]
