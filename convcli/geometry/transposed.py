"""Sizes and padding of transposed convolutions: relation 14 of arXiv 1603.07285, per axis."""

from __future__ import annotations

from convcli.errors import GeometryError
from convcli.geometry.arithmetic import Padding, Pair, Sizes, halves, resolve_padding, window_px


def conv_transpose_output_px(
    input_px: int, kernel_px: int, *, stride: int, dilation: int, pad_px: int, output_padding: int
) -> int:
    """Return the length of one output axis of a transposed convolution.

    ``(input - 1) * stride - pad + window + output_padding`` (arXiv 1603.07285, relation 14); ``pad_px`` is cut from the
    result, ``output_padding``, below ``max(stride, dilation)``, is added at its end.

    Examples
    --------
    >>> conv_transpose_output_px(112, 3, stride=2, dilation=1, pad_px=2, output_padding=1)
    224
    """
    # torch's bound: smaller than either the stride or the dilation.
    limit = max(stride, dilation)
    if not 0 <= output_padding < limit:
        message = f"output padding {output_padding} must be below max(stride {stride}, dilation {dilation}) = {limit}"
        hint = f"output padding 0 to {limit - 1}"
        raise GeometryError(message, hint=hint, output_padding=output_padding, limit=limit)
    output = (input_px - 1) * stride + window_px(kernel_px, dilation) + output_padding - pad_px
    if output < 1:
        whole = output + pad_px
        message = f"a transposed convolution of {input_px} px gives {whole} px, and padding cuts {pad_px} of them"
        hint = f"a padding of at most {whole - 1} on this axis, both sides together"
        raise GeometryError(message, hint=hint, output_px=output, pad_px=pad_px)
    return output


def resolve_transpose_padding(
    padding: Padding, input_px: Sizes, kernel_px: Sizes, stride: Sizes, dilation: Sizes, output_padding: Sizes
) -> tuple[Pair, ...]:
    """Return the pixels that a transposed convolution cuts before and after each axis.

    As :func:`resolve_padding`, but ``same`` makes the output ``input * stride`` (ONNX ConvTranspose), which needs a
    window of at least ``stride - output_padding``.

    Examples
    --------
    >>> resolve_transpose_padding("same", (112,), (3,), (2,), (1,), (1,))
    ((1, 1),)
    """
    if padding not in ("same", "same_lower"):
        return resolve_padding(padding, input_px, kernel_px, stride, dilation)
    pairs = []
    for kernel, step, gap, extra in zip(kernel_px, stride, dilation, output_padding, strict=True):
        window = window_px(kernel, gap)
        # Relation 14, solved for the padding of an output of input * stride.
        total = window + extra - step
        if total < 0:
            fault = f"a window of {window} px with stride {step} leaves gaps"
            hint = f"output padding {step - window}, or a kernel that covers {step} px"
            message = f"{fault}: it cannot give the input's size times {step}"
            raise GeometryError(message, hint=hint, window_px=window, stride=step)
        pairs.append(halves(total, padding))
    return tuple(pairs)
