"""Overlap-save: tiles are transformed once, multiplied with every kernel's spectrum, and transformed back.

The last ``window - 1`` rows and columns of a tile wrap around and are thrown away, so tiles overlap by that much. A
correlation multiplies with the conjugate of the kernel's spectrum; several planes are added as spectra, before the
way back. A stride throws results away, so it saves nothing here.

NumPy transforms float32 in float32 only if the scale factor is float32 too, which is so where it is not 1: forward
with ``norm="forward"`` and back with ``norm="backward"`` is four times as fast as the defaults. The second scaling is
undone in the kernels' spectra.
"""

from __future__ import annotations

import numpy as np

from convcli.engine.job import Job, Weight
from convcli.engine.source import Array, Scratch
from convcli.geometry import window_px

#: Samples transformed in one call: enough to hide the call, few enough to stay in the cache.
BATCH_SAMPLES = 2**17


def good_size(least: int) -> int:
    """Return the smallest even length of at least ``least`` that transforms fast (factors 2, 3 and 5).

    Examples
    --------
    >>> good_size(97), good_size(251)
    (100, 256)
    """
    size = max(least + least % 2, 2)
    while True:
        rest = size
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return size
        size += 2


class OverlapSave:
    """Correlation of one group in the frequency domain.

    Parameters
    ----------
    job : Job
        ``lanes`` is 1.
    tile_hw : (int, int)
        Rows and columns of a tile; at least a window.
    """

    def __init__(self, job: Job, tile_hw: tuple[int, int]) -> None:
        self.job, self.tile_hw, self.columns = job, tile_hw, job.columns
        self.band_dtype = np.dtype(job.dtype)
        self.window_hw = (
            window_px(job.kernel_hw[0], job.dilation_hw[0]),
            window_px(job.kernel_hw[1], job.dilation_hw[1]),
        )
        # Outputs of a tile, in strides, so that every tile starts on one.
        self.step_hw = (
            (tile_hw[0] - self.window_hw[0]) // job.stride_hw[0] + 1,
            (tile_hw[1] - self.window_hw[1]) // job.stride_hw[1] + 1,
        )
        self.n_tiles = -(-job.output_w // self.step_hw[1])
        per_tile = tile_hw[0] * tile_hw[1] * job.n_in
        self.batch = max(min(BATCH_SAMPLES // per_tile, self.n_tiles), 1)
        self.spectra: Array = np.empty((0, 0, 0, 0))

    def load(self, weight: Weight) -> OverlapSave:
        """Transform ``weight`` (n_out, n_in, kH, kW)."""
        tile_h, tile_w = self.tile_hw
        (window_h, window_w), (gap_h, gap_w) = self.window_hw, self.job.dilation_hw
        complex_type = np.complex64 if self.job.dtype == "float32" else np.complex128
        self.spectra = np.empty((*weight.shape[:2], tile_h, tile_w // 2 + 1), complex_type)
        placed = np.zeros((tile_h, tile_w))
        for kernel, spectrum in zip(weight.reshape(-1, *weight.shape[2:]), self._flat_spectra(), strict=True):
            placed[:window_h:gap_h, :window_w:gap_w] = kernel
            spectrum[:] = np.conj(np.fft.rfft2(placed)) * (tile_h * tile_w)
        return self

    def _flat_spectra(self) -> Array:
        return self.spectra.reshape(-1, *self.spectra.shape[2:])

    def __call__(self, band: Array, target: Array, scratch: Scratch) -> None:
        """Correlate ``band`` (n_in, rows, columns, 1) into ``target`` (n_out, rows, W, 1)."""
        for top in range(0, target.shape[1], self.step_hw[0]):
            rows = target[:, top : top + self.step_hw[0], :, 0]
            samples = band[:, top * self.job.stride_hw[0] :, :, 0]
            for first in range(0, self.n_tiles, self.batch):
                count = min(self.batch, self.n_tiles - first)
                spectrum = self._forward(samples, first, count, scratch)
                for o, kernel in enumerate(self.spectra):
                    self._back(spectrum, kernel, rows[o], first, scratch)

    def _forward(self, samples: Array, first: int, count: int, scratch: Scratch) -> Array:
        """Return the spectra (tiles, n_in, tile rows, tile columns / 2 + 1)."""
        tile_h, tile_w = self.tile_hw
        n_in, n_rows, n_columns = samples.shape
        n_rows = min(n_rows, tile_h)
        tiles = scratch.get("tiles", (count, n_in, n_rows, tile_w), self.band_dtype)
        step = self.step_hw[1] * self.job.stride_hw[1]
        for tile in range(count):
            left = (first + tile) * step
            width = min(tile_w, n_columns - left)
            tiles[tile, :, :, :width] = samples[:, :n_rows, left : left + width]
            tiles[tile, :, :, width:] = 0
        complex_type = self.spectra.dtype
        spectrum = scratch.get("spectrum", (count, n_in, tile_h, tile_w // 2 + 1), complex_type)
        np.fft.rfft(tiles, norm="forward", out=spectrum[:, :, :n_rows])
        spectrum[:, :, n_rows:] = 0
        return np.fft.fft(spectrum, axis=-2, norm="forward", out=spectrum)

    def _back(self, spectrum: Array, kernel: Array, rows: Array, first: int, scratch: Scratch) -> None:
        """Multiply with one kernel's spectra and write the tiles' outputs into ``rows`` (rows, W)."""
        (stride_h, stride_w), step = self.job.stride_hw, self.step_hw[1]
        count, n_in, tile_h, n_frequencies = spectrum.shape
        product = scratch.get("back", (count, tile_h, n_frequencies), spectrum.dtype)
        np.multiply(spectrum[:, 0], kernel[0], out=product)
        if n_in > 1:
            term = scratch.get("term", product.shape, spectrum.dtype)
            for plane in range(1, n_in):
                np.multiply(spectrum[:, plane], kernel[plane], out=term)
                product += term
        np.fft.ifft(product, axis=-2, out=product)
        n_rows = rows.shape[0]
        wanted = product[:, : (n_rows - 1) * stride_h + 1 : stride_h]
        maps = scratch.get("maps", (count, n_rows, self.tile_hw[1]), self.band_dtype)
        np.fft.irfft(wanted, self.tile_hw[1], out=maps)
        for tile in range(count):
            area = rows[:, (first + tile) * step : (first + tile + 1) * step]
            area[:] = maps[tile, :, : area.shape[1] * stride_w : stride_w]

    def matrix_bytes(self) -> int:
        """Return the bytes of the kernels' spectra."""
        one = self.tile_hw[0] * (self.tile_hw[1] + 2) * self.band_dtype.itemsize
        return one * self.job.n_out * self.job.n_in

    def scratch_bytes(self, n_rows: int) -> int:  # noqa: ARG002
        """Tiles, spectra, products and maps of one batch."""
        per_tile = self.tile_hw[0] * (self.tile_hw[1] + 2) * self.band_dtype.itemsize
        terms = 1 if self.job.n_in > 1 else 0
        return per_tile * self.batch * (2 * self.job.n_in + 2 + terms)
