"""A stack's shapes as plain data, which JSON and the reports of ``apply`` hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convcli.layers.layer import Row
    from convcli.layers.walk import Walk


def as_number(value: object) -> int | float:
    """Return an exact number in a type that JSON has."""
    # JSON has no fractions: 1/3 is rounded here, and exact in the text.
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
        # null and not []: a layer without a window has no such number.
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
        # A multiplication and an addition count as one operation each.
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
        "partial": shape.partial or None,
    }


def stack_as_dict(shape: Walk, notes: list[str]) -> dict[str, object]:
    """Return a whole stack as plain data: input, layers, totals, notes; ``sources`` are layer numbers, 0 the input."""
    return {
        "input": list(shape.input),
        "layers": [row_as_dict(row) | {"sources": [each + 1 for each in row.sources]} for row in shape.rows],
        "totals": totals_as_dict(shape),
        "notes": notes,
    }
