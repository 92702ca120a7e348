"""Layers that move samples: padding, enlarging, channel shuffle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any, ClassVar

from convcli.errors import GeometryError, UsageError
from convcli.geometry.arithmetic import PADDING_MODES, Pair, Step, check_groups, resolve_padding
from convcli.layers.layer import Layer, Numbers, Row, Shape


class Pad(Layer):
    """A border around every plane, as ``torch.nn.functional.pad``."""

    kind = "pad"
    aliases = ("zeropad",)
    bare = "padding"
    parameters = ("mode", "value")
    needed = ("padding",)
    of_mode: ClassVar[Mapping[str, str]] = {"value": "constant"}
    modes = PADDING_MODES
    example = "pad:1 or pad:0,1,0,1 (top,bottom,left,right)"

    @classmethod
    def build(cls, fields: dict[str, Any], n_axes: int) -> Layer:
        """Return the layer; a value alone means a constant border."""
        return super().build(({"mode": "constant"} if "value" in fields else {}) | fields, n_axes)

    @classmethod
    def read(cls, name: str, value: object, n_axes: int, at: int) -> object:
        """Return one parameter; padding must be numbers."""
        value = super().read(name, value, n_axes, at)
        if name == "padding" and isinstance(value, str):
            raise UsageError(f"pad needs numbers, not {value!r}", hint=cls.example, position=at)
        return value

    def sizes(self, sizes: Shape) -> tuple[tuple[Pair, ...], Shape, Shape]:
        none = (0,) * self.n_axes
        # Numbers only: the words, which need a window, are refused when the layer is read.
        padding = resolve_padding(self.padding, sizes, none, none, none)
        return padding, tuple(size + sum(pair) for size, pair in zip(sizes, padding, strict=True)), none

    def step(self, axis: int, size: int, pad: int) -> Step:
        return Step("down", pad=pad)

    def run(self, row: Row, inputs: Sequence[Any], numbers: Numbers, how: Mapping[str, Any]) -> Any:
        """Return planes with a border of any mode, at any size."""
        import numpy as np

        mode: Any = {"zeros": "constant", "replicate": "edge", "circular": "wrap"}.get(self.mode, self.mode)
        value = {"constant_values": self.value} if self.mode == "constant" else {}
        return np.pad(inputs[0], ((0, 0), *row.padding), mode, **value)

    def size_formula(self, row: Row, axis: int) -> Iterator[str]:
        before, after = row.padding[axis]
        yield f"{row.input[1 + axis]} + {before} + {after} = {row.output[1 + axis]}"


class Upsample(Layer):
    """Planes enlarged by whole factors, as ``torch.nn.Upsample`` with ``align_corners=False``."""

    kind = "upsample"
    aliases = ("up",)
    bare = "scale_factor"
    parameters: ClassVar[tuple[str, ...]] = ("mode",)
    needed = ("scale_factor",)
    modes: ClassVar[tuple[str, ...]] = ("nearest", "bilinear")
    example = "upsample:2,mode=bilinear"

    def sizes(self, sizes: Shape) -> tuple[tuple[Pair, ...], Shape, Shape]:
        padding, _, unused = super().sizes(sizes)
        return padding, tuple(size * factor for size, factor in zip(sizes, self.scale_factor, strict=True)), unused

    def step(self, axis: int, size: int, pad: int) -> Step:
        factor = self.scale_factor[axis]
        # Repeating a sample is a transposed window without overlap.
        return Step("up" if self.mode == "nearest" else "linear", factor, factor)

    def run(self, row: Row, inputs: Sequence[Any], numbers: Numbers, how: Mapping[str, Any]) -> Any:
        """Return enlarged planes: samples repeated, or linear between their centres."""
        import numpy as np

        planes = inputs[0]
        for axis, factor in enumerate(self.scale_factor, 1):
            if self.mode == "nearest":
                planes = np.repeat(planes, factor, axis=axis)
                continue
            size = planes.shape[axis]
            # Centres lie at halves (align_corners=False); torch clamps the source position at 0, not the weights.
            at = np.clip((np.arange(size * factor) + 0.5) / factor - 0.5, 0, None)
            low = np.floor(at).astype(np.intp)
            part = (at - low).astype(planes.dtype).reshape(-1, *(1,) * (planes.ndim - 1 - axis))
            high = np.minimum(low + 1, size - 1)
            planes = np.take(planes, low, axis=axis) * (1 - part) + np.take(planes, high, axis=axis) * part
        return planes

    def size_formula(self, row: Row, axis: int) -> Iterator[str]:
        yield f"{row.input[1 + axis]}·{self.scale_factor[axis]} = {row.output[1 + axis]}"


class PixelShuffle(Upsample):
    """Channels laid out as pixels, as ``torch.nn.PixelShuffle`` (sub-pixel convolution: Shi et al. 2016)."""

    kind = "pixelshuffle"
    aliases = ("depthtospace",)
    parameters = ()
    modes = ()
    example = "pixelshuffle:2 (4 channels become 2x2 pixels)"

    def channels(self, shapes: Sequence[Shape]) -> tuple[int, int]:
        pixels = prod(self.scale_factor)
        if shapes[0][0] % pixels:
            hint = f"a convolution to {-(-shapes[0][0] // pixels) * pixels} channels before it"
            raise GeometryError(f"{shapes[0][0]} channels are not a multiple of {pixels} pixels", hint=hint)
        return shapes[0][0] // pixels, 1

    def step(self, axis: int, size: int, pad: int) -> Step:
        return Step("up", self.scale_factor[axis], self.scale_factor[axis])

    def run(self, row: Row, inputs: Sequence[Any], numbers: Numbers, how: Mapping[str, Any]) -> Any:
        """Return the planes: pixel (i, j) of a block is channel ``c·rh·rw + i·rw + j``."""
        n_axes, sizes = self.n_axes, inputs[0].shape[1:]
        blocks = inputs[0].reshape(-1, *self.scale_factor, *sizes)
        # Each axis of the image is followed by the axis of its block.
        order = [each for axis in range(1, n_axes + 1) for each in (axis + n_axes, axis)]
        return blocks.transpose(0, *order).reshape(row.output)


class Shuffle(Layer):
    """Channels interleaved between groups, as ``torch.nn.ChannelShuffle`` (ShuffleNet)."""

    kind = "shuffle"
    aliases = ("channelshuffle",)
    bare = "groups"
    needed = ("groups",)
    example = "shuffle:4 (groups)"

    def channels(self, shapes: Sequence[Shape]) -> tuple[int, int]:
        check_groups(shapes[0][0], shapes[0][0], self.groups)
        return shapes[0][0], self.groups

    def run(self, row: Row, inputs: Sequence[Any], numbers: Numbers, how: Mapping[str, Any]) -> Any:
        """Return the channels, one from each group in turn."""
        from convcli.engine.rearrange import channel_shuffle

        # Four axes are (N, C, …) to it for certain: three would be one image, and a signal has only two.
        planes = inputs[0].reshape(1, row.input[0], -1, 1)
        return channel_shuffle(planes, row.groups).reshape(row.output)
