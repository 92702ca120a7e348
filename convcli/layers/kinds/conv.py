"""Convolutions, and the window that they share with poolings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from math import prod
from typing import Any, ClassVar

from convcli.errors import GeometryError, KernelError, UsageError
from convcli.geometry.arithmetic import (
    PADDING_MODES,
    Pair,
    Step,
    axis_name,
    check_groups,
    conv_output_px,
    parse_count,
    resolve_padding,
    unused_input_px,
)
from convcli.geometry.sizes import parse_number, parse_switch
from convcli.geometry.transposed import conv_transpose_output_px, resolve_transpose_padding
from convcli.layers.layer import NOWHERE, Layer, Numbers, Positions, Row, Shape, Values

_WINDOW = ("kernel_size", "stride", "padding", "dilation")
_WEIGHTS = ("weight", "bias_from", "init", "seed")


def read_bias(value: object, at: int = 0) -> bool | tuple[float, ...]:
    """Return whether there is a bias, or its numbers.

    Examples
    --------
    >>> read_bias("0.5"), read_bias([1, 2]), read_bias("false")
    ((0.5,), (1.0, 2.0), False)
    """
    text = str(value).strip().lower()
    if text == "1" and not isinstance(value, bool):
        hint = "bias=1.0 adds 1, bias=true is drawn or stored"
        raise UsageError("bias 1 is the number or the switch", hint=hint, position=at)
    if text == "0" or not re.match(r"[-+.\d\[(]", text):
        return parse_switch(text, "bias", at=at)
    # Brackets keep the commas of a list together in a text.
    return tuple(parse_number(each.strip(), "bias", at=at) for each in text.strip("[]()").split(","))


class Windowed(Layer):
    """A layer that slides a window along every axis."""

    has_window = True

    @classmethod
    def build(cls, fields: dict[str, Any], n_axes: int) -> Layer:
        """Return the layer; the window moves by 1 and is not padded unless given otherwise."""
        ones, none = (1,) * n_axes, ((0, 0),) * n_axes
        defaults = {"stride": ones, "dilation": ones, "padding": none, "output_padding": (0,) * n_axes}
        return super().build(defaults | fields, n_axes)

    def resolve(self, sizes: Shape) -> tuple[Pair, ...]:
        """Return the padding in pixels."""
        return resolve_padding(self.padding, sizes, self.kernel_size, self.stride, self.dilation)

    def length(self, axis: int, size: int, pads: Pair) -> int:
        """Return the output length along one axis."""
        raise NotImplementedError

    def sizes(self, sizes: Shape) -> tuple[tuple[Pair, ...], Shape, Shape]:
        """Return (resolved padding, output sizes, unused input); errors carry ``axis``."""
        padding, lengths, unused = self.resolve(sizes), [], []
        for axis, size in enumerate(sizes):
            try:
                length = self.length(axis, size, padding[axis])
            except GeometryError as error:
                where = axis_name(axis, self.n_axes)
                raise GeometryError(f"{where}: {error.message}", hint=error.hint, axis=axis, **error.facts) from None
            how, kernel, stride, dilation, before = self.step(axis, size, padding[axis][0])
            window = {"stride": stride, "dilation": dilation, "pad_before_px": before, "output_px": length}
            unused.append(0 if how == "up" else unused_input_px(size, kernel, **window))
            lengths.append(length)
        return padding, tuple(lengths), tuple(unused)

    def step(self, axis: int, size: int, pad: int) -> Step:
        return Step("down", self.kernel_size[axis], self.stride[axis], self.dilation[axis], pad)

    def window_formula(self, axis: int) -> str:
        """Return the pixels that the window covers."""
        return f"({self.dilation[axis]}·({self.kernel_size[axis]} - 1) + 1)"

    def same_formula(self, size: int, axis: int) -> str:
        """Return the sum of both paddings for ``same``."""
        stride = self.stride[axis]
        return f"max((⌈{size} / {stride}⌉ - 1)·{stride} + {self.window_formula(axis)} - {size}, 0)"

    def length_formula(self, row: Row, axis: int) -> str:
        """Return the output length."""
        before, after = row.padding[axis]
        size, window = row.input[1 + axis], self.window_formula(axis)
        return f"⌊({size} + {before} + {after} - {window}) / {self.stride[axis]}⌋ + 1"

    def size_formula(self, row: Row, axis: int) -> Iterator[str]:
        """Yield how ``same`` became pixels, and the output length."""
        before, after = row.padding[axis]
        if self.padding in ("same", "same_lower"):
            total = f"{self.same_formula(row.input[1 + axis], axis)} = {before + after}"
            yield f"{self.padding}: padding {total}, {before} before and {after} after"
        yield f"{self.length_formula(row, axis)} = {row.output[1 + axis]}"


class Conv(Windowed):
    """Convolution, as ``torch.nn.Conv2d``."""

    kind = "conv"
    aliases: ClassVar[tuple[str, ...]] = ("convolution", "grouped")
    bare = "out_channels"
    parameters: ClassVar[tuple[str, ...]] = (*_WINDOW, "groups", "bias", "padding_mode", "in_channels", *_WEIGHTS)
    needed: ClassVar[tuple[str, ...]] = ("out_channels", "kernel_size")
    example = "conv:64,k=3,p=1 is 64 maps of a 3×3 kernel"
    is_transposed: ClassVar[bool] = False

    @classmethod
    def make(cls, values: Values, n_axes: int = 2, label: str = "", at: Positions = NOWHERE) -> tuple[Layer, ...]:
        """Return the layer; a ``weight`` says what is not given of maps, kernel and bias."""
        make = partial(super().make, n_axes=n_axes, label=label, at=at)
        if "weight" not in values or all(name in values for name in ("kernel_size", *cls.needed)):
            return make(values)
        from convcli.layers.sources import layer_of_weight

        cls.check_known(values, at)
        return (layer_of_weight(cls, make, values, n_axes),)

    @classmethod
    def read(cls, name: str, value: object, n_axes: int, at: int) -> object:
        """Return one parameter; ``groups=auto`` is 0: one group per channel, in which a bank's kernels are repeated."""
        if name == "groups" and str(value).strip().lower() == "auto":
            return 0
        if name == "bias":
            return read_bias(value, at)
        if name == "padding_mode" and (value not in PADDING_MODES or value == "constant"):
            from convcli.engine.borders import parse_border  # NumPy: for other libraries' words, numbers and mistakes

            parse_border(str(value), at=at)
        if name == "seed":
            return parse_count(str(value), name, minimum=0, at=at)
        return super().read(name, value, n_axes, at)

    @classmethod
    def build(cls, fields: dict[str, Any], n_axes: int) -> Layer:
        """Return the layer; numbers of a bias and the seed become sources of numbers."""
        if isinstance(fields.get("bias"), tuple):
            fields = fields | {"bias": True, "bias_values": fields["bias"]}
        if "padding_mode" in fields:
            fields["mode"] = fields.pop("padding_mode")
        if "seed" in fields:
            init = dict(fields.get("init", {"kind": "default"}))
            fields["init"] = tuple(sorted({**init, "seed": fields.pop("seed")}.items()))
        return super().build(fields, n_axes)

    def channels(self, shapes: Sequence[Shape]) -> tuple[int, int]:
        n_channels = shapes[0][0]
        self.check_in(n_channels)
        n_maps, groups = self.out_channels or n_channels * self.multiplier, self.groups or n_channels
        if not self.groups and n_maps % n_channels:
            message = f"{n_maps} kernels of one channel each do not divide among {n_channels} channels"
            hint = f"a depthwise layer has a multiple of {n_channels}"
            raise GeometryError(message, hint=hint, in_channels=n_channels)
        check_groups(n_channels, n_maps, groups)
        return n_maps, groups

    def length(self, axis: int, size: int, pads: Pair) -> int:
        stride, dilation = self.stride[axis], self.dilation[axis]
        return conv_output_px(size, self.kernel_size[axis], stride=stride, dilation=dilation, pad_px=sum(pads))

    def counts(self, before: Shape, after: Shape, groups: int) -> tuple[int, int, int]:
        """Return parameters, MACs at every position of the output (transposed: of the input), and bias additions."""
        weights = after[0] * before[0] // groups * prod(self.kernel_size)
        # Every input sample of a transposed convolution meets every tap, also where padding cuts the result.
        macs = weights * prod((before if self.is_transposed else after)[1:])
        return (weights + after[0], macs, prod(after)) if self.bias else (weights, macs, 0)

    def weight_shape(self, row: Row) -> Shape:
        """Return the shape of the weight in torch's layout."""
        first, second = (row.input[0], row.output[0]) if self.is_transposed else (row.output[0], row.input[0])
        return (first, second // row.groups, *self.kernel_size)

    def load(self, row: Row, sources: Any) -> Numbers:
        """Return weight and bias from a bank, a checkpoint or an initialiser."""
        import numpy as np

        given, wanted = dict(self.weights), self.weight_shape(row)
        for one, other in (("weight", "init"), ("bias_from", "bias_values")):
            if one in given and other in given:
                what = f"has both {one} and {other.removesuffix('_values')}"
                raise UsageError(what, hint="one source of numbers a layer")
        bias: Any = np.zeros(row.output[0])
        # Repeating a bank per channel needs groups=auto; other groups take weights as they are.
        copies = row.groups if self.groups == 0 else int(self.groups == 1)
        if "weight" in given:
            spec, is_transposed = str(given["weight"]), self.is_transposed
            weight, bias = sources.kernel(spec, wanted, copies, with_bias=self.bias, is_transposed=is_transposed)
        else:
            weight, drawn = sources.initial()
            weight, bias = np.asarray(weight, np.float64), bias if drawn is None else drawn
        if not self.bias:
            return Numbers(weight)
        bias = given.get("bias_values", sources.tensor(str(given["bias_from"])) if "bias_from" in given else bias)
        if bias is None:
            what = f"has a bias, and {given['weight']!r} brings none"
            raise KernelError(what, hint="bias = false, or bias_from = 'file#entry'")
        bias = np.asarray(bias, np.float64).reshape(-1)
        # Numbers in the text: one for all maps, or one a kernel, which stands at map c*K + k.
        if "bias_values" in given and len(bias) in (1, row.output[0] // max(copies, 1)):
            bias = np.tile(bias, row.output[0] // len(bias))
        if len(bias) != row.output[0]:
            raise KernelError(f"the bias has {len(bias)} numbers for {row.output[0]} maps")
        return Numbers(weight, bias)

    def run(self, row: Row, inputs: Sequence[Any], numbers: Numbers, how: Mapping[str, Any]) -> Any:
        import convcli.engine as functions

        kind = "conv_transpose" if self.is_transposed else "conv"
        own = {"output_padding": self.output_padding} if self.is_transposed else {"padding_mode": self.mode or "zeros"}
        # Numbers are loaded in float64; a torch module of the planes' type would hold rounded ones.
        weight, bias = (None if each is None else each.astype(inputs[0].dtype) for each in numbers)
        window = {"stride": self.stride, "padding": row.padding, "dilation": self.dilation, "groups": row.groups}
        return getattr(functions, f"{kind}{self.n_axes}d")(inputs[0], weight, bias, **window, **own, **how)

    def count_formula(self, row: Row, parts: Sequence[int]) -> Iterator[tuple[str, str]]:
        n_in, n_out = row.input[0], row.output[0]
        taps = "·".join(map(str, self.kernel_size))
        bias = f" + {n_out}" if self.bias else ""
        yield "parameters", f"{n_out}·({n_in} / {row.groups})·{taps}{bias} = {row.parameters:,}"
        places, channels = (row.input, n_out) if self.is_transposed else (row.output, n_in)
        counted = " (counted on the input)" if self.is_transposed else ""
        yield "macs", f"{'·'.join(map(str, places))}·({channels} / {row.groups})·{taps} = {row.macs:,}{counted}"
        if bias:
            yield "bias adds", f"{'·'.join(map(str, row.output))} = {row.bias_adds:,}"


class Depthwise(Conv):
    """A convolution of each channel by itself: ``conv`` with one group per channel."""

    kind = "depthwise"
    aliases = ("dw",)
    bare = "multiplier"
    parameters = (*_WINDOW, "bias", "padding_mode", *_WEIGHTS)
    needed = ("kernel_size",)
    example = "depthwise:k=3,p=1"

    @classmethod
    def build(cls, fields: dict[str, Any], n_axes: int) -> Layer:
        """Return the convolution."""
        return Conv.build(fields | {"groups": 0}, n_axes)


class Pointwise(Conv):
    """A convolution with kernel size 1."""

    kind = "pointwise"
    aliases = ("pw",)
    parameters = ("stride", "groups", "bias", *_WEIGHTS)
    needed = ("out_channels",)
    example = "pointwise:64"
    has_window = False

    @classmethod
    def build(cls, fields: dict[str, Any], n_axes: int) -> Layer:
        """Return the convolution."""
        return Conv.build(fields | {"kernel_size": (1,) * n_axes}, n_axes)


class ConvTranspose(Conv):
    """Transposed convolution, as ``torch.nn.ConvTranspose2d``; MACs are counted on the input."""

    kind = "convtranspose"
    aliases = ("transposed", "deconv", "tconv")
    parameters = (*_WINDOW, "groups", "bias", "output_padding", "in_channels", *_WEIGHTS)
    example = "convtranspose:32,k=4,s=2,p=1"
    is_transposed = True

    def resolve(self, sizes: Shape) -> tuple[Pair, ...]:
        window = (self.kernel_size, self.stride, self.dilation, self.output_padding)
        return resolve_transpose_padding(self.padding, sizes, *window)

    def length(self, axis: int, size: int, pads: Pair) -> int:
        more = {"stride": self.stride[axis], "dilation": self.dilation[axis], "pad_px": sum(pads)}
        kernel, extra = self.kernel_size[axis], self.output_padding[axis]
        return conv_transpose_output_px(size, kernel, output_padding=extra, **more)

    def step(self, axis: int, size: int, pad: int) -> Step:
        return super().step(axis, size, pad)._replace(how="up")

    def same_formula(self, size: int, axis: int) -> str:
        return f"{self.window_formula(axis)} + {self.output_padding[axis]} - {self.stride[axis]}"

    def length_formula(self, row: Row, axis: int) -> str:
        before, after = row.padding[axis]
        shorter = f"({row.input[1 + axis]} - 1)·{self.stride[axis]} - {before} - {after}"
        return f"{shorter} + {self.window_formula(axis)} + {self.output_padding[axis]}"
