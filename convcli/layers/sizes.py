"""What one layer does to the channels and sizes of its input: output, padding in pixels, unused input."""

from __future__ import annotations

from convcli.errors import GeometryError
from convcli.geometry.arithmetic import (
    Pair,
    check_groups,
    conv_output_px,
    conv_transpose_output_px,
    pool_output_px,
    resolve_padding,
    resolve_transpose_padding,
    unused_input_px,
)
from convcli.layers.layer import JOINS, WINDOWED, Layer

Shape = tuple[int, ...]


def layer_channels(layer: Layer, shapes: list[Shape]) -> tuple[int, int]:
    """Return (output channels, groups) of a layer for the shapes of its inputs.

    Raises
    ------
    GeometryError
        Groups do not divide the channels, or joined shapes differ.

    Examples
    --------
    >>> from convcli.layers.layer import make_layer
    >>> layer_channels(make_layer("depthwise", {"kernel_size": 3, "multiplier": 2}), [(3, 8, 8)])
    (6, 3)
    """
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


def layer_sizes(layer: Layer, sizes: Shape) -> tuple[tuple[Pair, ...], Shape, Shape]:
    """Return (resolved padding, output sizes, unused input) of a layer along its axes.

    Raises
    ------
    GeometryError
        A window does not fit; carries ``axis`` and says which it is.

    Examples
    --------
    >>> from convcli.layers.layer import make_layer
    >>> layer_sizes(make_layer("maxpool", {"kernel_size": 3, "stride": 2}), (7, 8))
    (((0, 0), (0, 0)), (3, 3), (0, 1))
    """
    none = ((0, 0),) * layer.n_axes
    nothing = (0,) * layer.n_axes
    if layer.kind == "pad":
        padding = resolve_padding(layer.padding, sizes, nothing, nothing, nothing)
        return padding, tuple(size + sum(pair) for size, pair in zip(sizes, padding, strict=True)), nothing
    if layer.kind == "upsample":
        return none, tuple(size * factor for size, factor in zip(sizes, layer.scale_factor, strict=True)), nothing
    if layer.kind == "globalpool":
        return none, (1,) * layer.n_axes, nothing
    if layer.kind not in (*WINDOWED, "convtranspose"):
        return none, sizes, nothing
    window = (layer.kernel_size, layer.stride, layer.dilation)
    if layer.kind == "convtranspose":
        padding = resolve_transpose_padding(layer.padding, sizes, *window, layer.output_padding)
    else:
        padding = resolve_padding(layer.padding, sizes, *window)
    along = [_along_axis(layer, axis, size, padding[axis]) for axis, size in enumerate(sizes)]
    return padding, tuple(length for length, _ in along), tuple(unused for _, unused in along)


def _along_axis(layer: Layer, axis: int, size: int, pads: Pair) -> tuple[int, int]:
    """Return (output length, unused input) of a layer with a window along one axis."""
    kernel, stride, dilation = layer.kernel_size[axis], layer.stride[axis], layer.dilation[axis]
    before, after = pads
    try:
        if layer.kind == "convtranspose":
            extra = layer.output_padding[axis]
            return conv_transpose_output_px(
                size, kernel, stride=stride, dilation=dilation, pad_px=before + after, output_padding=extra
            ), 0
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
        where = axis_name(axis, layer.n_axes)
        raise GeometryError(f"{where}: {error.message}", hint=error.hint, axis=axis, **error.facts) from None
    return length, unused_input_px(
        size, kernel, stride=stride, dilation=dilation, pad_before_px=before, output_px=length
    )


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


def axis_name(axis: int, n_axes: int) -> str:
    """Return what an axis is called: ``rows`` and ``columns`` of a picture.

    Examples
    --------
    >>> axis_name(0, 2), axis_name(2, 3), axis_name(0, 1)
    ('rows', 'columns', 'length')
    """
    return "length" if n_axes == 1 else ("depth", "rows", "columns")[3 - n_axes + axis]
