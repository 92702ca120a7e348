"""Activations: functions of each sample by itself; none of them overflows on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import erfc, sqrt
from typing import Any, ClassVar

from convcli.geometry.sizes import parse_number
from convcli.layers.layer import Layer, Numbers, Row

#: Numbers of a clip, in running order.
_LIMITS = {"factor": 1.0, "offset": 0.0, "low": 0.0, "high": 1.0}


class Activation(Layer):
    """A function of each sample; subclasses define ``apply``."""

    def run(self, row: Row, inputs: Sequence[Any], numbers: Numbers, how: Mapping[str, Any]) -> Any:
        """Return the function of every sample, in the planes' type."""
        import numpy as np

        return self.apply(np, inputs[0])

    def apply(self, np: Any, planes: Any) -> Any:
        """Return the function by NumPy, which no other command needs."""
        raise NotImplementedError


class Identity(Activation):
    """The samples as they are, as ``torch.nn.Identity``, and ``Dropout`` in evaluation mode."""

    kind = "identity"
    aliases = ("dropout", "alphadropout")

    def apply(self, np: Any, planes: Any) -> Any:
        return planes


class Sigmoid(Activation):
    """``1 / (1 + exp(-x))``, as ``torch.nn.Sigmoid``."""

    kind = "sigmoid"

    def apply(self, np: Any, planes: Any) -> Any:
        small = np.exp(-np.abs(planes))  # at most 1: no overflow, and no digits lost where x is far below 0
        return np.where(planes >= 0, planes.dtype.type(1), small) / (1 + small)


class Silu(Sigmoid):
    """``x · sigmoid(x)``, as ``torch.nn.SiLU``."""

    kind = "silu"
    aliases = ("swish",)

    def apply(self, np: Any, planes: Any) -> Any:
        return planes * super().apply(np, planes)


class Hardswish(Activation):
    """``x · min(max(x + 3, 0), 6) / 6``, as ``torch.nn.Hardswish``."""

    kind = "hardswish"

    def apply(self, np: Any, planes: Any) -> Any:
        return planes * np.clip(planes + 3, 0, 6) / 6


class Gelu(Activation):
    """``x · Φ(x)`` with the normal distribution function, exact, as ``torch.nn.GELU``."""

    kind = "gelu"

    def apply(self, np: Any, planes: Any) -> Any:
        upper = np.frompyfunc(erfc, 1, 1)(planes.astype(np.float64) * -sqrt(0.5))
        return (planes * (0.5 * upper.astype(np.float64))).astype(planes.dtype)


class Relu(Activation):
    """Rectifier and other functions by ``mode``.

    ``clip`` is ``x · factor + offset`` kept from ``low`` to ``high`` (0 to 1 without ``constants``), as ONNX's Clip and
    HardSigmoid.
    """

    kind = "relu"
    aliases = ("activation",)
    bare = "mode"
    parameters = ("value", "constants")
    constants = tuple(_LIMITS)
    of_mode: ClassVar[Mapping[str, str]] = {"value": "leaky", "constants": "clip"}
    modes = ("relu", "relu6", "leaky", "abs", "sigmoid", "tanh", "hardswish", "silu", "clip")

    @classmethod
    def build(cls, fields: dict[str, Any], n_axes: int) -> Layer:
        """Return the layer; a leaky one has torch's slope unless given otherwise."""
        if "constants" in fields:
            fields["constants"] = tuple((key, parse_number(str(value), key)) for key, value in fields["constants"])
        if fields.get("mode") == "leaky":
            fields.setdefault("value", 0.01)
        return super().build(fields, n_axes)

    def apply(self, np: Any, planes: Any) -> Any:
        if self.mode in _SHARED:
            return _SHARED[self.mode]().apply(np, planes)
        if self.mode == "leaky":
            return np.where(planes >= 0, planes, planes * planes.dtype.type(self.value))
        if self.mode == "relu6":
            return np.clip(planes, 0, 6)
        if self.mode == "clip":
            numbers: Any = dict(self.weights).get("constants", ())
            factor, offset, low, high = (_LIMITS | dict(numbers)).values()
            return np.clip(planes * factor + offset, low, high)
        return np.maximum(planes, 0) if self.mode == "relu" else getattr(np, self.mode)(planes)


#: Modes of ``relu`` that are kinds of their own.
_SHARED = {kind.kind: kind for kind in (Sigmoid, Hardswish, Silu)}
