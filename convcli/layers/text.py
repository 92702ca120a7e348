"""Text → layers and input shapes: ``conv:64,k=7,s=2,p=3`` → :class:`convcli.layers.layer.Layer`.

A word, a colon, then values with commas: bare ones first, the others as ``key=value`` in the short or the long form.
Bare numbers right after ``p=`` are the other sides of the padding. Some words stand for several layers in a row
(``separable`` is depthwise, then pointwise). Every error carries the text and the position of its fault.
"""

from __future__ import annotations

from importlib import import_module

from convcli.errors import GeometryError, KernelError, UsageError
from convcli.geometry.sizes import parse_sizes
from convcli.layers.kinds import NAMES, WORDS
from convcli.layers.layer import LOADED, NOWHERE, SHORT, Layer, Positions, Shape, Values, Word
from convcli.layers.sources import continues_spec, takes_spec
from convcli.layers.words import split_values, unquoted


def fault(text: str, at: int, message: str, hint: str | None = None) -> UsageError:
    """Return the error that points at one character of the user's text.

    Examples
    --------
    >>> str(fault("conv:q=1", 5, "conv has no parameter 'q'"))
    "'conv:q=1', character 6: conv has no parameter 'q'"
    """
    error = UsageError(message, hint=hint, text=text, position=at)
    error.within(f"{text!r}, character {at + 1}")
    return error


def load_word(name: str) -> type[Word]:
    """Return the class of a word.

    Examples
    --------
    >>> load_word("maxpool").__name__
    'MaxPool'
    """
    if name not in LOADED:
        module = next(module for module, words in WORDS.items() if name in words)
        import_module(f"convcli.layers.kinds.{module}")
    return LOADED[name]


def load_aliases() -> dict[str, str]:
    """Return the other names of all words."""
    return {alias: name for name in NAMES for alias in load_word(name).aliases}


def make_layer(kind: str, values: Values, *, n_axes: int = 2, label: str = "") -> Layer:
    """Return the layer of one kind that ``values`` describe, in normal form.

    Parameters
    ----------
    values : mapping of str to object
        Parameters by their full names: whole numbers, lists of them, or text such as ``"7x5"`` and ``"same"``.
    label : str, optional
        Its name in the table; the layer's name or the kind if absent.

    Raises
    ------
    UsageError
        A parameter is unknown to this kind, missing, or has no valid value.
    GeometryError
        Numbers for the wrong count of axes.

    Examples
    --------
    >>> make_layer("conv", {"out_channels": 64, "kernel_size": 7, "stride": 2, "padding": 3}).padding
    ((3, 3), (3, 3))
    >>> make_layer("maxpool", {"kernel_size": 3}).stride  # as torch: the kernel's size
    (3, 3)
    """
    (layer,) = load_word(kind).make(values, n_axes, label)
    return layer


def parse_layers(text: str, n_axes: int = 2) -> tuple[Layer, ...]:
    """Return the layers that one word of a chain stands for: mostly one.

    Parameters
    ----------
    text : str
        Such as ``conv:64,k=7,s=2,p=3``, ``maxpool:2``, ``separable:64,k=3,p=1`` or ``relu``.
    n_axes : int
        Axes besides the channels: 1, 2 or 3. A word with its own (``conv3d``) must agree.

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
    return layers_from_values(kind, values, n_axes=n_axes, label=word, at=positions, text=text)


def layers_from_values(
    kind: str, values: Values, *, n_axes: int, label: str = "", at: Positions = NOWHERE, text: str = ""
) -> tuple[Layer, ...]:
    """Return the layers of a word; errors quote ``text``, in which values start ``at`` positions.

    Examples
    --------
    >>> [layer.kernel_size for layer in layers_from_values("spatial", {"out_channels": 8, "kernel_size": 7}, n_axes=2)]
    [(7, 1), (1, 7)]
    """
    try:
        return load_word(kind).make(values, n_axes, label, at)
    except UsageError as error:
        if not text:
            raise
        position = error.facts.get("position")
        raise fault(text, position if isinstance(position, int) else 0, error.message, error.hint) from None
    except (KernelError, GeometryError) as error:
        raise (error.within(repr(text)) if text else error) from None


def find_kind(word: str, n_axes: int) -> str:
    """Return the kind that a word such as ``Conv2d`` or ``max_pool`` names; ``2d`` must agree with ``n_axes``.

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
    if name not in NAMES:
        # Aliases live in the classes, and reading them imports every kind: the plain names are tried first.
        name = load_aliases().get(name, name)
    if name not in NAMES:
        hint = _near_kinds(name) or f"known: {', '.join(NAMES)}"
        if name in ("linear", "flatten", "fc", "dense"):
            hint = "layers work on planes here: leave out what comes after them, or pointwise for a linear layer"
        raise UsageError(f"unknown layer {word!r}" if word else "a layer's name is missing", hint=hint)
    return name


def _near_kinds(name: str) -> str:
    """Return "did you mean ...?" with words in --help: a near alias suggests its word."""
    import difflib

    aliases = load_aliases()
    near = difflib.get_close_matches(name, sorted([*NAMES, *aliases]), n=3, cutoff=0.6)
    found = dict.fromkeys(aliases.get(word, word) for word in near)
    return f"did you mean {', '.join(found)}?" if found else ""


def split_layer(text: str, n_axes: int = 2) -> tuple[str, str, dict[str, str], dict[str, int]]:
    """Return (kind, word, values by full name, positions) of a layer's text, nothing converted.

    A position is kept for each value under its name, and for each key under the name and ``=``.

    Examples
    --------
    >>> split_layer("conv:64,k=7")[2]
    {'out_channels': '64', 'kernel_size': '7'}
    """
    is_constructor = "(" in text.partition(":")[0]
    word, colon, rest = text.partition("(" if is_constructor else ":")
    word = word.strip().removeprefix("torch.").removeprefix("nn.")
    try:
        if is_constructor:
            from convcli.layers.constructor import our_word, read_constructor

            kind = find_kind(our_word(word), n_axes)
            values = read_constructor(text, kind, word)
            # The parser gives values in normal form: one that is written otherwise points at the start.
            return kind, word, values, {each: max(text.find(value), 0) for each, value in values.items()}
        kind = find_kind(word, n_axes)
    except UsageError as error:
        raise fault(text, 0, error.message, error.hint) from None
    row = load_word(kind)
    if colon and not rest.strip():
        raise fault(text, len(word) + 1, "nothing after the colon", f"{row.bare or 'from'}=… or no colon")
    short = {long: key for key, long in SHORT.items()}
    keys = f"{kind} takes {', '.join(short.get(name, name) for name in row.known())}"
    values = {}
    positions = {"": 0}
    start, last = len(word) + 1, row.bare
    # Positions are counted along the text, so that an error points at the character the user typed.
    for number, (offset, part) in enumerate(split_values(rest) if colon else []):
        at = start + offset
        key, equals, value = part.partition("=")
        name = row.full_name(key) if equals else last
        value_at = at + len(key) + 1 if equals else at
        if (not number and takes_spec(row, part)) or (number and continues_spec(values.get("weight"), row, part, last)):
            name, value_at, equals = "weight", at, ""
        # Only padding has several sides, so only after it does a bare number continue the value before.
        elif not equals and number and last != "padding":
            raise fault(text, at, f"{part!r} has no key", f"a parameter is key=value, such as k=3: {keys}")
        elif not equals and not last:
            raise fault(text, at, f"{kind} takes no bare value", keys)
        if name in values and equals:
            raise fault(text, at, f"{name} is given twice")
        if not (value if equals else part).strip():
            raise fault(text, value_at, f"{name or 'a value'}: nothing given", keys)
        positions.setdefault(name, value_at)
        positions.setdefault(f"{name}=", at)
        values[name] = f"{values[name]},{part}" if name in values else unquoted(value if equals else part)
        last = name
    return kind, word, values, positions


def has_open_axes(text: str, n_axes: int) -> bool:
    """Whether a word is a layer with a window that says nowhere that it has ``n_axes`` axes.

    Examples
    --------
    >>> has_open_axes("conv:8,k=3", 1), has_open_axes("conv1d:8,k=3", 1), has_open_axes("conv:8,k=3x3x3", 3)
    (True, False, False)
    """
    word, _, rest = text.replace("(", ":").partition(":")
    if word.strip()[-2:].lower() in ("1d", "2d", "3d") or text.endswith(".toml"):
        return False
    # One axis has no x to write: k=3 says nothing about the number of axes.
    is_written = n_axes > 1 and any(part.count("x") == n_axes - 1 for part in rest.split(","))
    try:
        return not is_written and load_word(find_kind(word, n_axes)).has_window
    except UsageError:
        return False


def is_shape_text(text: str) -> bool:
    """Whether a word is sizes joined by ``x``, right or wrong: digits and nothing else.

    Examples
    --------
    >>> is_shape_text("3x304x228"), is_shape_text("conv:3"), is_shape_text("photo.jpg"), is_shape_text("3x0x-4")
    (True, False, False, True)
    """
    parts = text.replace("×", "x").lower().split("x")
    return text[:1].isdigit() and all(part.strip().lstrip("-").isdigit() or not part.strip() for part in parts)


def parse_input(text: str, *, channels_last: bool = False) -> Shape:
    """Return the shape of ``CxHxW`` (``CxL``, ``CxDxHxW``; ``HxWxC`` with ``channels_last``), channels first.

    Examples
    --------
    >>> parse_input("3x304x228"), parse_input("304x228x3", channels_last=True)
    ((3, 304, 228), (3, 304, 228))
    """
    try:
        sizes = parse_sizes(text, "input", minimum=1)
    except UsageError as error:
        at = error.facts["position"]
        hint = error.hint if error.hint and "digits" in error.hint else "CxHxW, such as 3x304x228"
        message = (
            f"input {text!r}, character {int(str(at)) + 1}:{error.message.removeprefix('input').removeprefix(':')}"
        )
        raise UsageError(message, hint=hint, text=text, position=at) from None
    if not 2 <= len(sizes) <= 4:
        message = f"input {text!r} has {len(sizes)} number{'s' * (len(sizes) > 1)}"
        hint = "channels and one to three sizes: CxL, CxHxW, CxDxHxW"
        raise UsageError(message, hint=hint, text=text, position=0)
    return (sizes[-1], *sizes[:-1]) if channels_last else sizes
