"""Hypothesis draws: convolutions that are valid by construction, so that none is thrown away."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st
from oracles import correlate_loops, transposed_loops

BORDERS = ("zeros", "constant:-2.5", "replicate", "reflect", "symmetric", "circular")


@dataclass(frozen=True)
class Case:
    """One convolution; pairs and tuples have one entry per axis."""

    seed: int
    batch: int
    channels: int
    maps: int
    groups: int
    axes: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    output_padding: tuple[int, ...]
    border: str
    bias: bool
    transposed: bool
    low_rank: bool = False

    @property
    def weight_shape(self) -> tuple[int, ...]:
        if self.transposed:
            return (self.channels, self.maps // self.groups, *self.kernel)
        return (self.maps, self.channels // self.groups, *self.kernel)

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Input (N, C, …), weight and bias in float64."""
        random = np.random.default_rng(self.seed)
        image = random.standard_normal((self.batch, self.channels, *self.axes))
        weight = random.standard_normal(self.weight_shape)
        if self.low_rank:  # the same kernel shape everywhere, a column times a row
            weight = random.standard_normal((*self.weight_shape[:-1], 1)) * random.standard_normal(self.kernel[-1])
        else:
            weight *= random.random(weight.shape) < 0.8  # some taps are zero
        return image, weight, random.standard_normal(self.maps) if self.bias else None

    def expected(self, image: np.ndarray, weight: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
        """Return what nested loops make of these arrays, (N, O, …)."""
        arguments = {"stride": self.stride, "padding": self.padding, "dilation": self.dilation, "groups": self.groups}
        if self.transposed:
            arguments["output_padding"] = self.output_padding
            return np.stack([transposed_loops(one, weight, bias, **arguments) for one in image])
        mode, _, value = self.border.replace("zeros", "constant:0").partition(":")
        arguments |= {"mode": mode, "value": float(value or 0)}
        return np.stack([correlate_loops(one, weight, bias, **arguments) for one in image])


@st.composite
def convolutions(
    draw: st.DrawFn,
    *,
    n_axes: int = 2,
    transposed: bool = False,
    borders: tuple[str, ...] = BORDERS,
    symmetric: bool = False,
    largest: int = 9,
) -> Case:
    """Draw a convolution whose window fits; ``symmetric`` keeps to what torch can pad."""

    def axis(low: int, high: int) -> tuple[int, ...]:
        return tuple(draw(st.integers(low, high)) for _ in range(n_axes))

    groups = draw(st.sampled_from([1, 1, 2, 3]))
    axes, kernel = axis(1, largest), axis(1, 5)
    stride, dilation = axis(1, 3), axis(1, 3)
    padding = []
    for size, taps, step, gap in zip(axes, kernel, stride, dilation, strict=True):
        window = gap * (taps - 1) + 1
        if transposed:
            # What is cut may not be more than there is.
            room = max((size - 1) * step + window - 1, 0) // 2
            before = draw(st.integers(0, min(room, 3)))
            after = before if symmetric else draw(st.integers(0, min(room, 3)))
        else:
            least = max(-(-(window - size) // 2), 0)
            before = draw(st.integers(least, least + 3))
            after = before if symmetric else draw(st.integers(least, least + 3))
        padding.append((before, after))
    return Case(
        seed=draw(st.integers(0, 2**16)),
        batch=draw(st.sampled_from([1, 1, 2])),
        channels=groups * draw(st.integers(1, 2)),
        maps=groups * draw(st.integers(1, 3)),
        groups=groups,
        axes=axes,
        kernel=kernel,
        stride=stride,
        dilation=dilation,
        padding=tuple(padding),
        output_padding=tuple(
            draw(st.integers(0, max(step, gap) - 1)) for step, gap in zip(stride, dilation, strict=True)
        ),
        border="zeros" if transposed else draw(st.sampled_from(borders)),
        bias=draw(st.booleans()),
        transposed=transposed,
        low_rank=draw(st.booleans()),
    )
