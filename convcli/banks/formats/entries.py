"""Entries of a checkpoint: which array a name means, which bias belongs to it, how its axes lie (standard library).

Everything that reads entries asks here, so that one name means one array in ``-k``, in layers and in ``shape``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from convcli.banks.formats import ARCHIVES, guarded, module_of, sniff
from convcli.errors import KernelError, near_names

if TYPE_CHECKING:
    from numpy.typing import NDArray

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]

#: Last parts of names that Keras, flax and TensorFlow give weights: their axes are rows, columns, input, output.
_LAST_CHANNELS = ("kernel", "depthwise_kernel", "pointwise_kernel", "depthwise_weights", "pointwise_weights")
_WEIGHTS = ("weight", *_LAST_CHANNELS)
_BIASES = ("bias", "biases")
#: TensorFlow's variables end in the number of their output.
_VARIABLE = ":0"
#: Entries that an error lists.
_SHOWN = 10


class Archive(NamedTuple):
    """Named arrays of a file, read one by one.

    ``nodes`` are other names of a weight with its bias: the nodes of an ONNX model. ``is_plain`` arrays are of no
    network: three axes are then kernels of rows and columns.
    """

    shapes: Shapes
    read: Callable[[str], NDArray[Any]]
    dtypes: Mapping[str, str] = {}
    nodes: Mapping[str, tuple[str, str | None]] = {}
    kernel_names: tuple[str, ...] | None = None
    is_plain: bool = False


def open_archive(path: Path) -> Archive:
    """Return the named arrays of a file: a checkpoint's tensors, a model's constants.

    The last file stays open to be read again, until it changes: the layers of a stack ask for many entries of one.
    """
    with guarded(path):
        kind = sniff(path)
        if kind not in ARCHIVES:
            raise KernelError(f"{path} holds no entries", hint="leave #… out", path=str(path))
        facts = path.stat()
        return _opened(kind, path, facts.st_mtime_ns, facts.st_size)


@lru_cache(maxsize=1)
def _opened(kind: str, path: Path, _changed_ns: int, _size: int) -> Archive:
    archive: Archive = module_of(kind).open_archive(path)
    return archive


class Chosen(NamedTuple):
    """An entry: its weight, the bias that belongs to it, and whether the name asks for both."""

    weight: str
    bias: str | None
    with_bias: bool


def leaf_of(name: str) -> tuple[str, str]:
    """Return a name's module, with the mark behind it, and its last part without TensorFlow's number.

    Examples
    --------
    >>> leaf_of("layer1.0.conv1.weight"), leaf_of("conv/kernel:0"), leaf_of("weight")
    (('layer1.0.conv1.', 'weight'), ('conv/', 'kernel'), ('', 'weight'))
    """
    at = max(name.rfind("."), name.rfind("/")) + 1
    return name[:at], name[at:].removesuffix(_VARIABLE)


def bias_of(name: str, shapes: Shapes) -> str | None:
    """Return the bias beside a weight: a row of numbers.

    Examples
    --------
    >>> bias_of("c/kernel:0", {"c/kernel:0": (3, 3, 1, 8), "c/bias:0": (8,)})
    'c/bias:0'
    """
    module, leaf = leaf_of(name)
    names = (f"{module}{word}{end}" for word in _BIASES for end in ("", _VARIABLE))
    return next((each for each in names if len(shapes.get(each, ())) == 1), None) if leaf in _WEIGHTS else None


def is_channelwise(name: str) -> bool:
    """Whether an entry's name says that it is depthwise in TensorFlow's way: (rows, columns, channels, maps each)."""
    return leaf_of(name)[1].startswith("depthwise")


def layout_of(name: str, shape: Shape, bias: Shape = ()) -> str:
    """Return the order of a checkpoint's axes; ``oi`` is a linear layer, which is a kernel of one tap.

    A weight with channels first and one with channels last have the same number of axes: the name decides. The bias
    tells Keras' transposed kernels, whose maps come before their channels.

    Examples
    --------
    >>> layout_of("conv1.weight", (64, 3, 7, 7)), layout_of("Conv_0/kernel", (7, 7, 3, 64)), layout_of("k", (3, 3))
    ('oihw', 'hwio', 'hw')
    >>> layout_of("up/kernel", (4, 4, 8, 16), (8,)), layout_of("fc.weight", (10, 512), (10,))
    ('hwoi', 'oi')
    """
    sides = "dhw"[5 - len(shape) :]
    is_last = leaf_of(name)[1] in _LAST_CHANNELS
    if len(shape) == 2 and bias and bias[0] == shape[1 if is_last else 0]:
        return "io" if is_last else "oi"
    if len(shape) < 3 or not is_last:
        return {1: "w", 2: "hw", 3: "oiw", 4: "oihw", 5: "oidhw"}.get(len(shape), "")
    is_transposed = bool(bias) and bias[0] == shape[-2] != shape[-1] and not is_channelwise(name)
    return sides + ("oi" if is_transposed else "io")


def resolve(archive: Archive, entry: str, where: Path | str) -> Chosen:
    """Return the array that ``entry`` names.

    ``conv1`` means ``conv1.weight`` (or ``conv1/kernel``) and its bias, ``conv1.weight`` the weight alone. What stands
    in front (``state_dict.``, ``module.``) may be left out if only one entry ends so. No entry means the only weight.

    Raises
    ------
    KernelError
        No such entry, several that end so, or none named among several; the hint lists them.

    Examples
    --------
    >>> archive = Archive({"net.c.weight": (8, 3, 3, 3), "net.c.bias": (8,)}, lambda name: None)
    >>> resolve(archive, "c", "f.pt")
    Chosen(weight='net.c.weight', bias='net.c.bias', with_bias=True)
    """
    shapes = archive.shapes
    if not entry:
        return _only(shapes, where)
    if entry in shapes:
        return Chosen(entry, bias_of(entry, shapes), with_bias=False)
    if entry in archive.nodes:
        return Chosen(*archive.nodes[entry], with_bias=True)
    for ends in (False, True):
        found = [
            Chosen(name, bias_of(name, shapes), with_bias=leaf_of(name)[1] in _WEIGHTS and not _ends(name, entry, ends))
            for name in shapes
            if _ends(name, entry, ends) or (leaf_of(name)[1] in _WEIGHTS and _ends(leaf_of(name)[0][:-1], entry, ends))
        ]
        if len(found) == 1:
            return found[0]
        if found:
            message = f"{where} has {len(found)} entries that '{entry}' may mean"
            hint = f"name one whole: {_listed([each.weight for each in found], shapes)}"
            raise KernelError(message, hint=hint, entry=entry, entries=list(shapes))
    raise _no_entry(shapes, entry, where)


def _ends(name: str, entry: str, ends: bool) -> bool:
    """Whether a name is ``entry``, or ends in it behind a mark."""
    return name.endswith((f".{entry}", f"/{entry}")) if ends else name == entry


def _only(shapes: Shapes, where: Path | str) -> Chosen:
    """Return the only entry that can be kernels, with its bias."""
    names = _kernels(shapes)
    only = names if len(names) == 1 else list(shapes)
    if len(only) == 1:
        return Chosen(only[0], bias_of(only[0], shapes), with_bias=True)
    example = f"{Path(where).name}#{(names or ['?'])[0]}"
    message = f"{where} has {len(shapes)} entries; name one with #, as in '{example}'"
    raise KernelError(message, hint=f"there are {_listed(names, shapes)}", entries=list(shapes))


def _kernels(shapes: Shapes) -> list[str]:
    """Return the entries that can be kernels: those of three axes and more, else matrices, else all."""
    many = [name for name, shape in shapes.items() if len(shape) >= 3]
    return many or [name for name, shape in shapes.items() if len(shape) == 2] or list(shapes)


def _no_entry(shapes: Shapes, entry: str, where: Path | str) -> KernelError:
    listed = f"there are {_listed(_kernels(shapes), shapes)}" if shapes else "it has no arrays"
    hint = near_names(entry, shapes) or listed
    return KernelError(f"{where} has no entry '{entry}'", hint=hint, entry=entry, entries=list(shapes))


def _listed(names: Sequence[str], shapes: Shapes) -> str:
    shown = ", ".join(f"{name} {'x'.join(map(str, shapes[name]))}".rstrip() for name in names[:_SHOWN])
    rest = len(names) - _SHOWN
    return f"{shown} and {rest} more (convcli kernels check lists them)" if rest > 0 else shown
