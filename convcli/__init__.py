"""The convolution layer as a command, and as functions on NumPy arrays.

Names load on first use (PEP 562): ``import convcli`` imports neither NumPy nor torch.

Examples
--------
>>> import convcli
>>> convcli.load_bank("sobel").kernel_names
('x', 'y')
"""

from __future__ import annotations

from convcli.version import __version__ as __version__

TYPE_CHECKING = False  # as type checkers know it: modules that load before signals are caught are few
if TYPE_CHECKING:
    from convcli.banks.bank import KernelBank
    from convcli.banks.library import list_kernels
    from convcli.banks.load import load_bank
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
        fold,
        max_pool1d,
        max_pool2d,
        max_pool3d,
        unfold,
    )  # fmt: skip
    from convcli.errors import ConvcliError
    from convcli.layers.chain import output_shape, receptive_field
    from convcli.layers.stack import Stack, load_stack
    from convcli.pipeline.api import Report, Result, apply

__all__ = [
    "ConvcliError",
    "KernelBank",
    "Report",
    "Result",
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
    "fold",
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
_HOMES = {
    "convcli.errors": ("ConvcliError",),
    "convcli.banks.bank": ("KernelBank",),
    "convcli.banks.library": ("list_kernels",),
    "convcli.banks.load": ("load_bank",),
    "convcli.layers.chain": ("output_shape", "receptive_field"),
    "convcli.layers.stack": ("Stack", "load_stack"),
    "convcli.pipeline.api": ("Report", "Result", "apply"),
}


def __getattr__(name: str) -> object:
    # ``from convcli import cli`` asks here first, and imports the submodule only after this very exception.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    home = next((module for module, names in _HOMES.items() if name in names), "convcli.engine")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    # Names that load on first use are no globals yet, and completion would not offer them.
    return __all__
