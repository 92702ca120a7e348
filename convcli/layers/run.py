"""Run a stack on planes: load the numbers of its layers, then run each layer by its kind (NumPy).

Numbers come from a bank, a checkpoint or a seeded initialiser, in torch's layouts: (out, in/groups, …) for a
convolution, (in, out/groups, …) for a transposed one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from convcli.banks.initial import INITS, NumpyGenerator, TorchGenerator, built_layer, find_init, initial
from convcli.engine.arguments import as_array
from convcli.errors import KernelError, UsageError, near_names
from convcli.layers.kinds.conv import Conv
from convcli.layers.layer import Numbers, Row
from convcli.layers.sources import anchored, is_checkpoint, kernel_for, load_weight, read_tensor
from convcli.layers.stack import Stack
from convcli.layers.walk import Walk

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array: TypeAlias = "NDArray[Any]"

_INIT_KEYS = ("kind", "seed", "rng")


def run_stack(
    stack: Stack,
    planes: Array,
    *,
    outputs: str | Sequence[str] = "last",
    engine: str = "auto",
    threads: int | None = None,
    numbers: Sequence[Numbers] | None = None,
    watch: Callable[[Row], None] | None = None,
) -> dict[str, Array]:
    """Run a stack on planes and return the maps that ``outputs`` names.

    Parameters
    ----------
    planes : ndarray of shape (C, H, W), float32 or float64
        Input in its own units (or (C, L), (C, D, H, W) for stacks of 1 or 3 axes); other types become float32.
    outputs : str or sequence of str
        ``last``: the last layer; ``all``: the stack's ``outputs`` and the last (without ``outputs``: every named layer,
        or every layer if none is named); ``input``: the planes as they arrive; or names of layers.
    engine, threads
        For the convolutions, as in :func:`convcli.conv2d`.
    numbers : sequence of Numbers, optional
        From :func:`convcli.layers.run.load_numbers`, if they are loaded already.
    watch : callable, optional
        Called with the row of each layer that is done.

    Returns
    -------
    dict of str to ndarray
        Maps by the name of their layer, in running order, see :attr:`convcli.layers.stack.Stack.result_names`.

    Raises
    ------
    UsageError
        An output is unknown, or a layer has no source of numbers.
    GeometryError, KernelError
        A layer does not fit; its weights are missing or have another shape.

    Examples
    --------
    >>> from convcli.layers.stack import parse_stack
    >>> halved = parse_stack('layers = ["avgpool:2", {layer = "relu", name = "bright"}]')
    >>> run_stack(halved, np.float32([[[1, 3], [5, 7]]]))["bright"].tolist()
    [[[4.0]]]
    """
    planes = as_array(planes, "planes")
    if planes.dtype not in (np.float32, np.float64):
        planes = planes.astype(np.float32)
    shape = stack.shape(planes.shape)
    rows = shape.rows
    names, wanted = stack.result_names, wanted_outputs(stack, outputs)
    numbers = load_numbers(stack, shape) if numbers is None else numbers
    how = {"engine": engine, "threads": threads}
    # A branch's maps can be hundreds of megabytes: each lives only until its last reader.
    last_use = {source: index for index, row in enumerate(rows) for source in row.sources}
    alive: dict[int, Array] = {-1: planes}
    found: dict[str, Array] = {"input": planes} if "input" in wanted else {}
    for index, row in enumerate(rows):
        inputs = [alive[source] for source in row.sources]
        maps = np.asarray(row.layer.run(row, inputs, numbers[index], how))
        if maps.shape != row.output:
            raise AssertionError(f"layer {index + 1} ({row.layer.label}) made {maps.shape}, not {row.output}")
        if names[index] in wanted:
            found[names[index]] = maps
        alive[index] = maps
        if watch is not None:
            watch(row)
        # Results that nothing reads (last_use -2) go at the next layer, not at the end.
        alive = {node: each for node, each in alive.items() if last_use.get(node, -2) > index or node == index}
    return found


def wanted_outputs(stack: Stack, outputs: str | Sequence[str]) -> tuple[str, ...]:
    """Return the names of the results that ``outputs`` names; raise UsageError if no layer has one.

    Examples
    --------
    >>> from convcli.layers.stack import parse_stack
    >>> wanted_outputs(parse_stack('layers = [{layer = "relu", name = "a"}, "relu"]'), "all")
    ('a', 'output')
    >>> wanted_outputs(parse_stack('layers = ["relu", "maxpool:2", "relu"]'), "input,relu")
    ('input', 'relu')
    """
    names = stack.result_names
    own = [layer.name for layer in stack.layers if layer.name]
    if not isinstance(outputs, str | Sequence):
        raise UsageError(f"outputs {outputs!r} are no names", hint=f"last, all, input, or {', '.join(names)}")
    asked = [each.strip() for each in outputs.split(",")] if isinstance(outputs, str) else list(outputs)
    words = {
        "last": names[-1:],
        "all": [name for name in names if name in (stack.outputs or own or names)] + [names[-1]],
    }
    found: dict[str, None] = {}
    for name in asked:
        if name not in (*names, "input", *words):
            hint = near_names(name, names) or f"last, all, input, or {', '.join(names)}"
            raise UsageError(f"the stack has no output {name!r}", hint=hint)
        # A layer may be called "last": its own name wins over the word.
        found |= dict.fromkeys([name] if name in names else words.get(name, [name]))
    return tuple(name for name in ("input", *names) if name in found)


def load_numbers(stack: Stack, shape: Walk) -> list[Numbers]:
    """Return the numbers of every layer of a stack for one input, in float64; a layer without a source takes ``init``.

    Raises
    ------
    KernelError
        A bank or an entry is unknown or has another shape; names the layer.
    UsageError
        A layer has no source of numbers.
    """
    numbers, drawn = [], _draw(stack, shape)
    for index, row in enumerate(shape.rows):
        try:
            numbers.append(row.layer.load(row, NumberSources(stack, drawn.get(index))))
        except (KernelError, UsageError) as error:
            raise error.within(f"layer {index + 1} ({row.layer.label})") from None
    return numbers


class NumberSources(NamedTuple):
    """The places from which one layer of a stack can take its numbers; ``drawn`` are its random ones."""

    stack: Stack
    drawn: tuple[Array, Array | None] | None = None

    def initial(self) -> tuple[Array, Array | None]:
        """Return the weight and bias that the stack's or the layer's ``init`` gives."""
        if self.drawn is None:
            hint = "conv:sobel, weight=file.safetensors#entry, or init=default,seed=0 for random ones"
            raise UsageError("has no weights", hint=hint)
        return self.drawn

    def kernel(
        self, spec: str, wanted: tuple[int, ...], copies: int, *, with_bias: bool, is_transposed: bool = False
    ) -> tuple[Array, Array | None]:
        """Return weight and bias of a bank or of a checkpoint's entry, in the shape ``wanted``.

        A depthwise layer repeats a bank's kernels ``copies`` times, once a channel. 1 adds a kernel of one channel over
        all planes; 0 takes weights as they are.
        """
        spec = anchored(spec, self.stack.folder)
        bank = load_weight(spec, with_bias=with_bias)
        weight = np.asarray(bank.weight, np.float64)
        # Banks hold kernels of two axes; a signal's kernel is a row of one, and volumes get a depth of 1.
        weight = weight.reshape(*weight.shape[:2], *kernel_for(weight.shape[2:], len(wanted) - 2))
        own = bank.bias if bank.out_bias is None else bank.out_bias
        bias = None if own is None else np.asarray(own, np.float64)
        if weight.shape == wanted and is_checkpoint(spec):  # torch's own layer
            return weight, bias
        # The error below shows the bank's own shape, not the repeated one.
        repeated, is_transposed = weight, is_transposed and copies > 1
        if is_transposed and wanted[:2] == (copies, len(weight)):
            repeated = np.repeat(weight.swapaxes(0, 1), copies, axis=0)  # (in, out/groups): every kernel on each plane
        elif weight.shape[1] == 1 and wanted[1] == 1 and wanted[0] == copies * len(weight):
            repeated = np.tile(weight, (copies, 1, *(1,) * (weight.ndim - 2)))  # each kernel on each plane: c*K + k
        elif weight.shape[1] == 1 and copies == 1 and wanted[0] == len(weight):
            repeated = np.repeat(weight, wanted[1], axis=1)  # one kernel on every plane, added up
        if repeated.shape != wanted:
            repeats = weight.shape[1] == wanted[1] == 1 and len(weight) < wanted[0]
            hint = "groups=auto (or depthwise) repeats kernels" if repeats else "; ".join(bank.notes) or None
            found, needed = ("x".join(map(str, sizes)) for sizes in (weight.shape, wanted))
            message = f"{spec!r} has shape {found}, and the layer needs {needed} (out, in/groups, kernel)"
            raise KernelError(message, hint=hint)
        return repeated, bias if bias is None or copies < 2 else np.resize(bias, copies * len(weight))

    def tensor(self, spec: str) -> Any:
        """Return one tensor of a checkpoint as float64."""
        return read_tensor(anchored(spec, self.stack.folder))


class _Init(NamedTuple):
    """An ``init`` table: the initialiser, its parameters, the seed, and whose random numbers it takes."""

    kind: str
    values: dict[str, float]
    seed: int
    rng: str

    @classmethod
    def read(cls, table: Mapping[str, object]) -> _Init:
        """Check a table; ``kind`` is one of :data:`convcli.banks.initial.INITS`, in torch's spelling too."""
        kind, rng, seed = find_init(table.get("kind", "")), table.get("rng", "torch"), table.get("seed", 0)
        for key in table:
            if key not in (*_INIT_KEYS, *INITS[kind]):
                raise UsageError(f"init {kind} has no {key!r}", hint=", ".join((*_INIT_KEYS, *INITS[kind])))
        # TOML's true is an int to Python and would be seed 1.
        if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
            raise UsageError(f"seed {seed!r} is not a whole number of at least 0")
        if rng not in ("torch", "numpy"):
            raise UsageError(f"init: rng {rng!r} is not known", hint="torch or numpy")
        values: dict[str, Any] = {key: value for key, value in table.items() if key not in _INIT_KEYS}
        for key, value in values.items():
            if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
                raise UsageError(f"init: {key} {value!r} is not a number")
        return cls(kind, {key: float(value) for key, value in values.items()}, seed, str(rng))


def _draw(stack: Stack, shape: Walk) -> dict[int, tuple[Array, Array | None]]:
    """Draw the numbers of each layer that takes an ``init``, in the order of a torch module.

    torch first builds all convolutions, each with the numbers of its constructor; then the initialisers run over them.
    All share one generator, but a layer whose own ``init`` has a seed has its own. With ``rng = "numpy"`` each layer
    has NumPy's generator for (seed, number of the layer), and its bias is 0.
    """
    inits: dict[int, _Init] = {}
    own_seeds: set[int] = set()
    convs = [(index, row.layer, row) for index, row in enumerate(shape.rows) if isinstance(row.layer, Conv)]
    for index, layer, _ in convs:
        given: dict[str, Any] = dict(layer.weights)
        own = dict(given.get("init", ()))
        table = dict(stack.init) | own
        # A layer with a stored weight still takes part in the draws below, as a torch module draws before it loads.
        if "weight" in given or not table:
            continue
        try:
            inits[index] = _Init.read(table)
        except UsageError as error:
            raise error.within(f"layer {index + 1} ({layer.label})") from None
        if "seed" in own:
            own_seeds.add(index)
    if not inits:
        return {}
    # The stack's seed is in every table without a seed of its own, so the first one has it.
    shared = TorchGenerator(next((init.seed for index, init in inits.items() if index not in own_seeds), 0))
    turns: dict[int, Any] = {}
    drawn: dict[int, tuple[Array, Array | None]] = {}
    for index, layer, row in convs:
        # The constructor's numbers are drawn even where an initialiser replaces them: they move the generator on.
        turns[index] = TorchGenerator(inits[index].seed) if index in own_seeds else shared
        drawn[index] = built_layer(turns[index], layer.weight_shape(row), row.output[0] if layer.bias else 0)
    for index, layer, row in convs:
        kind, values, seed, rng = inits.get(index, _Init("default", {}, 0, "torch"))
        if rng == "numpy":
            drawn[index] = initial(NumpyGenerator([seed, index]), layer.weight_shape(row), kind, **values), None
        elif kind != "default":
            drawn[index] = initial(turns[index], layer.weight_shape(row), kind, **values), drawn[index][1]
    return drawn
