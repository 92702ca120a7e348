"""Words of the command line → layers: ``conv:64,k=7,s=2,p=3`` → :class:`convcli.layers.layer.Layer`.

A word, a colon, then values with commas: bare ones first, the others as ``key=value`` in the short or the long form.
Bare numbers right after ``p=`` are the other sides of the padding. Some words stand for several layers in a row
(``separable`` is depthwise, then pointwise). Every error carries the text and the position of its fault.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from convcli.errors import GeometryError, KernelError, UsageError
from convcli.layers.kinds import NAMES, WORDS
from convcli.layers.layer import LOADED, NOWHERE, SHORT, Layer, Positions, Values, Word

#: Blanks between words: beside one of these they belong to a value, and ``p=1, 2`` is one word.
_BLANKS = r"(?<![:,=+\s])\s+(?![:,=+\s])"
#: A value of a layer begins like this, a kernel's name never.
_NUMBER = re.compile(r"\s*[-+?\d]")


def split_words(text: str) -> list[str]:
    """Return the words of a chain; a blank inside quotes, inside brackets or beside a comma does not end one.

    Examples
    --------
    >>> split_words("Sequential((0): ReLU() (1): MaxPool2d(2))")
    ['ReLU()', 'MaxPool2d(2)']
    >>> split_words("conv:sobel, s=2 Conv2d(3, 64, 7) conv:'1 0 -1' relu")
    ['conv:sobel, s=2', 'Conv2d(3, 64, 7)', "conv:'1 0 -1'", 'relu']
    """
    words: list[str] = []
    for part in (part.strip() for _, part in _split(text, _BLANKS)):
        if "Sequential(" in part:
            from convcli.layers.names import read_list

            words += [word for _, each in _split(read_list(part), r"[,\s]+") for word in split_words(each)]
        elif part:
            words.append(part)
    return words


def _split(text: str, mark: str) -> list[tuple[int, str]]:
    """Return the parts of a text between marks, each with its position; raise if a quote or bracket is not closed."""
    opened: list[int] = []
    quote = outside = ""
    for at, character in enumerate(text):
        # All in quotes and brackets becomes one letter, in which no mark is found.
        outside += "_" if opened or character in "'\"([{" else character
        if not quote and character in "'\"([{":
            opened.append(at)
            quote = character if character in "'\"" else ""
        elif opened and (character == quote if quote else character in ")]}"):
            opened.pop()
            quote = ""
    if opened:
        what = "quote" if quote else "bracket"
        error = UsageError(f"a {what} is not closed", hint=f"the {text[opened[-1]]} at character {opened[-1] + 1}")
        raise error.within(f"{text[:60]!r}, character {opened[-1] + 1}")
    marks = [found.span() for found in re.finditer(mark, outside)]
    starts, ends = [0, *(end for _, end in marks)], [*(start for start, _ in marks), len(text)]
    return [(start, text[start:end]) for start, end in zip(starts, ends, strict=True)]


def shipped_stacks() -> dict[str, Path]:
    """Return the files of the stacks that ship, by name.

    Examples
    --------
    >>> "resnet-stem" in shipped_stacks()
    True
    """
    # A wheel has the stacks inside the package, a checkout in examples.
    package = Path(__file__).resolve().parent.parent
    inside = package / "stacks"
    folder = inside if inside.is_dir() else package.parent / "examples" / "stacks"
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def is_stack(word: str) -> bool:
    """Whether a word among layers names a stack: a TOML file, or one that ships; a layer of the same name comes first.

    Examples
    --------
    >>> is_stack("mine.toml"), is_stack("resnet-stem"), is_stack("flattened"), is_stack("conv:8,k=3")
    (True, True, False, False)
    """
    name = word.lower()
    return name.endswith(".toml") or (
        name.replace("-", "").isalnum() and name not in NAMES and name in shipped_stacks()
    )


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


def read_chain(words: Sequence[str | Layer], n_axes: int = 2) -> list[Layer]:
    """Return the layers of a chain, in which each is text of one word or read already.

    Examples
    --------
    >>> [layer.kind for layer in read_chain(["relu", *parse_layers("maxpool:2")])]
    ['relu', 'maxpool']
    """
    layers: list[Layer] = []
    for each in words:
        if not isinstance(each, str | Layer):
            raise UsageError(f"{each!r} is neither text nor a layer", hint="conv:64,k=3,p=1")
        layers += parse_layers(each, n_axes) if isinstance(each, str) else [each]
    return layers


def layers_from_values(
    kind: str, values: Values, *, n_axes: int = 2, label: str = "", at: Positions = NOWHERE, text: str = ""
) -> tuple[Layer, ...]:
    """Return the layers of a word; errors quote ``text``, in which values start ``at`` positions.

    ``values`` have full names; they are whole numbers, lists of them, or text such as ``"7x5"`` and ``"same"``.

    Examples
    --------
    >>> [layer.kernel_size for layer in layers_from_values("spatial", {"out_channels": 8, "kernel_size": 7}, n_axes=2)]
    [(7, 1), (1, 7)]
    >>> layers_from_values("maxpool", {"kernel_size": 3}, n_axes=2)[0].stride  # as torch: the kernel's size
    (3, 3)
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


def find_kind(word: str, n_axes: int, given: str = "") -> str:
    """Return the kind that a word such as ``Conv2d`` or ``max_pool`` names; ``2d`` must agree with ``n_axes``.

    Hints repeat what was ``given`` after the word.

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
        from convcli.layers.names import find_alias

        return find_alias(name, word, given)
    return name


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
            from convcli.layers.names import our_word, read_constructor

            kind = find_kind(our_word(word), n_axes)
            values = read_constructor(text, kind, word)
            # The parser gives values in normal form: one that is written otherwise points at the start.
            return kind, word, values, {each: max(text.find(value), 0) for each, value in values.items()}
        kind = find_kind(word, n_axes, rest)
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
    for number, (offset, part) in enumerate(_split(rest, ",") if colon else []):
        at = start + offset
        key, equals, value = part.partition("=")
        name = row.full_name(key) if equals else last
        value_at = at + len(key) + 1 if equals else at
        if "weight" in values:
            from convcli.layers.sources import continues_spec

            is_spec = continues_spec(values["weight"], row, part, last)
        else:
            is_spec = not number and takes_spec(row, part)
        if is_spec:
            name, value_at, equals = "weight", at, ""
        # Only padding has several sides, so only after it does a bare number continue the value before.
        elif not equals and number and last != "padding":
            from convcli.layers.names import key_hint

            raise fault(text, at, f"{part!r} has no key", key_hint(part.strip(), short.get(last, last), values, keys))
        elif not equals and not last:
            raise fault(text, at, f"{kind} takes no bare value", f"leave {part!r} out: {keys}")
        if name in values and equals:
            raise fault(text, at, f"{name} is given twice")
        given = (value if equals else part).strip()
        if not given:
            raise fault(text, value_at, f"{name or 'a value'}: nothing given", keys)
        positions.setdefault(name, value_at)
        positions.setdefault(f"{name}=", at)
        # Quotes keep the commas and blanks of a kernel together, and are no part of it.
        given = given[1:-1] if len(given) > 1 and given[0] == given[-1] and given[0] in "'\"" else given
        values[name] = f"{values[name]},{part}" if name in values else given
        last = name
    return kind, word, values, positions


def takes_spec(row: type[Word], part: str) -> bool:
    """Whether the first value of a word is a kernel, and no number or parameter of the layer.

    Examples
    --------
    >>> from convcli.layers.kinds.conv import Conv
    >>> [takes_spec(Conv, part) for part in ("sobel", "gaussian:sigma=2", "64", "k=3", "q=3")]
    [True, True, False, False, False]
    """
    if "weight" not in row.parameters or row.bare not in ("out_channels", "multiplier"):
        return False
    key, equals, _ = part.partition("=")
    if equals and part.strip()[:1] not in "'\"[(":
        # Parameters of a family stand behind its name and a colon, and a modifier behind a blank.
        return not _NUMBER.match(part) and any(mark in key.strip() for mark in ": #/")
    return bool(part.strip()) and (not _NUMBER.match(part) or "#" in part or Path(part.strip()).is_file())
