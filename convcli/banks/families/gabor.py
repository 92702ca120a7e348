"""Gabor functions and banks of them (NumPy)."""

from __future__ import annotations

import numpy as np

from convcli.banks.bank import KernelBank
from convcli.banks.families.built import Array, built, grid, odd_size, turned


def sigma_of_bandwidth(wavelength: float, octaves: float) -> float:
    """Envelope sigma in pixels whose half-response band is ``octaves`` wide around ``1/wavelength``."""
    ratio = 2.0**octaves
    return float(wavelength / np.pi * np.sqrt(np.log(2) / 2) * (ratio + 1) / (ratio - 1))


def quadrature(
    size: int, *, wavelength: float, angle: float, sigma: float, aspect: float, phase: float, dc_free: bool
) -> tuple[Array, Array]:
    """Cosine and sine part under one Gaussian envelope of sum 1."""
    x, y = grid((size, size), kernels=2)
    along, across = turned(x, y, angle)
    envelope = np.exp(-(along**2 + (aspect * across) ** 2) / (2 * sigma * sigma))
    envelope /= envelope.sum()
    argument = 2 * np.pi * along / wavelength + np.deg2rad(phase)
    real, imaginary = envelope * np.cos(argument), envelope * np.sin(argument)
    if dc_free:
        real = real - envelope * real.sum()
        imaginary = imaginary - envelope * imaginary.sum()
    return real, imaginary


def gabor(
    *,
    wavelength: float,
    angle: float,
    sigma: float | None,
    bandwidth: float,
    aspect: float,
    phase: float,
    size: int | None,
    part: str,
    dc_free: bool,
) -> KernelBank:
    """One Gabor function, or its quadrature pair."""
    spread = sigma if sigma is not None else sigma_of_bandwidth(wavelength, bandwidth)
    side = odd_size(size, 3 * spread * max(1.0, 1.0 / aspect))
    real, imaginary = quadrature(
        side, wavelength=wavelength, angle=angle, sigma=spread, aspect=aspect, phase=phase, dc_free=dc_free
    )
    if part == "pair":
        return built(np.stack([real, imaginary]), ("real", "imaginary"), combine="magnitude")
    return built(real if part == "real" else imaginary)
