"""Zarr arrays and OME-Zarr images: folders of chunks, of which any window can be read and any tile written.

This is the only file that imports zarr (extra ``zarr``). Axes go by their names, in Zarr 3's ``dimension_names``,
OME-Zarr's ``axes`` or xarray's ``_ARRAY_DIMENSIONS``; without names, three axes are planes, rows and columns.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from convcli.errors import ImageError, OutputError
from convcli.images.files import opened_target
from convcli.images.info import ImageInfo, RemoteZarr, check_count
from convcli.images.targets import TargetFolder
from convcli.images.windows import SegmentRows
from convcli.images.write import PictureWriter, Target

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Letters of axes: frames, planes, rows, columns. Other words begin with them (``channel``, ``time``, ``lat``).
_FRAMES, _PLANES = "tz", "c"
_WORDS = {"channel": "c", "band": "c", "time": "t", "depth": "z", "row": "y", "lat": "y", "column": "x", "lon": "x"}
_DTYPES = {"b1": "uint8", "f2": "float32"}
#: Side of a written chunk; bytes of the maps of a tile, which is a shard: each thread holds one.
CHUNK_PX, TILE_BYTES = 256, 64 << 20
_READABLE = ("uint8", "uint16", "uint32", "int8", "int16", "int32", "float32", "float64")


class ZarrDecoder:
    """An array of planes, rows and columns in a folder or a remote store; its frames are all other axes.

    Raises
    ------
    ImageError
        zarr is not installed, the folder has no array or several, or its axes are no picture's.
    """

    def __init__(self, place: Path | RemoteZarr, frame: int, max_planes: int | None) -> None:
        self._array, names = _open(place)
        self._axes, notes = _axes(self._array, names)
        lengths = dict(zip(self._axes, self._array.shape, strict=True))
        self._frames = tuple(lengths[axis] for axis in self._axes if axis in _FRAMES)
        self._n_planes = lengths.get(_PLANES, 1)
        check_count("planes", self._n_planes, max_planes)
        self._dtype = _DTYPES.get(self._array.dtype.str[1:], self._array.dtype.name)
        if self._dtype not in _READABLE:
            raise ImageError(f"holds {self._array.dtype}", hint=f"one of {', '.join(_READABLE)}")
        # To count the chunks of a remote store would list millions of objects.
        is_counted = self._array.shards is None and not isinstance(place, RemoteZarr)
        if is_counted and (n_absent := self._array.nchunks - self._array.nchunks_initialized):
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
    """Planes (P, H, W) of an array, read window by window; safe to call from any thread.

    Low windows come from a cache of rows of chunks in their columns: strips would decode, or fetch, each many times.
    """

    def __init__(self, array: Any, axes: tuple[str, ...], at: tuple[int, ...], dtype: str) -> None:
        self._array, self._axes = array, axes
        self._at = dict(zip((axis for axis in axes if axis in _FRAMES), at, strict=True))
        lengths = dict(zip(axes, array.shape, strict=True))
        self.shape = (lengths.get(_PLANES, 1), lengths["y"], lengths["x"])
        self.dtype = np.dtype(dtype)
        self._chunk_rows = dict(zip(axes, array.chunks, strict=True))["y"]
        self._kept: tuple[slice, SegmentRows] | None = None

    def rows(self, top: int, bottom: int) -> NDArray[Any]:
        """Return rows ``[top, bottom)`` of every plane, shape (P, bottom - top, W)."""
        return self._cached(slice(top, bottom), slice(None))

    def window(self, rows: slice, columns: slice) -> NDArray[Any]:
        """Return a window of every plane, shape (P, rows, columns)."""
        is_low = rows.stop - rows.start < self._chunk_rows
        return self._cached(rows, columns) if is_low else self._read(rows, columns)

    def _cached(self, rows: slice, columns: slice) -> NDArray[Any]:
        kept = self._kept  # read once: other threads may ask for other columns
        if kept is None or kept[0] != columns:
            n_planes, height, width = self.shape
            shape = (height, len(range(width)[columns]), n_planes)
            # The strips of a picture have the same columns, so those of the last are enough.
            self._kept = kept = columns, SegmentRows(shape, self.dtype, self._chunk_rows, partial(self._line, columns))
        return kept[1].rows(rows.start, rows.stop)

    def _line(self, columns: slice, index: int) -> NDArray[Any]:
        """Return a row of chunks, (rows, W, P)."""
        rows = slice(index * self._chunk_rows, (index + 1) * self._chunk_rows)
        return self._read(rows, columns).transpose(1, 2, 0)

    def _read(self, rows: slice, columns: slice) -> NDArray[Any]:
        where = {**self._at, "y": rows, "x": columns}
        try:
            block = np.asarray(self._array[tuple(where.get(axis, slice(None)) for axis in self._axes)])
        except (ValueError, RuntimeError, OSError, KeyError) as error:  # each codec has errors of its own
            reason = str(error).partition("\n")[0]
            raise ImageError(f"a chunk cannot be read ({reason})", hint="copy the store again") from None
        left = [axis for axis in self._axes if axis not in _FRAMES]
        if _PLANES not in left:
            block, left = block[None], [_PLANES, *left]
        block = block.transpose([left.index(axis) for axis in "cyx"]).astype(self.dtype, copy=False)
        # Zarr says "little-endian" where NumPy says "native": equal for NumPy, but other buffers for the compiled core.
        return block.view(self.dtype)


def _open(place: Path | RemoteZarr) -> tuple[Any, tuple[str, ...] | None]:
    """Return the array of a store, and the names of its axes if its group has them."""
    zarr = need_zarr(ImageError)
    root = zarr.storage.ObjectStore(place.objects, read_only=True) if isinstance(place, RemoteZarr) else place
    node = zarr.open(root, mode="r")
    return (node, None) if isinstance(node, zarr.Array) else (_array_of(node), _multiscale_axes(node.attrs))


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


class ZarrBlock:
    """Maps (O, H, W) as an OME-Zarr image of one resolution (NGFF 0.5), written by rows or, in any order, by tiles.

    A tile is one shard, a file of its own, so that threads which write different tiles never meet.

    Parameters
    ----------
    target, names, stamp, dtype
        The folder, and what its header says of the maps.
    shape : tuple of int
        Of the array: axes before rows and columns, whose product is the number of maps, then these.
    """

    def __init__(
        self, target: TargetFolder, names: tuple[str, ...], shape: tuple[int, ...], stamp: str, dtype: np.dtype[Any]
    ) -> None:
        zarr = need_zarr(OutputError)
        self._dtype, self._shape, self._row = dtype, (len(names), *shape[-2:]), 0
        self.tile_px = tile_px(len(names) * dtype.itemsize)
        leading = ("c", "z")[: len(shape) - 2]
        kinds = {"c": "channel", "z": "space", "y": "space", "x": "space"}
        axes = [{"name": name, "type": kinds[name]} for name in (*leading, "y", "x")]
        scale = [{"type": "scale", "scale": [1.0] * len(shape)}]
        levels = [{"path": "0", "coordinateTransformations": scale}]
        ome: dict[str, Any] = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": levels}]}
        if leading == ("c",):
            ome["omero"] = {"channels": [{"label": name} for name in names]}
        group = zarr.create_group(target.folder, attributes={"ome": ome, "convcli": {"names": names, "stamp": stamp}})
        ones = (1,) * len(leading)
        # A shard has whole chunks; a picture smaller than one has a shard of its chunks.
        sides = [min(self.tile_px, -(-side // CHUNK_PX) * CHUNK_PX) for side in shape[-2:]]
        self._array = group.create_array(
            "0",
            shape=shape,
            chunks=(*ones, CHUNK_PX, CHUNK_PX),
            shards=(*shape[:-2], *sides),
            dtype=dtype,
            dimension_names=(*leading, "y", "x"),
        )

    def encode(self, maps: NDArray[Any]) -> NDArray[Any]:
        """Return maps (O, h, w) as they are stored."""
        return np.array(maps, dtype=self._dtype, order="C")

    def append(self, band: NDArray[Any]) -> None:
        """Write the next rows of every map."""
        self.put(band, self._row, 0)
        self._row += band.shape[1]

    def put(self, maps: NDArray[Any], top: int, left: int) -> None:
        """Write a window of every map, from any thread."""
        put_tile(self._array, maps, top, left)

    def finish(self) -> None:
        """Nothing is left to be written."""


def put_tile(array: Any, maps: NDArray[Any], top: int, left: int) -> None:
    """Write a window of every map into an array."""
    rows, columns = slice(top, top + maps.shape[1]), slice(left, left + maps.shape[2])
    array[(..., rows, columns)] = maps.reshape(*array.shape[:-2], *maps.shape[1:])


def encode_tile(header: bytes, maps: NDArray[Any], top: int, left: int) -> dict[str, bytes]:
    """Return the objects that hold a window of every map in the array of a header, by name: whole shards of it.

    Samples that all have the fill value need no object.
    """
    zarr = need_zarr(OutputError)
    stored: dict[str, Any] = {}
    memory = zarr.storage.StorePath(zarr.storage.MemoryStore(stored))
    put_tile(zarr.Array.from_dict(memory, json.loads(header)), maps, top, left)
    return {name: data.to_bytes() for name, data in stored.items()}


def open_zarr(
    target: Target, names: tuple[str, ...], shape: tuple[int, ...], stamp: str, dtype: np.dtype[Any]
) -> PictureWriter:
    """Begin a store of maps; see :class:`ZarrBlock`.

    Raises
    ------
    OutputError
        The target is no name of a folder, zarr is not installed, or the folder cannot be made.
    """
    if isinstance(target, (str, os.PathLike)):
        target = TargetFolder(target)
    if not isinstance(target, TargetFolder):
        raise OutputError("zarr is a folder, which standard output cannot hold", hint="-o maps.zarr, or --format npy")
    with opened_target(target):
        return PictureWriter(target, ZarrBlock(target, names, shape, stamp, dtype), streams=True)


def tile_px(pixel_bytes: int) -> int:
    """Return the side of a tile whose maps take no more than :data:`TILE_BYTES`, in whole chunks.

    Examples
    --------
    >>> tile_px(4), tile_px(12), tile_px(64 * 4), tile_px(100_000)
    (4096, 2048, 512, 256)
    """
    side = 16 * CHUNK_PX
    while side > CHUNK_PX and side * side * pixel_bytes > TILE_BYTES:
        side //= 2
    return side


def need_zarr(error: type[ImageError | OutputError]) -> Any:
    """Return the package, or say what to install."""
    try:
        import zarr
    except ImportError:
        raise error("Zarr needs the package zarr, which is not installed", hint="pip install 'convcli[zarr]'") from None
    return zarr
