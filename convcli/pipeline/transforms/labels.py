"""Names of the maps of layers, as far as they still come from one kernel on one plane: ``x`` of ``r``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from convcli.layers.sources import anchored, is_checkpoint, load_weight

if TYPE_CHECKING:
    from convcli.layers.layer import Row

#: Kernel and plane of each map, both perhaps empty.
Labels = tuple[tuple[str, str], ...]
#: Layers that make one map of each.
KEEP_MAPS = frozenset((
    "relu", "sigmoid", "silu", "hardswish", "gelu", "identity", "batchnorm", "maxpool", "avgpool", "globalpool", "pad",
    "upsample",
))  # fmt: skip


def label_maps(rows: Sequence[Row], planes: Sequence[str], folder: Path | None) -> list[Labels | None]:
    """Return the labels of each row's maps, and last those of the input; None where maps mix, or have no names."""
    found: list[Labels | None] = [None] * len(rows) + [tuple(("", plane) for plane in planes)]
    for index, row in enumerate(rows):
        # Source -1 is the input, which stands last.
        given = found[row.sources[0]] if len(row.sources) == 1 else None
        found[index] = _labels_after(row, given, folder) if given is not None else None
    return found


def _labels_after(row: Row, given: Labels, folder: Path | None) -> Labels | None:
    layer = row.layer
    if layer.kind in KEEP_MAPS:
        return given
    if layer.kind == "combine":
        sets = [given[start : start + layer.members] for start in range(0, len(given), layer.members)]
        # A set of one plane's kernels keeps the plane's name.
        is_whole = all(len({plane for _, plane in each}) == 1 for each in sets)
        return tuple((layer.mode, each[0][1]) for each in sets) if is_whole else None
    spec = anchored(str(dict(layer.weights).get("weight", "")), folder)
    if layer.kind not in ("conv", "convtranspose") or layer.groups or not spec or is_checkpoint(spec):
        return None
    kernels = load_weight(spec).kernel_names
    if len(given) * len(kernels) != row.output[0]:
        return None
    return tuple((f"{before}-{kernel}" if before else kernel, plane) for before, plane in given for kernel in kernels)
