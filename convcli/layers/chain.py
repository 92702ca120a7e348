"""A chain of layers in text, asked for its output's shape, its receptive field or its number of axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from convcli.errors import UsageError
from convcli.geometry.sizes import read_shape
from convcli.layers.layer import Layer
from convcli.layers.text import find_kind, load_word, read_chain, split_words
from convcli.layers.walk import Walk, walk

if TYPE_CHECKING:
    from convcli.geometry.arithmetic import Number


class ReceptiveField(NamedTuple):
    """The part of the input that an output sees, in pixels per axis; see :mod:`convcli.geometry.receptive`."""

    size: tuple[int, ...]
    jump: tuple[Number, ...]
    start: tuple[Number | float, ...]


def _walk_text(input_shape: tuple[int, ...], layers: Sequence[str | Layer]) -> Walk:
    """Return the walk over layers, some of them as text."""
    shape = read_shape(input_shape)
    words = [each for layer in layers for each in (split_words(layer) if isinstance(layer, str) else [layer])]
    return walk(read_chain(words, len(shape) - 1), shape)


def output_shape(input_shape: tuple[int, ...], *layers: str | Layer) -> tuple[int, ...]:
    """Return the shape that a chain of layers ends in.

    Parameters
    ----------
    input_shape : tuple of int
        Channels first, without a batch; one to three sizes.
    *layers : str or Layer
        Text such as ``"conv:64,k=7,s=2,p=3"``, of one word or several, or layers.

    Raises
    ------
    UsageError
        Text that is no layer, or an input of too few or too many numbers.
    GeometryError
        A layer does not fit; names it.

    Examples
    --------
    >>> output_shape((12, 32, 32), "conv:6,k=3,g=3")
    (6, 30, 30)
    >>> output_shape((3, 304, 228), "conv:64,k=7,s=2,p=3", "maxpool:k=3,s=2,p=1")
    (64, 76, 57)
    """
    return _walk_text(input_shape, layers).output


def receptive_field(input_shape: tuple[int, ...], *layers: str | Layer) -> ReceptiveField:
    """Return the part of the input that an output sees; parameters and errors as :func:`output_shape`.

    Examples
    --------
    >>> receptive_field((3, 304, 228), "conv:64,k=7,s=2,p=3", "maxpool:k=3,s=2,p=1")
    ReceptiveField(size=(11, 11), jump=(4, 4), start=(0.5, 0.5))
    """
    shape = _walk_text(input_shape, layers)
    n_axes = len(shape.input) - 1
    if not shape.rows:
        return ReceptiveField((1,) * n_axes, (1,) * n_axes, (0.5,) * n_axes)
    row = shape.rows[-1]
    return ReceptiveField(row.receptive_field, row.jump, row.start)


def has_open_axes(text: str, n_axes: int) -> bool:
    """Whether a word is a layer with a window that says nowhere that it has ``n_axes`` axes.

    Examples
    --------
    >>> has_open_axes("conv:8,k=3", 1), has_open_axes("conv1d:8,k=3", 1), has_open_axes("conv:8,k=3x3x3", 3)
    (True, False, False)
    """
    word, _, rest = text.replace("(", ":").partition(":")
    if word.strip()[-2:].lower() in ("1d", "2d", "3d") or text.endswith(".toml"):
        return False
    # One axis has no x to write: k=3 says nothing about the number of axes.
    is_written = n_axes > 1 and any(part.count("x") == n_axes - 1 for part in rest.split(","))
    try:
        return not is_written and load_word(find_kind(word, n_axes)).has_window
    except UsageError:
        return False
