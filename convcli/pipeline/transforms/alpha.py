"""The treatment of the alpha plane in pictures; brightness alone for ``--luminance``.

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

from typing import TYPE_CHECKING, Any

import numpy as np

from convcli.errors import UsageError
from convcli.images import formats
from convcli.images.planes import LUMA_601
from convcli.pipeline.transforms.binding import BoundBank, is_zero_sum

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convcli.images.info import ImageInfo
    from convcli.pipeline.request import ApplyRequest


def choose_alpha(request: ApplyRequest, info: ImageInfo, kind: str, bound: BoundBank) -> tuple[str | None, list[str]]:
    """Return the treatment of alpha in an image that has it, ``None`` where it is left out; and notes.

    Parameters
    ----------
    kind : {"maps", "picture", "sheet", "raw"}
    bound : BoundBank
        The bank on the colour planes alone.
    """
    output_format = request.format or "png"
    if kind != "picture":
        return None, [_left_out(info)]
    if request.alpha == "drop":
        return None, []
    if not formats.BY_NAME[output_format].holds_alpha:
        return None, [f"{output_format} holds no alpha: it is dropped"]
    if request.luminance or request.nodata is not None:
        flag = "--luminance" if request.luminance else "--nodata"
        said = [] if request.alpha == "keep" else [f"alpha is kept as it is: {flag} works on colours alone"]
        return "keep", said
    plain = bound.depthwise and bound.n_kernels == 1 and not request.transposed
    if request.alpha == "filter" and not plain:
        return "keep", ["alpha is kept as it is: planes that are mixed or combined have no alpha of their own"]
    if request.alpha != "premultiply":
        return request.alpha, []
    taps = bound.weight[0]
    # Alpha under taps that sum to zero or less vanishes or changes sign: colour cannot be divided by it.
    positive = float(taps.sum()) > 0 and not is_zero_sum(taps)
    return ("premultiply" if plain and positive and request.normalize is None else "premultiply-keep"), []


def leave_out_alpha(request: ApplyRequest, info: ImageInfo) -> list[str]:
    """Return the note for transforms that run on colour planes only: a stack, or a kernel over frames."""
    is_lost = info.has_alpha and request.channels is None and request.alpha != "drop"
    return [_left_out(info)] if is_lost else []


def _left_out(info: ImageInfo) -> str:
    return f"alpha is left out of the maps; --channels {','.join(info.plane_names)} takes it in"


def with_plain_alpha(bound: BoundBank, white: float) -> BoundBank:
    """Return the bank on colour planes and alpha with unit gain on alpha, the last plane, and no bias in the sums.

    Colours are divided by alpha again by :func:`unpremultiply`, which then adds the bias.
    """
    weight = np.array(bound.weight)
    # Unit gain: a kernel that brightens colours must not make transparent edges opaque.
    weight[-1] /= weight[-1].sum()
    late = None if bound.bias is None else bound.bias[:-1]
    return bound._replace(weight=weight, bias=None, late_bias=late, alpha_white=white)


def keep_alpha_of_same_size(alpha: str, info: ImageInfo, output_hw: tuple[int, int]) -> tuple[str | None, list[str]]:
    """Drop or refuse the input's alpha, which is kept as it is, where the output has another size.

    Raises
    ------
    UsageError
        ``--alpha keep`` was asked for.
    """
    if output_hw == (info.height_px, info.width_px):
        return alpha, []
    if alpha == "keep":
        raise UsageError(
            f"--alpha keep needs an output of the input's size, {info.height_px}x{info.width_px}, and this one is "
            f"{output_hw[0]}x{output_hw[1]}",
            hint="--alpha premultiply or drop",
        )
    return None, ["alpha is dropped: the output has another size, and the kernel cannot run on alpha"]


def unpremultiply(maps: NDArray[Any], white: float, bias: NDArray[Any] | None) -> NDArray[Any]:
    """Divide sums of colour times alpha by filtered alpha, in float64, and add the bias; without alpha, colour is 0."""
    alpha = np.clip(maps[-1].astype(np.float64), 0, white)
    colour = np.divide(maps[:-1], alpha, out=np.zeros((len(maps) - 1, *alpha.shape)), where=alpha > white * 1e-6)
    if bias is not None:
        colour += bias[:, None, None]
    return np.concatenate([colour, alpha[None]])


def with_luminance(bound: BoundBank, request: ApplyRequest, planes: tuple[str, ...]) -> BoundBank:
    """Return a bank that filters the brightness of red, green and blue and keeps their colours.

    In YCbCr (BT.601) a colour is its brightness plus a difference that stays: each plane becomes itself plus the
    change of Y, one kernel that reads all three.

    Raises
    ------
    UsageError
        There are no three colours, several kernels, or the output has another size.
    """
    if planes != ("r", "g", "b"):
        raise UsageError(f"--luminance needs colours, and the planes are {','.join(planes)}", hint="leave it out")
    if not bound.depthwise or bound.n_kernels != 1:
        raise UsageError(f"--luminance takes one kernel of one plane, not {bound.n_kernels}", hint="one -k")
    if request.padding != "same" or request.stride != (1, 1) or request.transposed:
        raise UsageError("--luminance keeps the size", hint="stride 1, --padding same, not transposed")
    kernel = bound.weight[0, 0]
    centre = np.zeros(kernel.shape)
    centre[request.anchor or tuple((size - 1) // 2 for size in kernel.shape)] = 1
    # The same change added to red, green and blue moves Y alone: Cb and Cr are differences from Y.
    change = np.multiply.outer(LUMA_601, kernel - centre)
    weight = np.stack([change] * 3) + np.eye(3)[:, :, None, None] * centre
    # The identity is in the taps now: whatever the kernel, the result is a picture.
    maps = tuple(named._replace(nature="brightness") for named in bound.maps)
    return bound._replace(weight=weight, groups=1, maps=maps, depthwise=False)
