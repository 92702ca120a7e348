"""Sizes as text → plain integers: ``7``, ``7x5``, ``same``, ``top,bottom,left,right``.

Errors are UsageErrors and carry the ``position`` of the fault, counted from 0.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence

from convcli.errors import GeometryError, UsageError, near_names
from convcli.geometry.arithmetic import PADDING_WORDS, Padding, Pair, parse_count


def parse_sizes(text: str, name: str, *, minimum: int, at: int = 0, form: str = "") -> tuple[int, ...]:
    """Return the whole numbers of ``7`` or ``7x5`` or ``3x3x3``, one per axis that was written.

    Examples
    --------
    >>> parse_sizes("3x304x228", "input", minimum=1)
    (3, 304, 228)
    """
    values = []
    for part in text.replace("×", "x").replace("X", "x").split("x"):
        values.append(parse_count(part, name, minimum=minimum, at=at, form=form))
        at += len(part) + 1
    return tuple(values)


def is_shape_text(text: str) -> bool:
    """Whether a word is sizes joined by ``x``, right or wrong: digits and nothing else.

    Examples
    --------
    >>> is_shape_text("3x304x228"), is_shape_text("conv:3"), is_shape_text("photo.jpg"), is_shape_text("3x0x-4")
    (True, False, False, True)
    """
    parts = text.replace("×", "x").lower().split("x")
    return text[:1].isdigit() and all(part.strip().lstrip("-").isdigit() or not part.strip() for part in parts)


def parse_input(text: str, *, channels_last: bool = False) -> tuple[int, ...]:
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


def read_shape(shape: object) -> tuple[int, ...]:
    """Return an input's shape as plain integers, channels first, from numbers or from text.

    Examples
    --------
    >>> read_shape([3, 304, 228]), read_shape("3x304x228")
    ((3, 304, 228), (3, 304, 228))
    """
    if isinstance(shape, str):
        return parse_input(shape)
    try:
        # Shapes of NumPy arrays and tensors may hold their own integer types, which would print as such.
        sizes = tuple(map(operator.index, shape))  # type: ignore[call-overload]
    except TypeError:
        sizes = ()
    if not 2 <= len(sizes) <= 4 or min(sizes) < 1:
        raise UsageError(f"input {shape} is not channels and one to three sizes, all at least 1", hint="(3, 304, 228)")
    return sizes


def parse_pair(text: str, name: str, *, minimum: int) -> Pair:
    """Return (rows, columns) of ``N`` or ``HxW``.

    Examples
    --------
    >>> parse_pair("7", "kernel size", minimum=1), parse_pair("7x5", "kernel size", minimum=1)
    ((7, 7), (7, 5))
    """
    values = parse_sizes(text, name, minimum=minimum, form="N, or HxW for rows and columns")
    if len(values) > 2:
        raise UsageError(f"{name} {text!r} has {len(values)} numbers", hint=f"{name} is N or HxW", position=0)
    return (values[0], values[-1])


def parse_padding(text: str) -> str | tuple[Pair, Pair]:
    """Return the padding of an image: ``N``, ``HxW``, ``top,bottom,left,right`` or one of :data:`PADDING_WORDS`.

    Examples
    --------
    >>> parse_padding("same"), parse_padding("3x1"), parse_padding("0,1,2,3")
    ('same', ((3, 3), (1, 1)), ((0, 1), (2, 3)))
    """
    padding = parse_axes_padding(text, 2)
    return padding if isinstance(padding, str) else (padding[0], padding[1])


def parse_axes_padding(text: str, n_axes: int, *, at: int = 0) -> Padding:
    """Return the padding in ``text`` for ``n_axes`` axes, as :func:`parse_padding`.

    Examples
    --------
    >>> parse_axes_padding("2", 1), parse_axes_padding("0,1", 1), parse_axes_padding("1x2x3", 3)
    (((2, 2),), ((0, 1),), ((1, 1), (2, 2), (3, 3)))
    """
    sides = ("before,after", "top,bottom,left,right", "front,back,top,bottom,left,right")[n_axes - 1]
    word = text.strip().lower().replace("-", "_")
    if word in (*PADDING_WORDS, "same_upper"):
        return "same" if word == "same_upper" else word  # ONNX's word for same
    if any(letter.isalpha() and letter != "x" for letter in word):
        hint = near_names(word, PADDING_WORDS) or f"a number, one per axis (1x2), {sides} or {', '.join(PADDING_WORDS)}"
        hint += "; what fills it is the padding mode" if word.isalpha() and "did" not in hint else ""
        raise UsageError(f"unknown padding {text.strip()!r}", hint=hint, position=at)
    if "," in text:
        values, start = [], at
        for part in text.split(","):
            values.append(parse_count(part, "padding", minimum=0, at=at))
            at += len(part) + 1
        if len(values) != 2 * n_axes:
            each = f"{'x'.join(map(str, values))} is one number an axis; " if len(values) == n_axes > 1 else ""
            raise UsageError(f"padding {text!r} has {len(values)} sides", hint=f"{each}{sides}", position=start)
        return tuple(zip(values[::2], values[1::2], strict=True))
    return tuple((side, side) for side in per_axis(parse_sizes(text, "padding", minimum=0, at=at), "padding", n_axes))


def per_axis(values: Sequence[int], name: str, n_axes: int) -> tuple[int, ...]:
    """Return one number per axis: a single one counts for all; raise GeometryError for another count.

    Examples
    --------
    >>> per_axis((3,), "stride", 2), per_axis((3, 1), "stride", 2)
    ((3, 3), (3, 1))
    """
    if len(values) == 1:
        return (values[0],) * n_axes
    if len(values) != n_axes:
        written = "x".join(map(str, values))
        raise GeometryError(f"{name} {written} is for {len(values)} axes, but the input has {n_axes}")
    return tuple(values)


def read_sizes(value: object, name: str, n_axes: int, *, minimum: int, at: int = 0) -> tuple[int, ...]:
    """Return one number per axis from ``3``, ``"7x5"`` or ``[7, 5]``.

    Examples
    --------
    >>> read_sizes(3, "stride", 2, minimum=1), read_sizes([7, 5], "kernel_size", 2, minimum=1)
    ((3, 3), (7, 5))
    """
    form = "" if n_axes == 1 else f"N, or {'x'.join('DHW'[-n_axes:])}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        sizes = tuple(parse_count(str(item), name, minimum=minimum, at=at, form=form) for item in value)
    else:
        sizes = parse_sizes(str(value), name, minimum=minimum, at=at, form=form)
    return per_axis(sizes, name, n_axes)


def read_padding(value: object, n_axes: int, *, at: int = 0) -> Padding:
    """Return padding from text, a number, one number per axis, two per axis, or pairs.

    Examples
    --------
    >>> read_padding([1, 2], 2), read_padding([[1, 1], [0, 2]], 2)
    (((1, 1), (2, 2)), ((1, 1), (0, 2)))
    """
    if not isinstance(value, Sequence) or isinstance(value, str):
        return parse_axes_padding(str(value), n_axes, at=at)
    if any(isinstance(item, list | tuple) for item in value):
        if not all(isinstance(item, list | tuple) and len(item) == 2 for item in value):
            message = f"padding {value!r}: not two sides for each axis"
            raise UsageError(message, hint="[[1, 1], [0, 2]]", position=at)
        value = [side for pair in value for side in pair]
    # Two numbers per axis are sides, one per axis a symmetric padding: the text form tells them apart by its mark.
    joint = "," if len(value) == 2 * n_axes else "x"
    return parse_axes_padding(joint.join(map(str, value)), n_axes, at=at)


def parse_switch(text: str, name: str, *, at: int = 0) -> bool:
    """Return true or false from ``true``, ``1``, ``yes``, ``on`` and their opposites.

    Examples
    --------
    >>> parse_switch("yes", "bias"), parse_switch("0", "bias")
    (True, False)
    """
    word = text.strip().lower()
    if word not in ("true", "1", "yes", "on", "false", "0", "no", "off"):
        hint = f"{name}=true or {name}=false"
        raise UsageError(f"{name} {text!r} is neither true nor false", hint=hint, position=at)
    return word in ("true", "1", "yes", "on")


def parse_number(text: str, name: str, *, at: int = 0) -> float:
    """Return a finite number.

    Examples
    --------
    >>> parse_number("0.1", "value")
    0.1
    """
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    # Written so that NaN fails too.
    if not abs(number) < float("inf"):
        raise UsageError(f"{name} {text!r} is not a number", hint=f"{name}=0.1", position=at)
    return number
