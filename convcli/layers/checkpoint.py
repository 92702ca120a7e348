"""Convolution weights in checkpoints: safetensors by their header, torch files by their tensors alone."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import NamedTuple

from convcli.errors import KernelError


class WeightEntry(NamedTuple):
    """A convolution's weight in a checkpoint, and the arguments that its shape implies.

    A shape has no ``groups``: they are taken as 1 unless the weight is (O, 1, …) with O over 1, which is depthwise in
    every network that has it after its first layer. ``is_transposed`` is known only where the bias has as many numbers
    as the second axis and not as the first.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    bias: bool
    is_transposed: bool

    @property
    def is_depthwise(self) -> bool:
        """Whether every map sees one channel only."""
        return self.shape[1] == 1 and self.shape[0] > 1 and not self.is_transposed

    @property
    def module(self) -> str:
        """Constructor of the torch module that holds this weight."""
        first, second, *kernel = self.shape
        n_in, n_out = (first, second) if self.is_transposed else (first if self.is_depthwise else second, first)
        groups = f", groups={first}" if self.is_depthwise else ""
        name = f"Conv{'Transpose' if self.is_transposed else ''}{len(kernel)}d"
        sizes = str(kernel[0]) if len(set(kernel)) == 1 else str(tuple(kernel))
        return f"{name}({n_in}, {n_out}, {sizes}{groups}, bias={self.bias})"

    @property
    def text(self) -> str:
        """The layer as ``convcli shape`` takes it; stride and padding are not in a weight."""
        first, second, *kernel = self.shape
        size = str(kernel[0]) if len(set(kernel)) == 1 else "x".join(map(str, kernel))
        bias = "" if self.bias else ",bias=false"
        if self.is_depthwise:
            return f"depthwise:k={size}{bias}"
        return f"convtranspose:{second},k={size}{bias}" if self.is_transposed else f"conv:{first},k={size}{bias}"

    @property
    def parameters(self) -> int:
        """Numbers in the weight and its bias."""
        return prod(self.shape) + (self.shape[1 if self.is_transposed else 0] if self.bias else 0)


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
        raise KernelError(f"no file {str(path)!r}")
    shapes = _shapes(path)
    entries = []
    for name, (shape, dtype) in shapes.items():
        if not 3 <= len(shape) <= 5 or not all(shape):
            continue
        bias = shapes.get(f"{name.removesuffix('weight')}bias", ((), ""))[0] if name.endswith("weight") else ()
        is_transposed = len(bias) == 1 and bias[0] == shape[1] != shape[0]
        has_bias = len(bias) == 1 and bias[0] in shape[:2]
        entries.append(WeightEntry(name, shape, dtype, has_bias, is_transposed))
    if not entries:
        raise KernelError(f"{str(path)!r} has {len(shapes)} tensors, none of them a convolution's weight")
    return Weights(str(path), tuple(entries), len(shapes) - len(entries))


def _shapes(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return name → (shape, dtype) of every tensor of a file, by its content where the name does not say."""
    with path.open("rb") as file:
        head = file.read(9)
    is_safe = path.suffix.lower() == ".safetensors" or (head[5:8] == b"\0\0\0" and head[8:] == b"{")
    return _safetensors_shapes(path) if is_safe else _torch_shapes(path)


def _safetensors_shapes(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return name → (shape, dtype) from a safetensors header."""
    from convcli.banks.formats.safetensors_file import read_header

    tensors = read_header(path)[0]
    return {name: (tuple(entry["shape"]), str(entry["dtype"]).lower()) for name, entry in tensors.items()}


def _torch_shapes(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return name → (shape, dtype) from a torch file."""
    from convcli.banks.formats.torch_file import read_tensors

    tensors = read_tensors(path)
    return {name: (tuple(each.shape), str(each.dtype).removeprefix("torch.")) for name, each in tensors.items()}
