"""Stacks of layers, and their files: TOML → :class:`Stack` and back.

A file has ``layers`` and a few keys about itself. A layer is its text on the command line (``"conv:64,k=7,s=2,p=3"``),
a table with that text under ``layer`` and more beside it (``name``, ``from``, ``weight``, ``init``, ``constants``), or
a table with ``type`` and every parameter by name. Relative file names in ``weight`` count from the stack's folder.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field
from pathlib import Path
from typing import Any

from convcli.errors import UNOPENED, ConvcliError, UsageError, near_names, unpack_hint
from convcli.geometry.sizes import parse_sizes, read_shape
from convcli.layers.layer import Layer, Shape
from convcli.layers.sources import anchored
from convcli.layers.text import find_kind, layers_from_values, load_word, shipped_stacks, split_layer, split_words
from convcli.layers.walk import Walk, walk
from convcli.process.system import local_path

#: Keys of a stack file: type and description of the value.
KEYS = {
    "name": (str, "text"),
    "summary": (str, "text"),
    "source": (str, "text"),
    "input": (str, "text such as 3x224x224"),
    "dims": (int, "1, 2 or 3"),
    "outputs": (list, "a list of layers' names"),
    "init": (dict | str, "a table such as {kind = 'kaiming', seed = 0}"),
    "layers": (list, "a list of layers"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A sequence of layers with its name, its usual input and the source of its numbers.

    Parameters
    ----------
    layers : sequence of Layer, str or dict, or str
        In the order in which they run: layers, words such as ``"conv:sobel,p=1"``, or entries of a stack file; a text
        may hold several words.
    name, summary, source : str
        Its name, its purpose, and its author or paper.
    input : tuple of int, or text such as ``"3x224x224"``
        Its usual input shape, channels first; empty if there is none.
    outputs : tuple of str
        Names of the layers whose results are wanted besides the last one's.
    init : tuple of (str, object)
        The initialiser of layers without weights of their own: ``kind``, ``seed``, …; empty for none.
    folder : Path or None
        Where relative file names of weights start; not compared.
    dims : int
        Axes besides the channels of layers that are text; those of ``input``, or 2, if absent.

    Examples
    --------
    >>> Stack("conv:sobel maxpool:2 relu").shape((3, 64, 64)).output
    (6, 31, 31)
    >>> Stack(["conv:64,k=7,s=2,p=3", "relu"], input=(3, 224, 224)).result_names
    ('conv', 'output')
    """

    layers: tuple[Layer, ...] = field(kw_only=False)
    name: str = "stack"
    summary: str = ""
    source: str = ""
    input: Shape = ()
    outputs: tuple[str, ...] = ()
    init: tuple[tuple[str, object], ...] = ()
    folder: Path | None = field(default=None, compare=False)
    dims: InitVar[int] = 0

    def __post_init__(self, dims: int) -> None:
        """Read text and tables, and check the names."""
        object.__setattr__(self, "input", read_shape(self.input) if self.input else ())
        n_axes = dims or (len(self.input) - 1 if self.input else 2)
        if n_axes not in (1, 2, 3):
            raise UsageError(f"dims {dims!r} is not a number of axes", hint="dims is 1, 2 or 3")
        given: Any = self.layers
        layers: list[Layer] = []
        entries = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
        for entry in entries:
            for word in split_words(entry) if isinstance(entry, str) else [entry]:
                layers += _entry(word, len(layers) + 1, n_axes, self.folder)
        if not layers:
            raise UsageError("no layers", hint='layers = ["conv:64,k=7,s=2,p=3", "relu"]')
        object.__setattr__(self, "layers", tuple(layers))
        init: Any = self.init
        try:
            init = {"kind": init} if isinstance(init, str) else dict(init)
        except (TypeError, ValueError):
            hint = "a name, or {'kind': 'kaiming', 'seed': 0}"
            raise UsageError(f"init {init!r} is neither a name nor a table", hint=hint) from None
        object.__setattr__(self, "init", tuple(sorted(init.items())))
        _check_names(layers, self.outputs)

    @property
    def result_names(self) -> tuple[str, ...]:
        """Name of each layer's result: its own, else its word, counted from the second on; the last is ``output``."""
        taken = {layer.name for layer in self.layers}
        names = []
        for layer in self.layers[:-1]:
            word, name, number = layer.label or layer.kind, layer.name, 1
            while not name:
                name = word if number == 1 else f"{word}-{number}"
                name, number = ("" if name in taken | {"output", "input"} else name), number + 1
            taken.add(name)
            names.append(name)
        return (*names, self.layers[-1].name or "output")

    def shape(self, input_shape: Shape | None = None) -> Walk:
        """Return every shape and count for an input, by default the stack's own."""
        if input_shape is None and not self.input:
            raise UsageError(f"stack {self.name!r} says no input", hint="--input 3x224x224")
        return walk(self.layers, self.input if input_shape is None else read_shape(input_shape))

    def _repr_html_(self) -> str:
        """Return the layers and their shapes for a notebook."""
        from convcli.render.pages.notebook import draw_stack

        return draw_stack(self)

    def run(self, planes: Any, *, outputs: str | Sequence[str] = "last") -> dict[str, Any]:
        """Run the stack on planes ``(C, H, W)``, see :func:`convcli.layers.run.run_stack`."""
        from convcli.layers.run import run_stack

        return run_stack(self, planes, outputs=outputs)


def is_model(text: str | None) -> bool:
    """Whether a stack's text names an ONNX model."""
    return text is not None and text.lower().endswith(".onnx")


def open_stack(
    text: str, *, until: str | None = None, n_axes: int | None = None, input_shape: Shape | None = None
) -> Stack:
    """Return the stack that ``text`` names; ``until`` is the last node of an ONNX model, which gets ``input_shape``.

    Raises
    ------
    UsageError
        There is no such file or name, or it cannot be understood.

    Examples
    --------
    >>> open_stack("resnet-stem").shape((3, 64, 64)).output
    (64, 16, 16)
    """
    if until is not None and not is_model(text):
        raise UsageError("--until is for ONNX models", hint="leave it out, or end the stack file earlier")
    if text == "-":
        return parse_stack(sys.stdin.read(), n_axes=n_axes, folder=Path())
    if is_model(text):
        from convcli.layers.onnx_stack import layers_of_model

        path = local_path(text)
        layers, own_input = layers_of_model(path, until, input_shape)
        return Stack(layers, name=path.stem, input=own_input, folder=Path())
    path, shipped = local_path(text), shipped_stacks()
    name = text.removesuffix(".toml").lower().replace("_", "-")
    # A file of this name comes first: it is nearer to the user than ours.
    if not path.exists() and name in shipped:
        path = shipped[name]
    elif not path.exists() and "/" not in text:
        hint = near_names(name, shipped) or f"a TOML file, or one of {', '.join(shipped)}"
        raise UsageError(f"no stack is called {text!r}, and no such file exists", hint=hint)
    return load_stack(path, n_axes=n_axes)


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
        raise UsageError(f"cannot read stack {str(path)!r}: {error.strerror or error}", hint=UNOPENED) from None
    except UnicodeDecodeError as error:
        if hint := unpack_hint(str(path), bytes(error.object[:8])):
            message = f"stack {str(path)!r} is compressed as a whole, which is not read"
            raise UsageError(message, hint=hint) from None
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
    data |= {"input": input_shape, "dims": dims, "outputs": tuple(map(str, data.get("outputs", ())))}
    # The keys of a file are the parameters of the class.
    return Stack(data.pop("layers", []), folder=folder, **{"name": name} | data)


def _entry(entry: object, number: int, n_axes: int, folder: Path | None) -> tuple[Layer, ...]:
    """Return the layers of one entry: text, a table, or a layer as it is."""
    try:
        if isinstance(entry, Layer):
            return (entry,)
        if not isinstance(entry, str | dict):
            raise UsageError(f"{entry!r} is neither text nor a table")
        return _table({"layer": entry} if isinstance(entry, str) else dict(entry), n_axes, folder)
    except ConvcliError as error:
        raise _inside(error, f"layer {number}") from None


def _inside(error: ConvcliError, where: str) -> ConvcliError:
    """Return the error with its place added: a layer of a file, a file."""
    inner, error.where = error.where, None
    error.within(f"{where}: {inner}" if inner else where)
    return error


def _table(entry: dict[str, object], n_axes: int, folder: Path | None) -> tuple[Layer, ...]:
    """Return the layers of a table with ``layer`` (text) or ``type`` (and every parameter by name)."""
    if ("layer" in entry) == ("type" in entry):
        raise UsageError("a layer has either layer (its text) or type", hint='{layer = "conv:64,k=3", name = "first"}')
    in_text: dict[str, str] = {}
    positions: dict[str, int] = {}
    text, word = str(entry.pop("layer", "")), str(entry.pop("type", ""))
    if word:
        kind = find_kind(word, n_axes)
    else:
        kind, word, in_text, positions = split_layer(text, n_axes)
    values: dict[str, object] = {**in_text}
    for key, value in entry.items():
        name = load_word(kind).full_name(key)
        if name in values:
            raise UsageError(f"{name} is given twice: in {text!r} and beside it")
        values[name] = value
    if "weight" in values and "kernel_size" not in values:  # the weight is looked at now, and its file must be found
        values["weight"] = anchored(str(values["weight"]), folder)
    # A fault can lie in a value from the table, and then a position in the text would point at the wrong place.
    text = "" if entry else text
    return layers_from_values(kind, values, n_axes=n_axes, label=word, at=positions, text=text)


def _check_names(layers: Sequence[Layer], outputs: Sequence[str]) -> None:
    """Raise if two layers share a name, or an output names no layer."""
    # "input" is what from calls the stack's own input, so no layer may take that name.
    names = ["input", *(layer.name for layer in layers if layer.name)]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise UsageError(f"two layers are called {name!r}")
    for output in outputs:
        if output not in names[1:]:
            hint = near_names(output, names) or f"names: {', '.join(sorted(names[1:])) or 'none'}"
            raise UsageError(f"outputs: no layer is called {output!r}", hint=hint)
