"""Orientation in an EXIF block, read and reset without Pillow's 60-kilobyte table of tags."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

_ORIENTATION = 0x0112
_SHORT = 3


def split_exif(block: bytes | None) -> bytes | None:
    """Return an EXIF block from its TIFF header on, or None if it has none."""
    if not block:
        return None
    block = block.removeprefix(b"Exif\0\0")
    return block if block[:4] in (b"II*\0", b"MM\0*") else None


def find_orientation(exif: bytes | None) -> int:
    """Return orientation 1..8 of an EXIF block; 1 where it is absent or nonsense.

    Examples
    --------
    >>> find_orientation(None)
    1
    """
    position = _orientation_at(exif) if exif else None
    if not exif or position is None:
        return 1
    (value,) = struct.unpack_from(_order(exif) + "H", exif, position)
    return value if 1 <= value <= 8 else 1


def reset_orientation(exif: bytes | None) -> bytes | None:
    """Return the block with orientation 1, for pixels that were turned upright."""
    position = _orientation_at(exif) if exif else None
    if not exif or position is None:
        return exif
    return exif[:position] + struct.pack(_order(exif) + "H", 1) + exif[position + 2 :]


def turn_upright(image: Image.Image, orientation: int) -> Image.Image:
    """Return the image turned as EXIF orientation 1..8 says (2 and 5 mirror, 6 turns clockwise, ...)."""
    from PIL.Image import Transpose

    turns = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image.transpose(turns[orientation]) if orientation in turns else image


def _order(exif: bytes) -> str:
    return "<" if exif[:2] == b"II" else ">"


def _orientation_at(exif: bytes) -> int | None:
    """Return the offset of the value of the orientation tag in the first directory."""
    order = _order(exif)
    try:
        (directory,) = struct.unpack_from(order + "I", exif, 4)
        (n_entries,) = struct.unpack_from(order + "H", exif, directory)
        for entry in range(directory + 2, directory + 2 + 12 * n_entries, 12):
            tag, kind, count = struct.unpack_from(order + "HHI", exif, entry)
            if tag == _ORIENTATION:
                return entry + 8 if kind == _SHORT and count == 1 and entry + 10 <= len(exif) else None
    except struct.error:
        return None
    return None


def upright_view(samples: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return samples (H, W, P) turned as EXIF orientation 1..8 says: a view, nothing is copied.

    Examples
    --------
    >>> import numpy as np
    >>> upright_view(np.array([[1, 2], [3, 4]])[:, :, None], 6)[:, :, 0].tolist()  # clockwise
    [[3, 1], [4, 2]]
    """
    if orientation >= 5:
        samples = samples.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    return samples
