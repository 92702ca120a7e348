"""Plans carried out: bands of rows, on threads, into memory the caller may own."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from convcli.engine import native
from convcli.engine.algorithms import Algorithm, exact_algorithm
from convcli.engine.algorithms.base import BandAlgorithm
from convcli.engine.algorithms.direct import Direct
from convcli.engine.algorithms.fft import NARROW_INPUTS, OverlapSave, good_size
from convcli.engine.algorithms.gemm import Gemm
from convcli.engine.algorithms.im2col import Im2col
from convcli.engine.algorithms.reference import Reference
from convcli.engine.algorithms.separable import Separable
from convcli.engine.algorithms.torch import Torch
from convcli.engine.bands import READABLE, Array, Planes, ScratchPool, Source, interleaved
from convcli.engine.job import Job
from convcli.engine.phases import as_correlation, phase_weight
from convcli.engine.plan import ConvPlan
from convcli.engine.problem import job_of, tap_facts
from convcli.engine.refusals import check_range
from convcli.engine.store import MOST_LANES, ToneCounts, counts_of, is_reliable
from convcli.engine.work import Work, run_bands
from convcli.errors import GeometryError
from convcli.geometry.arithmetic import window_px

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: Output samples of a short job.
SHORT_SAMPLES = 4_000_000


def prepare(plan: ConvPlan, weight: NDArray[Any], bias: NDArray[Any] | None = None) -> Runner:
    """Build the matrices or spectra that ``plan`` needs; the result serves any number of images of that shape.

    Parameters
    ----------
    plan : ConvPlan
    weight : ndarray
        What :func:`convcli.engine.plan_conv` saw.
    bias : ndarray of shape (O,), optional

    Returns
    -------
    Runner
        Safe to use from several threads at once.

    Raises
    ------
    GeometryError
        If the bias has not one number per map.
    UsageError
        If the plan's device is absent, or the bias leaves the range of the plan's type.
    """
    return Runner(plan, weight, bias)


class Runner:
    """A plan with its kernels ready; made by :func:`prepare`.

    Attributes
    ----------
    plan : ConvPlan
    """

    def __init__(self, plan: ConvPlan, weight: NDArray[Any], bias: NDArray[Any] | None = None) -> None:
        self.plan = plan
        weight = np.asarray(weight, dtype=np.float64)
        weight = as_correlation(weight, plan.groups) if plan.transposed else weight
        self._bias = None if bias is None else np.asarray(bias, dtype=np.float64)
        if self._bias is not None and self._bias.shape != (plan.output_shape[0],):
            raise GeometryError(f"bias of shape {self._bias.shape} for {plan.output_shape[0]} maps")
        if self._bias is not None and not self._bias.any():
            self._bias = None
        if self._bias is not None:
            largest = float(np.abs(self._bias).max())
            check_range(largest + plan.bound, plan.dtype, f"bias of {largest:.4g}")
        self._phases = plan.phases()
        facts = tap_facts(weight[:1], 1)._replace(n_out=len(weight) // plan.groups)
        self._jobs = [job_of(phase, facts, plan.dtype) for phase in self._phases]
        self._algorithms = [self._load(index, phase_weight(weight, phase)) for index, phase in enumerate(self._phases)]
        self._folded = plan.shared and self._algorithms[0][0].folds
        self._pool = ScratchPool()
        self._lock = threading.Lock()

    def _load(self, index: int, weight: Array) -> list[Algorithm]:
        """Return one algorithm per group; groups with the same kernels share it."""
        made: dict[bytes, list[tuple[Array, Algorithm]]] = {}
        found = []
        for kernels in weight.reshape(self.plan.groups, -1, *weight.shape[1:]):
            # Found by some of the taps, then by all.
            alike = made.setdefault(kernels.reshape(-1)[:: max(kernels.size // 1024, 1)].tobytes(), [])
            match = next((algorithm for others, algorithm in alike if np.array_equal(kernels, others)), None)
            if match is None:
                match = make_algorithm(self.plan, self._jobs[index]).load(kernels)
                alike.append((kernels, match))
            found.append(match)
        return found

    def rows(self, planes: Planes, top: int, bottom: int, out: Array | None = None) -> Array:
        """Compute output rows ``top`` to ``bottom``, on the calling thread.

        Parameters
        ----------
        planes : ndarray of shape (C, H, W), or RowSource
            Any dtype and strides.
        top, bottom : int
            ``0 <= top < bottom <= plan.output_shape[1]``.
        out : ndarray of shape (O, bottom - top, oW), optional
            Any strides; float32 or float64.

        Returns
        -------
        ndarray
            ``out``, or a new array of shape (O, bottom - top, oW) and the plan's dtype.
        """
        self._check(planes, top, bottom)
        if out is None:
            out = np.empty((self.plan.output_shape[0], bottom - top, self.plan.output_shape[2]), self.plan.dtype)
        self._check_out(out, bottom - top)
        scratch = self._pool.take()
        try:
            for work in self._works(planes, out, top):
                for band in work.bands(top, bottom, self.plan.band_rows):
                    work(band, scratch)
        finally:
            self._pool.put(scratch)
        return out

    def run(self, planes: Planes, out: Array | None = None) -> Array:
        """Compute every output row on ``plan.threads`` threads; parameters and result as in :meth:`rows`."""
        n_out, height, width = self.plan.output_shape
        self._check(planes, 0, height)
        target = np.empty((n_out, height, width), self.plan.dtype) if out is None else out
        self._check_out(target, height)
        works = self._works(planes, target, 0)
        workers = 1 if self.plan.engine == "torch" else self.plan.threads  # torch brings its own
        # So that a thread that is slower gets less; a short job is not worth more than a piece for each.
        pieces = workers * (4 if target.size > SHORT_SAMPLES else 1)
        rows = min(self.plan.band_rows, max(-(-height // pieces), 8)) if self.plan.engine == "direct" else None
        bands = [(work, band) for work in works for band in work.bands(0, height, rows or self.plan.band_rows)]
        run_bands(bands, self._pool, workers)
        return target

    def makes_bytes(self, dtype: np.dtype[Any]) -> bool:
        """Whether :meth:`picture` makes single maps of planes of a type: by the compiled loops, from integers."""
        is_direct = isinstance(self._algorithms[0][0], Direct) and len(self._phases) == 1
        return is_direct and self.plan.dtype == "float32" and dtype in READABLE and dtype.kind != "f"

    def makes_pictures(self, dtype: np.dtype[Any], n_kernels: int) -> bool:
        """Whether :meth:`picture` makes all maps of planes of a type at once.

        ``n_kernels``, one or two, are the same for up to four planes, or read all planes together.
        """
        plan = self.plan
        if not self.makes_bytes(dtype) or self._jobs[0].n_out != n_kernels or n_kernels > 2:
            return False
        if plan.groups == 1:
            return True
        alike = self._bias is None or (self._bias.reshape(plan.groups, -1) == self._bias[:n_kernels]).all()
        return bool(alike) and plan.shared and plan.groups <= MOST_LANES

    def picture(
        self,
        planes: Planes,
        top: int,
        bottom: int,
        out: Array,
        tones: Sequence[tuple[float, float, bool]],
        map_index: int | None = None,
    ) -> ToneCounts | None:
        """Compute output rows, combine two maps into their magnitude, and store them as bytes, in one pass.

        Parameters
        ----------
        planes : ndarray or RowSource
            Of a type that :meth:`makes_pictures` takes.
        top, bottom : int
            As in :meth:`rows`.
        out : ndarray of shape (bottom - top, oW, lanes), uint8, contiguous rows
        tones : sequence of (gain, offset, absolute)
            One a lane: what is stored is ``gain * v + offset``, or of ``|v|``.
        map_index : int, optional
            One map alone, as it is; by default all of them.

        Returns
        -------
        ToneCounts or None
            None where planes do not lie side by side, or values are so far from the scale that float32 is too coarse:
            ``out`` then means nothing.
        """
        self._check(planes, top, bottom)
        assert native.core is not None
        (rows, columns), job = self._phases[0], self._jobs[0]
        group, kernel = (0, 0) if map_index is None else divmod(map_index, job.n_out)
        algorithm = self._algorithms[0][group]
        assert isinstance(algorithm, Direct)
        source = Source(planes, rows.before, columns.before, self.plan.border)
        lanes = self.plan.groups if map_index is None else 1
        channels = slice(0, planes.shape[0]) if lanes > 1 else slice(group * job.n_in, (group + 1) * job.n_in)
        samples, places = source.window(channels, top * job.stride_hw[0], job.rows(bottom - top), algorithm.dtype)
        together = interleaved(samples) if lanes > 1 else samples
        if together is None or samples.dtype.kind == "f":
            return None
        kernels = slice(None) if map_index is None else slice(kernel, kernel + 1)
        bias = None if self._bias is None else self._bias[group * job.n_out :][: job.n_out].astype(np.float32)
        found = native.core.picture(
            together[None] if lanes > 1 else samples[..., None],
            places,
            source.column_positions(job.columns),
            algorithm.taps[kernels],
            None if bias is None else bias[kernels],
            out,
            *job.stride_hw,
            *job.dilation_hw,
            self.plan.border.value,
            list(tones),
        )
        counts = counts_of(found, (bottom - top) * job.output_w)
        return counts if is_reliable(counts, tones) else None

    def _check(self, planes: Planes, top: int, bottom: int) -> None:
        if tuple(planes.shape) != self.plan.input_shape:
            raise GeometryError(f"planned for planes of shape {self.plan.input_shape}, given {tuple(planes.shape)}")
        if not 0 <= top < bottom <= self.plan.output_shape[1]:
            raise GeometryError(f"rows {top} to {bottom} of {self.plan.output_shape[1]}")
        if planes.dtype != self.plan.input_dtype and self.plan.input_dtype not in ("float32", "float64"):
            raise GeometryError(f"planned for {self.plan.input_dtype} samples, given {planes.dtype}")

    def _check_out(self, out: Array, n_rows: int) -> None:
        n_out, _, width = self.plan.output_shape
        if out.shape != (n_out, n_rows, width):
            raise GeometryError(f"out of shape {out.shape}, needed {(n_out, n_rows, width)}")
        if out.dtype not in (np.dtype(self.plan.dtype), np.dtype("float64")):
            raise GeometryError(f"out of type {out.dtype}, needed {self.plan.dtype}")
        if not out.flags.writeable:
            raise GeometryError("out is read-only", hint="pass an array that may be written")

    def _works(self, planes: Planes, out: Array, top: int) -> list[Work]:
        return [
            Work(algorithms, phase, planes, self.plan.border, out, top, self._bias, folded=self._folded)
            for algorithms, phase in zip(self._algorithms, self._phases, strict=True)
        ]


def make_algorithm(plan: ConvPlan, job: Job) -> Algorithm:
    """Return the algorithm that ``plan`` names, for one phase.

    A plan made where the loops are compiled runs where they are not: the blocked product does the work.
    """
    made: Algorithm
    if plan.engine == "fft":
        tile_h = good_size(job.rows(plan.band_rows))
        tile_w = max(plan.block, good_size(window_px(job.kernel_hw[1], job.dilation_hw[1])))
        made = OverlapSave(job, (tile_h, tile_w), wide=plan.input_dtype not in NARROW_INPUTS)
    elif plan.engine == "separable":
        made = Separable(job, plan.rank)
    elif plan.engine == "torch":
        made = Torch(job, plan.device, plan.threads, plan.input_dtype if plan.border.value == 0 else plan.dtype)
    elif plan.engine == "gemm":
        made = Gemm(job, plan.block)
    elif plan.engine == "direct":
        made = Gemm(job) if native.core is None else Direct(job)
    else:
        made = {"reference": Reference, "im2col": Im2col}[plan.engine](job)
    if isinstance(made, BandAlgorithm):
        made.make_exact = exact_algorithm
    return made
