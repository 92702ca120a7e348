"""The program that makes the magnitude of two maps: square, square, add and root in one pass, in float32.

Every operation is rounded as NumPy rounds it, so that the values are the same.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from convcli.machine.processor import load_if_allowed, vector_bytes
from convcli.machine.x86 import Assembler, At, Condition, Gpr, Packed

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Values of one turn, two vectors of eight.
VALUES = 16
#: Fewer values than this are not worth writing a program for.
LEAST_VALUES = 1 << 16


class Arguments(ctypes.Structure):
    """What a program works on: addresses, and how often it goes round."""

    _fields_ = (
        ("first", ctypes.c_int64),
        ("second", ctypes.c_int64),
        ("out", ctypes.c_int64),
        ("n_turns", ctypes.c_int64),
    )


def magnitude(maps: NDArray[Any]) -> NDArray[np.float32] | None:
    """Return the root of the sum of squares of two maps.

    Parameters
    ----------
    maps : ndarray of shape (C, 2, H, W)
        int16 or float32, contiguous.

    Returns
    -------
    ndarray of shape (C, H, W), float32, or None
        None where this program does not run.

    Examples
    --------
    >>> maps = np.full((1, 2, 256, 256), 3, np.int16)
    >>> maps[:, 1] = 4
    >>> values = magnitude(maps)
    >>> values is None or float(values.max())
    5.0
    """
    known = maps.dtype in (np.int16, np.float32) and maps.shape[1] == 2 and maps.flags.c_contiguous
    if not known or maps.size < LEAST_VALUES or maps[0, 0].size < VALUES or vector_bytes() < 32:
        return None
    program = _program(maps.itemsize)
    if program is None:
        return None
    out = np.empty((maps.shape[0], *maps.shape[2:]), np.float32)
    n_turns, rest = divmod(out[0].size, VALUES)
    for (first, second), combined in zip(maps, out, strict=True):
        program(
            ctypes.byref(
                Arguments(first=first.ctypes.data, second=second.ctypes.data, out=combined.ctypes.data, n_turns=n_turns)
            )
        )
    if rest:
        ends = maps.reshape(*maps.shape[:2], -1)[..., -rest:].astype(np.float32)
        with np.errstate(over="ignore", under="ignore", invalid="ignore"):
            out.reshape(len(out), -1)[:, -rest:] = np.sqrt(ends[:, 0] * ends[:, 0] + ends[:, 1] * ends[:, 1])
    return out


@functools.cache
def _program(itemsize: int) -> Callable[[Any], None] | None:
    return load_if_allowed(write_program(itemsize))


def write_program(itemsize: int) -> bytes:
    """Return the machine code of ``void program(Arguments *)`` for values of 2 (int16) or 4 bytes (float32).

    Examples
    --------
    >>> len(write_program(2)) < 300
    True
    """
    code = Assembler(32, 4)
    registers = {"first": Gpr.RSI, "second": Gpr.RDX, "out": Gpr.RAX, "n_turns": Gpr.RCX}
    for name, register in registers.items():
        code.move(register, At(Gpr.RDI, getattr(Arguments, name).offset))
    code.label("turn")
    for vector in range(2):
        for number, base in enumerate((Gpr.RSI, Gpr.RDX)):
            place, value = At(base, vector * 8 * itemsize), 2 * vector + number
            if itemsize == 2:
                code.packed(Packed.INT16_TO_INT32, value, 0, place)
                code.packed(Packed.INT32_TO_FLOAT, value, 0, value)
            else:
                code.load(value, place)
            code.packed(Packed.MULTIPLY, value, value, value)
        code.packed(Packed.ADD, 2 * vector, 2 * vector, 2 * vector + 1)
        code.packed(Packed.SQUARE_ROOT, 2 * vector, 0, 2 * vector)
        code.store(2 * vector, At(Gpr.RAX, vector * 32))
    code.add(Gpr.RSI, VALUES * itemsize)
    code.add(Gpr.RDX, VALUES * itemsize)
    code.add(Gpr.RAX, VALUES * 4)
    code.add(Gpr.RCX, -1)
    code.jump("turn", Condition.NOT_EQUAL)
    code.end_vectors()
    code.ret()
    return code.finish()
