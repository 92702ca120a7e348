"""Published texture banks: Leung-Malik, Schmid, RFS and its reductions, Laws (NumPy).

The oriented filters are those of the Visual Geometry Group's Matlab code: y points up, the support is 49x49, every
filter, the Gaussians too, has its mean taken out and is divided by its L1 norm.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from convcli.banks.bank import Array, KernelBank
from convcli.banks.families.built import bell, built, grid, sum_to_one
from convcli.banks.families.laplace import log_taps

#: Leung-Malik and the root filters turn in steps of 30°.
_ORIENTATIONS = 6
_CONV2 = (
    "the published code applies the filters with conv2, which turns the signs of the edge responses: --mode convolve"
)


def _normalised(taps: Array) -> Array:
    centred = taps - taps.mean()
    scaled: Array = centred / np.abs(centred).sum()
    return scaled


def _gauss1d(sigma: float, x: Array, order: int) -> Array:
    # gauss1d of the Group's makeLMfilters.m and makeRFSfilters.m.
    variance = sigma * sigma
    bell: Array = np.exp(-x * x / (2 * variance)) / np.sqrt(2 * np.pi * variance)
    if order == 1:
        return -bell * x / variance
    if order == 2:
        return bell * (x * x - variance) / variance**2
    return bell


def _oriented(size: int, sigma: float, orientation: int, order: int) -> Array:
    """Return the derivative of the order across, three times as long as wide, at ``30° * orientation``."""
    x, y = grid((size, size))
    angle = np.pi * orientation / _ORIENTATIONS
    cosine, sine = np.cos(angle), np.sin(angle)
    # rotpts = [c -s; s c] * pts there, with y upward.
    along, across = cosine * x - sine * y, sine * x + cosine * y
    return _normalised(_gauss1d(3 * sigma, along, 0) * _gauss1d(sigma, across, order))


def _edges_and_bars(size: int, sigmas: Sequence[float]) -> tuple[list[Array], list[str]]:
    kernels, names = [], []
    for order, kind in ((1, "edge"), (2, "bar")):
        for sigma in sigmas:
            for orientation in range(_ORIENTATIONS):
                kernels.append(_oriented(size, sigma, orientation, order))
                names.append(f"{kind}-{sigma:.3g}-{30 * orientation:03d}")
    return kernels, names


def _round(size: int, kinds: Iterable[tuple[str, float]]) -> tuple[list[Array], list[str]]:
    """Return Gaussians and LoGs of the sigmas given."""
    kernels, names = [], []
    for kind, sigma in kinds:
        taps = log_taps((size, size), sigma) if kind == "log" else sum_to_one(bell((size, size), sigma))
        kernels.append(_normalised(taps))
        names.append(f"{kind}-{sigma:.3g}")
    return kernels, names


def leung_malik(*, variant: str, size: int) -> KernelBank:
    """Build the 48 filters: 18 edges, 18 bars, then a Gaussian and two LoGs for each of four scales."""
    # sqrt(2).^[1:3] in Matlab; ports that have sqrt(2)*[1 2 3] make another bank.
    first = 1 if variant == "large" else 0
    sigmas = [np.sqrt(2.0) ** power for power in range(first, first + 4)]
    kernels, names = _edges_and_bars(size, sigmas[:3])
    kinds = (("gaussian", 1), ("log", 1), ("log", 3))
    if variant == "large":
        scaled = [(kind, factor * sigma) for sigma in sigmas for kind, factor in kinds]
    else:
        scaled = [(kind, factor * sigma) for kind, factor in kinds for sigma in sigmas]
    more, more_names = _round(size, scaled)
    return built(np.stack(kernels + more), names + more_names, notes=(_CONV2,))


#: Across an edge or bar; along it the sigma is three times as large.
_RFS_SIGMAS = (1.0, 2.0, 4.0)


def _rfs(size: int) -> tuple[Array, list[str]]:
    kernels, names = _edges_and_bars(size, _RFS_SIGMAS)
    more, more_names = _round(size, (("gaussian", 10.0), ("log", 10.0)))
    return np.stack(kernels + more), names + more_names


def rfs(*, size: int) -> KernelBank:
    """Build the Root Filter Set: 18 edges, 18 bars, Gaussian and LoG of sigma 10."""
    kernels, names = _rfs(size)
    return built(kernels, names, notes=(_CONV2,))


def maximum_response(*, maps: str, size: int, response: str) -> KernelBank:
    """Build MR8, MR4 or MRS4: the root filters, and which of them share a map."""
    kernels, names = _rfs(size)
    groups: list[tuple[str, Iterable[int]]] = []
    # Places in the root filters: 18 edges, 18 bars, the Gaussian at 36, the LoG at 37.
    for kind, first in (("edge", 0), ("bar", 18)):
        if maps == "mrs4":
            groups.append((kind, range(first, first + 18)))
            continue
        for step, sigma in enumerate(_RFS_SIGMAS):
            # MR4 keeps the largest of the three scales.
            if maps == "mr8" or sigma == 4.0:
                groups.append((f"{kind}-{sigma:g}", range(first + 6 * step, first + 6 * step + 6)))
    kept = [*sorted({index for _, members in groups for index in members}), 36, 37]
    place = {index: number for number, index in enumerate(kept)}
    reduction = [(name, tuple(place[index] for index in members)) for name, members in groups]
    reduction += [("gaussian", (place[36],)), ("log", (place[37],))]
    rule = "largest response, with its sign" if response == "max" else "largest absolute response"
    return built(
        kernels[kept],
        [names[index] for index in kept],
        reduction=tuple(reduction),
        reduction_op=response,
        notes=(f"{len(reduction)} maps: the {rule}, of each group of orientations", _CONV2),
    )


#: (sigma, tau) of each filter, as makeSfilters.m lists them.
_SCHMID = ((2, 1), (4, 1), (4, 2), (6, 1), (6, 2), (6, 3), (8, 1), (8, 2), (8, 3), (10, 1), (10, 2), (10, 3), (10, 4))


def schmid(*, size: int) -> KernelBank:
    """Build the 13 rotation-invariant filters ``cos(πτr/σ) exp(-r²/2σ²)``."""
    x, y = grid((size, size), kernels=len(_SCHMID))
    radius = np.hypot(x, y)
    kernels = [
        _normalised(np.cos(np.pi * tau * radius / sigma) * np.exp(-(radius**2) / (2.0 * sigma**2)))
        for sigma, tau in _SCHMID
    ]
    return built(np.stack(kernels), [f"s{sigma}-t{tau}" for sigma, tau in _SCHMID])


_L3, _E3, _S3 = np.array([1.0, 2, 1]), np.array([-1.0, 0, 1]), np.array([-1.0, 2, -1])


def laws_rows(taps: int) -> dict[str, Array]:
    """Return Laws' rows by letter, made of the three rows of 3 taps as he did.

    Examples
    --------
    >>> laws_rows(5)["W"].tolist()
    [-1.0, 2.0, 0.0, -2.0, 1.0]
    """
    if taps == 3:
        return {"L": _L3, "E": _E3, "S": _S3}
    conv = np.convolve
    if taps == 5:
        return {
            "L": conv(_L3, _L3),
            "E": conv(_L3, _E3),
            "S": conv(_L3, _S3),
            # Signs as Laws has them: W5 is -1 2 0 -2 1. Adding 0.0 leaves no -0.0.
            "W": -conv(_E3, _S3) + 0.0,
            "R": conv(_S3, _S3),
        }
    smooth, rise = conv(_L3, _L3), conv(_E3, _E3)
    return {
        "L": conv(smooth, _L3),
        "E": conv(smooth, _E3),
        "S": conv(smooth, _S3),
        "W": conv(rise, _E3),
        "R": -conv(rise, _S3),
        "O": conv(conv(_S3, _S3), _S3),
    }


def laws(*, taps: int) -> KernelBank:
    """Build every outer product of Laws' rows: L5E5 has L5 down and E5 across."""
    rows = laws_rows(taps)
    names = [f"{down}{taps}{across}{taps}" for down in rows for across in rows]
    kernels = [np.outer(rows[down], rows[across]) for down in rows for across in rows]
    return built(np.stack(kernels) + 0.0, names)
