"""A stack as the text of a stack file, which reads back to an equal one."""

from __future__ import annotations

from convcli.layers.layer import SOURCES, Layer
from convcli.layers.stack import Stack
from convcli.layers.text import layers_from_values, load_word


def dump_stack(stack: Stack) -> str:
    """Return a stack as TOML text that :func:`parse_stack` reads back to an equal one.

    Examples
    --------
    >>> from convcli.layers.stack import parse_stack
    >>> stem = Stack("conv:64,k=7,s=2,p=3 relu")
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
    >>> layer_as_table(Stack("conv:64,k=7,s=2,p=3").layers[0])
    {'type': 'conv', 'out_channels': 64, 'kernel_size': [7, 7], 'stride': [2, 2], 'padding': [[3, 3], [3, 3]]}
    """
    # conv needs out_channels, which a layer of one group per channel leaves to its input.
    kind = "depthwise" if layer.kind == "conv" and not layer.groups and not layer.out_channels else layer.kind
    word = load_word(kind)
    values = {name: _plain(layer, name) for name in (word.bare, *word.parameters) if name not in ("", "seed", *SOURCES)}
    needed: dict[str, object] = {name: values[name] for name in word.needed}
    inputs: dict[str, object] = {"from": list(layer.inputs)} if layer.inputs else {}
    # Comparison with a layer of defaults keeps files short, and finds defaults that depend on the kind.
    # No number of maps: they follow from the weight, each of whose kernels runs on each channel.
    free = [name for name in ("out_channels",) if needed.get(name) == 0]
    (default,) = layers_from_values(kind, needed | inputs | dict.fromkeys(free, 1), n_axes=layer.n_axes)
    changed = {name: value for name, value in values.items() if name in needed or value != _plain(default, name)}
    weights = {"bias" if key == "bias_values" else key: value for key, value in layer.weights}
    changed = {name: value for name, value in changed.items() if name not in free}
    return {"type": kind} | ({"name": layer.name} if layer.name else {}) | inputs | changed | weights


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
