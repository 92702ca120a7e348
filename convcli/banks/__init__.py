"""Banks of kernels: the text that names them, the files and families they come from.

Names are loaded on first use, and NumPy with them. Everything that a user can get wrong is a
:class:`~convcli.errors.KernelError` that tells the place: file, line, field, entry or row.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convcli.banks.bank import KernelBank, safe_name
    from convcli.banks.library import KernelEntry, list_kernels
    from convcli.banks.load import load_bank

__all__ = ["KernelBank", "KernelEntry", "list_kernels", "load_bank", "safe_name"]

#: Name → module that has it, loaded when the name is first asked for (PEP 562).
_HOME = {
    "KernelBank": "bank",
    "KernelEntry": "library",
    "list_kernels": "library",
    "load_bank": "load",
    "safe_name": "bank",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
