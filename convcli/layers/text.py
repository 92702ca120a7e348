"""Layers as one writes them on a command line: ``conv:64,k=7,s=2,p=3`` → :class:`convcli.layers.layer.Layer`.

A word, a colon, then values with commas: bare ones first, the others as ``key=value`` in the short or the long form.
Bare numbers right after ``p=`` are the other sides of the padding. Some words stand for several layers in a row
(``separable`` is depthwise, then pointwise). Every error carries the text and the position of its fault.
"""

from __future__ import annotations

from collections.abc import Mapping

from convcli.errors import UsageError, near_names
from convcli.layers.layer import COMMON, KINDS, SHORT, Layer, make_layer

#: Other names of the kinds, as torch and people write them.
ALIASES = {
    "convolution": "conv",
    "grouped": "conv",
    "transposed": "convtranspose",
    "deconv": "convtranspose",
    "tconv": "convtranspose",
    "dw": "depthwise",
    "pw": "pointwise",
    "max": "maxpool",
    "avg": "avgpool",
    "averagepool": "avgpool",
    "globalavgpool": "globalpool",
    "adaptiveavgpool": "globalpool",
    "zeropad": "pad",
    "bn": "batchnorm",
    "channelshuffle": "shuffle",
    "cat": "concat",
    "sub": "subtract",
    "up": "upsample",
    "ds": "separable",
    "depthwiseseparable": "separable",
    "spatiallyseparable": "spatial",
    "activation": "relu",
}
#: Words that stand for several layers: what their first bare value means, and the other parameters.
SEQUENCES: dict[str, tuple[str, tuple[str, ...]]] = {
    "separable": ("out_channels", ("kernel_size", "stride", "padding", "dilation", "multiplier", "bias", *COMMON)),
    "spatial": ("out_channels", ("kernel_size", "stride", "padding", "dilation", "groups", "bias", *COMMON)),
    "flattened": ("out_channels", ("kernel_size", "stride", "padding", "dilation", "bias", *COMMON)),
}


def fault(text: str, at: int, message: str, hint: str | None = None) -> UsageError:
    """Return the error that points at one character of what the user wrote.

    Examples
    --------
    >>> str(fault("conv:q=1", 5, "conv has no parameter 'q'"))
    "'conv:q=1', character 6: conv has no parameter 'q'"
    """
    error = UsageError(message, hint=hint, text=text, position=at)
    error.within(f"{text!r}, character {at + 1}")
    return error


def parse_layers(text: str, n_axes: int = 2) -> tuple[Layer, ...]:
    """Return the layers that one word of a chain stands for: mostly one.

    Parameters
    ----------
    text : str
        Such as ``conv:64,k=7,s=2,p=3``, ``maxpool:2``, ``separable:64,k=3,p=1`` or ``relu``.
    n_axes : int
        Axes besides the channels: 1, 2 or 3. A word that says its own (``conv3d``) must agree.

    Returns
    -------
    tuple of Layer
        In the order in which they run.

    Raises
    ------
    UsageError
        The word, a parameter or a value is not understood; carries ``text`` and ``position``, counted from 0.

    Examples
    --------
    >>> [layer.label for layer in parse_layers("separable:64,k=3,p=1")]
    ['separable.depthwise', 'separable.pointwise']
    >>> parse_layers("conv:8,k=3x1,p=1,1,0,0")[0].padding
    ((1, 1), (0, 0))
    """
    kind, word, values, positions = split_layer(text, n_axes)
    return layers_from_values(kind, values, n_axes=n_axes, label=word, positions=positions, text=text)


def layers_from_values(
    kind: str,
    values: Mapping[str, object],
    *,
    n_axes: int,
    label: str = "",
    positions: Mapping[str, int] | None = None,
    text: str = "",
) -> tuple[Layer, ...]:
    """Return the layers of a kind or of a word for several; ``text`` is what the errors quote.

    Examples
    --------
    >>> [layer.kernel_size for layer in layers_from_values("spatial", {"out_channels": 8, "kernel_size": 7}, n_axes=2)]
    [(7, 1), (1, 7)]
    """
    try:
        if kind in SEQUENCES:
            return _sequence(kind, values, n_axes, positions or {})
        return (make_layer(kind, values, n_axes=n_axes, label=label, positions=positions),)
    except UsageError as error:
        if not text:
            raise
        at = error.facts.get("position")
        raise fault(text, at if isinstance(at, int) else 0, error.message, error.hint) from None


def find_kind(word: str, n_axes: int) -> str:
    """Return the kind that a word such as ``Conv2d`` or ``max_pool`` names.

    Raises
    ------
    UsageError
        The word is unknown, or says another number of axes than the input has.

    Examples
    --------
    >>> find_kind("Conv2d", 2), find_kind("max_pool2d", 2), find_kind("dw", 1)
    ('conv', 'maxpool', 'depthwise')
    """
    name = word.strip().lower().replace("_", "").replace("-", "")
    if name[-2:] in ("1d", "2d", "3d"):
        if int(name[-2]) != n_axes:
            message = f"{word} needs {name[-2]} axes besides the channels, and the input has {n_axes}"
            raise UsageError(message, hint=f"{word[:-2]} follows the input; CxL, CxHxW and CxDxHxW have 1, 2 and 3")
        name = name[:-2]
    name = ALIASES.get(name, name)
    if name not in KINDS and name not in SEQUENCES:
        hint = _near_kinds(name) or f"known: {', '.join([*KINDS, *SEQUENCES])}"
        raise UsageError(f"unknown layer {word!r}" if word else "a layer's name is missing", hint=hint)
    return name


def _near_kinds(name: str) -> str:
    """Return "did you mean ...?" with the names that --help has: an alias that is near suggests what it stands for."""
    import difflib

    near = difflib.get_close_matches(name, sorted([*KINDS, *SEQUENCES, *ALIASES]), n=3, cutoff=0.6)
    found = dict.fromkeys(ALIASES.get(word, word) for word in near)
    return f"did you mean {', '.join(found)}?" if found else ""


def full_name(kind: str, key: str) -> str:
    """Return the long form of a parameter's key for this kind.

    Examples
    --------
    >>> full_name("conv", "k"), full_name("conv", "padding"), full_name("conv", "mode")
    ('kernel_size', 'padding', 'padding_mode')
    """
    key = key.strip().lower().replace("-", "_")
    if kind in ("conv", "depthwise") and key == "mode":
        return "padding_mode"
    return SHORT.get(key, key)


def split_layer(text: str, n_axes: int = 2) -> tuple[str, str, dict[str, str], dict[str, int]]:
    """Return (kind, word, values by full name, positions) of a layer's text, nothing converted.

    A position is kept for each value under its name, and for each key under the name and ``=``.

    Examples
    --------
    >>> split_layer("conv:64,k=7")[2]
    {'out_channels': '64', 'kernel_size': '7'}
    """
    word, colon, rest = text.partition(":")
    try:
        kind = find_kind(word, n_axes)
    except UsageError as error:
        raise fault(text, 0, error.message, error.hint) from None
    first = (SEQUENCES[kind] if kind in SEQUENCES else KINDS[kind])[0].rstrip("!")
    if colon and not rest.strip():
        raise fault(text, len(word) + 1, "nothing after the colon", f"{first or 'from'}=… or no colon")
    values: dict[str, str] = {}
    positions = {"": 0}
    at, last = len(word) + 1, first
    for number, part in enumerate(rest.split(",") if colon else []):
        key, equals, value = part.partition("=")
        name = full_name(kind, key) if equals else last
        value_at = at + len(key) + 1 if equals else at
        if not equals and number and last != "padding":
            raise fault(text, at, f"{part!r} has no key", f"a parameter is key=value, such as k=3: {_keys(kind)}")
        if not equals and not last:
            raise fault(text, at, f"{kind} takes no bare value", _keys(kind))
        if name in values and equals:
            raise fault(text, at, f"{name} is given twice")
        if not (value if equals else part).strip():
            raise fault(text, value_at, f"{name or 'a value'}: nothing given", _keys(kind))
        positions.setdefault(name, value_at)
        positions.setdefault(f"{name}=", at)
        values[name] = f"{values[name]},{part}" if name in values else (value if equals else part)
        at, last = at + len(part) + 1, name
    return kind, word.strip(), values, positions


def _keys(kind: str) -> str:
    """Return the sentence that lists a kind's keys, short ones where there are."""
    first, others = SEQUENCES[kind] if kind in SEQUENCES else KINDS[kind]
    short = {long: key for key, long in SHORT.items()}
    names = [name.rstrip("!") for name in (first, *others, *COMMON) if name]
    return f"{kind} takes {', '.join(short.get(name, name) for name in dict.fromkeys(names))}"


def _sequence(kind: str, values: Mapping[str, object], n_axes: int, at: Mapping[str, int]) -> tuple[Layer, ...]:
    """Return the layers that ``separable``, ``spatial`` or ``flattened`` stands for."""
    first, others = SEQUENCES[kind]
    for name in values:
        if name not in (first, *others):
            hint = near_names(name, (first, *others)) or _keys(kind)
            raise UsageError(f"{kind} has no parameter {name!r}", hint=hint, position=at.get(f"{name}=", 0))
    for name in ("out_channels", "kernel_size"):
        if name not in values:
            raise UsageError(f"{kind}: {name} is missing", hint=f"{kind}:64,k=3,p=1")
    if kind != "separable" and n_axes == 1:
        raise UsageError(f"{kind} needs at least two axes", hint="conv")
    given = {key: value for key, value in values.items() if key not in COMMON}
    steps = _steps(kind, given, n_axes, at)
    if "from" in values:
        steps[0][2]["from"] = values["from"]
    if "name" in values:
        steps[-1][2]["name"] = values["name"]
    return tuple(
        make_layer(base, step, n_axes=n_axes, label=f"{kind}.{name}", positions=at) for name, base, step in steps
    )


def _steps(
    kind: str, given: Mapping[str, object], n_axes: int, at: Mapping[str, int]
) -> list[tuple[str, str, dict[str, object]]]:
    """Return (name, kind, values) of each layer of a sequence."""
    whole_values = {key: value for key, value in given.items() if key != "multiplier"}
    whole = make_layer("conv", whole_values, n_axes=n_axes, positions=at)
    out: dict[str, object] = {"out_channels": whole.out_channels, "bias": whole.bias}
    if kind == "separable":
        depthwise = {key: value for key, value in given.items() if key != "out_channels"}
        return [("depthwise", "depthwise", depthwise), ("pointwise", "pointwise", out)]
    names = ("depth", "vertical", "horizontal")[-n_axes:]
    lines = [(name, _one_axis(whole, axis)) for axis, name in enumerate(names)]
    if kind == "spatial":
        return [(name, "conv", {**line, **out, "groups": whole.groups}) for name, line in lines]
    across: list[tuple[str, str, dict[str, object]]] = [("lateral", "pointwise", out)]
    return across + [(name, "depthwise", {**line, "bias": whole.bias}) for name, line in lines]


def _one_axis(layer: Layer, axis: int) -> dict[str, object]:
    """Return the window of a layer along one axis, and nothing along the others."""

    def only(numbers: tuple[int, ...], neutral: int) -> list[int]:
        return [number if i == axis else neutral for i, number in enumerate(numbers)]

    padding: object = layer.padding
    if not isinstance(padding, str):
        padding = [list(pair) if i == axis else [0, 0] for i, pair in enumerate(layer.padding)]
    return {
        "kernel_size": only(layer.kernel_size, 1),
        "stride": only(layer.stride, 1),
        "dilation": only(layer.dilation, 1),
        "padding": padding,
    }
