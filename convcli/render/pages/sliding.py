"""A sliding window as data: where it stands at every output sample, on which cells of a grid, with which numbers.

A transposed convolution is drawn as the ordinary one that it equals: over its input with ``stride - 1`` empty cells
between the samples, in steps of one cell, with the kernel turned round (arXiv 1603.07285, section 4).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from convcli.errors import GeometryError, UsageError
from convcli.geometry.arithmetic import window_px
from convcli.geometry.sizes import parse_sizes
from convcli.layers.text import parse_layers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from convcli.layers.layer import Layer

#: Kinds of layers that are drawn, and how a title calls them.
KINDS = {"conv": "conv", "convtranspose": "transposed conv", "maxpool": "max pool", "avgpool": "average pool"}
#: More cells or more frames are no picture any more.
MOST_CELLS, MOST_FRAMES = 2500, 1024
#: Products of one window that are written out.
MOST_TERMS = 9


class AxisSlide(NamedTuple):
    """One axis of the grid; position 0 is the first input sample."""

    #: Input samples, taps, and cells from tap to tap.
    size: int
    kernel: int
    dilation: int
    #: Cells from one input sample to the next; above 1 where a transposed convolution spreads them.
    step: int
    #: First and last position that is drawn.
    low: int
    high: int
    #: Where the window begins, for every output.
    starts: tuple[int, ...]

    def positions(self, output: int) -> tuple[int, ...]:
        """Return the cells of the window of one output."""
        return tuple(self.starts[output] + self.dilation * tap for tap in range(self.kernel))

    def sample(self, position: int) -> int | None:
        """Return the input sample in a cell; None for padding and for the empty cells between samples."""
        index, rest = divmod(position, self.step)
        return index if rest == 0 and 0 <= index < self.size else None


class Slide(NamedTuple):
    """A layer of one map that slides over one plane."""

    layer: Layer
    input_sizes: tuple[int, ...]
    output_sizes: tuple[int, ...]
    #: A layer of one axis has one row.
    rows: AxisSlide
    columns: AxisSlide
    #: Numbers of input, kernel (in the order in which the window holds them) and output, as far as they are known.
    values: NDArray[np.float64] | None = None
    taps: NDArray[np.float64] | None = None
    results: NDArray[np.float64] | None = None
    #: Numbers in padding cells by (row, column); empty where they are not known.
    border: dict[tuple[int, int], float] = {}  # noqa: RUF012 - a default of a tuple, never changed

    def frames(self) -> Iterator[tuple[int, int]]:
        """Yield (row, column) of every output sample, in reading order."""
        return itertools.product(range(len(self.rows.starts)), range(len(self.columns.starts)))

    def value_at(self, row: int, column: int) -> float | None:
        """Return the number in a cell, if it is known."""
        sample = self.rows.sample(row), self.columns.sample(column)
        if self.values is None or None in sample:
            return self.border.get((row, column))
        return float(self.values[sample])

    def formula(self, row: int, column: int) -> str:
        """Return one output written out; empty where numbers are missing."""
        if self.results is None:
            return ""
        result = number(self.results[row, column])
        cells = itertools.product(self.rows.positions(row), self.columns.positions(column))
        known = [self.value_at(*cell) for cell in cells]
        shown = [value for value in known if value is not None]
        if self.layer.kind in ("maxpool", "avgpool"):
            word = "max" if self.layer.kind == "maxpool" else "mean"
            inside = ", ".join(map(number, shown)) if len(shown) <= MOST_TERMS else f"{len(shown)} samples"
            return f"{word}({inside}) = {result}"
        taps = [] if self.taps is None else self.taps.ravel().tolist()
        pairs = [(value, tap) for value, tap in zip(known, taps, strict=True) if value is not None]
        if len(pairs) > MOST_TERMS:
            return f"sum of {len(pairs)} products = {result}"
        return f"{' + '.join(f'{number(value)}·{_factor(tap)}' for value, tap in pairs) or '0'} = {result}"

    @property
    def title(self) -> str:
        """Return the layer, its parameters and its sizes, in a line."""
        layer = self.layer
        facts = [f"{KINDS[layer.kind]} {by(layer.kernel_size)}"]
        if any(step != 1 for step in layer.stride):
            facts.append(f"stride {same(layer.stride)}")
        padding, _, _ = layer.sizes(self.input_sizes)
        if any(map(any, padding)):
            sides = [side for pair in padding for side in pair]
            facts.append(f"padding {same(sides, ',')}")
        if any(gap != 1 for gap in layer.dilation):
            facts.append(f"dilation {same(layer.dilation)}")
        if any(layer.output_padding):
            facts.append(f"output padding {same(layer.output_padding)}")
        return f"{', '.join(facts)}: {by(self.input_sizes)} → {by(self.output_sizes)}"


def make_slide(
    input_text: str,
    layer_text: str,
    *,
    values: NDArray[np.float64] | None = None,
    taps: NDArray[np.float64] | None = None,
) -> Slide:
    """Return the slide of a layer over an input.

    Parameters
    ----------
    input_text : str
        Sizes of one plane: ``5x5``, or ``9`` for a layer of one axis.
    layer_text : str
        A layer as ``convcli shape`` takes it: ``conv:1,k=3,s=2,p=1``.
    values, taps : ndarray of shape (rows, columns), optional
        Numbers of the input and of the kernel.

    Raises
    ------
    UsageError
        It is no layer with a window, too large to be drawn, or the numbers are of another size.
    GeometryError
        The window does not fit.

    Examples
    --------
    >>> slide = make_slide("5x5", "conv:1,k=3,s=2,p=1")
    >>> slide.title, slide.rows.starts, slide.rows.positions(0)
    ('conv 3×3, stride 2, padding 1: 5×5 → 3×3', (-1, 1, 3), (-1, 0, 1))
    >>> make_slide("2", "convtranspose:1,k=3,s=2").columns.positions(1)
    (-1, 0, 1)
    """
    sizes = parse_sizes(input_text, "input", minimum=1)
    if len(sizes) > 2:
        raise UsageError(f"input {input_text} has {len(sizes)} numbers", hint="one plane is drawn: 5x5, or 9 for 1-d")
    layers = parse_layers(layer_text, len(sizes))
    if len(layers) != 1 or layers[0].kind not in KINDS:
        raise UsageError(f"{layer_text!r} has no window of its own to draw", hint=f"one of {', '.join(KINDS)}")
    layer = layers[0]
    if layer.kind in ("conv", "convtranspose"):
        layer = replace(layer, out_channels=1, groups=1, bias=False)  # one plane and one map are drawn
    padding, outputs, _ = layer.sizes(sizes)
    axes = [_axis(layer, axis, size, padding[axis], outputs[axis]) for axis, size in enumerate(sizes)]
    rows, columns = axes if len(axes) == 2 else (AxisSlide(1, 1, 1, 1, 0, 0, (0,)), *axes)
    cells = (rows.high - rows.low + 1) * (columns.high - columns.low + 1)
    frames = len(rows.starts) * len(columns.starts)
    if cells > MOST_CELLS or frames > MOST_FRAMES:
        raise UsageError(
            f"{cells:,} cells and {frames:,} frames are too many to follow",
            hint=f"at most {MOST_CELLS:,} cells and {MOST_FRAMES:,} frames: a smaller input shows the same",
        )
    slide = Slide(layer, sizes, outputs, rows, columns)
    return slide if values is None and taps is None else _with_numbers(slide, values, taps)


def _axis(layer: Layer, axis: int, size: int, pads: tuple[int, int], output: int) -> AxisSlide:
    kernel, stride, dilation = layer.kernel_size[axis], layer.stride[axis], layer.dilation[axis]
    before, after = pads
    covers = window_px(kernel, dilation)
    if layer.kind == "convtranspose":
        # Output y stands at y + before of the uncut result, which tap 0 of the turned kernel meets covers - 1 earlier.
        starts = tuple(at + before - (covers - 1) for at in range(output))
        low, high, step = 0, (size - 1) * stride, stride
    else:
        starts = tuple(at * stride - before for at in range(output))
        low, high, step = -before, size + after - 1, 1
    return AxisSlide(size, kernel, dilation, step, min(low, starts[0]), max(high, starts[-1] + covers - 1), starts)


def _with_numbers(slide: Slide, values: NDArray[np.float64] | None, taps: NDArray[np.float64] | None) -> Slide:
    """Add the numbers that are given, and those that follow from them."""
    layer = slide.layer
    is_pool = layer.kind.endswith("pool")
    _check_shape("values", values, (slide.rows.size, slide.columns.size))
    _check_shape("kernel", taps, (slide.rows.kernel, slide.columns.kernel))
    if is_pool and taps is not None:
        raise UsageError(f"{layer.kind} has no taps", hint="leave the kernel out")
    results = None
    if values is not None and (is_pool or taps is not None):
        results = _compute(slide, values, taps)
    turned = taps[::-1, ::-1] if taps is not None and layer.kind == "convtranspose" else taps
    border = {} if values is None or layer.kind == "convtranspose" else _border(slide, values)
    return slide._replace(values=values, taps=turned, results=results, border=border)


def _check_shape(name: str, numbers: NDArray[np.float64] | None, expected: tuple[int, int]) -> None:
    if numbers is not None and numbers.shape != expected:
        raise GeometryError(
            f"the {name} are {by(numbers.shape)}, and the layer is drawn with {by(expected)}",
            hint=f"{name} of {by(expected)}, or a layer and an input of that size",
        )


def _compute(slide: Slide, values: NDArray[np.float64], taps: NDArray[np.float64] | None) -> NDArray[np.float64]:
    """Run the layer itself, by the engine."""
    from convcli.layers.layer import Numbers
    from convcli.layers.run import run_stack
    from convcli.layers.stack import Stack

    weight = None if taps is None else taps.reshape(1, 1, *slide.layer.kernel_size)
    planes = values.reshape(1, *slide.input_sizes)
    [maps] = run_stack(Stack(layers=(slide.layer,)), planes, numbers=[Numbers(weight)]).values()
    return maps.reshape(len(slide.rows.starts), len(slide.columns.starts))


def _border(slide: Slide, values: NDArray[np.float64]) -> dict[tuple[int, int], float]:
    """Return the numbers in padding cells; those of a pool are not known, but for a mean that counts them as 0."""
    import numpy as np

    from convcli.engine.borders import map_positions, parse_border

    layer = slide.layer
    if layer.kind == "maxpool" or (layer.kind == "avgpool" and not layer.count_include_pad):
        return {}
    rule = parse_border(layer.mode or "zeros")
    rows, columns = (
        dict(zip(cells, map_positions(np.array(cells), axis.size, rule.mode).tolist(), strict=True))
        for axis in (slide.rows, slide.columns)
        for cells in [range(axis.low, axis.high + 1)]
    )
    return {
        (row, column): float(values[from_row, from_column]) if min(from_row, from_column) >= 0 else rule.value
        for row, from_row in rows.items()
        for column, from_column in columns.items()
        if slide.rows.sample(row) is None or slide.columns.sample(column) is None
    }


def number(value: float) -> str:
    """Return a number with four digits at most.

    Examples
    --------
    >>> number(3.0), number(-1 / 9), number(-0.0)
    ('3', '-0.1111', '0')
    """
    return f"{value + 0.0:.4g}"  # no -0


def _factor(tap: float) -> str:
    return number(tap) if tap >= 0 else f"({number(tap)})"


def by(sizes: Iterable[int]) -> str:
    """Return ``3×3``."""
    return "×".join(map(str, sizes))


def same(sizes: Sequence[int], between: str = "×") -> str:
    """Return ``2`` for equal sizes, ``2×1`` for others."""
    return str(sizes[0]) if len(set(sizes)) == 1 else between.join(map(str, sizes))
