"""The pieces of a convolution: phases, whose outputs interleave, and bands of rows, which threads share.

A convolution is one phase. A transposed convolution with stride s writes every s-th output from every s-th tap: it is
s correlations per axis, one per residue, of stride 1 over the same input; no zeros are inserted or multiplied. With
dilation d only residues that gcd(s, d) divides have taps; the others keep only the bias.
"""

from __future__ import annotations

import _thread
import contextlib
import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from math import gcd, prod
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from convcli.geometry.arithmetic import Pair

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray


class AxisPhase(NamedTuple):
    """One axis of a phase.

    ``taps`` are indices of the kernel's taps in the order in which they meet the input, possibly none; ``before`` is
    the position of the first input sample on the padded axis (negative: samples cut). The phase writes ``n_outputs``
    outputs: ``first, first + step, …``.
    """

    taps: tuple[int, ...]
    before: int
    stride: int
    dilation: int
    first: int
    step: int
    n_outputs: int


Phase = tuple[AxisPhase, ...]


def axis_phases(
    kernel_px: int, *, before_px: int, stride: int, dilation: int, output_px: int, transposed: bool
) -> tuple[AxisPhase, ...]:
    """Return the phases of one axis: one, or of a transposed convolution one per output residue that occurs.

    Output y stands at Y = y + before of the uncut result, where ``Y = stride·i + dilation·r`` for input i and tap r.

    Examples
    --------
    >>> phases = axis_phases(3, before_px=1, stride=2, dilation=1, output_px=4, transposed=True)
    >>> [(p.taps, p.before, p.first, p.n_outputs) for p in phases]
    [((1,), 0, 0, 2), ((2, 0), 0, 1, 2)]
    """
    if not transposed:
        return (AxisPhase(tuple(range(kernel_px)), before_px, stride, dilation, 0, 1, output_px),)
    apart = gcd(stride, dilation)
    phases = []
    for first in range(min(stride, output_px)):
        at = first + before_px
        taps = [r for r in range(kernel_px) if (at - dilation * r) % stride == 0]
        # Larger taps meet earlier inputs: reverse them so that the window runs forward.
        start = (at - dilation * taps[-1]) // stride if taps else 0
        count = -(-(output_px - first) // stride)
        phases.append(AxisPhase(tuple(taps[::-1]), -start, 1, dilation // apart, first, stride, count))
    return tuple(phases)


def phases_of(
    kernel_hw: Pair, padding: tuple[Pair, Pair], stride: Pair, dilation: Pair, output_hw: Pair, transposed: bool
) -> tuple[Phase, ...]:
    """Return every combination of the phases of rows and columns."""
    axes = [
        axis_phases(k, before_px=before, stride=s, dilation=d, output_px=n, transposed=transposed)
        for k, (before, _), s, d, n in zip(kernel_hw, padding, stride, dilation, output_hw, strict=True)
    ]
    return tuple(itertools.product(*axes))


def phase_weight(weight: NDArray[Any], phase: Phase) -> NDArray[Any]:
    """Return the taps of one phase; an axis without any gets a single zero."""
    if any(not axis.taps for axis in phase):
        return np.zeros((*weight.shape[:2], *[max(len(axis.taps), 1) for axis in phase]))
    for position, axis in enumerate(phase, start=2):
        if axis.taps != tuple(range(weight.shape[position])):  # a huge kernel is not copied for nothing
            weight = np.take(weight, axis.taps, axis=position)
    return weight


def as_correlation(weight: NDArray[Any], groups: int) -> NDArray[Any]:
    """Return transposed weights ``(I, O/g, …)`` in the order of ordinary ones, ``(O, I/g, …)``, not flipped."""
    n_in, n_out, *kernel = weight.shape
    split = weight.reshape(groups, n_in // groups, n_out, *kernel)
    return split.swapaxes(1, 2).reshape(groups * n_out, n_in // groups, *kernel)


class Scratch:
    """Named buffers of one worker, reused from band to band so that memory is touched once.

    Examples
    --------
    >>> scratch = Scratch()
    >>> scratch.get("a", (2, 3), "float32").shape
    (2, 3)
    >>> scratch.get("a", (6,), "float32").base is scratch.get("a", (2, 2), "float32").base
    True
    """

    def __init__(self) -> None:
        self._buffers: dict[str, NDArray[Any]] = {}

    def get(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return an uninitialised contiguous array; reuse the memory of the last one of that name if it is enough."""
        # Bytes, so that one buffer serves arrays of several types.
        n_bytes = prod(shape) * np.dtype(dtype).itemsize
        buffer = self._buffers.get(name)
        if buffer is None or buffer.size < n_bytes:
            buffer = None
            self._buffers.pop(name, None)  # never hold the old one and the new one
            buffer = self._buffers[name] = np.empty(n_bytes, np.uint8)
        return buffer[:n_bytes].view(dtype).reshape(shape)


class ScratchPool:
    """Scratches that workers borrow and reuse from image to image; as many as there were workers at once."""

    def __init__(self) -> None:
        self._free: deque[Scratch] = deque()

    @contextlib.contextmanager
    def borrow(self) -> Iterator[Scratch]:
        """Lend one."""
        try:
            # deque's pop and append are atomic: no lock is needed between threads.
            scratch = self._free.pop()
        except IndexError:
            scratch = Scratch()
        try:
            yield scratch
        finally:
            self._free.append(scratch)


#: A function of a band and a scratch, and the band.
Task: TypeAlias = tuple[Callable[[Any, Scratch], None], Any]


class _Crew:
    """Threads that take tasks in order. The calling one begins at once and never waits for another to start."""

    def __init__(self, tasks: Sequence[Task], pool: ScratchPool) -> None:
        self._queue, self._pool = iter(tasks), pool
        self._state = threading.Condition()
        self._n_busy = 0
        self.errors: list[BaseException] = []

    def help(self) -> None:
        """Do tasks until none are left, or one has failed."""
        task = self._next(begins=True)
        if task is None:  # started too late: nobody waits for this thread
            return
        try:
            with self._pool.borrow() as scratch:
                while task is not None:
                    work, band = task
                    work(band, scratch)
                    task = self._next()
        except BaseException as error:  # noqa: BLE001  (raised again by the calling thread)
            self.errors.append(error)
        finally:
            with self._state:
                self._n_busy -= 1
                self._state.notify_all()

    def _next(self, *, begins: bool = False) -> Task | None:
        with self._state:
            task = None if self.errors else next(self._queue, None)
            self._n_busy += begins and task is not None
            return task

    def wait(self) -> None:
        """Wait until no thread works."""
        with self._state:
            self._state.wait_for(lambda: self._n_busy == 0)


def run_bands(tasks: Sequence[Task], pool: ScratchPool, threads: int) -> None:
    """Run tasks, in order, on up to ``threads`` threads, the calling one among them; raise the first error."""
    crew = _Crew(tasks, pool)
    for _ in range(min(threads, len(tasks)) - 1):
        with contextlib.suppress(RuntimeError):  # no more threads than the system allows
            # Not threading.Thread, whose start waits until the thread runs.
            _thread.start_new_thread(crew.help, ())
    crew.help()
    crew.wait()
    if crew.errors:
        raise crew.errors[0]
