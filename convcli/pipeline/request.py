"""What ``apply`` was asked for, in one normal form: pairs, never ``int | tuple``; words from one list."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from convcli.images import formats

Padding = str | tuple[tuple[int, int], tuple[int, int]]


class ApplyRequest(NamedTuple):
    """One ``apply`` as asked, the same for every input of the batch; a tuple defines itself quicker than a dataclass.

    ``None`` means "as the input, the kernel or the layout implies"; :mod:`convcli.pipeline.run` resolves it per image.
    """

    kernels: tuple[str, ...] = ()
    stack: Path | None = None
    outputs: str = "last"
    # convolution
    stride: tuple[int, int] = (1, 1)
    padding: Padding = "same"
    padding_mode: str | None = None
    dilation: tuple[int, int] = (1, 1)
    groups: int | None = None
    transposed: bool = False
    output_padding: tuple[int, int] = (0, 0)
    bias: tuple[float, ...] | None = None
    mode: str = "correlate"
    anchor: tuple[int, int] | None = None
    engine: str = "auto"
    dtype: str = "float32"
    device: str = "cpu"
    # input
    channels: tuple[str, ...] | None = None
    orientation: str = "apply"
    alpha: str = "premultiply"
    frames: str | None = None
    unit: bool = False
    normalize: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    max_pixels: int | None = None
    max_taps: int | None = None
    # output
    out_dir: Path = Path()
    output: Path | None = None
    to_stdout: bool = False
    layout: str | None = None
    combine: str | None = None
    format: str | None = None
    name: str | None = None
    tone: str = "auto"
    depth: str | None = None
    colormap: str | None = None
    compress: str = "fast"
    overwrite: bool = False
    skip_existing: bool = False
    # running
    memory: int | None = None
    threads: int | None = None

    def as_dict(self) -> dict[str, object]:
        """Return the request as plain data, in the words of the flags."""
        return self._asdict()

    @property
    def is_one_file(self) -> bool:
        """Whether ``-o`` names one file, or standard output."""
        return self.output is not None or self.to_stdout

    @property
    def kind(self) -> str:
        """``maps``, ``picture``, ``sheet`` or ``raw``: what layout, format and ``-o`` mean together."""
        if self.is_one_file and (self.format in formats.RAW or self.layout == "maps"):
            return "raw"
        if self.is_one_file and self.layout is None and self.depth is None and self.format == "tiff":
            return "raw"
        return self.layout or ("picture" if self.is_one_file else "maps")
