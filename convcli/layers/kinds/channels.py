"""Layers across channels: batch norm, one map from a set of channels, and joins of several inputs."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from typing import Any, ClassVar

from convcli.errors import GeometryError, KernelError
from convcli.layers.layer import Layer, Numbers, Row, Shape

#: Numbers of a batch norm: torch's name in a checkpoint, and the value if nothing is given.
_NORM = {"mean": ("running_mean", 0.0), "var": ("running_var", 1.0), "gamma": ("weight", 1.0), "beta": ("bias", 0.0)}


class BatchNorm(Layer):
    """One factor and one offset per channel, as ``torch.nn.BatchNorm2d`` in evaluation mode."""

    kind = "batchnorm"
    aliases = ("bn",)
    parameters = ("eps", "in_channels", "constants", "weight")
    constants = tuple(_NORM)

    def channels(self, shapes: Sequence[Shape]) -> tuple[int, int]:
        self.check_in(shapes[0][0])
        return shapes[0][0], 1

    def counts(self, before: Shape, after: Shape, groups: int) -> tuple[int, int, int]:
        """Return two parameters per channel; the operations fold into the convolution before it."""
        return 2 * before[0], 0, 0

    def load(self, row: Row, sources: Any) -> Numbers:
        """Return factor and offset from a checkpoint or constants; by default those of an untrained norm."""
        import numpy as np

        given, asked = {key: value for key, (_, value) in _NORM.items()}, dict(self.weights)
        if "weight" in asked:
            prefix = str(asked["weight"]).removesuffix(".weight")
            given = {key: sources.tensor(f"{prefix}.{entry}") for key, (entry, _) in _NORM.items()}
        given |= dict(asked.get("constants", ()))  # type: ignore[call-overload]
        columns = {}
        for key, value in given.items():
            try:
                columns[key] = np.broadcast_to(np.asarray(value, np.float64), (row.input[0],))
            except ValueError:
                raise KernelError(f"{key} has {np.size(value)} numbers for {row.input[0]} channels") from None
        # The root would give NaN, and every sample after it would be NaN, without a word.
        if columns["var"].min() < 0:
            raise KernelError("a variance is negative")
        factor = columns["gamma"] / np.sqrt(columns["var"] + self.eps)
        return Numbers(factor, columns["beta"] - columns["mean"] * factor)

    def run(self, row: Row, inputs: Sequence[Any], numbers: Numbers, how: Mapping[str, Any]) -> Any:
        columns = (-1, *(1,) * self.n_axes)
        factor, offset = (each.astype(inputs[0].dtype).reshape(columns) for each in numbers)
        return inputs[0] * factor + offset

    def count_formula(self, row: Row, parts: Sequence[int]) -> Iterator[tuple[str, str]]:
        yield "parameters", f"2·{row.input[0]} = {row.parameters:,}"


class Combine(Layer):
    """One map from each set of neighbouring channels, such as a gradient's magnitude."""

    kind = "combine"
    bare = "mode"
    parameters = ("members",)
    needed = ("mode",)
    modes = ("magnitude", "max", "min", "sum", "mean")
    example = "combine:magnitude,n=2"

    def channels(self, shapes: Sequence[Shape]) -> tuple[int, int]:
        if shapes[0][0] % self.members:
            sets = [n for n in range(1, min(shapes[0][0], 64) + 1) if shapes[0][0] % n == 0]
            hint = f"n can be {', '.join(map(str, sets))}"
            raise GeometryError(f"cannot combine {shapes[0][0]} channels in sets of {self.members}", hint=hint)
        return shapes[0][0] // self.members, 1

    def run(self, row: Row, inputs: Sequence[Any], numbers: Numbers, how: Mapping[str, Any]) -> Any:
        import numpy as np

        # Members of a set are neighbouring channels, as a bank of x and y derivatives leaves them.
        sets = inputs[0].reshape(-1, self.members, *inputs[0].shape[1:])
        if self.mode == "magnitude":
            return np.sqrt(np.square(sets).sum(axis=1))
        return getattr(np, self.mode)(sets, axis=1)

    def count_formula(self, row: Row, parts: Sequence[int]) -> Iterator[tuple[str, str]]:
        yield "channels", f"{row.input[0]} / {self.members} = {row.output[0]}"


class Add(Layer):
    """The sum of several inputs."""

    kind = "add"
    joins = True
    operation: ClassVar[Callable[..., Any]] = operator.add

    def channels(self, shapes: Sequence[Shape]) -> tuple[int, int]:
        self.check_same(shapes, shapes)
        return shapes[0][0], 1

    def check_same(self, shapes: Sequence[Shape], parts: Sequence[Shape]) -> None:
        """Raise if ``parts`` differ."""
        if any(part != parts[0] for part in parts):
            written = " and ".join("x".join(map(str, shape)) for shape in shapes)
            hint = "pad, pool or stride one of them to match"
            raise GeometryError(f"cannot {self.kind} {written}", hint=hint, joined=[list(shape) for shape in shapes])

    def run(self, row: Row, inputs: Sequence[Any], numbers: Numbers, how: Mapping[str, Any]) -> Any:
        """Return the operation on all inputs from the first on."""
        return reduce(self.operation, inputs)


class Subtract(Add):
    """The first input less the others."""

    kind = "subtract"
    aliases = ("sub",)
    operation = operator.sub


class Multiply(Add):
    """The product of several inputs; single samples weigh whole planes, as in squeeze-and-excitation."""

    kind = "multiply"
    aliases = ("mul",)
    operation = operator.mul

    def check_same(self, shapes: Sequence[Shape], parts: Sequence[Shape]) -> None:
        """Raise if ``parts`` differ, weights of planes apart."""
        weights = (shapes[0][0], *(1,) * (len(shapes[0]) - 1))
        super().check_same(shapes, [part for part in parts if part != weights] or parts)


class Concat(Add):
    """The channels of several inputs, one behind the other."""

    kind = "concat"
    aliases = ("cat",)

    def channels(self, shapes: Sequence[Shape]) -> tuple[int, int]:
        self.check_same(shapes, [shape[1:] for shape in shapes])
        return sum(shape[0] for shape in shapes), 1

    def run(self, row: Row, inputs: Sequence[Any], numbers: Numbers, how: Mapping[str, Any]) -> Any:
        import numpy as np

        return np.concatenate(inputs)

    def count_formula(self, row: Row, parts: Sequence[int]) -> Iterator[tuple[str, str]]:
        yield "channels", f"{' + '.join(map(str, parts))} = {row.output[0]}"
