"""A comparison of engines: a table for students, and plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convcli.pipeline.report import printable
from convcli.render.table import render_table

if TYPE_CHECKING:
    from convcli.engine.compare import Comparison


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
