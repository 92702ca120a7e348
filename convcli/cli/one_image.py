"""What ``compare`` and ``explain`` share: one image, one bank, the convolution's flags."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from convcli.record import NamedTuple

if TYPE_CHECKING:
    from convcli.binding import BoundBank
    from convcli.engine import ConvPlan
    from convcli.engine.bands import Planes
    from convcli.images import ImageInfo


def option(*names: str, help: str, metavar: str) -> Any:
    """Return a Typer option without a default to show: the help text says it."""
    return typer.Option(*names, help=help, metavar=metavar, show_default=False)


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
        from convcli.flags import parse_request
        from convcli.planning import plan_engine

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
    from convcli.binding import bind_bank
    from convcli.flags import parse_request
    from convcli.images import open_planes
    from convcli.images.planes import select_planes, view_planes

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
