"""One walk over layers: output sizes, padding, parameters, MACs, receptive fields, bytes and unused input.

Integers only; nothing is read and nothing runs. A single convolution is a walk over one layer.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from convcli.errors import ConvcliError, GeometryError, UsageError, near_names
from convcli.geometry.arithmetic import Field, Node, window_fields
from convcli.layers.layer import Layer, Row, Shape

if TYPE_CHECKING:
    from convcli.geometry.arithmetic import Number

#: Multiples that :func:`fit` tries: a side halved six times.
_MULTIPLES = (2, 4, 8, 16, 32, 64)


class Walk(NamedTuple):
    """Layers bound to an input: one :class:`convcli.layers.layer.Row` per layer, and totals."""

    input: Shape
    rows: tuple[Row, ...]
    peak_bytes: int
    extra_notes: tuple[str, ...] = ()
    #: Why totals are of a part only; empty if the walk reached the end.
    partial: str = ""

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

    def _repr_html_(self) -> str:
        """Return the table of shapes for a notebook."""
        from convcli.render.pages.notebook import draw_walk

        return draw_walk(self)


def walk(layers: Sequence[Layer], input_shape: Shape) -> Walk:
    """Return every shape and count of layers for one input.

    Parameters
    ----------
    layers : sequence of Layer
        In the order in which they run; from :func:`convcli.layers.text.parse_layers`, or made directly: then every
        parameter of the window is given (``output_padding`` too if it is transposed).
    input_shape : tuple of int
        Channels, then rows and columns (or one length, or depth, rows and columns); each at least 1.

    Returns
    -------
    Walk
        One row per layer: ``output``, ``padding`` (pixels before and after each axis), ``groups``, ``parameters``,
        ``macs``, ``bias_adds``, ``unused`` (input pixels per axis), ``receptive_field``, ``jump``, ``start``.

    Raises
    ------
    GeometryError
        A window does not fit, groups do not divide, or joined shapes differ (the hint has sizes that fit); names the
        layer.
    UsageError
        A layer takes its input from a name that no layer before it has.

    Examples
    --------
    >>> from convcli.layers.text import parse_layers
    >>> stem = walk([*parse_layers("conv:64,k=7,s=2,p=3"), *parse_layers("maxpool:k=3,s=2,p=1")], (3, 304, 228))
    >>> [row.output for row in stem.rows], stem.parameters
    ([(64, 152, 114), (64, 76, 57)], 9472)
    >>> from convcli.layers.kinds.conv import Conv
    >>> conv = Conv(out_channels=2, kernel_size=(3, 3), stride=(2, 2), padding=((0, 0), (1, 1)), dilation=(1, 1))
    >>> (row,) = walk([conv], (3, 8, 8)).rows
    >>> row.output, row.macs, row.unused
    ((2, 3, 4), 648, (1, 0))
    """
    try:
        rows = _bind_all(layers, input_shape)
    except GeometryError as error:
        found = fit(layers, input_shape) if error.facts.get("joined") else None
        if found is not None:
            multiple, shape = found
            error.hint = f"sides that are multiples of {multiple} fit, such as {'x'.join(map(str, shape))}"
        raise
    axes = range(len(input_shape) - 1)
    steps = [[row.layer.step(axis, row.input[1 + axis], row.padding[axis][0]) for row in rows] for axis in axes]
    add_fields(rows, [[Node(row.sources, step) for row, step in zip(rows, each, strict=True)] for each in steps])
    return Walk(input_shape, tuple(rows), peak_bytes(rows, input_shape))


def _bind_all(layers: Sequence[Layer], input_shape: Shape) -> list[Row]:
    """Return the rows of all layers, without their receptive fields; errors name the layer."""
    names = {"input": -1}
    rows: list[Row] = []
    for index, layer in enumerate(layers):
        try:
            rows.append(_bind(layer, index, names, rows, input_shape))
        except ConvcliError as error:
            raise error.within(f"layer {index + 1} ({layer.label or layer.kind})") from None
        if layer.name:
            names[layer.name] = index
    return rows


def _bind(layer: Layer, index: int, names: dict[str, int], rows: list[Row], input_shape: Shape) -> Row:
    """Return the row of one layer, without its receptive field."""
    for name in layer.inputs:
        if name not in names:
            hint = near_names(name, names) or f"names so far: {', '.join(names)}"
            raise UsageError(f"takes its input from {name!r}, which no layer before it is called", hint=hint)
    # Source -1 is the stack's input, and index - 1 is just that for the first layer.
    sources = tuple(names[name] for name in layer.inputs) or (index - 1,)
    shapes = [rows[source].output if source >= 0 else input_shape for source in sources]
    if len(shapes[0]) - 1 != layer.n_axes:
        raise GeometryError(f"is for {layer.n_axes} axes, and its input has {len(shapes[0]) - 1}")
    channels, groups = layer.channels(shapes)
    padding, sizes, unused = layer.sizes(shapes[0][1:])
    output = (channels, *sizes)
    return Row(layer, sources, shapes[0], output, padding, groups, *layer.counts(shapes[0], output, groups), unused)


def _fields(nodes: Sequence[Node]) -> list[Field]:
    if (found := window_fields(nodes)) is not None:
        return found
    from convcli.geometry.receptive import receptive_fields

    return receptive_fields(nodes)


def add_fields(rows: list[Row], axes: Sequence[list[Node]], lost: Collection[int] = ()) -> None:
    """Fill in receptive field, jump and start of every row that is not ``lost``, from the nodes of each axis."""
    per_axis: list[list[Field]] = []
    for nodes in axes:
        # Square windows give equal nodes on all axes, and tracing behind an enlargement is the slow part.
        first = axes.index(nodes)
        per_axis.append(per_axis[first] if first < len(per_axis) else _fields(nodes))
    for index, row in enumerate(rows):
        if index in lost:
            continue
        fields = [each[index] for each in per_axis]
        rows[index] = row._replace(
            receptive_field=tuple(field.size for field in fields),
            jump=tuple(field.jump for field in fields),
            start=tuple(_half(field.start2) for field in fields),
            is_exact_field=all(field.is_exact for field in fields),
        )


def _half(twice: Number) -> Number | float:
    """Return half of a number, exactly, without importing fractions for the half of an odd one."""
    # An odd number's half is exact as a float; a Fraction halves to a Fraction.
    return twice / 2 if not isinstance(twice, int) or twice % 2 else twice // 2


def peak_bytes(rows: Sequence[Row], input_shape: Shape) -> int:
    """Return the most bytes of float32 alive at once; each layer keeps its input until its output is complete."""
    last_use = {source: index for index, row in enumerate(rows) for source in row.sources}
    alive = {-1: 4 * prod(input_shape)}
    peak = alive[-1]
    for index, row in enumerate(rows):
        # Input and output are alive together: no layer is taken to work in place.
        alive[index] = row.activation_bytes
        peak = max(peak, sum(alive.values()))
        alive = {node: size for node, size in alive.items() if last_use.get(node, -2) > index or node == index}
    return peak


def fit(layers: Sequence[Layer], input_shape: Shape) -> tuple[int, Shape] | None:
    """Return the smallest multiple that the input's sides must have for branches to meet, and such an input.

    The next larger sizes are tried as well, so that no multiple is found by luck. None if no multiple fits.

    Examples
    --------
    >>> from convcli.layers.text import parse_layers
    >>> words = ("maxpool:2", "upsample:2,name=up", "subtract:from=input+up")
    >>> fit([layer for word in words for layer in parse_layers(word)], (3, 21, 20))
    (2, (3, 22, 20))
    """
    channels, *sides = input_shape
    for multiple in _MULTIPLES:
        # Poolings that halve k times need multiples of 2**k; rounding up never loses samples.
        rounded = [-(-side // multiple) * multiple for side in sides]
        try:
            for more in range(3):
                _bind_all(layers, (channels, *(side + more * multiple for side in rounded)))
        except ConvcliError:
            continue
        return multiple, (channels, *rounded)
    return None


def as_number(value: object) -> int | float:
    """Return an exact number in a type that JSON has."""
    # JSON has no fractions: 1/3 is rounded here, and exact in the text.
    return value if isinstance(value, int) else float(value)  # type: ignore[arg-type]


def row_as_dict(row: Row) -> dict[str, object]:
    """Return one layer as plain data; keys are the names of the flags and headings."""
    layer = row.layer
    return {
        "layer": layer.label,
        "kind": layer.kind,
        "name": layer.name or None,
        "from": list(layer.inputs) or None,
        "input": list(row.input),
        "output": list(row.output),
        # null and not []: a layer without a window has no such number.
        "kernel_size": list(layer.kernel_size) or None,
        "stride": list(layer.stride) or None,
        "padding": [list(pair) for pair in row.padding],
        "dilation": list(layer.dilation) or None,
        "groups": row.groups,
        "output_padding": list(layer.output_padding) or None,
        "ceil_mode": layer.ceil_mode,
        "bias": layer.bias if "bias" in layer.known() else None,
        "parameters": row.parameters,
        "macs": row.macs,
        # A multiplication and an addition count as one operation each.
        "flops": 2 * row.macs,
        "bias_adds": row.bias_adds,
        "receptive_field": list(row.receptive_field),
        "receptive_field_is_exact": row.is_exact_field,
        "jump": [as_number(jump) for jump in row.jump],
        "start": [as_number(start) for start in row.start],
        "aligned": row.is_aligned,
        "activation_bytes": row.activation_bytes,
        "unused": list(row.unused),
    }


def stack_as_dict(shape: Walk, notes: list[str]) -> dict[str, object]:
    """Return a whole stack as plain data: input, layers, totals, notes; ``sources`` are layer numbers, 0 the input."""
    return {
        "input": list(shape.input),
        "layers": [row_as_dict(row) | {"sources": [each + 1 for each in row.sources]} for row in shape.rows],
        # The sums of the rows.
        "totals": {
            "output": list(shape.output),
            "parameters": shape.parameters,
            "macs": shape.macs,
            "flops": 2 * shape.macs,
            "bias_adds": shape.bias_adds,
            "activation_bytes": shape.activation_bytes,
            "peak_bytes": shape.peak_bytes,
            "partial": shape.partial or None,
        },
        "notes": notes,
    }
