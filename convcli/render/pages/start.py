"""The play page opened at a sample: the plan of ``explain`` as the page's controls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from convcli.errors import UsageError
from convcli.render.pages.play import Start

if TYPE_CHECKING:
    from convcli.engine.plan import ConvPlan
    from convcli.pipeline.request import ApplyRequest
    from convcli.pipeline.transforms.binding import BoundBank


def start_at(
    request: ApplyRequest,
    plan: ConvPlan,
    bound: BoundBank,
    planes: tuple[str, ...],
    map_index: int,
    at: tuple[int, int],
) -> Start:
    """Return how the page opens so that it shows what ``explain`` prints.

    Parameters
    ----------
    request, plan, bound
        Of ``explain``; padding that is no word is taken from the plan, side by side, because ``--anchor`` moves it.
    planes : tuple of str
        Names of the planes that take part.
    map_index : int
    at : (int, int)
        Row and column of the output sample.

    Raises
    ------
    UsageError
        A flag has no control on the page.
    """
    everything = planes in (("r", "g", "b"), ("l",))
    known = everything or planes in (("luma",), ("r",), ("g",), ("b",))
    grouped = request.groups in (None, 1, len(planes))
    biases = set(request.bias or ())
    if not known or not grouped or len(biases) > 1 or request.unit:
        raise UsageError(
            "--html has no control for these --channels, --groups, --bias or --unit",
            hint="the page knows each colour by itself, luma, one plane, all added up (--groups 1), and one bias",
        )
    # Maps are channel-major: map c * K + k is kernel k on plane c.
    group, shown = divmod(map_index, bound.n_kernels)
    controls: dict[str, str | bool] = {
        "stride": _pair(plan.stride_hw),
        "dilation": _pair(plan.dilation_hw),
        # An anchor moves the window, which the page can say only in pixels on each side.
        "padding": request.padding if isinstance(request.padding, str) and request.anchor is None else "pixels",
        "pixels": ",".join(str(side) for pair in plan.padding for side in pair),
        "border": _border(plan),
        # repr keeps every digit: the page must show the numbers that the command prints.
        "constant": repr(plan.border.value),
        "planes": f"{'all' if everything else planes[0]}|{1 if request.groups == 1 and len(planes) > 1 else 'auto'}",
        "mode": request.mode,
        "transposed": plan.transposed,
        "output-padding": _pair(request.output_padding),
    }
    if biases:
        controls["bias"] = repr(biases.pop())
    return Start(shown=shown, group=group, at=at, controls=controls)


def _pair(sizes: tuple[int, int]) -> str:
    return str(sizes[0]) if sizes[0] == sizes[1] else f"{sizes[0]}x{sizes[1]}"


def _border(plan: ConvPlan) -> str:
    if plan.border.mode != "constant":
        return plan.border.mode
    # The engine has zeros as a constant border of 0; the page offers both words.
    return "constant" if plan.border.value else "zeros"
