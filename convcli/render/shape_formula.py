"""Each number of the shape table as the sum it came from, with the numbers put in."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import TYPE_CHECKING

from convcli.layers.sizes import axis_name
from convcli.render.shape import label_text, number_text, shape_text

if TYPE_CHECKING:
    from convcli.layers.stack import LayerShape, StackShape


def render_formulas(shape: StackShape) -> str:
    """Return every sum of a stack as text, one block per layer.

    ``⌊ ⌋`` rounds down and ``⌈ ⌉`` up. Sizes come first, then parameters, MACs, and the receptive field from the
    layer before.
    """
    blocks = []
    for number, row in enumerate(shape.rows, 1):
        lines = _merged([*_size_lines(shape, row), *_count_lines(row), *_field_lines(shape, row)])
        width = max(len(name) for name, _ in lines)
        blocks.append(
            f"layer {number} ({label_text(row.layer.label)}): {shape_text(row.input)} → {shape_text(row.output)}"
        )
        blocks += [f"  {name.ljust(width)}  {text}" for name, text in lines]
    return "\n".join(blocks)


def _merged(lines: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return lines with those of several axes as one where their sums are the same."""
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


def _size_lines(shape: StackShape, row: LayerShape) -> Iterator[tuple[str, str]]:
    """Yield the output size along each axis."""
    layer = row.layer
    if layer.kind == "concat":
        parts = [str((shape.rows[at].output if at >= 0 else shape.input)[0]) for at in row.sources]
        yield "channels", f"{' + '.join(parts)} = {row.output[0]}"
    elif layer.kind == "combine":
        yield "channels", f"{row.input[0]} / {layer.members} = {row.output[0]}"
    for axis in range(layer.n_axes):
        name = f"output ({axis_name(axis, layer.n_axes)})"
        size, output = row.input[1 + axis], row.output[1 + axis]
        before, after = row.padding[axis]
        if layer.kind in ("conv", "maxpool", "avgpool", "convtranspose"):
            if isinstance(layer.padding, str) and layer.padding in ("same", "same_lower"):
                yield name, _same_text(row, axis)
            yield name, f"{_window_sum(row, axis)} = {output}"
            if layer.ceil_mode and _is_dropped(row, axis):
                yield (
                    name,
                    f"(the window at {output}·{layer.stride[axis]} would start after {size} + {before}: dropped)",
                )
        elif layer.kind == "pad":
            yield name, f"{size} + {before} + {after} = {output}"
        elif layer.kind == "upsample":
            yield name, f"{size}·{layer.scale_factor[axis]} = {output}"
        elif layer.kind == "globalpool":
            yield name, f"1 (one window over {size})"
        else:
            yield name, f"{size} (unchanged)"


def _window_sum(row: LayerShape, axis: int) -> str:
    """Return the formula of the output length of a layer with a window, numbers put in."""
    layer = row.layer
    size, kernel, stride = row.input[1 + axis], layer.kernel_size[axis], layer.stride[axis]
    window = f"({layer.dilation[axis]}·({kernel} - 1) + 1)"
    before, after = row.padding[axis]
    if layer.kind == "convtranspose":
        return f"({size} - 1)·{stride} - {before} - {after} + {window} + {layer.output_padding[axis]}"
    low, high = "⌈⌉" if layer.ceil_mode else "⌊⌋"
    dropped = " - 1" if layer.ceil_mode and _is_dropped(row, axis) else ""
    return f"{low}({size} + {before} + {after} - {window}) / {stride}{high} + 1{dropped}"


def _is_dropped(row: LayerShape, axis: int) -> bool:
    """Whether ``ceil_mode`` made a window that starts after the input, and torch's rule took it away."""
    layer, (before, after) = row.layer, row.padding[axis]
    window = layer.dilation[axis] * (layer.kernel_size[axis] - 1) + 1
    whole = -(-(row.input[1 + axis] + before + after - window) // layer.stride[axis]) + 1
    return whole > row.output[1 + axis]


def _same_text(row: LayerShape, axis: int) -> str:
    """Return how ``same`` became pixels before and after."""
    layer, (before, after) = row.layer, row.padding[axis]
    size, kernel, stride, dilation = (
        row.input[1 + axis],
        layer.kernel_size[axis],
        layer.stride[axis],
        layer.dilation[axis],
    )
    window = f"({dilation}·({kernel} - 1) + 1)"
    if layer.kind == "convtranspose":
        total = f"{window} + {layer.output_padding[axis]} - {stride}"
    else:
        total = f"max((⌈{size} / {stride}⌉ - 1)·{stride} + {window} - {size}, 0)"
    return f"{layer.padding}: padding {total} = {before + after}, {before} before and {after} after"


def _count_lines(row: LayerShape) -> Iterator[tuple[str, str]]:
    """Yield parameters and MACs of a layer that has any."""
    layer = row.layer
    if layer.kind == "batchnorm":
        yield "parameters", f"2·{row.input[0]} = {row.parameters:,}"
    if layer.kind not in ("conv", "convtranspose"):
        return
    n_in, n_out = row.input[0], row.output[0]
    taps = "·".join(map(str, layer.kernel_size))
    bias = f" + {n_out}" if layer.bias else ""
    yield "parameters", f"{n_out}·({n_in} / {row.groups})·{taps}{bias} = {row.parameters:,}"
    if layer.kind == "conv":
        places = "·".join(map(str, row.output))
        yield "macs", f"{places}·({n_in} / {row.groups})·{taps} = {row.macs:,}"
    else:
        places = "·".join(map(str, row.input))
        yield "macs", f"{places}·({n_out} / {row.groups})·{taps} = {row.macs:,} (counted on the input)"
    if layer.bias:
        yield "bias adds", f"{'·'.join(map(str, row.output))} = {prod(row.output):,}"


def _field_lines(shape: StackShape, row: LayerShape) -> Iterator[tuple[str, str]]:
    """Yield receptive field, jump and start along the rows, from the layer before."""
    layer = row.layer
    if len(row.sources) > 1:
        yield "receptive field", f"{_axes(row.receptive_field)} (all that any branch sees)"
        return
    if layer.kind not in ("conv", "maxpool", "avgpool", "convtranspose"):
        return
    source = row.sources[0]
    fields, jumps, starts = (
        (shape.rows[source].receptive_field, shape.rows[source].jump, shape.rows[source].start)
        if source >= 0
        else ((1,) * layer.n_axes, (1,) * layer.n_axes, (0.5,) * layer.n_axes)
    )
    for axis in range(layer.n_axes):
        along = f" ({axis_name(axis, layer.n_axes)})"
        field, jump, start = fields[axis], number_text(jumps[axis]), number_text(starts[axis])
        window = f"({layer.dilation[axis]}·({layer.kernel_size[axis]} - 1) + 1)"
        span = layer.dilation[axis] * (layer.kernel_size[axis] - 1) + 1
        stride, before = layer.stride[axis], row.padding[axis][0]
        results = row.receptive_field[axis], number_text(row.jump[axis]), number_text(row.start[axis])
        if layer.kind == "convtranspose":
            yield f"receptive field{along}", f"{results[0]} (the most inputs that one output sees)"
            yield f"jump{along}", f"{jump} / {stride} = {results[1]}"
            yield f"start{along}", f"{start} + ({before} - ({window} - 1) / 2)·{jump} / {stride} = {results[2]}"
        else:
            yield (
                f"receptive field{along}",
                (
                    f"{field} + ({window} - 1)·{jump} = {results[0]}"
                    if field + (span - 1) * jumps[axis] == results[0]
                    else f"{results[0]} (the most inputs that one output sees)"
                ),
            )
            yield f"jump{along}", f"{jump}·{stride} = {results[1]}"
            yield f"start{along}", f"{start} + (({window} - 1) / 2 - {before})·{jump} = {results[2]}"


def _axes(values: tuple[int, ...]) -> str:
    """Return numbers per axis as text."""
    return "x".join(map(str, values))
