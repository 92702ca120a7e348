"""One flag of ``apply`` as a row of data; :mod:`convcli.pipeline.request` has the rows."""

from collections.abc import Callable
from typing import Any, NamedTuple

from convcli.pipeline import flags

#: Sections of the help and of the README's table, in their order.
SECTIONS = ("Convolution", "Input", "Output", "Running")


class Option(NamedTuple):
    """One flag: what it takes, what it means, and what depends on it."""

    section: str
    #: How the help writes its value; empty for a switch.
    metavar: str
    help: str
    #: How the help writes the default.
    default: str = ""
    #: (text, flag) → value; absent: one of ``values``.
    parse: Callable[[str, str], object] | None = None
    #: Words that completion offers.
    values: tuple[str, ...] = ()
    #: Text (str), a whole number (int), a switch (bool), or text that may be given several times (list).
    kind: type = str
    short: str = ""
    #: Whether an output made with another value is out of date.
    changes_pixels: bool = True
    #: Whether it is for the encoder of the output file.
    encodes: bool = False
    #: The name of its field; :data:`convcli.pipeline.request.OPTIONS` fills it in.
    key: str = ""

    @property
    def flag(self) -> str:
        """Long name: in the singular if the flag may be given several times."""
        return f"--{(self.key.removesuffix('s') if self.kind is list else self.key).replace('_', '-')}"

    @property
    def meaning(self) -> str:
        """Help text with the default."""
        return f"{self.help.removesuffix('.')} [{self.default}].".lstrip() if self.default else self.help

    def value_of(self, text: str) -> object:
        """Return the value that ``text`` states, or raise a UsageError."""
        return self.parse(text, self.flag) if self.parse else flags.choice(text, self.flag, self.values)


def switch(section: str, meaning: str, short: str = "", *, changes_pixels: bool = True) -> Option:
    """Return the row of a switch."""
    return Option(section, "", meaning, kind=bool, short=short, changes_pixels=changes_pixels)


def one_of(section: str, values: str, meaning: str, default: str, **others: Any) -> Option:
    """Return the row of a flag that takes one of several words, separated by bars."""
    return Option(section, values, meaning, default, None, tuple(values.split("|")), **others)
