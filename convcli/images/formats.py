"""Picture formats, a row each: name, suffixes, first bytes, and the planes, depths and metadata that a file holds.

Inputs, outputs, notes, limits, folder search, completion and the README's table read these rows; nothing else knows a
suffix. Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from convcli.errors import OutputError
from convcli.images.info import NO_METADATA, Metadata


class Format(NamedTuple):
    """A picture format: its names, its first bytes, and the samples and metadata that it holds."""

    #: The word of ``--format``.
    name: str
    #: Lower case, with the dot; files are written with the first.
    suffixes: tuple[str, ...]
    #: First bytes of a file. A ``?`` stands for any byte.
    magic: tuple[bytes, ...] = ()
    #: Pillow's module and image class; empty where Pillow is not used or chooses by itself.
    plugin: tuple[str, ...] = ()
    #: Numbers of planes that can be written; empty: read only.
    planes: tuple[int, ...] = ()
    #: Bits a stored sample that can be written; the first is the default.
    depths: tuple[str, ...] = ("8",)
    #: Metadata that a written file keeps: ``icc``, ``dpi``, ``exif``, ``stamp``.
    keeps: frozenset[str] = frozenset()
    #: Options of writing that it takes: ``compress``, ``quality``, ``subsampling``, ``tile``; those for raw maps.
    options: frozenset[str] = frozenset()
    raw_options: frozenset[str] = frozenset()
    #: Numbers of planes that can be written with 16 bits; empty: the same as ``planes``.
    deep_planes: tuple[int, ...] = ()
    #: Quality where none is asked for; None: lossless until it is asked for.
    quality: int | None = None
    #: Whether several frames or pages can be written.
    animated: bool = False
    #: Unit of a frame's time and the longest one, in milliseconds; 0: frames have no times.
    time_unit_ms: int = 0
    most_ms: int = 0
    #: Most plays of an animation that can be written, beside for ever.
    most_plays: int = 0
    #: Whether a large file can be read in parts.
    windows: bool = False
    #: Whether alpha is stored with one bit.
    alpha_is_bit: bool = False
    #: Whether it holds arrays instead of pictures.
    raw: bool = False
    #: Whether it is a folder of files, which is written and read by tiles.
    folder: bool = False
    #: The extra that reads it: then ``plugin`` names a module of another package than Pillow.
    extra: str = ""
    #: Largest side that can be written, in pixels.
    most_px: int = 2**31 - 1
    #: Longest EXIF block, and highest resolution, that can be written.
    most_exif_bytes: int = 2**31
    most_dpi: float = 1e6
    #: Whether resolutions are whole numbers.
    has_whole_dpi: bool = False
    #: Loss of every picture that is stored in it, in one line.
    note: str = ""

    @property
    def is_written(self) -> bool:
        """Whether pictures or arrays can be written in it."""
        return self.raw or bool(self.planes)

    @property
    def is_deep(self) -> bool:
        """Whether it stores 16 bits a sample."""
        return "16" in self.depths

    @property
    def holds_alpha(self) -> bool:
        """Whether it stores an alpha plane."""
        return 4 in self.planes


_ALL = frozenset({"icc", "dpi", "exif", "stamp"})
_ANY_PLANES = (1, 2, 3, 4)
_HEIF_MAGIC = tuple(b"????ftyp" + brand for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"))
_COMPRESS, _QUALITY = frozenset({"compress"}), frozenset({"compress", "quality"})
_TILE = frozenset({"tile"})
_EVERY_OPTION = frozenset({"compress", "quality", "subsampling"})
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PPM_MAGIC = tuple(b"P%d%b" % (digit, blank) for digit in range(1, 7) for blank in (b" ", b"\t", b"\r", b"\n", b"#"))
_PFM_MAGIC = tuple(b"P%b%b" % (letter, blank) for letter in (b"F", b"f") for blank in (b" ", b"\t", b"\r", b"\n"))

FORMATS = (
    Format(
        "png", (".png", ".apng"), (b"\x89PNG\r\n\x1a\n",), ("PngImagePlugin", "PngImageFile"), _ANY_PLANES,
        ("8", "16", "1"), _ALL, _COMPRESS, animated=True, time_unit_ms=1, most_ms=2**16 - 1, most_plays=2**31 - 1,
    ),
    Format(
        "jpeg", (".jpg", ".jpeg", ".jpe", ".jfif"), (b"\xff\xd8\xff",), ("JpegImagePlugin", "JpegImageFile"), (1, 3),
        keeps=_ALL, options=_EVERY_OPTION, quality=92, most_px=65500, most_exif_bytes=65527, most_dpi=65535,
        has_whole_dpi=True,
    ),
    Format(
        "tiff", (".tif", ".tiff"), _TIFF_MAGIC, (), _ANY_PLANES, ("8", "16", "1", "float"),
        frozenset({"icc", "dpi", "stamp"}), _COMPRESS | _TILE, _TILE, animated=True, windows=True,
    ),
    Format(
        "webp", (".webp",), (b"RIFF????WEBP",), ("WebPImagePlugin", "WebPImageFile"), _ANY_PLANES,
        keeps=frozenset({"icc", "exif", "stamp"}), options=_QUALITY, animated=True, most_px=16383, time_unit_ms=1,
        most_ms=2**24 - 1, most_plays=2**16 - 1,
    ),
    Format(
        "avif", (".avif",), (b"????ftypavif", b"????ftypavis"), ("AvifImagePlugin", "AvifImageFile"), _ANY_PLANES,
        keeps=frozenset({"icc", "exif", "stamp"}), options=_EVERY_OPTION, quality=90, most_px=65536,
        animated=True, time_unit_ms=1, most_ms=2**31 - 1, most_plays=2**31 - 1,
    ),
    Format("heic", (".heic", ".heif"), _HEIF_MAGIC, ("pillow_heif", "HeifImageFile"), extra="heif"),
    Format(
        "jp2", (".jp2", ".jpx"), (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"),
        ("Jpeg2KImagePlugin", "Jpeg2KImageFile"), _ANY_PLANES, ("8", "16"), frozenset({"stamp"}),
        frozenset({"quality"}), deep_planes=(1,),
    ),
    Format("bmp", (".bmp", ".dib"), (b"BM",), ("BmpImagePlugin", "BmpImageFile"), (1, 3), keeps=frozenset({"dpi"})),
    Format("tga", (".tga",), (), ("TgaImagePlugin", ""), (1, 3, 4), options=_COMPRESS, most_px=65535),
    Format(
        "ppm", (".ppm", ".pgm", ".pbm", ".pnm"), _PPM_MAGIC, (), (1, 3), ("8", "16", "1"), frozenset({"stamp"}),
        windows=True,
    ),
    Format("pfm", (".pfm",), _PFM_MAGIC, (), (1, 3), ("float",), windows=True),
    Format(
        "gif", (".gif",), (b"GIF87a", b"GIF89a"), ("GifImagePlugin", "GifImageFile"), _ANY_PLANES,
        keeps=frozenset({"stamp"}), animated=True, most_px=65535, alpha_is_bit=True, time_unit_ms=10,
        most_ms=655_350, most_plays=2**16,
        note="GIF holds 256 colours: colour is quantised",
    ),
    Format("npy", (".npy",), depths=("float",), raw=True),
    Format("zarr", (".zarr",), depths=("float",), keeps=frozenset({"stamp"}), raw=True, windows=True, folder=True),
    Format("npz", (".npz",), depths=("float",), keeps=frozenset({"stamp"}), raw=True),
    Format("safetensors", (".safetensors",), depths=("float",), keeps=frozenset({"stamp"}), raw=True),
)  # fmt: skip

BY_NAME = {row.name: row for row in FORMATS}
BY_SUFFIX = {suffix: row for row in FORMATS for suffix in row.suffixes}
#: Names that ``--format`` takes, and those of them that hold arrays.
WRITTEN = tuple(row.name for row in FORMATS if row.is_written)
RAW = tuple(row.name for row in FORMATS if row.raw)
#: Suffixes of the pictures that a search of a folder takes.
PICTURE_SUFFIXES = tuple(suffix for row in FORMATS if not row.raw for suffix in row.suffixes)


def able(what: str, value: object) -> tuple[str, ...]:
    """Return the names of the picture formats that can be written with ``value`` among their ``what``.

    Examples
    --------
    >>> able("depths", "16"), able("animated", True)
    (('png', 'tiff', 'jp2', 'ppm'), ('png', 'tiff', 'webp', 'avif', 'gif'))
    """
    fields = ((row, getattr(row, what)) for row in FORMATS if row.planes)
    return tuple(
        row.name for row, field in fields if field is value or (isinstance(field, tuple | frozenset) and value in field)
    )


def sniff(head: bytes) -> Format | None:
    """Return the format of a file that begins with ``head`` (16 bytes are enough), or None.

    Examples
    --------
    >>> sniff(b"BM....").name, sniff(b"P5 2 2 255 ").name, sniff(b"hello")
    ('bmp', 'ppm', None)
    """
    return next((row for row in FORMATS if begins(head, row.magic)), None)


def begins(head: bytes, magics: Iterable[bytes]) -> bool:
    """Return whether ``head`` begins with one of ``magics``, in which ``?`` stands for any byte."""
    return any(
        len(head) >= len(magic) and all(want in (have, 63) for want, have in zip(magic, head, strict=False))
        for magic in magics
    )


class Picture(NamedTuple):
    """A picture to be written: its size and samples, its metadata, the settings of its encoder."""

    width_px: int
    height_px: int
    #: Grey, grey + alpha, RGB, RGB + alpha.
    n_planes: int
    #: ``1``, ``8``, ``16`` or ``float``: samples are uint8 (for ``1``: zero or not), uint8, uint16, float32.
    depth: str = "8"
    #: A name of :data:`FORMATS` that can be written.
    picture_format: str = "png"
    #: :mod:`convcli.images.write` tells which of it the format cannot keep.
    metadata: Metadata = NO_METADATA
    #: ``fast``, ``default`` or ``small``.
    compress: str = "fast"
    #: 1 to 100, of formats whose ``options`` have it; None: that of the format, or lossless.
    quality: int | None = None
    #: ``4:4:4``, ``4:2:2`` or ``4:2:0``, of colour in JPEG and AVIF; None: 4:4:4.
    subsampling: str | None = None
    #: Side of the tiles of a TIFF, a multiple of 16; None: strips.
    tile: int | None = None

    def checked(self) -> Picture:
        """Return the picture without metadata that do not fit; raises as :func:`check_picture`."""
        check_picture(self.picture_format, self.n_planes, self.depth, (self.height_px, self.width_px))
        return self._replace(metadata=fitting(self.picture_format, self.metadata, self.n_planes))


def check_picture(picture_format: str, n_planes: int, depth: str, size_hw: tuple[int, int]) -> None:
    """Refuse a picture that its format cannot hold.

    Raises
    ------
    OutputError
        With a hint that names formats that can.
    """
    row = BY_NAME[picture_format]
    if depth not in row.depths:
        raise OutputError(
            f"{picture_format} cannot store depth {depth}", hint=f"--format {' or '.join(able('depths', depth))}"
        )
    if n_planes not in row.planes:
        others = able("planes", n_planes)
        hint = f"--format {' or '.join(others)}" if others else "--format npy, or --layout maps"
        raise OutputError(f"{picture_format} cannot store {n_planes} planes", hint=hint)
    if depth == "1" and n_planes != 1:
        raise OutputError(
            f"{picture_format} stores 1 bit in one plane, not {n_planes}", hint="--channels luma, or --layout maps"
        )
    if depth == "16" and row.deep_planes and n_planes not in row.deep_planes:
        raise OutputError(
            f"{picture_format} cannot store {n_planes} planes of 16 bits", hint="--depth 8, or --format png or tiff"
        )
    if max(size_hw) > row.most_px:
        size = f"{size_hw[0]} x {size_hw[1]} pixels"
        raise OutputError(f"{picture_format} cannot store {size}: at most {row.most_px} a side", hint="--format png")


#: Time of a frame where the input has none.
DURATION_MS = 100


def stored_ms(picture_format: str, duration_ms: float | None) -> int:
    """Return the time of a frame as a format stores it, in milliseconds.

    Examples
    --------
    >>> stored_ms("gif", 33.3), stored_ms("png", 33.3), stored_ms("gif", None), stored_ms("png", 1e6)
    (30, 33, 100, 65535)
    """
    row = BY_NAME[picture_format]
    units = round((duration_ms or DURATION_MS) / row.time_unit_ms)
    return min(max(units, 1) * row.time_unit_ms, row.most_ms)


def fitting(picture_format: str, metadata: Metadata, n_planes: int) -> Metadata:
    """Return the metadata without EXIF and resolution that are too large, and without a profile of another space.

    Decoders reject or misread a grey picture with an RGB profile. ICC.1 §7.2.6: bytes 16 to 19 name the space.

    Examples
    --------
    >>> fitting("png", Metadata(icc=bytes(16) + b"RGB " + bytes(108)), 1).icc is None
    True
    """
    row, (icc, dpi, exif) = BY_NAME[picture_format], metadata[:3]
    others = (b"RGB ", b"CMYK", b"Lab ") if n_planes < 3 else (b"GRAY", b"CMYK", b"Lab ")
    return metadata._replace(
        icc=None if icc and icc[16:20] in others else icc,
        dpi=None if dpi and max(dpi) > row.most_dpi else dpi,
        exif=None if exif and len(exif) > row.most_exif_bytes else exif,
    )
