"""Where ``convcli shape`` gets its input and its layers from: text, stack files, image headers.

Standard library only; an image's header is read by :mod:`convcli.images`, imported when a file is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from convcli.errors import UsageError
from convcli.geometry.sizes import parse_sizes
from convcli.layers.sizes import Shape
from convcli.layers.text import parse_layers

if TYPE_CHECKING:
    from convcli.layers.layer import Layer

#: Files that list their convolution weights.
CHECKPOINTS = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")


def is_shape_text(text: str) -> bool:
    """Whether a word is sizes joined by ``x``, right or wrong: digits and nothing else.

    Examples
    --------
    >>> is_shape_text("3x304x228"), is_shape_text("conv:3"), is_shape_text("photo.jpg"), is_shape_text("3x0x-4")
    (True, False, False, True)
    """
    parts = text.replace("×", "x").lower().split("x")
    return text[:1].isdigit() and all(part.strip().lstrip("-").isdigit() or not part.strip() for part in parts)


def is_checkpoint(text: str) -> bool:
    """Whether a word names a file of weights."""
    return text.lower().endswith(CHECKPOINTS)


def is_stack_file(text: str) -> bool:
    """Whether a word names a stack file."""
    return text.lower().endswith(".toml")


def read_input_shape(text: str, *, channels_last: bool = False) -> Shape:
    """Return the shape that text states, or that an image file's header says; channels first.

    Parameters
    ----------
    text : str
        ``CxHxW`` (``CxL``, ``CxDxHxW``), or the path of an image, of which only the header is read.
    channels_last : bool
        The text is ``HxWxC``.

    Raises
    ------
    UsageError
        Neither a shape nor a file, or a shape of other than two to four numbers; carries ``position``.
    ImageError
        The file is no image.

    Examples
    --------
    >>> read_input_shape("3x304x228"), read_input_shape("304x228x3", channels_last=True)
    ((3, 304, 228), (3, 304, 228))
    """
    if not text.strip():
        raise UsageError("the input is empty", hint="CxHxW, such as 3x304x228, or an image", text=text, position=0)
    if not is_shape_text(text):
        return _image_shape(text)
    try:
        sizes = parse_sizes(text, "input", minimum=1)
    except UsageError as error:
        at = error.facts["position"]
        hint = error.hint if error.hint and "digits" in error.hint else "CxHxW, such as 3x304x228"
        message = error.message.removeprefix("input")
        raise UsageError(
            f"input {text!r}, character {int(str(at)) + 1}:{message.removeprefix(':')}",
            hint=hint,
            text=text,
            position=at,
        ) from None
    if not 2 <= len(sizes) <= 4:
        raise UsageError(
            f"input {text!r} has {len(sizes)} number{'s' * (len(sizes) > 1)}",
            hint="channels and one to three sizes: CxL, CxHxW, CxDxHxW",
            text=text,
            position=0,
        )
    return (sizes[-1], *sizes[:-1]) if channels_last else sizes


def axes_note(text: str, words: Sequence[str]) -> str | None:
    """Return what is to be said of an input of two numbers: they are no rows and columns, unless a layer says 1d.

    Examples
    --------
    >>> axes_note("10x20", ["conv:8,k=3"])
    '10x20 is read as 10 channels of length 20 (1-d); an image of one channel is 1x10x20'
    >>> axes_note("3x10x20", ["conv:8,k=3"]), axes_note("10x20", ["conv1d:8,k=3"])
    (None, None)
    """
    if not is_shape_text(text) or any("1d" in word.partition(":")[0].lower() for word in words):
        return None
    sizes = [part.strip() for part in text.replace("×", "x").lower().split("x")]
    if len(sizes) != 2:
        return None
    return f"{text} is read as {sizes[0]} channels of length {sizes[1]} (1-d); an image of one channel is 1x{text}"


def _image_shape(text: str) -> Shape:
    """Return the shape of an image file, without its alpha channel, which no layer sees unless asked."""
    from pathlib import Path

    if not Path(text).exists():
        raise UsageError(
            f"{text!r} is neither a shape nor a file",
            hint="an input such as 3x304x228, photo.jpg or stack.toml comes first",
        )
    from convcli.images import probe

    info = probe(Path(text))
    n_channels = sum(1 for name in info.plane_names if name != "a")
    return (n_channels, info.height_px, info.width_px)


def read_layers(words: Sequence[str], n_axes: int) -> list[Layer]:
    """Return the layers of words and stack files, one after the other.

    Examples
    --------
    >>> [layer.kind for layer in read_layers(["conv:8,k=3", "relu"], 2)]
    ['conv', 'relu']
    """
    layers: list[Layer] = []
    for word in words:
        if is_stack_file(word):
            from convcli.layers.file import load_stack

            layers += load_stack(word, n_axes=n_axes).layers
        else:
            layers += parse_layers(word, n_axes)
    return layers
