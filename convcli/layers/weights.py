"""Numbers for the layers of a stack: from a bank, a checkpoint, a seeded initialiser, or written into the file (NumPy).

Weights have torch's layouts: (out, in/groups, …) for a convolution, (in, out/groups, …) for a transposed one.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod, sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from convcli.errors import KernelError, UsageError, near_names
from convcli.layers.file import Stack
from convcli.layers.sources import is_checkpoint
from convcli.layers.stack import LayerShape, StackShape

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array: TypeAlias = "NDArray[Any]"

#: Initialisers and the parameters that each takes.
INITS = {
    "xavier": ("gain",),
    "kaiming": ("gain",),
    "normal": ("mean", "std"),
    "orthogonal": ("gain",),
    "constant": ("value",),
}
_NORM = {"mean": 0.0, "var": 1.0, "gamma": 1.0, "beta": 0.0}
#: torch's names for what a batch norm has.
_NORM_ENTRIES = {"mean": "running_mean", "var": "running_var", "gamma": "weight", "beta": "bias"}


class LayerNumbers(NamedTuple):
    """What one layer multiplies and adds: a convolution's weight and bias, or a batch norm's factor and offset."""

    weight: Array | None = None
    bias: Array | None = None


def load_numbers(stack: Stack, shape: StackShape) -> list[LayerNumbers]:
    """Return the numbers of every layer of a stack for one input.

    Parameters
    ----------
    stack : Stack
        Where each layer's numbers come from; a layer that does not say takes the stack's ``init``.
    shape : StackShape
        The stack on its input, which fixes the channels of depthwise layers.

    Returns
    -------
    list of LayerNumbers
        float64, one per layer; None where a layer has none.

    Raises
    ------
    KernelError
        A bank or an entry is unknown or has another shape; says which layer.
    UsageError
        A layer has no source of numbers.
    """
    numbers = []
    for index, row in enumerate(shape.rows):
        try:
            numbers.append(_layer_numbers(stack, row, index))
        except (KernelError, UsageError) as error:
            raise error.within(f"layer {index + 1} ({row.layer.label})") from None
    return numbers


def weight_shape(row: LayerShape) -> tuple[int, ...]:
    """Return the shape of a convolution's weight, in torch's layout.

    Examples
    --------
    >>> from convcli.layers.text import parse_layers
    >>> from convcli.layers.stack import walk
    >>> weight_shape(walk(parse_layers("convtranspose:8,k=2,s=2"), (3, 4, 4)).rows[0])
    (3, 8, 2, 2)
    """
    first, second = row.output[0], row.input[0] // row.groups
    if row.layer.kind == "convtranspose":
        first, second = row.input[0], row.output[0] // row.groups
    return (first, second, *row.layer.kernel_size)


def _layer_numbers(stack: Stack, row: LayerShape, index: int) -> LayerNumbers:
    """Return the numbers of one layer."""
    layer, sources = row.layer, dict(row.layer.weights)
    if layer.kind == "batchnorm":
        return _norm_numbers(stack, row, sources)
    if layer.kind not in ("conv", "convtranspose"):
        return LayerNumbers()
    if "weight" in sources and "init" in sources:
        raise UsageError("has both weight and init", hint="one source of numbers a layer")
    wanted = weight_shape(row)
    bias: Array | None = None
    if "weight" in sources:
        weight, bias = _load_weight(stack, row, str(sources["weight"]))
        if "bias_from" in sources:
            bias = _entry(stack, str(sources["bias_from"]))
        if layer.bias and bias is None:
            raise KernelError(
                f"has a bias, and {sources['weight']!r} brings none", hint="bias = false, or bias_from = 'file#entry'"
            )
    else:
        init = dict(stack.init) | dict(sources.get("init", ()))  # type: ignore[call-overload]
        if not init:
            raise UsageError("has no weights", hint="weight = 'sobel', weight = 'file.safetensors#entry' or init = {…}")
        weight, bias = initial_weight(wanted, init, index), np.zeros(row.output[0])
    if not layer.bias:
        return LayerNumbers(weight)
    bias = np.asarray(bias, np.float64).reshape(-1)
    if len(bias) != row.output[0]:
        raise KernelError(f"the bias has {len(bias)} numbers for {row.output[0]} maps")
    return LayerNumbers(weight, bias)


def _load_weight(stack: Stack, row: LayerShape, spec: str) -> tuple[Array, Array | None]:
    """Return weight and bias of a SPEC, in the layer's shape."""
    wanted = weight_shape(row)
    if is_checkpoint(spec.partition("#")[0]):
        weight = _entry(stack, spec)
        bias = _entry(stack, f"{spec.removesuffix('weight')}bias", missing_ok=True) if row.layer.bias else None
        if weight.shape != wanted:
            raise _other_shape(spec, weight.shape, wanted)
        return weight, bias
    from convcli.banks import load_bank

    bank = load_bank(_anchored(stack, spec))
    weight = np.asarray(bank.weight, np.float64)
    weight = weight.reshape(*weight.shape[:2], *_strip(weight.shape[2:], len(wanted) - 2))
    repeated = weight
    if weight.shape[1] == 1 and wanted[1] == 1 and wanted[0] == row.groups * len(weight):
        repeated = np.tile(weight, (row.groups, 1, *(1,) * (weight.ndim - 2)))  # each kernel on each plane: c*K + k
    elif weight.shape[1] == 1 and row.groups == 1 and wanted[0] == len(weight):
        repeated = np.repeat(weight, wanted[1], axis=1)  # one kernel on every plane, added up
    if repeated.shape != wanted:
        raise _other_shape(spec, weight.shape, wanted)
    bias = None if bank.bias is None else np.resize(np.asarray(bank.bias, np.float64), wanted[0])
    return repeated, bias


def _strip(sizes: tuple[int, ...], n_axes: int) -> tuple[int, ...]:
    """Return kernel sizes without the leading ones that a bank of fewer or more axes has."""
    while len(sizes) > n_axes and sizes[0] == 1:
        sizes = sizes[1:]
    return (1,) * (n_axes - len(sizes)) + sizes


def _other_shape(spec: str, found: tuple[int, ...], wanted: tuple[int, ...]) -> KernelError:
    """Return the error for a weight that does not fit."""
    text = ["x".join(map(str, sizes)) for sizes in (found, wanted)]
    return KernelError(f"{spec!r} has shape {text[0]}, and the layer needs {text[1]} (out, in/groups, kernel)")


def _anchored(stack: Stack, spec: str) -> str:
    """Return a SPEC with a file name that counts from the stack's folder, if there is such a file."""
    name, mark, entry = spec.partition("#")
    if stack.folder is not None and not Path(name).is_absolute() and (stack.folder / name).is_file():
        return f"{stack.folder / name}{mark}{entry}"
    return spec


def _entry(stack: Stack, spec: str, *, missing_ok: bool = False) -> Any:
    """Return one tensor of a checkpoint as float64, or None if it may be missing and is."""
    name, _, entry = _anchored(stack, spec).partition("#")
    tensors = _read_arrays(Path(name))
    if entry in tensors:
        return np.asarray(tensors[entry], np.float64)
    if missing_ok:
        return None
    hint = near_names(entry, tensors) or f"entries: {', '.join(list(tensors)[:8])}"
    raise KernelError(f"{name!r} has no entry {entry!r}" if entry else f"{spec!r} names no entry", hint=hint)


def _read_arrays(path: Path) -> Mapping[str, Array]:
    """Return the tensors of a checkpoint by name, under the names that ``convcli shape`` lists."""
    if not path.is_file():
        raise KernelError(f"no file {str(path)!r}")
    if path.suffix.lower() == ".safetensors":
        from convcli.banks.formats.safetensors_file import read_arrays
    else:
        from convcli.banks.formats.torch_file import read_arrays
    return read_arrays(path)


def _norm_numbers(stack: Stack, row: LayerShape, sources: Mapping[str, object]) -> LayerNumbers:
    """Return a batch norm as one factor and one offset per channel; an untrained one if nothing is said."""
    given: dict[str, Any] = dict(_NORM)
    if "weight" in sources:
        prefix = str(sources["weight"]).removesuffix(".weight")
        given |= {key: _entry(stack, f"{prefix}.{entry}") for key, entry in _NORM_ENTRIES.items()}
    for key, value in dict(sources.get("constants", ())).items():  # type: ignore[call-overload]
        if key not in _NORM:
            raise UsageError(f"constants has no {key!r}", hint=near_names(key, _NORM) or f"known: {', '.join(_NORM)}")
        given[key] = value
    columns = {}
    for key, value in given.items():
        try:
            columns[key] = np.broadcast_to(np.asarray(value, np.float64), (row.input[0],))
        except ValueError:
            raise KernelError(f"{key} has {np.size(value)} numbers for {row.input[0]} channels") from None
    if columns["var"].min() < 0:
        raise KernelError("a variance is negative")
    factor = columns["gamma"] / np.sqrt(columns["var"] + row.layer.eps)
    return LayerNumbers(factor, columns["beta"] - columns["mean"] * factor)


def initial_weight(shape: tuple[int, ...], init: Mapping[str, object], index: int) -> Array:
    """Return seeded random weights.

    ``xavier`` (Glorot and Bengio 2010, uniform), ``kaiming`` (He et al. 2015, normal, for ReLU), ``normal``,
    ``orthogonal`` (Saxe et al. 2014) or ``constant``; fans are counted as torch counts them.

    Parameters
    ----------
    shape : tuple of int
        Shape of the weight.
    init : mapping
        ``kind``, ``seed`` (0 if absent), and the parameters of the kind (:data:`INITS`).
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
    values = {key: _finite(key, value) for key, value in init.items() if key not in ("kind", "seed")}
    seed = init.get("seed", 0)
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise UsageError(f"seed {seed!r} is not a whole number of at least 0")
    random = np.random.default_rng([seed, index])
    fan_in, fan_out = prod(shape[1:]), shape[0] * prod(shape[2:])
    if kind == "xavier":
        limit = values.get("gain", 1.0) * sqrt(6 / (fan_in + fan_out))
        return random.uniform(-limit, limit, shape)
    if kind == "kaiming":
        return random.normal(0, values.get("gain", sqrt(2)) / sqrt(fan_in), shape)
    if kind == "normal":
        return random.normal(values.get("mean", 0.0), values.get("std", 0.02), shape)
    if kind == "constant":
        return np.full(shape, values.get("value", 0.0))
    rows, columns = shape[0], prod(shape[1:])
    q, r = np.linalg.qr(random.normal(size=(max(rows, columns), min(rows, columns))))
    q *= np.sign(np.diag(r))
    return values.get("gain", 1.0) * (q if rows >= columns else q.T).reshape(shape)


def _finite(key: str, value: object) -> float:
    """Return a parameter of an initialiser as a number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise UsageError(f"init: {key} {value!r} is not a number")
    return float(value)
