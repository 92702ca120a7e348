"""What a family is and how its parameters are read: data without NumPy, for listing, help and errors."""

from __future__ import annotations

from typing import NamedTuple

from convcli.banks.numbers import format_number, parse_number
from convcli.banks.spec import MODIFIERS
from convcli.errors import KernelError, near_names


class Parameter(NamedTuple):
    """One parameter of a family.

    ``kind`` is ``float``, ``int``, ``odd`` (odd integer), ``size`` (``N`` or ``HxW``), ``choice``, ``flag``,
    ``floats`` (one number or several with commas). A default of None is worked out from the others; ``auto`` says how.
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

    def read(self, text: str, family: str) -> object:
        """Return the value that ``text`` means, or raise what is wrong with it."""
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
            if text.lower().replace("_", "-") not in self.choices:
                raise ValueError(f"not one of {', '.join(self.choices)}")
            return text.lower().replace("_", "-")
        if self.kind == "flag":
            if text.lower() not in _FLAGS:
                raise ValueError("not true or false")
            return _FLAGS[text.lower()]
        if self.default is None and text.lower() == "auto":
            return None
        if self.kind == "size":
            parts = text.lower().split("x")
            if len(parts) > 2:
                raise ValueError("not N or HxW")
            pair = [self._whole(part) for part in parts]
            return (pair[0], pair[-1])
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
        unit = f" {self.unit}" if self.unit else ""
        if self.low is None and self.high is None:
            return f" ({self.unit})" if self.unit else ""
        low = format_number(self.low) if self.low is not None else "any"
        high = format_number(self.high) if self.high is not None else "any"
        return f" ({low} to {high}{unit})"

    def as_dict(self) -> dict[str, object]:
        """Return plain data for ``--json``."""
        data = {key: value for key, value in self._asdict().items() if value not in (None, (), "")}
        data["default"] = self.default_text
        data.pop("auto", None)
        return data


_FLAGS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}


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

    @property
    def parameter_texts(self) -> tuple[str, ...]:
        """``name=default unit`` for every parameter."""
        return tuple(
            f"{parameter.name}={parameter.default_text}{' ' + parameter.unit if parameter.unit else ''}"
            for parameter in self.parameters
        )

    def read_parameters(self, given: tuple[tuple[str, str], ...]) -> dict[str, object]:
        """Return every parameter's value: what was given, else the default.

        Raises
        ------
        KernelError
            For unknown, repeated, malformed or out-of-bounds parameters.
        """
        known = {parameter.name: parameter for parameter in self.parameters}
        values: dict[str, object] = {name: parameter.default for name, parameter in known.items()}
        seen: set[str] = set()
        for key, text in given:
            if key not in known:
                near = near_names(key, (*known, *MODIFIERS))
                raise KernelError(
                    f"'{self.name}' has no parameter '{key}'",
                    hint=near or f"{self.name} takes {', '.join(known) or 'no parameters'}",
                    parameter=key,
                )
            if key in seen:
                raise KernelError(f"'{self.name}': {key} is given twice", parameter=key)
            seen.add(key)
            values[key] = known[key].read(text, self.name)
        return {**dict(self.fixed), **values}


def sigma(default: float = 1.0, low: float = 0.1, high: float = 500.0, name: str = "sigma") -> Parameter:
    """Return a parameter for the standard deviation of a Gaussian."""
    return Parameter(name, "float", default, "standard deviation", "px", low, high)


def angle(default: float = 0.0, about: str = "counter-clockwise on the screen, 0 points right") -> Parameter:
    """Return a parameter for a direction."""
    return Parameter("angle", "float", default, about, "degrees", -360000.0, 360000.0)


def side(default: int | None = None, auto: str = "2*ceil(4*sigma)+1", *, kind: str = "odd", low: int = 1) -> Parameter:
    """Return a parameter for the rows and columns of a square kernel."""
    return Parameter("size", kind, default, "rows and columns", "px", float(low), 8191.0, auto=auto)
