"""Taps pasted from code and printouts: NumPy, torch, C, GLSL, MATLAB (NumPy)."""

from __future__ import annotations

import math
import re

import numpy as np

from convcli.banks.formats.code_reader import Reader
from convcli.banks.formats.code_text import Value, prepared, tokens_of
from convcli.banks.formats.literal import Literal, kernels_of_lists
from convcli.banks.raw import FieldError, RawKernel
from convcli.errors import KernelError

#: The remark that :func:`convcli.banks.formats.source.write_glsl` puts above its flat arrays.
_LAYOUT = re.compile(r"(?<!\d)(\d{1,6}) rows of (\d{1,6})\b")


def parse(text: str, name: str) -> Literal:
    """Read every array that the text assigns or shows.

    Raises
    ------
    KernelError
        With the line: a printer's ``...``, ragged rows, a forgotten comma, a call that would have to be run.

    Examples
    --------
    >>> parse("k = np.array([[1, 2, 1], [2, 4, 2]]) / 16", "f").kernels[0].planes
    [[[0.0625, 0.125, 0.0625], [0.125, 0.25, 0.125]]]
    """
    layout = _LAYOUT.search(text)
    reader = Reader(tokens_of(prepared(text)))
    # A tap that is not finite is refused later, with its place.
    with np.errstate(all="ignore"):
        found = reader.statements()
    return _literal(found, name, reader.notes, (int(layout[1]), int(layout[2])) if layout else None)


def _literal(values: dict[str, Value], name: str, notes: list[str], layout: tuple[int, int] | None) -> Literal:
    """Make kernels of the arrays; ``k_names`` and ``k_bias`` belong to ``k``."""
    arrays = {key: value for key, value in values.items() if isinstance(value, np.ndarray)}
    kernels: list[RawKernel] = []
    for key, array in arrays.items():
        base = key.removesuffix("_bias")
        # In GLSL several kernels share one NAME_bias, and none of them has that name.
        if base != key and (base in arrays or len(arrays) > array.size):
            continue
        if layout and array.ndim == 1 and array.size == layout[0] * layout[1]:
            array = array.reshape(layout)
        label = name if len(arrays) == 1 and (key.isdigit() or not key) else key
        try:
            made = kernels_of_lists(array.tolist(), label)
        except FieldError as error:
            raise KernelError(f"'{label}': {error.reason}") from None
        if len(made) > 1 and len(arrays) > 1:
            made = [kernel._replace(name=f"{label}-{kernel.name}") for kernel in made]
        names, bias = values.get(f"{key}_names"), arrays.get(f"{key}_bias")
        if isinstance(names, list) and len(names) == len(made):
            made = [kernel._replace(name=one) for kernel, one in zip(made, names, strict=True)]
        if bias is not None and bias.size == len(made):
            made = [kernel._replace(bias=float(one)) for kernel, one in zip(made, bias.ravel(), strict=True)]
        kernels += made
        if array.ndim == 1 and array.size >= 9 and math.isqrt(array.size) ** 2 == array.size:
            side = math.isqrt(array.size)
            notes.append(f"{array.size} numbers in one row are read as 1x{array.size}, not as {side}x{side}")
    if not kernels:
        raise KernelError("no array of taps is found in the code")
    return Literal(kernels, tuple(dict.fromkeys(notes)))
