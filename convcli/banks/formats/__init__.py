"""Kernel files: a row for each format, and one module that reads and writes it.

Files are recognised by their content; the suffix only breaks ties. Readers return a
:class:`~convcli.banks.bank.KernelBank` and never run anything that a file contains: no pickle, no tags, no external
data. A header's claims are compared with the bytes of the file before memory is taken. Writers write correlation taps
in the fewest digits that read back to the same float64, and refuse to lose anything unless rounding is allowed.

To add a format, add its module and its row; a text format also needs its mark in :mod:`convcli.banks.formats.text`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from convcli.errors import UNOPENED, ConvcliError, KernelError, near_names, unpack_hint
from convcli.process.system import import_optional

if TYPE_CHECKING:
    from convcli.banks.bank import KernelBank
    from convcli.banks.formats.exported import Exported


class Format(NamedTuple):
    """One format.

    ``module`` is the file here with ``write_NAME(bank, rounding)`` and, for binary formats, ``read(path, layout)``
    or, for named arrays, ``open_archive(path)``. ``suffixes`` mean this format for ``-o``. ``sniff`` tells a binary
    format by its first bytes; None: text, or only written. ``by_name`` finds files in a kernel folder without their
    suffix. ``made_by`` is code that writes such a file, for hints.
    """

    name: str
    module: str
    suffixes: tuple[str, ...] = ()
    sniff: Callable[[bytes, Path], bool] | None = None
    by_name: bool = False
    made_by: str = ""


#: PNG, JPEG, GIF, BMP, TIFF of either byte order, PGM, PPM and PFM; WebP is a RIFF file.
_IMAGE_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"P5", b"P2", b"P6", b"Pf", b"PF")
_ZIP = b"PK\x03\x04"


def _is_npz(head: bytes, path: Path) -> bool:
    return head.startswith(_ZIP) and not _is_torch_archive(path)


def _is_image(head: bytes, _path: Path) -> bool:
    return head.startswith(_IMAGE_MAGIC) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")


def _is_safetensors(head: bytes, _path: Path) -> bool:
    return len(head) > 8 and head[8:9] == b"{" and head[5:8] == b"\0\0\0"  # blanks before JSON are no length


def _is_torch(head: bytes, path: Path) -> bool:
    # The opcode PROTO of pickle and its protocols 2 to 5: torch.save before 1.6 wrote no archive.
    pickled = head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")
    return pickled or (head.startswith(_ZIP) and _is_torch_archive(path))


def _is_onnx(head: bytes, path: Path) -> bool:
    # 0x08 begins field 1 of a ModelProto, ir_version; other protobuf messages may too.
    return path.suffix.lower() == ".onnx" or (b"\0" in head and head[:1] == b"\x08")


def _is_torch_archive(path: Path) -> bool:
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except Exception as error:  # noqa: BLE001 - names, versions and headers that are damaged raise many kinds
        raise KernelError(f"{path} is a broken archive: {error}", path=str(path)) from None
    if any(name.endswith(("/data.pkl", "/constants.pkl")) or name == "data.pkl" for name in names):
        return True
    # Exported programs are torch's too, though not read: that reader says so.
    if any("serialized_exported_program" in name or "/models/" in name for name in names):
        return True
    if any(name.endswith(".npy") for name in names):
        return False
    hint = "np.savez or torch.save make one; a .keras file holds HDF5"
    raise KernelError(f"{path} is an archive without arrays", hint=hint, path=str(path))


#: Formats that hold named arrays, see :mod:`convcli.banks.formats.entries`.
ARCHIVES = ("npz", "safetensors", "shards", "torch", "onnx", "mat")
#: Sniffed in this order; suffixes of a name in a folder are tried in this order too.
FORMATS = (
    Format("toml", "structured", (".toml",), by_name=True),
    Format("json", "structured", (".json",), by_name=True),
    Format("yaml", "structured", (".yaml", ".yml"), by_name=True),
    Format("npy", "numpy_file", (".npy",), lambda head, _: head.startswith(b"\x93NUMPY"), True, "np.save('k.npy', k)"),
    Format("npz", "numpy_file", (".npz",), _is_npz, True, "np.savez('k.npz', k=k)"),
    Format("image", "picture", (), _is_image),
    Format("safetensors", "safetensors_file", (".safetensors",), _is_safetensors, True, "save_file(tensors, FILE)"),
    Format("shards", "safetensors_file", (), lambda _, path: path.name.lower().endswith(".index.json")),
    Format("torch", "torch_file", (".pt", ".pth"), _is_torch, made_by="torch.save(model.state_dict(), 'k.pt')"),
    Format("onnx", "onnx_file", (".onnx",), _is_onnx, made_by="torch.onnx.export(model, x, 'k.onnx')"),
    Format("mat", "matlab_file", (), lambda head, _: head.startswith(b"MATLAB 5.0"), made_by="save k.mat k -v7"),
    Format("csv", "rows", (".csv",), by_name=True),
    Format("tsv", "rows", (".tsv",)),
    Format("text", "rows", (".txt",), by_name=True),
    Format("libvips", "libvips", (".mat",), by_name=True),
    Format("imagemagick", "imagemagick"),
    Format("gmic", "gmic"),
    Format("ffmpeg", "ffmpeg"),
    Format("matlab", "matlab", (".m",)),
    Format("png", "picture", (".png",)),
    Format("tiff", "picture", (".tif", ".tiff")),
    Format("numpy", "source", (".py",)),
    Format("c", "source", (".c", ".h")),
    Format("glsl", "source", (".glsl", ".frag")),
)
#: Formats that can be written. Pictures of every kind are read as "image".
WRITTEN = tuple(row.name for row in FORMATS if row.name not in ("image", "mat", "shards"))
#: Suffix → format, for ``-o FILE`` without ``--format``.
SUFFIXES = {suffix: row.name for row in FORMATS for suffix in row.suffixes}
#: Suffixes tried for a name in a kernel folder, in this order.
FOLDER_SUFFIXES = tuple(suffix for row in FORMATS if row.by_name for suffix in row.suffixes)
_READ = (
    "toml json yaml csv txt npy npz pt safetensors onnx, mat of MATLAB, Octave or libvips, images, text of ImageMagick,"
    " G'MIC, FFmpeg, MATLAB, NumPy, C, SVG, GDAL, GRASS, SExtractor"
)
#: Characters of an error.
_LONGEST_MESSAGE = 400
_BY_NAME = {row.name: row for row in FORMATS}


def module_of(name: str) -> Any:
    """Return the module that writes a format, and reads it if it is binary."""
    return import_module(f"{__name__}.{_BY_NAME[name].module}")


def library(name: str, message: str, hint: str = "pip install 'convcli[formats]'") -> Any:
    """Import an optional library, or raise a :class:`~convcli.errors.KernelError` that tells how to install it."""
    return import_optional(name, KernelError, message, hint=hint)


def sniff(path: Path) -> str:
    """Tell a kernel file's format by its first bytes; the suffix only breaks ties.

    Raises
    ------
    KernelError
        Missing, not a file, empty, or a binary format that cannot be read, with a format to save instead.
    """
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise KernelError(f"{path} is a folder, not a kernel file", hint="name a file in it", path=str(path))
        with path.open("rb") as file:
            head = file.read(4096)
    except OSError as error:
        message = f"cannot read {path}: {error.strerror or error}"
        raise KernelError(message, hint=UNOPENED, path=str(path)) from None
    if size == 0 or not head.strip(b" \t\r\n\f\v\xff\xfe\xef\xbb\xbf"):
        raise KernelError(f"{path} is empty", hint="write rows of numbers into it, such as 1 0 -1", path=str(path))
    if head.startswith((b"\x89HDF", b"MATLAB 7.3")):
        hint = "in MATLAB: save k.mat k -v7; in Keras: np.savez('k.npz', **{w.path: w.numpy() for w in model.weights})"
        raise KernelError(f"{path} is an HDF5 file (MATLAB -v7.3, Keras), which is not read", hint=hint, path=str(path))
    if hint := unpack_hint(str(path), head):
        raise KernelError(f"{path} is compressed as a whole, which is not read", hint=hint, path=str(path))
    if encoding_of(head) != "utf-8":
        return "text"
    found = next((row.name for row in FORMATS if row.sniff is not None and row.sniff(head, path)), "text")
    if found == "text" and b"\0" in head:
        raise KernelError(f"{path} is not text and of no format that is read", hint=_READ, path=str(path))
    return found


def encoding_of(head: bytes) -> str:
    """Return the encoding of a text by its byte-order mark, or by the zeros that ASCII leaves in UTF-16."""
    if head.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "utf-32"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    even, odd = head[::2], head[1::2]
    if len(head) >= 6 and b"\0" in head:
        if not odd.strip(b"\0") and b"\0" not in even:
            return "utf-16-le"
        if not even.strip(b"\0") and b"\0" not in odd:
            return "utf-16-be"
    return "utf-8"


@contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Name the file in every error, say what to do, and make a :class:`KernelError` of what a reader raises."""
    try:
        yield
    except KernelError as error:
        if len(error.message) > _LONGEST_MESSAGE:  # it cites a word of the file
            error.message = f"{error.message[: _LONGEST_MESSAGE - 2]} …"
        raise (error if str(path) in str(error) else error.within(str(path))).hinted(_way_to_write(path)) from None
    except ConvcliError:  # a package that does not load is not the file's fault
        raise
    except Exception as error:  # noqa: BLE001 - readers of untrusted bytes raise errors of every kind
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        fault = KernelError(f"{path} is broken and cannot be read: {reason}", path=str(path))
        raise fault.hinted(_way_to_write(path)) from None


def _way_to_write(path: Path) -> str:
    with suppress(KernelError):
        if made_by := _BY_NAME[sniff(path)].made_by:
            return f"copy or download the file again, or write a new one: {made_by}"
    return "copy or download the file again"


def read_bank(path: Path, *, entry: str = "", layout: str | None = None, with_bias: bool | None = None) -> KernelBank:
    """Read a kernel file of any format.

    Parameters
    ----------
    path : Path
        The file.
    entry : str
        Array of an archive or checkpoint, or kernel of a bank; empty for all or the only one. A second ``#`` selects
        kernels of an array: ``conv1.weight#0``.
    layout : str, optional
        Order of an array's axes if it is not the usual one, in the letters o i d h w.
    with_bias : bool, optional
        Take or leave the bias that belongs to a checkpoint's weight; as the entry's name asks if absent.

    Raises
    ------
    KernelError
        With the line, entry or sizes that do not fit.
    """
    from convcli.banks.load import selected

    with guarded(path):
        kind = sniff(path)
        if kind in ARCHIVES:
            bank = _read_entry(kind, path, entry, layout, with_bias)
        else:
            module = import_module(f"{__name__}.text") if kind == "text" else module_of(kind)
            bank = selected(module.read(path, layout), entry)
    if kind in ("npy", "npz") and path.suffix.lower() not in _BY_NAME[kind].suffixes:
        bank = bank.noted(f"{path.name} is read as {kind}, which is what it holds")
    return bank


def _read_entry(kind: str, path: Path, entry: str, layout: str | None, with_bias: bool | None) -> KernelBank:
    """Read an entry, or some kernels of one: ``conv1.weight#0`` is the first of that entry's."""
    from convcli.banks.load import selected

    module = module_of(kind) if kind == "mat" else import_module(f"{__name__}.arrays")
    read: Callable[..., KernelBank] = module.read_entry
    try:
        return read(path, entry, layout, with_bias)
    except KernelError as error:
        whole, hash_, kernel = entry.rpartition("#")
        if not hash_ or error.facts.get("entry") != entry:  # the entry exists: another error
            raise
    return selected(read(path, whole, layout, with_bias), kernel)


def export_bank(bank: KernelBank, format: str, *, rounding: bool = False, turn: bool = False) -> Exported:
    r"""Write a bank in a format.

    Parameters
    ----------
    bank : KernelBank
        The kernels.
    format : str
        One of :data:`WRITTEN`.
    rounding : bool
        Allow losses; the notes then tell their size.
    turn : bool
        Turn the taps by 180° first, for a program that convolves.

    Raises
    ------
    KernelError
        The format is unknown or cannot hold the bank.

    Examples
    --------
    >>> from convcli import load_bank
    >>> export_bank(load_bank("roberts"), "gmic").data
    b'(1,0;0,-1) (0,1;-1,0)\n'
    """
    if format not in WRITTEN:
        near = near_names(format, WRITTEN)
        raise KernelError(f"no format '{format}'", hint=near or f"formats are {', '.join(WRITTEN)}", format=format)
    if turn:
        from dataclasses import replace

        bank = replace(bank, weight=bank.weight[..., ::-1, ::-1])
        if any(size % 2 == 0 for size in bank.kernel_hw):
            bank = bank.noted("an even kernel turned by 180° lies one sample off: programs anchor it differently")
    exported: Exported = getattr(module_of(format), f"write_{format}")(bank, rounding)
    return exported
