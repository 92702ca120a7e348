"""The program that stores a band of maps as bytes: toned, rounded, counted and interleaved, sixteen pixels at a time.

NumPy does the same in nine passes over memory (:mod:`convcli.images.tone_store`) and has the last word where this
program has none: on other processors, for NaN, infinities and values far from the scale, and for the last columns of a
row. Every operation is the one that NumPy makes, in float32 and in the same order, so that the bytes are the same. In
words, for each row::

    for each map:
        for sixteen values: least, most and sum of them; value = |value| or value; value = value * gain + offset;
            round to even; count those below 0 and above 255; saturate
    for sixteen pixels: the bytes of all maps, interleaved
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from convcli.images.tone_spec import ToneCounts
from convcli.images.tone_store import is_far, stored_range
from convcli.machine.processor import load_if_allowed, vector_bytes
from convcli.machine.x86 import IS_GREATER, IS_LESS, ROUND_TO_EVEN, Assembler, At, Condition, Gpr, Packed
from convcli.record import NamedTuple

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Pixels of one turn, and values of one vector.
PIXELS, VALUES = 16, 8
#: Maps of one picture: red, green, blue, alpha.
MOST_MAPS = 4
#: Fewer values than this are not worth writing a program for.
LEAST_VALUES = 1 << 16
_ALL_BITS, _ALL_BUT_SIGN = 0xFFFFFFFF, 0x7FFFFFFF
_FULL = 255
# What stays in a register for a row of one map.
_VALUE, _WORK, _PART, _LEAST, _MOST, _LOW_SUM, _HIGH_SUM, _N_LOW, _N_HIGH = 0, 1, 2, 4, 5, 6, 7, 8, 9
_MASK, _GAIN, _OFFSET, _LIMIT, _ZERO, _FIRST = 10, 11, 12, 13, 14, 15


class MapState(ctypes.Structure):
    """One map: where it begins, how it is toned, and what is known of it so far."""

    _fields_ = (
        ("values", ctypes.c_int64),
        ("mask", ctypes.c_uint32),  # what |value| leaves of a value's bits
        ("gain", ctypes.c_float),
        ("offset", ctypes.c_float),
        ("limit", ctypes.c_float),
        ("least", ctypes.c_float * VALUES),
        ("most", ctypes.c_float * VALUES),
        ("low_sum", ctypes.c_double * (VALUES // 2)),
        ("high_sum", ctypes.c_double * (VALUES // 2)),
        ("n_low", ctypes.c_int32 * VALUES),
        ("n_high", ctypes.c_int32 * VALUES),
    )


class Arguments(ctypes.Structure):
    """What a program works on; addresses and distances in bytes."""

    _fields_ = (
        ("maps", ctypes.c_int64),
        ("row_step", ctypes.c_int64),
        ("n_rows", ctypes.c_int64),
        ("n_turns", ctypes.c_int64),  # of sixteen pixels in a row
        ("planes", ctypes.c_int64),  # room for the bytes of one row, map by map in each turn
        ("places", ctypes.c_int64),  # for each vector of a pixel row and each map: which byte goes where
        ("out", ctypes.c_int64),
        ("out_step", ctypes.c_int64),
    )


class Shape(NamedTuple):
    """What tells programs apart: bytes of a value (2: int16, 4: float32), and maps, which are samples of a pixel."""

    itemsize: int
    n_maps: int


_STATE = (
    (_LEAST, "least"),
    (_MOST, "most"),
    (_LOW_SUM, "low_sum"),
    (_HIGH_SUM, "high_sum"),
    (_N_LOW, "n_low"),
    (_N_HIGH, "n_high"),
)


def store_bytes(
    maps: NDArray[Any], out: NDArray[np.uint8], tones: Sequence[tuple[float, float, bool]]
) -> ToneCounts | None:
    """Store maps (O, H, W) as bytes, as many columns as come in sixteens.

    Parameters
    ----------
    maps : ndarray of shape (O, H, W)
        int16 or float32, values of a row side by side.
    out : ndarray of shape (O, H, W), uint8
        One map, values of a row side by side, or the planes of an interleaved picture of two to four: a view
        ``picture.transpose(2, 0, 1)``.
    tones : sequence of (gain, offset, absolute)
        One a map: what is stored is ``gain * v + offset``, or of ``|v|``.

    Returns
    -------
    ToneCounts or None
        Of the columns done, ``W // 16 * 16``; None where this is not possible, or values are not finite, or so far from
        the scale that float32 is too coarse: what is in ``out`` then means nothing.

    Examples
    --------
    >>> maps = np.linspace(-50, 300, 2 * 64 * 1024, dtype=np.float32).reshape(1, 128, 1024)
    >>> out = np.empty((1, 128, 1024), np.uint8)
    >>> counts = store_bytes(maps, out, [(1.0, 0.0, False)])
    >>> counts is None or (int(counts.n_low[0]), int(counts.n_high[0]), int(out[0, 64, 0]))
    (18538, 16665, 125)
    """
    n_maps, height, width = maps.shape
    side_by_side = out.strides[2] == n_maps and (n_maps == 1 or (n_maps <= MOST_MAPS and out.strides[0] == 1))
    if maps.dtype not in (np.int16, np.float32) or maps.strides[2] != maps.itemsize or not side_by_side:
        return None
    if width < PIXELS or maps.size < LEAST_VALUES or vector_bytes() < 32:
        return None
    run = _program(Shape(maps.itemsize, n_maps))
    if run is None:
        return None
    states = (MapState * n_maps)(*(_state(values, tone) for values, tone in zip(maps, tones, strict=True)))
    n_turns = width // PIXELS
    planes = np.empty(n_turns * n_maps * PIXELS, np.uint8)
    places = _places(n_maps)
    run(
        ctypes.byref(
            Arguments(
                maps=ctypes.addressof(states),
                row_step=maps.strides[1],
                n_rows=height,
                n_turns=n_turns,
                planes=planes.ctypes.data,
                places=places.ctypes.data,
                out=out.ctypes.data,
                out_step=out.strides[1],
            )
        )
    )
    counts = _counts(states, height * n_turns * PIXELS)
    for low, high, (gain, offset, absolute) in zip(counts.minimum, counts.maximum, tones, strict=True):
        if is_far(stored_range(float(low), float(high), gain, offset, absolute), offset):  # so is what is not finite
            return None
    return counts if np.isfinite(counts.total).all() else None


def _state(values: NDArray[Any], tone: tuple[float, float, bool]) -> MapState:
    gain, offset, absolute = tone
    state = MapState(
        values=values.ctypes.data,
        mask=_ALL_BUT_SIGN if absolute else _ALL_BITS,
        gain=gain,
        offset=offset,
        limit=_FULL,
    )
    state.least[:] = (np.inf,) * VALUES
    state.most[:] = (-np.inf,) * VALUES
    return state


def _counts(states: ctypes.Array[MapState], n: int) -> ToneCounts:
    counts = ToneCounts.zero(len(states))._replace(n=n)
    for index, state in enumerate(states):
        counts.total[index] = sum(state.low_sum) + sum(state.high_sum)
        counts.minimum[index], counts.maximum[index] = min(state.least), max(state.most)
        counts.n_low[index], counts.n_high[index] = sum(state.n_low), sum(state.n_high)
    return counts


@functools.cache
def _program(shape: Shape) -> Callable[[Any], None] | None:
    return load_if_allowed(write_program(shape))


@functools.cache
def _places(n_maps: int) -> NDArray[np.uint8]:
    """Return, for each vector of sixteen pixels' samples and each map, which of the map's bytes goes where.

    Examples
    --------
    >>> _places(2)[0, :, :6].tolist()
    [[0, 128, 1, 128, 2, 128], [128, 0, 128, 1, 128, 2]]
    """
    sample = np.arange(n_maps * PIXELS)
    places = np.where(sample % n_maps == np.arange(n_maps)[:, None], sample // n_maps, 0x80)  # 0x80: a zero
    return np.ascontiguousarray(places.reshape(n_maps, n_maps, PIXELS).transpose(1, 0, 2), np.uint8)


def write_program(shape: Shape) -> bytes:
    """Return the machine code of ``void program(Arguments *)``.

    Examples
    --------
    >>> len(write_program(Shape(itemsize=2, n_maps=3))) < 2000
    True
    """
    code = Assembler(32, 4)
    for register in (Gpr.RBX, Gpr.R14):
        code.push(register)
    code.zero(_ZERO)
    code.subtract(Gpr.RBX, Gpr.RBX)  # bytes from the first row to this one
    code.move(Gpr.RSI, _argument("n_rows"))
    code.move(Gpr.RDX, _argument("out"))

    code.label("row")
    code.move(Gpr.RCX, _argument("maps"))
    _write_maps(code, shape)
    if shape.n_maps > 1:
        _write_interleaving(code, shape)
    code.add(Gpr.RDX, _argument("out_step"))
    code.add(Gpr.RBX, _argument("row_step"))
    code.add(Gpr.RSI, -1)
    code.jump("row", Condition.NOT_EQUAL)

    code.end_vectors()
    for register in (Gpr.R14, Gpr.RBX):
        code.pop(register)
    code.ret()
    return code.finish()


def _argument(name: str) -> At:
    return At(Gpr.RDI, getattr(Arguments, name).offset)


def _field(name: str) -> At:
    return At(Gpr.RCX, getattr(MapState, name).offset)


def _write_maps(code: Assembler, shape: Shape) -> None:
    """Write what makes the bytes of one row of every map: in their place if the picture has one plane."""
    alone = shape.n_maps == 1
    if not alone:
        code.move(Gpr.R9, _argument("planes"))
    for index in range(shape.n_maps):
        code.move(Gpr.R10, _field("values"))
        code.add(Gpr.R10, Gpr.RBX)
        code.move(Gpr.RAX, Gpr.RDX if alone else Gpr.R9)
        code.move(Gpr.R11, _argument("n_turns"))
        for register, name in _STATE:
            code.load(register, _field(name))
        for register, name in ((_MASK, "mask"), (_GAIN, "gain"), (_OFFSET, "offset"), (_LIMIT, "limit")):
            code.broadcast(register, _field(name))
        code.label(f"map {index}")
        for first in (True, False):
            place = At(Gpr.R10, 0 if first else VALUES * shape.itemsize)
            _write_vector(code, shape, place, _FIRST if first else _WORK)
        code.packed(Packed.INT32_TO_UINT16, _FIRST, _FIRST, _WORK)
        code.packed(Packed.ORDER_QUARTERS, _FIRST, 0, _FIRST, 0b11_01_10_00)
        code.packed(Packed.UPPER_HALF, _FIRST, 0, _WORK, 1)
        code.packed(Packed.UINT16_TO_UINT8, _FIRST, _FIRST, _WORK, half=True)
        code.packed(Packed.STORE, _FIRST, 0, At(Gpr.RAX), half=True)
        code.add(Gpr.R10, PIXELS * shape.itemsize)
        code.add(Gpr.RAX, PIXELS * shape.n_maps)
        code.add(Gpr.R11, -1)
        code.jump(f"map {index}", Condition.NOT_EQUAL)
        for register, name in _STATE:
            code.store(register, _field(name))
        code.add(Gpr.RCX, ctypes.sizeof(MapState))
        if not alone:
            code.add(Gpr.R9, PIXELS)


def _write_vector(code: Assembler, shape: Shape, place: At, into: int) -> None:
    """Write what counts and tones eight values, and leaves them as 32-bit integers."""
    if shape.itemsize == 2:
        code.packed(Packed.INT16_TO_INT32, _VALUE, 0, place)
        code.packed(Packed.INT32_TO_FLOAT, _VALUE, 0, _VALUE)
    else:
        code.load(_VALUE, place)
    code.packed(Packed.LEAST, _LEAST, _LEAST, _VALUE)
    code.packed(Packed.MOST, _MOST, _MOST, _VALUE)
    code.packed(Packed.FLOAT_TO_DOUBLE, _PART, 0, _VALUE)
    code.packed(Packed.ADD_DOUBLES, _LOW_SUM, _LOW_SUM, _PART)
    code.packed(Packed.UPPER_HALF, _VALUE, 0, _PART, 1)
    code.packed(Packed.FLOAT_TO_DOUBLE, _PART, 0, _PART)
    code.packed(Packed.ADD_DOUBLES, _HIGH_SUM, _HIGH_SUM, _PART)
    code.packed(Packed.AND, _VALUE, _VALUE, _MASK)
    code.packed(Packed.MULTIPLY, _VALUE, _VALUE, _GAIN)
    code.packed(Packed.ADD, _VALUE, _VALUE, _OFFSET)
    code.packed(Packed.ROUND, _VALUE, 0, _VALUE, ROUND_TO_EVEN)
    for test, limit, count in ((IS_LESS, _ZERO, _N_LOW), (IS_GREATER, _LIMIT, _N_HIGH)):
        code.packed(Packed.COMPARE, _PART, _VALUE, limit, test)
        code.packed(Packed.SUBTRACT_INT32, count, count, _PART)  # true is -1
    code.packed(Packed.MOST, _VALUE, _VALUE, _ZERO)
    code.packed(Packed.LEAST, _VALUE, _VALUE, _LIMIT)
    code.packed(Packed.FLOAT_TO_INT32, into, 0, _VALUE)


def _write_interleaving(code: Assembler, shape: Shape) -> None:
    """Write what puts the bytes of all maps side by side, in one row."""
    code.move(Gpr.R9, _argument("planes"))
    code.move(Gpr.R14, _argument("places"))
    code.move(Gpr.RAX, Gpr.RDX)
    code.move(Gpr.R11, _argument("n_turns"))
    code.label("pixels")
    for index in range(shape.n_maps):
        code.packed(Packed.LOAD, index, 0, At(Gpr.R9, index * PIXELS), half=True)
    total, part = 8, 9
    for vector in range(shape.n_maps):
        for index in range(shape.n_maps):
            places = At(Gpr.R14, (vector * shape.n_maps + index) * PIXELS)
            code.packed(Packed.PICK_BYTES, part if index else total, index, places, half=True)
            if index:
                code.packed(Packed.OR, total, total, part, half=True)
        code.packed(Packed.STORE, total, 0, At(Gpr.RAX, vector * PIXELS), half=True)
    code.add(Gpr.R9, PIXELS * shape.n_maps)
    code.add(Gpr.RAX, PIXELS * shape.n_maps)
    code.add(Gpr.R11, -1)
    code.jump("pixels", Condition.NOT_EQUAL)
