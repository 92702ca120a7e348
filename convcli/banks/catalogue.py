"""The catalogue of kernel families: names, parameters, bounds and citations, as data without NumPy.

It is read from ``families/MODULE.txt``; the function that builds the taps is in ``families/MODULE.py``, which is
imported when a family is used. A blank line ends a family, ``#`` begins a comment. The lines of a family are::

    NAME | family or bank | FUNCTION [ARGUMENT=VALUE] | shape | tags [| aliases]
    summary
    citation
    PARAMETER KIND DEFAULT | LOW..HIGH [UNIT], or choices | meaning [| how an "auto" default is found]
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

from convcli.banks.numbers import format_number, init_word, parse_flag, parse_number
from convcli.errors import KernelError, near_names


class Parameter(NamedTuple):
    """One parameter of a family.

    ``kind`` is ``float``, ``int``, ``odd`` (odd integer), ``size`` (``N`` or ``HxW``), ``choice``, ``flag``,
    ``floats`` (numbers with commas). A default of None depends on the other parameters; ``auto`` describes it.
    """

    name: str
    kind: str
    default: object
    about: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    auto: str = "auto"

    @property
    def default_text(self) -> str:
        """The default as a user would write it."""
        if self.default is None:
            return self.auto
        if isinstance(self.default, tuple):
            return ("x" if self.kind == "size" else ",").join(format_number(item) for item in self.default)
        if isinstance(self.default, bool):
            return str(self.default).lower()
        return str(self.default)

    def as_dict(self) -> dict[str, object]:
        """Return plain data: numbers as numbers; null where a bound or the default depends on the other parameters."""
        default = list(self.default) if isinstance(self.default, tuple) else self.default
        whole = self.kind in ("int", "odd", "size")
        low, high = (int(end) if whole and end is not None else end for end in (self.low, self.high))
        return {
            "name": self.name,
            "kind": self.kind,
            "default": default,
            "default_text": self.default_text,
            "unit": self.unit,
            "low": low,
            "high": high,
            "choices": list(self.choices),
            "about": self.about,
        }

    @property
    def range_text(self) -> str:
        """The values that it takes, as a user would write them."""
        if self.choices or self.kind == "flag":
            return ", ".join(self.choices or ("true", "false"))
        if self.low is None or self.high is None:
            return ""
        odd = ", odd" if self.kind == "odd" else ""
        return f"{format_number(self.low)} to {format_number(self.high)}{odd}"

    def read(self, text: str, family: str) -> object:
        """Return the value of ``text``, or raise an error with the bounds and the default."""
        try:
            return self._read(text)
        except ValueError as error:
            raise KernelError(
                f"{family}: {self.name}={text}: {error}",
                hint=f"{self.name}: {self.about}{self._bounds()}, default {self.default_text}",
                parameter=self.name,
                value=text,
            ) from None

    def _read(self, text: str) -> object:
        if self.kind == "choice":
            word = init_word(text) if self.name == "init" else text.lower().replace("_", "-")
            if word not in self.choices:
                raise ValueError(f"not one of {', '.join(self.choices)}")
            return word
        if self.kind == "flag":
            return parse_flag(text)
        # Only a default that depends on other parameters has anything automatic.
        if self.default is None and text.lower() == "auto":
            return None
        if self.kind == "size":
            parts = text.lower().split("x")
            if len(parts) > 2:
                raise ValueError("not N or HxW")
            pair = [self._whole(part) for part in parts]
            return (pair[0], pair[-1])  # N means NxN
        if self.kind == "floats":
            return tuple(self._in_bounds(parse_number(part)) for part in text.split(","))
        if self.kind in ("int", "odd"):
            return self._whole(text)
        return self._in_bounds(parse_number(text))

    def _whole(self, text: str) -> int:
        value = self._in_bounds(parse_number(text))
        if value != int(value):
            raise ValueError("not a whole number")
        if self.kind == "odd" and int(value) % 2 == 0:
            raise ValueError("not an odd number")
        return int(value)

    def _in_bounds(self, value: float) -> float:
        if self.low is not None and value < self.low:
            raise ValueError(f"below {format_number(self.low)}")
        if self.high is not None and value > self.high:
            raise ValueError(f"above {format_number(self.high)}")
        return value

    def _bounds(self) -> str:
        if self.low is None or self.high is None:
            return f" ({self.unit})" if self.unit else ""
        unit = f" {self.unit}" if self.unit else ""
        return f" ({format_number(self.low)} to {format_number(self.high)}{unit})"


#: Names of layers' parameters, short ones too → the names that families have for them.
_LAYER_WORDS = {
    **dict.fromkeys(("kernel_size", "k"), ("size", "hsize", "taps")),
    "out": ("out_channels",),
    "in": ("in_channels",),
}


class Family(NamedTuple):
    """A kernel or bank with parameters; ``builder`` is ``module:function`` under ``convcli.banks.families``."""

    name: str
    kind: str
    builder: str
    parameters: tuple[Parameter, ...]
    shape: str
    summary: str
    source: str
    tags: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    fixed: tuple[tuple[str, object], ...] = ()

    def full_name(self, key: str) -> str:
        """Return a parameter's name here for its name in a layer: ``kernel_size`` or ``k`` for ``size``.

        Examples
        --------
        >>> families()["gaussian"].full_name("kernel_size"), families()["random"].full_name("out")
        ('size', 'out_channels')
        """
        known = [parameter.name for parameter in self.parameters]
        if key in known:
            return key
        return next((name for name in _LAYER_WORDS.get(key, ()) if name in known), key)

    def read_parameters(self, given: tuple[tuple[str, str], ...]) -> dict[str, object]:
        """Return the value of every parameter, given or default.

        Raises
        ------
        KernelError
            For unknown, repeated, malformed or out-of-bounds parameters.
        """
        known = {parameter.name: parameter for parameter in self.parameters}
        values: dict[str, object] = {name: parameter.default for name, parameter in known.items()}
        seen: set[str] = set()
        for word, text in given:
            key = self.full_name(word)
            if key not in known:
                # A slip may be that of a modifier: rotat=45 belongs to the SPEC.
                from convcli.banks.spec import MODIFIERS

                near = near_names(key, (*known, *MODIFIERS))
                raise KernelError(
                    f"'{self.name}' has no parameter '{key}'",
                    hint=near or f"{self.name} takes {', '.join(known) or 'no parameters'}",
                    parameter=key,
                )
            # Modifiers may repeat, each acts on the result so far; a parameter has one value.
            if key in seen:
                message = f"'{self.name}': {key} is given twice"
                raise KernelError(message, hint=f"keep one: {self.name}:{key}={text}", parameter=key)
            seen.add(key)
            values[key] = known[key].read(text, self.name)
        return {**dict(self.fixed), **values}


@cache
def families() -> dict[str, Family]:
    """Return every family by name.

    Examples
    --------
    >>> families()["gaussian"].parameters[0].default_text
    '1.0'
    """
    found = {}
    for path in sorted((Path(__file__).parent / "families").glob("*.txt")):
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
        # Remarks are gone by now, so that one between two lines of a family does not end it.
        for block in "\n".join(lines).strip().split("\n\n"):
            family = _family(block, path.stem)
            found[family.name] = family
    return found


def _family(block: str, module: str) -> Family:
    head, summary, citation, *parameters = block.splitlines()
    name, kind, build, shape, tags, *aliases = head.split(" | ")
    # ARGUMENT=VALUE: one function builds several families, such as those of fspecial.
    function, *fixed = build.split()
    return Family(
        name,
        kind,
        f"{module}:{function}",
        tuple(map(_parameter, parameters)),
        shape,
        summary,
        citation,
        tuple(tags.split()),
        tuple(" ".join(aliases).split()),
        tuple((key, value) for key, _, value in (pair.partition("=") for pair in fixed)),
    )


def _parameter(line: str) -> Parameter:
    first, values, about, *auto = (field.strip() for field in line.split("|"))
    name, kind, default = first.split()
    if kind == "choice":
        return Parameter(name, kind, default, about, choices=tuple(values.split()))
    bounds, _, unit = values.partition(" ")
    low, _, high = bounds.partition("..")
    free = Parameter(name, kind, None, about, unit)
    # A default is text like that of a user, and read by the same rules.
    value = None if default == "auto" else free.read(default, name)
    bounded = free._replace(default=value, auto=" ".join(auto) or "auto")
    # Flags have no bounds.
    return bounded._replace(low=float(low), high=float(high)) if bounds else bounded


def find_family(name: str) -> Family | None:
    """Return the family called ``name`` (in normal form), or by this alias, or None."""
    known = families()
    return known.get(name) or next((family for family in known.values() if name in family.aliases), None)
