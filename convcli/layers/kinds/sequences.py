"""Words that stand for several convolutions: depthwise separable, spatially separable, flattened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from convcli.errors import UsageError
from convcli.layers.layer import Layer, Word

Values = dict[str, object]


class Sequence(Word):
    """A word for several layers; subclasses define ``steps``."""

    bare = "out_channels"
    needed = ("out_channels", "kernel_size")
    has_window = True

    @classmethod
    def steps(cls, whole: Layer, given: Mapping[str, object]) -> list[tuple[str, str, Values]]:
        raise NotImplementedError


class Separable(Sequence):
    """Depthwise, then pointwise (Xception, MobileNet)."""

    kind = "separable"
    aliases = ("ds", "depthwiseseparable")
    parameters = ("kernel_size", "stride", "padding", "dilation", "multiplier", "bias")
    example = "separable:64,k=3,p=1"

    @classmethod
    def steps(cls, whole: Layer, given: Mapping[str, object]) -> list[tuple[str, str, Values]]:
        depthwise = {key: value for key, value in given.items() if key != "out_channels"}
        return [("depthwise", "depthwise", depthwise), ("pointwise", "pointwise", _out(whole))]


class Spatial(Sequence):
    """One convolution per axis."""

    kind = "spatial"
    aliases: ClassVar[tuple[str, ...]] = ("spatiallyseparable",)
    parameters: ClassVar[tuple[str, ...]] = ("kernel_size", "stride", "padding", "dilation", "groups", "bias")
    example = "spatial:64,k=3,p=1"

    @classmethod
    def steps(cls, whole: Layer, given: Mapping[str, object]) -> list[tuple[str, str, Values]]:
        more = {**_out(whole), "groups": whole.groups}
        return [(name, "conv", {**line, **more}) for name, line in cls.lines(whole)]

    @classmethod
    def lines(cls, whole: Layer) -> list[tuple[str, Values]]:
        """Return (name, window) along each axis."""
        if whole.n_axes == 1:
            raise UsageError(f"{cls.kind} needs at least two axes", hint="conv")
        names = ("depth", "vertical", "horizontal")[-whole.n_axes :]
        return [(name, _one_axis(whole, axis)) for axis, name in enumerate(names)]


class Flattened(Spatial):
    """Pointwise, then one depthwise convolution per axis (Jin, Dundar and Culurciello 2014)."""

    kind = "flattened"
    aliases = ()
    parameters = ("kernel_size", "stride", "padding", "dilation", "bias")
    example = "flattened:64,k=3,p=1"

    @classmethod
    def steps(cls, whole: Layer, given: Mapping[str, object]) -> list[tuple[str, str, Values]]:
        lines = [(name, "depthwise", {**line, "bias": whole.bias}) for name, line in cls.lines(whole)]
        return [("lateral", "pointwise", _out(whole)), *lines]


def _out(whole: Layer) -> Values:
    return {"out_channels": whole.out_channels, "bias": whole.bias}


def _one_axis(layer: Layer, axis: int) -> Values:
    """Return the window of a layer along one axis, and none along the others."""
    neutral: dict[str, Any] = {"kernel_size": 1, "stride": 1, "dilation": 1, "padding": (0, 0)}
    return {
        name: value
        if isinstance(value := getattr(layer, name), str)
        else [each if i == axis else nothing for i, each in enumerate(value)]
        for name, nothing in neutral.items()
    }
