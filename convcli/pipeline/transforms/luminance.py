"""Filter the brightness of a picture and keep its colours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from convcli.errors import UsageError
from convcli.images.planes import LUMA_601

if TYPE_CHECKING:
    from convcli.pipeline.request import ApplyRequest
    from convcli.pipeline.transforms.binding import BoundBank


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
