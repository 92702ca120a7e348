"""Poolings: the largest or the mean sample of each window, or of each whole plane."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

from convcli.errors import GeometryError
from convcli.geometry.arithmetic import Pair, pool_output_px, window_px
from convcli.geometry.receptive import Step
from convcli.layers.kinds.conv import Windowed
from convcli.layers.layer import Layer, Node, Numbers, Row, Shape


class MaxPool(Windowed):
    """Largest sample of each window, as ``torch.nn.MaxPool2d``."""

    __slots__ = ()
    kind = "maxpool"
    aliases: ClassVar[tuple[str, ...]] = ("max",)
    bare = "kernel_size"
    parameters: ClassVar[tuple[str, ...]] = ("stride", "padding", "dilation", "ceil_mode")
    needed = ("kernel_size",)
    example = "maxpool:2 or maxpool:k=3,s=2,p=1"
    onnx: ClassVar[tuple[str, ...]] = ("MaxPool",)

    @classmethod
    def build(cls, fields: dict[str, Any], n_axes: int) -> Layer:
        """Return the layer; the stride is the kernel's size unless given otherwise."""
        return super().build({"stride": fields["kernel_size"]} | fields, n_axes)

    @classmethod
    def from_onnx(cls, node: Node) -> dict[str, object] | None:
        """Return the window of a pooling node."""
        kernel = list(node.attributes["kernel_shape"])
        if len(kernel) != node.n_axes:
            return None
        window = cls.window_from_onnx(node)
        return window | {"kernel_size": kernel, "ceil_mode": node.attributes.get("ceil_mode", 0)}

    def length(self, axis: int, size: int, pads: Pair) -> int:
        """Return the output length; refuse padding over half the kernel, as torch does: a window could lie in it."""
        kernel, before, after = self.kernel_size[axis], *pads
        if max(pads) > kernel // 2:
            raise GeometryError(
                f"padding {max(pads)} is more than half of the pooling kernel {kernel}",
                hint=f"a padding of at most {kernel // 2}, or a pad layer before it",
                kernel_px=kernel,
                pad_px=max(pads),
            )
        return pool_output_px(
            size,
            kernel,
            stride=self.stride[axis],
            dilation=self.dilation[axis],
            pad_before_px=before,
            pad_after_px=after,
            ceil_mode=self.ceil_mode,
        )

    def run(self, row: Row, inputs: Sequence[Any], numbers: Numbers, how: Mapping[str, Any]) -> Any:
        """Return the pooled planes by the engine; unequal padding is added before."""
        import numpy as np

        import convcli.engine as functions

        pool = getattr(functions, f"max_pool{self.n_axes}d")
        if all(before == after for before, after in row.padding):
            pads = tuple(before for before, _ in row.padding)
            return pool(inputs[0], self.kernel_size, self.stride, pads, self.dilation, self.ceil_mode)
        padded = np.pad(inputs[0], self.reached(row), constant_values=-np.inf)
        return pool(padded[self.cut(row)], self.kernel_size, self.stride, 0, self.dilation)

    def reached(self, row: Row) -> list[Pair]:
        """Return the padding per array axis that the windows reach, including what ``ceil_mode`` hangs over the end."""
        pads = [(0, 0)]
        for (before, _), size, end in zip(row.padding, row.input[1:], self.ends(row), strict=True):
            pads.append((before, max(end - before - size, 0)))
        return pads

    def cut(self, row: Row) -> tuple[slice, ...]:
        """Return the part of the padded planes that the windows reach."""
        return (slice(None), *(slice(end) for end in self.ends(row)))

    def ends(self, row: Row) -> list[int]:
        """Return where the last window ends along each axis of the padded planes."""
        windows = map(window_px, self.kernel_size, self.dilation)
        counts = zip(row.output[1:], self.stride, windows, strict=True)
        return [(length - 1) * stride + window for length, stride, window in counts]

    def length_formula(self, row: Row, axis: int) -> str:
        """Return the output length; ``ceil_mode`` rounds up, and torch drops a window that starts after the input."""
        if not self.ceil_mode:
            return super().length_formula(row, axis)
        up = super().length_formula(row, axis).replace("⌊", "⌈").replace("⌋", "⌉")
        return up + (" - 1" if self._is_dropped(row, axis) else "")

    def _is_dropped(self, row: Row, axis: int) -> bool:
        size = row.input[1 + axis] + sum(row.padding[axis]) - window_px(self.kernel_size[axis], self.dilation[axis])
        return self.ceil_mode and -(-size // self.stride[axis]) + 1 > row.output[1 + axis]

    def size_formula(self, row: Row, axis: int) -> Iterator[str]:
        """Yield the output length, and the window that ``ceil_mode`` does not add."""
        yield from super().size_formula(row, axis)
        if self._is_dropped(row, axis):
            start = f"{row.output[1 + axis]}·{self.stride[axis]}"
            end = f"{row.input[1 + axis]} + {row.padding[axis][0]}"
            yield f"(the window at {start} would start after {end}: dropped)"


class AvgPool(MaxPool):
    """Mean of each window, as ``torch.nn.AvgPool2d``."""

    __slots__ = ()
    kind = "avgpool"
    aliases = ("avg", "averagepool")
    parameters = ("stride", "padding", "ceil_mode", "count_include_pad")
    example = "avgpool:2 or avgpool:k=3,s=2,p=1"
    onnx = ("AveragePool",)

    @classmethod
    def from_onnx(cls, node: Node) -> dict[str, object] | None:
        """Return the window of a pooling node without dilation."""
        values = super().from_onnx(node)
        if values is None or values.pop("dilation") != [1] * node.n_axes:
            return None
        return values | {"count_include_pad": node.attributes.get("count_include_pad", 0)}

    def length(self, axis: int, size: int, pads: Pair) -> int:
        """Return the output length; refuse a kernel larger than the input in 3-D, as torch's avg_pool3d does."""
        kernel = self.kernel_size[axis]
        if self.n_axes == 3 and kernel > size:
            raise GeometryError(
                f"kernel {kernel} is larger than the {size} px before padding, which torch's avg_pool3d refuses",
                hint="a pad layer before it",
                kernel_px=kernel,
                input_px=size,
            )
        return super().length(axis, size, pads)

    def run(self, row: Row, inputs: Sequence[Any], numbers: Numbers, how: Mapping[str, Any]) -> Any:
        """Return the pooled planes by the engine; unequal padding is added before.

        The mean is over the window's pixels; with ``count_include_pad`` the padding counts too, but never the part of
        a window that hangs over the padding's end (``ceil_mode``).
        """
        import numpy as np

        import convcli.engine as functions

        pool = getattr(functions, f"avg_pool{self.n_axes}d")
        window = (self.kernel_size, self.stride)
        if all(before == after for before, after in row.padding):
            pads = tuple(before for before, _ in row.padding)
            return pool(inputs[0], *window, pads, self.ceil_mode, self.count_include_pad)
        counted = np.ones((1, *row.input[1:]), inputs[0].dtype)
        if self.count_include_pad:
            counted = np.pad(counted, [(0, 0), *row.padding], constant_values=1)
            beyond = zip(self.reached(row)[1:], row.padding, strict=True)
            counted = np.pad(counted, [(0, 0), *((0, max(end - after, 0)) for (_, end), (_, after) in beyond)])
        else:
            counted = np.pad(counted, self.reached(row))
        total = pool(np.pad(inputs[0], self.reached(row))[self.cut(row)], *window)
        return np.asarray(total / pool(counted[self.cut(row)], *window))


class GlobalPool(Layer):
    """Mean or largest sample of each plane, as ``torch.nn.AdaptiveAvgPool2d(1)``."""

    __slots__ = ()
    kind = "globalpool"
    aliases = ("globalavgpool", "adaptiveavgpool")
    bare = "mode"
    modes = ("avg", "max")
    onnx = ("GlobalAveragePool", "GlobalMaxPool", "ReduceMean")

    @classmethod
    def from_onnx(cls, node: Node) -> dict[str, object] | None:
        """Return the mode; ReduceMean only if it is over all axes but batch and channels."""
        if node.op == "ReduceMean":
            n_all = node.n_axes + 2
            axes = sorted(int(axis) % n_all for axis in node.attributes.get("axes") or node.constant(1))
            if axes != list(range(2, n_all)) or not node.attributes.get("keepdims", 1):
                return None
        return {"mode": "max" if node.op == "GlobalMaxPool" else "avg"}

    def sizes(self, sizes: Shape) -> tuple[tuple[Pair, ...], Shape, Shape]:
        """Return one pixel per axis."""
        padding, _, unused = super().sizes(sizes)
        return padding, (1,) * self.n_axes, unused

    def step(self, axis: int, size: int, pad: int) -> Step:
        """Return one window over the whole axis."""
        return Step("down", size, size)

    def run(self, row: Row, inputs: Sequence[Any], numbers: Numbers, how: Mapping[str, Any]) -> Any:
        """Return one value per plane."""
        import numpy as np

        pool = np.max if self.mode == "max" else np.mean
        return pool(inputs[0], axis=tuple(range(1, inputs[0].ndim)), keepdims=True)

    def size_formula(self, row: Row, axis: int) -> Iterator[str]:
        """Yield the output length."""
        yield f"1 (one window over {row.input[1 + axis]})"
