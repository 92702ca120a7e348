"""Tiles of a TIFF (TIFF 6.0 §15): their grid on a page, pictures cut into them, rows of maps put in their places."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Bytes of a tile beside its samples: offset, length, and a little for noise, which deflate enlarges.
_MORE_BYTES = 64


class Grid(NamedTuple):
    """Square tiles on a page of samples of ``pixel_bytes``.

    Examples
    --------
    >>> grid = Grid(side_px=16, height_px=20, width_px=40, pixel_bytes=4)
    >>> grid.down, grid.across, grid.page_bytes
    (2, 3, 6144)
    """

    side_px: int
    height_px: int
    width_px: int
    pixel_bytes: int

    @property
    def down(self) -> int:
        """Rows of tiles."""
        return -(-self.height_px // self.side_px)

    @property
    def across(self) -> int:
        """Tiles in a row."""
        return -(-self.width_px // self.side_px)

    @property
    def tile_bytes(self) -> int:
        """Bytes of a tile before compression; those at the edges are whole too."""
        return self.side_px**2 * self.pixel_bytes

    @property
    def page_bytes(self) -> int:
        """Bytes of all tiles of a page, one behind the other."""
        return self.down * self.across * self.tile_bytes

    @property
    def most_bytes(self) -> int:
        """Bytes that a page takes at most, with the place and length of each tile."""
        return self.page_bytes + self.down * self.across * _MORE_BYTES

    def tiles(self, start: int) -> list[tuple[int, int]]:
        """Return offset and length of the uncompressed tiles of a page that begins at ``start``."""
        n_tiles = self.down * self.across
        return [(start + index * self.tile_bytes, self.tile_bytes) for index in range(n_tiles)]

    def places(self, band: NDArray[Any], top: int) -> Iterator[tuple[int, NDArray[Any]]]:
        """Yield the pieces of a band (h, W) that begins at row ``top``, each with its first byte in the page.

        The rows of one tile lie behind one another, so a piece is as high as the band, or ends with the tile. Behind
        the right edge of the picture it has zeros; rows below the last are left to the file system, as zeros.
        """
        side, bottom = self.side_px, top + len(band)
        while top < bottom:
            end = min(bottom, top - top % side + side)
            for column in range(self.across):
                piece = band[: end - top, column * side : (column + 1) * side]
                if piece.shape[1] < side:
                    piece = np.pad(piece, ((0, 0), (0, side - piece.shape[1])))
                tile = top // side * self.across + column
                yield tile * self.tile_bytes + top % side * side * self.pixel_bytes, np.ascontiguousarray(piece)
            band, top = band[end - top :], end


def cut(bands: Sequence[NDArray[Any]], side: int) -> Iterator[NDArray[Any]]:
    """Yield the tiles of bands (h, W, P), row of tiles by row; the last row and column are repeated to fill them.

    Examples
    --------
    >>> [tile[..., 0].tolist() for tile in cut([np.arange(6).reshape(1, 6, 1)], 4)][1][0]
    [4, 5, 5, 5]
    """
    n_rows, width = sum(map(len, bands)), bands[0].shape[1]
    for top in range(0, n_rows, side):
        rows = list(_between(bands, top, min(top + side, n_rows)))
        for left in range(0, width, side):
            # Joined a tile at a time: a row of tiles is large, and there is no second copy of it.
            tile = np.concatenate([part[:, left : left + side] for part in rows])
            missing = [(0, side - size) for size in tile.shape[:2]]
            yield np.pad(tile, [*missing, (0, 0)], mode="edge") if missing != [(0, 0)] * 2 else tile


def _between(bands: Sequence[NDArray[Any]], top: int, bottom: int) -> Iterator[NDArray[Any]]:
    """Yield the parts of bands that lie in rows ``[top, bottom)`` of them all."""
    start = 0
    for band in bands:
        part = band[max(top - start, 0) : max(bottom - start, 0)]
        if len(part):
            yield part
        start += len(band)
