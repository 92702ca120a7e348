"""A sequence of layers and the shapes it makes: every number that ``convcli shape`` prints.

``walk`` binds layers to an input's shape: output sizes, resolved padding, parameters, multiply-accumulates, receptive
field, bytes, and what of the input no window reaches. Integers only; nothing is read and nothing runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from convcli.errors import ConvcliError, GeometryError, UsageError, near_names
from convcli.geometry.arithmetic import Pair, check_groups
from convcli.geometry.receptive import Field, Node, Step, receptive_fields
from convcli.layers.layer import WINDOWED, Layer
from convcli.layers.sizes import Shape, layer_channels, layer_sizes

if TYPE_CHECKING:
    from convcli.geometry.receptive import Number

#: Bytes of one activation: float32.
SAMPLE_BYTES = 4


class LayerShape(NamedTuple):
    """One layer, bound to its input: a row of the table.

    ``macs`` are the multiply-accumulates of the weights at every position, those on padding included, as the loops of
    a literal implementation run; ``bias_adds`` are apart. Only convolutions have any: a batch norm folds into the
    convolution before it. Sizes along axes are tuples, rows before columns; ``unused`` is (rows, columns) of the input
    that the last window does not reach. ``is_exact_field`` is false where the receptive field is an upper bound.
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
    jump: tuple[Number, ...] = ()
    start: tuple[Number | float, ...] = ()
    is_exact_field: bool = True

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
        return all(2 * start % 2 == 1 for start in self.start)


class StackShape(NamedTuple):
    """A whole stack, bound to its input: rows and totals."""

    input: Shape
    rows: tuple[LayerShape, ...]
    peak_bytes: int
    extra_notes: tuple[str, ...] = ()

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
    >>> from convcli.layers.text import parse_layers
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
    out_channels, groups = layer_channels(layer, shapes)
    padding, size, unused = layer_sizes(layer, tuple(sizes))
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


def _add_fields(rows: list[LayerShape], n_axes: int) -> None:
    """Fill in receptive field, jump and start of every row."""
    per_axis: list[list[Field]] = []
    seen: list[list[Node]] = []
    for axis in range(n_axes):
        nodes = [Node(row.sources, _step(row, axis)) for row in rows]
        per_axis.append(per_axis[seen.index(nodes)] if nodes in seen else receptive_fields(nodes))
        seen.append(nodes)
    for index, row in enumerate(rows):
        fields = [axis_fields[index] for axis_fields in per_axis]
        rows[index] = row._replace(
            receptive_field=tuple(field.size for field in fields),
            jump=tuple(field.jump for field in fields),
            start=tuple(_half(field.start2) for field in fields),
            is_exact_field=all(field.is_exact for field in fields),
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
