"""The photo of a page: eight bits a sample, small enough to be part of a file, exact to the last pixel."""

from __future__ import annotations

import base64
import zlib
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Stands in where no photo is named: Chelsea the cat, Stefan van der Walt, CC0 (as in examples/).
DEFAULT = "photo.jpg"


class Photo(NamedTuple):
    """A photo as a page shows it."""

    #: As the user wrote it.
    name: str
    #: One plane or three, (H, W, C), without alpha.
    samples: NDArray[np.uint8]
    #: Rows and columns of the file.
    full_hw: tuple[int, int]
    #: Whether the file has an alpha plane, which is left out here.
    has_alpha: bool = False
    #: Pages or frames in the file, of which this is the first.
    n_frames: int = 1
    #: Whether it is the photo that ships, and no file of the user's has its name.
    is_builtin: bool = False
    #: Conversions and losses of reading.
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return what the page reads; pixels as :func:`pack_pixels` stores them."""
        height, width, n_planes = self.samples.shape
        return {
            "name": self.name,
            "width": width,
            "height": height,
            "planes": ["l"] if n_planes == 1 else ["r", "g", "b"],
            "full": list(self.full_hw),
            "alpha": self.has_alpha,
            "frames": self.n_frames,
            "builtin": self.is_builtin,
            "pixels": pack_pixels(self.samples),
        }


def load_photo(source: Path | bytes | None, *, name: str = DEFAULT, longest_px: int = 400) -> Photo:
    """Read a photo for a page.

    Parameters
    ----------
    source : Path, bytes or None
        A file, its bytes, or None for the photo that ships.
    name : str
        What the page calls it.
    longest_px : int
        Larger photos are scaled down so that neither side is longer; smaller ones stay as they are.

    Returns
    -------
    Photo

    Raises
    ------
    ImageError
        There is no such file, or it is no image.

    Examples
    --------
    >>> photo = load_photo(None, longest_px=60)
    >>> photo.samples.shape, photo.samples.dtype.name, photo.full_hw
    ((40, 60, 3), 'uint8', (240, 360))
    """
    from convcli.images.reading import read

    image = read(resources.files(__package__).joinpath(DEFAULT).read_bytes() if source is None else source)
    info = image.info
    samples = image.samples[..., : info.n_planes - info.has_alpha]
    small = _scale(_to_bytes(samples, info.white), longest_px)
    full_hw = (info.height_px, info.width_px)
    return Photo(name, small, full_hw, info.has_alpha, info.n_frames, source is None, info.notes)


def _to_bytes(samples: NDArray[Any], white: float) -> NDArray[np.uint8]:
    """Map 0..white to 0..255; bytes stay what they are."""
    if samples.dtype == np.uint8 and white == 255:
        return np.ascontiguousarray(samples)
    # A byte has no NaN; infinities become the ends of the scale.
    known = np.nan_to_num(samples.astype(np.float64), nan=0.0, posinf=white, neginf=0.0)
    return np.rint(np.clip(known * (255 / white), 0, 255)).astype(np.uint8)


def _scale(samples: NDArray[np.uint8], longest_px: int) -> NDArray[np.uint8]:
    from PIL import Image

    height, width, n_planes = samples.shape
    factor = longest_px / max(height, width)
    if factor >= 1:
        return samples
    size = max(1, round(width * factor)), max(1, round(height * factor))
    # Pillow takes one plane only without the axis of planes.
    picture = Image.fromarray(samples[..., 0] if n_planes == 1 else samples)
    return np.asarray(picture.resize(size, Image.Resampling.LANCZOS)).reshape(size[1], size[0], n_planes)


def pack_pixels(samples: NDArray[np.uint8]) -> str:
    """Return samples (H, W, C) as text: differences from the left neighbour, zlib, base64.

    A page can undo this without a canvas, whose pixels some browsers change by a little to guard against tracking.

    Examples
    --------
    >>> packed = zlib.decompress(base64.b64decode(pack_pixels(np.uint8([[[7], [9], [4]]]))))
    >>> list(packed)
    [7, 2, 251]
    """
    before = np.zeros_like(samples)
    before[:, 1:] = samples[:, :-1]
    # Neighbours differ little, so differences compress well; uint8 wraps, and the page adds modulo 256.
    return base64.b64encode(zlib.compress((samples - before).tobytes(), 9)).decode("ascii")
