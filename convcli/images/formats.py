"""Picture formats, a row each: name, suffixes, first bytes, and what a file of it can hold.

Inputs, outputs, notes, limits, folder search, completion and the README's table read these rows; nothing else knows a
suffix. Standard library only.
"""

from __future__ import annotations

from typing import NamedTuple


class Format(NamedTuple):
    """A picture format: how it is recognised, and what it can hold.

    Attributes
    ----------
    name : str
        The word of ``--format``.
    suffixes : tuple of str
        Lower case, with the dot; files are written with the first.
    magic : tuple of bytes
        First bytes of a file. A ``?`` stands for any byte.
    planes : tuple of int
        Numbers of planes that can be written; empty: read only.
    depths : tuple of str
        Bits a stored sample that can be written; the first is the default.
    keeps : frozenset of str
        Metadata that a written file keeps: ``icc``, ``dpi``, ``exif``, ``stamp``.
    animated : bool
        Whether several frames or pages can be written.
    windows : bool
        Whether a large file can be read in parts.
    raw : bool
        Whether it holds arrays instead of pictures.
    most_px : int
        Largest side that can be written, in pixels.
    options : frozenset of str
        Options of writing that it takes: ``compress``, ``quality``, ``subsampling``.
    note : str
        What is lost when a picture is stored, in one line.
    """

    name: str
    suffixes: tuple[str, ...]
    magic: tuple[bytes, ...] = ()
    planes: tuple[int, ...] = ()
    depths: tuple[str, ...] = ("8",)
    keeps: frozenset[str] = frozenset()
    options: frozenset[str] = frozenset()
    animated: bool = False
    windows: bool = False
    raw: bool = False
    most_px: int = 2**31 - 1
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
_COMPRESS, _QUALITY = frozenset({"compress"}), frozenset({"compress", "quality"})
_EVERY_OPTION = frozenset({"compress", "quality", "subsampling"})
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PPM_MAGIC = tuple(b"P%d%b" % (digit, blank) for digit in range(1, 7) for blank in (b" ", b"\t", b"\r", b"\n", b"#"))
_PFM_MAGIC = tuple(b"P%b%b" % (letter, blank) for letter in (b"F", b"f") for blank in (b" ", b"\t", b"\r", b"\n"))

FORMATS = (
    Format(
        "png", (".png", ".apng"), (b"\x89PNG\r\n\x1a\n",), _ANY_PLANES, ("8", "16", "1"), _ALL, _COMPRESS,
        animated=True,
    ),
    Format(
        "jpeg", (".jpg", ".jpeg", ".jpe", ".jfif"), (b"\xff\xd8\xff",), (1, 3), keeps=_ALL,
        options=_EVERY_OPTION, most_px=65500,
    ),
    Format(
        "tiff", (".tif", ".tiff"), _TIFF_MAGIC, _ANY_PLANES, ("8", "16", "float"), frozenset({"icc", "dpi", "stamp"}),
        _COMPRESS, animated=True, windows=True,
    ),
    Format(
        "webp", (".webp",), (b"RIFF????WEBP",), _ANY_PLANES, keeps=frozenset({"icc", "exif", "stamp"}), animated=True,
        options=_QUALITY, most_px=16383,
    ),
    Format("bmp", (".bmp", ".dib"), (b"BM",), (1, 3), keeps=frozenset({"dpi"})),
    Format(
        "ppm", (".ppm", ".pgm", ".pbm", ".pnm"), _PPM_MAGIC, (1, 3), ("8", "16"), frozenset({"stamp"}), windows=True,
    ),
    Format("pfm", (".pfm",), _PFM_MAGIC, (1, 3), ("float",), windows=True),
    Format(
        "gif", (".gif",), (b"GIF87a", b"GIF89a"), (1, 3), keeps=frozenset({"stamp"}), animated=True, most_px=65535,
        note="GIF holds 256 colours: colour is quantised",
    ),
    Format("npy", (".npy",), depths=("float",), raw=True),
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
    (('png', 'tiff', 'ppm'), ('png', 'tiff', 'webp', 'gif'))
    """
    fields = ((row, getattr(row, what)) for row in FORMATS if row.planes)
    return tuple(row.name for row, field in fields if field is value or (isinstance(field, tuple) and value in field))


def sniff(head: bytes) -> Format | None:
    """Return the format of a file that begins with ``head`` (16 bytes are enough), or None.

    Examples
    --------
    >>> sniff(b"BM....").name, sniff(b"P5 2 2 255 ").name, sniff(b"hello")
    ('bmp', 'ppm', None)
    """
    for row in FORMATS:
        for magic in row.magic:
            if all(want in (have, 63) for want, have in zip(magic, head, strict=False)) and len(head) >= len(magic):
                return row
    return None
