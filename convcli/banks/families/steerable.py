"""Steerable filters of Freeman and Adelson: a few basis kernels make the kernel of any direction (NumPy)."""

from __future__ import annotations

import numpy as np

from convcli.banks.bank import Array, KernelBank
from convcli.banks.families.built import built, cos_sin, grid


def _basis(order: str, size: int, spacing: float, constants: str) -> Array:
    """Return the basis. y points down here, so that the published weights turn counter-clockwise on the screen."""
    right, up = grid((size, size), kernels=4)
    x, y = right * spacing, -up * spacing
    bell = np.exp(-(x * x + y * y))
    exact = constants == "exact"
    if order == "g1":  # correlation taps: positive where the picture brightens to the right, and upward
        return np.stack([2 * x * bell, -2 * y * bell])
    if order == "g2":
        a, b = (np.sqrt(8 / (3 * np.pi)), 2 * np.sqrt(8 / (3 * np.pi))) if exact else (0.9213, 1.843)
        return np.stack([a * (2 * x * x - 1) * bell, b * x * y * bell, a * (2 * y * y - 1) * bell])
    # The published fit rounds 2.254 / 3 to 0.7515; the steering identity needs the exact third.
    third = 2.254 / 3 if exact else 0.7515
    return 0.978 * np.stack(
        [
            (-2.254 * x + x**3) * bell,
            (-third + x * x) * y * bell,
            (-third + y * y) * x * bell,
            (-2.254 * y + y**3) * bell,
        ]
    )


def steering_weights(order: str, degrees: float) -> Array:
    """Return the weight of each basis kernel in the kernel of a direction.

    Examples
    --------
    >>> steering_weights("g2", 90).tolist()
    [0.0, -0.0, 1.0]
    """
    c, s = cos_sin(degrees)
    weights = {"g1": [c, s], "g2": [c * c, -2 * c * s, s * s], "h2": [c**3, -3 * c * c * s, 3 * c * s * s, -(s**3)]}
    return np.array(weights[order])


#: The basis kernels as the paper calls them.
_NAMES = {"g1": ("g1x", "g1y"), "g2": ("g2a", "g2b", "g2c"), "h2": ("h2a", "h2b", "h2c", "h2d")}


def steerable(*, order: str, steer: float | None, size: int, spacing: float, constants: str) -> KernelBank:
    """Build the basis, or with ``steer`` the one kernel of that direction."""
    if steer is not None:
        return built(_steered(order, steer, size, spacing, constants))
    basis = _basis(order, size, spacing, constants)
    return built(basis, _NAMES[order], combine="magnitude" if order == "g1" else "none")


def _steered(order: str, steer: float, size: int, spacing: float, constants: str) -> Array:
    return np.tensordot(steering_weights(order, steer), _basis(order, size, spacing, constants), axes=1)


def quadrature(*, steer: float, size: int, spacing: float, constants: str) -> KernelBank:
    """Build G2 and H2 of one direction; the magnitude of the two is the oriented energy's root."""
    pair = [_steered(order, steer, size, spacing, constants) for order in ("g2", "h2")]
    return built(np.stack(pair), ("g2", "h2"), combine="magnitude")
