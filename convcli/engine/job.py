"""What every algorithm is handed: one valid correlation of one padded band."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

from convcli.engine.source import Array, Scratch
from convcli.geometry import window_px
from convcli.record import NamedTuple

if TYPE_CHECKING:
    from numpy.typing import NDArray

Weight: TypeAlias = "NDArray[np.float64]"


class Job(NamedTuple):
    """The integers of one valid correlation: a group of planes, all its kernels, full output width.

    ``lanes`` planes may lie side by side in each row (see :mod:`convcli.engine.source`); each lane gets every kernel.
    """

    n_in: int
    n_out: int
    kernel_hw: tuple[int, int]
    stride_hw: tuple[int, int]
    dilation_hw: tuple[int, int]
    output_w: int
    dtype: str
    lanes: int = 1

    @property
    def columns(self) -> int:
        """Padded columns that the outputs of one row read."""
        return (self.output_w - 1) * self.stride_hw[1] + window_px(self.kernel_hw[1], self.dilation_hw[1])

    def rows(self, n_output: int) -> int:
        """Return the padded rows that ``n_output`` rows of output read."""
        return (n_output - 1) * self.stride_hw[0] + window_px(self.kernel_hw[0], self.dilation_hw[0])

    @property
    def taps(self) -> int:
        """Taps per output sample."""
        return self.n_in * self.kernel_hw[0] * self.kernel_hw[1]


class Correlator(Protocol):
    """One algorithm with its matrices or spectra for one set of kernels, reusable and free of state.

    ``band_dtype`` is what it wants the band in; ``columns`` how many (at least :attr:`Job.columns`; those beyond are
    zero).
    """

    band_dtype: np.dtype[Any]
    columns: int

    def load(self, weight: Weight) -> Correlator:
        """Make the matrices or spectra of ``weight`` (n_out, n_in, kH, kW); the sizes are known without."""

    def __call__(self, band: Array, target: Array, scratch: Scratch) -> None:
        """Correlate ``band`` (n_in, rows, columns, lanes), contiguous, into ``target`` (n_out, rows, W, lanes)."""

    def matrix_bytes(self) -> int:
        """Return the bytes that :meth:`load` keeps."""

    def scratch_bytes(self, n_rows: int) -> int:
        """Return the bytes it takes for ``n_rows`` rows of output, the band itself apart."""
