"""Receptive field, jump and start of every layer, per axis, exactly, behind layers that enlarge too.

*Receptive field*: the number of input pixels that an output can depend on. *Jump*: input pixels between neighbouring
outputs. *Start*: the middle of the first output's field, with pixel 0 covering 0 to 1, so that its middle is 0.5.
For windows that only shrink (convolution, pooling) they follow from the layer before, by the formula of
:func:`convcli.geometry.arithmetic.window_fields`. After a layer that enlarges, neighbouring outputs see different
counts of inputs: the set of inputs is followed back through the graph for one period of outputs, and the largest is
reported. Gaps in these sets (dilation behind an enlargement) are followed up to a limit; beyond it the gaps are filled,
which can only enlarge the field, and ``is_exact`` is false.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from fractions import Fraction
from math import lcm

from convcli.geometry.arithmetic import Field, Node, Step, follow, join_fields

#: Outputs of one period that are looked at, at most.
MAX_PHASES = 4096
#: Positions in sets with gaps that are followed, for all layers together.
MAX_WORK = 300_000


def receptive_fields(nodes: Sequence[Node]) -> list[Field]:
    """Return the receptive field of every node along one axis; sources come before their users.

    Examples
    --------
    >>> stem = [Node((-1,), Step("down", 7, 2, 1, 3)), Node((0,), Step("down", 3, 2, 1, 1))]
    >>> [(field.size, field.jump, field.start2 / 2) for field in receptive_fields(stem)]
    [(7, 2, 0.5), (11, 4, 0.5)]
    """
    fields: list[Field] = []
    tracer = _Tracer(nodes)
    for index, node in enumerate(nodes):
        before = join_fields([fields[source] if source >= 0 else Field() for source in node.sources])
        field = follow(node.step, before)
        if not field.is_closed:
            size = max(tracer.largest(index, [*fields, field]), before.size if tracer.is_wide else 0)
            field = field._replace(size=size, is_exact=tracer.work <= MAX_WORK)
        if node.wide:
            tracer.is_wide = True
            field = field._replace(size=max(field.size, *(fields[source].size for source in node.wide)))
        fields.append(field)
    return fields


class _Tracer:
    """Follows outputs back to the inputs that they need, and counts the work."""

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.nodes = nodes
        self.work = 0
        self.is_wide = False

    def largest(self, last: int, fields: Sequence[Field]) -> int:
        """Return the most input pixels, gaps included, that one output of node ``last`` depends on.

        Outputs repeat where a step of them is a whole step of every layer before: after the common multiple of the
        denominators of their jumps' ratios, if branches that meet have one jump.
        """
        wanted, jumps = {last}, {fields[last].jump, 1}
        period, is_regular = 1, True
        for index in range(last, -1, -1):
            if index in wanted:
                step, sources = self.nodes[index].step, self.nodes[index].sources
                wanted.update(sources)
                before = {fields[source].jump if source >= 0 else 1 for source in sources}
                is_regular = is_regular and len(before) == 1
                jumps |= before
                period *= step.stride if step.how != "down" else 1
        if is_regular:
            # Shrinking layers cancel enlarging ones, which the product above ignores: this is often far shorter.
            period = lcm(*(Fraction(Fraction(fields[last].jump) / jump).denominator for jump in jumps))
        return max(self._support(last, output) for output in range(min(period, MAX_PHASES)))

    def _support(self, last: int, output: int) -> int:
        """Return the width of the set of inputs of one output, on an input without ends."""
        wanted: dict[int, Collection[int]] = {last: range(output, output + 1)}
        for index in range(last, -1, -1):
            if index not in wanted:
                continue
            needed = self._back(self.nodes[index].step, wanted.pop(index))
            for source in self.nodes[index].sources:
                wanted[source] = _union(wanted[source], needed) if source in wanted else needed
        reached = wanted.get(-1, ())
        low, high = _ends(reached) if reached else (0, -1)
        return high - low + 1

    def _back(self, step: Step, outputs: Collection[int]) -> Collection[int]:
        """Return the inputs of a layer that a set of its outputs needs."""
        if not outputs:
            return outputs
        how, kernel, stride, dilation, pad = step
        is_dense = how == "linear" or (
            1 in (dilation, kernel) and (how == "up" or kernel >= stride or len(outputs) == 1)
        )
        # A gapless set stays a range.
        if self.work > MAX_WORK or (is_dense and isinstance(outputs, range)):
            return _filled_back(step, *_ends(outputs))
        self.work += len(outputs) * kernel
        if how == "down":
            return {output * stride - pad + dilation * tap for output in outputs for tap in range(kernel)}
        if how == "up":
            # A tap meets an input only at whole multiples of the stride; the rest falls on inserted zeros.
            reached = (output + pad - dilation * tap for output in outputs for tap in range(kernel))
            return {position // stride for position in reached if position % stride == 0}
        return {source for output in outputs for source in _linear_sources(output, stride)}


def _ends(positions: Collection[int]) -> tuple[int, int]:
    """Return the first and last of a set, without iterating over a range."""
    if isinstance(positions, range):
        return positions[0], positions[-1]
    return min(positions), max(positions)


def _union(first: Collection[int], second: Collection[int]) -> Collection[int]:
    """Return the positions of both; ranges that touch stay a range."""
    if isinstance(first, range) and isinstance(second, range) and first and second:
        low, high = (first, second) if first.start <= second.start else (second, first)
        # Stops are exclusive: equal ends touch without a gap.
        if high.start <= low.stop:
            return range(low.start, max(low.stop, high.stop))
    return {*first, *second}


def _filled_back(step: Step, low: int, high: int) -> range:
    """Return the inputs that outputs ``low`` to ``high`` can need, gaps filled."""
    how, kernel, stride, dilation, pad = step
    window = dilation * (kernel - 1) + 1
    if how == "down":
        return range(low * stride - pad, high * stride - pad + window)
    if how == "up":
        return range(-(-(low + pad - window + 1) // stride), (high + pad) // stride + 1)
    return range(_linear_sources(low, stride)[0], _linear_sources(high, stride)[-1] + 1)


def _linear_sources(output: int, factor: int) -> tuple[int, ...]:
    """Return the one or two inputs that a bilinear output mixes (``align_corners=False``)."""
    twice = 2 * output + 1 - factor  # position * 2 * factor
    low, rest = divmod(twice, 2 * factor)
    return (low, low + 1) if rest else (low,)
