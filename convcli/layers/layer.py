"""One layer in normal form: the base class of every kind, and a layer bound to its input (a row of the table).

A kind is a subclass of :class:`Layer` in :mod:`convcli.layers.kinds` that holds everything about it: names, parameters,
sizes, counts, receptive step, weights, run, formula. Layers are values: they hash and compare. Parameters
have the names of ``torch.nn``. Subclasses add no fields: each more dataclass would cost a millisecond at start-up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from convcli.errors import GeometryError, UsageError, near_names
from convcli.geometry.arithmetic import Padding, Pair, Step, parse_count
from convcli.geometry.sizes import parse_number, parse_switch, read_padding, read_sizes

if TYPE_CHECKING:
    from convcli.geometry.arithmetic import Number

Shape = tuple[int, ...]
Values = Mapping[str, object]
#: Where values and keys (with ``=``) start in a text, for errors.
Positions = Mapping[str, int]
NOWHERE: Positions = {}

#: Short forms of the parameters, as in ``conv:64,k=7,s=2,p=3``.
SHORT = {
    "k": "kernel_size",
    "s": "stride",
    "p": "padding",
    "d": "dilation",
    "g": "groups",
    "op": "output_padding",
    "m": "multiplier",
    "f": "scale_factor",
    "ceil": "ceil_mode",
    "out": "out_channels",
    "in": "in_channels",
    "include_pad": "count_include_pad",
    "n": "members",
    "v": "value",
}
#: Parameters that every kind takes.
COMMON = ("name", "from")
#: Sources of numbers.
SOURCES = ("weight", "init", "constants", "bias_from", "bias_values")
#: Files that list their convolution weights.
CHECKPOINTS = (".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".pth.tar", ".index.json", ".onnx")
#: Classes by word, as their modules are imported.
LOADED: dict[str, type[Word]] = {}
_SIZES = {"kernel_size": 1, "stride": 1, "dilation": 1, "output_padding": 0, "scale_factor": 1}
_COUNTS = ("in_channels", "out_channels", "groups", "multiplier", "members")
_SWITCHES = ("ceil_mode", "count_include_pad")
_NUMBERS = ("value", "eps")


class Numbers(NamedTuple):
    """Arrays that a layer needs to run: a convolution's weight and bias, or a batch norm's factor and offset."""

    weight: Any = None
    bias: Any = None


class Word:
    """A word of the command line: one kind of layer, or a sequence of several layers."""

    __slots__ = ()
    kind: ClassVar[str] = ""
    aliases: ClassVar[tuple[str, ...]] = ()
    #: The parameter that a bare first value sets, the other parameters, and those that must be given.
    bare: ClassVar[str] = ""
    parameters: ClassVar[tuple[str, ...]] = ()
    needed: ClassVar[tuple[str, ...]] = ()
    example: ClassVar[str] = ""
    has_window: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        if "kind" in cls.__dict__:
            LOADED[cls.kind] = cls

    @classmethod
    def known(cls) -> tuple[str, ...]:
        """Return the names of all parameters."""
        return tuple(name for name in (cls.bare, *cls.parameters, *COMMON) if name)

    @classmethod
    def full_name(cls, key: str) -> str:
        """Return the long form of a parameter's key."""
        key = key.strip().lower().replace("-", "_")
        # Convolutions have no mode of their own, so the short word is free for the border there.
        return "padding_mode" if key == "mode" and "padding_mode" in cls.parameters else SHORT.get(key, key)

    @classmethod
    def check_known(cls, values: Values, at: Positions) -> None:
        """Raise if there is no such parameter."""
        for name in values:
            if name not in cls.known():
                hint = near_names(name, cls.known()) or f"{cls.kind} takes {', '.join(cls.known())}"
                raise UsageError(f"{cls.kind} has no parameter {name!r}", hint=hint, position=at.get(f"{name}=", 0))

    @classmethod
    def check_needed(cls, values: Values) -> None:
        """Raise if a parameter is missing."""
        for name in cls.needed:
            if name not in values:
                raise UsageError(f"{cls.kind}: {name} is missing", hint=cls.example, position=0)

    @classmethod
    def make(cls, values: Values, n_axes: int = 2, label: str = "", at: Positions = NOWHERE) -> tuple[Layer, ...]:
        """Return the layers that ``values`` describe; see :func:`convcli.layers.text.layers_from_values`."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer(Word):
    """One step of a stack; fields that its kind does not use keep their defaults.

    ``label`` is its name in the table, ``name`` the name of its result, ``inputs`` the names of the results it
    takes (empty: the layer before it), ``in_channels`` those that it asks for (0: any). Tuples have one entry per
    axis, rows before columns; ``padding`` is as in :func:`convcli.geometry.arithmetic.resolve_padding`. 0
    ``groups`` means one per input channel (depthwise), with ``multiplier`` maps each. ``mode`` is one of the kind's
    ``modes``, for ``conv`` the padding mode. ``weights`` are sources of numbers, by :data:`SOURCES`.
    """

    label: str = field(default="", compare=False)
    n_axes: int = 2
    name: str = ""
    inputs: tuple[str, ...] = ()
    in_channels: int = 0
    out_channels: int = 0
    multiplier: int = 1
    groups: int = 1
    kernel_size: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    padding: Padding = ()
    dilation: tuple[int, ...] = ()
    output_padding: tuple[int, ...] = ()
    scale_factor: tuple[int, ...] = ()
    bias: bool = True
    ceil_mode: bool = False
    count_include_pad: bool = True
    mode: str = ""
    value: float = 0.0
    eps: float = 1e-5
    members: int = 2
    weights: tuple[tuple[str, object], ...] = ()

    #: Values of ``mode``, the default first; names in the table ``constants``; whether it takes several inputs.
    modes: ClassVar[tuple[str, ...]] = ()
    #: Parameters that one mode alone uses, with that mode.
    of_mode: ClassVar[Mapping[str, str]] = {}
    constants: ClassVar[tuple[str, ...]] = ()
    joins: ClassVar[bool] = False

    @classmethod
    def make(cls, values: Values, n_axes: int = 2, label: str = "", at: Positions = NOWHERE) -> tuple[Layer, ...]:
        """Return the one layer that ``values`` describe."""
        cls.check_known(values, at)
        fields: dict[str, Any] = {key: cls.read(key, values[key], n_axes, at.get(key, 0)) for key in values}
        cls.check_needed(values)
        fields["name"] = fields.get("name", "")
        fields["label"] = fields["name"] or label or cls.kind
        fields["inputs"] = fields.pop("from", ())
        if cls.joins and len(fields["inputs"]) < 2:
            hint = f"{cls.kind}:from=first+second (names of layers, or input)"
            raise UsageError(f"{cls.kind} needs two inputs or more", hint=hint)
        if not cls.joins and len(fields["inputs"]) > 1:
            raise UsageError(f"{cls.kind} takes one input", hint="join them first: add, subtract or concat")
        return (cls.build(fields, n_axes),)

    @classmethod
    def build(cls, fields: dict[str, Any], n_axes: int) -> Layer:
        """Return a layer from fields in normal form, defaults filled in."""
        if cls.modes:
            fields.setdefault("mode", cls.modes[0])
        for name, mode in cls.of_mode.items():
            if name in fields and fields["mode"] != mode:
                message = f"{cls.kind}: {name} does nothing in mode {fields['mode']}"
                raise UsageError(message, hint=f"mode={mode}, or no {name}")
        # A fixed order of the sources makes equal layers hash and compare equal, however they were written.
        weights = tuple((key, fields.pop(key)) for key in SOURCES if key in fields)
        return cls(n_axes=n_axes, weights=weights, **fields)

    @classmethod
    def read(cls, name: str, value: object, n_axes: int, at: int) -> object:
        """Return one parameter in normal form; ``at`` is its position in the text, for errors."""
        if name in _SIZES:
            return read_sizes(value, name, n_axes, minimum=_SIZES[name], at=at)
        if name in _COUNTS:
            return parse_count(str(value), name, minimum=1, at=at)
        if name == "padding":
            return read_padding(value, n_axes, at=at)
        if name in _SWITCHES:
            return parse_switch(str(value), name, at=at)
        if name in _NUMBERS:
            return parse_number(str(value), name, at=at)
        if name == "from":
            names = value.split("+") if isinstance(value, str) else value
            if not isinstance(names, Sequence) or not all(isinstance(item, str) and item.strip() for item in names):
                raise UsageError(f"from {value!r} is not a name", hint="from=first+second", position=at)
            return tuple(item.strip() for item in names)
        if name in ("init", "constants"):
            value = {"kind": value} if name == "init" and isinstance(value, str) else value
            if not isinstance(value, Mapping):
                hint = f"{name} = {{ … }} in a stack file"
                raise UsageError(f"{name} {value!r} is not a table", hint=hint, position=at)
            for key in value if name == "constants" else ():
                if key not in cls.constants:
                    hint = near_names(key, cls.constants) or f"known: {', '.join(cls.constants)}"
                    raise UsageError(f"constants has no {key!r}", hint=hint, position=at)
            # Layers are hashable values: tables of a TOML file must become tuples.
            return tuple(sorted((key, tuple(item) if isinstance(item, list) else item) for key, item in value.items()))
        word = str(value).strip()
        if name == "mode" and word.lower() not in cls.modes:
            hint = near_names(word.lower(), cls.modes) or f"one of {', '.join(cls.modes)}"
            raise UsageError(f"{cls.kind} has no mode {word.lower()!r}", hint=hint, position=at)
        return word.lower() if name == "mode" else word

    def channels(self, shapes: Sequence[Shape]) -> tuple[int, int]:
        """Return (output channels, groups) for the shapes of the inputs."""
        return shapes[0][0], 1

    def check_in(self, channels: int) -> None:
        """Raise if the layer asks for another number of input channels."""
        if self.in_channels not in (0, channels):
            message = f"takes {self.in_channels} input channels and gets {channels}"
            hint = f"in_channels={channels}"
            if dict(self.weights).get("weight"):
                hint = f"its weight reads {self.in_channels} channels: --channels, or the layer before, must give them"
            raise GeometryError(message, hint=hint, in_channels=channels)

    def sizes(self, sizes: Shape) -> tuple[tuple[Pair, ...], Shape, Shape]:
        """Return (resolved padding, output sizes, unused input), each per axis."""
        return ((0, 0),) * self.n_axes, sizes, (0,) * self.n_axes

    def counts(self, before: Shape, after: Shape, groups: int) -> tuple[int, int, int]:
        """Return (parameters, MACs, bias additions) for an input and output shape."""
        return 0, 0, 0

    def step(self, axis: int, size: int, pad: int) -> Step:
        """Return the window along one axis, for receptive fields; ``pad`` is the padding before it."""
        return Step()

    def load(self, row: Row, sources: Any) -> Numbers:
        """Return the numbers that it needs to run, from a :class:`convcli.layers.run.NumberSources`."""
        return Numbers()

    def run(self, row: Row, inputs: Sequence[Any], numbers: Numbers, how: Mapping[str, Any]) -> Any:
        """Return the result as an array; ``how`` has ``engine`` and ``threads`` of convolutions."""
        raise NotImplementedError(self.kind)

    def size_formula(self, row: Row, axis: int) -> Iterator[str]:
        """Yield the output length along one axis as a formula."""
        yield f"{row.input[1 + axis]} (unchanged)"

    def count_formula(self, row: Row, parts: Sequence[int]) -> Iterator[tuple[str, str]]:
        """Yield (name, formula) of channels, parameters and MACs; ``parts`` are the channels of each input."""
        yield from ()


class Row(NamedTuple):
    """One layer, bound to its input: a row of the table; values along axes are tuples, rows before columns.

    ``macs`` are the multiply-accumulates of the weights at every position, positions on padding included;
    ``bias_adds`` are apart. Only convolutions have any: a batch norm folds into the convolution before it. ``unused``
    is the input at the end of each axis that the last window does not reach. ``is_exact_field`` is false where the
    receptive field is an upper bound.
    """

    layer: Layer
    sources: tuple[int, ...]
    input: Shape
    output: Shape
    padding: tuple[Pair, ...]
    groups: int
    parameters: int
    macs: int
    bias_adds: int
    unused: tuple[int, ...]
    receptive_field: tuple[int, ...] = ()
    jump: tuple[Number, ...] = ()
    start: tuple[Number | float, ...] = ()
    is_exact_field: bool = True

    @property
    def activation_bytes(self) -> int:
        """Bytes of the output as float32."""
        return 4 * prod(self.output)

    @property
    def is_aligned(self) -> bool:
        """Whether fields are centred on input pixels, and not between two."""
        # Pixel n covers n to n + 1, so its middle ends in .5; a whole start lies on the edge between two pixels.
        return all(2 * start % 2 == 1 for start in self.start)
