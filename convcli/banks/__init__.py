"""What is applied: banks of kernels, the text that names them, the files and families they come from.

Importing this package costs nothing: names are loaded when they are first used, and NumPy with them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convcli.banks.bank import KernelBank
    from convcli.banks.library import KernelEntry, list_kernels
    from convcli.banks.load import load_bank
    from convcli.banks.names import safe_name

__all__ = ["KernelBank", "KernelEntry", "list_kernels", "load_bank", "safe_name"]

_HOME = {
    "KernelBank": "bank",
    "KernelEntry": "library",
    "list_kernels": "library",
    "load_bank": "load",
    "safe_name": "names",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
