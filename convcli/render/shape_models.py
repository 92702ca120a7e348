"""The convolution weights of a checkpoint as a table, Markdown, CSV or plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convcli.render.shape import shape_text
from convcli.render.table import render_markdown, render_table

if TYPE_CHECKING:
    from convcli.layers.checkpoint import Weights

_HEADINGS = ("entry", "weight", "dtype", "module", "layer", "parameters")


def weights_as_dict(weights: Weights) -> dict[str, object]:
    """Return a checkpoint's convolution weights as plain data."""
    return {
        "file": weights.path,
        "entries": [
            {
                "entry": entry.name,
                "weight": list(entry.shape),
                "dtype": entry.dtype,
                "module": entry.module,
                "layer": entry.text,
                "parameters": entry.parameters,
                "bias": entry.bias,
                "transposed": entry.is_transposed,
                "layout": entry.layout or None,
                "or": list(entry.others),
            }
            for entry in weights.entries
        ],
        "n_others": weights.n_others,
    }


def render_weights(weights: Weights, how: str) -> str:
    """Return a checkpoint's convolution weights; ``how`` is text, markdown, csv or json."""
    if how == "json":
        from convcli.pipeline.report import to_json

        return to_json(weights_as_dict(weights))
    rows = [
        (entry.name, shape_text(entry.shape), entry.dtype, entry.module, entry.text, entry.parameters)
        for entry in weights.entries
    ]
    if how == "csv":
        import csv
        import io

        stream = io.StringIO()
        csv.writer(stream, lineterminator="\n").writerows([_HEADINGS, *rows])
        return stream.getvalue().rstrip("\n")
    from convcli.pipeline.report import printable

    # Names of entries come from a file that somebody else made; CSV is for programs and keeps them as they are.
    shown = [(printable(row[0]), *row[1:-1], f"{row[-1]:,}") for row in rows]
    if how == "markdown":
        return render_markdown(_HEADINGS, shown, align="lllllr")
    table = render_table(_HEADINGS, shown, align="lllllr")
    total = sum(entry.parameters for entry in weights.entries)
    others = f"; {weights.n_others:,} other tensors" if weights.n_others else ""
    lines = [
        f"{printable(row[0])} may be {' or '.join(e.others)} as well"
        for row, e in zip(rows, weights.entries, strict=True)
        if e.others
    ]
    # Networks repeat their blocks: a doubt about one entry comes back for each of them.
    if len(lines) > 6:
        lines = [*lines[:5], f"and {len(lines) - 5} more of the same two kinds; --json has each"]
    if any(entry.layout for entry in weights.entries):
        lines.append("entries called kernel are read as rows, columns, input, output (layout=hwio)")
    unsure = "".join(f"\nnote: {line}" for line in lines)
    return (
        f"{printable(weights.path)}\n\n{table}\n\n{len(rows):,} convolution weights, {total:,} parameters{others}\n"
        "stride, padding and dilation are not in a weight; nor are groups, except where each map sees one channel"
        f"{unsure}"
    )
