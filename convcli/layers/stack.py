"""Stacks of layers, and their files: TOML → :class:`Stack` and back.

A file has ``layers`` and a few keys about itself. A layer is its text on the command line (``"conv:64,k=7,s=2,p=3"``),
a table with that text under ``layer`` and more beside it (``name``, ``from``, ``weight``, ``init``, ``constants``), or
a table with ``type`` and every parameter by name. Relative file names in ``weight`` count from the stack's folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from convcli.errors import ConvcliError, UsageError, near_names
from convcli.geometry.sizes import parse_sizes
from convcli.layers.layer import SOURCES, Layer, Shape
from convcli.layers.text import find_kind, layers_from_values, load_word, make_layer, parse_layers, split_layer
from convcli.layers.walk import Walk, walk_or_fit

#: Keys of a stack file: type and description of the value.
KEYS = {
    "name": (str, "text"),
    "summary": (str, "text"),
    "source": (str, "text"),
    "input": (str, "text such as 3x224x224"),
    "dims": (int, "1, 2 or 3"),
    "outputs": (list, "a list of layers' names"),
    "init": (dict, "a table such as {kind = 'kaiming', seed = 0}"),
    "layers": (list, "a list of layers"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A sequence of layers with its name, its usual input and the source of its numbers.

    Parameters
    ----------
    layers : tuple of Layer
        In the order in which they run.
    name, summary, source : str
        Its name, its purpose, and its author or paper.
    input : tuple of int
        Its usual input shape, channels first; empty if there is none.
    outputs : tuple of str
        Names of the layers whose results are wanted besides the last one's.
    init : tuple of (str, object)
        The initialiser of layers without weights of their own: ``kind``, ``seed``, …; empty for none.
    folder : Path or None
        Where relative file names of weights start; not compared.
    """

    layers: tuple[Layer, ...]
    name: str = "stack"
    summary: str = ""
    source: str = ""
    input: Shape = ()
    outputs: tuple[str, ...] = ()
    init: tuple[tuple[str, object], ...] = ()
    folder: Path | None = field(default=None, compare=False)

    def shape(self, input_shape: Shape | None = None) -> Walk:
        """Return every shape and count for an input, by default the stack's own."""
        found = input_shape or self.input
        if not found:
            raise UsageError(f"stack {self.name!r} says no input", hint="--input 3x224x224")
        return walk_or_fit(self.layers, found)

    def _repr_html_(self) -> str:
        """Return the layers and their shapes for a notebook."""
        from convcli.render.pages.notebook import draw_stack

        return draw_stack(self)

    def run(self, planes: Any, *, outputs: str | Sequence[str] = "last") -> dict[str, Any]:
        """Run the stack on planes ``(C, H, W)``, see :func:`convcli.layers.run.run_stack`."""
        from convcli.layers.run import run_stack

        return run_stack(self, planes, outputs=outputs)


def load_stack(path: Path | str, *, n_axes: int | None = None) -> Stack:
    """Return the stack of a TOML file; ``n_axes`` counts where the file has neither ``dims`` nor ``input``.

    Raises
    ------
    UsageError
        The file cannot be read, is not TOML, or a layer in it is not understood.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read stack {str(path)!r}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise UsageError(f"stack {str(path)!r} is not text", hint="a TOML file in UTF-8") from None
    try:
        return parse_stack(text, n_axes=n_axes, name=path.stem, folder=path.parent)
    except ConvcliError as error:
        raise _inside(error, str(path)) from None


def parse_stack(text: str, *, n_axes: int | None = None, name: str = "stack", folder: Path | None = None) -> Stack:
    """Return the stack that TOML text describes.

    Examples
    --------
    >>> stem = parse_stack('layers = ["conv:64,k=7,s=2,p=3", {layer = "maxpool:3,s=2,p=1", name = "pool"}]')
    >>> stem.shape((3, 224, 224)).output
    (64, 56, 56)
    """
    import tomllib

    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"not TOML: {error}", hint='layers = ["conv:64,k=7,s=2,p=3", "relu"]') from None
    # Kernels are TOML files too; without this, the error for a mixed-up file would name an unknown key.
    if "layers" not in data and data.keys() & {"kernel", "kernels", "taps", "row", "column"}:
        raise UsageError("this is a kernel, not a stack of layers", hint="convcli apply IMAGE --kernel FILE")
    for key, value in data.items():
        if key not in KEYS:
            raise UsageError(f"unknown key {key!r}", hint=near_names(key, KEYS) or f"known: {', '.join(KEYS)}")
        if not isinstance(value, KEYS[key][0]):
            raise UsageError(f"{key} is not {KEYS[key][1]}")
    input_shape = parse_sizes(data["input"], "input", minimum=1) if "input" in data else ()
    # Size texts such as k=7 mean one number per axis: the axes must be known before any layer is read.
    dims = data.get("dims", n_axes or (len(input_shape) - 1 if input_shape else 2))
    if dims not in (1, 2, 3) or (input_shape and len(input_shape) != dims + 1):
        message = f"dims {dims!r} and input {data.get('input', 'none')!r} do not agree"
        raise UsageError(message, hint="dims is 1, 2 or 3")
    if not data.get("layers"):
        raise UsageError("no layers", hint='layers = ["conv:64,k=7,s=2,p=3", "relu"]')
    layers = tuple(layer for number, entry in enumerate(data["layers"], 1) for layer in _entry(entry, number, dims))
    outputs = tuple(map(str, data.get("outputs", ())))
    _check_names(layers, outputs)
    return Stack(
        layers=layers,
        name=data.get("name", name),
        summary=data.get("summary", ""),
        source=data.get("source", ""),
        input=input_shape,
        outputs=outputs,
        init=tuple(sorted(data.get("init", {}).items())),
        folder=folder,
    )


def _entry(entry: object, number: int, n_axes: int) -> tuple[Layer, ...]:
    """Return the layers of one entry: text, or a table."""
    try:
        if isinstance(entry, str):
            return parse_layers(entry, n_axes)
        if not isinstance(entry, dict):
            raise UsageError(f"{entry!r} is neither text nor a table")
        return _table(dict(entry), n_axes)
    except ConvcliError as error:
        raise _inside(error, f"layer {number}") from None


def _inside(error: ConvcliError, where: str) -> ConvcliError:
    """Return the error with its place added: a layer of a file, a file."""
    error.where = f"{where}: {error.where}" if error.where else where
    return error


def _table(entry: dict[str, object], n_axes: int) -> tuple[Layer, ...]:
    """Return the layers of a table with ``layer`` (text) or ``type`` (and every parameter by name)."""
    if ("layer" in entry) == ("type" in entry):
        raise UsageError("a layer has either layer (its text) or type", hint='{layer = "conv:64,k=3", name = "first"}')
    values: dict[str, object] = {}
    positions: dict[str, int] = {}
    text, word = str(entry.pop("layer", "")), str(entry.pop("type", ""))
    if word:
        kind = find_kind(word, n_axes)
    else:
        kind, word, in_text, positions = split_layer(text, n_axes)
        values |= in_text
    for key, value in entry.items():
        name = load_word(kind).full_name(key)
        if name in values:
            raise UsageError(f"{name} is given twice: in {text!r} and beside it")
        values[name] = value
    # A fault can lie in a value from the table, and then a position in the text would point at the wrong place.
    text = "" if entry else text
    return layers_from_values(kind, values, n_axes=n_axes, label=word, at=positions, text=text)


def _check_names(layers: Sequence[Layer], outputs: Sequence[str]) -> None:
    """Raise if two layers share a name, or an output names no layer."""
    # "input" is what from calls the stack's own input, so no layer may take that name.
    names: set[str] = {"input"}
    for layer in layers:
        if layer.name in names:
            raise UsageError(f"two layers are called {layer.name!r}")
        if layer.name:
            names.add(layer.name)
    for output in outputs:
        if output not in names - {"input"}:
            hint = near_names(output, names) or f"names: {', '.join(sorted(names - {'input'})) or 'none'}"
            raise UsageError(f"outputs: no layer is called {output!r}", hint=hint)


def dump_stack(stack: Stack) -> str:
    """Return a stack as TOML text that :func:`parse_stack` reads back to an equal one.

    Examples
    --------
    >>> stem = parse_stack('layers = ["conv:64,k=7,s=2,p=3", "relu"]')
    >>> parse_stack(dump_stack(stem)) == stem
    True
    """
    values = {
        "name": stack.name,
        "summary": stack.summary,
        "source": stack.source,
        "input": "x".join(map(str, stack.input)),
        "dims": stack.layers[0].n_axes,
        "outputs": list(stack.outputs),
        "init": dict(stack.init),
    }
    lines = [f"{key} = {_toml(value)}" for key, value in values.items() if value or key == "name"]
    return "\n".join([*lines, "layers = [", *(f"  {_toml(layer_as_table(layer))}," for layer in stack.layers), "]", ""])


def layer_as_table(layer: Layer) -> dict[str, object]:
    """Return a layer's type, and the parameters that are not the default.

    Examples
    --------
    >>> layer_as_table(parse_layers("conv:64,k=7,s=2,p=3")[0])
    {'type': 'conv', 'out_channels': 64, 'kernel_size': [7, 7], 'stride': [2, 2], 'padding': [[3, 3], [3, 3]]}
    """
    # conv needs out_channels, which a layer of one group per channel leaves to its input.
    kind = "depthwise" if layer.kind == "conv" and not layer.groups and not layer.out_channels else layer.kind
    word = load_word(kind)
    values = {name: _plain(layer, name) for name in (word.bare, *word.parameters) if name and name not in SOURCES}
    needed: dict[str, object] = {name: values[name] for name in word.needed}
    inputs: dict[str, object] = {"from": list(layer.inputs)} if layer.inputs else {}
    # Comparison with a layer of defaults keeps files short, and finds defaults that depend on the kind.
    default = make_layer(kind, needed | inputs, n_axes=layer.n_axes)
    changed = {name: value for name, value in values.items() if name in needed or value != _plain(default, name)}
    return {"type": kind} | ({"name": layer.name} if layer.name else {}) | inputs | changed | dict(layer.weights)


def _plain(layer: Layer, name: str) -> object:
    """Return a parameter as lists and numbers."""
    value = getattr(layer, "mode" if name == "padding_mode" else name)
    if name == "padding" and not isinstance(value, str):
        return [list(pair) for pair in value]
    if name == "groups":
        return value or "auto"
    return list(value) if isinstance(value, tuple) else value


def _toml(value: object) -> str:
    """Return a value as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        import json

        # TOML's basic strings are JSON's, except that TOML forbids a bare DEL.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {_toml(item)}" for key, item in value.items()) + "}"
    # Tables became sorted pairs when the layer was read; an empty tuple comes out as an empty table.
    if isinstance(value, tuple) and all(isinstance(item, tuple) and isinstance(item[0], str) for item in value):
        return _toml(dict(value))
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    # repr of a float is the shortest text that reads back to the same number.
    return repr(value)
