"""Each number of the shape table as a formula with the numbers put in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from convcli.geometry.arithmetic import axis_name, window_px
from convcli.render.shape import label_text, number_text, shape_text

if TYPE_CHECKING:
    from convcli.layers.layer import Row
    from convcli.layers.walk import Walk


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
        blocks.append(
            f"layer {number} ({label_text(row.layer.label)}): {shape_text(row.input)} → {shape_text(row.output)}"
        )
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
        yield "receptive field", f"{shape_text(row.receptive_field)} (all that any branch sees)"
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
