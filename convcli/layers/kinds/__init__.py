"""The words for layers. A new kind is a class in one of these modules and its name here."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convcli.layers.layer import Layer, Word

#: Module → its words, in the order in which help lists them; a module is imported when a word of it is used.
WORDS = {
    "conv": ("conv", "convtranspose", "depthwise", "pointwise"),
    "sequences": ("separable", "spatial", "flattened"),
    "pool": ("maxpool", "avgpool", "globalpool"),
    "activations": ("relu", "sigmoid", "silu", "hardswish", "gelu"),
    "arrange": ("pad", "upsample", "shuffle"),
    "channels": ("batchnorm", "combine", "concat", "add", "subtract"),
}
NAMES = tuple(word for words in WORDS.values() for word in words)


def load_word(name: str) -> type[Word]:
    """Return the class of a word.

    Examples
    --------
    >>> load_word("maxpool").__name__
    'MaxPool'
    """
    from convcli.layers.layer import LOADED

    if name not in LOADED:
        module = next(module for module, words in WORDS.items() if name in words)
        import_module(f"convcli.layers.kinds.{module}")
    return LOADED[name]


def load_kinds() -> dict[str, type[Layer]]:
    """Return all kinds of layers by name, without words for several layers."""
    from convcli.layers.layer import Layer

    words = {name: load_word(name) for name in NAMES}
    return {name: word for name, word in words.items() if issubclass(word, Layer)}


def load_aliases() -> dict[str, str]:
    """Return the other names of all words."""
    return {alias: name for name in NAMES for alias in load_word(name).aliases}
