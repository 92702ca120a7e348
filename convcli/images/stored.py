"""Images whose samples lie in the file as they are: nothing to decode, rows are read where they stand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from convcli.images.info import ImageInfo
from convcli.images.windows import RawRows

if TYPE_CHECKING:
    from numpy.typing import NDArray


class StoredDecoder:
    """An opened image of raw rows.

    Parameters
    ----------
    info : ImageInfo
    rows : RawRows
    """

    def __init__(self, info: ImageInfo, rows: RawRows) -> None:
        self.info = info
        self._rows = rows

    def seek(self, frame: int) -> bool:  # noqa: ARG002 - one frame is all there is
        """Return False: another frame is opened anew."""
        return False

    def decode(self) -> NDArray[Any]:
        """Return all samples (H, W, P), read-only."""
        samples = self._rows.samples(0, self.info.height_px)
        samples.flags.writeable = False
        return samples

    def window(self) -> RawRows:
        """Return the rows without reading them."""
        return self._rows

    def arrive(self, where: str) -> None:
        """Return None: there is nothing to decode."""
