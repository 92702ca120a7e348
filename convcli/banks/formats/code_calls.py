"""Functions that pasted code may call on arrays: few, bounded, and none from the outside (NumPy)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from convcli.banks.bank import check_taps

Value = Any
#: Calls that return their argument: arrays and types.
SAME = frozenset(
    (  # noqa: SIM905 - a list of words
        "array asarray tensor Tensor matrix mat Mat float32 float64 float16 single double float half FloatTensor"
        " DoubleTensor list tuple Float32Array Float64Array new vec"
    ).split()
)
#: Methods that return their object.
KEPT = frozenset(
    "astype float double half to cuda cpu numpy tolist clone copy detach contiguous type".split()  # noqa: SIM905
)


def combined(operator: str, left: Value, right: Value) -> Value:
    """Return ``left operator right``; refuse with ``ValueError`` where languages differ."""
    if isinstance(left, (str, list)) or isinstance(right, (str, list)):
        raise ValueError("text where a number is expected")
    try:
        shape = np.broadcast_shapes(np.shape(left), np.shape(right))
    except ValueError:
        raise ValueError(f"arrays of {np.shape(left)} and {np.shape(right)} do not go together") from None
    check_taps(math.prod(shape), "the array")
    a, b = np.asarray(left, np.float64), np.asarray(right, np.float64)
    # A column times a row is the same in NumPy, which broadcasts, and in MATLAB.
    outer = a.ndim == 2 and a.shape[1] == 1 and b.ndim in (1, 2) and (b.ndim == 1 or b.shape[0] == 1)
    if operator == "@" and not outer:
        raise ValueError("only a column times a row is read as a matrix product")
    if operator == "*" and a.ndim and b.ndim and a.shape == b.shape and a.size > 1:
        raise ValueError("'*' of two arrays: element by element, or a matrix product?")
    result = {"+": np.add, "-": np.subtract, "*": np.multiply, "@": np.multiply, "/": np.divide}[operator](a, b)
    return result if result.ndim else float(result)


def _filled(value: float) -> Callable[..., Value]:
    def make(*sizes: Value) -> Value:
        shape = [int(size) for size in np.concatenate([np.ravel(size) for size in sizes])]
        if any(size < 1 for size in shape):
            raise ValueError("sizes must be 1 or more")
        check_taps(math.prod(shape), "the array")
        return np.full(shape, value)

    return make


def _eye(size: Value) -> Value:
    check_taps(int(size) ** 2, "the array")
    return np.eye(int(size))


def _reshaped(value: Value, *sizes: Value) -> Value:
    return np.reshape(value, [int(size) for size in np.concatenate([np.ravel(size) for size in sizes])])


def _outer(left: Value, right: Value) -> Value:
    check_taps(np.size(left) * np.size(right), "the array")
    return np.outer(left, right)


def _root(value: Value) -> Value:
    return float(np.sqrt(value)) if np.ndim(value) == 0 else np.sqrt(value)


def _total(value: Value, *_axes: Value) -> Value:
    if _axes:
        raise ValueError("a sum over some axes is not read")
    return float(np.sum(value))


FUNCTIONS: dict[str, Callable[..., Value]] = {
    "ones": _filled(1.0),
    "zeros": _filled(0.0),
    "eye": _eye,
    "outer": _outer,
    "sqrt": _root,
    "sqrtf": _root,
    "sum": _total,
    "reshape": _reshaped,
}
METHODS: dict[str, Callable[..., Value]] = {
    "sum": _total,
    "reshape": _reshaped,
    "view": _reshaped,
    # torch and NumPy name the same moves differently.
    "unsqueeze": lambda value, axis: np.expand_dims(value, int(axis)),
    "squeeze": lambda value, *axis: np.squeeze(value, *map(int, axis)),
    "transpose": lambda value: np.transpose(value),
    "t": lambda value: np.transpose(value),
    "item": lambda value: float(value),
}
