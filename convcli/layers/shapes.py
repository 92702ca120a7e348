"""Shapes from Python, in one call: ``output_shape`` and ``receptive_field`` of layers written as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from convcli.errors import UsageError
from convcli.layers.layer import Layer
from convcli.layers.stack import StackShape, walk
from convcli.layers.text import parse_layers

if TYPE_CHECKING:
    from convcli.geometry.receptive import Number


class ReceptiveField(NamedTuple):
    """What the outputs of a chain see of its input: one number per axis, rows before columns.

    ``size`` is in input pixels, ``jump`` is between neighbouring outputs, ``start`` is the middle of the first
    output's field, with pixel 0 from 0 to 1.
    """

    size: tuple[int, ...]
    jump: tuple[Number, ...]
    start: tuple[Number | float, ...]


def layer_shapes(input_shape: tuple[int, ...], *layers: str | Layer) -> StackShape:
    """Return every shape and count of a chain.

    Parameters
    ----------
    input_shape : tuple of int
        Channels first, without a batch; one to three sizes.
    *layers : str or Layer
        Text such as ``"conv:64,k=7,s=2,p=3"``, or layers.

    Raises
    ------
    UsageError
        Text that is no layer, or an input of too few or too many numbers.
    GeometryError
        A layer does not fit; says which.

    Examples
    --------
    >>> layer_shapes((12, 32, 32), "conv:6,k=3,g=3").parameters
    222
    """
    shape = tuple(int(size) for size in input_shape)
    if not 2 <= len(shape) <= 4 or min(shape) < 1:
        raise UsageError(f"input {shape} is not channels and one to three sizes, all at least 1")
    chain: list[Layer] = []
    for layer in layers:
        chain += parse_layers(layer, len(shape) - 1) if isinstance(layer, str) else [layer]
    return walk(chain, shape)


def output_shape(input_shape: tuple[int, ...], *layers: str | Layer) -> tuple[int, ...]:
    """Return the shape that a chain ends in; parameters and errors as :func:`layer_shapes`.

    Examples
    --------
    >>> output_shape((3, 304, 228), "conv:64,k=7,s=2,p=3", "maxpool:k=3,s=2,p=1")
    (64, 76, 57)
    """
    return layer_shapes(input_shape, *layers).output


def receptive_field(input_shape: tuple[int, ...], *layers: str | Layer) -> ReceptiveField:
    """Return what an output of a chain sees; the input's size matters for ``same`` padding with a stride only.

    Examples
    --------
    >>> receptive_field((3, 304, 228), "conv:64,k=7,s=2,p=3", "maxpool:k=3,s=2,p=1")
    ReceptiveField(size=(11, 11), jump=(4, 4), start=(0.5, 0.5))
    """
    shape = layer_shapes(input_shape, *layers)
    n_axes = len(shape.input) - 1
    if not shape.rows:
        return ReceptiveField((1,) * n_axes, (1,) * n_axes, (0.5,) * n_axes)
    row = shape.rows[-1]
    return ReceptiveField(row.receptive_field, row.jump, row.start)
