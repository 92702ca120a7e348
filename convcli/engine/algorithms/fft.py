"""Overlap-save: tiles are transformed once, multiplied with every kernel's spectrum, and transformed back.

The last ``window - 1`` rows and columns of a tile wrap around and are dropped, so tiles overlap by that much. A
correlation multiplies with the conjugate of the kernel's spectrum; planes are added up as spectra. A stride drops
results, so it saves nothing here.

A transform rounds every output in proportion to the largest samples of its tile: where float32 is too coarse for the
smallest window, the tile is transformed in float64, and where that is too coarse, the exact algorithm takes over.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any, Self

import numpy as np

from convcli.engine.algorithms.base import (
    CALL_NS,
    GATHER_NS,
    BandAlgorithm,
    Candidate,
    RangeTooLarge,
    Scratch,
    TooLittleMemory,
)
from convcli.engine.borders import Array
from convcli.engine.problem import Job, Problem
from convcli.geometry.arithmetic import Pair

#: Samples transformed in one call: enough to hide the call, few enough to stay in the cache.
BATCH_SAMPLES = 2**17
#: One of the four passes of a transform and its inverse, per sample of a tile; a product of spectra; finding the range.
FFT_NS, SPECTRUM_NS, RANGE_NS = {"float32": 1.35, "float64": 2.4}, 0.15, 1.5
#: Largest error, relative to the sum of a window of the smallest samples.
MOST_ERROR = {"float32": 1e-5, "float64": 1e-9}
#: Integers of so few bits are near one another, and their outputs are stored more coarsely: their range is not checked.
NARROW_INPUTS = ("bool", "uint8", "int8")


def good_size(least: int) -> int:
    """Return the smallest even length of at least ``least`` that transforms fast (factors 2, 3 and 5).

    Examples
    --------
    >>> good_size(97), good_size(251)
    (100, 256)
    """
    # Even: n real samples then have n/2 + 1 complex numbers, the n + 2 columns that transform_bytes counts.
    size = max(least + least % 2, 2)
    while True:
        rest = size
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return size
        size += 2


def transform_bytes(job: Job, tile_hw: Pair, window_px: int, batch: int, *, wide: bool) -> Pair:
    """Return the bytes of the kernels' spectra, and of tiles, spectra, products and maps of one batch.

    ``window_px`` is the window's shorter side; ``wide``: float64 may be needed.
    """
    one, item, own = tile_hw[0] * (tile_hw[1] + 2), 8 if wide else 4, 8 if job.dtype == "float64" else 4
    twice = wide and own == 4  # spectra of both types; tiles are converted
    # Extremes of blocks of small windows, while the range of tiles is found.
    blocks = 8 if window_px < 16 else 0
    passing = max(8 * job.n_in * twice, own * (1 + blocks) + 4) if wide else 0
    each = item * (job.n_in + 2 + (job.n_in > 1)) + own * job.n_in + passing
    kept = one * (item + 4 * twice) * job.n_out * job.n_in
    return kept, one * (each * batch + 40)  # 40: one kernel while it is transformed


def batch_of(n_in: int, tile_hw: Pair, n_tiles: int) -> int:
    """Return how many tiles of ``n_in`` planes are transformed in one call."""
    return max(min(BATCH_SAMPLES // (tile_hw[0] * tile_hw[1] * n_in), n_tiles), 1)


class OverlapSave(BandAlgorithm):
    """Correlation of one group in the frequency domain.

    Tiles make ``band_rows`` output rows and have ``tile_w`` columns, or more where a window is wider. ``wide`` keeps
    spectra of float64 too, for tiles whose samples span a large range.
    """

    name = "fft"
    smears = True
    adds_products = False

    def __init__(self, job: Job, band_rows: int, tile_w: int, wide: bool) -> None:
        super().__init__(job)
        self.wide, self.window_hw = wide, job.window_hw
        self.tile_hw = good_size(job.rows(band_rows)), max(tile_w, good_size(self.window_hw[1]))
        # Outputs of a tile, in strides, so that every tile starts on one.
        self.step_hw = tuple(
            (tile - window) // stride + 1
            for tile, window, stride in zip(self.tile_hw, self.window_hw, job.stride_hw, strict=True)
        )
        self.n_tiles = -(-job.output_w // self.step_hw[1])
        self.batch = batch_of(job.n_in, self.tile_hw, self.n_tiles)
        self.spectra: dict[np.dtype[Any], Array] = {}
        #: Largest norm of a kernel, as a part of the sum of its magnitudes.
        self._norm = 1.0

    @classmethod
    def offer(cls, problem: Problem) -> Candidate:
        """Return the offer with the cheapest tiles whose spectra fit the memory."""
        job = problem.job
        wide = problem.input_dtype not in NARROW_INPUTS or job.dtype == "float64"
        cost, rows, tile_w, threads, taken = cheapest_tiles(problem, wide=wide)
        method, kept = f"overlap-save in tiles of {good_size(job.rows(rows))}×{tile_w}", (rows, tile_w, wide)
        return Candidate(cls.name, method, cost, rows, threads, taken, sums=job.dtype, block=tile_w, settings=kept)

    def load(self, weight: Array) -> Self:
        """Transform ``weight`` (n_out, n_in, kH, kW)."""
        super().load(weight)
        (tile_h, tile_w), (window_h, window_w), (gap_h, gap_w) = self.tile_hw, self.window_hw, self.job.dilation_hw
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
        scaled = flat / largest  # so that squares of taps of 1e-200 do not vanish
        sums = np.maximum(np.abs(scaled).sum(axis=1), 1e-300)
        self._norm = float((np.sqrt((scaled * scaled).sum(axis=1)) / sums).max())
        return self

    def _is_fine(self, dtype: np.dtype[Any], norm: float, least: float) -> bool:
        """Whether rounding in ``dtype`` is small beside the sum of a window of the smallest samples."""
        return float(np.finfo(dtype).eps) * norm * self._norm <= MOST_ERROR[self.job.dtype] * least

    def _range(self, tiles: Array) -> tuple[float, float, bool]:
        """Return the tiles' largest norm, a lower bound on every window's largest sample, and whether windows are zero.

        Every window holds three neighbouring blocks of a fifth of its size along each axis, so its largest sample is
        at least theirs. Windows of zeros do not count for the bound.
        """
        norm = max(float(np.vdot(tile, tile)) for tile in tiles) ** 0.5
        largest = np.maximum(self._by_windows(tiles, np.max), -self._by_windows(tiles, np.min))
        known = largest[largest > 0]
        return norm, float(known.min()) if known.size else norm, known.size < largest.size

    def _by_windows(self, tiles: Array, extreme: Callable[..., Array]) -> Array:
        """Return the extreme of every three neighbouring blocks, over all planes."""
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
        """Return where windows hold only zeros (tiles, rows, columns), by sums over rectangles."""
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
            tiles[tile, :, :, width:] = tiles[tile, :, :, width - 1 : width]  # any number within their range
        return tiles

    def _forward(self, tiles: Array, scratch: Scratch) -> Array:
        """Return the spectra (tiles, n_in, tile rows, tile columns / 2 + 1)."""
        tile_h, tile_w = self.tile_hw
        count, n_in, n_rows, _ = tiles.shape
        spectrum = scratch.get("spectrum", (count, n_in, tile_h, tile_w // 2 + 1), self.spectra[tiles.dtype].dtype)
        # NumPy transforms float32 in float32 only if the scale factor is float32 too, that is where it is not 1: with
        # these norms it is four times as fast as by default. The kernels' spectra undo the second scaling.
        np.fft.rfft(tiles, norm="forward", out=spectrum[:, :, :n_rows])
        spectrum[:, :, n_rows:] = 0
        return np.fft.fft(spectrum, axis=-2, norm="forward", out=spectrum)

    def _back(
        self, spectrum: Array, kernel: Array, rows: Array, first: int, empty: Array | None, scratch: Scratch
    ) -> None:
        """Multiply with one kernel's spectra and write the tiles' outputs into ``rows`` (rows, W)."""
        (stride_h, stride_w), step = self.job.stride_hw, self.step_hw[1]
        count, n_in, tile_h, n_frequencies = spectrum.shape
        terms = scratch.get("back", (count, tile_h, n_frequencies), spectrum.dtype)
        np.multiply(spectrum[:, 0], kernel[0], out=terms)
        if n_in > 1:
            term = scratch.get("term", terms.shape, spectrum.dtype)
            for plane in range(1, n_in):
                np.multiply(spectrum[:, plane], kernel[plane], out=term)
                terms += term
        np.fft.ifft(terms, axis=-2, out=terms)
        n_rows = rows.shape[0]
        wanted = terms[:, : (n_rows - 1) * stride_h + 1 : stride_h]
        maps = scratch.get("maps", (count, n_rows, self.tile_hw[1]), terms.real.dtype)
        np.fft.irfft(wanted, self.tile_hw[1], out=maps)
        for tile in range(count):
            area = rows[:, (first + tile) * step : (first + tile + 1) * step]
            area[:] = maps[tile, :, : area.shape[1] * stride_w : stride_w]
            if empty is not None:
                area[empty[tile, :n_rows, : area.shape[1]]] = 0


def cheapest_tiles(problem: Problem, *, wide: bool) -> tuple[float, int, int, int, int]:
    """Return nanoseconds, output rows of a band, columns of a tile, threads and bytes of the cheapest tiles."""
    job = problem.job
    each = (2 * job.n_in + 2 * job.n_out) * FFT_NS[job.dtype] + job.n_in * RANGE_NS * wide
    each += job.n_in * job.n_out * SPECTRUM_NS + job.n_out * 2 * GATHER_NS
    groups, n_rows, n_matrices = problem.n_groups * len(problem.phases), problem.rows, problem.n_matrices
    band_bytes = job.n_in * job.columns * job.itemsize * (1 + wide)  # a row's; the exact algorithm's too
    windows, gather_ns = job.window_hw, problem.n_inputs * GATHER_NS
    heights = _tilings(n_rows, windows[0], job.stride_hw[0])
    widths = _tilings(job.output_w, windows[1], job.stride_hw[1])
    found, least = [], float("inf")
    for (band, tile_h), (step, tile_w) in product(heights, widths):
        n_bands, n_tiles = -(-n_rows // band), -(-job.output_w // step)
        batch = batch_of(job.n_in, (tile_h, tile_w), n_tiles)
        spectra, worker = transform_bytes(job, (tile_h, tile_w), min(windows), batch, wide=wide)
        spectra *= n_matrices
        worker += tile_h * band_bytes + band * problem.kept_row_bytes
        least = min(least, spectra + worker)
        threads = min(problem.threads, n_bands * groups, (problem.memory - spectra) // worker)
        if threads < 1:
            continue
        # Tiles that leave the second-level cache cost more; so do many calls.
        price = each * (1.0 if tile_h * tile_w <= 2**17 else 1.05 if tile_h * tile_w <= 2**18 else 1.25)
        calls = n_bands * groups * -(-n_tiles // batch) * (8 + 8 * job.n_out)
        cost = n_bands * n_tiles * groups * tile_h * tile_w * price + gather_ns + calls * 4 * CALL_NS
        # The slowest thread has a whole number of bands: three bands on two threads are as slow as four.
        cost = cost * -(-n_bands * groups // threads) / (n_bands * groups) + spectra / 4 * 3
        found.append((cost, band, tile_w, int(threads), int(spectra + threads * worker)))
    if not found:
        raise TooLittleMemory(int(least))
    return min(found)


def _tilings(n_outputs: int, window: int, stride: int) -> list[Pair]:
    """Return outputs of a tile and its length, for every tiling of one axis to try; tiles are alike in size."""
    needed = (n_outputs - 1) * stride + window
    sizes = [n for n in (32, 64, 96, 128, 192, 256, 384, 512, 768, 1024) if window < n < needed]
    if needed <= 1024 or not sizes:
        sizes.append(good_size(needed))
    n_parts = {-(-n_outputs // ((size - window) // stride + 1)) for size in sizes}
    shares = {-(-n_outputs // parts) for parts in n_parts}
    return [(share, good_size((share - 1) * stride + window)) for share in sorted(shares)]
