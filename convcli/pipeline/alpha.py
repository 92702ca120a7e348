"""What a picture does with the alpha plane of its input.

============================  ==========================================================================================
``premultiply``               colour is filtered premultiplied, alpha by the same taps at unit gain, then divided again
``premultiply-keep``          colour is filtered premultiplied, the input's alpha stays: for everything that has no
                              meaning for alpha (taps that do not sum to a positive number, several kernels, planes
                              that are mixed, normalised or transposed)
``keep``                      colour is filtered as it is, the input's alpha stays
``filter``                    alpha is filtered like a colour
============================  ==========================================================================================

An opaque picture comes out as its colours would without alpha, whatever the kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from convcli.errors import UsageError
from convcli.images import formats
from convcli.pipeline.binding import BoundBank, is_zero_sum

if TYPE_CHECKING:
    from convcli.images import ImageInfo
    from convcli.pipeline.request import ApplyRequest


#: Said where only colour planes run.
ALPHA_LEFT_OUT = "alpha is left out of the maps; --channels r,g,b,a takes it in"


def choose_alpha(request: ApplyRequest, info: ImageInfo, layout: str, bound: BoundBank, notes: list[str]) -> str | None:
    """Return what happens to alpha, ``None`` where there is none to care for; what is lost goes into ``notes``.

    Parameters
    ----------
    bound : BoundBank
        The bank on the colour planes alone.
    """
    if not info.has_alpha or request.channels is not None:
        return None
    output_format = request.format or "png"
    if layout != "picture":
        notes.append(ALPHA_LEFT_OUT)
        return None
    if request.alpha == "drop":
        return None
    if not formats.BY_NAME[output_format].holds_alpha:
        notes.append(f"{output_format} holds no alpha: it is dropped")
        return None
    plain = bound.depthwise and bound.n_kernels == 1 and not request.transposed
    if request.alpha == "filter" and not plain:
        notes.append("alpha is kept as it is: planes that are mixed or combined have no alpha of their own")
        return "keep"
    if request.alpha != "premultiply":
        return request.alpha
    taps = bound.weight[0]
    positive = float(taps.sum()) > 0 and not is_zero_sum(taps)
    return "premultiply" if plain and positive and request.normalize is None else "premultiply-keep"


def leave_out_alpha(request: ApplyRequest, info: ImageInfo) -> list[str]:
    """Return the note of what runs on colour planes only: a stack, or a kernel over frames."""
    is_lost = info.has_alpha and request.channels is None and request.alpha != "drop"
    return [ALPHA_LEFT_OUT] if is_lost else []


def with_plain_alpha(bound: BoundBank) -> BoundBank:
    """Return the bank on colour planes and alpha with unit gain on alpha, the last plane, and no bias in the sums.

    A bias is of colours: :attr:`BoundBank.late_bias` is added once they are divided by alpha again.
    """
    weight = np.array(bound.weight)
    weight[-1] /= weight[-1].sum()
    return bound._replace(weight=weight, bias=None, late_bias=None if bound.bias is None else bound.bias[:-1])


def keep_alpha_of_same_size(
    alpha: str | None, info: ImageInfo, output_hw: tuple[int, int], notes: list[str]
) -> str | None:
    """Drop or refuse the input's alpha where the output has another size.

    Raises
    ------
    UsageError
        ``--alpha keep`` was asked for.
    """
    if alpha not in ("keep", "premultiply-keep") or output_hw == (info.height_px, info.width_px):
        return alpha
    if alpha == "keep":
        raise UsageError(
            f"--alpha keep needs an output of the input's size, {info.height_px}x{info.width_px}, and this one is "
            f"{output_hw[0]}x{output_hw[1]}",
            hint="--alpha premultiply or drop",
        )
    notes.append("alpha is dropped: the output has another size, and the kernel cannot run on alpha")
    return None
