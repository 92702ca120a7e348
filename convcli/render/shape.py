"""A stack's shapes as plain data, text, Markdown and CSV: one row per layer, then totals and notes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from convcli.geometry.arithmetic import window_px
from convcli.render.table import render_markdown, render_table

if TYPE_CHECKING:
    from convcli.layers.layer import Row
    from convcli.layers.walk import Walk

#: Column = (heading of the text table, alignment, the value that is left out if every layer has it).
_COLUMNS = {
    "layer": ("layer", "l", None),
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


def shape_text(shape: Sequence[object]) -> str:
    """Return ``64x152x114`` for a shape.

    Examples
    --------
    >>> shape_text((64, 152, 114))
    '64x152x114'
    """
    return "x".join(map(str, shape))


def axes_text(values: Sequence[object]) -> str:
    """Return one number if all axes agree, else one per axis.

    Examples
    --------
    >>> axes_text((3, 3)), axes_text((3, 1)), axes_text(())
    ('3', '3x1', '-')
    """
    texts = [number_text(value) for value in values]
    return "-" if not texts else texts[0] if len(set(texts)) == 1 else "x".join(texts)


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
    return f"{as_float:.12g}" if as_float * 1024 == int(as_float * 1024) else str(value)


def padding_text(padding: Sequence[tuple[int, int]]) -> str:
    """Return padding as ``3``, ``3x1``, or ``top,bottom,left,right`` where the two sides of an axis differ.

    Examples
    --------
    >>> padding_text(((3, 3), (3, 3))), padding_text(((1, 1), (0, 0))), padding_text(((2, 3), (2, 3)))
    ('3', '1x0', '2,3,2,3')
    """
    if all(before == after for before, after in padding):
        return axes_text([before for before, _ in padding])
    return ",".join(str(side) for pair in padding for side in pair)


def label_text(label: str) -> str:
    r"""Return a layer's label with control characters visible: names come from files.

    Examples
    --------
    >>> label_text("conv1"), label_text("a\x1b[2J")
    ('conv1', 'a\\x1b[2J')
    """
    if label.isprintable():
        return label
    from convcli.pipeline.report import printable

    return printable(label)


def as_number(value: object) -> int | float:
    """Return an exact number in a type that JSON has."""
    return value if isinstance(value, int) else float(value)  # type: ignore[arg-type]


def row_as_dict(row: Row) -> dict[str, object]:
    """Return one layer as plain data; keys are the names of the flags and headings."""
    layer = row.layer
    return {
        "layer": layer.label,
        "kind": layer.kind,
        "name": layer.name or None,
        "from": list(layer.inputs) or None,
        "input": list(row.input),
        "output": list(row.output),
        "kernel_size": list(layer.kernel_size) or None,
        "stride": list(layer.stride) or None,
        "padding": [list(pair) for pair in row.padding],
        "dilation": list(layer.dilation) or None,
        "groups": row.groups,
        "output_padding": list(layer.output_padding) or None,
        "ceil_mode": layer.ceil_mode,
        "bias": layer.bias if "bias" in layer.known() else None,
        "parameters": row.parameters,
        "macs": row.macs,
        "flops": 2 * row.macs,
        "bias_adds": row.bias_adds,
        "receptive_field": list(row.receptive_field),
        "receptive_field_is_exact": row.is_exact_field,
        "jump": [as_number(jump) for jump in row.jump],
        "start": [as_number(start) for start in row.start],
        "aligned": row.is_aligned,
        "activation_bytes": row.activation_bytes,
        "unused": list(row.unused),
    }


def totals_as_dict(shape: Walk) -> dict[str, object]:
    """Return the totals as plain data; they are the sums of the rows."""
    return {
        "output": list(shape.output),
        "parameters": shape.parameters,
        "macs": shape.macs,
        "flops": 2 * shape.macs,
        "bias_adds": shape.bias_adds,
        "activation_bytes": shape.activation_bytes,
        "peak_bytes": shape.peak_bytes,
    }


def stack_as_dict(shape: Walk) -> dict[str, object]:
    """Return a whole stack as plain data: input, layers, totals, notes."""
    return {
        "input": list(shape.input),
        "layers": [row_as_dict(row) for row in shape.rows],
        "totals": totals_as_dict(shape),
        "notes": notes(shape),
    }


def _cells(row: Row) -> dict[str, str]:
    """Return the cells of one layer by column."""
    layer = row.layer
    known = layer.known()
    return {
        "layer": label_text(layer.label),
        "output": shape_text(row.output),
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
    cells = [_cells(row) for row in shape.rows]
    usual = {key: value for key, (_, _, value) in _COLUMNS.items() if value is not None}
    left_out = [key for key, value in usual.items() if all(row[key] in (value, "-") for row in cells)]
    shown = [key for key in _COLUMNS if key not in left_out]
    table = render_table(
        [_COLUMNS[key][0] for key in shown],
        [[row[key] for key in shown] for row in cells],
        align="".join(_COLUMNS[key][1] for key in shown),
    )
    same = [f"{key.replace('_', ' ')} {usual[key]}" for key in left_out if usual[key] != "-"]
    lines = [f"input {shape_text(shape.input)}", "", table, ""]
    lines += [f"all layers: {', '.join(same)}"] * bool(same)
    return "\n".join([*lines, *_totals(shape), *(f"note: {note}" for note in notes(shape))])


def _totals(shape: Walk) -> list[str]:
    """Return the totals as lines of text."""
    return [
        f"output {shape_text(shape.output)}",
        f"parameters {shape.parameters:,}",
        f"macs {shape.macs:,} (flops {2 * shape.macs:,} = 2 · macs; bias adds {shape.bias_adds:,} apart)",
        f"activation bytes {shape.activation_bytes:,} (float32; peak {shape.peak_bytes:,}, input included)",
    ]


def notes(shape: Walk) -> list[str]:
    """Return a sentence for each oddity: unused or skipped input, centres between pixels, upper bounds."""
    found: list[str] = []
    was_aligned = True
    for number, row in enumerate(shape.rows, 1):
        where = f"layer {number} ({label_text(row.layer.label)})"
        found += [f"{where} {what}" for what in _lost(row)]
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


def _lost(row: Row) -> list[str]:
    """Return the parts of its input that a layer does not use."""
    layer, found = row.layer, []
    names = {1: ("samples",), 2: ("rows", "columns"), 3: ("planes", "rows", "columns")}[layer.n_axes]
    for axis, count in enumerate(row.unused):
        if count:
            found.append(f"never reaches the last {count} of {row.input[1 + axis]} {names[axis]} of its input")
    for axis, name in enumerate(names if layer.has_window else ()):
        how, kernel, stride, dilation, _ = layer.step(axis, row.input[1 + axis], 0)
        window = window_px(kernel, dilation)
        if how == "down" and stride > window and row.output[1 + axis] > 1:
            found.append(f"skips {stride - window} of every {stride} {name} (stride {stride}, window {window})")
    return found


def _as_markdown(shape: Walk) -> str:
    """Return the table with every column, and the totals, as Markdown."""
    rows = [list(_cells(row).values()) for row in shape.rows]
    headings = [key.replace("_", " ") for key in _COLUMNS]
    table = render_markdown(headings, rows, align="".join(align for _, align, _ in _COLUMNS.values()))
    lines = [f"Input {shape_text(shape.input)}", "", table, "", *(f"- {line}" for line in _totals(shape))]
    return "\n".join([*lines, *(f"- note: {note}" for note in notes(shape))])


def _as_csv(shape: Walk) -> str:
    """Return one line per layer, comma-separated, numbers without separators."""
    import csv
    import io

    keys = [*_COLUMNS]
    keys.insert(keys.index("macs") + 1, "bias_adds")
    numbers = ("parameters", "macs", "bias_adds", "activation_bytes")
    stream = io.StringIO()
    writer = csv.DictWriter(stream, keys, lineterminator="\n")
    writer.writeheader()
    writer.writerows(_cells(row) | {key: getattr(row, key) for key in numbers} for row in shape.rows)
    return stream.getvalue().rstrip("\n")


def _as_json(shape: Walk) -> str:
    """Return plain data as JSON."""
    from convcli.pipeline.report import to_json

    return to_json(stack_as_dict(shape))


def render_shape(shape: Walk, how: str) -> str:
    """Return a stack's shapes; ``how`` is text, markdown, csv or json."""
    return {"text": _as_text, "markdown": _as_markdown, "csv": _as_csv, "json": _as_json}[how](shape)
