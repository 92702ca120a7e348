"""Planes of an image as the engine reads them: selected, scaled and premultiplied a band of rows at a time.

Nothing here copies the whole image: integer samples stay what they are until a band is gathered.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from convcli.errors import ImageError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Luma of ITU-R BT.601, the weights of JPEG and of Pillow's mode L.
LUMA_601 = (0.299, 0.587, 0.114)


class PlaneSource(Protocol):
    """Planes (C, H, W) of which any band of rows can be read."""

    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102

    @property
    def dtype(self) -> np.dtype[Any]: ...  # noqa: D102

    def rows(self, top: int, bottom: int) -> NDArray[Any]:
        """Return rows ``[top, bottom)`` of every plane, shape (C, bottom - top, W)."""
        ...


class PlaneSelection(NamedTuple):
    """Planes of an image to run: names and indexes; with ``luma`` one plane is computed from r, g, b."""

    names: tuple[str, ...]
    indexes: tuple[int, ...]
    luma: bool = False


def select_planes(plane_names: tuple[str, ...], channels: tuple[str, ...] | None, *, alpha: bool) -> PlaneSelection:
    """Pick planes by name.

    Parameters
    ----------
    plane_names : tuple of str
        Planes of the image: ``("r", "g", "b", "a")``, ``("l",)``.
    channels : tuple of str or None
        As asked, in any order; ``None`` takes every colour plane. ``luma`` is computed from r, g, b by BT.601. A plane
        that is named again gets a number: ``l``, ``l2``, or ``7-2`` where its name ends in a digit.
    alpha : bool
        Without ``channels``: take the alpha plane too.

    Raises
    ------
    UsageError
        A name is not a plane of this image.

    Examples
    --------
    >>> select_planes(("r", "g", "b", "a"), None, alpha=False).names
    ('r', 'g', 'b')
    >>> select_planes(("l",), ("l", "l", "l"), alpha=False)
    PlaneSelection(names=('l', 'l2', 'l3'), indexes=(0, 0, 0), luma=False)
    """
    if channels is None:
        indexes = tuple(i for i, name in enumerate(plane_names) if alpha or name != "a")
        return PlaneSelection(names=tuple(plane_names[i] for i in indexes), indexes=indexes)
    if channels == ("luma",):
        if plane_names[:3] == ("r", "g", "b"):
            return PlaneSelection(names=("luma",), indexes=(0, 1, 2), luma=True)
        if plane_names[0] == "l":
            return PlaneSelection(names=("l",), indexes=(0,))
    unknown = [name for name in channels if name not in plane_names]
    if unknown:
        raise UsageError(
            f"--channels {','.join(channels)}: no plane {unknown[0]!r} in an image of {','.join(plane_names)}",
            hint=f"planes here: {', '.join(plane_names)}" + (", or luma alone" if "r" in plane_names else ""),
        )
    places = [channels[: at + 1].count(name) for at, name in enumerate(channels)]
    again = [f"{'-' if name[-1].isdigit() else ''}{place}" for name, place in zip(channels, places, strict=True)]
    names = tuple(name + (again[at] if places[at] > 1 else "") for at, name in enumerate(channels))
    return PlaneSelection(names=names, indexes=tuple(plane_names.index(name) for name in channels))


class PlaneView:
    """Planes of an image with the conversions of a request, made band by band.

    Parameters
    ----------
    source : ndarray of shape (P, H, W) or PlaneSource
        Samples in their own type.
    selection : PlaneSelection
    white : float
        Sample value of white; divides the samples if ``unit``.
    unit : bool
        Map samples to 0..1.
    mean, std : tuple of float
        Per plane or one for all, after ``unit``; empty for none.
    premultiply : int or None
        Index in ``source`` of the alpha plane that multiplies every other plane of the selection.
    is_divided : bool
        Alpha counts as 0..1. Else products stay whole numbers, which are exact, for a caller that divides in the end.
    nodata : float or None
        Stored value of missing samples, which become NaN.
    """

    def __init__(
        self,
        source: NDArray[Any] | PlaneSource,
        selection: PlaneSelection,
        *,
        white: float,
        unit: bool = False,
        mean: tuple[float, ...] = (),
        std: tuple[float, ...] = (),
        premultiply: int | None = None,
        is_divided: bool = True,
        nodata: float | None = None,
        dtype: str = "float32",
    ) -> None:
        self._source = source
        self._indexes = list(selection.indexes)
        self._pick = _as_slice(selection.indexes)
        self._luma = np.array(LUMA_601, dtype)[:, None, None] if selection.luma else None
        self._premultiply = premultiply
        self._alpha_scale = 1 / white if is_divided else 1.0
        self._nodata = nodata
        n_planes = len(selection.names)
        scale = (1 / white if unit else 1.0) / (np.asarray(std, np.float64) if std else 1.0)
        offset = -np.asarray(mean, np.float64) / np.asarray(std, np.float64) if std else np.zeros(1)
        self._scale = np.broadcast_to(scale, (n_planes,)).astype(dtype)[:, None, None]
        self._offset = np.broadcast_to(offset, (n_planes,)).astype(dtype)[:, None, None]
        self._identity = not unit and not std
        #: Whether the rows are the stored samples themselves.
        self.is_plain = self._luma is None and premultiply is None and nodata is None and self._identity
        self.dtype = np.dtype(source.dtype) if self.is_plain else np.dtype(dtype)
        self.shape = (n_planes, *source.shape[1:])

    def rows(self, top: int, bottom: int) -> NDArray[Any]:
        """Return rows ``[top, bottom)``, shape (C, bottom - top, W)."""
        return self.window(slice(top, bottom), slice(None))

    def window(self, rows: slice, columns: slice) -> NDArray[Any]:
        """Return a window, shape (C, rows, columns)."""
        everything = read_window(self._source, rows, columns)
        band = everything[self._pick]
        # Compared in the units of the file, before anything is computed.
        missing = None if self._nodata is None else band == self._nodata
        if self._luma is not None:
            # Luma of a missing colour is missing.
            missing = None if missing is None else missing.any(axis=0, keepdims=True)
            band = (band * self._luma).sum(axis=0, keepdims=True)
        if self.is_plain:
            return band
        # Plane by plane, not interleaved as the samples may lie; and never in the image's own memory.
        band = band.astype(self.dtype, order="C", copy=np.may_share_memory(band, everything))
        if self._premultiply is not None:
            alpha = everything[self._premultiply] * self._alpha_scale
            for plane, index in enumerate(self._indexes):
                if index != self._premultiply:
                    band[plane] *= alpha
        if not self._identity:
            band *= self._scale
            band += self._offset
        if missing is not None:
            band[missing] = np.nan
        return band


def read_window(source: NDArray[Any] | PlaneSource, rows: slice, columns: slice) -> NDArray[Any]:
    """Return a window of planes (C, H, W); sources of whole rows read these."""
    if isinstance(source, np.ndarray):
        return source[:, rows, columns]
    window = getattr(source, "window", None)
    if window is not None:
        return np.asarray(window(rows, columns))
    return source.rows(rows.start, rows.stop)[:, :, columns]


def _as_slice(indexes: tuple[int, ...]) -> slice | list[int]:
    """Return the slice that picks evenly spaced ``indexes`` without a copy, or the list.

    Examples
    --------
    >>> _as_slice((0, 1, 2)), _as_slice((1,)), _as_slice((2, 1, 0)), _as_slice((0, 3))
    (slice(0, 3, 1), slice(1, 2, 1), [2, 1, 0], slice(0, 6, 3))
    """
    steps = {after - before for before, after in itertools.pairwise(indexes)} or {1}
    step = min(steps)
    return slice(indexes[0], indexes[-1] + step, step) if len(steps) == 1 and step > 0 else list(indexes)


def view_planes(
    source: NDArray[Any] | PlaneSource, selection: PlaneSelection, *, white: float, **options: Any
) -> NDArray[Any] | PlaneSource:
    """Return the planes of ``source`` (P, H, W) as the engine takes them: a plain view where nothing is computed."""
    view = PlaneView(source, selection, white=white, **options)
    first, n = selection.indexes[0], len(selection.indexes)
    if isinstance(source, np.ndarray) and view.is_plain and selection.indexes == tuple(range(first, first + n)):
        return source[first : first + n]
    return view


def turn_upright(samples: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Return samples (H, W, P) turned as EXIF orientation 1..8 says (2 and 5 mirror, 6 turns clockwise, ...).

    Examples
    --------
    >>> turn_upright(np.array([[1, 2], [3, 4]])[:, :, None], 6)[:, :, 0].tolist()
    [[3, 1], [4, 2]]
    """
    if orientation >= 5:  # rows become columns
        samples = samples.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        samples = samples[::-1]
    if orientation in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    return np.ascontiguousarray(samples)


def reverse_grey(samples: NDArray[Any], white: float) -> NDArray[Any]:
    """Return samples of which 0 is white with 0 as black.

    Examples
    --------
    >>> reverse_grey(np.uint8([0, 255]), 255).tolist(), reverse_grey(np.int8([-128, 127]), 127).tolist()
    ([255, 0], [127, -128])
    """
    exact = samples if samples.dtype.kind == "f" else samples.astype(np.int64)
    # -1 - x swaps the ends of two's complement, where white - x would overflow.
    return ((-1 if samples.dtype.kind == "i" else white) - exact).astype(samples.dtype)


def inks_to_rgb(samples: NDArray[Any], white: float) -> NDArray[Any]:
    """Return unsigned or float samples (H, W, 4) of cyan, magenta, yellow and black as RGB, without a profile."""
    if samples.dtype.kind == "f":
        return (white - samples[:, :, :3]) * (white - samples[:, :, 3:]) / white
    most = int(white)
    light = most - samples[:, :, 3:].astype(np.int64)
    # (white - ink) (white - black) / white, rounded to the nearest.
    return (light - (samples[:, :, :3] * light + most // 2) // most).astype(samples.dtype)


def divide_alpha(samples: NDArray[Any], white: float) -> NDArray[Any]:
    """Return samples of which the last plane is alpha with the other planes divided by it."""
    alpha = samples[:, :, -1:].astype(np.float64) / white
    colours = np.divide(samples[:, :, :-1], alpha, out=np.zeros(samples[:, :, :-1].shape), where=alpha > 0)
    # Colours above their alpha are damage, and would wrap around.
    colours = colours if samples.dtype.kind == "f" else np.minimum(np.rint(colours), white)
    return np.concatenate([colours.astype(samples.dtype), samples[:, :, -1:]], axis=2)


def check_white(samples: NDArray[Any], white: float) -> None:
    """Refuse samples above the white that a header promised."""
    if samples.dtype.kind == "u" and white < np.iinfo(samples.dtype).max and samples.max() > white:
        raise ImageError(f"has sample {samples.max()}, above its white {white:.0f}", hint="the file is damaged")


def check_palette(counts: Sequence[int], n_colours: int, clear: object) -> None:
    """Refuse indexes beyond a palette, by how often each occurs; ``clear`` is one that needs no colour."""
    most = max((index for index, n in enumerate(counts) if n and index != clear), default=0)
    if most >= n_colours:
        raise ImageError(f"has colour {most} of a palette of {n_colours}, counted from 0", hint="the file is damaged")
