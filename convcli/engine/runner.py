"""Plans carried out: bands of rows, on threads, into memory the caller may own."""

from __future__ import annotations

import _thread
import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from math import prod
from typing import Any

import numpy as np

import convcli.engine.native as native
from convcli.engine.algorithms.base import Algorithm, Piece, RangeTooLarge, Scratch, ScratchPool, load_algorithm
from convcli.engine.algorithms.direct import Direct, exact_algorithm
from convcli.engine.borders import READABLE, Array, Planes, Source
from convcli.engine.plan import ConvPlan
from convcli.engine.problem import Job, as_correlation, check_range, phase_weight
from convcli.engine.store import MOST_LANES, ToneCounts, Tones, counts_of
from convcli.errors import GeometryError

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

    def __init__(self, plan: ConvPlan, weight: Array, bias: Array | None = None) -> None:
        self.plan = plan
        weight = np.asarray(weight, dtype=np.float64)
        weight = as_correlation(weight, plan.groups) if plan.transposed else weight
        self.bias: Array | None = None
        if bias is not None:
            bias = np.asarray(bias, dtype=np.float64)
            if bias.shape != (plan.output_shape[0],):
                raise GeometryError(f"bias of shape {bias.shape} for {plan.output_shape[0]} maps")
            largest = float(np.abs(bias).max())
            check_range(largest + plan.bound, plan.dtype, f"bias of {largest:.4g}")
            # Adding zeros would cost a pass over the maps.
            self.bias = bias if largest else None
        self.phases = plan.phases
        n_out, n_in = len(weight) // plan.groups, weight.shape[1]
        self._jobs = [Job.of(n_in, n_out, phase, plan.dtype) for phase in self.phases]
        self.algorithms = [self._load(index, phase_weight(weight, phase)) for index, phase in enumerate(self.phases)]
        self.folded = plan.shared and self.algorithms[0][0].folds
        self._pool = ScratchPool()
        self._exact: dict[Algorithm, Algorithm] = {}

    def _load(self, index: int, weight: Array) -> list[Algorithm]:
        """Return one algorithm per group; groups with the same kernels share it."""
        # Without compiled loops gemm stands in for direct.
        engine = "gemm" if self.plan.engine == "direct" and native.core is None else self.plan.engine
        made: dict[bytes, list[tuple[Array, Algorithm]]] = {}
        found = []
        for kernels in weight.reshape(self.plan.groups, -1, *weight.shape[1:]):
            # Look kernels up by a sample of their taps, then compare all.
            alike = made.setdefault(kernels.reshape(-1)[:: max(kernels.size // 1024, 1)].tobytes(), [])
            match = next((algorithm for others, algorithm in alike if np.array_equal(kernels, others)), None)
            if match is None:
                match = load_algorithm(engine)(self._jobs[index], *self.plan.settings).load(kernels)
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
        return self._compute(planes, top, bottom, out, 1, self.plan.band_rows)

    def run(self, planes: Planes, out: Array | None = None) -> Array:
        """Compute every output row on ``plan.threads`` threads; parameters and result as in :meth:`rows`."""
        plan, height = self.plan, self.plan.output_shape[1]
        workers = 1 if plan.engine == "torch" else plan.threads  # torch brings its own
        n_rows = plan.band_rows
        if plan.engine == "direct":
            # More pieces than threads, so that a slower thread gets fewer; a short job is not worth it.
            pieces = workers * (4 if prod(plan.output_shape) > SHORT_SAMPLES else 1)
            n_rows = min(n_rows, max(-(-height // pieces), 8))
        return self._compute(planes, 0, height, out, workers, n_rows)

    def _compute(self, planes: Planes, top: int, bottom: int, out: Array | None, workers: int, n_rows: int) -> Array:
        """Compute output rows in bands of ``n_rows`` rows."""
        self._check(planes, top, bottom)
        if out is None:
            out = np.empty((self.plan.output_shape[0], bottom - top, self.plan.output_shape[2]), self.plan.dtype)
        self._check_out(out, bottom - top)
        bands = list(self._bands(planes, out, top, bottom, n_rows))
        if workers > 1 and len(bands) > 1:
            run_bands(self._do, bands, self._pool, workers)
        else:
            with self._pool.borrow() as scratch:
                for band in bands:
                    self._do(band, scratch)
        return out

    def _bands(
        self, planes: Planes, out: Array, top: int, bottom: int, n_rows: int
    ) -> Iterator[tuple[Algorithm | None, Piece]]:
        """Yield bands of ``n_rows`` rows of a phase, for output rows ``top`` to ``bottom``; no algorithm: no taps."""
        for (rows, columns), algorithms in zip(self.phases, self.algorithms, strict=True):
            source = Source(planes, rows.before, columns.before, self.plan.border)
            groups = algorithms[:1] if self.folded else algorithms
            n_in, n_out = planes.shape[0] // len(groups), len(out) // len(groups)
            # A phase has only every step-th output row: round up to its first row within the range.
            start = max(-(-(top - rows.first) // rows.step), 0)
            stop = min(-(-(bottom - rows.first) // rows.step), rows.n_outputs)
            for group, algorithm in enumerate(groups):
                channels, maps = (slice(group * n, (group + 1) * n) for n in (n_in, n_out))
                bias = None if self.bias is None else self.bias[maps]
                for first in range(start, stop, n_rows):
                    begin = rows.first + first * rows.step - top
                    end = begin + (min(first + n_rows, stop) - first - 1) * rows.step + 1
                    target = out[maps, begin : end : rows.step, columns.first :: columns.step]
                    has_taps = bool(rows.taps and columns.taps)
                    yield algorithm if has_taps else None, Piece(source, channels, first, target, bias)

    def _do(self, band: tuple[Algorithm | None, Piece], scratch: Scratch) -> None:
        """Do one band.

        The plan refused integers whose sums could overflow; of very large float samples infinity is the right sum.
        """
        algorithm, piece = band
        if algorithm is None:  # the zero that stands for no taps would make NaN of infinity
            piece.target[...] = 0 if piece.bias is None else piece.bias[:, None, None]
            return
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            try:
                algorithm.run(piece, scratch)
            except RangeTooLarge:
                if algorithm not in self._exact:
                    self._exact[algorithm] = exact_algorithm(algorithm.job).load(algorithm.weight)
                self._exact[algorithm].run(piece, scratch)

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
        self, planes: Planes, top: int, bottom: int, out: Array, tones: Tones, map_index: int | None = None
    ) -> ToneCounts | None:
        """Compute output rows, combine two maps into their magnitude, and store them as bytes, in one pass.

        ``planes`` are of a type that :meth:`makes_pictures` takes; ``out`` (bottom - top, oW, lanes) is uint8, with
        contiguous rows. All maps are made, or ``map_index`` alone. The result is None, and ``out`` undefined, where
        planes lie apart or float32 is too coarse for values far off the scale.
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
        return None if found is None else counts_of(found, (bottom - top) * job.output_w, tones)

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


#: Plan, prepare, run: the verb for making a runner.
prepare = Runner


def run_bands(work: Callable[[Any, Scratch], None], bands: Sequence[Any], pool: ScratchPool, threads: int) -> None:
    """Do bands, in order, on up to ``threads`` threads, the calling one among them; raise the first error.

    The calling thread begins at once, and never waits for another to start.
    """
    queue, errors, state = iter(bands), list[BaseException](), threading.Condition()
    n_busy = 0

    def take() -> Any:
        with state:
            return None if errors else next(queue, None)

    def help_out() -> None:
        nonlocal n_busy
        with state:
            n_busy += 1
        try:
            with pool.borrow() as scratch:
                while (band := take()) is not None:
                    work(band, scratch)
        except BaseException as error:  # noqa: BLE001  (raised again by the calling thread)
            errors.append(error)
        finally:
            with state:
                n_busy -= 1
                state.notify_all()

    for _ in range(min(threads, len(bands)) - 1):
        with contextlib.suppress(RuntimeError):  # no more threads than the system allows
            # Not threading.Thread, whose start waits until the thread runs. One that begins late finds nothing to do.
            _thread.start_new_thread(help_out, ())
    help_out()
    with state:
        state.wait_for(lambda: n_busy == 0)
    if errors:
        raise errors[0]
