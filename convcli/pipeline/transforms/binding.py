"""A bank bound to the planes of one image: the weight tensor, groups and map names that will run.

The rules of ``--groups`` and of ``--bias`` live here and nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from convcli.banks.groups import check_weight_groups
from convcli.errors import GeometryError, UsageError
from convcli.pipeline.names import MapName

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convcli.banks.bank import KernelBank

#: Taps that add up to less than this part of their L1 norm sum to zero for the tone: published ones are rounded.
ZERO_SUM = 1e-3
#: Taps whose sum is no farther from 1 keep brightness.
KEPT_BRIGHTNESS = 0.02


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
    n_kernels : int
        ``K``: maps per plane or group of planes.
    depthwise : bool
        Every kernel runs on every plane by itself, so that maps of one kernel form a picture.
    late_bias : ndarray or None
        Bias that is added behind the engine, see :func:`convcli.pipeline.transforms.alpha.with_plain_alpha`.
    """

    weight: NDArray[np.float64]
    bias: NDArray[np.float64] | None
    groups: int
    maps: tuple[MapName, ...]
    n_kernels: int
    depthwise: bool
    late_bias: NDArray[np.float64] | None = None


def bind_bank(
    bank: KernelBank,
    planes: tuple[str, ...],
    *,
    groups: int | None = None,
    bias: tuple[float, ...] | None = None,
    transposed: bool = False,
    stride: tuple[int, ...] = (1, 1),
) -> BoundBank:
    """Bind ``bank`` to planes: decide groups, repeat single-channel kernels, name the maps.

    Parameters
    ----------
    bank : KernelBank
        Weight ``(O, I, kH, kW)``, correlation taps.
    planes : tuple of str
        Names of the C input planes, ``("r", "g", "b")``.
    groups : int, optional
        ``None`` is ``--groups auto``: single-channel kernels run on every plane by itself, others with ``C / I``.
    bias : tuple of float, optional
        One value for all maps or one per kernel; replaces the bank's own.
    transposed : bool
        The weight of a dense bank is then ``(I, O/g, kH, kW)``, as in ``ConvTranspose2d``.
    stride : tuple of int
        A transposed convolution spreads the taps over so many samples, which decides whether they keep brightness.

    Raises
    ------
    GeometryError
        Groups or channels do not divide; the hint lists numbers that would.
    UsageError
        The number of bias values is neither 1 nor that of the kernels.
    """
    weight = bank.weight
    n_kernels, n_channels = weight.shape[:2]
    if groups is not None:
        check_weight_groups(weight.shape, len(planes), groups, transposed=transposed)
    if n_channels == 1 and groups in (None, 1) and not (transposed and n_kernels == len(planes) > 1 and groups):
        bound = _repeat_single_channel(weight, bank.kernel_names, planes, groups, transposed=transposed)
    else:
        bound = _bind_dense(weight, bank, planes, groups, transposed=transposed)
    own = bank.out_bias if transposed and bank.out_bias is not None else bank.bias
    values = bias if bias is not None else own
    if values is None or not any(values):
        return bound._replace(maps=_with_natures(bound, np.zeros(len(bound.maps)), transposed, stride))
    if len(values) not in (1, bound.n_kernels):
        raise UsageError(
            f"--bias has {len(values)} values for {bound.n_kernels} kernels", hint="one value, or one per kernel"
        )
    per_kernel = np.broadcast_to(np.asarray(values, np.float64), (bound.n_kernels,))
    biases = np.tile(per_kernel, len(bound.maps) // bound.n_kernels)
    return bound._replace(bias=biases, maps=_with_natures(bound, biases, transposed, stride))


def taps_of(bound: BoundBank, index: int, *, transposed: bool = False) -> NDArray[np.float64]:
    """Return the taps that made map ``index``, one kernel a plane that it adds up, shape (P, kH, kW).

    Examples
    --------
    >>> from convcli.banks import load_bank
    >>> taps_of(bind_bank(load_bank("sobel"), ("r", "g", "b")), 5)[0, 0].tolist()
    [-1.0, -2.0, -1.0]
    """
    taps: NDArray[np.float64] = bound.weight[index] if not transposed else _transposed_taps(bound, index)
    return taps


def _transposed_taps(bound: BoundBank, index: int) -> Any:
    rows, per_group = bound.weight.shape[0] // bound.groups, bound.weight.shape[1]
    group, place = divmod(index, per_group)
    return bound.weight[group * rows : (group + 1) * rows, place]


def _with_natures(
    bound: BoundBank, biases: NDArray[np.float64], transposed: bool, stride: tuple[int, ...]
) -> tuple[MapName, ...]:
    """Return the names of the maps with the nature of their values."""
    spread = float(np.prod(stride)) if transposed else 1.0
    natures = [
        _nature(taps_of(bound, index, transposed=transposed), bias, spread)
        for index, bias in enumerate(biases.tolist())
    ]
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


def _divisors(number: int) -> str:
    return ", ".join(str(d) for d in range(1, number + 1) if number % d == 0)


def _repeat_single_channel(
    weight: NDArray[np.float64],
    names: tuple[str, ...],
    planes: tuple[str, ...],
    groups: int | None,
    *,
    transposed: bool,
) -> BoundBank:
    """Run every kernel in every group of planes; within a group the kernel is repeated and the planes add up."""
    n_kernels, n_planes = len(names), len(planes)
    n_groups = n_planes if groups is None else groups
    if n_planes % n_groups:
        raise GeometryError(
            f"--groups {n_groups} does not divide {n_planes} planes ({','.join(planes)})",
            hint=f"groups that do: {_divisors(n_planes)}",
            groups=n_groups,
            in_channels=n_planes,
        )
    per_group = n_planes // n_groups
    if transposed:  # (in, out/g): every plane of a group scatters into the same K maps
        tiled = np.repeat(weight.reshape(1, n_kernels, *weight.shape[2:]), n_planes, axis=0)
    else:
        tiled = np.concatenate([np.repeat(weight, per_group, axis=1)] * n_groups)
    channels = ["".join(planes[g * per_group : (g + 1) * per_group]) for g in range(n_groups)]
    maps = tuple(MapName(kernel=name, channel=channel) for channel in channels for name in names)
    return BoundBank(weight=tiled, bias=None, groups=n_groups, maps=maps, n_kernels=n_kernels, depthwise=per_group == 1)


def _which_planes(planes: tuple[str, ...], n_channels: int, fits: list[int]) -> str:
    """Return the flag with which kernels of ``n_channels`` run on other planes or groups."""
    if fits:
        return f"--groups {fits[0]}"
    if len(planes) == 1:
        return f"--channels {','.join(planes * n_channels)} gives the one plane {n_channels} times"
    return f"--channels picks planes: {n_channels} or a multiple of it"


def _bind_dense(
    weight: NDArray[np.float64], bank: KernelBank, planes: tuple[str, ...], groups: int | None, *, transposed: bool
) -> BoundBank:
    """Bind kernels with several input channels, or a transposed weight ``(I, O/g, kH, kW)``."""
    n_planes = len(planes)
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
            raise GeometryError(
                f"kernel {bank.name} is {n_out}x{n_channels} (out x in channels): {n_groups} groups need "
                f"{n_groups * n_channels} planes and kernels in multiples of {n_groups}, the image has {n_planes} "
                f"({','.join(planes)})",
                hint=_which_planes(planes, n_channels, fits),
                in_channels=n_planes,
                groups=n_groups,
            )
        names = bank.kernel_names
    maps = tuple(MapName(kernel=name, channel="") for name in names)
    return BoundBank(weight=weight, bias=None, groups=n_groups, maps=maps, n_kernels=n_out, depthwise=False)
