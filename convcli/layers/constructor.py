"""Torch's constructors as layers: ``Conv2d(3, 64, 7, stride=2, padding=3)`` as :mod:`torch.nn` prints and takes them.

Only literals are read: the text is parsed as Python and never run.
"""

from __future__ import annotations

import ast

from convcli.errors import UsageError, near_names

_CONV = "in_channels out_channels kernel_size stride padding"
#: Kind → names of the positional arguments in torch's order.
_ORDERS = {
    "conv": f"{_CONV} dilation groups bias padding_mode",
    "convtranspose": f"{_CONV} output_padding groups bias dilation padding_mode",
    "maxpool": "kernel_size stride padding dilation return_indices ceil_mode",
    "avgpool": "kernel_size stride padding ceil_mode count_include_pad divisor_override",
    "globalpool": "output_size",
    "batchnorm": "in_channels eps momentum affine track_running_stats",
    "relu": "inplace",
    "upsample": "size scale_factor mode align_corners",
    "shuffle": "groups",
    "pad": "padding value",
}
_RENAMED = {"num_features": "in_channels"}
#: Arguments that change no shape and no value of a layer that runs here, and the only value some of them can have.
_IGNORED = {"inplace", "momentum", "return_indices", "device", "dtype", "approximate"}
_FIXED = {
    "affine": (True,),
    "track_running_stats": (True,),
    "divisor_override": (None,),
    "align_corners": (None, False),
    "size": (None,),
    "output_size": (1, (1,), (1, 1), (1, 1, 1)),
}


def read_constructor(text: str, kind: str, word: str) -> dict[str, str]:
    """Return the arguments of a torch constructor as text by full name; ``?`` may stand for a number.

    Examples
    --------
    >>> read_constructor("Conv2d(3, 64, (7, 5), stride=2, bias=False)", "conv", "Conv2d")["kernel_size"]
    '7x5'
    """
    try:
        # An unknown number is written ?, which is no Python: a string in its place survives literal_eval.
        call = ast.parse(text.strip().replace("?", "'?'"), mode="eval").body
        if not isinstance(call, ast.Call):
            raise ValueError
        given = [ast.literal_eval(each) for each in call.args]
        named = {key.arg or "**": ast.literal_eval(key.value) for key in call.keywords}
    except (ValueError, SyntaxError):
        raise UsageError("is not a constructor with plain numbers", hint=f"{word}(3, 64, 7, stride=2)") from None
    # Activations have no other positional argument in torch.
    order = _ORDERS.get(kind, "inplace").split()
    if len(given) > len(order):
        raise UsageError(f"{word} takes at most {len(order)} arguments", hint=", ".join(order))
    values = dict(zip(order, given, strict=False))
    for key, value in named.items():
        name = _RENAMED.get(key, key)
        if name in values:
            raise UsageError(f"{key} is given twice")
        if name not in order and name not in _IGNORED:
            raise UsageError(f"{word} has no argument {key!r}", hint=near_names(name, order) or ", ".join(order))
        values[name] = value
    for name, allowed in _FIXED.items():
        if name in values and values[name] not in allowed:
            raise UsageError(f"{word} with {name}={values[name]!r} is not measured", hint=f"{name}={allowed[0]}")
    kept = {name: value for name, value in values.items() if name not in (*_IGNORED, *_FIXED) and value is not None}
    if kind == "pad" and isinstance(kept.get("padding"), tuple):  # torch: the last axis first
        pairs = [kept["padding"][i : i + 2] for i in range(0, len(kept["padding"]), 2)]
        kept["padding"] = ",".join(str(side) for pair in reversed(pairs) for side in pair)
    return {name: _as_text(value) for name, value in kept.items()}


def _as_text(value: object) -> str:
    """Return a literal as the text of a chain has it."""
    return "x".join(map(str, value)) if isinstance(value, tuple | list) else str(value)
