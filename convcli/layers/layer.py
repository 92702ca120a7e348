"""One layer in one normal form: what it is and its parameters, one number per axis, nothing computed.

``Layer`` is a value: it hashes and compares, and :func:`make_layer` is the only way in, for text, TOML and Python
alike. Parameters have the names of ``torch.nn``. There is one class for every kind because a frozen dataclass costs a
millisecond to define, and ``convcli shape`` starts in forty.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from convcli.errors import UsageError, near_names
from convcli.geometry.sizes import Padding, parse_axes_padding, parse_count, parse_sizes, per_axis

#: Short forms of the parameters, as one writes them in ``conv:64,k=7,s=2,p=3``.
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
    "include_pad": "count_include_pad",
    "n": "members",
    "v": "value",
}

_CONV = ("kernel_size", "stride", "padding", "dilation", "groups", "bias", "padding_mode")
_WEIGHTS = ("weight", "bias_from", "init")
#: Parameters that are tables of their own in a stack file.
TABLES = ("init", "constants")
#: Kind = (what the first bare value means, the other parameters); a trailing ``!`` marks what must be given.
KINDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "conv": ("out_channels!", ("kernel_size!", *_CONV[1:], *_WEIGHTS)),
    "convtranspose": ("out_channels!", ("kernel_size!", *_CONV[1:6], "output_padding", *_WEIGHTS)),
    "depthwise": ("multiplier", ("kernel_size!", *_CONV[1:4], *_CONV[5:], *_WEIGHTS)),
    "pointwise": ("out_channels!", ("stride", "groups", "bias", *_WEIGHTS)),
    "maxpool": ("kernel_size!", ("stride", "padding", "dilation", "ceil_mode")),
    "avgpool": ("kernel_size!", ("stride", "padding", "ceil_mode", "count_include_pad")),
    "globalpool": ("mode", ()),
    "pad": ("padding!", ("mode", "value")),
    "relu": ("mode", ("value",)),
    "batchnorm": ("", ("eps", "constants", "weight")),
    "upsample": ("scale_factor!", ("mode",)),
    "shuffle": ("groups!", ()),
    "combine": ("mode!", ("members",)),
    "concat": ("", ()),
    "add": ("", ()),
    "subtract": ("", ()),
}
#: Layers that take several inputs, one by one.
JOINS = ("concat", "add", "subtract")
#: Layers that slide a window over their input.
WINDOWED = ("conv", "maxpool", "avgpool")
#: What ``mode`` can be, the default first.
MODES = {
    "globalpool": ("avg", "max"),
    "pad": ("zeros", "constant", "replicate", "reflect", "symmetric", "circular"),
    "relu": ("relu", "relu6", "leaky", "abs", "sigmoid", "tanh", "hardswish", "silu"),
    "upsample": ("nearest", "bilinear"),
    "combine": ("magnitude", "max", "min", "sum", "mean"),
}
#: Parameters every kind takes.
COMMON = ("name", "from")
_PER_AXIS = {"kernel_size": 1, "stride": 1, "dilation": 1, "output_padding": 0, "scale_factor": 1}
_COUNTS = {"out_channels": 1, "groups": 1, "multiplier": 1, "members": 1}
_SWITCHES = ("bias", "ceil_mode", "count_include_pad")
_NUMBERS = ("value", "eps")


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One step of a stack; fields that its kind does not use keep their defaults.

    Parameters
    ----------
    kind : str
        A key of :data:`KINDS` that is not a shorthand: ``depthwise`` and ``pointwise`` are ``conv`` here.
    label : str
        What the table calls it: the name given, or the word it was written as.
    name : str
        The name by which later layers and ``--outputs`` refer to its result; empty for none.
    inputs : tuple of str
        Names of the results it takes; empty for the layer before it.
    out_channels, groups : int
        0 means "as the input has" (depthwise), to be multiplied by ``multiplier``.
    kernel_size, stride, dilation, output_padding, scale_factor : tuple of int
        One number per axis, rows before columns.
    padding : str or tuple of (int, int)
        See :func:`convcli.geometry.arithmetic.resolve_padding`.
    mode : str
        One of :data:`MODES` for its kind; for ``conv`` the padding mode.
    members : int
        How many neighbouring channels ``combine`` makes one of.
    weights : tuple of (str, object)
        Where numbers come from when the stack runs: ``weight``, ``bias_from``, ``init``, ``constants``.
    """

    kind: str
    label: str = field(compare=False)
    n_axes: int = 2
    name: str = ""
    inputs: tuple[str, ...] = ()
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


def make_layer(
    kind: str,
    values: Mapping[str, object],
    *,
    n_axes: int = 2,
    label: str = "",
    positions: Mapping[str, int] | None = None,
) -> Layer:
    """Return the layer that ``values`` describe, in normal form.

    Parameters
    ----------
    kind : str
        A key of :data:`KINDS`.
    values : mapping of str to object
        Parameters by their full names: whole numbers, lists of them, or text such as ``"7x5"`` and ``"same"``.
    n_axes : int
        Axes besides the channels: 1, 2 or 3.
    label : str, optional
        What the table calls it; the name or the kind if absent.
    positions : mapping of str to int, optional
        Where each value starts in the text it came from, for errors.

    Raises
    ------
    UsageError
        A parameter is unknown to this kind, missing, or no sensible value.
    GeometryError
        Numbers for the wrong count of axes.

    Examples
    --------
    >>> make_layer("conv", {"out_channels": 64, "kernel_size": 7, "stride": 2, "padding": 3}).padding
    ((3, 3), (3, 3))
    >>> make_layer("maxpool", {"kernel_size": 3}).stride  # as torch: the kernel's size
    (3, 3)
    """
    first, others = KINDS[kind]
    known = {name.rstrip("!"): name.endswith("!") for name in (first, *others, *COMMON) if name}
    at = positions or {}
    for name in values:
        if name not in known:
            hint = near_names(name, known) or f"{kind} takes {', '.join(known)}"
            raise UsageError(f"{kind} has no parameter {name!r}", hint=hint, position=at.get(f"{name}=", 0))
    fields = {name: _normal(name, values[name], kind, n_axes, at.get(name, 0)) for name in values}
    for name, needed in known.items():
        if needed and name not in values:
            raise UsageError(f"{kind}: {name} is missing", hint=_example(kind), position=at.get("", 0))
    return _build(kind, fields, n_axes, label)


def _build(kind: str, fields: dict[str, object], n_axes: int, label: str) -> Layer:
    """Fill in defaults, and turn shorthand kinds into the layer they are."""
    name = str(fields.pop("name", ""))
    label = name or label or kind
    inputs = fields.pop("from", ())
    weights = tuple((key, fields.pop(key)) for key in (*_WEIGHTS, "constants") if key in fields)
    if "padding_mode" in fields:
        fields["mode"] = fields.pop("padding_mode")
    if kind == "depthwise":
        kind, fields["groups"] = "conv", 0
    elif kind == "pointwise":
        kind, fields["kernel_size"] = "conv", (1,) * n_axes
    ones = (1,) * n_axes
    if kind in (*WINDOWED, "convtranspose"):
        fields.setdefault("stride", fields["kernel_size"] if kind.endswith("pool") else ones)
        fields.setdefault("dilation", ones)
        fields.setdefault("padding", ((0, 0),) * n_axes)
        fields.setdefault("output_padding", (0,) * n_axes)
    if kind in MODES:
        fields.setdefault("mode", MODES[kind][0])
    if fields.get("mode") == "leaky":
        fields.setdefault("value", 0.01)  # torch's slope
    if kind in JOINS and len(inputs) < 2:  # type: ignore[arg-type]
        raise UsageError(
            f"{kind} needs two inputs or more", hint=f"{kind}:from=first+second (names of layers, or input)"
        )
    if kind not in JOINS and len(inputs) > 1:  # type: ignore[arg-type]
        raise UsageError(f"{kind} takes one input", hint="join them first: add, subtract or concat")
    return Layer(kind=kind, label=label, n_axes=n_axes, name=name, inputs=inputs, weights=weights, **fields)  # type: ignore[arg-type]


def _normal(name: str, value: object, kind: str, n_axes: int, at: int) -> object:
    """Return one parameter in its normal form."""
    if name in _PER_AXIS:
        return per_axis(_sizes(name, value, _PER_AXIS[name], at), name, n_axes)
    if name in _COUNTS:
        return parse_count(str(value), name, minimum=_COUNTS[name], at=at)
    if name == "padding":
        padding = _padding(value, n_axes, at)
        if kind == "pad" and isinstance(padding, str):
            raise UsageError(f"pad needs numbers, not {padding!r}", hint=_example("pad"), position=at)
        return padding
    if name in _SWITCHES:
        return _switch(name, value, at)
    if name in _NUMBERS:
        return _number(name, value, at)
    if name == "from":
        names = value.split("+") if isinstance(value, str) else value
        if not isinstance(names, Sequence) or not all(isinstance(item, str) and item.strip() for item in names):
            raise UsageError(f"from {value!r} is not a name", hint="from=first+second", position=at)
        return tuple(item.strip() for item in names)
    if name == "mode":
        return _mode(kind, str(value), at)
    if name in TABLES:
        if not isinstance(value, Mapping):
            raise UsageError(f"{name} {value!r} is not a table", hint=f"{name} = {{ … }} in a stack file", position=at)
        return tuple(sorted((key, tuple(item) if isinstance(item, list) else item) for key, item in value.items()))
    return str(value).strip()


def _sizes(name: str, value: object, minimum: int, at: int) -> tuple[int, ...]:
    """Return whole numbers from ``3``, ``"7x5"`` or ``[7, 5]``."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return tuple(parse_count(str(item), name, minimum=minimum, at=at) for item in value)
    return parse_sizes(str(value), name, minimum=minimum, at=at)


def _padding(value: object, n_axes: int, at: int) -> Padding:
    """Return padding from text, a number, one number per axis, two per axis, or pairs."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        if any(isinstance(item, list | tuple) for item in value):
            if not all(isinstance(item, list | tuple) and len(item) == 2 for item in value):
                raise UsageError(
                    f"padding {value!r}: not two sides for each axis", hint="[[1, 1], [0, 2]]", position=at
                )
            value = [side for pair in value for side in pair]
        joint = "," if len(value) == 2 * n_axes else "x"
        return parse_axes_padding(joint.join(map(str, value)), n_axes, at=at)
    return parse_axes_padding(str(value), n_axes, at=at)


def _switch(name: str, value: object, at: int) -> bool:
    """Return yes or no from ``true``, ``1``, ``yes``, ``on`` and their opposites."""
    word = str(value).strip().lower()
    if word not in ("true", "1", "yes", "on", "false", "0", "no", "off"):
        raise UsageError(
            f"{name} {value!r} is neither true nor false", hint=f"{name}=true or {name}=false", position=at
        )
    return word in ("true", "1", "yes", "on")


def _number(name: str, value: object, at: int) -> float:
    """Return a finite number."""
    try:
        number = float(str(value))
    except ValueError:
        number = float("nan")
    if number != number or number in (float("inf"), float("-inf")):
        raise UsageError(f"{name} {value!r} is not a number", hint=f"{name}=0.1", position=at)
    return number


def _mode(kind: str, word: str, at: int) -> str:
    """Return one of the modes that a kind knows."""
    word = word.strip().lower()
    if word not in MODES[kind]:
        hint = near_names(word, MODES[kind]) or f"one of {', '.join(MODES[kind])}"
        raise UsageError(f"{kind} has no mode {word!r}", hint=hint, position=at)
    return word


def _example(kind: str) -> str:
    """Return what a correct layer of this kind looks like."""
    return {
        "conv": "conv:64,k=3,p=1 is 64 maps of a 3×3 kernel",
        "convtranspose": "convtranspose:32,k=4,s=2,p=1",
        "depthwise": "depthwise:k=3,p=1",
        "pointwise": "pointwise:64",
        "maxpool": "maxpool:2 or maxpool:k=3,s=2,p=1",
        "avgpool": "avgpool:2 or avgpool:k=3,s=2,p=1",
        "pad": "pad:1 or pad:0,1,0,1 (top,bottom,left,right)",
        "upsample": "upsample:2,mode=bilinear",
        "shuffle": "shuffle:4 (groups)",
        "combine": "combine:magnitude,n=2",
    }[kind]
