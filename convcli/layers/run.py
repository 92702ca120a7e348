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
        ``last``: the last layer; ``all``: the stack's ``outputs`` (every named layer, if it has none) and the last;
        or names of layers.
    engine, threads
        For the convolutions, as in :func:`convcli.conv2d`.
    numbers : sequence of Numbers, optional
        From :func:`convcli.layers.weights.load_numbers`, if they are loaded already.
    watch : callable, optional
        Called with the row of each layer that is done.

    Returns
    -------
    dict of str to ndarray
        Maps by the name of their layer, in running order; the last layer is called ``output`` if it has no name.

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
    wanted = wanted_outputs(stack, outputs)
    numbers = load_numbers(stack, shape) if numbers is None else numbers
    how = {"engine": engine, "threads": threads}
    # A branch's maps can be hundreds of megabytes: each lives only until its last reader.
    last_use = {source: index for index, row in enumerate(rows) for source in row.sources}
    alive: dict[int, Array] = {-1: planes}
    found: dict[str, Array] = {}
    for index, row in enumerate(rows):
        inputs = [alive[source] for source in row.sources]
        maps = np.asarray(row.layer.run(row, inputs, numbers[index], how))
        if maps.shape != row.output:
            raise AssertionError(f"layer {index + 1} ({row.layer.label}) made {maps.shape}, not {row.output}")
        name = row.layer.name or ("output" if index == len(rows) - 1 else "")
        if name in wanted:
            found[name] = maps
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
    """
    names = [layer.name for layer in stack.layers[:-1] if layer.name]
    names.append(stack.layers[-1].name or "output")
    if outputs == "last":
        return (names[-1],)
    if outputs == "all":
        return tuple(name for name in names if name in (stack.outputs or names) or name == names[-1])
    asked = outputs.split(",") if isinstance(outputs, str) else outputs
    for name in asked:
        if name not in names:
            hint = near_names(name, names) or f"last, all, or {', '.join(names)}"
            raise UsageError(f"the stack has no output {name!r}", hint=hint)
    return tuple(asked)
