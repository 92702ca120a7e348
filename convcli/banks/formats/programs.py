"""Kernel files of other programs, as text: SVG, GDAL, GRASS, SExtractor, Octave, Matrix Market (NumPy)."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from convcli.banks.bank import check_taps
from convcli.banks.formats.literal import Rows, anchored, in_rows, numbered, on_one_line, read_number
from convcli.banks.raw import RawBank, RawKernel
from convcli.errors import KernelError


class Program(NamedTuple):
    """A syntax: the mark that tells it, its reader, and how it looks, for hints."""

    mark: re.Pattern[str]
    parse: Callable[[str, str], RawBank]
    example: str


#: Possessive, as all patterns here: text of megabytes that is made to be slow takes linear time.
_XML_COMMENT = re.compile(r"<!--(?:[^-]|-(?!->))*+(?:-->|\Z)")


def _numbers(text: str, what: str) -> list[float]:
    return [read_number(token, what) for token in text.replace(",", " ").split()]


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _divided(rows: Rows, divisor: float) -> Rows:
    return [[tap / divisor for tap in row] for row in rows]


_ATTRIBUTE = re.compile(r"""(?<![\w:])([\w:]++)\s*+=\s*(?:"([^"]*)"|'([^']*)')""")


def _attributes(text: str) -> dict[str, str]:
    return {key: one or two for key, one, two in _ATTRIBUTE.findall(text)}


def _whole(text: str, what: str, default: int) -> int:
    if not text:
        return default
    try:
        return int(text)
    except ValueError:
        raise KernelError(f"{what} '{on_one_line(text)}' is not a whole number") from None


def parse_svg(text: str, name: str) -> RawBank:
    """Read ``feConvolveMatrix`` elements. SVG convolves, so the taps are turned; the divisor defaults to their sum."""
    text = _XML_COMMENT.sub("", text)
    kernels, notes = list[RawKernel](), list[str]()
    for found in re.finditer(r"<(?:\w+:)?feConvolveMatrix\b([^<>]*)>", text):
        what = f"line {_line(text, found.start())}: feConvolveMatrix"
        # Defaults are those of Filter Effects, section 9.9: order 3, target at half of it.
        given = _attributes(found[1])
        order = [int(size) for size in _numbers(given.get("order", "3"), what) if size == int(size) and size > 0]
        taps = _numbers(given.get("kernelMatrix", ""), what)
        width, height = (order * 2)[:2] if 1 <= len(order) <= 2 else (0, 0)
        if not taps or width * height != len(taps):
            size = on_one_line(given.get("order", "3"))
            raise KernelError(f"{what}: {len(taps)} numbers, order '{size}' needs {width * height}")
        x = _whole(given.get("targetX", ""), f"{what}: targetX", width // 2)
        y = _whole(given.get("targetY", ""), f"{what}: targetY", height // 2)
        if not (0 <= x < width and 0 <= y < height):
            raise KernelError(f"{what}: the target {x},{y} lies outside {width}x{height}")
        # By default their sum, and 1 where that is 0.
        divisor = (_numbers(given.get("divisor", "0"), what) or [0.0])[0] or sum(taps) or 1.0
        rows = anchored(_divided(in_rows(taps[::-1], width), divisor), y, x)
        bias = (_numbers(given.get("bias", "0"), what) or [0.0])[0]
        if bias:
            notes.append(f"SVG's bias {bias:g} of white is {bias * 255:g} of 8-bit samples here")
        if given.get("preserveAlpha", "false") != "true":
            notes.append("SVG filters alpha and premultiplied colour here: --alpha premultiply")
        kernels.append(RawKernel(given.get("id") or given.get("result") or name, [rows], bias * 255 or None))
    if not kernels:
        raise KernelError("an XML file without <feConvolveMatrix> or <Kernel>", hint="SVG and GDAL VRT are read")
    notes.append("SVG convolves: the taps are turned by 180°; its edgeMode defaults to duplicate (replicate here)")
    # Elements without an id are all called as the file.
    single = len({kernel.name for kernel in kernels}) == 1
    kernels = numbered(kernels) if single else kernels
    return RawBank(name, kernels, source="SVG feConvolveMatrix", notes=tuple(dict.fromkeys(notes)))


def parse_vrt(text: str, name: str) -> RawBank:
    """Read GDAL's ``<Kernel normalized="1"><Size>3</Size><Coefs>…``: a square, or one axis of a separable kernel."""
    text = _XML_COMMENT.sub("", text)
    kernels = []
    for found in re.finditer(r"<Kernel\b([^<>]*)>((?:[^<]|<(?!/?Kernel\b))*+)</Kernel>", text):
        what = f"line {_line(text, found.start())}: GDAL Kernel"
        parts = dict(re.findall(r"<(\w+)>([^<]*)</\1>", found[2]))
        size = _whole(parts.get("Size", "").strip(), f"{what}: Size", 0)
        taps = _numbers(parts.get("Coefs", ""), what)
        if size < 1 or size % 2 == 0:
            raise KernelError(f"{what}: Size {size} is not an odd number")
        if len(taps) not in (size, size * size):
            raise KernelError(f"{what}: {len(taps)} coefficients, Size {size} needs {size * size} or {size}")
        # Size * Size may be huge where the file holds one axis only.
        check_taps(size * size, what)
        normalized = _attributes(found[1]).get("normalized") or parts.get("normalized", "0")
        if _whole(normalized.strip(), f"{what}: normalized", 0):
            if not sum(taps):
                raise KernelError(f"{what}: normalized, and the coefficients sum to 0: GDAL makes every sample 0")
            taps = _divided([taps], sum(taps))[0]
        square = len(taps) == size * size
        rows = in_rows(taps, size) if square else [[down * right for right in taps] for down in taps]
        kernels.append(RawKernel(name, [rows], None))
    if not kernels:
        raise KernelError("a GDAL VRT file without <Kernel>")
    return RawBank(name, numbered(kernels), source="GDAL KernelFilteredSource")


#: A filter reaches to the next TITLE or MATRIX: a file may hold several.
_GRASS = re.compile(
    r"^[ \t]*MATRIX[ \t]+(\d+)[ \t]*\n((?:[^A-Za-z]|[eE](?=[-+\d]))*)([^\0]*?)(?=^[ \t]*(?:TITLE|MATRIX)|\Z)", re.M
)


def parse_grass(text: str, name: str) -> RawBank:
    """Read r.mfilter's ``MATRIX n``, its rows, ``DIVISOR`` (0: the sum of the taps) and ``TYPE P``."""
    kernels = []
    for found in _GRASS.finditer(text):
        what = f"line {_line(text, found.start())}: r.mfilter"
        size, taps = int(found[1]), _numbers(found[2], what)
        if size < 1 or size * size != len(taps):
            raise KernelError(f"{what}: MATRIX {size} needs {size * size} numbers, {len(taps)} are given")
        fields = dict(re.findall(r"(?m)^[ \t]*(DIVISOR|TYPE)[ \t]+(\S+)", found[3]))
        if fields.get("TYPE", "P").upper().startswith("S"):
            raise KernelError(f"{what}: TYPE S feeds filtered cells back, which taps cannot do", hint="TYPE P is read")
        divisor = _numbers(fields.get("DIVISOR", "1"), what)[0] or sum(taps)
        if not divisor:
            raise KernelError(f"{what}: DIVISOR 0 takes the sum of the taps, which is 0")
        rows = anchored(_divided(in_rows(taps, size), divisor), size // 2, size // 2)
        kernels.append(RawKernel(name, [rows], None))
    if not kernels:
        raise KernelError("an r.mfilter file without 'MATRIX n' and its rows")
    more = ("r.mfilter runs the filters one after the other; here each is a kernel",) if len(kernels) > 1 else ()
    return RawBank(name, numbered(kernels), source="GRASS r.mfilter", notes=more)


def parse_sextractor(text: str, name: str) -> RawBank:
    """Read ``CONV NORM`` (taps over the sum of their sizes) or ``CONV NONORM`` and rows; anchored at k/2."""
    head, _, body = text.lstrip().partition("\n")
    lines = [line for line in body.split("\n") if line.strip() and not line.lstrip().startswith("#")]
    rows = [_numbers(line, "SExtractor mask") for line in lines]
    if not rows or len({len(row) for row in rows}) != 1:
        sizes = ", ".join(str(len(row)) for row in rows[:8]) or "no"
        raise KernelError(f"SExtractor mask: rows of {sizes} numbers, all need as many")
    # SExtractor sums absolute values: the taps of a Mexican hat sum to about 0.
    total = sum(abs(tap) for row in rows for tap in row)
    notes: list[str] = []
    if "NONORM" not in head:
        if not total:
            raise KernelError("SExtractor mask: all taps are 0 and cannot be normalised")
        rows = _divided(rows, total)
        notes.append("CONV NORM: divided by the sum of the taps' sizes, as SExtractor does")
    rows = anchored(rows, len(rows) // 2, len(rows[0]) // 2)
    return RawBank(name, [RawKernel(name, [rows], None)], source="SExtractor convolution mask", notes=tuple(notes))


#: Types whose numbers stand in rows, as real numbers.
_OCTAVE_READ = re.compile(r"(float |u?int(8|16|32|64) |bool )?(matrix|scalar)\Z|bool\Z")


_OCTAVE_FIELD = re.compile(r"(?m)^#[ \t]*(type|rows|columns|ndims)[ \t]*:(.*)$")


def parse_octave(text: str, name: str) -> RawBank:
    """Read Octave's text: matrices and scalars by name. Ranges, sparse and complex ones are refused."""
    kernels = []
    for block in re.split(r"(?m)^#[ \t]*name:", text)[1:]:
        variable, _, body = block.partition("\n")
        what = f"Octave's '{on_one_line(variable)}'"
        fields = {key: rest.strip() for key, rest in _OCTAVE_FIELD.findall(body)}
        kind = fields.get("type", "")
        if not _OCTAVE_READ.match(kind):
            kind = kind or "value without type"
            raise KernelError(f"{what} is a {kind}, which is not read", hint="save full(double(k))")
        taps = _numbers(" ".join(line for line in body.split("\n") if not line.startswith("#")), what)
        if "ndims" in fields:
            # An array of more axes lists its sizes before its numbers.
            count, sizes = _whole(fields["ndims"], f"{what}: ndims", 0), taps
            shape = [int(size) for size in sizes[:count]]
            kernels += _pages(taps[count:], shape, variable.strip(), what)
            continue
        height = _whole(fields.get("rows", ""), f"{what}: rows", 1)  # a scalar has no sizes
        width = _whole(fields.get("columns", ""), f"{what}: columns", 1)
        if height < 1 or width < 1 or height * width != len(taps):
            raise KernelError(f"{what}: {height}x{width} needs {max(0, height * width)} numbers, {len(taps)} are given")
        kernels.append(RawKernel(variable.strip() or name, [in_rows(taps, width)], None))
    return RawBank(name, kernels, source="Octave text")


def _pages(taps: list[float], shape: list[int], name: str, what: str) -> list[RawKernel]:
    """Return the pages of a 3-D array in Octave's order, first axis fastest."""
    if len(shape) not in (2, 3) or min(shape) < 1 or math.prod(shape) != len(taps):
        raise KernelError(f"{what}: {'x'.join(map(str, shape))} does not fit {len(taps)} numbers")
    pages = np.atleast_3d(np.reshape(taps, shape, order="F"))
    count = pages.shape[2]
    return [
        RawKernel(f"{name}{page + 1}" if count > 1 else name, [pages[:, :, page].tolist()], None)
        for page in range(count)
    ]


def parse_matrix_market(text: str, name: str) -> RawBank:
    """Read Matrix Market: arrays by column, or row, column, value of a sparse matrix; real and integer."""
    head, _, body = text.lstrip().partition("\n")
    words = head.lower().split()[1:]
    if len(words) != 4 or words[0] != "matrix" or words[1] not in ("array", "coordinate"):
        raise KernelError(f"line 1: '{on_one_line(head)}' is not a matrix of Matrix Market", line=1)
    # The banner as in Boisvert, Pozo & Remington, NISTIR 5935, 1996.
    _, layout, field, symmetry = words
    symmetries = ("general", "symmetric", "skew-symmetric")
    if field not in ("real", "integer", "double", "pattern") or symmetry not in symmetries:
        raise KernelError(f"line 1: a {on_one_line(f'{field} {symmetry}')} matrix is not read, only real ones", line=1)
    values = _numbers("\n".join(line for line in body.split("\n") if not line.startswith("%")), "Matrix Market")
    n_head = 2 if layout == "array" else 3
    if len(values) < n_head or any(size != int(size) or size < 0 for size in values[:n_head]):
        raise KernelError("Matrix Market: the line of sizes is missing")
    height, width = int(values[0]), int(values[1])
    # A sparse file of three lines may claim any size.
    check_taps(height * width, "the matrix")
    if height < 1 or width < 1 or (symmetry != "general" and height != width):
        raise KernelError(f"Matrix Market: a {symmetry} matrix of {height}x{width}")
    if layout == "array":
        # Columns from the diagonal down, which is left out where it can only be 0.
        first = 1 if symmetry == "skew-symmetric" else 0
        cells = [(r, c) for c in range(width) for r in range(0 if symmetry == "general" else c + first, height)]
        rest = values[2:]
    else:
        step = 2 if field == "pattern" else 3
        entries = [values[at : at + step] for at in range(3, len(values), step)]
        if len(entries) != int(values[2]) or any(len(entry) != step for entry in entries):
            raise KernelError(f"Matrix Market: {int(values[2])} entries are claimed, {len(entries)} are given")
        # Entries count from 1, and those of a place that is repeated add up.
        cells = [(int(entry[0]) - 1, int(entry[1]) - 1) for entry in entries]
        rest = [entry[2] if step == 3 else 1.0 for entry in entries]
        if any(not (0 <= r < height and 0 <= c < width) for r, c in cells):
            raise KernelError(f"Matrix Market: an entry lies outside {height}x{width}")
    if len(rest) != len(cells):
        raise KernelError(f"Matrix Market: {height}x{width} needs {len(cells)} numbers, {len(rest)} are given")
    rows = [[0.0] * width for _ in range(height)]
    for (r, c), value in zip(cells, rest, strict=True):
        rows[r][c] += value
        if symmetry != "general" and r != c:
            rows[c][r] += -value if symmetry == "skew-symmetric" else value
    return RawBank(name, [RawKernel(name, [rows], None)], source="Matrix Market")


_MATRIX_MARKET = "lines of %%MatrixMarket matrix array real general, 2 2 (rows, columns), and 1, 3, 2, 4 by column"
_GRASS_EXAMPLE = "lines of MATRIX 3, three times 1 2 1, DIVISOR 12, TYPE P"
_VRT = '<Kernel normalized="1"><Size>3</Size><Coefs>1 2 1 2 4 2 1 2 1</Coefs></Kernel>'
_SVG = '<feConvolveMatrix order="3" kernelMatrix="0 -1 0 -1 5 -1 0 -1 0"/>'
#: Tried in this order on the text as it is, comments and all.
PROGRAMS = {
    "Matrix Market": Program(re.compile(r"\s*%%MatrixMarket\b", re.IGNORECASE), parse_matrix_market, _MATRIX_MARKET),
    "Octave": Program(
        re.compile(r"(?:\s*#[^\n]*\n)*?\s*#\s*name:[^\n]*\n\s*#\s*type:"), parse_octave, "in Octave: save -text k.txt k"
    ),
    "SExtractor": Program(
        re.compile(r"\s*CONV[ \t]*(?:NO)?(?:NORM)?[ \t]*\n"),
        parse_sextractor,
        "a line CONV NORM, and lines such as 1 2 1",
    ),
    "GRASS": Program(re.compile(r"\s*(?:TITLE\b[^\n]*\n\s*)?MATRIX[ \t]+\d+[ \t]*\n"), parse_grass, _GRASS_EXAMPLE),
    "GDAL VRT": Program(re.compile(r"\s*<(?=[^\0]*<Kernel\b)[^\0]*<Coefs>"), parse_vrt, _VRT),
    # Last, because it takes any XML and tells what is missing.
    "SVG": Program(re.compile(r"\s*<(?=[?!\w])"), parse_svg, _SVG),
}
