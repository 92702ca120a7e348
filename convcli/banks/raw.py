"""The bank file as plain data: its keys in TOML, JSON or YAML, and every error about them (stdlib).

::

    name = "sobel"                  # the file's stem for banks that ship
    summary = "edges ..."           # one line on its use
    source = "Sobel & Feldman 1968" # paper, book or program
    tags = ["edge"]
    orientation = "correlate"       # or "convolve": the taps are then rotated by 180° on loading
    scale = "1/8"                   # every tap is multiplied by it
    combine = "magnitude"           # how maps become one picture; "none" if no way is natural

    [[kernel]]
    name = "x"                      # names the map
    taps = [[-1, 0, 1], ["-sqrt(2)", 0, "sqrt(2)"], [-1, 0, 1]]
    scale = 1                       # optional, on top of the bank's
    bias = 0                        # optional, added to the sums

A file of one kernel may have its ``taps`` at the top. Instead of ``taps`` a kernel may have ``column`` and ``row``; the
taps are their outer product. Kernels that read several planes nest once more: ``taps = [plane][row][column]``.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from convcli.errors import KernelError, near_names

#: How the maps of a bank become one picture.
COMBINATIONS = ("none", "magnitude", "max", "argmax", "min", "sum", "mean")
_ORIENTATIONS = ("correlate", "convolve")

_BANK_KEYS = frozenset(
    ["name", "aliases", "summary", "source", "tags", "orientation", "scale", "combine", "notes", "kernel", "dims"]
)
_KERNELS = frozenset(["kernel", "kernels", "taps", "row", "column"])
_KERNEL_KEYS = frozenset(["name", "taps", "row", "column", "scale", "bias"])
#: A dotted key of more parts than any bank has; tomllib takes quadratic time for thousands.
_DEEP_KEY = re.compile(r"""(?<![\w"'.-])(?:[\w"'-]++[ \t]*+\.[ \t]*+){30}""")


class RawKernel(NamedTuple):
    """One kernel of a file: planes of rows of numbers, already scaled."""

    name: str
    planes: list[list[list[float]]]
    bias: float | None


class RawBank(NamedTuple):
    """A bank file as plain data; taps are as written, in the declared orientation."""

    name: str
    kernels: list[RawKernel]
    aliases: tuple[str, ...] = ()
    summary: str = ""
    source: str = ""
    tags: tuple[str, ...] = ()
    orientation: str = "correlate"
    combine: str = "none"
    notes: tuple[str, ...] = ()
    dims: int = 2


class FieldError(Exception):
    """An error in one field: kernel index (or None for the bank), key, reason, and row of the taps from 1."""

    def __init__(self, kernel: int | None, key: str, reason: str, row: int = 0) -> None:
        super().__init__(reason)
        self.row = row
        self.kernel = kernel
        self.key = key
        self.reason = reason

    @property
    def field(self) -> str:
        """The field's address, such as ``kernel[2].taps``."""
        return self.key if self.kernel is None else f"kernel[{self.kernel + 1}].{self.key}"


def parse_bank_toml(text: str, *, name: str) -> RawBank:
    r"""Read a TOML bank file; ``name`` is the bank's if the file gives none.

    Raises
    ------
    KernelError
        With the ``line`` and ``field`` of the error.

    Examples
    --------
    >>> parse_bank_toml('[[kernel]]\ntaps = [[1, "1/2"]]', name="half").kernels[0].planes
    [[[1.0, 0.5]]]
    """
    import tomllib  # families have no file

    if _DEEP_KEY.search(text):
        raise KernelError("keys of more than 30 parts: nested too deeply to be a kernel file")
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"at line (\d+), column (\d+)", str(error))
        line = int(found.group(1)) if found else max(1, len(text.splitlines()))
        reason = re.sub(r"\s*\(at .*\)$", "", str(error))  # the line is named in front
        raise KernelError(f"line {line}: not TOML: {reason}", line=line) from None
    except RecursionError:
        raise KernelError("nested too deeply to be a kernel file") from None
    except ValueError as error:  # an integer of thousands of digits
        raise KernelError(f"not TOML: {str(error)[:100]}") from None
    try:
        return bank_from_data(data, name=name)
    except FieldError as error:
        from convcli.banks.formats.structured import toml_line

        line = toml_line(text, error)
        raise KernelError(f"line {line}, {error.field}: {error.reason}", line=line, field=error.field) from None


def is_bank_key(name: str) -> bool:
    """Whether a bank file may begin with this key."""
    return name in _BANK_KEYS | _KERNELS | _KERNEL_KEYS


def bank_from_data(data: Any, *, name: str) -> RawBank:
    """Check the tables of a bank, read from any syntax.

    Raises
    ------
    FieldError
        With the field and the expected value.
    KernelError
        For a stack of layers.
    """
    if isinstance(data, dict) and "layers" in data and not _KERNELS & data.keys():
        raise KernelError("this is a stack of layers, not a kernel", hint="convcli apply IMAGE --stack FILE")
    if isinstance(data, dict) and "kernel" not in data and "kernels" not in data and ("taps" in data or "row" in data):
        own = _KERNEL_KEYS - {"name", "scale"}  # one kernel needs no table of its own
        data = {
            **{key: value for key, value in data.items() if key not in own},
            "kernel": [{key: value for key, value in data.items() if key in own}],
        }
    _check_keys(data, _BANK_KEYS, None)
    kernels = data.get("kernel", data.get("kernels"))
    if not isinstance(kernels, list) or not kernels:
        raise FieldError(None, "kernel", "no kernels: at least one [[kernel]] table with taps is needed")
    bank_name = _text(data, "name", name, None)
    scale = _number(data, "scale", 1.0, None)
    parsed = [_kernel(entry, index, bank_name, scale, len(kernels)) for index, entry in enumerate(kernels)]
    _check_same_planes(parsed)
    dims = data.get("dims", 2)
    if dims not in (1, 2):  # 3-D taps have no form as text
        raise FieldError(None, "dims", f"expected 1 or 2, got {dims!r}")
    return RawBank(
        name=bank_name,
        kernels=parsed,
        aliases=_texts(data, "aliases"),
        summary=_text(data, "summary", "", None),
        source=_text(data, "source", "", None),
        tags=_texts(data, "tags"),
        orientation=_choice(data, "orientation", _ORIENTATIONS),
        combine=_choice(data, "combine", COMBINATIONS),
        notes=_texts(data, "notes"),
        dims=dims,
    )


def _check_keys(table: Any, known: frozenset[str], kernel: int | None) -> None:
    if not isinstance(table, dict):
        raise FieldError(kernel, "kernel", f"expected a table, got {_kind(table)}")
    for key in table:
        if key not in known and not (kernel is None and key == "kernels"):
            near = near_names(str(key), known) or f"known are {', '.join(sorted(known))}"
            raise FieldError(kernel, str(key), f"unknown key '{key}'; {near}")


def _kernel(entry: Any, index: int, bank_name: str, bank_scale: float, count: int) -> RawKernel:
    _check_keys(entry, _KERNEL_KEYS, index)
    scale = bank_scale * _number(entry, "scale", 1.0, index)
    planes = _planes(entry["taps"], index) if "taps" in entry else [_outer(entry, index)]
    if scale != 1.0:
        planes = [[[tap * scale for tap in row] for row in plane] for plane in planes]
    bias = _number(entry, "bias", 0.0, index) if "bias" in entry else None
    return RawKernel(_text(entry, "name", bank_name if count == 1 else str(index + 1), index), planes, bias)


def _planes(taps: Any, index: int) -> list[list[list[float]]]:
    """Return taps as planes of rows of floats; a bare matrix is one plane, a bare list one row."""
    if not isinstance(taps, list) or not taps:
        raise FieldError(index, "taps", f"expected rows of numbers, got {_kind(taps)}")
    if not isinstance(taps[0], list):
        taps = [taps]
    if not (taps[0] and isinstance(taps[0][0], list)):
        taps = [taps]
    planes = [_rows(plane, index) for plane in taps]
    sizes = {(len(plane), len(plane[0])) for plane in planes}
    if len(sizes) > 1:
        listed = ", ".join(f"{rows}x{columns}" for rows, columns in sorted(sizes))
        raise FieldError(index, "taps", f"planes of different sizes: {listed}")
    return planes


def _outer(entry: dict[str, Any], index: int) -> list[list[float]]:
    """Return the outer product of ``column`` and ``row``."""
    for key in ("column", "row"):
        if key not in entry:
            raise FieldError(index, "taps", "no taps; a kernel has taps, or column and row")
        if not isinstance(entry[key], list) or not entry[key]:
            raise FieldError(index, key, f"expected a list of numbers, got {_kind(entry[key])}")
    column = [_tap(tap, index, number, 1, "column") for number, tap in enumerate(entry["column"], 1)]
    row = [_tap(tap, index, 1, number, "row") for number, tap in enumerate(entry["row"], 1)]
    return [[down * right for right in row] for down in column]


def _rows(plane: Any, index: int) -> list[list[float]]:
    if not isinstance(plane, list) or not all(isinstance(row, list) for row in plane) or not plane or not plane[0]:
        raise FieldError(index, "taps", "expected rows of numbers, all inside brackets of their own")
    widths = [len(row) for row in plane]
    if len(set(widths)) > 1:
        odd = next(number for number, width in enumerate(widths, 1) if width != widths[0])
        reason = f"ragged rows: row 1 has {widths[0]} numbers, row {odd} has {widths[odd - 1]}"
        raise FieldError(index, "taps", reason, odd)
    return [[_tap(tap, index, row, column) for column, tap in enumerate(taps, 1)] for row, taps in enumerate(plane, 1)]


def _tap(tap: Any, index: int, row: int, column: int, key: str = "taps") -> float:
    if type(tap) is int or type(tap) is float:  # isinstance would take true for 1
        if abs(tap) <= 1.7976931348623157e308:  # false for nan too
            return float(tap)
        raise FieldError(index, key, f"row {row}, column {column} is {tap}: taps must be finite", row)
    if not isinstance(tap, str):
        raise FieldError(index, key, f"row {row}, column {column} is {_kind(tap)}, not a number", row)
    try:
        return _parsed(tap)
    except ValueError as error:
        raise FieldError(index, key, f"row {row}, column {column}: {error}", row) from None


def _parsed(text: str) -> float:
    from convcli.banks.numbers import parse_number  # most files hold plain numbers only

    return parse_number(text)


def _check_same_planes(kernels: list[RawKernel]) -> None:
    counts = [len(kernel.planes) for kernel in kernels]
    for index, count in enumerate(counts):
        if count != counts[0]:
            raise FieldError(
                index, "taps", f"{count} planes, but kernel 1 has {counts[0]}: every kernel of a bank reads the same"
            )


def _number(table: dict[str, Any], key: str, default: float, kernel: int | None) -> float:
    value = table.get(key, default)
    if type(value) in (int, float) and abs(value) <= 1.7976931348623157e308:
        return float(value)
    try:
        if isinstance(value, bool) or not isinstance(value, (int, float, str)):
            raise ValueError(f"{_kind(value)} is not a number")
        return _parsed(str(value))
    except ValueError as error:
        raise FieldError(kernel, key, str(error)) from None


def _text(table: dict[str, Any], key: str, default: str, kernel: int | None) -> str:
    value = table.get(key, default)
    if not isinstance(value, str):
        raise FieldError(kernel, key, f"expected text, got {_kind(value)}")
    return value


def _texts(table: dict[str, Any], key: str) -> tuple[str, ...]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise FieldError(None, key, f"expected a list of texts, got {_kind(value)}")
    return tuple(value)


def _choice(table: dict[str, Any], key: str, choices: tuple[str, ...]) -> str:
    value = table.get(key, choices[0])
    if value not in choices:
        raise FieldError(None, key, f"{value!r} is not one of {', '.join(choices)}")
    return str(value)


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return f"the text {value[:30]!r}"
    return {bool: "true or false", list: "an empty list" if value == [] else "a list", dict: "a table"}.get(
        type(value), repr(value)
    )
