"""Poolings: the largest or the mean sample of each window, or of each whole plane."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from convcli.errors import GeometryError, UsageError
from convcli.geometry.arithmetic import Pair, Step, pool_output_px, window_px
from convcli.layers.kinds.conv import Windowed
from convcli.layers.layer import Layer, Numbers, Row, Shape


class MaxPool(Windowed):
    """Largest sample of each window, as ``torch.nn.MaxPool2d``."""

    kind = "maxpool"
    aliases: ClassVar[tuple[str, ...]] = ("max",)
    bare = "kernel_size"
    parameters: ClassVar[tuple[str, ...]] = ("stride", "padding", "dilation", "ceil_mode")
    needed = ("kernel_size",)
    example = "maxpool:2 or maxpool:k=3,s=2,p=1"

    @classmethod
    def build(cls, fields: dict[str, Any], n_axes: int) -> Layer:
        """Return the layer; the stride is the kernel's size unless given otherwise."""
        return super().build({"stride": fields["kernel_size"]} | fields, n_axes)

    def length(self, axis: int, size: int, pads: Pair) -> int:
        """Return the output length; refuse padding in which a window could lie."""
        kernel, before, after = self.kernel_size[axis], *pads
        # torch has one number a side and takes half the kernel; words and sides are ours, as in max_pool2d.
        in_torch = not isinstance(self.padding, str) and all(one == other for one, other in self.padding)
        most = kernel // 2 if in_torch else window_px(kernel, self.dilation[axis]) - 1
        if max(pads) > most:
            much = f"more than half of the pooling kernel {kernel}" if in_torch else f"a whole window of {most + 1}"
            message, hint = f"padding {max(pads)} is {much}", f"a padding of at most {most}, or a pad layer before it"
            raise GeometryError(message, hint=hint, kernel_px=kernel, pad_px=max(pads))
        step = {"stride": self.stride[axis], "dilation": self.dilation[axis]}
        pad = {"pad_before_px": before, "pad_after_px": after}
        return pool_output_px(size, kernel, **step, **pad, ceil_mode=self.ceil_mode)

    def run(self, row: Row, inputs: Sequence[Any], numbers: Numbers, how: Mapping[str, Any]) -> Any:
        import convcli.engine as functions

        pool = getattr(functions, f"max_pool{self.n_axes}d")
        return pool(inputs[0], self.kernel_size, self.stride, row.padding, self.dilation, self.ceil_mode)

    def length_formula(self, row: Row, axis: int) -> str:
        if not self.ceil_mode:
            return super().length_formula(row, axis)
        up = super().length_formula(row, axis).replace("⌊", "⌈").replace("⌋", "⌉")
        return up + (" - 1" if self._is_dropped(row, axis) else "")

    def _is_dropped(self, row: Row, axis: int) -> bool:
        size = row.input[1 + axis] + sum(row.padding[axis]) - window_px(self.kernel_size[axis], self.dilation[axis])
        return self.ceil_mode and -(-size // self.stride[axis]) + 1 > row.output[1 + axis]

    def size_formula(self, row: Row, axis: int) -> Iterator[str]:
        yield from super().size_formula(row, axis)
        if self._is_dropped(row, axis):
            start = f"{row.output[1 + axis]}·{self.stride[axis]}"
            end = f"{row.input[1 + axis]} + {row.padding[axis][0]}"
            yield f"(the window at {start} would start after {end}: dropped)"


class AvgPool(MaxPool):
    """Mean of each window, as ``torch.nn.AvgPool2d``."""

    kind = "avgpool"
    aliases = ("avg", "averagepool")
    parameters = ("stride", "padding", "dilation", "ceil_mode", "count_include_pad")
    example = "avgpool:2 or avgpool:k=3,s=2,p=1"

    def length(self, axis: int, size: int, pads: Pair) -> int:
        """Return the output length; refuse a kernel larger than the input in 3-D, as torch's avg_pool3d does."""
        kernel = self.kernel_size[axis]
        if self.n_axes == 3 and kernel > size:
            message = f"kernel {kernel} is larger than the {size} px before padding, which torch's avg_pool3d refuses"
            raise GeometryError(message, hint="a pad layer before it", kernel_px=kernel, input_px=size)
        return super().length(axis, size, pads)

    def run(self, row: Row, inputs: Sequence[Any], numbers: Numbers, how: Mapping[str, Any]) -> Any:
        import convcli.engine as functions

        pool = getattr(functions, f"avg_pool{self.n_axes}d")
        window = {"stride": self.stride, "padding": row.padding, "dilation": self.dilation, "ceil_mode": self.ceil_mode}
        return pool(inputs[0], self.kernel_size, **window, count_include_pad=self.count_include_pad)


class GlobalPool(Layer):
    """Mean or largest sample of each plane, as ``torch.nn.AdaptiveAvgPool2d(1)``."""

    kind = "globalpool"
    aliases = ("globalavgpool", "adaptiveavgpool")
    bare = "mode"
    modes = ("avg", "max")

    @classmethod
    def read(cls, name: str, value: object, n_axes: int, at: int) -> object:
        """Return one parameter; refuse the output size of torch's adaptive poolings, where it is not 1."""
        if name == "mode" and str(value).strip().isdecimal():
            message = f"{cls.kind} leaves one sample a plane, not {value}"
            raise UsageError(message, hint="avgpool:k=SIZE,s=STRIDE for more, globalpool for one", position=at)
        return super().read(name, value, n_axes, at)

    def sizes(self, sizes: Shape) -> tuple[tuple[Pair, ...], Shape, Shape]:
        padding, _, unused = super().sizes(sizes)
        return padding, (1,) * self.n_axes, unused

    def step(self, axis: int, size: int, pad: int) -> Step:
        return Step("down", size, size)

    def run(self, row: Row, inputs: Sequence[Any], numbers: Numbers, how: Mapping[str, Any]) -> Any:
        import numpy as np

        pool = np.max if self.mode == "max" else np.mean
        return pool(inputs[0], axis=tuple(range(1, inputs[0].ndim)), keepdims=True)

    def size_formula(self, row: Row, axis: int) -> Iterator[str]:
        yield f"1 (one window over {row.input[1 + axis]})"
