"""A Zarr store that exists, to be filled by tiles from several processes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from convcli.errors import OutputError
from convcli.images.files import explained
from convcli.images.zarr_store import need_zarr, put_tile

if TYPE_CHECKING:
    from numpy.typing import NDArray


class ZarrTiles:
    """The maps of a store that :class:`~convcli.images.zarr_store.ZarrBlock` has made.

    Raises
    ------
    OutputError
        There is no such store, or zarr is not installed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._array = need_zarr(OutputError).open_array(path / "0", mode="r+")
        except (OSError, ValueError) as error:
            raise OutputError(f"{path} is gone ({error})", hint="plan the job again") from None

    def put(self, maps: NDArray[Any], top: int, left: int) -> None:
        """Write a window of every map; windows of different shards of the store may be written at once."""
        with explained(self._path):
            put_tile(self._array, maps, top, left)
