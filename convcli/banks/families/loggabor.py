"""Log-Gabor filters: defined in the frequency plane, cut out of their spatial form (NumPy)."""

from __future__ import annotations

import numpy as np

from convcli.banks.bank import Array, KernelBank, check_taps
from convcli.banks.families.built import odd_size, quadrature_bank, quadrature_part, wave_name


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


def _pair(
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
    real, imaginary, lost = _pair(side, wavelength, angle, sigma_on_f, np.pi / orientations / d_theta_on_sigma)
    return quadrature_part(real, imaginary, part, (_note(side, lost),))


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
    pairs: list[tuple[str, Array, Array]] = []
    worst = 0.0
    for wavelength in wavelengths:
        for step in range(orientations):
            angle = 180.0 * step / orientations
            real, imaginary, lost = _pair(side, wavelength, angle, sigma_on_f, np.pi / orientations / d_theta_on_sigma)
            pairs.append((wave_name(wavelength, angle), real, imaginary))
            worst = max(worst, lost)
    return quadrature_bank(pairs, (_note(side, worst),))
