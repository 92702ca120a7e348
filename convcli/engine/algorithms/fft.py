"""Overlap-save: tiles are transformed once, multiplied with every kernel's spectrum, and transformed back.

The last ``window - 1`` rows and columns of a tile wrap around and are thrown away, so tiles overlap by that much. A
correlation multiplies with the conjugate of the kernel's spectrum; several planes are added as spectra, before the
way back. A stride throws results away, so it saves nothing here.

NumPy transforms float32 in float32 only if the scale factor is float32 too, which is so where it is not 1: forward
with ``norm="forward"`` and back with ``norm="backward"`` is four times as fast as the defaults. The second scaling is
undone in the kernels' spectra.

A transform rounds every output by as much as the largest samples of its tile ask for. So its error is bounded by the
range of the samples, tile by tile: where float32 is too coarse for the smallest window, the tile is transformed in
float64, and where that is too, the exact algorithm does it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self

import numpy as np

from convcli.engine.algorithms.base import BandAlgorithm, RangeTooLarge
from convcli.engine.bands import Array, Scratch
from convcli.engine.job import Job
from convcli.engine.problem import CALL_NS, GATHER_NS, Candidate, Problem, TooLittleMemory

#: Samples transformed in one call: enough to hide the call, few enough to stay in the cache.
BATCH_SAMPLES = 2**17
#: Looking at the range of a tile, per sample.
RANGE_NS = 1.5
#: One of the four passes of a transform and its inverse, per sample of a tile; one product of spectra.
FFT_NS, SPECTRUM_NS = {"float32": 1.35, "float64": 2.4}, 0.15
#: Largest error, relative to what a window of the smallest samples adds up to.
MOST_ERROR = {"float32": 1e-5, "float64": 1e-9}
#: Integers of so few bits are near one another, and what they are stored as is coarser: no look at their range.
NARROW_INPUTS = ("bool", "uint8", "int8")


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


def windows_of(job: Job) -> tuple[int, int]:
    """Return the rows and columns that a window covers."""
    (kernel_h, kernel_w), (gap_h, gap_w) = job.kernel_hw, job.dilation_hw
    return gap_h * (kernel_h - 1) + 1, gap_w * (kernel_w - 1) + 1


def transform_bytes(job: Job, tile_hw: tuple[int, int], batch: int, *, wide: bool) -> tuple[int, int]:
    """Return the bytes of the kernels' spectra, and of tiles, spectra, products and maps of one batch.

    ``wide``: of float64 also, or only.
    """
    one, item, own = tile_hw[0] * (tile_hw[1] + 2), 8 if wide else 4, 8 if job.dtype == "float64" else 4
    twice = wide and own == 4  # spectra of both types; tiles are converted
    # While the range of tiles is looked at: extremes of blocks of small windows.
    blocks = 8 if min(windows_of(job)) < 16 else 0
    passing = max(8 * job.n_in * twice, own * (1 + blocks) + 4) if wide else 0
    each = item * (job.n_in + 2 + (job.n_in > 1)) + own * job.n_in + passing
    kept = one * (item + 4 * twice) * job.n_out * job.n_in
    return kept, one * (each * batch + 40)  # 40: one kernel while it is transformed


def batch_of(n_in: int, tile_hw: tuple[int, int], n_tiles: int) -> int:
    """Return how many tiles of ``n_in`` planes are transformed in one call."""
    return max(min(BATCH_SAMPLES // (tile_hw[0] * tile_hw[1] * n_in), n_tiles), 1)


class OverlapSave(BandAlgorithm):
    """Correlation of one group in the frequency domain.

    Parameters
    ----------
    job : Job
    tile_hw : (int, int)
        Rows and columns of a tile; at least a window.
    wide : bool
        Keep spectra of float64 too, for tiles whose samples span a large range.
    """

    name = "fft"
    smears = True

    def __init__(self, job: Job, tile_hw: tuple[int, int], *, wide: bool = True) -> None:
        super().__init__(job)
        self.tile_hw, self.wide = tile_hw, wide or job.dtype == "float64"
        self.window_hw = windows_of(job)
        # Outputs of a tile, in strides, so that every tile starts on one.
        self.step_hw = (
            (tile_hw[0] - self.window_hw[0]) // job.stride_hw[0] + 1,
            (tile_hw[1] - self.window_hw[1]) // job.stride_hw[1] + 1,
        )
        self.n_tiles = -(-job.output_w // self.step_hw[1])
        self.batch = batch_of(job.n_in, tile_hw, self.n_tiles)
        self.spectra: dict[np.dtype[Any], Array] = {}
        #: Norm of a kernel, as a part of the sum of its magnitudes: the most of any.
        self._norm = 1.0

    @classmethod
    def offer(cls, problem: Problem) -> Candidate:
        """Return the cheapest tiles whose spectra fit the memory."""
        return cheapest_tiles(problem)

    def load(self, weight: Array) -> Self:
        """Transform ``weight`` (n_out, n_in, kH, kW)."""
        super().load(weight)
        tile_h, tile_w = self.tile_hw
        (window_h, window_w), (gap_h, gap_w) = self.window_hw, self.job.dilation_hw
        types = {self.dtype, np.dtype(np.float64)} if self.wide else {self.dtype}
        shape = (*weight.shape[:2], tile_h, tile_w // 2 + 1)
        self.spectra = {dtype: np.empty(shape, np.result_type(dtype, np.complex64)) for dtype in types}
        placed = np.zeros((tile_h, tile_w))
        for index in np.ndindex(*weight.shape[:2]):
            placed[:window_h:gap_h, :window_w:gap_w] = weight[index]
            spectrum = np.conj(np.fft.rfft2(placed)) * (tile_h * tile_w)
            for spectra in self.spectra.values():
                spectra[index] = spectrum
        flat = weight.reshape(len(weight), -1)
        largest = np.maximum(np.abs(flat).max(axis=1, keepdims=True), np.finfo(np.float64).tiny)
        scaled = flat / largest  # squares of taps of 1e-200 are not nothing this way
        sums = np.maximum(np.abs(scaled).sum(axis=1), 1e-300)
        self._norm = float((np.sqrt((scaled * scaled).sum(axis=1)) / sums).max())
        return self

    def _is_fine(self, dtype: np.dtype[Any], norm: float, least: float) -> bool:
        """Whether rounding in ``dtype`` is small beside what a window of the smallest samples adds up to."""
        return float(np.finfo(dtype).eps) * norm * self._norm <= MOST_ERROR[self.job.dtype] * least

    def _range(self, tiles: Array) -> tuple[float, float, bool]:
        """Return the largest norm of a tile, the least that a window's largest sample is, and whether windows are zero.

        Every window holds three neighbouring blocks of a fifth of its size along each axis, so that what it meets is
        at least the largest sample of those. Windows of zeros count for the last answer only.
        """
        norm = max(float(np.vdot(tile, tile)) for tile in tiles) ** 0.5
        largest = np.maximum(self._by_windows(tiles, np.max), -self._by_windows(tiles, np.min))
        known = largest[largest > 0]
        return norm, float(known.min()) if known.size else norm, known.size < largest.size

    def _by_windows(self, tiles: Array, extreme: Callable[..., Array]) -> Array:
        """Return the extreme of three neighbouring blocks, everywhere, over all planes."""
        found = extreme(tiles, axis=1) if tiles.shape[1] > 1 else tiles[:, 0]
        for axis, window in zip((1, 2), self.window_hw, strict=True):
            size = max(window // 5, 1)
            found = np.ascontiguousarray(found.swapaxes(1, axis))  # reduced down contiguous rows
            n = max(found.shape[1] // size, 1)
            size = min(size, found.shape[1])
            found = extreme(found[:, : n * size].reshape(len(found), n, size, -1), axis=2)
            if window >= 5 and n > 2:
                found = extreme([found[:, :-2], found[:, 1:-1], found[:, 2:]], axis=0)
            elif window >= 5:
                found = extreme(found, axis=1, keepdims=True)
            found = found.swapaxes(1, axis)
        return found

    def correlate(self, band: Array, target: Array, scratch: Scratch) -> None:
        """Transform batches of tiles, multiply with every kernel, and transform back."""
        for top in range(0, target.shape[1], self.step_hw[0]):
            rows = target[:, top : top + self.step_hw[0]]
            samples = band[:, top * self.job.stride_hw[0] :]
            for first in range(0, self.n_tiles, self.batch):
                tiles = self._tiles(samples, first, min(self.batch, self.n_tiles - first), scratch)
                norm, least, has_zeros = self._range(tiles) if self.wide else (0.0, 0.0, False)
                fine = self._is_fine(self.dtype, norm, least) and not has_zeros
                dtype = self.dtype if fine else np.dtype(np.float64)
                if not fine and not self._is_fine(dtype, norm, least):
                    raise RangeTooLarge
                empty = self._empty_windows(tiles) if has_zeros else None
                spectrum = self._forward(tiles.astype(dtype, copy=False), scratch)
                for o, kernel in enumerate(self.spectra[dtype]):
                    self._back(spectrum, kernel, rows[o], first, empty, scratch)

    def _empty_windows(self, tiles: Array) -> Array:
        """Return where windows hold nothing but zeros (tiles, rows, columns), by sums over rectangles."""
        (window_h, window_w), (stride_h, stride_w) = self.window_hw, self.job.stride_hw
        sums = np.zeros((len(tiles), tiles.shape[2] + 1, tiles.shape[3] + 1), np.int32)
        np.cumsum((tiles != 0).any(axis=1), axis=1, out=sums[:, 1:, 1:])
        np.cumsum(sums, axis=2, out=sums)
        tall = sums[:, window_h:] - sums[:, :-window_h]
        empty: Array = tall[:, ::stride_h, window_w:] == tall[:, ::stride_h, :-window_w]
        return empty[:, :, ::stride_w]

    def _tiles(self, samples: Array, first: int, count: int, scratch: Scratch) -> Array:
        """Cut ``count`` tiles (tiles, n_in, rows, tile columns)."""
        tile_h, tile_w = self.tile_hw
        n_in, n_rows, n_columns = samples.shape
        n_rows = min(n_rows, tile_h)
        tiles = scratch.get("tiles", (count, n_in, n_rows, tile_w), self.dtype)
        step = self.step_hw[1] * self.job.stride_hw[1]
        for tile in range(count):
            left = (first + tile) * step
            width = min(tile_w, n_columns - left)
            tiles[tile, :, :, :width] = samples[:, :n_rows, left : left + width]
            tiles[tile, :, :, width:] = tiles[tile, :, :, width - 1 : width]  # any number of their range will do
        return tiles

    def _forward(self, tiles: Array, scratch: Scratch) -> Array:
        """Return the spectra (tiles, n_in, tile rows, tile columns / 2 + 1)."""
        tile_h, tile_w = self.tile_hw
        count, n_in, n_rows, _ = tiles.shape
        spectrum = scratch.get("spectrum", (count, n_in, tile_h, tile_w // 2 + 1), self.spectra[tiles.dtype].dtype)
        np.fft.rfft(tiles, norm="forward", out=spectrum[:, :, :n_rows])
        spectrum[:, :, n_rows:] = 0
        return np.fft.fft(spectrum, axis=-2, norm="forward", out=spectrum)

    def _back(
        self, spectrum: Array, kernel: Array, rows: Array, first: int, empty: Array | None, scratch: Scratch
    ) -> None:
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
        maps = scratch.get("maps", (count, n_rows, self.tile_hw[1]), product.real.dtype)
        np.fft.irfft(wanted, self.tile_hw[1], out=maps)
        for tile in range(count):
            area = rows[:, (first + tile) * step : (first + tile + 1) * step]
            area[:] = maps[tile, :, : area.shape[1] * stride_w : stride_w]
            if empty is not None:
                area[empty[tile, :n_rows, : area.shape[1]]] = 0


def cheapest_tiles(problem: Problem) -> Candidate:
    """Return the cheapest tiles whose spectra fit the memory, as an offer.

    Raises
    ------
    TooLittleMemory
        If no spectra do.
    """
    job, facts = problem.job, problem.facts
    wide = problem.input_dtype not in NARROW_INPUTS or job.dtype == "float64"
    (window_h, window_w), (stride_h, stride_w) = windows_of(job), job.stride_hw
    each = (2 * facts.n_in + 2 * facts.n_out) * FFT_NS[job.dtype] + facts.n_in * RANGE_NS * wide
    each += facts.n_in * facts.n_out * SPECTRUM_NS + facts.n_out * 2 * GATHER_NS
    groups, n_rows, n_matrices = facts.n_groups * len(problem.phases), problem.rows, problem.n_matrices
    gather_ns = problem.n_inputs * GATHER_NS
    band_bytes = job.n_in * job.columns * job.itemsize * (1 + wide)  # a row's; the exact algorithm's too
    bands = {_even_share(n_rows, (n - window_h) // stride_h + 1) for n in _tile_sizes(window_h, job.rows(n_rows))}
    steps = {_even_share(job.output_w, (n - window_w) // stride_w + 1) for n in _tile_sizes(window_w, job.columns)}
    heights = [(band, good_size((band - 1) * stride_h + window_h)) for band in sorted(bands)]
    widths = [(step, good_size((step - 1) * stride_w + window_w)) for step in sorted(steps)]
    best: tuple[float, int, int, int, int] | None = None
    least = float("inf")
    for band, tile_h in heights:
        n_bands = -(-n_rows // band)
        for step, tile_w in widths:
            n_tiles = -(-job.output_w // step)
            batch = batch_of(job.n_in, (tile_h, tile_w), n_tiles)
            spectra, worker = transform_bytes(job, (tile_h, tile_w), batch, wide=wide)
            spectra *= n_matrices
            worker += tile_h * band_bytes + band * problem.kept_row_bytes
            least = min(least, spectra + worker)
            threads = min(problem.threads, n_bands * groups, (problem.memory - spectra) // worker)
            if threads < 1:
                continue
            # Tiles that leave the second-level cache cost more; so do many calls.
            price = each * (1.0 if tile_h * tile_w <= 2**17 else 1.05 if tile_h * tile_w <= 2**18 else 1.25)
            calls = n_bands * groups * -(-n_tiles // batch) * (8 + 8 * facts.n_out)
            cost = n_bands * n_tiles * groups * tile_h * tile_w * price + gather_ns + calls * 4 * CALL_NS
            # The slowest thread has a whole number of bands: three bands on two threads are as slow as four.
            cost = cost * -(-n_bands * groups // threads) / (n_bands * groups) + spectra / 4 * 3
            if best is None or cost < best[0]:
                best = (cost, band, tile_w, int(threads), int(spectra + threads * worker))
    if best is None:
        raise TooLittleMemory(int(least))
    cost, band, tile_w, threads, taken = best
    method = f"overlap-save in tiles of {good_size(job.rows(band))}×{tile_w}"
    return Candidate("fft", method, cost, band, threads, taken, sums=job.dtype, block=tile_w, adds_products=False)


def _tile_sizes(window: int, needed: int) -> list[int]:
    """Return tile lengths worth trying for a window on an axis of ``needed`` samples."""
    sizes = [n for n in (32, 64, 96, 128, 192, 256, 384, 512, 768, 1024) if window < n < needed]
    return [*sizes, good_size(needed)] if needed <= 1024 or not sizes else sizes


def _even_share(n: int, most: int) -> int:
    """Return how many of ``n`` each of as few parts as possible takes, none more than ``most``."""
    parts = -(-n // max(most, 1))
    return -(-n // parts)
