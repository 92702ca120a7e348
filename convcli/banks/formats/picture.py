"""Pictures whose grey samples are taps: lossless TIFF, 16-bit PNG that states its scale (Pillow, tifffile)."""

from __future__ import annotations

import io
import logging
import re
import warnings
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convcli.banks.bank import AnyArray, Array, KernelBank, by, check_taps
from convcli.banks.formats.arrays import bank_of_array
from convcli.banks.formats.exported import Exported
from convcli.errors import KernelError

if TYPE_CHECKING:
    from PIL import Image

#: Kernels of one TIFF.
_MOST_PAGES = 4096
#: Key of the PNG text that says how samples become taps: "scale offset".
_TAPS_KEY = "convcli-taps"


def read(path: Path, layout: str | None) -> KernelBank:
    """Read grey samples as taps; pages of a TIFF are kernels."""
    if layout is not None:
        message = f"{path}: layout={layout} is for arrays, not for pictures"
        raise KernelError(message, hint=f"leave layout={layout} out")
    with path.open("rb") as file:
        is_tiff = file.read(2) in (b"II", b"MM")
    # tifffile reads floats of 64 bits, which Pillow does not.
    planes, notes = _tiff(path) if is_tiff else _pillow(path)
    return bank_of_array(planes, name=path.stem, layout="ohw", notes=tuple(notes))


def _pillow(path: Path) -> tuple[AnyArray, list[str]]:
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path) as image:
                check_taps(image.width * image.height, f"the picture {path.name}")
                maxval = _refuse_deep_colour(image, path)
                samples, notes = _grey(image, path)
                if maxval:  # Pillow stretches samples to the whole range of its type
                    samples = np.rint(samples * maxval / (255 if maxval < 256 else 65535))
                text = str(image.info.get(_TAPS_KEY, ""))
                frames = getattr(image, "n_frames", 1)
    except (OSError, UnidentifiedImageError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise KernelError(f"cannot read the picture {path}: {error}", path=str(path)) from None
    if frames > 1:
        notes.append(f"the first of {frames} frames is the kernel")
    scale, offset = _scale_offset(text)
    if text:
        notes.append(f"samples times {scale:.6g} plus {offset:.6g} are the taps, as the file says")
        return samples[None] * scale + offset, notes
    notes.append(f"{_sum_note(samples)}; normalize=sum makes a blur of them")
    return samples[None], notes


def _refuse_deep_colour(image: Image.Image, path: Path) -> int:
    """Refuse colours of 16 bits, of which Pillow keeps 8; return the maxval of a PGM that it would stretch, or 0."""
    with path.open("rb") as file:
        head = file.read(4096)
    deep = False
    if image.format == "PNG":
        deep = head[24] == 16 and head[25] in (2, 4, 6)  # bit depth and colour type
    elif image.format == "TIFF":
        bits = image.tag_v2.get(258, (1,))  # type: ignore[attr-defined]
        deep = len(bits) > 1 and max(bits) > 8
    elif image.format == "PPM" and head[:2] in (b"P2", b"P3", b"P5", b"P6"):
        sizes = re.findall(rb"\d+", re.sub(rb"#[^\n]*", b"", head[2:]))[:3]
        maxval = int(sizes[2]) if len(sizes) == 3 else 255
        deep = head[:2] in (b"P3", b"P6") and maxval > 255
        if not deep and maxval not in (255, 65535):
            return maxval
    if deep:
        message = f"{path} holds several channels of 16 bits; a kernel's picture is grey"
        raise KernelError(message, hint="save one channel as grey")
    return 0


def _scale_offset(text: str) -> tuple[float, float]:
    try:
        scale, offset = (float(part) for part in text.split())
    except ValueError:
        return 1.0, 0.0
    return scale, offset


def _grey(image: Image.Image, path: Path) -> tuple[Array, list[str]]:
    """Return samples of one channel; refuse colours."""
    mode, notes = image.mode, []
    if mode == "1":
        image = image.convert("L")
    elif mode in ("P", "PA"):
        image = image.convert("RGB")
        notes.append("the palette is expanded")
    samples = np.asarray(image, dtype=np.float64)
    if samples.ndim == 3:
        colours = samples[..., :3] if samples.shape[-1] >= 3 else samples[..., :1]
        # CMYK is refused even where three inks are equal: the fourth is black.
        if np.ptp(colours, axis=2).max() > 0 or mode == "CMYK":
            raise _coloured(path, mode)
        if samples.shape[-1] in (2, 4):
            notes.append("the alpha channel is left out")
        samples = colours[..., 0]
    return samples, notes


def _coloured(path: Path, what: object) -> KernelError:
    hint = "save one channel as a grey picture"
    return KernelError(f"{path} is coloured ({what}); a kernel's picture is grey", hint=hint)


def _tiff(path: Path) -> tuple[AnyArray, list[str]]:
    import tifffile

    log = logging.getLogger("tifffile")  # it logs its errors to standard error, and then raises them
    was, log.disabled = log.disabled, True
    try:
        with tifffile.TiffFile(path) as file:
            pages = list(islice(file.pages, _MOST_PAGES + 1))  # a damaged file may chain its pages in a circle
            shapes = [page.shape for page in pages]
            if len(pages) > _MOST_PAGES:
                raise KernelError(f"{path} has more than {_MOST_PAGES} pages", hint="split it", path=str(path))
            if any(len(shape) != 2 for shape in shapes) or len(set(shapes)) != 1:
                return _tiff_of_channels(pages, path)
            check_taps(len(shapes) * shapes[0][0] * shapes[0][1], f"the picture {path.name}")
            planes = np.stack([page.asarray() for page in pages])
    except KernelError:
        raise
    except Exception:  # noqa: BLE001 - tifffile raises many kinds for broken files; Pillow then gives the reason
        return _pillow(path)
    finally:
        log.disabled = was
    return planes, [] if planes.dtype.kind == "f" else [_sum_note(planes)]


def _tiff_of_channels(pages: Any, path: Path) -> tuple[AnyArray, list[str]]:
    """Read one page of equal channels at full depth; anything else is Pillow's to read or refuse."""
    page = pages[0]
    if len(pages) != 1 or len(page.shape) != 3 or page.shape[-1] not in (3, 4) or page.dtype.itemsize == 1:
        return _pillow(path)
    check_taps(int(np.prod(page.shape, dtype=object)), f"the picture {path.name}")
    samples = page.asarray()
    if (samples[..., :3] != samples[..., :1]).any():
        raise _coloured(path, page.dtype)
    planes = samples[None, ..., 0]
    return planes, [_sum_note(planes)]


def _sum_note(samples: AnyArray) -> str:
    return f"taps are the samples, which sum to {float(samples.sum()):,.6g}"


def write_png(bank: KernelBank, rounding: bool) -> Exported:
    """Write one kernel as a 16-bit grey PNG: exact for whole taps of 0 to 65535, else rounded where allowed."""
    from PIL import Image, PngImagePlugin

    if bank.weight.ndim != 4 or bank.shape[:2] != (1, 1) or bank.bias is not None:
        shape = by(bank.shape) + (" and a bias" if bank.bias else "")
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
        text.add_text(_TAPS_KEY, f"{scale!r} {offset!r}")
        notes += (f"taps are sample * {scale:.6g} + {offset:.6g}; convcli reads that from the file",)
    buffer = io.BytesIO()
    Image.fromarray(samples).save(buffer, "PNG", pnginfo=text)
    return Exported(buffer.getvalue(), notes)


def write_tiff(bank: KernelBank, _rounding: bool) -> Exported:
    """Write the kernels as pages of a float64 TIFF."""
    import tifffile

    if bank.weight.ndim != 4 or bank.in_channels > 1 or bank.bias is not None:
        message = f"'{bank.name}' has several planes or a bias, which TIFF pages do not hold"
        raise KernelError(message, hint="--format npz")
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer) as file:
        for matrix in bank.weight[:, 0]:
            # Each a page of its own: tifffile would join equal ones to a series.
            file.write(np.ascontiguousarray(matrix), contiguous=False, metadata=None)
    return Exported(buffer.getvalue())
