"""Words that stand for several convolutions: depthwise separable, spatially separable, flattened."""

from __future__ import annotations

from typing import Any, ClassVar

from convcli.errors import UsageError
from convcli.layers.kinds.conv import Conv, Depthwise, Pointwise
from convcli.layers.layer import COMMON, NOWHERE, Layer, Positions, Values, Word

Step = tuple[str, type[Layer], dict[str, object]]


class Sequence(Word):
    """A word for several layers; subclasses define ``steps``."""

    bare = "out_channels"
    needed = ("out_channels", "kernel_size")
    has_window = True

    @classmethod
    def make(cls, values: Values, n_axes: int = 2, label: str = "", at: Positions = NOWHERE) -> tuple[Layer, ...]:
        cls.check_known(values, at)
        cls.check_needed(values)
        given = {key: value for key, value in values.items() if key not in COMMON}
        window = {key: value for key, value in given.items() if key != "multiplier"}
        (whole,) = Conv.make(window, n_axes, at=at)
        steps = cls.steps(whole, given)
        if "from" in values:
            steps[0][2]["from"] = values["from"]
        if "name" in values:
            steps[-1][2]["name"] = values["name"]
        layers: list[Layer] = []
        for name, kind, step in steps:
            layers += kind.make(step, n_axes, f"{cls.kind}.{name}", at)
        return tuple(layers)

    @classmethod
    def steps(cls, whole: Layer, given: Values) -> list[Step]:
        """Return (name, kind, values) of each layer, from the ``whole`` convolution and the values given."""
        raise NotImplementedError


class Separable(Sequence):
    """Depthwise, then pointwise (Xception, MobileNet)."""

    kind = "separable"
    aliases = ("ds", "depthwiseseparable")
    parameters = ("kernel_size", "stride", "padding", "dilation", "multiplier", "bias")
    example = "separable:64,k=3,p=1"

    @classmethod
    def steps(cls, whole: Layer, given: Values) -> list[Step]:
        depthwise = {key: value for key, value in given.items() if key != "out_channels"}
        return [("depthwise", Depthwise, depthwise), ("pointwise", Pointwise, _out(whole))]


class Spatial(Sequence):
    """One convolution per axis."""

    kind = "spatial"
    aliases: ClassVar[tuple[str, ...]] = ("spatiallyseparable",)
    parameters: ClassVar[tuple[str, ...]] = ("kernel_size", "stride", "padding", "dilation", "groups", "bias")
    example = "spatial:64,k=3,p=1"

    @classmethod
    def steps(cls, whole: Layer, given: Values) -> list[Step]:
        more = {**_out(whole), "groups": whole.groups}
        return [(name, Conv, {**line, **more}) for name, line in cls.lines(whole)]

    @classmethod
    def lines(cls, whole: Layer) -> list[tuple[str, dict[str, object]]]:
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
    def steps(cls, whole: Layer, given: Values) -> list[Step]:
        lines = [(name, Depthwise, {**line, "bias": whole.bias}) for name, line in cls.lines(whole)]
        return [("lateral", Pointwise, _out(whole)), *lines]


def _out(whole: Layer) -> dict[str, object]:
    return {"out_channels": whole.out_channels, "bias": whole.bias}


def _one_axis(layer: Layer, axis: int) -> dict[str, object]:
    """Return the window of a layer along one axis, and none along the others."""
    neutral: dict[str, Any] = {"kernel_size": 1, "stride": 1, "dilation": 1, "padding": (0, 0)}
    window = {name: getattr(layer, name) for name in neutral}
    for name, value in window.items():
        if not isinstance(value, str):  # the word same is for each axis as it is
            window[name] = [each if i == axis else neutral[name] for i, each in enumerate(value)]
    return window
