"""A bank, a checkpoint's entry or random numbers as the weight of a layer, which then says its maps and its kernel.

``conv:sobel`` runs as ``apply -k sobel`` does: kernels of one channel on every channel by itself. Standard library
until a weight is looked at.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from convcli.errors import GeometryError, KernelError, UsageError
from convcli.geometry.sizes import parse_count, parse_number, parse_switch

if TYPE_CHECKING:
    from convcli.banks.bank import KernelBank
    from convcli.layers.layer import Layer, Positions, Values, Word

#: Files that list their convolution weights.
CHECKPOINTS = (".safetensors", ".pt", ".pth", ".ckpt", ".bin", ".pth.tar", ".index.json", ".onnx")
#: A value of a layer begins like this, a kernel's name never.
_NUMBER = re.compile(r"\s*[-+?\d]")


def is_checkpoint(spec: str) -> bool:
    """Whether a SPEC names a file of a network's weights.

    Examples
    --------
    >>> is_checkpoint("net.pt#conv1"), is_checkpoint("sobel#x")
    (True, False)
    """
    return spec.partition("#")[0].lower().endswith(CHECKPOINTS)


def takes_spec(row: type[Word], part: str) -> bool:
    """Whether the first value of a word is a kernel, and no number or parameter of the layer.

    Examples
    --------
    >>> from convcli.layers.kinds.conv import Conv
    >>> [takes_spec(Conv, part) for part in ("sobel", "gaussian:sigma=2", "64", "k=3", "q=3")]
    [True, True, False, False, False]
    """
    if "weight" not in row.parameters or row.bare not in ("out_channels", "multiplier"):
        return False
    key, equals, _ = part.partition("=")
    if equals and part.strip()[:1] not in "'\"[(":
        # Parameters of a family stand behind its name and a colon, and a modifier behind a blank.
        return not _NUMBER.match(part) and any(mark in key.strip() for mark in ": #/")
    return bool(part.strip()) and (not _NUMBER.match(part) or "#" in part or Path(part.strip()).is_file())


def continues_spec(spec: object, row: type[Word], part: str, last: str) -> bool:
    """Whether a later value belongs to the kernel: a parameter of its family, a modifier, or more of a list.

    A key that both have belongs to the kernel, whose text comes first; quotes around the kernel tell them apart.

    Examples
    --------
    >>> from convcli.layers.kinds.conv import Conv
    >>> [continues_spec("gaussian:sigma=2", Conv, part, "weight") for part in ("size=5", "s=2", "scale=3", "q=1")]
    [True, False, True, False]
    """
    if not isinstance(spec, str):
        return False
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
        raise KernelError(f"no file {name!r}")
    return bank_of_file(Path(name), entry=entry, with_bias=with_bias)


def split_sources(values: Values, at: Positions) -> tuple[dict[str, object], tuple[float, ...]]:
    """Return values with ``seed`` as a part of ``init``, and the numbers of a ``bias`` that is no switch.

    Examples
    --------
    >>> split_sources({"init": "normal", "seed": "3", "bias": "0.5"}, {})
    ({'init': {'kind': 'normal', 'seed': 3}, 'bias': 'true'}, (0.5,))
    """
    given, numbers = dict(values), read_bias(values["bias"], at.get("bias", 0)) if "bias" in values else ()
    if numbers:
        given["bias"] = "true"
    if "seed" in given:
        seed = parse_count(str(given.pop("seed")), "seed", minimum=0, at=at.get("seed", 0))
        init = given.get("init", "default")
        given["init"] = {**({"kind": init} if isinstance(init, str) else dict(init)), "seed": seed}  # type: ignore[call-overload]
    return given, numbers


def read_bias(value: object, at: int = 0) -> tuple[float, ...]:
    """Return the numbers of a bias; empty for true and false.

    Examples
    --------
    >>> read_bias("0.5"), read_bias([1, 2]), read_bias("false")
    ((0.5,), (1.0, 2.0), ())
    """
    text = str(value).strip().lower()
    if text == "1" and not isinstance(value, bool):
        raise UsageError(
            "bias 1 is the number or the switch", hint="bias=1.0 adds 1, bias=true is drawn or stored", position=at
        )
    if text == "0" or not re.match(r"[-+.\d\[(]", text):
        parse_switch(text, "bias", at=at)
        return ()
    # Brackets keep the commas of a list together in a text.
    return tuple(parse_number(each.strip(), "bias", at=at) for each in text.strip("[]()").split(","))


def layer_of_weight(
    make: Any, values: Values, n_axes: int, *, is_transposed: bool, is_channelwise: bool
) -> tuple[Layer, ...]:
    """Return the layer that a weight makes where its maps or its kernel are not given.

    Parameters
    ----------
    make : callable
        Makes the layer from values.
    is_channelwise : bool
        It has a group for each channel whatever the weight.
    """
    spec, given = str(values["weight"]), dict(values)
    bank = load_weight(spec, with_bias=True)
    first, second, *kernel = bank.shape
    while len(kernel) > n_axes and kernel[0] == 1:
        kernel = kernel[1:]
    if len(kernel) > n_axes:
        message = f"{spec!r} has a kernel of {len(kernel)} axes, and the input has {n_axes}"
        raise GeometryError(message, hint="a file of several frames runs it: convcli apply -k")
    given.setdefault("kernel_size", [*(1,) * (n_axes - len(kernel)), *kernel])
    given.setdefault("bias", bank.bias is not None or (is_transposed and bank.out_bias is not None))
    groups = str(given.pop("groups", "auto")).strip().lower()
    is_auto = is_channelwise or (groups == "auto" and second == 1)
    if is_auto:
        # The number of maps follows from the channels that arrive: a placeholder, which no count reads.
        placeholder = {} if is_channelwise else {"out_channels": 1, "groups": "auto"}
        (layer,) = make({**given, **placeholder})
        # torch's depthwise layer has one kernel a map; a kernel alone can only be meant for each channel.
        if is_checkpoint(spec) and first > 1:
            return (replace(layer, out_channels=first, groups=0),)
        return (replace(layer, out_channels=0, groups=0, multiplier=first),)
    if groups != "auto":
        given["groups"] = groups
    n_groups = int(groups) if groups.isdecimal() else 1
    given.setdefault("out_channels", second * n_groups if is_transposed else first)
    if second > 1:
        given.setdefault("in_channels", first if is_transposed else second * n_groups)
    made: tuple[Layer, ...] = make(given)
    return made
