"""The bank: an ordered set of kernels that runs as one weight tensor (NumPy)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from convcli.banks.names import safe_name, unique_names
from convcli.errors import KernelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array: TypeAlias = "NDArray[np.float64]"

#: What one picture is made of when a bank has several maps.
COMBINATIONS = ("none", "magnitude", "max", "argmax", "min", "sum", "mean")


@dataclass(frozen=True, kw_only=True, eq=False)
class KernelBank:
    """Kernels as correlation taps, with where they come from and what was changed on the way.

    Attributes
    ----------
    name : str
        Name of the bank; :attr:`file_name` is the form that is safe in a path.
    weight : ndarray of shape (O, I, kH, kW), float64, read-only
        Correlation taps (what ``Conv2d`` multiplies with, no flip). A source that declares ``convolve`` has been
        rotated by 180° already. 3-D weights have shape (O, I, kD, kH, kW).
    kernel_names : tuple of str
        One name for each of the O kernels, all different as file names.
    bias : tuple of float or None
        Added to each kernel's sums, in units of the samples.
    combine : str
        What one picture is made of: ``magnitude`` for gradients, ``max`` for compass masks, ``none`` where no
        combination is natural.
    orientation : str
        What the source declared, ``correlate`` or ``convolve``; the taps are correlation taps either way.
    source, summary : str
        Paper or book, and one line that says what the bank is for.
    tags : tuple of str
        For example ``edge``, ``blur``, ``texture``, ``basis``.
    notes : tuple of str
        Whatever was interpolated, truncated, rounded, padded or renamed.
    reduction : tuple of (str, tuple of int) or None
        Maps that are made of several kernels' responses, as (name, kernel indices): the 8 maps of the 38 kernels
        of MR8, or a magnitude of each real and imaginary pair.
    reduction_op : str
        How a group of responses becomes one map: ``max``, ``absmax`` (largest absolute value, without its sign),
        or ``magnitude`` (root of the sum of squares).
    dims : int
        1, 2 or 3: the spatial dimensions of the layer the taps belong to. 1-D taps are stored with kH = 1.

    Raises
    ------
    KernelError
        If taps are missing, not finite, or do not fit names and bias.

    Examples
    --------
    >>> bank = KernelBank(name="edge", weight=[[[[-1.0, 0.0, 1.0]]]], kernel_names=("x",))
    >>> bank.shape, bank.kernel_hw, bank.in_channels
    ((1, 1, 1, 3), (1, 3), 1)
    """

    name: str
    weight: Array
    kernel_names: tuple[str, ...]
    bias: tuple[float, ...] | None = None
    combine: str = "none"
    orientation: str = "correlate"
    source: str = ""
    summary: str = ""
    tags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    reduction: tuple[tuple[str, tuple[int, ...]], ...] | None = None
    reduction_op: str = "max"
    dims: int = 2

    def __post_init__(self) -> None:
        """Store one normal form: read-only float64, unique names, a bias for every kernel."""
        weight = np.array(self.weight, dtype=np.float64, order="C")
        if weight.ndim not in (4, 5) or weight.size == 0:
            raise KernelError(f"'{self.name}' has no taps (shape {'x'.join(map(str, weight.shape)) or 'none'})")
        if not np.isfinite(weight).all():
            raise _not_finite(self.name, weight)
        weight.flags.writeable = False
        if len(self.kernel_names) != len(weight):
            raise KernelError(f"'{self.name}' has {len(weight)} kernels and {len(self.kernel_names)} names")
        if self.bias is not None and len(self.bias) != len(weight):
            raise KernelError(f"'{self.name}' has {len(weight)} kernels and {len(self.bias)} biases")
        names, renamed = unique_names(self.kernel_names)
        put = object.__setattr__
        put(self, "weight", weight)
        put(self, "kernel_names", names)
        put(self, "notes", (*self.notes, *(note for note in renamed if note not in self.notes)))

    def __repr__(self) -> str:
        """Return name, shape and kernels, not the taps."""
        return f"KernelBank({self.name!r}, {'x'.join(map(str, self.shape))}, {', '.join(self.kernel_names[:8])})"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the weight, (O, I, kH, kW) or (O, I, kD, kH, kW)."""
        return tuple(int(size) for size in self.weight.shape)

    @property
    def n_kernels(self) -> int:
        """Number of kernels, O."""
        return self.shape[0]

    @property
    def in_channels(self) -> int:
        """Planes that one kernel reads, I; 1 for kernels that run on each plane by itself."""
        return self.shape[1]

    @property
    def kernel_hw(self) -> tuple[int, int]:
        """Rows and columns of a kernel."""
        return self.shape[-2], self.shape[-1]

    @property
    def file_name(self) -> str:
        """The bank's name as a part of a file name."""
        return safe_name(self.name)

    @property
    def file_names(self) -> tuple[str, ...]:
        """The kernels' names as parts of file names, all different."""
        return tuple(safe_name(name) for name in self.kernel_names)

    def noted(self, *notes: str) -> KernelBank:
        """Return a copy that says ``notes`` too."""
        return replace(self, notes=(*self.notes, *(note for note in notes if note not in self.notes)))

    def as_dict(self, *, taps: bool = False) -> dict[str, object]:
        """Return the bank as plain data; with ``taps`` the weights too, as nested lists."""
        data: dict[str, object] = {
            "name": self.name,
            "shape": list(self.shape),
            "kernel_names": list(self.kernel_names),
            "bias": None if self.bias is None else list(self.bias),
            "combine": self.combine,
            "orientation": self.orientation,
            "source": self.source,
            "summary": self.summary,
            "tags": list(self.tags),
            "notes": list(self.notes),
            "dims": self.dims,
        }
        if self.reduction is not None:
            data["reduction"] = {name: list(members) for name, members in self.reduction}
            data["reduction_op"] = self.reduction_op
        if taps:
            data["weight"] = self.weight.tolist()
        return data


def _not_finite(name: str, weight: Array) -> KernelError:
    where = [int(index) for index in np.argwhere(~np.isfinite(weight))[0]]
    return KernelError(
        f"'{name}' kernel {where[0] + 1}, row {where[-2] + 1}, column {where[-1] + 1} is "
        f"{float(weight[tuple(where)])}: taps must be finite",
        hint="replace it by a number",
    )


def to_anchor(taps: Array, anchor_hw: tuple[int, int]) -> Array:
    """Zero-pad kernels as little as possible so that ``anchor_hw`` is the tap at ``(k-1)//2`` of each axis.

    Parameters
    ----------
    taps : ndarray of shape (..., kH, kW), float64
        Kernels whose tap at ``anchor_hw`` lies on the output pixel.
    anchor_hw : tuple of int
        Row and column of that tap.

    Returns
    -------
    ndarray of shape (..., kH', kW'), float64
        The same kernels, with the anchor where ``Conv2d``'s "same" padding has it.

    Examples
    --------
    >>> to_anchor(np.array([[1.0, 2.0, 3.0]]), (0, 0))  # the anchor is the 1
    array([[0., 1., 2., 3.]])
    >>> to_anchor(np.array([[1.0, 2.0]]), (0, 0))  # already there
    array([[1., 2.]])
    """
    pads = [(0, 0)] * (taps.ndim - 2)
    for size, anchor in zip(taps.shape[-2:], anchor_hw, strict=True):
        behind = size - 1 - anchor  # taps after the anchor; (k-1)//2 has as many before it, or one less
        pads.append((behind - 1 - anchor, 0) if anchor < behind - 1 else (0, max(0, anchor - behind)))
    return np.pad(taps, pads)


def pad_to(taps: Array, size: Sequence[int]) -> Array:
    """Zero-pad kernels to ``size``, keeping the tap at ``(k-1)//2`` at ``(k-1)//2``.

    Examples
    --------
    >>> pad_to(np.ones((1, 1, 1, 1)), (1, 4))
    array([[[[0., 1., 0., 0.]]]])
    """
    spatial = taps.shape[-len(size) :]
    pads = [(0, 0)] * (taps.ndim - len(size))
    for have, want in zip(spatial, size, strict=True):
        before = (want - 1) // 2 - (have - 1) // 2
        pads.append((before, want - have - before))
    return np.pad(taps, pads)
