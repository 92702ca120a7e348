"""A bank bound to the planes of one image: the weight tensor, groups and map names that will run.

The rules of ``--groups``, ``--bias`` and ``--combine`` live here and nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from convcli.banks.groups import check_weight_groups
from convcli.engine.store import magnitude
from convcli.errors import GeometryError, UsageError
from convcli.pipeline.naming import PICTURES, MapName

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from convcli.banks.bank import KernelBank
    from convcli.pipeline.request import ApplyRequest

#: Taps that add up to less than this part of their L1 norm sum to zero for the tone: published ones are rounded.
ZERO_SUM = 1e-3
#: Taps whose sum is no farther from 1 keep brightness.
KEPT_BRIGHTNESS = 0.02


class Combination(NamedTuple):
    """How the K maps of one plane become fewer: by the bank's own reduction (MR8), then by ``--combine``.

    Attributes
    ----------
    combine : str
        ``none``, ``magnitude``, ``max``, ``argmax``, ``min``, ``sum`` or ``mean`` over the reduced maps.
    reduction : tuple of (name, indexes)
        The bank's own groups of kernels, each reduced by ``reduction_op``: ``max``, ``absmax`` or ``magnitude``.
    """

    n_kernels: int
    combine: str = "none"
    reduction: tuple[tuple[str, tuple[int, ...]], ...] = ()
    reduction_op: str = "max"

    @property
    def n_parts(self) -> int:
        """Maps of one plane that ``combine`` has to work on."""
        return len(self.reduction) or self.n_kernels

    @property
    def n_maps(self) -> int:
        """Maps that the K maps of one plane become."""
        return self.n_parts if self.combine == "none" else 1

    def parts(self, place: int) -> tuple[int, ...]:
        """Return the kernels that make map ``place`` of one plane."""
        if self.combine != "none":
            return tuple(range(self.n_kernels))
        return self.reduction[place][1] if self.reduction else (place,)

    def names(self, maps: tuple[MapName, ...]) -> tuple[MapName, ...]:
        """Return the names of the combined maps; their nature is that of their parts where these agree."""
        named: list[MapName] = []
        for start in range(0, len(maps), self.n_kernels):
            part = maps[start : start + self.n_kernels]
            channel = part[0].channel
            if self.reduction:
                part = tuple(
                    MapName(name, channel, _combined_nature([part[i] for i in indexes], self.reduction_op))
                    for name, indexes in self.reduction
                )
            if self.combine != "none":
                part = (MapName(self.combine, channel, _combined_nature(part, self.combine)),)
            named.extend(part)
        return tuple(named)

    def apply(self, maps: NDArray[Any]) -> NDArray[Any]:
        """Combine a band of maps (C * K, H, W), channel-major.

        Examples
        --------
        >>> maps = np.array([3.0, 4.0]).reshape(2, 1, 1)
        >>> Combination(2, "magnitude").apply(maps)
        array([[[5.]]])
        """
        grouped = maps.reshape(-1, self.n_kernels, *maps.shape[1:])
        if self.reduction:
            parts = (grouped[:, list(indexes)] for _, indexes in self.reduction)
            grouped = np.stack([_combine(part, self.reduction_op) for part in parts], axis=1)
        return grouped.reshape(-1, *maps.shape[1:]) if self.combine == "none" else _combine(grouped, self.combine)


class BoundBank(NamedTuple):
    """Weights in torch's layout for the planes of one image.

    Attributes
    ----------
    weight : ndarray of shape (O, I/g, kH, kW), or (I, O/g, kH, kW) when transposed, float64
        Correlation taps.
    bias : ndarray of shape (O,), float64, or None
    groups : int
    maps : tuple of MapName
        One a map, channel-major: map ``c * K + k`` is kernel ``k`` on plane (or group of planes) ``c``.
    combination : Combination
        Of the ``K`` maps per plane or group of planes.
    depthwise : bool
        Every kernel runs on every plane by itself, so that maps of one kernel form a picture.
    late_bias, alpha_white : ndarray or None, float or None
        Where colours are divided by alpha behind the engine: their bias, and white of alpha, the last plane.
    """

    weight: NDArray[np.float64]
    bias: NDArray[np.float64] | None
    groups: int
    maps: tuple[MapName, ...]
    combination: Combination
    depthwise: bool
    transposed: bool = False
    late_bias: NDArray[np.float64] | None = None
    alpha_white: float | None = None

    def taps(self, index: int) -> NDArray[np.float64]:
        """Return the taps that made map ``index``, one kernel a plane that it adds up, shape (P, kH, kW)."""
        if not self.transposed:
            return np.asarray(self.weight[index])
        rows = self.weight.shape[0] // self.groups
        group, place = divmod(index, self.weight.shape[1])
        return np.asarray(self.weight[group * rows : (group + 1) * rows, place])

    @property
    def n_kernels(self) -> int:
        """Maps per plane or group of planes."""
        return self.combination.n_kernels

    @property
    def combined_maps(self) -> tuple[MapName, ...]:
        """Names of the maps once they are combined."""
        return self.combination.names(self.maps)

    @property
    def is_picture(self) -> bool:
        """Whether maps of colour planes make one picture: a single map, or one per plane of grey or RGB."""
        n_maps = len(self.combined_maps)
        return n_maps == 1 or (self.depthwise and self.combination.n_maps == 1 and n_maps == 3)


def bind_bank(bank: KernelBank, planes: tuple[str, ...], request: ApplyRequest) -> BoundBank:
    """Bind a bank to planes: decide groups, repeat single-channel kernels, name the maps.

    Parameters
    ----------
    bank : KernelBank
    planes : tuple of str
        Names of the C input planes, ``("r", "g", "b")``.
    request : ApplyRequest
        Its ``groups`` are ``None`` for ``auto``: single-channel kernels run on every plane by itself, others with
        ``C / I``. Its ``bias``, one value for all maps or one per kernel, replaces the bank's own.

    Raises
    ------
    GeometryError
        Groups or channels do not divide; the hint lists numbers that would.
    UsageError
        The number of bias values is neither 1 nor that of the kernels.
    """
    groups, transposed = request.groups, request.transposed
    n_kernels, n_channels = bank.weight.shape[:2]
    if groups is not None:
        check_weight_groups(bank.weight.shape, len(planes), groups, transposed=transposed)
    if n_channels == 1 and groups in (None, 1) and not (transposed and n_kernels == len(planes) > 1 and groups):
        bound = _repeat_single_channel(bank, planes, groups, transposed=transposed)
    else:
        bound = _bind_dense(bank, planes, groups, transposed=transposed)
    reduction = bank.reduction or ()
    combine = request.combine or (bank.combine if request.kind in PICTURES else "none")
    if combine != "magnitude" and (len(reduction) or len(bank.kernel_names)) == 1:
        combine = "none"
    bound = bound._replace(combination=Combination(bound.n_kernels, combine, reduction, bank.reduction_op or "max"))
    own = bank.out_bias if transposed and bank.out_bias is not None else bank.bias
    values = own if request.bias is None else request.bias
    if values is None or not any(values):
        return bound._replace(maps=_with_natures(bound, np.zeros(len(bound.maps)), request))
    if len(values) not in (1, bound.n_kernels):
        raise UsageError(
            f"--bias has {len(values)} values for {bound.n_kernels} kernels", hint="one value, or one per kernel"
        )
    per_kernel = np.broadcast_to(np.asarray(values, np.float64), (bound.n_kernels,))
    biases = np.tile(per_kernel, len(bound.maps) // bound.n_kernels)
    return bound._replace(bias=biases, maps=_with_natures(bound, biases, request))


def _with_natures(bound: BoundBank, biases: NDArray[np.float64], request: ApplyRequest) -> tuple[MapName, ...]:
    """Return the names of the maps with the nature of their values."""
    # A transposed convolution spreads the taps over so many samples.
    spread = float(np.prod(request.stride)) if bound.transposed else 1.0
    natures = [_nature(bound.taps(index), bias, spread) for index, bias in enumerate(biases.tolist())]
    # Kernels of several planes are a layer: one map whose taps add up to zero by chance keeps the tone of the others.
    if not bound.depthwise and len(set(natures)) > 1:
        natures = ["other"] * len(natures)
    return tuple(named._replace(nature=nature) for named, nature in zip(bound.maps, natures, strict=True))


def _nature(taps: NDArray[np.float64], bias: float, spread: float) -> str:
    if is_zero_sum(taps):
        return "zero-sum" if not bias else "biased" if bias > 0 else "other"
    with np.errstate(over="ignore", invalid="ignore"):
        return "brightness" if abs(taps.sum() / spread - 1) <= KEPT_BRIGHTNESS else "other"


def is_zero_sum(taps: NDArray[np.float64]) -> bool:
    """Whether taps sum to zero within rounding, relative to their L1 norm."""
    # Taps near the end of float64: sums that overflow are refused by the engine's plan.
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(abs(taps.sum()) <= ZERO_SUM * np.abs(taps).sum())


def _repeat_single_channel(
    bank: KernelBank, planes: tuple[str, ...], groups: int | None, *, transposed: bool
) -> BoundBank:
    """Run every kernel in every group of planes; within a group the kernel is repeated and the planes add up."""
    weight, names, n_planes = bank.weight, bank.kernel_names, len(planes)
    n_groups = n_planes if groups is None else groups
    if n_planes % n_groups:
        raise GeometryError(
            f"--groups {n_groups} does not divide {n_planes} planes ({','.join(planes)})",
            hint=f"groups that do: {', '.join(str(one) for one in range(1, n_planes + 1) if n_planes % one == 0)}",
            groups=n_groups,
            in_channels=n_planes,
        )
    per_group = n_planes // n_groups
    if transposed:  # (in, out/g): every plane of a group scatters into the same K maps
        tiled = np.repeat(weight.reshape(1, len(names), *weight.shape[2:]), n_planes, axis=0)
    else:
        tiled = np.concatenate([np.repeat(weight, per_group, axis=1)] * n_groups)
    channels = ["".join(planes[g * per_group : (g + 1) * per_group]) for g in range(n_groups)]
    maps = tuple(MapName(kernel=name, channel=channel) for channel in channels for name in names)
    return BoundBank(tiled, None, n_groups, maps, Combination(len(names)), per_group == 1, transposed)


def _bind_dense(bank: KernelBank, planes: tuple[str, ...], groups: int | None, *, transposed: bool) -> BoundBank:
    """Bind kernels with several input channels, or a transposed weight ``(I, O/g, kH, kW)``."""
    weight, n_planes = bank.weight, len(planes)
    if transposed:
        n_groups = groups or 1
        if weight.shape[0] != n_planes or n_planes % n_groups:
            raise GeometryError(
                f"kernel {bank.name} takes {weight.shape[0]} channels in {n_groups} groups, the image has {n_planes} "
                f"planes ({','.join(planes)})",
                hint="--channels picks planes; a transposed weight is (I, O/g, kH, kW)",
                in_channels=n_planes,
                groups=n_groups,
            )
        n_out = weight.shape[1] * n_groups
        names = tuple(f"{bank.name}-{index}" for index in range(n_out))
    else:
        n_out, n_channels = weight.shape[:2]
        n_groups = groups or max(n_planes // n_channels, 1)
        if n_groups * n_channels != n_planes or n_out % n_groups:
            fits = [g for g in range(1, n_planes + 1) if g * n_channels == n_planes and n_out % g == 0]
            if fits:
                hint = f"--groups {fits[0]}"
            elif n_planes == 1:
                hint = f"--channels {','.join(planes * n_channels)} gives the one plane {n_channels} times"
            else:
                hint = f"--channels picks planes: {n_channels} or a multiple of it"
            raise GeometryError(
                f"kernel {bank.name} is {n_out}x{n_channels} (out x in channels): {n_groups} groups need "
                f"{n_groups * n_channels} planes and kernels in multiples of {n_groups}, the image has {n_planes} "
                f"({','.join(planes)})",
                hint=hint,
                in_channels=n_planes,
                groups=n_groups,
            )
        names = bank.kernel_names
    maps = tuple(MapName(kernel=name, channel="") for name in names)
    return BoundBank(weight, None, n_groups, maps, Combination(n_out), False, transposed)


def _combined_nature(parts: Sequence[MapName], how: str) -> str:
    if how in ("magnitude", "absmax"):
        return "magnitude"
    natures = {one.nature for one in parts}
    # A sum of pictures is brighter than each of them.
    agree = len(natures) == 1 and (how != "sum" or "brightness" not in natures)
    return natures.pop() if agree else "other"


def _combine(maps: NDArray[Any], how: str) -> NDArray[Any]:
    """Combine axis 1 of maps (C, K, H, W)."""
    if how == "magnitude":
        return magnitude(maps)
    if how == "argmax":
        return np.asarray(maps.argmax(axis=1), np.float32)
    if how == "absmax":
        how, maps = "max", np.abs(maps)
    reduced: NDArray[Any] = getattr(maps, how)(axis=1)
    return reduced
