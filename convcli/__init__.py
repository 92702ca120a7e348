"""The convolution layer as a command, and as functions on NumPy arrays.

Names load on first use (PEP 562): ``import convcli`` imports neither NumPy nor torch.

The rooms, each of which imports only from those below it (``make lint`` holds it so)::

    cli        flags in, exit code out                              typer
    render     what people read: tables, reports                    rich, for colour and the bar
    pipeline   kernels and stacks on images: ask, plan, run, write
    layers     a layer, a stack: text, sizes, weights, run
    banks      what is applied: kernels by name, family, file, text
    engine     convolution on arrays: plan, then run                native/: the compiled loops; torch in one file
    images     pixels in, pixels out                                Pillow, tifffile, isal
    geometry   integers: sizes, padding, receptive fields
    errors     what a user can cause, each with its exit code

One image goes this way: a request of flags → a bank → a plan of integers and names, where everything that can be
refused is refused → planes → strips of maps → stored samples → files and a report.

To add a kernel, put a TOML file into ``kernels/``; a family, a function into ``banks/families`` and its row into
``banks/catalogue``; an algorithm, a class with ``offer`` and ``run`` into ``engine/algorithms`` and its name into ``ALL``.

Examples
--------
>>> import convcli
>>> convcli.load_bank("sobel").kernel_names
('x', 'y')
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from convcli.version import __version__ as __version__

if TYPE_CHECKING:
    from convcli.banks import KernelBank, list_kernels, load_bank
    from convcli.engine import (
        avg_pool1d,
        avg_pool2d,
        avg_pool3d,
        channel_shuffle,
        conv1d,
        conv2d,
        conv3d,
        conv_transpose1d,
        conv_transpose2d,
        conv_transpose3d,
        max_pool1d,
        max_pool2d,
        max_pool3d,
        unfold,
    )
    from convcli.errors import ConvcliError
    from convcli.layers.file import Stack, load_stack
    from convcli.layers.shapes import output_shape, receptive_field
    from convcli.pipeline.api import apply

__all__ = [
    "ConvcliError",
    "KernelBank",
    "Stack",
    "__version__",
    "apply",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "channel_shuffle",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "list_kernels",
    "load_bank",
    "load_stack",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "output_shape",
    "receptive_field",
    "unfold",
]

#: Names that do not live in ``convcli.engine``.
_HOME = {
    "ConvcliError": "convcli.errors",
    "KernelBank": "convcli.banks",
    "Stack": "convcli.layers.file",
    "apply": "convcli.pipeline.api",
    "list_kernels": "convcli.banks",
    "load_bank": "convcli.banks",
    "load_stack": "convcli.layers.file",
    "output_shape": "convcli.layers.shapes",
    "receptive_field": "convcli.layers.shapes",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME.get(name, "convcli.engine")), name)
