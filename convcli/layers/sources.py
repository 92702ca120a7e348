"""A bank, a checkpoint's entry or random numbers as the weight of a layer, which then says its maps and its kernel.

``conv:sobel`` runs as ``apply -k sobel`` does: kernels of one channel on every channel by itself. Standard library
until a weight is looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convcli.errors import UNOPENED, GeometryError, KernelError
from convcli.layers.layer import CHECKPOINTS, Layer, Values, Word

if TYPE_CHECKING:
    from convcli.banks.bank import KernelBank


def is_checkpoint(spec: str) -> bool:
    """Whether a SPEC names a file of a network's weights.

    Examples
    --------
    >>> is_checkpoint("net.pt#conv1"), is_checkpoint("sobel#x")
    (True, False)
    """
    return spec.partition("#")[0].lower().endswith(CHECKPOINTS)


def continues_spec(spec: str, row: type[Word], part: str, last: str) -> bool:
    """Whether a later value belongs to the kernel: a parameter of its family, a modifier, or more of a list.

    A key that both have belongs to the kernel, whose text comes first; quotes around the kernel tell them apart.

    Examples
    --------
    >>> from convcli.layers.kinds.conv import Conv
    >>> [continues_spec("gaussian:sigma=2", Conv, part, "weight") for part in ("size=5", "s=2", "scale=3", "q=1")]
    [True, False, True, False]
    """
    key, equals, _ = part.partition("=")
    if not equals:
        return last == "weight" and "=" in spec
    from convcli.banks.catalogue import find_family
    from convcli.banks.library import normal_name
    from convcli.banks.spec import MODIFIERS

    key = key.strip().lower().replace("-", "_")
    family = find_family(normal_name(re.split(r"[:\s]", spec, maxsplit=1)[0]))
    if family is not None and any(each.name == family.full_name(key) for each in family.parameters):
        return True
    return key in MODIFIERS and row.full_name(key) not in row.known()


def anchored(spec: str, folder: Path | None) -> str:
    """Return a SPEC with its file name in a folder, if there is such a file."""
    name, mark, entry = spec.partition("#")
    # A bank's name (sobel) is no file of the folder and stays as it is.
    if folder is not None and not Path(name).is_absolute() and (folder / name).is_file():
        return f"{folder / name}{mark}{entry}"
    return spec


def load_weight(spec: str, *, with_bias: bool | None = None) -> KernelBank:
    """Return the bank of a layer's weight; a checkpoint's brings its bias if ``with_bias``, by whatever name."""
    from convcli.banks.load import bank_of_file, load_bank

    name, _, entry = spec.partition("#")
    if not is_checkpoint(spec) or re.search(r"\s", entry):  # modifiers are for the loader of SPECs
        return load_bank(spec)
    if not Path(name).is_file():
        raise KernelError(f"no file {name!r}", hint=UNOPENED)
    return bank_of_file(Path(name), entry=entry, with_bias=with_bias)


def read_tensor(spec: str) -> Any:
    """Return one array of a checkpoint as float64: ``net.pt#bn1.running_mean``."""
    import numpy as np

    from convcli.banks.formats.entries import open_archive, resolve

    name, _, entry = spec.partition("#")
    if not Path(name).is_file():
        raise KernelError(f"no file {name!r}", hint=UNOPENED)
    if not entry:
        raise KernelError(f"{spec!r} names no entry", hint=f"{name}#ENTRY; `convcli shape {name}` lists them")
    archive = open_archive(Path(name))
    return np.asarray(archive.read(resolve(archive, entry, name).weight), np.float64)


def kernel_for(sizes: tuple[int, ...], n_axes: int) -> tuple[int, ...]:
    """Return kernel sizes for ``n_axes`` axes; only sizes of 1 are added or removed in front.

    Examples
    --------
    >>> kernel_for((1, 3), 1), kernel_for((5, 3), 3), kernel_for((2, 5, 3), 2)
    ((3,), (1, 5, 3), (2, 5, 3))
    """
    while len(sizes) > n_axes and sizes[0] == 1:
        sizes = sizes[1:]
    return (1,) * (n_axes - len(sizes)) + sizes


def layer_of_weight(cls: type[Any], make: Callable[..., tuple[Layer, ...]], values: Values, n_axes: int) -> Layer:
    """Return the convolution that a weight makes where its maps or its kernel are not given; ``make`` takes values."""
    is_transposed, is_channelwise = cls.is_transposed, cls.bare == "multiplier"
    spec, given = str(values["weight"]), dict(values)
    bank = load_weight(spec, with_bias=True)
    first, second = bank.shape[:2]
    kernel = kernel_for(bank.shape[2:], n_axes)
    if len(kernel) > n_axes:
        message = f"{spec!r} has a kernel of {len(kernel)} axes, and the input has {n_axes}"
        raise GeometryError(message, hint="a file of several frames runs it: convcli apply -k")
    if "kernel_size" in cls.parameters:
        given.setdefault("kernel_size", kernel)
    elif set(kernel) != {1}:
        size = "x".join(map(str, kernel))
        raise GeometryError(f"{spec!r} has a kernel of {size}, and {cls.kind} has one of 1", hint=f"conv:{spec}")
    given.setdefault("bias", bank.bias is not None or (is_transposed and bank.out_bias is not None))
    groups = str(given.pop("groups", "auto")).strip().lower()
    if is_channelwise or (groups == "auto" and second == 1):
        # The number of maps follows from the channels that arrive: a placeholder, which no count reads.
        more = {} if is_channelwise else {"out_channels": given.get("out_channels", 1), "groups": "auto"}
        (layer,) = make({**given, **more})
        if cls.bare in values:  # the weight is held against it when the channels are known
            return replace(layer, groups=0)
        # torch's depthwise layer has one kernel a map; a kernel alone can only be meant for each channel.
        if is_checkpoint(spec) and first > 1:
            return replace(layer, out_channels=first, groups=0)
        return replace(layer, out_channels=0, groups=0, multiplier=first)
    if groups != "auto":
        given["groups"] = groups
    n_groups = int(groups) if groups.isdecimal() else 1
    given.setdefault("out_channels", second * n_groups if is_transposed else first)
    if second > 1 and "in_channels" in cls.parameters:
        given.setdefault("in_channels", first if is_transposed else second * n_groups)
    return make(given)[0]
