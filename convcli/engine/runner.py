"""Plans carried out: bands of rows, on threads, into memory the caller may own."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np

from convcli.engine.blas import single_threaded_blas
from convcli.engine.blocked import BlockedProduct
from convcli.engine.direct import Direct
from convcli.engine.fft import OverlapSave, good_size
from convcli.engine.im2col import Im2col
from convcli.engine.job import Correlator, Job
from convcli.engine.phases import Phase, as_correlation, phase_weight
from convcli.engine.plan import ConvPlan
from convcli.engine.refusals import check_range
from convcli.engine.separable import Separable
from convcli.engine.shifts import ShiftAdd
from convcli.engine.source import Array, Planes, ScratchPool, interleaved
from convcli.engine.stacked import StackedProduct
from convcli.engine.taps import Taps
from convcli.engine.work import Work, run_bands
from convcli.errors import GeometryError
from convcli.geometry import window_px

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

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
        self._weight = as_correlation(weight, plan.groups) if plan.transposed else weight
        self._bias = None if bias is None else np.asarray(bias, dtype=np.float64)
        if self._bias is not None and self._bias.shape != (plan.output_shape[0],):
            raise GeometryError(f"bias of shape {self._bias.shape} for {plan.output_shape[0]} maps")
        if self._bias is not None and not self._bias.any():
            self._bias = None
        if self._bias is not None:
            largest = float(np.abs(self._bias).max())
            check_range(largest + plan.bound, plan.dtype, f"bias of {largest:.4g}")
        self._phases = plan.phases()
        self._weights = [phase_weight(self._weight, phase) for phase in self._phases]
        self._pool = ScratchPool()
        self._lock = threading.Lock()
        self._loaded: dict[tuple[int, int], list[Correlator | Direct]] = {}
        for phase_index in range(len(self._phases)):
            self._correlators(phase_index, 1)

    @property
    def native_dtype(self) -> np.dtype[Any]:
        """The type in which maps cost least: ``int16`` where sums are made in it without bias, else the plan's."""
        return np.dtype("int16" if self.plan.sums == "int16" and self._bias is None else self.plan.dtype)

    def rows(self, planes: Planes, top: int, bottom: int, out: Array | None = None) -> Array:
        """Compute output rows ``top`` to ``bottom``, on the calling thread.

        Parameters
        ----------
        planes : ndarray of shape (C, H, W), or RowSource
            Any dtype and strides. Interleaved samples seen through a transposed view are worked on as they lie where
            ``plan.shared`` holds.
        top, bottom : int
            ``0 <= top < bottom <= plan.output_shape[1]``.
        out : ndarray of shape (O, bottom - top, oW), optional
            Any strides. Where ``groups`` is C also (C, O/C, bottom - top, oW), so that maps may lie interleaved:
            ``np.empty((K, rows, oW, C)).transpose(3, 0, 1, 2)``. Its dtype is the plan's, or :attr:`native_dtype`.

        Returns
        -------
        ndarray
            ``out``, or a new array of shape (O, bottom - top, oW) and the plan's dtype (a view of interleaved memory
            where that saves a copy).
        """
        self._check(planes, top, bottom)
        if out is None:
            out = self._new(planes, bottom - top, self.plan.dtype)
        self._check_out(out, bottom - top)
        works = self._works(planes, out, top)
        scratch = self._pool.take()
        try:
            # Callers run strips on threads of their own.
            with single_threaded_blas(2):
                for work in works:
                    for band in work.bands(top, bottom, self._band_rows(work.job.lanes), 1):
                        work(band, scratch)
        finally:
            self._pool.put(scratch)
        return out

    def run(self, planes: Planes, out: Array | None = None, *, dtype: DTypeLike | None = None) -> Array:
        """Compute every output row on ``plan.threads`` threads.

        Parameters
        ----------
        planes, out
            As in :meth:`rows`, with all rows.
        dtype : optional
            Of the new array where ``out`` is not given: the plan's by default, or :attr:`native_dtype`.

        Returns
        -------
        ndarray of shape (O, oH, oW)
        """
        height = self.plan.output_shape[1]
        self._check(planes, 0, height)
        target = self._new(planes, height, dtype or self.plan.dtype) if out is None else out
        self._check_out(target, height)
        works = self._works(planes, target, 0)
        workers = 1 if self.plan.engine == "torch" else self.plan.threads  # torch brings its own
        # So that a thread that is slower gets less; a short job is not worth more than a piece for each.
        pieces = workers * (4 if target.size > SHORT_SAMPLES else 1)
        bands = [
            (work, band) for work in works for band in work.bands(0, height, self._band_rows(work.job.lanes), pieces)
        ]
        with single_threaded_blas(workers):
            run_bands(bands, self._pool, workers)
        return target

    def _new(self, planes: Planes, n_rows: int, dtype: DTypeLike) -> Array:
        n_out, _, width = self.plan.output_shape
        channels = self.plan.input_shape[0]
        if self._lanes(planes) > 1 and n_out == channels:
            return np.empty((n_rows, width, channels), dtype).transpose(2, 0, 1)
        return np.empty((n_out, n_rows, width), dtype)

    def _check(self, planes: Planes, top: int, bottom: int) -> None:
        if tuple(planes.shape) != self.plan.input_shape:
            raise GeometryError(f"planned for planes of shape {self.plan.input_shape}, given {tuple(planes.shape)}")
        if not 0 <= top < bottom <= self.plan.output_shape[1]:
            raise GeometryError(f"rows {top} to {bottom} of {self.plan.output_shape[1]}")
        if planes.dtype != self.plan.input_dtype and self.plan.band_dtype != self.plan.dtype:
            raise GeometryError(f"planned for {self.plan.input_dtype} samples, given {planes.dtype}")

    def _check_out(self, out: Array, n_rows: int) -> None:
        n_out, _, width = self.plan.output_shape
        channels = self.plan.input_shape[0]
        grouped = (channels, n_out // channels, n_rows, width) if self.plan.groups == channels else None
        if out.shape not in ((n_out, n_rows, width), grouped):
            raise GeometryError(f"out of shape {out.shape}, needed {(n_out, n_rows, width)}")
        if out.dtype not in (np.dtype(self.plan.dtype), np.dtype("float64"), self.native_dtype):
            raise GeometryError(f"out of type {out.dtype}, needed {self.plan.dtype}")
        if not out.flags.writeable:
            raise GeometryError("out is read-only", hint="pass an array that may be written")

    def _lanes(self, planes: Planes) -> int:
        return self.plan.input_shape[0] if self.plan.shared and interleaved(planes) is not None else 1

    def _band_rows(self, lanes: int) -> int:
        """Return the rows of a band of so many lanes that takes no more than one of a single plane; 0: none does."""
        rows = self.plan.band_rows
        if lanes == 1 or self.plan.engine == "direct":  # which gathers as many as fit
            return rows
        for job in (self._job(phase, lanes) for phase in self._phases):
            apart = job.stride_hw[0]
            rows = min(rows, (job.rows(self.plan.band_rows) // lanes - job.rows(1)) // apart + 1)
        return max(rows, 0)

    def _works(self, planes: Planes, out: Array, top: int) -> list[Work]:
        # Maps that go to planes of their own are gathered so: taking the sums apart costs as much as the samples.
        lanes = self._lanes(planes) if out.strides[-1] != out.itemsize else 1
        if lanes > 1 and not self._band_rows(lanes):
            lanes = 1
        return [
            Work(
                self._correlators(index, lanes),
                self._job(phase, lanes),
                phase,
                planes,
                self.plan,
                out,
                top,
                self._bias,
                self._weights[index],
            )
            for index, phase in enumerate(self._phases)
        ]

    def _job(self, phase: Phase, lanes: int) -> Job:
        rows, columns = phase
        return Job(
            n_in=self._weight.shape[1],
            n_out=self._weight.shape[0] // self.plan.groups,
            kernel_hw=(max(len(rows.taps), 1), max(len(columns.taps), 1)),
            stride_hw=(rows.stride, columns.stride),
            dilation_hw=(rows.dilation, columns.dilation),
            output_w=columns.n_outputs,
            dtype=self.plan.dtype,
            lanes=lanes,
        )

    def _correlators(self, phase_index: int, lanes: int) -> list[Correlator | Direct]:
        """Return one correlator per group; groups with the same kernels share it."""
        phase, by_group = self._phases[phase_index], self._weights[phase_index]
        by_group = by_group.reshape(self.plan.groups, -1, *by_group.shape[1:])
        with self._lock:
            if (phase_index, lanes) not in self._loaded:
                job = self._job(phase, lanes)
                distinct: dict[bytes, list[tuple[Array, Correlator | Direct]]] = {}
                self._loaded[phase_index, lanes] = [
                    self._correlator(kernels, job, distinct) for kernels in (by_group[:1] if lanes > 1 else by_group)
                ]
            return self._loaded[phase_index, lanes]

    def _correlator(
        self, kernels: Array, job: Job, made: dict[bytes, list[tuple[Array, Correlator | Direct]]]
    ) -> Correlator | Direct:
        """Return one of those ``made`` for the same kernels, or a new one; found by some of the taps, then by all."""
        alike = made.setdefault(kernels.reshape(-1)[:: max(kernels.size // 1024, 1)].tobytes(), [])
        for others, correlator in alike:
            if np.array_equal(kernels, others):
                return correlator
        alike.append((kernels, make_correlator(self.plan, job).load(kernels)))
        return alike[-1][1]


def make_correlator(plan: ConvPlan, job: Job) -> Correlator | Direct:
    """Return the algorithm that ``plan`` names, for one phase."""
    if plan.engine == "taps":
        return Taps(job)
    if plan.engine == "torch":
        from convcli.engine.torch_engine import TorchConv

        return TorchConv(job, plan.device, plan.threads)
    if plan.engine == "im2col":
        return Im2col(job)
    if plan.engine == "direct":
        return Direct(job)
    if plan.engine == "fft":
        window_w = window_px(job.kernel_hw[1], job.dilation_hw[1])
        return OverlapSave(job, (good_size(job.rows(plan.band_rows)), max(plan.block, good_size(window_w))))
    if plan.engine == "separable":
        return Separable(job, plan.rank, plan.band_dtype, rows_at_once=plan.rows_at_once, block=plan.block)
    if plan.block:
        return BlockedProduct(job, plan.block)
    if plan.rows_at_once:
        return StackedProduct(job, plan.rows_at_once, plan.band_dtype)
    return ShiftAdd(job, plan.sums)
