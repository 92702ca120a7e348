"""NumPy and Pillow without what a process of one command never looks at.

``import numpy`` is half of what a small photograph costs, and a third of it is for readers: docstrings, signatures,
annotations, and modules of the standard library for functions that nobody here calls. Stand-ins take their places and
load the real module as soon as somebody asks for more than they know, so that nothing is missing, only later. A
library must not do this to its host; the program does it where the process is its own.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Mapping
from importlib.machinery import ModuleSpec
from types import ModuleType

#: What NumPy imports and only readers or rare functions use, with the names it asks for while it loads. Where a
#: version of NumPy does not import one, nothing is gained and nothing lost.
BESIDE_NUMPY: Mapping[str, Mapping[str, object]] = {
    "numpy._core._add_newdocs": {},  # docstrings
    "numpy._core._add_newdocs_scalars": {},
    "numpy._typing": {"NDArray": list},  # fields of results of numpy.linalg are annotated with it
    "inspect": {"cleandoc": str, "signature": lambda _: None},
    "ast": {},
    "ctypes": {},
    "pickle": {},
    "platform": {},
    "textwrap": {},
}
#: What pathlib, logging and Pillow import for functions that are rarely called: addresses within URLs, tracebacks,
#: names of EXIF's tags. These stand-ins may stay, for they know nothing.
RARELY_USED = ("ipaddress", "traceback", "PIL.ExifTags")


class StandIn(ModuleType):
    """A module that knows a few names and becomes the real one when it is asked for another.

    Examples
    --------
    >>> calendar = StandIn("calendar", {"MAX": 3})
    >>> calendar.MAX, calendar.isleap(2024)
    (3, True)
    """

    def __init__(self, name: str, known: Mapping[str, object]) -> None:
        super().__init__(name)
        # A specification, for whoever asks whether there is such a module; the real one brings its own.
        vars(self).update(known, __path__=_RealPath(self), __spec__=ModuleSpec(name, None))

    def __getattr__(self, name: str) -> object:
        self.leave()
        return getattr(importlib.import_module(self.__name__), name)

    def leave(self) -> None:
        """Make way for the real module; whoever holds this one is sent on to it."""
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]


class _RealPath:
    """Where the submodules of a stand-in are: ``from package import name`` asks that there is one, no more."""

    def __init__(self, stand_in: StandIn) -> None:
        self._stand_in = stand_in

    def __iter__(self) -> Iterator[str]:
        real: Iterator[str] = iter(self._stand_in.__getattr__("__path__"))  # type: ignore[call-overload]
        return real


def put_off_rarely_used() -> None:
    """Have stand-ins ready for what is rarely used; modules that are there already stay."""
    for name in RARELY_USED:
        sys.modules.setdefault(name, StandIn(name, {}))


def import_numpy() -> None:
    """Import NumPy with stand-ins beside it; modules that are there already stay."""
    if "numpy" in sys.modules:
        return
    stand_ins = [StandIn(name, known) for name, known in BESIDE_NUMPY.items() if name not in sys.modules]
    sys.modules.update({one.__name__: one for one in stand_ins})
    try:
        importlib.import_module("numpy")
    finally:
        for one in stand_ins:
            one.leave()
            for name in BESIDE_NUMPY[one.__name__]:
                delattr(one, name)
