"""Convolution weights in checkpoints: safetensors by their header, torch files by their tensors alone."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import NamedTuple

from convcli.errors import KernelError

#: Last parts of names that Keras, flax and TensorFlow give: their axes are rows, columns, input, output.
_TENSORFLOW = ("kernel", "kernel:0", "depthwise_kernel", "depthwise_kernel:0", "depthwise_weights", "pointwise_kernel")


class WeightEntry(NamedTuple):
    """A convolution's weight in a checkpoint, and the arguments that its shape implies.

    A shape has no ``groups``: they are taken as 1 unless the weight is (O, 1, …) with O over 1, which is depthwise in
    most networks that have it after their first layer. ``is_transposed`` is known only where the bias has as many
    numbers as the second axis and not as the first. :attr:`others` has what the shape allows as well. ``layout`` is
    ``hwio`` for an entry that its name shows to be Keras', flax' or TensorFlow's; depthwise ones have C and M last.
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
        return (first * second, 1, *kernel) if self.is_channelwise else (second, first, *kernel)

    @property
    def is_channelwise(self) -> bool:
        """Whether the entry's name says that it is depthwise."""
        return "depthwise" in self.name.rpartition(".")[2].rpartition("/")[2]

    @property
    def is_depthwise(self) -> bool:
        """Whether every map is taken to see one channel only."""
        shape = self.torch_shape
        return self.is_channelwise if self.layout else shape[1] == 1 and shape[0] > 1 and not self.is_transposed

    @property
    def module(self) -> str:
        """Constructor of the torch module that holds this weight."""
        if self.layout and self.is_channelwise:
            return self._module(self.shape[-2], self.torch_shape[0], groups=self.shape[-2])
        first, second = self.torch_shape[:2]
        if self.is_transposed:
            return self._module(first, second, is_transposed=True)
        return self._module(first if self.is_depthwise else second, first, groups=first if self.is_depthwise else 1)

    @property
    def others(self) -> tuple[str, ...]:
        """Constructors of other modules whose weight and bias have these very shapes."""
        first, second = self.torch_shape[:2]
        if self.layout:
            return ()
        plain = (self._module(1, first),) if self.is_depthwise else ()
        # A square weight with a bias of that length fits both directions; nothing stored tells them apart.
        if first == second and not self.is_depthwise:
            return (*plain, self._module(first, second, is_transposed=not self.is_transposed))
        return plain

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
        raise KernelError(f"no file {str(path)!r}")
    shapes = _shapes(path)
    entries = [
        _entry(name, shape, dtype, shapes)
        for name, (shape, dtype) in shapes.items()
        # Two axes are a linear layer; an empty axis would make layers that no command accepts.
        if 3 <= len(shape) <= 5 and all(shape)
    ]
    if not entries:
        raise KernelError(f"{str(path)!r} has {len(shapes)} tensors, none of them a convolution's weight")
    return Weights(str(path), tuple(entries), len(shapes) - len(entries))


Shapes = dict[str, tuple[tuple[int, ...], str]]


def _entry(name: str, shape: tuple[int, ...], dtype: str, shapes: Shapes) -> WeightEntry:
    """Return one weight with what its name and its bias say."""
    # TensorFlow joins the parts of a name by slashes, torch by dots; the bias must be looked up as it is written.
    stem, _, last = name.replace("/", ".").rpartition(".")
    separator = "/" if "/" in name else "."
    layout = "hwio" if last in _TENSORFLOW else ""
    bias_name = f"{stem.replace('.', separator)}{separator if stem else ''}bias"
    is_weight = bool(layout) or last == "weight"
    bias = shapes.get(bias_name, ((), ""))[0] if is_weight else ()
    entry = WeightEntry(name, shape, dtype, len(bias) == 1, is_transposed=False, layout=layout)
    if layout:
        return entry
    # A transposed weight is (in, out, …): its bias matches the second axis. This misses transposed layers with groups.
    is_transposed = len(bias) == 1 and bias[0] == shape[1] != shape[0]
    return entry._replace(bias=len(bias) == 1 and bias[0] in shape[:2], is_transposed=is_transposed)


def _shapes(path: Path) -> Shapes:
    """Return name → (shape, dtype) of every tensor of a file, by its content where the name does not say."""
    if path.name.lower().endswith(".index.json"):
        return _sharded_shapes(path)
    with path.open("rb") as file:
        head = file.read(9)
    # A safetensors file starts with a 64-bit little-endian header length (below 2**40 in practice), then JSON.
    if path.suffix.lower() == ".safetensors" or (head[5:8] == b"\0\0\0" and head[8:] == b"{"):
        return _safetensors_shapes(path)
    # State files since torch 1.6, TorchScript and exported programs are zip archives: the names inside tell them apart.
    if head[:2] == b"PK":
        _check_archive(path)
    return _torch_shapes(path)


def _check_archive(path: Path) -> None:
    """Raise for archives of programs, saying how their tensors are saved."""
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, zipfile.BadZipFile):
        return
    last = f"torch.save(model.state_dict(), {path.stem + '.weights.pt'!r})"
    if any(name.endswith("constants.pkl") for name in names):
        hint = f"model = torch.jit.load({path.name!r}); {last}"
        raise KernelError(f"{str(path)!r} is a TorchScript program, which is never run", hint=hint)
    if any("serialized_exported_program" in name or "/models/" in name for name in names):
        hint = f"model = torch.export.load({path.name!r}); {last}"
        raise KernelError(f"{str(path)!r} is an exported program (pt2), which is never run", hint=hint)


def _sharded_shapes(path: Path) -> Shapes:
    """Return the tensors of all files that an index names, each beside it."""
    import json

    try:
        names = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        files = dict.fromkeys(str(each) for each in names.values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise KernelError(f"{str(path)!r} is not an index of shards: no weight_map in it") from None
    found: Shapes = {}
    for file in files:
        shard = path.parent / file
        # An index comes from strangers: a path such as ../x must not open files elsewhere.
        if shard.parent != path.parent or not shard.is_file():
            raise KernelError(f"{str(path)!r} names {file!r}, which is not a file beside it")
        # A shard may hold tensors that the index assigns to another one; the index decides.
        found |= {name: value for name, value in _shapes(shard).items() if names.get(name) == file}
    return found


def _safetensors_shapes(path: Path) -> Shapes:
    """Return name → (shape, dtype) from a safetensors header."""
    from convcli.banks.formats.safetensors_file import read_header

    tensors = read_header(path)[0]
    return {name: (tuple(entry["shape"]), str(entry["dtype"]).lower()) for name, entry in tensors.items()}


def _torch_shapes(path: Path) -> Shapes:
    """Return name → (shape, dtype) from a torch file."""
    from convcli.banks.formats.torch_file import read_tensors

    tensors = read_tensors(path)
    return {name: (tuple(each.shape), str(each.dtype).removeprefix("torch.")) for name, each in tensors.items()}
