"""Other names of layers: aliases, and torch's constructors as :mod:`torch.nn` prints and takes them.

``Conv2d(3, 64, 7, stride=2, padding=3)`` is parsed as Python and never run: only literals are read.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from convcli.errors import UsageError, near_names
from convcli.layers.kinds import NAMES, WORDS
from convcli.layers.layer import LOADED, SHORT, Word

_CONV = "in_channels out_channels kernel_size stride padding"
#: Kind → names of the positional arguments in torch's order.
_ORDERS = {
    "conv": f"{_CONV} dilation groups bias padding_mode",
    "convtranspose": f"{_CONV} output_padding groups bias dilation padding_mode",
    "maxpool": "kernel_size stride padding dilation return_indices ceil_mode",
    "avgpool": "kernel_size stride padding ceil_mode count_include_pad divisor_override",
    "globalpool": "output_size",
    "batchnorm": "in_channels eps momentum affine track_running_stats offset",
    "relu": "inplace",
    "upsample": "size scale_factor mode align_corners",
    "shuffle": "groups",
    "pixelshuffle": "scale_factor",
    "pad": "padding value",
    "identity": "p inplace",
    "gelu": "approximate",
}
_RENAMED = {"num_features": "in_channels", "negative_slope": "value", "upscale_factor": "scale_factor"}
#: A batch norm prints whether it has an offset, in a convolution's word.
_RENAMED_OF = {"batchnorm": {"bias": "offset"}}
#: torch's classes that are a mode of one of our words, without 1d, 2d and 3d.
_MODES = {
    "leakyrelu": ("relu", {"mode": "leaky", "value": "0.01"}, "value inplace"),
    "relu6": ("relu", {"mode": "relu6"}, "inplace"),
    "tanh": ("relu", {"mode": "tanh"}, ""),
    "reflectionpad": ("pad", {"mode": "reflect"}, "padding"),
    "replicationpad": ("pad", {"mode": "replicate"}, "padding"),
    "circularpad": ("pad", {"mode": "circular"}, "padding"),
    "constantpad": ("pad", {"mode": "constant"}, "padding value"),
}
#: What people call them, and kinds of torch that are not here: for hints.
_SPELLINGS = {
    "leaky": "leakyrelu",
    "lrelu": "leakyrelu",
    "reflectpad": "reflectionpad",
    "replicatepad": "replicationpad",
}
_ACTIVATIONS = (
    "celu elu glu hardshrink hardsigmoid hardtanh logsigmoid logsoftmax mish prelu rrelu selu softmax softmin softplus"
    " softshrink softsign tanhshrink threshold"
)
_NORMS = "groupnorm gn instancenorm in layernorm ln localresponsenorm lrn rmsnorm syncbatchnorm"
#: Arguments that change no shape and no value of a layer that runs here, and the only value some of them can have.
_IGNORED = {"inplace", "momentum", "return_indices", "device", "dtype", "p"}
#: Arguments that no constructor has: names, and where a layer's numbers come from.
_OURS = {"name", "weight", "bias_from", "init", "seed"}
_FIXED = {
    "affine": (True,),
    "track_running_stats": (True,),
    "divisor_override": (None,),
    "align_corners": (None, False),
    "size": (None,),
    "offset": (True,),
    "approximate": ("none",),
    "output_size": (1, (1,), (1, 1), (1, 1, 1)),
}


def load_aliases() -> dict[str, str]:
    """Return the other names of all words."""
    for module in WORDS:
        import_module(f"convcli.layers.kinds.{module}")
    return {alias: name for name in NAMES for alias in LOADED[name].aliases}


def find_alias(name: str, word: str, given: str = "") -> str:
    """Return the kind that has an alias; raise with a hint for the ``word`` as it was typed, and the text after it.

    Examples
    --------
    >>> find_alias("dw", "DW")
    'depthwise'
    """
    aliases = load_aliases()
    if name in aliases:
        return aliases[name]
    hint = _slip(name, word, aliases) or _way_to(_SPELLINGS.get(name, name), given)
    if not hint:
        near = difflib.get_close_matches(name, sorted([*NAMES, *aliases, *_MODES]), n=3, cutoff=0.6)
        # Words of --help: a near alias suggests its word.
        found = dict.fromkeys(_way_to(each, given) or aliases.get(each, each) for each in near)
        hint = f"did you mean {', '.join(found)}?" if found else f"known: {', '.join(NAMES)}"
    raise UsageError(f"unknown layer {word!r}" if word else "a layer's name is missing", hint=hint)


def _slip(name: str, word: str, aliases: Mapping[str, str]) -> str:
    """Return a hint about blanks, commas and prefixes around a word that is known; empty without one."""
    if word and not any(map(str.isalnum, word)):
        return f"layers are separated by blanks alone: leave {word} out"
    key, _, value = word.partition("=")
    if value and any(Word.full_name(key) in each.known() for each in LOADED.values()):
        return f"a parameter follows its layer after a comma, without a blank: ...,{word}"
    parts = [part for part in re.split(r"\W+", name) if part in aliases or part in NAMES]
    if parts and "," in word and not value:
        return f"a blank and no comma stands between layers: {word.replace(',', ' ')}"
    return f"did you mean {', '.join(dict.fromkeys(aliases.get(each, each) for each in parts))}?" if parts else ""


def _way_to(name: str, given: str) -> str:
    """Return the way to get a layer that has no word of its own, or what there is instead; empty for other names.

    Examples
    --------
    >>> _way_to("leakyrelu", "0.2"), _way_to("leakyrelu", ""), _way_to("reflectionpad", "padding=2")
    ('relu:leaky,value=0.2', 'relu:leaky,value=0.01', 'pad:2,mode=reflect')
    """
    if name in _MODES:
        kind, own, order = _MODES[name]
        number = found[0] if (found := re.search(r"[-+.\d][-+.\de]*", given)) else ""
        if kind == "pad":
            return f"pad:{number or 1},mode={own['mode']}"
        value = number if order.startswith("value") and number else own.get("value")
        return f"{kind}:{own['mode']}{f',value={value}' if value else ''}"
    if name in _ACTIVATIONS.split():
        from convcli.layers.kinds.activations import Relu

        modes = ", ".join(f"relu:{mode}" for mode in Relu.modes if mode not in (*NAMES, "clip"))
        return f"activations are {', '.join(WORDS['activations'])}, {modes}"
    if name in _NORMS.split():
        return "batchnorm is the one norm here"
    if name in ("linear", "flatten", "fc", "dense"):
        return "layers work on planes here: leave out what comes after them, or pointwise for a linear layer"
    if name in ("sequential", "modulelist"):
        return "write its layers one after the other, each a word"
    from convcli.banks.library import is_known

    spec = f"{name}:{given}" if given else name
    return f"conv:{spec} for the kernel of this name" if is_known(name) else ""


def key_hint(part: str, key: str, values: Mapping[str, str], keys: str) -> str:
    """Return what may have been meant by a value without a key, behind the value of ``key``.

    Examples
    --------
    >>> key_hint("5", "k", {"kernel_size": "3"}, ""), key_hint("relu", "p", {}, "")
    ('k=3x5, one number an axis', 'a blank and no comma before relu')
    """
    if not part:
        return "one comma less"
    if key in ("k", "s", "d", "op", "f") and part.isdecimal():
        return f"{key}={values[SHORT[key]]}x{part}, one number an axis"
    name = re.split(r"[:(]", part)[0].lower()
    if name in NAMES:
        return f"a blank and no comma before {part}"
    return f"from=first+second, no comma: {keys}" if key == "from" else f"a parameter is key=value, such as k=3: {keys}"


def read_list(text: str) -> str:
    r"""Return the layers in torch's ``Sequential(...)``, as it is written or printed; a text without one raises.

    Examples
    --------
    >>> read_list("nn.Sequential(ReLU(), # first\nMaxPool2d(2))"), read_list("Sequential((0): ReLU() (1): Tanh())")
    ('ReLU(), \nMaxPool2d(2)', 'ReLU() Tanh()')
    """
    found = re.fullmatch(r"(?:torch\.)?(?:nn\.)?Sequential\((.*)\)", text, re.DOTALL)
    if found is None:
        hint = "one Sequential(...) of it: other modules do not print the order in which they run"
        raise UsageError(f"{text[:60]!r} is no list of layers", hint=hint)
    # Printed layers have their names before them, written ones perhaps a comment behind.
    return re.sub(r"\(\w+\):\s|#.*$", "", found[1], flags=re.MULTILINE)


def our_word(word: str) -> str:
    """Return our word for one of torch's classes that is a mode of it; other words stay.

    Examples
    --------
    >>> our_word("ReflectionPad2d"), our_word("LeakyReLU"), our_word("Conv2d")
    ('pad2d', 'relu', 'Conv2d')
    """
    name, axes = _split_axes(word)
    return f"{_MODES[name][0]}{axes}" if name in _MODES else word


def _split_axes(word: str) -> tuple[str, str]:
    name = word.lower()
    return (name[:-2], name[-2:]) if name[-2:] in ("1d", "2d", "3d") else (name, "")


def read_constructor(text: str, kind: str, word: str) -> dict[str, str]:
    """Return the arguments of a torch constructor as text by full name; ``?`` may stand for a number.

    Examples
    --------
    >>> read_constructor("Conv2d(3, 64, (7, 5), stride=2, bias=False)", "conv", "Conv2d")["kernel_size"]
    '7x5'
    """
    if kind in ("conv", "convtranspose") and word.endswith("D"):  # its first number are maps, torch's are channels
        raise UsageError(f"{word} is Keras' constructor", hint=f"conv:64,k=3,p=same, or torch's {word[:-1]}d(3, 64, 3)")
    try:
        # An unknown number is written ?, which is no Python: a string in its place survives literal_eval.
        call = ast.parse(text.strip().replace("?", "'?'"), mode="eval").body
        if not isinstance(call, ast.Call):
            raise ValueError
        given = [_literal(each) for each in call.args]
        named = {key.arg or "**": _literal(key.value) for key in call.keywords}
    except (ValueError, SyntaxError):
        is_list = re.search(r"\)\s*,", text)
        hint = "a blank and no comma stands between layers" if is_list else f"{word}(3, 64, 7, stride=2)"
        raise UsageError("is not a constructor with plain numbers", hint=hint) from None
    # Activations have no other positional argument in torch.
    _, own, written = _MODES.get(_split_axes(word)[0], ("", {}, _ORDERS.get(kind, "inplace")))
    order = written.split()
    if len(given) > len(order):
        raise UsageError(f"{word} takes at most {len(order)} arguments", hint=", ".join(order))
    values = dict(zip(order, given, strict=False))
    for key, value in named.items():
        name = (_RENAMED | _RENAMED_OF.get(kind, {})).get(key, key)
        if name in values:
            raise UsageError(f"{key} is given twice")
        if name not in order and name not in _IGNORED | _OURS:
            raise UsageError(f"{word} has no argument {key!r}", hint=near_names(name, order) or ", ".join(order))
        values[name] = value
    for name, allowed in _FIXED.items():
        if name in values and values[name] not in allowed:
            hint = "scale_factor=2" if name == "size" else f"{name}={allowed[0]!r}"
            raise UsageError(f"{word} with {name}={values[name]!r} is not measured", hint=hint)
    if "bias" in values:  # torch asks whether it is true, and None is not
        values["bias"] = values["bias"] or False
    kept = {name: value for name, value in values.items() if name not in (*_IGNORED, *_FIXED) and value is not None}
    if kind == "pad" and isinstance(kept.get("padding"), tuple):  # torch: the last axis first
        pairs = [kept["padding"][i : i + 2] for i in range(0, len(kept["padding"]), 2)]
        kept["padding"] = ",".join(str(side) for pair in reversed(pairs) for side in pair)
    # Upsample prints whole factors as 2.0.
    for name, value in kept.items():
        numbers = value if isinstance(value, tuple | list) else (value,)
        kept[name] = "x".join(str(each).removesuffix(".0" if name == "scale_factor" else "") for each in numbers)
    return {**own, **kept}


def _literal(node: ast.expr) -> Any:
    """Return a value; a name stands for itself, because torch prints ``padding=same`` without quotes."""
    return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)
