"""Flags that exclude each other, or that would have no effect: refused before a file is opened."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from convcli.images import formats
from convcli.pipeline.flags import check_format, refuse
from convcli.pipeline.names import PAGES, PICTURES


def refuse_contradictions(request: Any, encoding: Mapping[str, str]) -> None:
    """Refuse flags of a request that exclude each other or would be ignored; ``encoding`` has those of the encoder."""
    raw = request.is_raw
    one_file, depth = request.is_one_file, request.depth
    refuse([
        (not request.kernels and not request.runs_layers, "no kernel given",
         "-k sobel; `convcli kernels list` shows the names"),
        (request.kernels and request.runs_layers, "--kernel excludes --layers and --stack",
         "--layers 'conv:KERNEL maxpool:2'"),
        (request.layers is not None and request.stack is not None, "--layers and --stack exclude each other",
         "put all layers into one of them"),
        (request.until is not None and request.stack is None, "--until is for ONNX models", "--stack MODEL.onnx"),
        (request.overwrite and request.skip_existing, "--overwrite and --skip-existing exclude each other",
         "keep one of them"),
        (one_file and request.out_dir != Path(), "--out-dir does nothing beside -o", "keep one of them"),
        (one_file and request.name is not None, "--name does nothing beside -o", "keep one of them"),
        (request.outputs != "last" and not request.runs_layers, "--outputs is for layers",
         "--layers 'conv:sobel relu', or --stack FILE"),
        (raw and request.tone != "auto", "--tone does nothing to raw maps", "a picture format, or no --tone"),
        (raw and request.colormap is not None, "--colormap does nothing to raw maps", "a picture format"),
        (request.to_stdout and formats.BY_NAME[request.format or "png"].folder, "-o - is no folder", "--format npy"),
        (raw and depth in ("1", "8", "16"), "raw maps are float32", "--depth float, or a picture format"),
        (raw and request.layout in (*PICTURES, *PAGES), f"{request.format} holds raw maps", "a picture format"),
        (request.kind != "picture" and request.alpha != "premultiply", "--alpha is for pictures", "--layout picture"),
        (request.kind in PAGES and depth not in (None, "8"), f"a {request.kind} has 8 bits", "leave --depth out"),
        (request.colormap is not None and depth not in (None, "8"), "colours have 8 bits", "no --depth"),
        (request.dtype == "float64" and request.device == "mps", "mps has no float64", "--dtype float32"),
        (request.output_padding != (0, 0) and not request.transposed, "--output-padding needs --transposed",
         "add --transposed, or leave it out"),
        (request.luminance and request.kind not in PICTURES, "--luminance is for pictures", "--layout picture"),
        (request.luminance and request.channels, "--luminance takes all colours", "no --channels"),
        (request.luminance and request.groups is not None, "--luminance decides the groups", "no --groups"),
        (request.nodata is not None and request.transposed, "--nodata does nothing to a transposed convolution",
         "leave one of them out"),
        (request.nodata is not None and request.device != "cpu", f"--nodata does not run on {request.device}",
         "no --device"),
    ])  # fmt: skip
    if request.format is not None or request.kind != "picture":  # else that of the input, which the plan knows
        check_format(request.format or "png", None if request.follows_input else depth, encoding, raw=raw)
