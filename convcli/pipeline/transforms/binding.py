"""A bank bound to the planes of one image: the weight tensor, groups and map names that will run.

The rules of ``--groups``, of ``--bias`` and of ``--combine`` live here and nowhere else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from convcli.banks.groups import check_weight_groups
from convcli.engine.store import magnitude
from convcli.errors import GeometryError, UsageError
from convcli.pipeline.names import MapName

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from convcli.banks.bank import KernelBank

#: Taps that add up to less than this part of their L1 norm sum to zero for the tone: published ones are rounded.
ZERO_SUM = 1e-3


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
        return bound
    if len(values) not in (1, bound.n_kernels):
        raise UsageError(
            f"--bias has {len(values)} values for {bound.n_kernels} kernels", hint="one value, or one per kernel"
        )
    per_kernel = np.broadcast_to(np.asarray(values, np.float64), (bound.n_kernels,))
    return bound._replace(bias=np.tile(per_kernel, len(bound.maps) // bound.n_kernels))


def is_zero_sum(taps: NDArray[np.float64]) -> bool:
    """Whether taps sum to zero within rounding, relative to their L1 norm."""
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
    zero_sum = [is_zero_sum(taps) for taps in weight]
    maps = tuple(
        MapName(kernel=name, channel=channel, zero_sum=zero)
        for channel in channels
        for name, zero in zip(names, zero_sum, strict=True)
    )
    return BoundBank(weight=tiled, bias=None, groups=n_groups, maps=maps, n_kernels=n_kernels, depthwise=per_group == 1)


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
        rows, per_group = n_planes // n_groups, weight.shape[1]
        zero = [
            is_zero_sum(weight[index // per_group * rows : (index // per_group + 1) * rows, index % per_group])
            for index in range(n_out)
        ]
    else:
        n_out, n_channels = weight.shape[:2]
        n_groups = groups or max(n_planes // n_channels, 1)
        if n_groups * n_channels != n_planes or n_out % n_groups:
            fits = [g for g in range(1, n_planes + 1) if g * n_channels == n_planes and n_out % g == 0]
            raise GeometryError(
                f"kernel {bank.name} is {n_out}x{n_channels} (out x in channels): {n_groups} groups need "
                f"{n_groups * n_channels} planes and kernels in multiples of {n_groups}, the image has {n_planes} "
                f"({','.join(planes)})",
                hint=f"--groups {fits[0]}" if fits else f"--channels picks planes: {n_channels} or a multiple of it",
                in_channels=n_planes,
                groups=n_groups,
            )
        names = bank.kernel_names
        zero = [is_zero_sum(taps) for taps in weight]
    maps = tuple(MapName(kernel=name, channel="", zero_sum=z) for name, z in zip(names, zero, strict=True))
    return BoundBank(weight=weight, bias=None, groups=n_groups, maps=maps, n_kernels=n_out, depthwise=False)


class Combination(NamedTuple):
    """How the K maps of one plane become fewer: by the bank's own reduction (MR8), then by ``--combine``.

    Attributes
    ----------
    reduction : tuple of (name, indexes)
        The bank's own groups of kernels, each reduced by ``reduction_op`` (``max``, ``absmax`` or ``magnitude``);
        empty for none.
    combine : str
        ``none``, ``magnitude``, ``max``, ``argmax``, ``min``, ``sum`` or ``mean`` over the reduced maps.
    """

    reduction: tuple[tuple[str, tuple[int, ...]], ...] = ()
    reduction_op: str = "max"
    combine: str = "none"

    @classmethod
    def of(cls, bank: KernelBank, combine: str) -> Combination:
        """Return the combination of ``bank`` under ``--combine``; one kernel needs none."""
        reduction = bank.reduction or ()
        single = (len(reduction) or len(bank.kernel_names)) == 1
        return cls(
            reduction=reduction,
            reduction_op=bank.reduction_op or "max",
            combine="none" if single and combine != "magnitude" else combine,
        )

    def n_parts(self, n_kernels: int) -> int:
        """Return the maps of one plane that ``combine`` has to work on."""
        return len(self.reduction) or n_kernels

    def n_maps(self, n_kernels: int) -> int:
        """Return the maps that K maps of one plane become."""
        return self.n_parts(n_kernels) if self.combine == "none" else 1

    def names(self, maps: tuple[MapName, ...], n_kernels: int) -> tuple[MapName, ...]:
        """Return the names of the combined maps; they sum to zero where all their parts do."""
        named: list[MapName] = []
        for start in range(0, len(maps), n_kernels):
            part = maps[start : start + n_kernels]
            channel = part[0].channel
            if self.reduction:
                part = tuple(
                    MapName(kernel=name, channel=channel, zero_sum=all(part[i].zero_sum for i in indexes))
                    for name, indexes in self.reduction
                )
            if self.combine != "none":
                zero_sum = all(one.zero_sum for one in part)
                part = (MapName(kernel=self.combine, channel=channel, zero_sum=zero_sum),)
            named.extend(part)
        return tuple(named)

    def apply(self, maps: NDArray[Any], n_kernels: int) -> NDArray[Any]:
        """Combine a band of maps.

        Parameters
        ----------
        maps : ndarray of shape (C * K, H, W)
            Channel-major.
        n_kernels : int
            ``K``.

        Returns
        -------
        ndarray of shape (C * n_maps(K), H, W)

        Examples
        --------
        >>> maps = np.array([3.0, 4.0]).reshape(2, 1, 1)
        >>> Combination(combine="magnitude").apply(maps, 2)
        array([[[5.]]])
        """
        if not self.reduction and self.combine == "none":
            return maps
        grouped = maps.reshape(-1, n_kernels, *maps.shape[1:])
        if self.reduction:
            grouped = self._reduce(grouped)
        if self.combine != "none":
            return _combine(grouped, self.combine)
        return grouped.reshape(-1, *maps.shape[1:])

    def _reduce(self, grouped: NDArray[Any]) -> NDArray[Any]:
        parts = [grouped[:, list(indexes)] for _, indexes in self.reduction]
        how = {"max": "max", "absmax": "max", "magnitude": "magnitude"}[self.reduction_op]
        if self.reduction_op == "absmax":
            parts = [np.abs(part) for part in parts]
        return np.stack([_combine(part, how) for part in parts], axis=1)


def is_picture(bound: BoundBank, combination: Combination) -> bool:
    """Whether maps of colour planes make one picture: a single map, or one per plane of grey or RGB."""
    n_maps = len(combination.names(bound.maps, bound.n_kernels))
    one_per_plane = bound.depthwise and combination.n_maps(bound.n_kernels) == 1
    return n_maps == 1 or (one_per_plane and n_maps == 3)


def _combine(maps: NDArray[Any], how: str) -> NDArray[Any]:
    """Combine axis 1 of maps (C, K, H, W)."""
    combined: NDArray[Any]
    if how == "magnitude":
        combined = magnitude(maps)
    elif how == "argmax":
        combined = maps.argmax(axis=1).astype(np.float32)
    else:
        reduce: Any = {"max": np.max, "min": np.min, "sum": np.sum, "mean": np.mean}[how]
        combined = reduce(maps, axis=1)
    return combined
