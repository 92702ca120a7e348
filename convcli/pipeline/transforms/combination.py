"""The maps of one plane combined into fewer: the rules of a bank's own reduction and of ``--combine``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from convcli.engine.store import magnitude
from convcli.pipeline.names import MapName

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from convcli.banks import KernelBank
    from convcli.pipeline.transforms.binding import BoundBank


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

    def parts(self, place: int, n_kernels: int) -> tuple[int, ...]:
        """Return the kernels that make map ``place`` of one plane."""
        if self.combine != "none":
            return tuple(range(n_kernels))
        return self.reduction[place][1] if self.reduction else (place,)

    def n_maps(self, n_kernels: int) -> int:
        """Return the maps that K maps of one plane become."""
        return self.n_parts(n_kernels) if self.combine == "none" else 1

    def names(self, maps: tuple[MapName, ...], n_kernels: int) -> tuple[MapName, ...]:
        """Return the names of the combined maps; their nature is that of their parts where these agree."""
        named: list[MapName] = []
        for start in range(0, len(maps), n_kernels):
            part = maps[start : start + n_kernels]
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


def _combined_nature(parts: Sequence[MapName], how: str) -> str:
    if how in ("magnitude", "absmax"):
        return "magnitude"
    natures = {one.nature for one in parts}
    # A sum of pictures is brighter than each of them.
    agree = len(natures) == 1 and (how != "sum" or "brightness" not in natures)
    return natures.pop() if agree else "other"


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
