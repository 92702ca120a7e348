"""The program of a direct convolution: rows of outputs, a few vectors at a time, every tap into registers.

A program depends on where the taps of one kernel row lie and on the type of the numbers, not on the taps themselves,
and serves every kernel of that shape. What it works on comes in :class:`Arguments`. In words, for each output row::

    for each map:
        for each group of vectors in the row (the last one ends with the row, and may overlap the one before):
            sums = 0
            for each plane, for each row of its taps:
                for each tap: sums += tap · samples of that row, from the tap's place on
            outputs = sums + bias

Standard library only.
"""

from __future__ import annotations

import ctypes

from convcli.machine.x86 import Assembler, At, Condition, Gpr
from convcli.record import NamedTuple

#: Vectors of outputs in one group, by step: as many sums as hide an addition's latency; fewer where rows are short.
GROUP_VECTORS = {1: (8, 4, 2, 1), 2: (4, 2, 1)}
#: How far ahead samples are asked for, and in steps of which size: processors follow several rows at once only so far.
PREFETCH_BYTES, CACHE_LINE_BYTES = 2048, 64
#: Registers beside the sums.
_TAP, _ODD_TAP, _ORDER, _LOW, _HIGH, _PART = 15, 14, 13, 8, 9, 10
#: What stays the same for a map, and those registers that the caller wants back.
_MAP_TAPS, _MAP_OUT, _MAP_BIAS, _MAPS_LEFT = Gpr.R13, Gpr.R14, Gpr.RBP, Gpr.R15
_KEPT = (Gpr.RBX, _MAP_TAPS, _MAP_OUT, _MAP_BIAS, _MAPS_LEFT)
#: 32-bit places of two vectors' 64-bit pairs, one from each in turn, put one vector after the other.
PAIRS_IN_ORDER = {32: (0, 1, 4, 5, 2, 3, 6, 7), 64: (0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15)}


class Arguments(ctypes.Structure):
    """What a program works on; addresses and distances in bytes.

    ``rows`` is a table of addresses: where the samples of each padded row begin, for one plane after the other.
    """

    _fields_ = (
        ("rows", ctypes.c_int64),
        ("plane_step", ctypes.c_int64),  # in the table, from the end of one plane's window to the next one's begin
        ("row_step", ctypes.c_int64),  # in the table, from one output row to the next
        ("tap_step", ctypes.c_int64),  # in the table, from one row of taps to the next
        ("window_step", ctypes.c_int64),  # in the table, all rows of taps
        ("n_planes", ctypes.c_int64),
        ("taps", ctypes.c_int64),
        ("taps_step", ctypes.c_int64),  # from one map's to the next one's
        ("biases", ctypes.c_int64),
        ("n_maps", ctypes.c_int64),
        ("out", ctypes.c_int64),
        ("out_map_step", ctypes.c_int64),
        ("out_step", ctypes.c_int64),
        ("out_bytes", ctypes.c_int64),
        ("n_rows", ctypes.c_int64),
        ("order", ctypes.c_int32 * 16),
    )


class Shape(NamedTuple):
    """What tells programs apart.

    Attributes
    ----------
    places : tuple of int
        Bytes from the first sample of a row of taps to the one that each tap meets.
    step : {1, 2}
        Samples from output to output.
    itemsize : {4, 8}
    vector_bytes : {32, 64}
    """

    places: tuple[int, ...]
    step: int
    itemsize: int
    vector_bytes: int


def _argument(name: str) -> At:
    return At(Gpr.RDI, getattr(Arguments, name).offset)


def write_program(shape: Shape) -> bytes:
    """Return the machine code of ``void program(Arguments *)``.

    Every output row has at least one vector of outputs. Samples are read from the first output's first tap to the last
    output's last, and where ``step`` is 2 up to the end of that pair of samples.

    Examples
    --------
    >>> len(write_program(Shape((0, 4, 8), step=1, itemsize=4, vector_bytes=64))) < 2000
    True
    """
    code = Assembler(shape.vector_bytes, shape.itemsize)
    for register in _KEPT:
        code.push(register)
    if shape.step == 2:
        code.load(_ORDER, _argument("order"))
    code.move(Gpr.RSI, _argument("rows"))
    code.move(Gpr.RDX, _argument("out"))
    code.move(Gpr.RCX, _argument("n_rows"))

    code.label("row")
    code.move(_MAP_TAPS, _argument("taps"))
    code.move(_MAP_BIAS, _argument("biases"))
    code.move(_MAP_OUT, Gpr.RDX)
    code.move(_MAPS_LEFT, _argument("n_maps"))

    code.label("map")
    code.subtract(Gpr.RAX, Gpr.RAX)  # bytes of the row that are done
    sizes = GROUP_VECTORS[shape.step]
    for size in sizes[:-1]:  # the largest that a row has
        code.move(Gpr.R10, _argument("out_bytes"))
        code.address(Gpr.R11, At(Gpr.R10, -size * shape.vector_bytes))
        code.compare(Gpr.R11, Gpr.RAX)
        code.jump(f"by {size}", Condition.GREATER_OR_EQUAL)
    for size in reversed(sizes):
        _write_row(code, shape, size, f"by {size}")

    code.label("next map")
    code.add(_MAP_TAPS, _argument("taps_step"))
    code.add(_MAP_BIAS, shape.itemsize)
    code.add(_MAP_OUT, _argument("out_map_step"))
    code.add(_MAPS_LEFT, -1)
    code.jump("map", Condition.NOT_EQUAL)

    code.add(Gpr.RSI, _argument("row_step"))
    code.add(Gpr.RDX, _argument("out_step"))
    code.add(Gpr.RCX, -1)
    code.jump("row", Condition.NOT_EQUAL)
    code.end_vectors()
    for register in reversed(_KEPT):
        code.pop(register)
    code.ret()
    return code.finish()


def _write_row(code: Assembler, shape: Shape, n_vectors: int, label: str) -> None:
    """Write what makes one output row in groups of so many vectors; the last one ends with the row."""
    code.label(label)
    _write_group(code, shape, n_vectors, label)
    code.move(Gpr.R10, _argument("out_bytes"))
    code.compare(Gpr.RAX, Gpr.R10)
    code.jump("next map", Condition.GREATER_OR_EQUAL)
    code.address(Gpr.R11, At(Gpr.R10, -n_vectors * shape.vector_bytes))
    code.compare(Gpr.RAX, Gpr.R11)
    code.jump(label, Condition.LESS)
    code.move(Gpr.RAX, Gpr.R11)
    code.jump(label)


def _write_group(code: Assembler, shape: Shape, n_vectors: int, label: str) -> None:
    """Write what makes so many vectors of outputs, from RAX on, and moves RAX past them."""
    for vector in range(n_vectors):
        code.zero(vector)
    code.move(Gpr.R8, Gpr.RSI)
    code.move(Gpr.R9, _MAP_TAPS)
    code.move(Gpr.RBX, _argument("n_planes"))

    code.label(f"{label}: plane")
    code.move(Gpr.R11, Gpr.R8)
    code.add(Gpr.R11, _argument("window_step"))
    code.label(f"{label}: row")
    code.move(Gpr.R10, At(Gpr.R8))
    for _ in range(shape.step):
        code.add(Gpr.R10, Gpr.RAX)
    if n_vectors == GROUP_VECTORS[shape.step][0]:  # a long row
        for line in range(0, n_vectors * shape.step * shape.vector_bytes, CACHE_LINE_BYTES):
            code.prefetch(At(Gpr.R10, PREFETCH_BYTES + line))
    (_write_taps if shape.step == 1 else _write_taps_step_2)(code, shape, n_vectors)
    code.add(Gpr.R9, len(shape.places) * shape.itemsize)
    code.add(Gpr.R8, _argument("tap_step"))
    code.compare(Gpr.R8, Gpr.R11)
    code.jump(f"{label}: row", Condition.NOT_EQUAL)
    code.add(Gpr.R8, _argument("plane_step"))
    code.add(Gpr.RBX, -1)
    code.jump(f"{label}: plane", Condition.NOT_EQUAL)

    code.move(Gpr.R11, _MAP_OUT)
    code.add(Gpr.R11, Gpr.RAX)
    code.broadcast(_TAP, At(_MAP_BIAS))
    for vector in range(n_vectors):
        if shape.step == 2:
            code.permute(vector, _ORDER, vector)
        code.add_numbers(vector, vector, _TAP)
        code.store(vector, At(Gpr.R11, vector * shape.vector_bytes))
    code.add(Gpr.RAX, n_vectors * shape.vector_bytes)


def _write_taps(code: Assembler, shape: Shape, n_vectors: int) -> None:
    for tap, place in enumerate(shape.places):
        code.broadcast(_TAP, At(Gpr.R9, tap * shape.itemsize))
        for vector in range(n_vectors):
            code.multiply_add(vector, _TAP, At(Gpr.R10, place + vector * shape.vector_bytes))


def _write_taps_step_2(code: Assembler, shape: Shape, n_vectors: int) -> None:
    """Two vectors hold the samples of a vector of outputs twice: their even places for one tap, the odd for the next.

    They are left out of order until all is added up.
    """
    pairs: dict[int, dict[bool, int]] = {}
    for tap, place in enumerate(shape.places):
        odd = place // shape.itemsize % 2 == 1
        pairs.setdefault(place - odd * shape.itemsize, {})[odd] = tap
    registers = {False: _TAP, True: _ODD_TAP}
    for place, taps in pairs.items():
        for odd, tap in taps.items():
            code.broadcast(registers[odd], At(Gpr.R9, tap * shape.itemsize))
        for vector in range(n_vectors):
            code.load(_LOW, At(Gpr.R10, place + 2 * vector * shape.vector_bytes))
            code.load(_HIGH, At(Gpr.R10, place + (2 * vector + 1) * shape.vector_bytes))
            for odd in taps:
                code.every_second(_PART, _LOW, _HIGH, odd=odd)
                code.multiply_add(vector, registers[odd], _PART)
