"""The integers of one valid correlation, as every algorithm is handed it."""

from __future__ import annotations

from typing import NamedTuple

from convcli.geometry.arithmetic import window_px


class Job(NamedTuple):
    """One valid correlation: a group of planes, all its kernels, full output width."""

    n_in: int
    n_out: int
    kernel_hw: tuple[int, int]
    stride_hw: tuple[int, int]
    dilation_hw: tuple[int, int]
    output_w: int
    dtype: str

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

    @property
    def itemsize(self) -> int:
        """Bytes of a sum."""
        return 8 if self.dtype == "float64" else 4
