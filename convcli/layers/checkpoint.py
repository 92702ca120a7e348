"""Convolutions found in files: the weights of a checkpoint, the layers of an ONNX graph.

A safetensors file is listed from its header, in the standard library; a ``.pt`` file by torch with
``weights_only=True``; an ONNX graph by the ``onnx`` package (extra ``formats``), without its weights' values.
Each is imported in the function that needs it.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from convcli.errors import ConvcliError, KernelError

if TYPE_CHECKING:
    from convcli.layers.onnx import Graph


class WeightEntry(NamedTuple):
    """One weight tensor of a checkpoint that is a convolution's, and the arguments that its shape implies.

    ``groups`` cannot be read off a shape: ``in_channels`` is for the groups given, 1 unless the weight is (O, 1, …)
    with O over 1, which is depthwise in every network that has it after its first layer. ``is_transposed`` is known
    only where the bias says it (as many numbers as the second axis, and not the first).
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
        n_in, n_out = (first, second) if self.is_transposed else (second, first)
        groups = f", groups={first}" if self.is_depthwise else ""
        n_in = first if self.is_depthwise else n_in
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
    """Return the convolution weights of a checkpoint: tensors of three to five axes.

    Parameters
    ----------
    path : Path or str
        ``.safetensors`` (only the header is read) or a torch file (nothing but tensors is unpickled).

    Raises
    ------
    KernelError
        The file is missing, damaged, or has no convolution weight.
    """
    path = Path(path)
    if not path.is_file():
        raise KernelError(f"no file {str(path)!r}")
    shapes = _safetensors_shapes(path) if path.suffix.lower() == ".safetensors" else _torch_shapes(path)
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


def _safetensors_shapes(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return name → (shape, dtype) from a safetensors header."""
    from convcli.banks.formats.safetensors_file import read_header

    tensors = read_header(path)[0]
    return {name: (tuple(entry["shape"]), str(entry["dtype"]).lower()) for name, entry in tensors.items()}


def _torch_shapes(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Return name → (shape, dtype) from a torch file, of which nothing but tensors is unpickled."""
    from convcli.banks.formats.torch_file import read_tensors

    tensors = read_tensors(path)
    return {name: (tuple(each.shape), str(each.dtype).removeprefix("torch.")) for name, each in tensors.items()}


def read_onnx(path: Path | str, input_shape: Sequence[int] | None = None) -> Graph:
    """Return the layers of an ONNX graph, see :func:`convcli.layers.onnx.read_graph`.

    Raises
    ------
    ConvcliError
        The onnx package is missing, the file is not ONNX, or its input is open and none is given.
    """
    try:
        from convcli.layers.onnx import read_graph
    except ImportError:
        raise ConvcliError("reading ONNX needs the onnx package", hint="pip install 'convcli[formats]'") from None
    return read_graph(Path(path), None if input_shape is None else tuple(input_shape))
