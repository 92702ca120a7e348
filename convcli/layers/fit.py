"""Which image sizes a stack takes whose branches meet again: halving and doubling brings back even sides only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from convcli.errors import ConvcliError, GeometryError
from convcli.layers.layer import JOINS, Layer
from convcli.layers.stack import StackShape, walk

if TYPE_CHECKING:
    from convcli.layers.sizes import Shape

#: Multiples that are tried: a side halved six times.
_MULTIPLES = (2, 4, 8, 16, 32, 64)


def walk_or_fit(layers: Sequence[Layer], input_shape: Shape) -> StackShape:
    """Return what :func:`convcli.layers.stack.walk` does; where joined sizes differ, the hint says which sizes fit.

    Raises
    ------
    GeometryError, UsageError
        As ``walk`` does.

    Examples
    --------
    >>> from convcli.layers.text import parse_layers
    >>> words = ("maxpool:2", "upsample:2,name=up", "subtract:from=input+up")
    >>> walk_or_fit([layer for word in words for layer in parse_layers(word)], (3, 21, 20))
    Traceback (most recent call last):
    convcli.errors.GeometryError: layer 3 (subtract): cannot subtract 3x21x20 and 3x20x20
    """
    try:
        return walk(layers, input_shape)
    except GeometryError as error:
        found = (
            fit(layers, input_shape) if error.message.startswith(tuple(f"cannot {kind} " for kind in JOINS)) else None
        )
        if found is not None:
            multiple, shape = found
            error.hint = f"sides that are multiples of {multiple} fit, such as {'x'.join(map(str, shape))}"
        raise


def fit(layers: Sequence[Layer], input_shape: Shape) -> tuple[int, Shape] | None:
    """Return (multiple, the input with its sides rounded up to it) of the smallest multiple that fits, or None.

    The next larger sizes are tried as well, so that a multiple is not found by luck.

    Examples
    --------
    >>> from convcli.layers.text import parse_layers
    >>> words = ("maxpool:2", "upsample:2,name=up", "subtract:from=input+up")
    >>> fit([layer for word in words for layer in parse_layers(word)], (3, 21, 20))
    (2, (3, 22, 20))
    """
    channels, *sides = input_shape
    for multiple in _MULTIPLES:
        rounded = [-(-side // multiple) * multiple for side in sides]
        shapes = [(channels, *(side + more * multiple for side in rounded)) for more in range(3)]
        if all(_walks(layers, shape) for shape in shapes):
            return multiple, shapes[0]
    return None


def _walks(layers: Sequence[Layer], shape: Shape) -> bool:
    try:
        walk(layers, shape)
    except ConvcliError:
        return False
    return True
