"""Results of ``compare``, a table for students, and ``explain``, one output sample as on a blackboard; as data too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convcli.pipeline.report import printable
from convcli.render.text import columns, render_table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from convcli.engine.compare import Comparison
    from convcli.engine.explain import Explanation
    from convcli.engine.plan import ConvPlan

#: Columns of the widest window that is written out; ``--json`` has every number of all.
MOST_COLUMNS = 15
#: Planes written out one by one.
MOST_PLANES = 4


def comparison_as_dict(found: Comparison) -> dict[str, Any]:
    """Return a comparison as plain data."""
    return {
        "output": found.plan.output_shape,
        "picked": found.plan.engine,
        "reason": found.plan.reason,
        "dtype": found.plan.dtype,
        "rows": found.n_rows,
        "rows_compared": found.n_compared,
        "largest": found.largest,
        "agree": found.agree,
        "engines": [measurement._asdict() for measurement in found.measurements],
    }


def render_comparison(found: Comparison, image: str, kernel: str) -> str:
    """Return a comparison as text: the job, the table and the verdict."""
    ran = [(m, m.seconds * 1e3) for m in found.measurements if m.seconds is not None]
    fastest = min((ms for _, ms in ran), default=1.0)
    rows = [
        [
            f"{m.engine} *" if m.picked else m.engine,
            f"{ms:.2f}",
            f"{ms / fastest:.1f}",
            "-" if m.memory_bytes is None else f"{m.memory_bytes / 2**20:.1f}",
            # A difference of 0 is a result of its own, and 0.0e+00 would look rounded.
            "exact" if m.max_difference == 0 else f"{m.max_difference:.1e}",
            "0" if not m.relative else f"{m.relative:.0e}",
            m.method,
        ]
        for m, ms in ran
    ]
    headings = ["engine", "time\nms", "times the\nfastest", "memory\nMB", "largest\ndifference", "of the\nlargest"]
    maps, height, width = found.plan.output_shape
    planes, input_h, input_w = found.plan.input_shape
    lines = [
        f"{printable(image)} ({planes}x{input_h}x{input_w}), {printable(kernel)} -> {maps}x{height}x{width}, "
        f"{found.plan.dtype}",
        "",
        render_table([*headings, "how"], rows, align="lrrrrrl"),
        "",
        f"* the planner's choice ({found.plan.reason})",
        f"difference: from the sum of products in float64, tap by tap; the largest value is {found.largest:.6g}",
    ]
    if found.n_compared < found.n_rows:
        lines.append(f"compared: {found.n_compared} of {found.n_rows} rows, from top to bottom")
    lines += [f"not run: {m.engine}: {m.why_not}" for m in found.measurements if m.why_not]
    lines += ["", _verdict(found)]
    return "\n".join(lines)


def _verdict(found: Comparison) -> str:
    ran = [m for m in found.measurements if m.relative is not None]
    worst = max((m.relative or 0.0 for m in ran), default=0.0)
    # float32 has 24 bits of mantissa and float64 has 53: 7 and 16 decimal digits.
    digits = 7 if found.plan.dtype == "float32" else 16
    if not found.agree:
        wrong = ", ".join(m.engine for m in ran if m.relative == worst)
        return f"the engines do not agree: {wrong} is off by {worst:.1e} of the largest value; please report this"
    # One engine against the reference proves less than several: the sentence must not claim more.
    if len(ran) == 1:
        return f"only {ran[0].engine} ran, and computes what the reference does; a larger --limit runs more engines"
    if worst == 0:
        return f"all {len(ran)} engines give the same numbers, to the last bit"
    return (
        f"all {len(ran)} engines compute the same convolution: they differ by rounding only ({found.plan.dtype} keeps "
        f"about {digits} digits, and each adds up in its own order)"
    )


def explanation_as_dict(told: Explanation, plan: ConvPlan, name: str, values: dict[str, float]) -> dict[str, Any]:
    """Return an explanation as plain data; ``computed`` holds the engine's value of every map at that place."""
    return {
        "map": name,
        "at": (told.row, told.column),
        "output": plan.output_shape,
        "planes": told.planes,
        "rows": told.rows,
        "columns": told.columns,
        "padding_mode": str(plan.border),
        "patch": told.patch.tolist(),
        "inside": told.inside.tolist(),
        "taps": told.taps.tolist(),
        "products": told.products.tolist(),
        "bias": told.bias,
        "value": told.value,
        "engine": plan.engine,
        "computed": values,
    }


def render_explanation(
    told: Explanation, plan: ConvPlan, image: str, name: str, planes: list[str], values: dict[str, float]
) -> str:
    """Return an explanation as text."""
    maps, height, width = plan.output_shape
    lines = [
        f"{printable(image)}: map {printable(name)} ({height}x{width}, one of {maps}), row {told.row}, "
        f"column {told.column}",
        _window_text(told, plan),
    ]
    if not told.rows or not told.columns:
        lines.append("no tap meets this sample: only the bias is there")
    elif len(told.columns) > MOST_COLUMNS or len(told.rows) > 2 * MOST_COLUMNS:
        lines.append(f"{told.taps.size} taps: too many to write out here; --json has them all")
    else:
        for plane in range(min(len(told.planes), MOST_PLANES)):
            lines += ["", *_plane_lines(told, plane, planes[plane])]
        if len(told.planes) > MOST_PLANES:
            lines += ["", f"... and {len(told.planes) - MOST_PLANES} more planes; --json has them all"]
    total = _number(told.value - told.bias)
    lines += ["", f"sum of {told.products.size} products = {total}"]
    if told.bias:
        lines.append(f"+ bias {_number(told.bias)} = {_number(told.value)}")
    value = values[name]
    # NaN differs from itself.
    is_same = value == told.value or (value != value and told.value != told.value)
    rounding = ", the same" if is_same else f" (rounding: {abs(value - told.value):.1e} apart)"
    lines.append(f"engine {plan.engine} gives {_number(value)}{rounding}")
    others = [f"{printable(label)} {_number(value)}" for label, value in values.items() if label != name]
    if others:
        more = f", ... ({len(others) - 8} more)" if len(others) > 8 else ""
        lines.append(f"other maps there: {', '.join(others[:8])}{more}")
    return "\n".join(lines)


def _window_text(told: Explanation, plan: ConvPlan) -> str:
    # All planes share one window, so the first tells how much of it lies outside.
    outside = int((~told.inside[0]).sum()) if told.inside.size else 0
    text = f"window: rows {_positions(told.rows)}, columns {_positions(told.columns)}"
    if outside:
        text += f"; {outside} of {told.inside[0].size} samples lie outside: {plan.border} ({plan.border.pattern}), [so]"
    return text


def _positions(positions: tuple[int, ...]) -> str:
    if len(positions) <= 4:
        return " ".join(map(str, positions)) or "none"
    step = positions[1] - positions[0]
    return f"{positions[0]} to {positions[-1]}" + (f" by {step}" if step != 1 else "")


def _plane_lines(told: Explanation, plane: int, name: str) -> list[str]:
    """Return patch, taps and products of one plane side by side."""
    patch = _cells(told.patch[plane], told.inside[plane])
    blocks = [patch, _cells(told.taps[plane]), _cells(told.products[plane])]
    # A width for each block: samples, taps and products have different numbers of digits.
    widths = [max(len(cell) for row in block for cell in row) for block in blocks]
    sizes = [len(block[0]) * (w + 1) - 1 for block, w in zip(blocks, widths, strict=True)]
    room = columns()
    if room is not None and 2 + sum(sizes) + 10 > room:
        return _stacked(told, plane, name, room)
    middle = (len(patch) - 1) // 2
    lines = []
    for row in range(len(patch)):
        parts = [" ".join(c.rjust(w) for c in block[row]) for block, w in zip(blocks, widths, strict=True)]
        # The signs stand in the middle row alone, as on a blackboard.
        times, equals = ("x", "=") if row == middle else (" ", " ")
        lines.append(f"  {parts[0]}  {times}  {parts[1]}  {equals}  {parts[2]}".rstrip())
    first = f"patch {name}".strip()
    heading = f"  {first.ljust(sizes[0])}     {'taps'.ljust(sizes[1])}     products"
    total = f"  products of {name} add up to {_number(told.products[plane].sum())}"
    return [heading, *lines, *([total] if len(told.planes) > 1 else [])]


def _stacked(told: Explanation, plane: int, name: str, room: int) -> list[str]:
    """Return patch, taps and products one below the other, with as many digits as a line has room for."""
    lines: list[str] = []
    parts = [(f"patch {name}".strip(), told.patch[plane], told.inside[plane])]
    parts += [("x taps", told.taps[plane], None), ("= products", told.products[plane], None)]
    for heading, values, inside in parts:
        for digits in (6, 4, 3, 2):
            cells = _cells(values, inside, digits)
            width = max(len(cell) for row in cells for cell in row)
            if 2 + len(cells[0]) * (width + 1) <= room:
                break
        lines += [f"  {heading}", *("  " + " ".join(cell.rjust(width) for cell in row) for row in cells), ""]
    return [*lines[:-1], f"  products of {name} add up to {_number(told.products[plane].sum())}"]


def _cells(values: NDArray[np.float64], inside: NDArray[np.bool_] | None = None, digits: int = 6) -> list[list[str]]:
    cells = [[_number(value, digits) for value in row] for row in values.tolist()]
    if inside is not None:
        cells = [
            [cell if own else f"[{cell}]" for cell, own in zip(row, owns, strict=True)]
            for row, owns in zip(cells, inside.tolist(), strict=True)
        ]
    return cells


def _number(value: float, digits: int = 6) -> str:
    # Adding 0.0 turns -0.0 into 0.0: the product of 0 and a negative tap must not show a sign.
    return f"{value + 0.0:.{digits}g}"
