"""What overlap-save offers: which tiles."""

from __future__ import annotations

from convcli.engine.costs import CALL_NS, FFT_NS, GATHER_NS, SPECTRUM_NS, Candidate, Problem, TooLittleMemory
from convcli.engine.fft import OverlapSave, good_size
from convcli.geometry import window_px


def offer_fft(problem: Problem) -> Candidate:
    """Return the cheapest tiles whose spectra fit the memory."""
    job, facts = problem.job(), problem.facts
    window_h, window_w = (window_px(k, d) for k, d in zip(job.kernel_hw, job.dilation_hw, strict=True))
    passes = 2 * facts.n_in + 2 * facts.n_out
    each = passes * FFT_NS[job.dtype] + facts.n_in * facts.n_out * SPECTRUM_NS + facts.n_out * 2 * GATHER_NS
    groups = facts.n_groups * len(problem.phases)
    distinct = problem.n_matrices
    best: tuple[float, int, int, int, int] | None = None
    least = float("inf")
    for size_h in _tile_sizes(window_h, job.rows(problem.rows)):
        band = _even_share(problem.rows, (size_h - window_h) // job.stride_hw[0] + 1)
        tile_h = good_size(job.rows(band))
        for size_w in _tile_sizes(window_w, job.columns):
            step = _even_share(job.output_w, (size_w - window_w) // job.stride_hw[1] + 1)
            tile_w = good_size((step - 1) * job.stride_hw[1] + window_w)
            transform = OverlapSave(job, (tile_h, tile_w))
            n_bands = -(-problem.rows // band)
            spectra = transform.matrix_bytes() * distinct
            worker = job.n_in * tile_h * job.columns * transform.band_dtype.itemsize + transform.scratch_bytes(band)
            worker += band * problem.kept_row_bytes
            least = min(least, spectra + worker)
            threads = min(problem.threads, n_bands * groups, (problem.memory - spectra) // worker)
            if threads < 1:
                continue
            # Tiles that leave the second-level cache cost more; so do many calls.
            price = each * (1.0 if tile_h * tile_w <= 2**17 else 1.05 if tile_h * tile_w <= 2**18 else 1.25)
            n_tiles = n_bands * transform.n_tiles * groups
            calls = n_bands * groups * -(-transform.n_tiles // transform.batch) * (8 + 8 * facts.n_out)
            cost = n_tiles * tile_h * tile_w * price + problem.n_inputs * GATHER_NS + calls * 4 * CALL_NS
            # The slowest thread has a whole number of bands: three bands on two threads are as slow as four.
            bands = n_bands * groups
            cost = cost * -(-bands // threads) / bands + spectra / 4 * 3
            if best is None or cost < best[0]:
                best = (cost, band, tile_w, int(threads), int(spectra + threads * worker))
    if best is None:
        raise TooLittleMemory(int(least))
    cost, band, tile_w, threads, taken = best
    tile_h = good_size(job.rows(band))
    method = f"overlap-save in tiles of {tile_h}×{tile_w}"
    return Candidate("fft", method, cost, band, threads, taken, problem.dtype, tile_w, adds_products=False)


def _tile_sizes(window: int, needed: int) -> list[int]:
    """Return tile lengths worth trying for a window on an axis of ``needed`` samples."""
    sizes = [n for n in (32, 64, 96, 128, 192, 256, 384, 512, 768, 1024) if window < n < needed]
    return [*sizes, good_size(needed)] if needed <= 1024 or not sizes else sizes


def _even_share(n: int, most: int) -> int:
    """Return how many of ``n`` each of as few parts as possible takes, none more than ``most``."""
    parts = -(-n // max(most, 1))
    return -(-n // parts)
