"""What is known about an image: from its header alone (:class:`ImageInfo`), and with its samples (:class:`Image`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convcli.images.planes import PlaneSource

#: Pixels that are read without ``--max-pixels``; 16384 x 16384, which takes 1 GiB as RGB.
DEFAULT_MAX_PIXELS = 2**28


class Metadata(NamedTuple):
    """What travels with the pixels and is not pixels.

    Attributes
    ----------
    icc : bytes or None
        ICC profile.
    dpi : tuple of (float, float) or None
        Horizontal and vertical dots per inch.
    exif : bytes or None
        EXIF block, beginning with its TIFF header (no ``Exif`` prefix).
    stamp : str
        How the file was made, in one or several lines.
    left_out : tuple of str
        What else the file holds and no picture keeps: ``XMP``, ``IPTC``, and the ``EXIF`` of a TIFF.
    """

    icc: bytes | None = None
    dpi: tuple[float, float] | None = None
    exif: bytes | None = None
    stamp: str = ""
    left_out: tuple[str, ...] = ()


NO_METADATA = Metadata()


class ImageInfo(NamedTuple):
    """An image as its header describes it, after orientation and after what reading converts.

    Attributes
    ----------
    format : str
        ``png``, ``jpeg``, ``tiff``, ``webp``, ``bmp``, ``ppm``, ``pfm``, ``gif`` or another name in Pillow's words.
    mode : str
        How the file stores its samples (Pillow's word: ``P``, ``CMYK``, ``RGB;16B``).
    width_px, height_px : int
        Size as it will be read: after EXIF orientation if that is applied.
    plane_names : tuple of str
        ``("r", "g", "b")``, ``("l",)``, either with ``"a"``.
    dtype : str
        ``uint8``, ``uint16``, ``int32``, ``uint32``, ``float32``, ``float64``.
    white : float
        The sample value of white: 255, 65535, a PGM's maxval, 1.0 for float.
    n_frames : int
        Pages or frames in the file.
    orientation : int
        EXIF orientation 1..8 as found in the file.
    metadata : Metadata
    notes : tuple of str
        What reading converts or leaves out, each in one line.
    duration_ms : float or None
        How long this frame of an animation is shown.
    loop : int or None
        How often an animation is played; 0 is for ever.
    """

    format: str
    mode: str
    width_px: int
    height_px: int
    plane_names: tuple[str, ...]
    dtype: str
    white: float
    n_frames: int = 1
    orientation: int = 1
    metadata: Metadata = NO_METADATA
    notes: tuple[str, ...] = ()
    duration_ms: float | None = None
    loop: int | None = None

    @property
    def n_planes(self) -> int:
        """Number of planes, alpha included."""
        return len(self.plane_names)

    @property
    def has_alpha(self) -> bool:
        """Whether the last plane is alpha."""
        return self.plane_names[-1] == "a"

    def as_dict(self) -> dict[str, object]:
        """Return the facts as plain data for ``--json``; profiles as their sizes in bytes."""
        meta = self.metadata
        return {
            "format": self.format,
            "mode": self.mode,
            "height_px": self.height_px,
            "width_px": self.width_px,
            "planes": list(self.plane_names),
            "dtype": self.dtype,
            "white": self.white,
            "n_frames": self.n_frames,
            "orientation": self.orientation,
            "dpi": list(meta.dpi) if meta.dpi else None,
            "icc_bytes": len(meta.icc) if meta.icc else 0,
            "exif_bytes": len(meta.exif) if meta.exif else 0,
            "notes": list(self.notes),
        }


class Image(NamedTuple):
    """An image with its samples.

    Attributes
    ----------
    info : ImageInfo
    samples : ndarray of shape (H, W, P)
        In the file's own type and range; read-only, any strides (where possible a view of the decoder's memory).
    """

    info: ImageInfo
    samples: NDArray[Any]

    @property
    def planes(self) -> NDArray[Any]:
        """The same samples as planes, a view of shape (P, H, W)."""
        return self.samples.transpose(2, 0, 1)


class LargeImage(NamedTuple):
    """An image whose samples stay in the file until a band of rows is asked for.

    Attributes
    ----------
    info : ImageInfo
    planes : PlaneSource
        ``.shape`` (P, H, W), ``.dtype``, ``.rows(top, bottom)``; safe to call from any thread.
    """

    info: ImageInfo
    planes: PlaneSource
