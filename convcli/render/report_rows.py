"""Rows of a report's tables: its maps with their values, and its layers with their shapes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from convcli.pipeline.report import printable
from convcli.render.shape import axes_text, padding_text, shape_text

MAP_HEADINGS = ("input", "map", "path", "min", "max", "mean", "std", "tone", "clipped low", "clipped high")
SHAPE_HEADINGS = (
    "layer", "input shape", "kernel", "stride", "padding", "dilation", "groups", "output shape", "parameters", "macs",
    "receptive field", "unused input",
)  # fmt: skip


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
        shape_text(layer["input"]),
        axes_text(window or ()),
        axes_text(layer["stride"] or ()),
        padding_text(padding) if window else "-",
        axes_text(layer["dilation"] or ()),
        layer["groups"],
        shape_text(layer["output"]),
        layer["parameters"],
        layer["macs"],
        axes_text(layer["receptive_field"]),
        axes_text(layer["unused"]) if any(layer["unused"]) else "0",
    )


def map_rows(reports: Sequence[Mapping[str, Any]]) -> Iterator[tuple[tuple[object, ...], Mapping[str, Any] | None]]:
    """Yield a row per map, and its layer; an input that failed or was left alone has one row that says so."""
    for report in reports:
        source = printable(str(report.get("input", {}).get("path", "")))
        if report.get("status") == "failed":
            yield (source, "failed", printable(str(report["error"]["message"])), *[""] * 7), None
        elif report.get("status") == "skipped":
            yield (source, "left alone", printable(str(report["reason"])), *[""] * 7), None
        for one in report.get("maps", ()):
            numbers = [one[key] for key in ("min", "max", "mean", "std", "tone", "clipped_low", "clipped_high")]
            layer = report["layers"][one["layer"]]
            yield (source, printable(one["name"]), printable(str(one.get("path", ""))), *numbers), layer
