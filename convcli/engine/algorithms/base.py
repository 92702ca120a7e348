"""What every algorithm is: an offer made from integers, matrices or spectra made from taps, and a way to do a band."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Self

import numpy as np

from convcli.engine.bands import Array, Scratch, Source
from convcli.engine.job import Job
from convcli.engine.problem import Candidate, Problem


class RangeTooLarge(Exception):  # noqa: N818
    """Samples span a range that this algorithm's sums are too coarse for."""


class Algorithm:
    """One algorithm with its kernels, free of state between bands; safe on several threads at once.

    Parameters
    ----------
    job : Job
    """

    #: What ``--engine`` calls it.
    name: ClassVar[str]
    #: May do all planes as one group where they have the same kernels.
    folds: ClassVar[bool] = False

    def __init__(self, job: Job) -> None:
        self.job = job
        self.dtype = np.dtype(job.dtype)

    @classmethod
    def offer(cls, problem: Problem) -> Candidate | str:
        """Return what this would cost, or why it does not take the job.

        Raises
        ------
        TooLittleMemory
            If not even one row fits.
        """
        raise NotImplementedError

    def load(self, weight: Array) -> Self:
        """Make the matrices or spectra of ``weight`` (n_out, n_in, kH, kW), float64."""
        raise NotImplementedError

    def run(
        self, source: Source, channels: slice, first: int, target: Array, scratch: Scratch, bias: Array | None
    ) -> None:
        """Correlate into output rows.

        Parameters
        ----------
        source : Source
        channels : slice
            Planes of this group.
        first : int
            Output row, of the phase.
        target : ndarray of shape (n_out, rows, W)
            Any strides and floating type.
        scratch : Scratch
        bias : ndarray of shape (n_out,), float64, optional
        """
        raise NotImplementedError


class BandAlgorithm(Algorithm):
    """An algorithm that works on a band of padded samples, gathered beforehand.

    Attributes
    ----------
    columns : int
        Of the band: at least :attr:`Job.columns`; those beyond hold zeros.
    smears : bool
        A sample that is not finite reaches outputs whose windows miss it, through zeros of a matrix or a transform.
    make_exact : callable, optional
        Returns the algorithm that does bands for which :meth:`holds` is false.
    """

    smears: ClassVar[bool] = False

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self.columns = job.columns
        self.band_dtype = self.dtype
        self.make_exact: Callable[[Job], Algorithm] | None = None
        self._exact: Algorithm | None = None
        self.weight = np.empty((0, 0, 0, 0))

    def load(self, weight: Array) -> Self:
        """Keep the taps, for bands that need the exact algorithm."""
        self.weight = weight
        return self

    def correlate(self, band: Array, target: Array, scratch: Scratch) -> None:
        """Correlate ``band`` (n_in, rows, columns), contiguous, into ``target`` (n_out, rows, W).

        Raises
        ------
        RangeTooLarge
            If the sums would be too coarse.
        """
        raise NotImplementedError

    def holds(self, band: Array) -> bool:
        """Whether this algorithm is right for these samples: here, whether they are finite."""
        return bool(np.isfinite(np.vdot(band, band)))

    def run(
        self, source: Source, channels: slice, first: int, target: Array, scratch: Scratch, bias: Array | None
    ) -> None:
        """Gather the band, correlate it and add the bias."""
        job = self.job
        shape = (channels.stop - channels.start, job.rows(target.shape[1]), self.columns)
        band = scratch.get("band", shape, self.band_dtype)
        source.fill(band[:, :, : job.columns], channels, first * job.stride_hw[0])
        band[:, :, job.columns :] = 0  # never NaN: zero taps meet these
        is_float = source.planes.dtype.kind not in "biu"
        try:
            if self.smears and is_float and not self.holds(band):
                raise RangeTooLarge
            self.correlate(band, target, scratch)
        except RangeTooLarge:
            self.exact().run(source, channels, first, target, scratch, bias)
            return
        if bias is not None:
            target += bias[:, None, None].astype(target.dtype)

    def exact(self) -> Algorithm:
        """Return the algorithm whose outputs depend on nothing outside their windows."""
        if self._exact is None:
            assert self.make_exact is not None, f"{self.name} was made without an exact algorithm"
            self._exact = self.make_exact(self.job).load(self.weight)
        return self._exact


def band_bytes(job: Job, columns: int, n_rows: int) -> int:
    """Return the bytes of a band for so many output rows, in the type of the sums."""
    return job.itemsize * job.n_in * job.rows(n_rows) * columns
