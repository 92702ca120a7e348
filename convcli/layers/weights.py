"""Numbers for the layers of a stack: from a bank, a checkpoint or a seeded initialiser (NumPy).

Weights have torch's layouts: (out, in/groups, …) for a convolution, (in, out/groups, …) for a transposed one.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from convcli.errors import KernelError, UsageError, near_names
from convcli.layers.layer import Numbers
from convcli.layers.stack import Stack
from convcli.layers.text import CHECKPOINTS
from convcli.layers.walk import Walk

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array: TypeAlias = "NDArray[Any]"

#: Parameters of each initialiser, with their defaults.
INITS = {
    "xavier": {"gain": 1.0},
    "kaiming": {"gain": sqrt(2)},
    "normal": {"mean": 0.0, "std": 0.02},
    "orthogonal": {"gain": 1.0},
    "constant": {"value": 0.0},
}


def load_numbers(stack: Stack, shape: Walk) -> list[Numbers]:
    """Return the numbers of every layer of a stack for one input, in float64; a layer without a source takes ``init``.

    Raises
    ------
    KernelError
        A bank or an entry is unknown or has another shape; names the layer.
    UsageError
        A layer has no source of numbers.
    """
    numbers = []
    for index, row in enumerate(shape.rows):
        try:
            numbers.append(row.layer.load(row, NumberSources(stack, index)))
        except (KernelError, UsageError) as error:
            raise error.within(f"layer {index + 1} ({row.layer.label})") from None
    return numbers


class NumberSources(NamedTuple):
    """The places from which layer ``number`` of a stack can take its numbers."""

    stack: Stack
    number: int

    def initial(self, shape: tuple[int, ...], own: Any) -> Array:
        """Return seeded random weights by the stack's ``init``, changed by the layer's ``own``."""
        init = dict(self.stack.init) | dict(own)
        if not init:
            raise UsageError("has no weights", hint="weight = 'sobel', weight = 'file.safetensors#entry' or init = {…}")
        return initial_weight(shape, init, self.number)

    def kernel(self, spec: str, wanted: tuple[int, ...], groups: int, *, with_bias: bool) -> tuple[Array, Array | None]:
        """Return weight and bias of a bank or of a checkpoint's entry, in the shape ``wanted``."""
        if spec.partition("#")[0].lower().endswith(CHECKPOINTS):
            weight = self.tensor(spec)
            bias = self.tensor(f"{spec.removesuffix('weight')}bias", missing_ok=True) if with_bias else None
            if weight.shape != wanted:
                raise _other_shape(spec, weight.shape, wanted)
            return weight, bias
        from convcli.banks import load_bank

        bank = load_bank(self._anchored(spec))
        weight = np.asarray(bank.weight, np.float64)
        weight = weight.reshape(*weight.shape[:2], *_strip(weight.shape[2:], len(wanted) - 2))
        repeated = weight
        if weight.shape[1] == 1 and wanted[1] == 1 and wanted[0] == groups * len(weight):
            repeated = np.tile(weight, (groups, 1, *(1,) * (weight.ndim - 2)))  # each kernel on each plane: c*K + k
        elif weight.shape[1] == 1 and groups == 1 and wanted[0] == len(weight):
            repeated = np.repeat(weight, wanted[1], axis=1)  # one kernel on every plane, added up
        if repeated.shape != wanted:
            raise _other_shape(spec, weight.shape, wanted)
        bias = None if bank.bias is None else np.resize(np.asarray(bank.bias, np.float64), wanted[0])
        return repeated, bias

    def tensor(self, spec: str, *, missing_ok: bool = False) -> Any:
        """Return one tensor of a checkpoint as float64; None if it is missing and may be."""
        name, _, entry = self._anchored(spec).partition("#")
        tensors = _read_arrays(Path(name))
        if entry in tensors:
            return np.asarray(tensors[entry], np.float64)
        if missing_ok:
            return None
        hint = near_names(entry, tensors) or f"entries: {', '.join(list(tensors)[:8])}"
        raise KernelError(f"{name!r} has no entry {entry!r}" if entry else f"{spec!r} names no entry", hint=hint)

    def _anchored(self, spec: str) -> str:
        """Return a SPEC with its file name in the stack's folder, if there is such a file."""
        name, mark, entry = spec.partition("#")
        folder = self.stack.folder
        if folder is not None and not Path(name).is_absolute() and (folder / name).is_file():
            return f"{folder / name}{mark}{entry}"
        return spec


def _strip(sizes: tuple[int, ...], n_axes: int) -> tuple[int, ...]:
    """Return kernel sizes for ``n_axes`` axes; only sizes of 1 are added or removed in front."""
    while len(sizes) > n_axes and sizes[0] == 1:
        sizes = sizes[1:]
    return (1,) * (n_axes - len(sizes)) + sizes


def _other_shape(spec: str, found: tuple[int, ...], wanted: tuple[int, ...]) -> KernelError:
    """Return the error for a weight that does not fit."""
    text = ["x".join(map(str, sizes)) for sizes in (found, wanted)]
    return KernelError(f"{spec!r} has shape {text[0]}, and the layer needs {text[1]} (out, in/groups, kernel)")


def _read_arrays(path: Path) -> Mapping[str, Array]:
    """Return the tensors of a checkpoint by name, under the names that ``convcli shape`` lists."""
    if not path.is_file():
        raise KernelError(f"no file {str(path)!r}")
    if path.suffix.lower() == ".safetensors":
        from convcli.banks.formats.safetensors_file import read_arrays
    else:
        from convcli.banks.formats.torch_file import read_arrays
    return read_arrays(path)


def initial_weight(shape: tuple[int, ...], init: Mapping[str, object], index: int) -> Array:
    """Return seeded random weights; fans are counted as torch counts them.

    Parameters
    ----------
    init : mapping
        ``kind``: ``xavier`` (Glorot and Bengio 2010, uniform), ``kaiming`` (He et al. 2015, normal, for ReLU),
        ``normal``, ``orthogonal`` (Saxe et al. 2014) or ``constant``; ``seed`` (0 if absent), and the kind's
        parameters (:data:`INITS`).
    index : int
        Number of the layer, so that layers of one seed differ.

    Raises
    ------
    UsageError
        The kind or a parameter is unknown.

    Examples
    --------
    >>> initial_weight((8, 3, 3, 3), {"kind": "kaiming", "seed": 1}, 0).shape
    (8, 3, 3, 3)
    """
    kind = str(init.get("kind", ""))
    if kind not in INITS:
        raise UsageError(f"unknown init {kind!r}", hint=near_names(kind, INITS) or f"known: {', '.join(INITS)}")
    for key in init:
        if key not in ("kind", "seed", *INITS[kind]):
            raise UsageError(f"init {kind} has no {key!r}", hint=f"kind, seed, {', '.join(INITS[kind])}")
    values = INITS[kind] | {key: _finite(key, value) for key, value in init.items() if key not in ("kind", "seed")}
    seed = init.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise UsageError(f"seed {seed!r} is not a whole number of at least 0")
    random = np.random.default_rng([seed, index])
    fan_in, fan_out = prod(shape[1:]), shape[0] * prod(shape[2:])
    if kind == "xavier":
        limit = values["gain"] * sqrt(6 / (fan_in + fan_out))
        return random.uniform(-limit, limit, shape)
    if kind == "kaiming":
        return random.normal(0, values["gain"] / sqrt(fan_in), shape)
    if kind == "normal":
        return random.normal(values["mean"], values["std"], shape)
    if kind == "constant":
        return np.full(shape, values["value"])
    rows, columns = shape[0], prod(shape[1:])
    q, r = np.linalg.qr(random.normal(size=(max(rows, columns), min(rows, columns))))
    q *= np.sign(np.diag(r))
    return values["gain"] * (q if rows >= columns else q.T).reshape(shape)


def _finite(key: str, value: object) -> float:
    """Return a parameter of an initialiser as a number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise UsageError(f"init: {key} {value!r} is not a number")
    return float(value)
