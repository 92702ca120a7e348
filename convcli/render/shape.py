"""A stack's shapes as plain data, text, Markdown and CSV: one row per layer, then totals and notes."""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd, prod
from typing import TYPE_CHECKING

from convcli.geometry.arithmetic import window_px
from convcli.render.text import by, by_axis, render_csv, render_markdown, render_table

if TYPE_CHECKING:
    from convcli.layers.layer import Row
    from convcli.layers.walk import Walk

#: Column = (heading of the text table, alignment, the value that is left out if every layer has it).
_COLUMNS = {
    "number": ("#", "r", ""),
    "layer": ("layer", "l", None),
    "from": ("from", "l", ""),
    "output": ("output", "l", None),
    "kernel_size": ("kernel\nsize", "r", "-"),
    "stride": ("stride", "r", "1"),
    "padding": ("padding", "r", "0"),
    "dilation": ("dilation", "r", "1"),
    "groups": ("groups", "r", "1"),
    "output_padding": ("output\npadding", "r", "0"),
    "parameters": ("parameters", "r", None),
    "macs": ("macs", "r", None),
    "receptive_field": ("receptive\nfield", "r", None),
    "jump": ("jump", "r", None),
    "start": ("start", "r", None),
    "activation_bytes": ("activation\nbytes", "r", None),
    "unused": ("unused", "r", "0"),
}


def axes_text(values: Sequence[object]) -> str:
    """Return one number if all axes agree, else one per axis.

    Examples
    --------
    >>> axes_text((3, 3)), axes_text((3, 1)), axes_text(())
    ('3', '3x1', '-')
    """
    return by_axis([number_text(value) for value in values])


def number_text(value: object) -> str:
    """Return a number as text: whole ones and halves in decimals, other fractions as they are.

    Examples
    --------
    >>> from fractions import Fraction
    >>> number_text(3), number_text(Fraction(1, 4)), number_text(Fraction(1, 3))
    ('3', '0.25', '1/3')
    """
    if isinstance(value, int):
        return str(value)
    as_float = float(value)  # type: ignore[arg-type]
    # Multiples of 1/1024 are exact in decimals; thirds are not, and must stay fractions.
    return f"{as_float:.12g}" if as_float * 1024 == int(as_float * 1024) else str(value)


def padding_text(padding: Sequence[tuple[int, int]]) -> str:
    """Return padding as ``3``, ``3x1``, or ``top,bottom,left,right`` where the two sides of an axis differ.

    Examples
    --------
    >>> padding_text(((1, 1), (0, 0))), padding_text(((2, 3), (2, 3)))
    ('1x0', '2,3,2,3')
    """
    if all(before == after for before, after in padding):
        return axes_text([before for before, _ in padding])
    return ",".join(str(side) for pair in padding for side in pair)


def label_text(label: str) -> str:
    """Return a layer's label with control characters visible: names come from files."""
    # Most labels are printable: for them the pipeline's modules need not be loaded.
    if label.isprintable():
        return label
    from convcli.pipeline.report import printable

    return printable(label)


def _all_cells(shape: Walk) -> list[dict[str, str]]:
    """Return the cells of all layers; numbers and sources are shown only where branches are."""
    has_branches = any(row.sources != (index - 1,) for index, row in enumerate(shape.rows))
    cells = []
    for index, row in enumerate(shape.rows):
        sources = "+".join(str(source + 1) if source >= 0 else "input" for source in row.sources)
        mark = "" if row.sources == (index - 1,) else sources
        cells.append({"number": str(index + 1) if has_branches else "", "from": mark} | _cells(row))
    return cells


def _cells(row: Row) -> dict[str, str]:
    """Return the cells of one layer by column, but for its place."""
    layer = row.layer
    known = layer.known()
    return {
        "layer": label_text(layer.label),
        "output": by(row.output) or "1",
        "kernel_size": axes_text(layer.kernel_size),
        "stride": axes_text(layer.stride),
        "padding": padding_text(row.padding) if "padding" in known else "-",
        "dilation": axes_text(layer.dilation),
        "groups": str(row.groups) if "groups" in known else "-",
        "output_padding": axes_text(layer.output_padding) if "output_padding" in known else "-",
        "parameters": f"{row.parameters:,}",
        "macs": f"{row.macs:,}",
        "receptive_field": axes_text(row.receptive_field),
        "jump": axes_text(row.jump),
        "start": axes_text(row.start),
        "activation_bytes": f"{row.activation_bytes:,}",
        "unused": axes_text(row.unused),
    }


def _as_text(shape: Walk) -> str:
    """Return the table, the totals and the notes as text; a column of one usual value is named below instead."""
    cells = _all_cells(shape)
    usual = {key: value for key, (_, _, value) in _COLUMNS.items() if value is not None}
    left_out = [key for key, value in usual.items() if all(row[key] in (value, "-") for row in cells)]
    shown = [key for key in _COLUMNS if key not in left_out]
    table = render_table(
        [_COLUMNS[key][0] for key in shown],
        [[row[key] for key in shown] for row in cells],
        align="".join(_COLUMNS[key][1] for key in shown),
    )
    same = [f"{key.replace('_', ' ')} {usual[key]}" for key in left_out if usual[key] not in ("-", "")]
    lines = [*_cut(shape), f"input {by(shape.input)}", "", table, ""]
    lines += [f"all layers: {', '.join(same)}"] * bool(same)
    return "\n".join([*lines, *_totals(shape), *(f"note: {note}" for note in notes(shape))])


def _cut(shape: Walk) -> list[str]:
    """Return the line above a table that does not reach the end of its model."""
    return [f"PARTIAL: {label_text(shape.partial)}; totals are of the layers below", ""] if shape.partial else []


def _totals(shape: Walk) -> list[str]:
    """Return the totals as lines of text."""
    part = "so far (partial): " if shape.partial else ""
    return [
        f"{part}output {by(shape.output)}",
        f"parameters {shape.parameters:,}",
        f"macs {shape.macs:,} (flops {2 * shape.macs:,} = 2 · macs; bias adds {shape.bias_adds:,} apart)",
        f"activation bytes {shape.activation_bytes:,} (float32; peak {shape.peak_bytes:,}, input included)",
    ]


def notes(shape: Walk) -> list[str]:
    """Return a sentence for each oddity: unused or skipped input, lost biases, centres between pixels, bounds."""
    found: list[str] = []
    was_aligned = True
    for number, row in enumerate(shape.rows, 1):
        where = f"layer {number} ({label_text(row.layer.label)})"
        found += [f"{where} {what}" for what in (*_lost(row), *_as_trained(shape, number - 1))]
        # Said at the first such layer: all later ones inherit it.
        if was_aligned and not row.is_aligned:
            start = axes_text(row.start)
            found.append(f"{where}: centres fall between input pixels (start {start}, aligned would end in .5)")
        was_aligned = row.is_aligned
    bounds = [number for number, row in enumerate(shape.rows, 1) if not row.is_exact_field]
    if bounds:
        found.append(
            f"layer {bounds[0]} and later ones: receptive fields are upper bounds, the exact sets are too large"
        )
    return [*found, *shape.extra_notes]


def _as_trained(shape: Walk, index: int) -> list[str]:
    """Return what a batch norm does to the bias before it and lacks, and what a separable pair saves."""
    row = shape.rows[index]
    before = shape.rows[row.sources[0]] if row.sources[0] >= 0 else None
    found = []
    if row.layer.kind == "batchnorm":
        # A bias that a second layer reads as well is not cancelled for that layer.
        n_users = sum(row.sources[0] in other.sources for other in shape.rows)
        if before and before.bias_adds and n_users == 1:
            where = f"layer {row.sources[0] + 1} ({label_text(before.layer.label)})"
            found.append(f"cancels the {before.output[0]} biases of {where}: bias=false there")
        if not row.layer.weights and not any(each.layer.kind == "batchnorm" for each in shape.rows[:index]):
            found.append("is untrained: mean 0, variance 1, factor 1, offset 0; constants or weight give others")
    # Batch norms and activations may stand between the two layers of a separable pair, as in MobileNet.
    while before and not before.layer.has_window and before.layer.kind != "operator" and len(before.sources) == 1:
        before = shape.rows[before.sources[0]] if before.sources[0] >= 0 else None
    is_pointwise = row.layer.kind in ("conv", "pointwise") and prod(row.layer.kernel_size) == row.groups == 1
    if before and is_pointwise and prod(before.layer.stride + row.layer.stride) > 0:
        taps = prod(before.layer.kernel_size)
        is_depthwise = before.macs and before.groups == before.input[0] == before.output[0] > 1 and taps > 1
        if is_depthwise and before.output == row.input and not getattr(before.layer, "is_transposed", False):
            full = row.output[0] * before.input[0] * taps * prod(before.output[1:])
            cost = (before.macs + row.macs) / full
            found.append(
                f"and the depthwise layer before it take {cost:.3g} of the full convolution's macs {full:,}"
                f" (1/N + 1/k² with N = {row.output[0]}, k² = {taps})"
            )
    return found


def _lost(row: Row) -> list[str]:
    """Return the parts of its input that a layer does not use."""
    layer = row.layer
    found: list[str] = []
    uneven: dict[str, list[str]] = {}
    names = {1: ("samples",), 2: ("rows", "columns"), 3: ("planes", "rows", "columns")}[layer.n_axes]
    for axis, count in enumerate(row.unused):
        if count:
            found.append(f"never reaches the last {count} of {row.input[1 + axis]} {names[axis]} of its input")
    for axis, name in enumerate(names if layer.has_window else ()):
        how, kernel, stride, dilation, _ = layer.step(axis, row.input[1 + axis], 0)
        window = window_px(kernel, dilation)
        # A single window has no second one, so nothing is skipped between them.
        if how == "down" and stride > window and row.output[1 + axis] > 1:
            found.append(f"skips {stride - window} of every {stride} {name} (stride {stride}, window {window})")
        common = gcd(dilation, stride)
        least, most = kernel // stride if common == 1 else 0, -(-kernel * common // stride)
        # Outputs with more taps than their neighbours show as a checkerboard in generated pictures.
        if how == "up" and least < most:
            taps = f"kernel {kernel}, stride {stride}: {least} to {most} taps an output"
            uneven.setdefault(taps, []).append(name)
    found += [f"overlaps unevenly along {' and '.join(along)} ({taps})" for taps, along in uneven.items()]
    return found


def _as_markdown(shape: Walk) -> str:
    """Return the table with every column, and the totals, as Markdown."""
    rows = [[cells[key] for key in _COLUMNS] for cells in _all_cells(shape)]
    headings = [key.replace("_", " ") if key != "number" else "#" for key in _COLUMNS]
    table = render_markdown(headings, rows, align="".join(align for _, align, _ in _COLUMNS.values()))
    lines = [*_cut(shape), f"Input {by(shape.input)}", "", table, "", *(f"- {line}" for line in _totals(shape))]
    return "\n".join([*lines, *(f"- note: {note}" for note in notes(shape))])


def _as_csv(shape: Walk) -> str:
    """Return one line per layer, comma-separated, numbers without separators."""
    keys = [*_COLUMNS]
    # The text has these additions below its table; CSV has columns only.
    keys.insert(keys.index("macs") + 1, "bias_adds")
    # Numbers replace the cells, whose thousands separators would be read as text.
    numbers = ("parameters", "macs", "bias_adds", "activation_bytes")
    rows = [
        cells | {key: getattr(row, key) for key in numbers}
        for cells, row in zip(_all_cells(shape), shape.rows, strict=True)
    ]
    return render_csv(keys, [[row[key] for key in keys] for row in rows]).rstrip("\n")


def render_shape(shape: Walk, how: str) -> str:
    """Return a stack's shapes; ``how`` is text, markdown, csv or json."""
    if how == "json":
        from convcli.layers.walk import stack_as_dict
        from convcli.pipeline.report import to_json

        return to_json(stack_as_dict(shape, notes(shape)))
    return {"text": _as_text, "markdown": _as_markdown, "csv": _as_csv}[how](shape)
