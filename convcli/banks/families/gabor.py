"""Gabor functions in the parameters of Petkov, OpenCV and scikit-image, and the published banks of them (NumPy)."""

from __future__ import annotations

from math import ceil

import numpy as np

from convcli.banks.bank import Array, KernelBank, pad_to
from convcli.banks.families.built import (
    built,
    cos_sin,
    grid,
    odd_size,
    quadrature_bank,
    quadrature_part,
    turned,
    wave_name,
)


def sigma_of_bandwidth(wavelength: float, octaves: float) -> float:
    """Envelope sigma in pixels whose half-response band is ``octaves`` wide around ``1/wavelength``."""
    # Petkov's relation, and scikit-image's: for one octave sigma is 0.562 wavelengths.
    ratio = 2.0**octaves
    return float(wavelength / np.pi * np.sqrt(np.log(2) / 2) * (ratio + 1) / (ratio - 1))


def quadrature(
    size: int, *, wavelength: float, angle: float, sigma: float, aspect: float, phase: float, dc_free: bool
) -> tuple[Array, Array]:
    """Return cosine and sine part under one Gaussian envelope of sum 1."""
    x, y = grid((size, size), kernels=2)
    along, across = turned(x, y, angle)
    envelope = np.exp(-(along**2 + (aspect * across) ** 2) / (2 * sigma * sigma))
    envelope /= envelope.sum()
    argument = 2 * np.pi * along / wavelength + np.deg2rad(phase)
    real, imaginary = envelope * np.cos(argument), envelope * np.sin(argument)
    if dc_free:
        # Under the envelope: a constant taken off would end in a step at the kernel's edge.
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
    """Build one Gabor function, or its quadrature pair."""
    spread = sigma if sigma is not None else sigma_of_bandwidth(wavelength, bandwidth)
    # An aspect below 1 makes the stripes longer than they are wide.
    side = odd_size(size, 3 * spread * max(1.0, 1.0 / aspect))
    real, imaginary = quadrature(
        side, wavelength=wavelength, angle=angle, sigma=spread, aspect=aspect, phase=phase, dc_free=dc_free
    )
    return quadrature_part(real, imaginary, part)


def gabor_opencv(*, size: int, sigma: float, theta: float, lambd: float, gamma: float, psi: float) -> KernelBank:
    """Build ``cv2.getGaborKernel``: real part, neither normalised nor DC-free, y down and turned by 180° as there."""
    x, up = grid((size, size))
    cosine, sine = cos_sin(theta)
    x, y = -x, up  # OpenCV stores the value of (x, y) at (xmax - x, ymax - y), y down
    along, across = x * cosine + y * sine, -x * sine + y * cosine
    envelope = np.exp(-(along**2 + (gamma * across) ** 2) / (2 * sigma * sigma))
    taps = envelope * np.cos(2 * np.pi * along / lambd + np.deg2rad(psi))
    return built(taps, notes=(f"OpenCV's Gabor kernel is not DC-free: its taps sum to {taps.sum():.6g}",))


def gabor_skimage(
    *,
    frequency: float,
    theta: float,
    bandwidth: float,
    sigma_x: float | None,
    sigma_y: float | None,
    n_stds: float,
    offset: float,
    part: str,
) -> KernelBank:
    """Build ``skimage.filters.gabor_kernel``: y down, the support changes with theta, not DC-free."""
    spread = sigma_of_bandwidth(1 / frequency, bandwidth)
    wide, high = (value if value is not None else spread for value in (sigma_x, sigma_y))
    cosine, sine = cos_sin(theta)
    # gabor_kernel's own support, whose size changes with theta.
    half_x = ceil(max(abs(n_stds * wide * cosine), abs(n_stds * high * sine), 1))
    half_y = ceil(max(abs(n_stds * high * cosine), abs(n_stds * wide * sine), 1))
    x, up = grid((2 * half_y + 1, 2 * half_x + 1), kernels=2)
    y = -up
    along, across = x * cosine + y * sine, -x * sine + y * cosine
    envelope = np.exp(-0.5 * ((along / wide) ** 2 + (across / high) ** 2)) / (2 * np.pi * wide * high)
    wave = 2 * np.pi * frequency * along + np.deg2rad(offset)
    real, imaginary = envelope * np.cos(wave), envelope * np.sin(wave)
    note = "scikit-image convolves with these taps: the imaginary response has the other sign there"
    return quadrature_part(real, imaginary, part, (note,))


def gabor_bank(
    *, wavelengths: tuple[float, ...], orientations: int, bandwidth: float, aspect: float, size: int | None
) -> KernelBank:
    """Build DC-free quadrature pairs of several wavelengths and evenly spread directions."""
    spreads = [sigma_of_bandwidth(wavelength, bandwidth) for wavelength in wavelengths]
    side = odd_size(size, 3 * max(spreads) * max(1.0, 1 / aspect))
    grid((side, side), kernels=2 * len(wavelengths) * orientations)  # refuses a bank that is too large
    pairs = []
    for wavelength, spread in zip(wavelengths, spreads, strict=True):
        for step in range(orientations):
            angle = 180.0 * step / orientations
            # Each scale ends at its own 3 sigmas, whatever the largest needs.
            own = min(side, odd_size(None, 3 * spread * max(1.0, 1 / aspect)))
            real, imaginary = quadrature(
                own, wavelength=wavelength, angle=angle, sigma=spread, aspect=aspect, phase=0.0, dc_free=True
            )
            pairs.append((wave_name(wavelength, angle), pad_to(real, (side, side)), pad_to(imaginary, (side, side))))
    return quadrature_bank(pairs)


def wiskott(*, scales: int, orientations: int, size: int | None) -> KernelBank:
    """Build the jets of Lades and of Wiskott: ``k_max = π/2``, ``f = √2``, ``σ = 2π``, DC-free."""
    sigma = 2 * np.pi
    waves = [np.pi / 2 / np.sqrt(2.0) ** scale for scale in range(scales)]
    side = odd_size(size, 3 * sigma / waves[-1])
    x, y = grid((side, side), kernels=2 * scales * orientations)
    squared = x * x + y * y
    pairs = []
    for wave in waves:
        envelope = wave**2 / sigma**2 * np.exp(-(wave**2) * squared / (2 * sigma**2))
        for step in range(orientations):
            along, _ = turned(x, y, 180.0 * step / orientations)
            # The published term, which takes the mean out of the endless wave.
            real = envelope * (np.cos(wave * along) - np.exp(-(sigma**2) / 2))
            real = real - envelope * (real.sum() / envelope.sum())  # the rest of sampling and cutting
            name = wave_name(2 * np.pi / wave, 180.0 * step / orientations)
            pairs.append((name, real, envelope * np.sin(wave * along)))
    return quadrature_bank(pairs)


def manjunath_spreads(orientations: int, scales: int, low: float, high: float) -> tuple[float, float, float]:
    """Return the scale factor a and the sigmas in frequency, so that half-peak contours touch (Manjunath & Ma)."""
    factor = (high / low) ** (1 / (scales - 1))
    two_log_two = 2 * np.log(2)
    sigma_u = (factor - 1) * high / ((factor + 1) * np.sqrt(two_log_two))
    tangent = np.tan(np.pi / (2 * orientations))
    bracket = high - two_log_two * sigma_u**2 / high
    sigma_v = tangent * bracket / np.sqrt(two_log_two - two_log_two**2 * sigma_u**2 / high**2)
    return float(factor), float(sigma_u), float(sigma_v)


def manjunath(
    *, scales: int, orientations: int, low: float, high: float, size: int | None, dc_free: bool
) -> KernelBank:
    """Build the Gabor wavelets for texture retrieval, finest scale first."""
    if low >= high:
        raise ValueError(f"low={low:g} is not below high={high:g}")
    factor, sigma_u, sigma_v = manjunath_spreads(orientations, scales, low, high)
    # The transform of a Gaussian of sigma s is a Gaussian of sigma 1 / (2πs).
    sigma_x, sigma_y = 1 / (2 * np.pi * sigma_u), 1 / (2 * np.pi * sigma_v)
    side = odd_size(size, 3 * factor ** (scales - 1) * max(sigma_x, sigma_y))
    x, y = grid((side, side), kernels=2 * scales * orientations)
    pairs = []
    for scale in range(scales):
        shrink = factor**-scale  # a^-m of the paper
        for step in range(orientations):
            along, across = turned(x * shrink, y * shrink, 180.0 * step / orientations)
            envelope = np.exp(-0.5 * ((along / sigma_x) ** 2 + (across / sigma_y) ** 2))
            envelope *= shrink / (2 * np.pi * sigma_x * sigma_y)
            real = envelope * np.cos(2 * np.pi * high * along)
            if dc_free:
                real = real - envelope * (real.sum() / envelope.sum())
            name = wave_name(1 / (high * shrink), 180.0 * step / orientations)
            pairs.append((name, real, envelope * np.sin(2 * np.pi * high * along)))
    return quadrature_bank(pairs)
