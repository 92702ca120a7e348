"""A sequence of layers and the shapes it makes: every number that ``convcli shape`` prints.

``walk`` binds layers to an input's shape: output sizes, resolved padding, parameters, multiply-accumulates, receptive
field, bytes, and what of the input no window reaches. Integers only; nothing is read and nothing runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from convcli.errors import ConvcliError, GeometryError, UsageError, near_names
from convcli.geometry import (
    Pair,
    check_groups,
    conv_output_px,
    conv_transpose_output_px,
    pool_output_px,
    resolve_padding,
    resolve_transpose_padding,
    unused_input_px,
)
from convcli.layers import JOINS, WINDOWED, Layer
from convcli.receptive import Node, Step, receptive_fields

if TYPE_CHECKING:
    from convcli.receptive import Number

#: Bytes of one activation: float32.
SAMPLE_BYTES = 4

Shape = tuple[int, ...]


class LayerShape(NamedTuple):
    """One layer, bound to its input: a row of the table.

    ``macs`` are the multiply-accumulates of the weights at every position, those on padding included, as the loops of
    a literal implementation run; ``bias_adds`` are apart. Only convolutions have any: a batch norm folds into the
    convolution before it. Sizes along axes are tuples, rows before columns; ``unused`` is (rows, columns) of the input
    that the last window does not reach.
    """

    layer: Layer
    sources: tuple[int, ...]
    input: Shape
    output: Shape
    padding: tuple[Pair, ...]
    groups: int
    parameters: int
    macs: int
    bias_adds: int
    unused: tuple[int, ...]
    receptive_field: tuple[int, ...] = ()
    jump: tuple[object, ...] = ()
    start: tuple[object, ...] = ()

    @property
    def flops(self) -> int:
        """Floating-point operations of the weights: two per multiply-accumulate."""
        return 2 * self.macs

    @property
    def activation_bytes(self) -> int:
        """Bytes of the output as float32."""
        return SAMPLE_BYTES * prod(self.output)

    @property
    def is_aligned(self) -> bool:
        """Whether fields are centred on input pixels, and not between two."""
        return all(2 * start % 2 == 1 for start in self.start)  # type: ignore[operator]


class StackShape(NamedTuple):
    """A whole stack, bound to its input: rows and totals."""

    input: Shape
    rows: tuple[LayerShape, ...]
    peak_bytes: int

    @property
    def output(self) -> Shape:
        """Shape of the last layer's output."""
        return self.rows[-1].output if self.rows else self.input

    @property
    def parameters(self) -> int:
        """Trainable numbers of all layers."""
        return sum(row.parameters for row in self.rows)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of all layers."""
        return sum(row.macs for row in self.rows)

    @property
    def bias_adds(self) -> int:
        """Additions of a bias, in all layers."""
        return sum(row.bias_adds for row in self.rows)

    @property
    def activation_bytes(self) -> int:
        """Bytes of all outputs together, as float32."""
        return sum(row.activation_bytes for row in self.rows)


def walk(layers: Sequence[Layer], input_shape: Shape) -> StackShape:
    """Return every shape and count of a stack for one input.

    Parameters
    ----------
    layers : sequence of Layer
        In the order in which they run.
    input_shape : tuple of int
        Channels, then rows and columns (or one length, or depth, rows and columns); each at least 1.

    Returns
    -------
    StackShape
        One row per layer.

    Raises
    ------
    GeometryError
        A window does not fit, groups do not divide, or joined shapes differ; says which layer.
    UsageError
        A layer takes its input from a name that no layer before it has.

    Examples
    --------
    >>> from convcli.layer_text import parse_layers
    >>> stem = walk([*parse_layers("conv:64,k=7,s=2,p=3"), *parse_layers("maxpool:k=3,s=2,p=1")], (3, 304, 228))
    >>> [row.output for row in stem.rows], stem.parameters
    ([(64, 152, 114), (64, 76, 57)], 9472)
    """
    names = {"input": -1}
    rows: list[LayerShape] = []
    for index, layer in enumerate(layers):
        try:
            rows.append(_bind(layer, index, names, rows, input_shape))
        except ConvcliError as error:
            raise error.within(f"layer {index + 1} ({layer.label})") from None
        if layer.name:
            names[layer.name] = index
    _add_fields(rows, len(input_shape) - 1)
    return StackShape(input_shape, tuple(rows), _peak_bytes(rows, input_shape))


def _bind(layer: Layer, index: int, names: dict[str, int], rows: list[LayerShape], input_shape: Shape) -> LayerShape:
    """Return the row of one layer, without its receptive field."""
    for name in layer.inputs:
        if name not in names:
            hint = near_names(name, names) or f"names so far: {', '.join(names)}"
            raise UsageError(f"takes its input from {name!r}, which no layer before it is called", hint=hint)
    sources = tuple(names[name] for name in layer.inputs) or (index - 1,)
    shapes = [rows[source].output if source >= 0 else input_shape for source in sources]
    if len(shapes[0]) - 1 != layer.n_axes:
        raise GeometryError(f"is for {layer.n_axes} axes, and its input has {len(shapes[0]) - 1}")
    n_channels, *sizes = shapes[0]
    out_channels, groups = _channels(layer, shapes)
    padding, size, unused = _sizes(layer, tuple(sizes))
    output = (out_channels, *size)
    parameters = macs = bias_adds = 0
    if layer.kind in ("conv", "convtranspose"):
        check_groups(n_channels, out_channels, groups)
        taps = prod(layer.kernel_size)
        weights = out_channels * n_channels // groups * taps
        parameters = weights + (out_channels if layer.bias else 0)
        macs = weights * prod(size if layer.kind == "conv" else sizes)
        bias_adds = prod(output) if layer.bias else 0
    elif layer.kind == "batchnorm":
        parameters = 2 * n_channels
    return LayerShape(layer, sources, shapes[0], output, padding, groups, parameters, macs, bias_adds, unused)


def _channels(layer: Layer, shapes: list[Shape]) -> tuple[int, int]:
    """Return (output channels, groups) of a layer for these inputs."""
    n_channels = shapes[0][0]
    if layer.kind in JOINS:
        same = slice(1, None) if layer.kind == "concat" else slice(None)
        for shape in shapes:
            if shape[same] != shapes[0][same]:
                written = " and ".join("x".join(map(str, each)) for each in shapes)
                raise GeometryError(f"cannot {layer.kind} {written}", hint="pad, pool or stride one of them to match")
        return (sum(shape[0] for shape in shapes) if layer.kind == "concat" else n_channels), 1
    if layer.kind in ("conv", "convtranspose"):
        if layer.groups == 0:
            return n_channels * layer.multiplier, n_channels
        return layer.out_channels, layer.groups
    if layer.kind == "combine":
        if n_channels % layer.members:
            raise GeometryError(f"cannot combine {n_channels} channels in sets of {layer.members}")
        return n_channels // layer.members, 1
    if layer.kind == "shuffle":
        check_groups(n_channels, n_channels, layer.groups)
        return n_channels, layer.groups
    return n_channels, 1


def _sizes(layer: Layer, sizes: Shape) -> tuple[tuple[Pair, ...], Shape, Shape]:
    """Return (resolved padding, output sizes, unused input) of a layer along its axes."""
    none = ((0, 0),) * layer.n_axes
    nothing = (0,) * layer.n_axes
    if layer.kind == "pad":
        padding = resolve_padding(layer.padding, sizes, nothing, nothing, nothing)
        return padding, tuple(size + sum(pair) for size, pair in zip(sizes, padding, strict=True)), nothing
    if layer.kind == "upsample":
        return none, tuple(size * factor for size, factor in zip(sizes, layer.scale_factor, strict=True)), nothing
    if layer.kind == "globalpool":
        return none, (1,) * layer.n_axes, nothing
    if layer.kind == "convtranspose":
        return _transposed_sizes(layer, sizes)
    if layer.kind not in WINDOWED:
        return none, sizes, nothing
    padding = resolve_padding(layer.padding, sizes, layer.kernel_size, layer.stride, layer.dilation)
    output, unused = [], []
    for axis, (size, kernel, stride, dilation, (before, after)) in enumerate(
        zip(sizes, layer.kernel_size, layer.stride, layer.dilation, padding, strict=True)
    ):
        with_axis = axis_name(axis, layer.n_axes)
        try:
            if layer.kind == "conv":
                length = conv_output_px(size, kernel, stride=stride, dilation=dilation, pad_px=before + after)
            else:
                _check_pool(layer, size, kernel, before, after)
                length = pool_output_px(
                    size,
                    kernel,
                    stride=stride,
                    dilation=dilation,
                    pad_before_px=before,
                    pad_after_px=after,
                    ceil_mode=layer.ceil_mode,
                )
        except GeometryError as error:
            raise GeometryError(f"{with_axis}: {error.message}", hint=error.hint, axis=axis, **error.facts) from None
        output.append(length)
        unused.append(
            unused_input_px(size, kernel, stride=stride, dilation=dilation, pad_before_px=before, output_px=length)
        )
    return padding, tuple(output), tuple(unused)


def _check_pool(layer: Layer, size: int, kernel: int, before: int, after: int) -> None:
    """Raise where torch's pooling does: padding over half the kernel, in which a window could lie alone.

    Its avg_pool3d also refuses a kernel larger than the input without padding; so a shape that torch could not
    make is not promised here either.
    """
    if layer.kind == "avgpool" and layer.n_axes == 3 and kernel > size:
        raise GeometryError(
            f"kernel {kernel} is larger than the {size} px before padding, which torch's avg_pool3d refuses",
            hint="a pad layer before it",
            kernel_px=kernel,
            input_px=size,
        )
    if max(before, after) > kernel // 2:
        raise GeometryError(
            f"padding {max(before, after)} is more than half of the pooling kernel {kernel}",
            hint=f"a padding of at most {kernel // 2}, or a pad layer before it",
            kernel_px=kernel,
            pad_px=max(before, after),
        )


def _transposed_sizes(layer: Layer, sizes: Shape) -> tuple[tuple[Pair, ...], Shape, Shape]:
    """Return (resolved padding, output sizes, unused input) of a transposed convolution."""
    padding = resolve_transpose_padding(
        layer.padding, sizes, layer.kernel_size, layer.stride, layer.dilation, layer.output_padding
    )
    output = []
    for axis, (size, kernel, stride, dilation, pair, extra) in enumerate(
        zip(sizes, layer.kernel_size, layer.stride, layer.dilation, padding, layer.output_padding, strict=True)
    ):
        try:
            output.append(
                conv_transpose_output_px(
                    size, kernel, stride=stride, dilation=dilation, pad_px=sum(pair), output_padding=extra
                )
            )
        except GeometryError as error:
            where = axis_name(axis, layer.n_axes)
            raise GeometryError(f"{where}: {error.message}", hint=error.hint, axis=axis, **error.facts) from None
    return padding, tuple(output), (0,) * layer.n_axes


def axis_name(axis: int, n_axes: int) -> str:
    """Return what an axis is called: ``rows`` and ``columns`` of a picture.

    Examples
    --------
    >>> axis_name(0, 2), axis_name(2, 3), axis_name(0, 1)
    ('rows', 'columns', 'length')
    """
    return "length" if n_axes == 1 else ("depth", "rows", "columns")[3 - n_axes + axis]


def _add_fields(rows: list[LayerShape], n_axes: int) -> None:
    """Fill in receptive field, jump and start of every row."""
    per_axis = []
    for axis in range(n_axes):
        nodes = [Node(row.sources, _step(row, axis)) for row in rows]
        per_axis.append(receptive_fields(nodes))
    for index, row in enumerate(rows):
        fields = [axis_fields[index] for axis_fields in per_axis]
        rows[index] = row._replace(
            receptive_field=tuple(field.size for field in fields),
            jump=tuple(field.jump for field in fields),
            start=tuple(_half(field.start2) for field in fields),
        )


def _half(twice: Number) -> Number | float:
    """Return half of a number, exactly, without importing fractions for the half of an odd one."""
    return twice / 2 if not isinstance(twice, int) or twice % 2 else twice // 2


def _step(row: LayerShape, axis: int) -> Step:
    """Return what a layer does along one axis."""
    layer = row.layer
    if layer.kind in (*WINDOWED, "convtranspose"):
        how = "up" if layer.kind == "convtranspose" else "down"
        return Step(how, layer.kernel_size[axis], layer.stride[axis], layer.dilation[axis], row.padding[axis][0])
    if layer.kind == "globalpool":
        return Step("down", row.input[1 + axis], row.input[1 + axis])
    if layer.kind == "pad":
        return Step("down", pad=row.padding[axis][0])
    if layer.kind == "upsample":
        factor = layer.scale_factor[axis]
        return Step("up" if layer.mode == "nearest" else "linear", factor, factor)
    return Step()


def _peak_bytes(rows: list[LayerShape], input_shape: Shape) -> int:
    """Return the most bytes alive at once when each layer keeps its input until its output is whole."""
    last_use = {source: index for index, row in enumerate(rows) for source in row.sources}
    alive = {-1: SAMPLE_BYTES * prod(input_shape)}
    peak = alive[-1]
    for index, row in enumerate(rows):
        alive[index] = row.activation_bytes
        peak = max(peak, sum(alive.values()))
        alive = {node: size for node, size in alive.items() if last_use.get(node, -2) > index or node == index}
    return peak
