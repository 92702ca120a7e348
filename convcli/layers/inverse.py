"""Solve for ``?``: the kernels, strides, paddings and dilations that give a wanted size.

``?`` stands for one number for all axes. Each candidate goes through the functions that compute shapes, axis by axis,
so that no answer is an estimate. One unknown is searched to the end of the range in which answers can lie; several
have no end and are searched up to a bound that the result names.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from math import prod
from typing import NamedTuple

from convcli.errors import GeometryError, UsageError
from convcli.layers.layer import SHORT, Layer, Shape
from convcli.layers.text import fault, layers_from_values, load_word, read_chain, split_layer
from convcli.layers.walk import walk

#: Parameters that ``?`` can stand for, in the order in which answers are sorted.
ASKABLE = ("kernel_size", "stride", "padding", "dilation", "output_padding")
#: Largest kernel, stride, padding and dilation when several are unknown.
BOUND = 11
#: Limits of a range's end, of combinations (seconds, not minutes), and of answers listed.
MOST = 20_000
MOST_TRIED = 100_000
MOST_LISTED = 1_000

#: A number for one axis; padding whose sides differ is a pair.
Value = int | tuple[int, int]
Answer = dict[str, tuple[Value, ...]]


def value_text(values: Sequence[Value]) -> str:
    """Return an answer's values along all axes as a layer's text has them.

    Examples
    --------
    >>> value_text((3, 3)), value_text((3, 1)), value_text((3, (1, 2)))
    ('3', '3x1', '3,3,1,2')
    """
    if any(isinstance(value, tuple) for value in values):
        pairs = [value if isinstance(value, tuple) else (value, value) for value in values]
        return ",".join(str(side) for pair in pairs for side in pair)
    return str(values[0]) if len(set(values)) == 1 else "x".join(map(str, values))


class Solutions(NamedTuple):
    """Answers to a layer with ``?``: assignments by parameter, smallest first, and the ranges searched.

    Values are one number per axis; they differ between axes only where no single number fits all, and are pairs
    (before, after) only where no equal padding fits. ``n_answers`` includes answers beyond :data:`MOST_LISTED`.
    ``nearest`` are the closest single numbers and their outputs.
    """

    text: str
    target: Shape
    unknown: tuple[str, ...]
    searched: dict[str, tuple[int, int]]
    answers: tuple[Answer, ...]
    nearest: tuple[tuple[Answer, Shape], ...]
    n_answers: int

    def filled(self, answer: Answer) -> str:
        """Return the layer's text with an answer put in."""
        word, _, rest = self.text.partition(":")
        parts = rest.split(",")
        for i, part in enumerate(parts):
            key = part.partition("=")[0].strip()
            # A bare value comes first, and so does its name among those unknown.
            name = self.unknown[0] if key == "?" else SHORT.get(key, key)
            if part.strip().endswith("?") and name in answer:
                parts[i] = part.replace("?", value_text(answer[name]))
        return f"{word}:{','.join(parts)}"


def solve(words: Sequence[str | Layer], input_shape: Shape, target: Shape, *, bound: int = BOUND) -> Solutions:
    """Return every value of ``?`` with which a chain ends in ``target``.

    Parameters
    ----------
    words : sequence of str or Layer
        A chain, a layer a word; exactly one has ``?``, and no layer after it joins several inputs.
    target : tuple of int
        The sizes wanted at the end, one per axis or one for all, with or without the channels before them.
    bound : int
        Largest value tried when several numbers are unknown.

    Raises
    ------
    UsageError
        ``?`` where it cannot be, in several layers, too many combinations, or a target for another number of axes.

    Examples
    --------
    >>> found = solve(["conv:64,k=7,s=2,p=?"], (3, 304, 228), (152, 114))
    >>> [found.filled(answer) for answer in found.answers]
    ['conv:64,k=7,s=2,p=3']
    """
    n_axes = len(input_shape) - 1
    asking = {index: word for index, word in enumerate(words) if isinstance(word, str) and "?" in word}
    if not asking:
        hint = "write ? for the number wanted, such as conv:64,k=7,s=2,p=?; without --target the sizes are computed"
        raise UsageError("no layer has a '?', the number that is to give --target", hint=hint)
    if len(asking) != 1:
        raise UsageError(f"{len(asking)} layers have '?'", hint="ask for the numbers of one layer at a time")
    ((at, text),) = asking.items()
    if "(" in text:  # a constructor: its answers are words of a chain
        kind, _, named, _ = split_layer(text, n_axes)
        text = f"{kind}:{','.join(f'{name}={value}' for name, value in named.items())}"
    before, after = (read_chain(part, n_axes) for part in (words[:at], words[at + 1 :]))
    shape = walk(before, input_shape).output
    kind, values, unknown = _question(text, n_axes)
    if len(target) == 1:  # as a kernel's size
        target = target * n_axes
    if len(target) not in (n_axes, n_axes + 1):
        written = "x".join(map(str, target))
        raise UsageError(f"target {written} does not fit an input of {n_axes} axes", hint="--target HxW, or CxHxW")
    sizes = target[-n_axes:]

    def layers_with(numbers: Mapping[str, Value]) -> tuple[Layer, ...]:
        given = {name: [each] * n_axes if isinstance(each, tuple) else each for name, each in numbers.items()}
        return layers_from_values(kind, {**values, **given}, n_axes=n_axes, text=text)

    smallest = layers_with({name: _least(name) for name in unknown})
    _check_channels(shape, [*smallest, *after], target, n_axes)
    # Sizes do not depend on the channels, so the axes can be searched one by one below: a sum, not a product.
    ranges = _ranges(smallest[0], unknown, max(*shape[1:], *sizes), bound)
    tried = prod(map(len, ranges.values()))
    if tried > MOST_TRIED:
        message = f"{len(unknown)} numbers up to {bound} are {tried:,} combinations, more than {MOST_TRIED:,}"
        raise UsageError(message, hint="a smaller --bound, or fewer unknowns")
    per_axis = [_outcomes(layers_with, ranges, axis, shape[1 + axis], after) for axis in range(n_axes)]
    fitting = [[key for key, size in each.items() if size == want] for each, want in zip(per_axis, sizes, strict=True)]
    # An even window with stride 1 keeps its size only with an odd sum of padding, which needs two sides.
    if not all(fitting) and "padding" in unknown:
        uneven: dict[str, Sequence[Value]] = {**ranges, "padding": [(less, less + 1) for less in ranges["padding"]]}
        odd = [_outcomes(layers_with, uneven, axis, shape[1 + axis], after) for axis in range(n_axes)]
        for axis, want in enumerate(sizes):
            fitting[axis] = fitting[axis] or [key for key, size in odd[axis].items() if size == want]
    keys = [(key,) * n_axes for key in fitting[0] if all(key in others for others in map(set, fitting[1:]))]
    n_answers = len(keys) or prod(map(len, fitting))
    nearest = () if keys else _nearest(per_axis, unknown, sizes)
    keys = keys or list(itertools.islice(itertools.product(*fitting), MOST_LISTED))
    answers = tuple(_by_name(unknown, each) for each in keys[:MOST_LISTED])
    # Both ends are tried values, so that a report can say "0 to 12".
    searched = {name: (numbers.start, numbers.stop - 1) for name, numbers in ranges.items()}
    return Solutions(text, sizes, unknown, searched, answers, nearest, n_answers)


def _least(name: str) -> int:
    """Return the smallest value of a parameter."""
    return 0 if name in ("padding", "output_padding") else 1


def _by_name(unknown: Sequence[str], keys: Sequence[Sequence[Value]]) -> Answer:
    """Return the numbers of an answer by parameter, from one key per axis."""
    return {name: tuple(key[i] for key in keys) for i, name in enumerate(unknown)}


def _question(text: str, n_axes: int) -> tuple[str, dict[str, object], tuple[str, ...]]:
    """Return (kind, known values, names asked for) of a layer's text."""
    kind, _, values, positions = split_layer(text, n_axes)
    if not load_word(kind).has_window:
        raise fault(text, text.index("?"), f"{kind} has no window to solve for", "ask about a convolution or a pooling")
    unknown = tuple(name for name in ASKABLE if values.get(name, "").strip() == "?")
    for name, value in values.items():
        if "?" in value and name not in unknown:
            hint = f"? can stand for {', '.join(ASKABLE)}: one number for all axes"
            raise fault(text, positions.get(name, 0), f"{name} cannot be asked for as {value!r}", hint)
    return kind, {name: value for name, value in values.items() if name not in unknown}, unknown


def _check_channels(shape: Shape, layers: Sequence[Layer], target: Shape, n_axes: int) -> None:
    """Raise if a layer takes a named input, or the target has other channels than the last layer gives."""
    channels = shape[0]
    for layer in layers:
        if layer.inputs:
            raise UsageError(f"{layer.label} joins branches after '?'", hint="ask about a chain without joins")
        channels = layer.channels([(channels, *shape[1:])])[0]
    if len(target) > n_axes and channels != target[0]:
        raise GeometryError(f"the target has {target[0]} channels, and the last layer gives {channels}")


def _ranges(layer: Layer, unknown: Sequence[str], longest: int, bound: int) -> dict[str, range]:
    """Return the values to try: all that can matter for one unknown, up to the bound for several."""
    # A larger kernel, stride or gap than the padded axis leaves one window or none: nothing new follows.
    window = max(d * (k - 1) + 1 for k, d in zip(layer.kernel_size, layer.dilation, strict=True))
    pads = 0 if isinstance(layer.padding, str) else max(sum(pair) for pair in layer.padding)
    end = {
        "kernel_size": longest + pads,
        "stride": longest + pads,
        "dilation": longest + pads,
        "padding": (longest + 1) * max(layer.stride) + window,
        # torch refuses an output padding that is not below max(stride, dilation).
        "output_padding": max(*layer.stride, *layer.dilation) - 1 if len(unknown) == 1 else bound,
    }
    most = bound if len(unknown) > 1 else MOST
    return {name: range(_least(name), min(end[name], most) + 1) for name in unknown}


def _outcomes(
    layers_with: Callable[..., Sequence[Layer]],
    ranges: Mapping[str, Sequence[Value]],
    axis: int,
    size: int,
    after: Sequence[Layer],
) -> dict[tuple[Value, ...], int]:
    """Return the final length along one axis for every assignment that is valid."""
    found: dict[tuple[Value, ...], int] = {}
    # Many assignments give one length: the layers after are followed once for each length.
    follow = cache(partial(_follow, after, axis))
    for numbers in itertools.product(*ranges.values()):
        end = follow(_follow(layers_with(dict(zip(ranges, numbers, strict=True))), axis, size))
        if end is not None:
            found[numbers] = end
    return found


def _follow(layers: Sequence[Layer], axis: int, size: int | None) -> int | None:
    """Return the length along one axis after all layers, or None if one does not fit."""
    if size is None:
        return None
    try:
        for layer in layers:
            size = _along(layer, axis).sizes((size,))[1][0]
    except GeometryError:
        return None
    return size


def _along(layer: Layer, axis: int) -> Layer:
    """Return the layer along one axis, as a layer of one axis."""
    fields = ("kernel_size", "stride", "dilation", "output_padding", "scale_factor")
    one = {name: getattr(layer, name)[axis : axis + 1] for name in fields}
    # The word same depends on the size, so it stays a word and is resolved for this axis.
    padding = layer.padding if isinstance(layer.padding, str) else layer.padding[axis : axis + 1]
    return replace(layer, n_axes=1, padding=padding, **one)


def _nearest(
    per_axis: Sequence[Mapping[tuple[Value, ...], int]], unknown: Sequence[str], sizes: Shape
) -> tuple[tuple[Answer, Shape], ...]:
    """Return the closest outputs and their assignments, at most one below and one above the target."""
    common = [key for key in per_axis[0] if all(key in each for each in per_axis[1:])]
    outputs = {key: tuple(each[key] for each in per_axis) for key in common}
    found = {}
    for is_below in (True, False):
        side = [key for key, output in outputs.items() if (sum(output) < sum(sizes)) == is_below]
        if side:
            key = min(side, key=lambda key: (sum(abs(a - b) for a, b in zip(outputs[key], sizes, strict=True)), key))
            found[outputs[key]] = _by_name(unknown, (key,) * len(sizes))
    return tuple((found[output], output) for output in sorted(found))
