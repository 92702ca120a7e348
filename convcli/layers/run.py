"""Run a stack on planes: each layer by its kind; branches are kept only as long as they are needed.

A result of another size than the walk's is a bug and raises AssertionError.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from convcli.errors import UsageError, near_names
from convcli.layers.layer import Numbers, Row
from convcli.layers.stack import Stack
from convcli.layers.weights import load_numbers

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array: TypeAlias = "NDArray[Any]"


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
        From :func:`convcli.layers.weights.load_numbers`, if they are loaded already.
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
    planes = np.asarray(planes)
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
