"""Which files of a folder are images: by suffix where that is enough, else by their first bytes.

The rows of :mod:`convcli.images.formats` have the formats that are written too; here are the others that Pillow reads.
Pillow is not imported: a folder of photographs with some notes in it must not wait for thirty plugins.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from convcli.images import formats

#: Words under which a search counts what it passes over.
NO_SUFFIX, HIDDEN, SPECIAL = "without suffix", "hidden file", "special file"
TAR, TAR_ADVICE = ".tar", "jobs read tars: convcli job plan, or --cluster local:8"
_JPEG, _JP2, _AVIF = (formats.BY_NAME[name].magic for name in ("jpeg", "jp2", "avif"))
#: Suffixes and first bytes; ``?`` stands for any byte, and formats without first bytes of their own go by suffix.
_OTHERS: tuple[tuple[tuple[str, ...], tuple[bytes, ...]], ...] = (
    ((".mpo",), _JPEG),
    ((".j2k", ".j2c", ".jpc", ".jpf"), _JP2),
    ((".avifs",), _AVIF),
    ((".ico",), (b"\0\0\1\0",)),
    ((".cur",), (b"\0\0\2\0",)),
    ((".icns",), (b"icns",)),
    ((".dds",), (b"DDS ",)),
    ((".psd",), (b"8BPS",)),
    ((".qoi",), (b"qoif",)),
    ((".fits", ".fit"), (b"SIMPLE  =",)),
    ((".xpm",), (b"/* XPM */",)),
    ((".ras",), (b"\x59\xa6\x6a\x95",)),
    ((".blp",), (b"BLP1", b"BLP2")),
    ((".ftc", ".ftu"), (b"FTEX",)),
    ((".dcx",), (b"\xb1\x68\xde\x3a",)),
    ((".pxr",), (b"\x80\xe8\0\0",)),
    ((".msp",), (b"DanM", b"LinS")),
    ((".gbr",), (b"\0\0\0?\0\0\0\1", b"\0\0\0?\0\0\0\2")),
    ((".fli", ".flc"), (b"????\x11\xaf", b"????\x12\xaf")),
    ((".sgi", ".rgb", ".rgba", ".bw"), (b"\x01\xda",)),
    ((".pcx",), (b"\n\0", b"\n\2", b"\n\3", b"\n\5")),
    ((".xbm",), (b"#define", b"\n#define", b"/*")),
    ((".icb", ".vda", ".vst", ".im", ".pcd"), ()),
)
_BY_SUFFIX = {suffix: magics for suffixes, magics in _OTHERS for suffix in suffixes}
#: First bytes that no other file has by chance: they are enough where there is no suffix.
_CERTAIN = tuple(magic for _, magics in _OTHERS for magic in magics if len(magic.replace(b"?", b"")) >= 4)
_HEAD_BYTES = 32


def passed_over(path: Path) -> str:
    """Return the kind under which a search counts a file that it does not take, empty for an image.

    Examples
    --------
    >>> passed_over(Path("a.png")), passed_over(Path("Makefile")), passed_over(Path("a.sh"))
    ('', 'without suffix', '.sh')
    """
    suffix = path.suffix.lower()
    row = formats.BY_SUFFIX.get(suffix)
    if row is not None and not row.raw:
        return "" if _is_read(row) else suffix
    if not suffix:
        head = _head(path)
        found = formats.sniff(head)
        return "" if (found is not None and _is_read(found)) or formats.begins(head, _CERTAIN) else NO_SUFFIX
    magics = _BY_SUFFIX.get(suffix)
    # Suffixes of rare formats mean other things too: a .fit may be of a watch.
    is_image = magics is not None and (not magics or formats.begins(_head(path), magics))
    return "" if is_image else suffix


def _is_read(row: formats.Format) -> bool:
    """Return whether the package that reads a format is installed."""
    return not row.extra or _is_installed(row.plugin[0])


@lru_cache
def _is_installed(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is not None


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except (OSError, ValueError):
        return b""


def extra_for(suffix: str) -> str:
    """Return the extra of the package that reads files of a suffix, or an empty string."""
    row = formats.BY_SUFFIX.get(suffix)
    return row.extra if row is not None else ""
