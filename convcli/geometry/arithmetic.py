"""Convolution arithmetic in plain integers: output sizes, padding, groups and receptive fields.

Everything is per axis, with before and after apart; rows come before columns. Formulas: Dumoulin and Visin, "A guide to
convolution arithmetic for deep learning" (arXiv 1603.07285); ``same`` is ONNX's SAME_UPPER; the last window of
``ceil_mode`` follows torch; receptive fields: Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional
Neural Networks", Distill 2019. Standard library only: it runs before any pixel is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd
from typing import TYPE_CHECKING, NamedTuple

from convcli.errors import GeometryError, UsageError

if TYPE_CHECKING:
    from fractions import Fraction

    Number = int | Fraction

Sizes = Sequence[int]
Pair = tuple[int, int]
Padding = str | tuple[Pair, ...]

#: Padding that is computed from the other sizes.
PADDING_WORDS = ("same", "same_lower", "valid", "full")
#: Samples that stand there.
PADDING_MODES = ("zeros", "constant", "replicate", "reflect", "symmetric", "circular")
#: Digits of a number in text: longer ones are typing errors and would make every product of sizes absurd.
MAX_DIGITS = 9


def parse_count(text: str, name: str, *, minimum: int, at: int = 0, form: str = "") -> int:
    """Return the whole number in ``text``, at least ``minimum`` and of at most :data:`MAX_DIGITS` digits.

    Errors call it ``name`` and carry as ``position`` where ``text`` starts in the user's text (``at``, from 0).

    Examples
    --------
    >>> parse_count("3", "stride", minimum=1)
    3
    """
    digits = text.strip().removeprefix("-")
    # isdigit takes ² and the digits of other scripts too.
    if not (digits.isascii() and digits.isdigit()):
        reason = f"{text.strip()!r} is not a whole number" if text.strip() else "a number is missing"
        hint = f"{name} is {form or 'a whole number'}, at least {minimum}"
        raise UsageError(f"{name}: {reason}", hint=hint, position=at)
    if len(digits) > MAX_DIGITS:
        raise UsageError(f"{name}: a number of {len(digits)} digits", hint=f"at most {MAX_DIGITS} digits", position=at)
    value = int(text)
    if value < minimum:
        raise UsageError(f"{name} {value} is too small", hint=f"{name} is at least {minimum}", position=at)
    return value


def window_px(kernel_px: int, dilation: int) -> int:
    """Return the pixels that a kernel covers along one axis, gaps included.

    Examples
    --------
    >>> window_px(3, 1), window_px(3, 2), window_px(1, 9)
    (3, 5, 1)
    """
    return dilation * (kernel_px - 1) + 1


def conv_output_px(input_px: int, kernel_px: int, *, stride: int, dilation: int, pad_px: int) -> int:
    """Return the length of one output axis of a correlation; a last step that does not fit entirely is dropped.

    ``pad_px`` are the pixels added to the axis on both sides together. Where no window fits, the GeometryError carries
    ``window_px`` and ``padded_px``.

    Examples
    --------
    >>> conv_output_px(7, 3, stride=2, dilation=1, pad_px=0)
    3
    >>> conv_output_px(7, 3, stride=1, dilation=2, pad_px=4)  # "same": the window covers 5
    7
    """
    window = {"stride": stride, "dilation": dilation, "pad_before_px": 0, "pad_after_px": pad_px}
    return pool_output_px(input_px, kernel_px, **window, ceil_mode=False)


def unused_input_px(
    input_px: int, kernel_px: int, *, stride: int, dilation: int, pad_before_px: int, output_px: int
) -> int:
    """Return the input pixels (not padding) at the end of the axis that the last window does not reach.

    Examples
    --------
    >>> unused_input_px(224, 7, stride=2, dilation=1, pad_before_px=3, output_px=112)  # ends in the padding
    0
    >>> unused_input_px(8, 3, stride=3, dilation=1, pad_before_px=0, output_px=2)
    2
    """
    # A last window that ends before the first sample (much padding, few outputs) leaves the whole axis unused.
    end = (output_px - 1) * stride + window_px(kernel_px, dilation) - pad_before_px
    return max(input_px - max(end, 0), 0)


def pool_output_px(
    input_px: int, kernel_px: int, *, stride: int, dilation: int, pad_before_px: int, pad_after_px: int, ceil_mode: bool
) -> int:
    """Return the length of one output axis of a pooling layer, with torch's rule for ``ceil_mode``.

    With ``ceil_mode`` a last window may hang over the end, but it must start inside the input or the padding before it
    (torch's ``pooling_output_shape``; its documentation leaves this out).

    Examples
    --------
    >>> pool_output_px(7, 2, stride=2, dilation=1, pad_before_px=0, pad_after_px=0, ceil_mode=True)
    4
    """
    window, padded = window_px(kernel_px, dilation), input_px + pad_before_px + pad_after_px
    # Without ceil_mode a negative difference rounds down to less than one window, which is refused below.
    output = (padded - window + (stride - 1 if ceil_mode else 0)) // stride + 1
    if ceil_mode and (output - 1) * stride >= input_px + pad_before_px:
        output -= 1
    if output < 1:
        kernel = f"kernel {kernel_px}" if dilation == 1 else f"kernel {kernel_px} with dilation {dilation}"
        size = f"{input_px} px" if padded == input_px else f"{input_px} px padded to {padded}"
        message = f"{kernel} covers {window} px and does not fit {size}"
        hint = f"at least {window - padded} px more padding (same always fits), or a smaller kernel or dilation"
        raise GeometryError(message, hint=hint, window_px=window, padded_px=padded, input_px=input_px)
    return output


def resolve_padding(
    padding: Padding, input_px: Sizes, kernel_px: Sizes, stride: Sizes, dilation: Sizes
) -> tuple[Pair, ...]:
    """Return the pixels (before, after) each axis that ``padding`` means for this input; other arguments are per axis.

    ``padding`` is ``same`` (output ``ceil(input / stride)``, the odd pixel after: ONNX SAME_UPPER, and torch's ``same``
    at stride 1), ``same_lower`` (the odd pixel before), ``valid`` (none), ``full`` (every window that touches the
    input), or the pairs themselves.

    Examples
    --------
    >>> resolve_padding("same", (304, 228), (7, 7), (2, 2), (1, 1))
    ((2, 3), (2, 3))
    >>> resolve_padding("full", (5, 5), (3, 2), (1, 1), (1, 1))
    ((2, 2), (1, 1))
    """
    if not isinstance(padding, str):
        if len(padding) != len(input_px):
            raise GeometryError(f"padding for {len(padding)} axes, but there are {len(input_px)}")
        if any(side < 0 for pair in padding for side in pair):
            raise GeometryError("padding cannot be negative", hint="cut the input instead")
        return tuple((before, after) for before, after in padding)
    if padding not in PADDING_WORDS:
        raise UsageError(f"unknown padding {padding!r}", hint=f"a number, HxW, or one of {', '.join(PADDING_WORDS)}")
    pairs = []
    for size, kernel, step, gap in zip(input_px, kernel_px, stride, dilation, strict=True):
        window = window_px(kernel, gap)
        if padding in ("same", "same_lower"):
            pairs.append(halves(max((-(-size // step) - 1) * step + window - size, 0), padding))
        else:
            # With window - 1 on each side, the first and the last window still touch one sample.
            pairs.append((window - 1, window - 1) if padding == "full" else (0, 0))
    return tuple(pairs)


def halves(total: int, padding: Padding) -> Pair:
    """Return a padding's two sides; ``same`` puts the odd pixel after, ``same_lower`` before."""
    less, more = total // 2, total - total // 2
    return (less, more) if padding == "same" else (more, less)


def axis_name(axis: int, n_axes: int) -> str:
    """Return the name of an axis: ``rows`` and ``columns`` of a picture.

    Examples
    --------
    >>> axis_name(0, 2), axis_name(2, 3), axis_name(0, 1)
    ('rows', 'columns', 'length')
    """
    return "length" if n_axes == 1 else ("depth", "rows", "columns")[3 - n_axes + axis]


def check_groups(in_channels: int, out_channels: int, groups: int) -> None:
    """Raise GeometryError unless ``groups`` divides both channel counts; it carries the ``divisors`` that would do.

    Examples
    --------
    >>> check_groups(12, 6, 3)
    >>> check_groups(12, 6, 4)
    Traceback (most recent call last):
    ...
    convcli.errors.GeometryError: 4 groups do not divide 12 input and 6 output channels
    """
    if groups >= 1 and in_channels % groups == 0 and out_channels % groups == 0:
        return
    common = gcd(in_channels, out_channels)
    # The bound keeps absurd channel counts from a search of seconds for a hint.
    divisors = [n for n in range(1, min(common, 4096) + 1) if common % n == 0]
    facts = {"in_channels": in_channels, "out_channels": out_channels, "groups": groups, "divisors": divisors}
    message = f"{groups} groups do not divide {in_channels} input and {out_channels} output channels"
    raise GeometryError(message, hint=f"groups can be {', '.join(map(str, divisors))}", **facts)


class Step(NamedTuple):
    """A layer along one axis: ``down`` a window, ``up`` its transpose, ``linear`` bilinear enlarging."""

    how: str = "down"
    kernel: int = 1
    stride: int = 1
    dilation: int = 1
    pad: int = 0


class Field(NamedTuple):
    """Receptive field along one axis; ``start2`` is twice the start, which keeps it whole where it can be."""

    size: int = 1
    jump: Number = 1
    start2: Number = 1
    is_closed: bool = True
    is_exact: bool = True


class Node(NamedTuple):
    """A layer in the graph: its sources (−1 is the stack's input), its step, and sources that are one sample wide.

    Every output sees all that such a ``wide`` source sees: the gate of a squeeze-and-excitation block.
    """

    sources: tuple[int, ...]
    step: Step
    wide: tuple[int, ...] = ()


def ratio(numerator: Number, denominator: int = 1) -> Number:
    """Return a quotient, as a whole number where it is one.

    Examples
    --------
    >>> ratio(6, 3), ratio(1, 2)
    (2, Fraction(1, 2))
    """
    if isinstance(numerator, int) and numerator % denominator == 0:
        return numerator // denominator
    from fractions import Fraction

    quotient = Fraction(numerator) / denominator
    return int(quotient) if quotient.denominator == 1 else quotient


def window_fields(nodes: Sequence[Node]) -> list[Field] | None:
    """Return the receptive field of every node along one axis by formula; sources come before their users.

    None where it does not hold, behind layers that enlarge or gates: see :mod:`convcli.geometry.receptive`.

    Examples
    --------
    >>> stem = [Node((-1,), Step("down", 7, 2, 1, 3)), Node((0,), Step("down", 3, 2, 1, 1))]
    >>> [(field.size, field.jump, field.start2 / 2) for field in window_fields(stem)]
    [(7, 2, 0.5), (11, 4, 0.5)]
    """
    fields: list[Field] = []
    for node in nodes:
        field = follow(node.step, join_fields([fields[source] if source >= 0 else Field() for source in node.sources]))
        if not field.is_closed or node.wide:
            return None
        fields.append(field)
    return fields


def follow(step: Step, before: Field) -> Field:
    """Return the field after one layer (its size only if the formula holds)."""
    window = step.dilation * (step.kernel - 1) + 1
    size, jump, start2, is_closed, _ = before
    if step.how == "down":
        # Doubled, the middle of an even window needs no fraction.
        start2 = start2 + (window - 1 - 2 * step.pad) * jump
        size = size + (window - 1) * int(jump) if is_closed else size
        return Field(size, ratio(jump * step.stride), ratio(start2), is_closed)
    # A transposed layer is its convolution mirrored: signs change, and outputs are stride times closer.
    start2 = start2 + ratio((2 * step.pad - (window - 1)) * jump, step.stride)
    return Field(size, ratio(jump, step.stride), ratio(start2), is_closed and step.stride == window == 1)


def join_fields(fields: Sequence[Field]) -> Field:
    """Return the hull of several fields; the first one's jump counts."""
    if len(fields) == 1:
        return fields[0]
    first2 = min(field.start2 - field.size for field in fields)
    last2 = max(field.start2 + field.size for field in fields)
    # Branches with different jumps drift apart, so no one size holds for every output: the tracer looks.
    is_closed = all(field.is_closed and field.jump == fields[0].jump for field in fields)
    size = int(last2 - first2) // 2 if is_closed else 0
    return Field(size, fields[0].jump, ratio(first2 + last2, 2), is_closed)
