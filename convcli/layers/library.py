"""Find a stack: a TOML file, a stack that ships by its name, standard input, or the layers of an ONNX model.

A wheel has the stacks inside the package as ``convcli/stacks``, a checkout in ``examples/stacks``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from convcli.errors import UsageError, local_path, near_names
from convcli.layers.kinds import NAMES

if TYPE_CHECKING:
    from convcli.layers.layer import Shape
    from convcli.layers.stack import Stack


def shipped_stacks() -> dict[str, Path]:
    """Return the files of the stacks that ship, by name.

    Examples
    --------
    >>> "resnet-stem" in shipped_stacks()
    True
    """
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
    from convcli.layers.stack import load_stack, parse_stack

    if until is not None and not is_model(text):
        raise UsageError("--until is for ONNX models", hint="leave it out, or end the stack file earlier")
    if text == "-":
        return parse_stack(sys.stdin.read(), n_axes=n_axes, folder=Path())
    if is_model(text):
        from convcli.layers.onnx_stack import stack_of_model

        return stack_of_model(local_path(text), until=until, input_shape=input_shape)
    return load_stack(find_stack(text), n_axes=n_axes)


def find_stack(text: str) -> Path:
    """Return the file of a stack from its path, or from its name if it ships.

    Examples
    --------
    >>> find_stack("resnet-stem").name
    'resnet-stem.toml'
    """
    path, shipped = local_path(text), shipped_stacks()
    name = text.removesuffix(".toml").lower().replace("_", "-")
    # A file of this name comes first: it is nearer to the user than ours.
    if path.exists() or name not in shipped:
        if not path.exists() and "/" not in text:
            hint = near_names(name, shipped) or f"a TOML file, or one of {', '.join(shipped)}"
            raise UsageError(f"no stack is called {text!r}, and no such file exists", hint=hint)
        return path
    return shipped[name]
