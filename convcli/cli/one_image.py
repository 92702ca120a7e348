"""What ``compare`` and ``explain`` share: one image, one bank, the convolution's flags."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

if TYPE_CHECKING:
    from convcli.engine import ConvPlan
    from convcli.engine.borders import Planes
    from convcli.images import ImageInfo
    from convcli.pipeline.binding import BoundBank


def option(*names: str, help: str, metavar: str) -> Any:
    """Return a Typer option without a default to show: the help text says it."""
    return typer.Option(*names, help=help, metavar=metavar, show_default=False)


Image = Annotated[str, typer.Argument(metavar="IMAGE", help="An image; - is standard input.")]
Kernels = Annotated[list[str], option("-k", "--kernel", metavar="SPEC", help="As in apply; repeatable.")]
Stride = Annotated[str | None, option("--stride", metavar="N|HxW", help="Step between windows [1].")]
Padding = Annotated[
    str | None, option("--padding", metavar="N|HxW|T,B,L,R|WORD", help="Or same, same_lower, valid, full [same].")
]
_MODES = "zeros, constant:V, replicate, reflect, symmetric, circular [replicate]."
PaddingMode = Annotated[str | None, option("--padding-mode", metavar="MODE", help=_MODES)]
Dilation = Annotated[str | None, option("--dilation", metavar="N|HxW", help="Spacing between taps [1].")]
Groups = Annotated[str | None, option("--groups", metavar="auto|N", help="As in apply [auto].")]
Transposed = Annotated[bool, option("--transposed", metavar="", help="Transposed convolution.")]
OutputPadding = Annotated[
    str | None, option("--output-padding", metavar="N|HxW", help="Of a transposed convolution [0].")
]
Mode = Annotated[
    str | None, option("--mode", metavar="correlate|convolve", help="convolve rotates taps by 180 deg [correlate].")
]
Bias = Annotated[str | None, option("--bias", metavar="V[,V...]", help="Added to every map, or per kernel.")]
Channels = Annotated[str | None, option("--channels", metavar="r,g,b|luma|...", help="Planes to use.")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable.")]


class OneImage(NamedTuple):
    """An image opened, with its bank bound: everything that a plan needs."""

    label: str
    flags: Mapping[str, object]
    info: ImageInfo
    bound: BoundBank
    planes: Planes
    computed: bool
    plane_names: tuple[str, ...]

    def plan(self, **changes: Any) -> ConvPlan:
        """Return the plan, with some of the flags changed."""
        from convcli.pipeline.flags import parse_request
        from convcli.pipeline.plan import plan_engine

        request = parse_request({**self.flags, **changes})
        return plan_engine(request, self.bound, self.info, self.planes.shape[0], computed=self.computed)


@contextmanager
def open_one(image: str, flags: Mapping[str, object]) -> Iterator[OneImage]:
    """Open ``image`` and bind the bank that ``flags`` name to it; alpha is left out unless ``--channels`` names it.

    Raises
    ------
    ConvcliError
        The image, the bank, or both together cannot be.
    """
    import sys

    from convcli.banks import load_bank
    from convcli.images import open_planes
    from convcli.images.planes import select_planes, view_planes
    from convcli.pipeline.binding import bind_bank
    from convcli.pipeline.flags import parse_request

    given = {key: value for key, value in flags.items() if value is not None}
    request = parse_request(given)
    bank = load_bank(*request.kernels)
    source: Path | bytes = sys.stdin.buffer.read() if image == "-" else Path(image)
    with open_planes(source) as opened:
        info = opened.info
        selection = select_planes(info.plane_names, request.channels, alpha=False)
        planes = view_planes(opened.planes, selection, white=info.white, unit=request.unit, dtype=request.dtype)
        bound = bind_bank(
            bank,
            selection.names,
            groups=request.groups,
            mode=request.mode,
            bias=request.bias,
            transposed=request.transposed,
        )
        yield OneImage(
            "<stdin>" if image == "-" else image, given, info, bound, planes, selection.luma, selection.names
        )
