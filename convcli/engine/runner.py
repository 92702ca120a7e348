"""Plans carried out: bands of rows, on threads, into memory the caller may own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from convcli.engine import native
from convcli.engine.algorithms import Algorithm
from convcli.engine.algorithms.base import BandAlgorithm
from convcli.engine.algorithms.direct import Direct
from convcli.engine.algorithms.reference import Reference
from convcli.engine.bands import Scratch, ScratchPool, as_correlation, phase_weight, run_bands
from convcli.engine.borders import READABLE, Array, Planes, Source
from convcli.engine.plan import BY_NAME, ConvPlan
from convcli.engine.problem import Job, check_range, tap_facts
from convcli.engine.store import MOST_LANES, ToneCounts, counts_of, is_reliable
from convcli.errors import GeometryError

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: A job of at most this many output samples is short.
SHORT_SAMPLES = 4_000_000


class Runner:
    """A plan with its matrices or spectra ready; serves any number of images, from several threads at once.

    Parameters
    ----------
    plan : ConvPlan
    weight : ndarray
        As given to :func:`convcli.engine.plan_conv`.
    bias : ndarray of shape (O,), optional

    Raises
    ------
    GeometryError
        If the bias has not one number per map.
    UsageError
        If the plan's device is absent, or the bias leaves the range of the plan's type.
    """

    def __init__(self, plan: ConvPlan, weight: NDArray[Any], bias: NDArray[Any] | None = None) -> None:
        self.plan = plan
        weight = np.asarray(weight, dtype=np.float64)
        weight = as_correlation(weight, plan.groups) if plan.transposed else weight
        self.bias = None if bias is None else np.asarray(bias, dtype=np.float64)
        if self.bias is not None and self.bias.shape != (plan.output_shape[0],):
            raise GeometryError(f"bias of shape {self.bias.shape} for {plan.output_shape[0]} maps")
        # Adding zeros would cost a pass over the maps.
        if self.bias is not None and not self.bias.any():
            self.bias = None
        if self.bias is not None:
            largest = float(np.abs(self.bias).max())
            check_range(largest + plan.bound, plan.dtype, f"bias of {largest:.4g}")
        self.phases = plan.phases()
        facts = tap_facts(weight[:1], 1)._replace(n_out=len(weight) // plan.groups)
        self._jobs = [facts.job(phase, plan.dtype) for phase in self.phases]
        self.algorithms = [self._load(index, phase_weight(weight, phase)) for index, phase in enumerate(self.phases)]
        self.folded = plan.shared and self.algorithms[0][0].folds
        self._pool = ScratchPool()

    def _load(self, index: int, weight: Array) -> list[Algorithm]:
        """Return one algorithm per group; groups with the same kernels share it."""
        made: dict[bytes, list[tuple[Array, Algorithm]]] = {}
        found = []
        for kernels in weight.reshape(self.plan.groups, -1, *weight.shape[1:]):
            # Look kernels up by a sample of their taps, then compare all.
            alike = made.setdefault(kernels.reshape(-1)[:: max(kernels.size // 1024, 1)].tobytes(), [])
            match = next((algorithm for others, algorithm in alike if np.array_equal(kernels, others)), None)
            if match is None:
                match = _make(self.plan, self._jobs[index]).load(kernels)
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
        with self._pool.borrow() as scratch:
            for work in self._works(planes, out, top):
                for band in work.bands(top, bottom, self.plan.band_rows):
                    work(band, scratch)
        return out

    def run(self, planes: Planes, out: Array | None = None) -> Array:
        """Compute every output row on ``plan.threads`` threads; parameters and result as in :meth:`rows`."""
        n_out, height, width = self.plan.output_shape
        self._check(planes, 0, height)
        target = np.empty((n_out, height, width), self.plan.dtype) if out is None else out
        self._check_out(target, height)
        works = self._works(planes, target, 0)
        workers = 1 if self.plan.engine == "torch" else self.plan.threads  # torch brings its own
        # More pieces than threads, so that a slower thread gets fewer; a short job is not worth it.
        pieces = workers * (4 if target.size > SHORT_SAMPLES else 1)
        rows = min(self.plan.band_rows, max(-(-height // pieces), 8)) if self.plan.engine == "direct" else None
        bands = [(work, band) for work in works for band in work.bands(0, height, rows or self.plan.band_rows)]
        run_bands(bands, self._pool, workers)
        return target

    def makes_bytes(self, dtype: np.dtype[Any]) -> bool:
        """Whether :meth:`picture` can make single maps: compiled, from integers."""
        # Float samples may be NaN or huge, which the byte loops leave to NumPy.
        is_direct = isinstance(self.algorithms[0][0], Direct) and len(self.phases) == 1
        return is_direct and self.plan.dtype == "float32" and dtype in READABLE and dtype.kind != "f"

    def makes_pictures(self, dtype: np.dtype[Any], n_kernels: int) -> bool:
        """Whether :meth:`picture` can make all maps at once.

        That takes one or two kernels, the same for up to four planes or reading all planes.
        """
        plan = self.plan
        if not self.makes_bytes(dtype) or self._jobs[0].n_out != n_kernels or n_kernels > 2:
            return False
        if plan.groups == 1:
            return True
        alike = self.bias is None or (self.bias.reshape(plan.groups, -1) == self.bias[:n_kernels]).all()
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
        planes, top, bottom
            As in :meth:`rows`, of a type that :meth:`makes_pictures` takes.
        out : ndarray of shape (bottom - top, oW, lanes), uint8, contiguous rows
        tones : sequence of (gain, offset, absolute)
            One a lane: ``gain * v + offset`` is stored, or the same of ``|v|``.
        map_index : int, optional
            One map alone; by default all of them.

        Returns
        -------
        ToneCounts or None
            None, and ``out`` undefined, where planes lie apart or float32 is too coarse for values far off the scale.
        """
        self._check(planes, top, bottom)
        (rows, columns), job = self.phases[0], self._jobs[0]
        group, kernel = (0, 0) if map_index is None else divmod(map_index, job.n_out)
        algorithm = self.algorithms[0][group]
        # Callers ask makes_bytes first.
        assert isinstance(algorithm, Direct)
        source = Source(planes, rows.before, columns.before, self.plan.border)
        lanes = self.plan.groups if map_index is None else 1
        channels = slice(0, planes.shape[0]) if lanes > 1 else slice(group * job.n_in, (group + 1) * job.n_in)
        kernels = slice(None) if map_index is None else slice(kernel, kernel + 1)
        bias = None if self.bias is None else self.bias[group * job.n_out :][: job.n_out]
        found = algorithm.picture(source, channels, top, out, bias, tones, kernels)
        if found is None:
            return None
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
        return [Work(self, index, planes, out, top) for index in range(len(self.phases))]


#: Plan, prepare, run: the verb for making a runner.
prepare = Runner


def _make(plan: ConvPlan, job: Job) -> Algorithm:
    """Return the algorithm of ``plan`` for one phase; without compiled loops ``gemm`` stands in for ``direct``."""
    lacks_loops = plan.engine == "direct" and native.core is None
    made = BY_NAME["gemm" if lacks_loops else plan.engine](job, *plan.settings)
    if isinstance(made, BandAlgorithm):
        made.make_exact = _exact_algorithm
    return made


def _exact_algorithm(job: Job) -> Algorithm:
    """Return an algorithm whose outputs depend on nothing outside their windows, with sums in float64."""
    return Reference(job) if native.core is None else Direct(job._replace(dtype="float64"))


class Band(NamedTuple):
    """Rows of a phase, ``first`` to ``last``, of one group."""

    group: int
    first: int
    last: int


class Work:
    """The bands of one phase of one image, written to ``out``, whose first row is output row ``top``."""

    def __init__(self, runner: Runner, index: int, planes: Planes, out: Array, top: int) -> None:
        algorithms = runner.algorithms[index]
        self.algorithms = algorithms[:1] if runner.folded else algorithms
        self.phase, self.out, self.top = runner.phases[index], out, top
        self.bias = None if runner.bias is None else runner.bias.reshape(len(self.algorithms), -1)
        self.source = Source(planes, self.phase[0].before, self.phase[1].before, runner.plan.border)

    def bands(self, top: int, bottom: int, n_rows: int) -> Iterator[Band]:
        """Yield bands of ``n_rows`` rows of the phase, for output rows ``top`` to ``bottom``."""
        axis = self.phase[0]
        # A phase has only every step-th output row: round up to its first row within the range.
        start = max(-(-(top - axis.first) // axis.step), 0)
        stop = min(-(-(bottom - axis.first) // axis.step), axis.n_outputs)
        for group in range(len(self.algorithms)):
            for first in range(start, stop, n_rows):
                yield Band(group, first, min(first + n_rows, stop))

    def __call__(self, band: Band, scratch: Scratch) -> None:
        """Do one band.

        The plan refused integers whose sums could overflow; of very large float samples infinity is the right sum.
        """
        n_groups = len(self.algorithms)
        per_group = self.source.planes.shape[0] // n_groups
        channels = slice(band.group * per_group, (band.group + 1) * per_group)
        bias = None if self.bias is None else self.bias[band.group]
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            self.algorithms[band.group].run(self.source, channels, band.first, self._target(band), scratch, bias)

    def _target(self, band: Band) -> Array:
        """Return where one band goes, (n_out, rows, W)."""
        rows, columns = self.phase
        per_group = self.out.shape[0] // len(self.algorithms)
        begin = rows.first + band.first * rows.step - self.top
        end = begin + (band.last - band.first - 1) * rows.step + 1
        maps = self.out[band.group * per_group : (band.group + 1) * per_group]
        return maps[:, begin : end : rows.step, columns.first :: columns.step]
