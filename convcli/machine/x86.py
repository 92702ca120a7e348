"""An assembler for the few x86-64 instructions that convolving a picture and storing it are made of.

64-bit pointers and counters; vectors of float32 or float64, in their AVX2 form (VEX, 32 bytes, 16 registers) or their
AVX-512 form (EVEX, 64 bytes); and, in their AVX2 form only, the conversions and comparisons between a sum and a stored
byte (:class:`Packed`). Encodings follow the Intel 64 Software Developer's Manual, volume 2, chapter 2 (prefixes, ModRM)
and the instructions' own pages. Every memory operand is ``[base + 32-bit displacement]``.

Standard library only.
"""

from __future__ import annotations

from enum import Enum, IntEnum

from convcli.record import NamedTuple


class Gpr(IntEnum):
    """The general registers that a function of the System V ABI may change; RBX, RBP and R13 on if it puts them back.

    RSP and R12 are missing: as a base they are written otherwise.
    """

    RAX = 0
    RCX = 1
    RDX = 2
    RBX = 3
    RBP = 5
    RSI = 6
    RDI = 7
    R8 = 8
    R9 = 9
    R10 = 10
    R11 = 11
    R13 = 13
    R14 = 14
    R15 = 15


class At(NamedTuple):
    """Memory ``displacement`` bytes from where ``base`` points."""

    base: Gpr
    displacement: int = 0


class Condition(IntEnum):
    """When a jump is taken, after a comparison of signed numbers."""

    NOT_EQUAL = 0x5
    LESS = 0xC
    GREATER_OR_EQUAL = 0xD


class _Opcode(NamedTuple):
    """A vector instruction: mandatory prefix (pp), opcode map (mm), the wide bit in VEX and in EVEX, opcode."""

    prefix: int
    table: int
    wide: bool
    wide_evex: bool
    code: int


_0F, _0F38, _0F3A = 1, 2, 3
_NONE, _66 = 0, 1
_ZERO = _Opcode(_66, _0F, False, False, 0xEF)  # vpxor, vpxord
_LOAD = _Opcode(_NONE, _0F, False, False, 0x10)  # vmovups
_STORE = _Opcode(_NONE, _0F, False, False, 0x11)
_PERMUTE = _Opcode(_66, _0F38, False, False, 0x16)  # vpermps
#: By bytes of a number: ps, pd.
_BROADCAST = {4: _Opcode(_66, _0F38, False, False, 0x18), 8: _Opcode(_66, _0F38, False, True, 0x19)}
_MULTIPLY_ADD = {4: _Opcode(_66, _0F38, False, False, 0xB8), 8: _Opcode(_66, _0F38, True, True, 0xB8)}  # vfmadd231
_ADD = {4: _Opcode(_NONE, _0F, False, False, 0x58), 8: _Opcode(_66, _0F, False, True, 0x58)}
_SHUFFLE_PS = _Opcode(_NONE, _0F, False, False, 0xC6)
_UNPACK_PD = _Opcode(_66, _0F, False, True, 0x14), _Opcode(_66, _0F, False, True, 0x15)  # vunpcklpd, vunpckhpd


class Packed(Enum):
    """Instructions for vectors of 32 bytes, or of 16 where asked; those that need a number with them say so."""

    INT16_TO_INT32 = _Opcode(_66, _0F38, False, False, 0x23)  # vpmovsxwd
    INT32_TO_FLOAT = _Opcode(_NONE, _0F, False, False, 0x5B)  # vcvtdq2ps
    FLOAT_TO_INT32 = _Opcode(_66, _0F, False, False, 0x5B)  # vcvtps2dq
    FLOAT_TO_DOUBLE = _Opcode(_NONE, _0F, False, False, 0x5A)  # vcvtps2pd, of half a vector
    ADD_DOUBLES = _Opcode(_66, _0F, False, False, 0x58)  # vaddpd
    ADD = _Opcode(_NONE, _0F, False, False, 0x58)  # vaddps
    MULTIPLY = _Opcode(_NONE, _0F, False, False, 0x59)  # vmulps
    SQUARE_ROOT = _Opcode(_NONE, _0F, False, False, 0x51)  # vsqrtps
    LEAST = _Opcode(_NONE, _0F, False, False, 0x5D)  # vminps
    MOST = _Opcode(_NONE, _0F, False, False, 0x5F)  # vmaxps
    AND = _Opcode(_NONE, _0F, False, False, 0x54)  # vandps
    ROUND = _Opcode(_66, _0F3A, False, False, 0x08)  # vroundps; the number is ROUND_TO_EVEN
    COMPARE = _Opcode(_NONE, _0F, False, False, 0xC2)  # vcmpps; the number is IS_LESS or IS_GREATER
    SUBTRACT_INT32 = _Opcode(_66, _0F, False, False, 0xFA)  # vpsubd
    INT32_TO_UINT16 = _Opcode(_66, _0F38, False, False, 0x2B)  # vpackusdw
    UINT16_TO_UINT8 = _Opcode(_66, _0F, False, False, 0x67)  # vpackuswb
    ORDER_QUARTERS = _Opcode(_66, _0F3A, True, True, 0x00)  # vpermq; the number has two bits for each place
    UPPER_HALF = _Opcode(_66, _0F3A, False, False, 0x39)  # vextracti128; into and source change places, the number is 1
    PICK_BYTES = _Opcode(_66, _0F38, False, False, 0x00)  # vpshufb
    OR = _Opcode(_66, _0F, False, False, 0xEB)  # vpor
    LOAD = _LOAD
    STORE = _STORE


ROUND_TO_EVEN, IS_LESS, IS_GREATER = 8, 0x11, 0x1E


class Assembler:
    """Machine code, written one instruction a call.

    Parameters
    ----------
    vector_bytes : {32, 64}
        AVX2 or AVX-512.
    itemsize : {4, 8}
        Bytes of a number: float32 or float64.

    Examples
    --------
    >>> code = Assembler(32, 4)
    >>> code.multiply_add(1, 2, 3)
    >>> code.ret()
    >>> code.finish().hex()
    'c4e26db8cbc3'
    """

    def __init__(self, vector_bytes: int, itemsize: int) -> None:
        self.vector_bytes, self.itemsize = vector_bytes, itemsize
        self._bytes = bytearray()
        self._labels: dict[str, int] = {}
        self._jumps: list[tuple[int, str]] = []

    def finish(self) -> bytes:
        """Return the code with its jumps resolved."""
        for position, label in self._jumps:
            distance = self._labels[label] - (position + 4)
            self._bytes[position : position + 4] = distance.to_bytes(4, "little", signed=True)
        return bytes(self._bytes)

    # Pointers and counters

    def label(self, name: str) -> None:
        """Let jumps to ``name`` arrive here."""
        self._labels[name] = len(self._bytes)

    def jump(self, label: str, when: Condition | None = None) -> None:
        """Go on at ``label``, always or under a condition."""
        self._bytes += b"\xe9" if when is None else bytes((0x0F, 0x80 | when))
        self._jumps.append((len(self._bytes), label))
        self._bytes += bytes(4)

    def move(self, into: Gpr, source: Gpr | At) -> None:
        """Copy a register, or 64 bits of memory."""
        self._general(0x8B, into, source)

    def add(self, into: Gpr, addend: Gpr | At | int) -> None:
        """Add a register, 64 bits of memory or a number of 32 bits."""
        if isinstance(addend, int) and not isinstance(addend, Gpr):
            self._general(0x81, Gpr(0), into)
            self._bytes += addend.to_bytes(4, "little", signed=True)
        else:
            self._general(0x03, into, addend)

    def subtract(self, into: Gpr, subtrahend: Gpr | At) -> None:
        """Subtract a register or 64 bits of memory; zero is not :attr:`Condition.NOT_EQUAL`."""
        self._general(0x2B, into, subtrahend)

    def compare(self, left: Gpr, right: Gpr | At) -> None:
        """Compare for the next jump."""
        self._general(0x3B, left, right)

    def address(self, into: Gpr, of: At) -> None:
        """Put the address of ``of`` into a register."""
        self._general(0x8D, into, of)

    def push(self, register: Gpr) -> None:
        """Keep a register on the stack."""
        self._bytes += bytes((0x40 | register >> 3, 0x50 | register & 7))

    def pop(self, register: Gpr) -> None:
        """Put back what was kept."""
        self._bytes += bytes((0x40 | register >> 3, 0x58 | register & 7))

    def prefetch(self, line: At) -> None:
        """Ask for a cache line that will be read (prefetcht0); where there is no memory nothing happens."""
        self._bytes += bytes((0x40 | line.base >> 3, 0x0F, 0x18))
        self._operand(1, line)

    def ret(self) -> None:
        """Return to the caller."""
        self._bytes += b"\xc3"

    def end_vectors(self) -> None:
        """Clear the upper halves of the vector registers (vzeroupper), as callers expect them."""
        self._bytes += b"\xc5\xf8\x77"

    # Vectors, by number of register

    def load(self, into: int, source: At) -> None:
        """Read a vector, aligned or not."""
        self._vector(_LOAD, into, 0, source)

    def store(self, source: int, into: At) -> None:
        """Write a vector, aligned or not."""
        self._vector(_STORE, source, 0, into)

    def broadcast(self, into: int, source: At) -> None:
        """Read one number into all places."""
        self._vector(_BROADCAST[self.itemsize], into, 0, source)

    def multiply_add(self, into: int, left: int, right: int | At) -> None:
        """Add ``left`` times ``right``, rounded once."""
        self._vector(_MULTIPLY_ADD[self.itemsize], into, left, right)

    def add_numbers(self, into: int, left: int, right: int) -> None:
        """Add two vectors."""
        self._vector(_ADD[self.itemsize], into, left, right)

    def zero(self, into: int) -> None:
        """Set every number to 0."""
        self._vector(_ZERO, into, into, into)

    def every_second(self, into: int, low: int, high: int, *, odd: bool) -> None:
        """Take the even or the odd places of two vectors, pairs of 64 bits out of order: :meth:`permute` mends that."""
        if self.itemsize == 4:
            self._vector(_SHUFFLE_PS, into, low, high)
            self._bytes.append(0xDD if odd else 0x88)
        else:
            self._vector(_UNPACK_PD[odd], into, low, high)

    def permute(self, into: int, order: int, source: int) -> None:
        """Put 32-bit places in the order that the vector ``order`` tells."""
        self._vector(_PERMUTE, into, order, source)

    def packed(
        self, what: Packed, into: int, left: int, right: int | At, number: int | None = None, *, half: bool = False
    ) -> None:
        """Write one instruction in its AVX2 form; ``left`` is 0 where there is one operand, ``half`` means 16 bytes."""
        self._vex(what.value, into, left, right, half=half)
        if number is not None:
            self._bytes.append(number)

    def _general(self, opcode: int, register: Gpr, operand: Gpr | At) -> None:
        base = operand.base if isinstance(operand, At) else operand
        self._bytes += bytes((0x48 | (register >> 3) << 2 | base >> 3, opcode))
        self._operand(register, operand)

    def _vector(self, opcode: _Opcode, register: int, second: int, operand: int | At) -> None:
        if self.vector_bytes == 32:
            self._vex(opcode, register, second, operand)
            return
        outer, middle = _prefix_bits(opcode, register, second, operand)
        self._bytes += bytes((0x62, outer | 1 << 4, opcode.wide_evex << 7 | middle | 1 << 2, 0x48, opcode.code))
        self._operand(register, operand)

    def _vex(self, opcode: _Opcode, register: int, second: int, operand: int | At, *, half: bool = False) -> None:
        outer, middle = _prefix_bits(opcode, register, second, operand)
        self._bytes += bytes((0xC4, outer, opcode.wide << 7 | middle | (not half) << 2, opcode.code))
        self._operand(register, operand)

    def _operand(self, register: int, operand: int | At) -> None:
        if isinstance(operand, At):
            self._bytes.append(0x80 | (register & 7) << 3 | operand.base & 7)
            self._bytes += operand.displacement.to_bytes(4, "little", signed=True)
        else:
            self._bytes.append(0xC0 | (register & 7) << 3 | operand & 7)


def _prefix_bits(opcode: _Opcode, register: int, second: int, operand: int | At) -> tuple[int, int]:
    """Return what VEX and EVEX have in common: upper bits of registers and table; second operand and prefix."""
    base = operand.base if isinstance(operand, At) else operand
    outer = (~register >> 3 & 1) << 7 | 1 << 6 | (~base >> 3 & 1) << 5 | opcode.table
    return outer, (~second & 15) << 3 | opcode.prefix
