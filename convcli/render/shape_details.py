"""More about shapes: each number as a formula, rows of reports, answers to ``?``, and the weights of checkpoints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from convcli.geometry.arithmetic import axis_name, window_px
from convcli.pipeline.report import printable, to_json
from convcli.render.shape import axes_text, label_text, number_text, padding_text
from convcli.render.text import by, render_csv, render_markdown, render_table

if TYPE_CHECKING:
    from convcli.layers.checkpoint import Weights
    from convcli.layers.inverse import Solutions
    from convcli.layers.layer import Row
    from convcli.layers.walk import Walk

#: Headings of :func:`shape_row`.
SHAPE_HEADINGS = (
    "layer", "input shape", "kernel", "stride", "padding", "dilation", "groups", "output shape", "parameters", "macs",
    "receptive field", "unused input",
)  # fmt: skip
_HEADINGS = ("entry", "weight", "dtype", "module", "layer", "parameters")


def render_formulas(shape: Walk) -> str:
    """Return every formula of a stack as text, one block per layer.

    ``⌊ ⌋`` rounds down and ``⌈ ⌉`` up. Sizes come first, then parameters, MACs, and the receptive field from the
    layer before.
    """
    blocks = []
    for number, row in enumerate(shape.rows, 1):
        parts = [(shape.rows[source].output if source >= 0 else shape.input)[0] for source in row.sources]
        lines = _merged([*_size_lines(row, parts), *_field_lines(shape, row)])
        width = max(len(name) for name, _ in lines)
        blocks.append(f"layer {number} ({label_text(row.layer.label)}): {by(row.input)} → {by(row.output)}")
        blocks += [f"  {name.ljust(width)}  {text}" for name, text in lines]
    return "\n".join(blocks)


def _merged(lines: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return lines in which axes with the same formulas share one line."""
    # Names end in an axis, "output (rows)": the part before the bracket is what axes share.
    by_name: dict[str, list[tuple[str, str]]] = {}
    for name, text in lines:
        by_name.setdefault(name.partition(" (")[0], []).append((name, text))
    merged = []
    for base, group in by_name.items():
        axes = list(dict.fromkeys(name for name, _ in group))
        first = [text for name, text in group if name == axes[0]]
        same = all([text for name, text in group if name == axis] == first for axis in axes)
        merged += [(base, text) for text in first] if same else group
    return merged


def _size_lines(row: Row, parts: Sequence[int]) -> Iterator[tuple[str, str]]:
    """Yield channels, the output size along each axis, and the counts."""
    counts = list(row.layer.count_formula(row, parts))
    yield from (line for line in counts if line[0] == "channels")
    for axis in range(row.layer.n_axes):
        name = f"output ({axis_name(axis, row.layer.n_axes)})"
        yield from ((name, text) for text in row.layer.size_formula(row, axis))
    yield from (line for line in counts if line[0] != "channels")


def _field_lines(shape: Walk, row: Row) -> Iterator[tuple[str, str]]:
    """Yield receptive field, jump and start along each axis, from those of the layer before."""
    layer = row.layer
    # Branches have a field each, and no single formula gives what they see together.
    if len(row.sources) > 1:
        yield "receptive field", f"{by(row.receptive_field)} (all that any branch sees)"
        return
    if not layer.has_window or not row.receptive_field:
        return
    before = shape.rows[row.sources[0]] if row.sources[0] >= 0 else None
    if before and not before.receptive_field:
        return
    for axis in range(layer.n_axes):
        # A pixel sees itself, is one step from the next, and has its middle at 0.5.
        field, jump, start = (
            (before.receptive_field[axis], before.jump[axis], before.start[axis]) if before else (1, 1, 0.5)
        )
        how, kernel, stride, dilation, pad = layer.step(axis, row.input[1 + axis], row.padding[axis][0])
        window = f"({dilation}·({kernel} - 1) + 1)"
        result, new_jump = row.receptive_field[axis], number_text(row.jump[axis])
        new_start, step = number_text(row.start[axis]), number_text(jump)
        texts = {"receptive field": f"{result} (the most inputs that one output sees)"}
        if how == "up":
            texts["jump"] = f"{step} / {stride} = {new_jump}"
            texts["start"] = f"{number_text(start)} + ({pad} - ({window} - 1) / 2)·{step} / {stride} = {new_start}"
        else:
            # Not every field follows this formula: a sum that does not add up must not be printed.
            if field + (window_px(kernel, dilation) - 1) * jump == result:
                texts["receptive field"] = f"{field} + ({window} - 1)·{step} = {result}"
            texts["jump"] = f"{step}·{stride} = {new_jump}"
            texts["start"] = f"{number_text(start)} + (({window} - 1) / 2 - {pad})·{step} = {new_start}"
        for name, text in texts.items():
            yield f"{name} ({axis_name(axis, layer.n_axes)})", text


def shape_row(layer: Mapping[str, Any]) -> tuple[object, ...]:
    """Return the cells of one layer under :data:`SHAPE_HEADINGS`; ``-`` where a layer has no such number.

    Examples
    --------
    >>> from convcli.layers.text import parse_layers
    >>> from convcli.layers.walk import row_as_dict, walk
    >>> (row,) = walk(parse_layers("conv:6,k=3,s=2,p=1,g=3"), (3, 8, 8)).rows
    >>> shape_row(row_as_dict(row))
    ('conv', '3x8x8', '3', '2', '1', '1', 3, '6x4x4', 60, 864, '3', '0')
    """
    window, padding = layer["kernel_size"], layer["padding"]
    return (
        printable(layer["layer"] or layer["kind"]),
        by(layer["input"]),
        axes_text(window or ()),
        axes_text(layer["stride"] or ()),
        padding_text(padding) if window else "-",
        axes_text(layer["dilation"] or ()),
        layer["groups"],
        by(layer["output"]),
        layer["parameters"],
        layer["macs"],
        axes_text(layer["receptive_field"]),
        axes_text(layer["unused"]) if any(layer["unused"]) else "0",
    )


def solutions_as_dict(found: Solutions, input_shape: Sequence[int]) -> dict[str, object]:
    """Return answers as plain data; one number per axis for each parameter."""
    return {
        "input": list(input_shape),
        "layer": found.text,
        "target": list(found.target),
        "searched": {name: list(ends) for name, ends in found.searched.items()},
        "n_answers": found.n_answers,
        "answers": [{"text": found.filled(answer)} | _plain(answer) for answer in found.answers],
        "nearest": [
            {"text": found.filled(miss), "output": list(output)} | _plain(miss) for miss, output in found.nearest
        ],
    }


def _plain(answer: Mapping[str, Sequence[object]]) -> dict[str, object]:
    """Return an answer with lists for tuples."""
    return {name: list(values) for name, values in answer.items()}


def render_solutions(found: Solutions, input_shape: Sequence[int], how: str) -> str:
    """Return answers as JSON or as text, smallest first, with the ranges that were searched."""
    if how == "json":
        return to_json(solutions_as_dict(found, input_shape))
    from convcli.layers.inverse import value_text

    lines = [f"input {by(input_shape)}, target {by(found.target)}: {found.text}"]
    for answer in found.answers:
        numbers = ", ".join(f"{name.replace('_', ' ')} {value_text(values)}" for name, values in answer.items())
        lines.append(f"  {found.filled(answer)}  ({numbers})")
    # Several open parameters can have thousands of answers, of which only the smallest are listed.
    more = found.n_answers - len(found.answers)
    if more > 0:
        lines.append(f"  and {more:,} more")
    if not any(len(set(values)) == 1 for answer in found.answers for values in answer.values()):
        lines.append("no single number fits all axes; those above are one number per axis")
    if any(isinstance(value, tuple) for answer in found.answers for values in answer.values() for value in values):
        lines.append("no padding with equal sides fits; those above are before,after each axis")
    s = "" if found.n_answers == 1 else "s"
    lines.append(f"{found.n_answers:,} answer{s}, searched {searched_text(found)}")
    return "\n".join(lines)


def searched_text(found: Solutions) -> str:
    """Return the ranges that were searched as text."""
    return ", ".join(f"{name.replace('_', ' ')} {low} to {high}" for name, (low, high) in found.searched.items())


def nearest_text(found: Solutions) -> str:
    """Return the nearest misses as text."""
    return "; ".join(f"{found.filled(miss)} gives {by(output)}" for miss, output in found.nearest)


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
        return to_json(weights_as_dict(weights))
    rows = [
        (entry.name, by(entry.shape), entry.dtype, entry.module, entry.text, entry.parameters)
        for entry in weights.entries
    ]
    if how == "csv":
        return render_csv(_HEADINGS, rows).rstrip("\n")
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
