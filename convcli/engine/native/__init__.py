"""The compiled loops: direct convolution, magnitude and tones in C, or the reason why NumPy replaces them.

The source is in this folder; ``core.h`` is its contract and ``build.py`` compiles it when the package is installed.
``CONVCLI_NATIVE=never`` leaves it unused, ``require`` makes its absence an error; ``CONVCLI_SIMD`` (``baseline``,
``avx2``, ``avx512``) caps the instruction set. Loads no NumPy.
"""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from types import ModuleType

from convcli.errors import UsageError

#: Values of ``CONVCLI_SIMD``, by the level of the core.
LEVELS = ("baseline", "avx2", "avx512")


def _load() -> tuple[ModuleType | None, str]:
    """Return the core, or None and the reason."""
    wanted = os.environ.get("CONVCLI_NATIVE", "try")
    if wanted not in ("try", "require", "never"):
        raise UsageError(f"CONVCLI_NATIVE={wanted}", hint="try, require or never")
    if wanted == "never":
        return None, "CONVCLI_NATIVE=never"
    try:
        return import_module(f"{__name__}._core"), ""
    except ImportError as error:
        try:
            # The build's own reason says more than "No module named _core".
            reason = Path(__file__).with_name("not_compiled.txt").read_text(encoding="utf-8").strip()
        except OSError:
            reason = str(error).partition(" (")[0]
    if wanted == "require":
        raise UsageError(f"CONVCLI_NATIVE=require, but the loops are not compiled: {reason}", hint="pip install again")
    return None, reason


def use_simd(name: str | None) -> str:
    """Use the best instruction set of this processor, at most ``name``; return its name.

    Examples
    --------
    >>> core is None or use_simd("baseline") in ("SSE2", "NEON", "baseline")
    True
    >>> _ = use_simd(None)
    """
    global simd
    if name is not None and name not in LEVELS:
        raise UsageError(f"CONVCLI_SIMD={name}", hint=", ".join(LEVELS))
    if core is not None:
        _, simd = core.use_level(LEVELS.index(name or LEVELS[-1]))
    return simd


core, reason = _load()
#: The instruction set in use, ``""`` where nothing is compiled.
simd = ""
use_simd(os.environ.get("CONVCLI_SIMD"))


def loops() -> str:
    """Return the loops in use, for reports.

    Examples
    --------
    >>> loops().startswith(("compiled loops, ", "NumPy loops (not compiled: "))
    True
    """
    return f"NumPy loops (not compiled: {reason})" if core is None else f"compiled loops, {simd}"
