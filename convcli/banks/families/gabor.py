"""Gabor functions in the parameters of Petkov, OpenCV and scikit-image, log-Gabor filters, banks of both (NumPy)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil

import numpy as np

from convcli.banks.bank import Array, KernelBank, check_taps, pad_to
from convcli.banks.families.built import built, cos_sin, grid, odd_size, turned


def _part(real: Array, imaginary: Array, part: str, notes: tuple[str, ...] = ()) -> KernelBank:
    """Make a bank of one part of a quadrature pair, or of both with their magnitude."""
    if part == "pair":
        return built(np.stack([real, imaginary]), ("real", "imaginary"), combine="magnitude", notes=notes)
    return built(real if part == "real" else imaginary, notes=notes)


def _pairs(
    wavelengths: Sequence[float], orientations: int, pair: Callable[[int, float], Sequence[Array]]
) -> KernelBank:
    """Make a bank of the quadrature pair of every wavelength, given by its place, and of evenly spread directions.

    Pairs are named after both, such as ``w8-030``; the maps are their magnitudes.
    """
    kernels: list[Array] = []
    names: list[str] = []
    for place, wavelength in enumerate(wavelengths):
        for step in range(orientations):
            angle = 180.0 * step / orientations
            kernels += pair(place, angle)
            names.append(f"w{wavelength:.3g}-{angle:05.1f}".removesuffix(".0"))
    reduction = tuple((name, (2 * index, 2 * index + 1)) for index, name in enumerate(names))
    parts = [f"{name}-{part}" for name in names for part in ("re", "im")]
    return built(np.stack(kernels), parts, reduction=reduction, reduction_op="magnitude")


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
    return _part(real, imaginary, part)


def gabor_opencv(*, size: int, sigma: float, theta: float, lambd: float, gamma: float, psi: float) -> KernelBank:
    """Build ``cv2.getGaborKernel``: real part, neither normalised nor DC-free, y down and turned by 180° as there."""
    x, up = grid((size, size))
    along, across = turned(-x, up, theta)  # OpenCV stores the value of (x, y) at (xmax - x, ymax - y), y down
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
    along, across = turned(x, -up, theta)
    envelope = np.exp(-0.5 * ((along / wide) ** 2 + (across / high) ** 2)) / (2 * np.pi * wide * high)
    wave = 2 * np.pi * frequency * along + np.deg2rad(offset)
    real, imaginary = envelope * np.cos(wave), envelope * np.sin(wave)
    note = "scikit-image convolves with these taps: the imaginary response has the other sign there"
    return _part(real, imaginary, part, (note,))


def gabor_bank(
    *, wavelengths: tuple[float, ...], orientations: int, bandwidth: float, aspect: float, size: int | None
) -> KernelBank:
    """Build DC-free quadrature pairs of several wavelengths and evenly spread directions."""
    spreads = [sigma_of_bandwidth(wavelength, bandwidth) for wavelength in wavelengths]
    side = odd_size(size, 3 * max(spreads) * max(1.0, 1 / aspect))
    grid((side, side), kernels=2 * len(wavelengths) * orientations)  # refuses a bank that is too large

    def pair(place: int, angle: float) -> list[Array]:
        # Each scale ends at its own 3 sigmas, whatever the largest needs.
        spread = spreads[place]
        own = min(side, odd_size(None, 3 * spread * max(1.0, 1 / aspect)))
        wavelength = wavelengths[place]
        parts = quadrature(
            own, wavelength=wavelength, angle=angle, sigma=spread, aspect=aspect, phase=0.0, dc_free=True
        )
        return [pad_to(part, (side, side)) for part in parts]

    return _pairs(wavelengths, orientations, pair)


def wiskott(*, scales: int, orientations: int, size: int | None) -> KernelBank:
    """Build the jets of Lades and of Wiskott: ``k_max = π/2``, ``f = √2``, ``σ = 2π``, DC-free."""
    sigma = 2 * np.pi
    waves = [np.pi / 2 / np.sqrt(2.0) ** scale for scale in range(scales)]
    side = odd_size(size, 3 * sigma / waves[-1])
    x, y = grid((side, side), kernels=2 * scales * orientations)
    squared = x * x + y * y

    def pair(place: int, angle: float) -> tuple[Array, Array]:
        wave = waves[place]
        envelope = wave**2 / sigma**2 * np.exp(-(wave**2) * squared / (2 * sigma**2))
        along, _ = turned(x, y, angle)
        # The published term, which takes the mean out of the endless wave.
        real = envelope * (np.cos(wave * along) - np.exp(-(sigma**2) / 2))
        real = real - envelope * (real.sum() / envelope.sum())  # the rest of sampling and cutting
        return real, envelope * np.sin(wave * along)

    return _pairs([2 * np.pi / wave for wave in waves], orientations, pair)


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

    def pair(scale: int, angle: float) -> tuple[Array, Array]:
        shrink = factor**-scale  # a^-m of the paper
        along, across = turned(x * shrink, y * shrink, angle)
        envelope = np.exp(-0.5 * ((along / sigma_x) ** 2 + (across / sigma_y) ** 2))
        envelope *= shrink / (2 * np.pi * sigma_x * sigma_y)
        real = envelope * np.cos(2 * np.pi * high * along)
        if dc_free:
            real = real - envelope * (real.sum() / envelope.sum())
        return real, envelope * np.sin(2 * np.pi * high * along)

    return _pairs([1 / (high * factor**-scale) for scale in range(scales)], orientations, pair)


def radial(frequency: Array, centre: float, sigma_on_f: float) -> Array:
    """Return the radial part ``exp(-ln(f/f0)² / 2 ln(σ/f0)²)``, 0 at frequency 0.

    Examples
    --------
    >>> round(float(radial(np.array([0.2]), 0.1, 0.65)[0]), 6)
    0.274033
    """
    # ln 0 is never taken: the filter has no DC by its definition.
    safe = np.where(frequency > 0, frequency, 1.0)
    gain = np.exp(-(np.log(safe / centre) ** 2) / (2 * np.log(sigma_on_f) ** 2))
    part: Array = np.where(frequency > 0, gain, 0.0)
    return part


def _log_pair(
    size: int, wavelength: float, angle: float, sigma_on_f: float, theta_sigma: float
) -> tuple[Array, Array, float]:
    """Return even and odd taps of one filter, and the share of energy that cutting to ``size`` loses."""
    # Wide enough to die out before the plane wraps around; odd, so that it has a middle.
    n = max(2 * size + 1, int(8 * wavelength)) | 1
    frequencies = np.fft.fftfreq(n)
    right, up = frequencies[None, :], -frequencies[:, None]
    theta = np.arctan2(up, right) - np.deg2rad(angle)
    # Directions wrap around at 180°.
    off = np.abs(np.arctan2(np.sin(theta), np.cos(theta)))
    spectrum = radial(np.hypot(right, up), 1 / wavelength, sigma_on_f) * np.exp(-(off**2) / (2 * theta_sigma**2))
    whole = np.fft.fftshift(np.fft.ifft2(spectrum))
    first = (n - size) // 2
    taps = whole[first : first + size, first : first + size]
    kept = float((np.abs(taps) ** 2).sum() / (np.abs(whole) ** 2).sum())
    return taps.real - taps.real.mean(), taps.imag - taps.imag.mean(), max(0.0, 1 - kept)


def _note(size: int, lost: float) -> str:
    return f"cut to {size}x{size}: {lost:.2g} of the energy is left out, and what cutting adds to the mean is taken out"


def log_gabor(
    *,
    wavelength: float,
    angle: float,
    sigma_on_f: float,
    orientations: int,
    d_theta_on_sigma: float,
    size: int | None,
    part: str,
) -> KernelBank:
    """Build one log-Gabor filter, or its quadrature pair."""
    side = odd_size(size, 2.5 * wavelength)
    # The frequency plane is about twice as wide as the kernel.
    check_taps(4 * side * side, "log-gabor")
    real, imaginary, lost = _log_pair(side, wavelength, angle, sigma_on_f, np.pi / orientations / d_theta_on_sigma)
    return _part(real, imaginary, part, (_note(side, lost),))


def log_gabor_bank(
    *,
    scales: int,
    orientations: int,
    min_wavelength: float,
    mult: float,
    sigma_on_f: float,
    d_theta_on_sigma: float,
    size: int | None,
) -> KernelBank:
    """Build Kovesi's bank, finest scale first."""
    wavelengths = [min_wavelength * mult**scale for scale in range(scales)]
    side = odd_size(size, 2.5 * wavelengths[-1])
    check_taps(2 * scales * orientations * side * side, "log-gabor-bank")
    lost = [0.0]

    def pair(place: int, angle: float) -> tuple[Array, Array]:
        spread = np.pi / orientations / d_theta_on_sigma
        real, imaginary, more = _log_pair(side, wavelengths[place], angle, sigma_on_f, spread)
        lost.append(more)
        return real, imaginary

    return _pairs(wavelengths, orientations, pair).noted(_note(side, max(lost)))
