"""Convolution weights in checkpoints: safetensors by their header, torch files by their tensors alone."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import NamedTuple

from convcli.banks.formats.entries import Archive, bias_of, is_channelwise, layout_of, open_archive
from convcli.errors import UNOPENED, KernelError


class WeightEntry(NamedTuple):
    """A convolution's weight in a checkpoint, and the arguments that its shape implies.

    A shape has no ``groups``: they are taken as 1 unless the weight is (O, 1, …) with O over 1, which is depthwise in
    most networks that have it after their first layer. ``is_transposed`` is known only where the bias has as many
    numbers as the second axis and not as the first. :attr:`others` has what the shape allows as well. ``layout`` is
    the order of the axes for an entry that its name shows to be Keras', flax' or TensorFlow's, such as ``hwio``;
    depthwise ones have C and M last.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    bias: bool
    is_transposed: bool
    layout: str = ""

    @property
    def torch_shape(self) -> tuple[int, ...]:
        """The weight's shape in torch's layout."""
        if not self.layout:
            return self.shape
        # A depthwise kernel of Keras is (…, C, M): map c*M + m sees channel c alone, as in a torch weight (C*M, 1, …).
        *kernel, first, second = self.shape
        return (first * second, 1, *kernel) if is_channelwise(self.name) else (second, first, *kernel)

    @property
    def is_depthwise(self) -> bool:
        """Whether every map is taken to see one channel only; the names of entries with a layout say it."""
        if self.layout:
            return is_channelwise(self.name)
        return self.shape[1] == 1 and self.shape[0] > 1 and not self.is_transposed

    @property
    def module(self) -> str:
        """Constructor of the torch module that holds this weight."""
        first, second = self.torch_shape[:2]
        if self.is_transposed and not self.is_depthwise:
            return self._module(first, second, is_transposed=True)
        channels = self.shape[-2] if self.layout else first
        groups = channels if self.is_depthwise else 1
        return self._module(groups * second, first, groups=groups)

    @property
    def others(self) -> tuple[str, ...]:
        """Constructors of other modules whose weight and bias have these very shapes."""
        first, second = self.torch_shape[:2]
        if self.layout:
            return ()
        if self.is_depthwise:
            return (self._module(1, first),)
        # A square weight with a bias of that length fits both directions; nothing stored tells them apart.
        return (self._module(first, second, is_transposed=not self.is_transposed),) if first == second else ()

    def _module(self, n_in: int, n_out: int, *, groups: int = 1, is_transposed: bool = False) -> str:
        kernel = self.torch_shape[2:]
        name = f"Conv{'Transpose' if is_transposed else ''}{len(kernel)}d"
        sizes = str(kernel[0]) if len(set(kernel)) == 1 else str(tuple(kernel))
        return f"{name}({n_in}, {n_out}, {sizes}{f', groups={groups}' if groups > 1 else ''}, bias={self.bias})"

    @property
    def text(self) -> str:
        """The layer as ``convcli shape`` takes it; stride and padding are not in a weight."""
        first, second, *kernel = self.torch_shape
        size = str(kernel[0]) if len(set(kernel)) == 1 else "x".join(map(str, kernel))
        bias = "" if self.bias else ",bias=false"
        if self.is_depthwise:
            multiplier = f"{self.shape[-1]}," if self.layout and self.shape[-1] > 1 else ""
            return f"depthwise:{multiplier}k={size}{bias}"
        return f"convtranspose:{second},k={size}{bias}" if self.is_transposed else f"conv:{first},k={size}{bias}"

    @property
    def parameters(self) -> int:
        """Numbers in the weight and its bias."""
        return prod(self.shape) + (self.torch_shape[1 if self.is_transposed else 0] if self.bias else 0)


class Weights(NamedTuple):
    """The convolution weights of a checkpoint, in its order, and how much else is in it."""

    path: str
    entries: tuple[WeightEntry, ...]
    n_others: int


def list_weights(path: Path | str) -> Weights:
    """Return the convolution weights of a safetensors or torch file: tensors of three to five axes.

    Raises
    ------
    KernelError
        The file is missing, damaged, or has no convolution weight.
    """
    path = Path(path)
    if not path.is_file():
        raise KernelError(f"no file {str(path)!r}", hint=UNOPENED)
    archive = open_archive(path)
    shapes = archive.shapes
    # Two axes are a linear layer; an empty axis would make layers that no command accepts.
    entries = [_entry(name, archive) for name, shape in shapes.items() if 3 <= len(shape) <= 5 and all(shape)]
    if not entries:
        raise KernelError(f"{str(path)!r} has {len(shapes)} tensors, none of them a convolution's weight")
    return Weights(str(path), tuple(entries), len(shapes) - len(entries))


def _entry(name: str, archive: Archive) -> WeightEntry:
    """Return one weight with what its name and its bias say."""
    shape, dtype, bias_name = archive.shapes[name], archive.dtypes.get(name, ""), bias_of(name, archive.shapes)
    bias = archive.shapes[bias_name] if bias_name else ()
    order = layout_of(name, shape, bias)
    if order.endswith(("io", "oi")):
        return WeightEntry(name, shape, dtype, bool(bias), order.endswith("oi"), order)
    # A transposed weight is (in, out, …): its bias matches the second axis. This misses transposed layers with groups.
    is_transposed = bool(bias) and bias[0] == shape[1] != shape[0]
    return WeightEntry(name, shape, dtype, bool(bias) and bias[0] in shape[:2], is_transposed)
