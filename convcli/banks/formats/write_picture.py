"""A bank as a picture: float64 TIFF without loss, 16-bit PNG with the scale written into it (Pillow, tifffile)."""

from __future__ import annotations

import io

import numpy as np

from convcli.banks.bank import KernelBank
from convcli.banks.formats.exported import Exported
from convcli.banks.formats.picture import TAPS_KEY
from convcli.errors import KernelError


def png(bank: KernelBank, rounding: bool) -> Exported:
    """Return one kernel as a 16-bit grey PNG: exact for whole taps of 0 to 65535, else rounded where allowed."""
    from PIL import Image, PngImagePlugin

    if bank.weight.ndim != 4 or bank.shape[:2] != (1, 1) or bank.bias is not None:
        shape = "x".join(map(str, bank.shape)) + (" and a bias" if bank.bias else "")
        raise KernelError(
            f"'{bank.name}' has shape {shape}; a PNG holds one kernel",
            hint="SPEC#NAME picks one; --format tiff holds several",
        )
    taps = bank.weight[0, 0]
    low, high = float(taps.min()), float(taps.max())
    exact = low >= 0 and high <= 65535 and bool((taps == np.rint(taps)).all())
    scale, offset = (1.0, 0.0) if exact else ((high - low) / 65535 or 1.0, low)
    samples = np.rint((taps - offset) / scale).astype(np.uint16)
    error = float(np.abs(samples * scale + offset - taps).max())
    notes: tuple[str, ...] = ()
    if error:
        if not rounding:
            raise KernelError(
                f"'{bank.name}' does not fit 16-bit samples without loss",
                hint=f"--round: the largest error of a tap would be {error:.3g}; --format tiff loses nothing",
                error=error,
            )
        notes = (f"rounded to 16-bit samples: the largest error of a tap is {error:.3g}",)
    text = PngImagePlugin.PngInfo()
    if not exact:
        text.add_text(TAPS_KEY, f"{scale!r} {offset!r}")
        notes += (f"taps are sample * {scale:.6g} + {offset:.6g}; convcli reads that from the file",)
    buffer = io.BytesIO()
    Image.fromarray(samples).save(buffer, "PNG", pnginfo=text)
    return Exported(buffer.getvalue(), notes)


def tiff(bank: KernelBank, _rounding: bool) -> Exported:
    """Return the kernels as pages of a float64 TIFF."""
    try:
        import tifffile
    except ImportError:
        raise KernelError("writing TIFF kernels needs tifffile", hint="pip install 'convcli[formats]'") from None
    if bank.weight.ndim != 4 or bank.in_channels > 1 or bank.bias is not None:
        raise KernelError(
            f"'{bank.name}' has several planes or a bias, which TIFF pages do not hold", hint="--format npz"
        )
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        for matrix in bank.weight[:, 0]:
            file.write(np.ascontiguousarray(matrix), contiguous=False, metadata=None)
    return Exported(buffer.getvalue())
