"""Zarr arrays and OME-Zarr images: folders of chunks, of which any window can be read and any tile written.

This is the only file that imports zarr (extra ``zarr``). Axes go by their names, in Zarr 3's ``dimension_names``,
OME-Zarr's ``axes`` or xarray's ``_ARRAY_DIMENSIONS``; without names, three axes are planes, rows and columns.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convcli.errors import ImageError
from convcli.images.info import ImageInfo, check_count

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Files of which a folder has one if it is an array or a group: of Zarr 3, and of Zarr 2.
_MARKS = ("zarr.json", ".zarray", ".zgroup")
#: Letters of axes: frames, planes, rows, columns. Other words begin with them (``channel``, ``time``, ``lat``).
_FRAMES, _PLANES = "tz", "c"
_WORDS = {"channel": "c", "band": "c", "time": "t", "depth": "z", "row": "y", "lat": "y", "column": "x", "lon": "x"}
_DTYPES = {"b1": "uint8", "f2": "float32"}
_READABLE = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float32", "float64")


def is_store(path: Path) -> bool:
    """Whether a folder is a Zarr array or group; a name that is no folder is not."""
    return any((path / mark).is_file() for mark in _MARKS)


class ZarrDecoder:
    """An array of planes, rows and columns in a folder; its frames are all other axes.

    Raises
    ------
    ImageError
        zarr is not installed, the folder has no array or several, or its axes are no picture's.
    """

    def __init__(self, path: Path, frame: int, max_planes: int | None) -> None:
        try:
            import zarr
        except ImportError:
            raise ImageError("is a Zarr store, which needs zarr", hint="pip install 'convcli[zarr]'") from None
        self._max_planes = max_planes
        node = zarr.open(path, mode="r")
        names = None if isinstance(node, zarr.Array) else _multiscale_axes(node.attrs)
        self._array = node if isinstance(node, zarr.Array) else _array_of(node)
        self._axes, notes = _axes(self._array, names)
        lengths = dict(zip(self._axes, self._array.shape, strict=True))
        self._frames = tuple(lengths[axis] for axis in self._axes if axis in _FRAMES)
        self._n_planes = lengths.get(_PLANES, 1)
        check_count("planes", self._n_planes, max_planes)
        self._dtype = _DTYPES.get(self._array.dtype.str[1:], self._array.dtype.name)
        if self._dtype not in _READABLE:
            raise ImageError(f"holds {self._array.dtype}", hint=f"one of {', '.join(_READABLE)}")
        n_absent = self._array.nchunks - self._array.nchunks_initialized
        if n_absent and self._array.shards is None:
            value = self._array.fill_value
            notes.append(f"{n_absent:,} of {self._array.nchunks:,} chunks are not stored and read as {value}")
        self._size_hw = lengths["y"], lengths["x"]
        self._notes = tuple(notes)
        self.seek(frame)

    def seek(self, frame: int) -> bool:
        """Go to a frame, counted along the axes t and z in their order."""
        n_frames = math.prod(self._frames)
        if frame >= n_frames:
            raise ImageError(f"has no frame {frame}", hint=f"{n_frames} frames, counted from 0")
        self._at = tuple(int(index) for index in np.unravel_index(frame, self._frames)) if self._frames else ()
        height, width = self._size_hw
        white = 1.0 if self._dtype.startswith("float") else float(np.iinfo(self._dtype).max)
        few = {1: ("l",), 3: ("r", "g", "b")}
        names = few.get(self._n_planes) or tuple(map(str, range(self._n_planes)))
        self.info = ImageInfo(
            "zarr", f"{self._n_planes}x{self._dtype}", width, height, names, self._dtype, white, n_frames,
            notes=self._notes,
        )  # fmt: skip
        return True

    def decode(self) -> NDArray[Any]:
        """Return all samples (H, W, P)."""
        return self.window().rows(0, self._size_hw[0]).transpose(1, 2, 0)

    def window(self) -> ZarrPlanes:
        """Return the planes without reading them."""
        return ZarrPlanes(self._array, self._axes, self._at, self._dtype)


class ZarrPlanes:
    """Planes (P, H, W) of an array, read window by window; safe to call from any thread."""

    def __init__(self, array: Any, axes: tuple[str, ...], at: tuple[int, ...], dtype: str) -> None:
        self._array, self._axes = array, axes
        self._at = dict(zip((axis for axis in axes if axis in _FRAMES), at, strict=True))
        lengths = dict(zip(axes, array.shape, strict=True))
        self.shape = (lengths.get(_PLANES, 1), lengths["y"], lengths["x"])
        self.dtype = np.dtype(dtype)

    def rows(self, top: int, bottom: int) -> NDArray[Any]:
        """Return rows ``[top, bottom)`` of every plane, shape (P, bottom - top, W)."""
        return self.window(slice(top, bottom), slice(None))

    def window(self, rows: slice, columns: slice) -> NDArray[Any]:
        """Return a window of every plane, shape (P, rows, columns)."""
        where = {**self._at, "y": rows, "x": columns}
        block = np.asarray(self._array[tuple(where.get(axis, slice(None)) for axis in self._axes)])
        left = [axis for axis in self._axes if axis not in _FRAMES]
        if _PLANES not in left:
            block, left = block[None], [_PLANES, *left]
        return block.transpose([left.index(axis) for axis in "cyx"]).astype(self.dtype, copy=False)


def _multiscale_axes(attributes: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the names of the axes of an OME-Zarr image (NGFF 0.4 §3.4, 0.5 §2.4), or None."""
    scales = attributes.get("ome", attributes).get("multiscales")
    axes = scales[0].get("axes") if scales else None
    return tuple(str(axis["name"] if isinstance(axis, Mapping) else axis) for axis in axes) if axes else None


def _array_of(group: Any) -> Any:
    """Return the array of a group: the full resolution of an OME-Zarr image, or the only one."""
    scales = group.attrs.get("ome", group.attrs.asdict()).get("multiscales")
    names = [scales[0]["datasets"][0]["path"]] if scales else list(group.array_keys())
    if len(names) != 1:
        few = ", ".join(sorted(names)[:5]) or "none"
        raise ImageError(f"is a Zarr group of {len(names)} arrays ({few})", hint="name one: FOLDER/ARRAY")
    return group[names[0]]


def _axes(array: Any, named: tuple[str, ...] | None) -> tuple[tuple[str, ...], list[str]]:
    """Return a letter for each axis, and the note on axes that were taken by their order."""
    names = named or getattr(array.metadata, "dimension_names", None) or array.attrs.get("_ARRAY_DIMENSIONS")
    notes = []
    if not names or None in names:
        names = {2: "yx", 3: "cyx"}.get(array.ndim)
        if names is None:
            raise ImageError(f"has {array.ndim} axes without names", hint="two or three, or dimension_names")
        if array.ndim == 3:
            notes.append(f"axes have no names: {array.shape} is read as planes, rows, columns")
    letters = tuple(_WORDS.get(str(name).lower(), str(name).lower()) for name in names)
    if len(letters) != array.ndim or len(set(letters)) < array.ndim or not {"x", "y"} <= set(letters) <= set("tczyx"):
        axes = ", ".join(map(str, names))
        raise ImageError(f"has the axes {axes}, which are no picture's", hint="y and x, and any of t, c, z")
    return letters, notes
