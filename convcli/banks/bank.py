"""The bank: an ordered set of kernels that runs as one weight tensor, its size limit and its names (NumPy)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from convcli.errors import KernelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array: TypeAlias = "NDArray[np.float64]"
#: As a file holds it, of any type.
AnyArray: TypeAlias = "NDArray[np.generic]"

#: 32 Mi taps are 256 MiB of float64: far above any layer of the usual networks.
DEFAULT_MAX_TAPS = 32 * 1024 * 1024
#: Of ``--max-taps``; a context variable, because families and readers ask far below the flag.
_max_taps: ContextVar[int] = ContextVar("max_taps", default=DEFAULT_MAX_TAPS)
#: Names that Windows keeps for devices.
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{digit}" for port in ("com", "lpt") for digit in range(10))}
#: Characters; file systems take 255 bytes for a whole name, of which this is a part.
_LONGEST_NAME = 80
#: The fields of a bank in JSON.
_SHOWN = "name", "shape", "kernel_names", "bias", "combine", "orientation", "source", "summary", "tags", "notes", "dims"


@contextmanager
def max_taps(limit: int) -> Iterator[None]:
    """Set the number of taps that one bank may have, inside a ``with`` block."""
    token = _max_taps.set(limit)
    try:
        yield
    finally:
        _max_taps.reset(token)


def check_taps(count: int, what: str) -> None:
    """Refuse a bank of more than the allowed taps, before memory is taken.

    Examples
    --------
    >>> check_taps(9, "box")
    """
    limit = _max_taps.get()
    if count > limit:
        size = f" ({count * 8 / 2**20:,.0f} MiB as float64)" if count > 1 << 17 else ""
        raise KernelError(
            f"{what} has {count:,} taps{size}, more than the limit of {limit:,}",
            hint="take a smaller kernel, or raise the limit with --max-taps",
            taps=count,
            max_taps=limit,
        )


def by(sizes: Sequence[int]) -> str:
    """Return sizes as ``2x1x3x3``."""
    return "x".join(map(str, sizes))


def safe_name(text: str) -> str:
    """Return a file-name part made from ``text``: never a path, never reserved, never empty.

    Letters, digits and ``. _ = + @`` stay; every run of other characters becomes one ``-``. Leading dots and dashes go,
    names that Windows keeps for devices get an underscore, and at most 80 characters are left.

    Examples
    --------
    >>> safe_name("../../x"), safe_name("a/b"), safe_name("con"), safe_name("")
    ('x', 'a-b', 'con_', 'kernel')
    >>> safe_name("gaussian:sigma=2,size=9")
    'gaussian-sigma=2-size=9'
    """
    kept = re.sub(r"[^\w.=+@]+", "-", text, flags=re.UNICODE)
    kept = re.sub(r"\.{2,}", ".", kept)[:_LONGEST_NAME].strip(".- ")
    # Windows takes con.png for the device as well.
    stem = kept.split(".", 1)[0].lower()
    if stem in _RESERVED:
        kept = stem + "_" + kept[len(stem) :]
    return kept or "kernel"


def unique_names(names: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Make names different by numbers where they would become the same file; return them and notes on it.

    Examples
    --------
    >>> unique_names(["x", "X", "a/b"])
    (('x', 'X-2', 'a/b'), ("kernel 2 is named 'X-2': 'X' would be the same file as an earlier kernel",))
    """
    taken: set[str] = set()
    result: list[str] = []
    notes: list[str] = []
    for index, name in enumerate(names, 1):
        candidate, number = name, 1
        # Without case: x.png and X.png are one file on Windows and macOS.
        while safe_name(candidate).casefold() in taken:
            number += 1
            # Cut short enough for safe_name to leave the number.
            candidate = f"{name[:60]}-{number}"
        if number > 1:
            notes.append(f"kernel {index} is named '{candidate}': '{name}' would be the same file as an earlier kernel")
        taken.add(safe_name(candidate).casefold())
        result.append(candidate)
    return tuple(result), tuple(notes)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class KernelBank:
    """Kernels as correlation taps, with their origin and notes on every change.

    Attributes
    ----------
    name : str
        Name of the bank; :attr:`file_name` is the form that is safe in a path.
    weight : ndarray of shape (O, I, kH, kW), float64, read-only
        Correlation taps, as ``Conv2d`` uses them, without a flip. Taps declared as ``convolve`` have been rotated by
        180° already. 3-D weights have shape (O, I, kD, kH, kW).
    kernel_names : tuple of str
        One name for each of the O kernels, all different as file names.
    bias : tuple of float or None
        Added to each kernel's sums, in units of the samples.
    out_bias : tuple of float or None
        Bias of the maps of a transposed layer, whose weight is (in, out/groups, …); used by ``--transposed``.
    combine : str
        How the maps become one picture: ``magnitude`` for gradients, ``max`` for compass masks, ``none`` where no
        combination is natural.
    orientation : str
        As declared in the file, ``correlate`` or ``convolve``; the taps are correlation taps either way.
    source, summary : str
        Citation (paper, book or program), and one line on the bank's use.
    tags : tuple of str
        For example ``edge``, ``blur``, ``texture``, ``basis``.
    notes : tuple of str
        Everything that was interpolated, truncated, rounded, padded or renamed.
    reduction : tuple of (str, tuple of int) or None
        Maps made from several kernels' responses, as (name, kernel indices): the 8 maps of the 38 kernels of MR8.
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
    out_bias: tuple[float, ...] | None = None
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
            raise KernelError(f"'{self.name}' has no taps (shape {by(weight.shape) or 'none'})")
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
        return f"KernelBank({self.name!r}, {by(self.shape)}, {', '.join(self.kernel_names[:8])})"

    def _repr_html_(self) -> str:
        """Return the kernels as coloured taps for a notebook."""
        from convcli.render.pages.notebook import draw_bank

        return draw_bank(self)

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
    def biases(self) -> tuple[float, ...]:
        """Bias of every kernel, zeros if there is none."""
        return self.bias or (0.0,) * self.n_kernels

    @property
    def file_name(self) -> str:
        """The bank's name as a part of a file name."""
        return safe_name(self.name)

    @property
    def file_names(self) -> tuple[str, ...]:
        """The kernels' names as parts of file names, all different."""
        return tuple(safe_name(name) for name in self.kernel_names)

    def noted(self, *notes: str) -> KernelBank:
        """Return a copy with more notes."""
        return replace(self, notes=(*self.notes, *(note for note in notes if note not in self.notes)))

    def as_dict(self, *, taps: bool = False) -> dict[str, object]:
        """Return the bank as plain data; with ``taps`` the weights too, as nested lists."""
        values = ((key, getattr(self, key)) for key in _SHOWN)
        data: dict[str, object] = {key: list(value) if isinstance(value, tuple) else value for key, value in values}
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


def to_anchor(taps: Array, anchor_hw: tuple[int, ...]) -> Array:
    """Zero-pad kernels of shape (..., kH, kW) as little as possible to move ``anchor_hw`` to ``(k-1)//2``.

    Their tap at ``anchor_hw``, a row and a column, then lies on the output pixel under ``Conv2d``'s "same" padding. A
    volume's anchor has a frame in front.

    Examples
    --------
    >>> to_anchor(np.array([[1.0, 2.0, 3.0]]), (0, 0))  # the anchor is the 1
    array([[0., 1., 2., 3.]])
    >>> to_anchor(np.array([[1.0, 2.0]]), (0, 0))  # already there
    array([[1., 2.]])
    """
    pads = [(0, 0)] * (taps.ndim - len(anchor_hw))
    for size, anchor in zip(taps.shape[-len(anchor_hw) :], anchor_hw, strict=True):
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
