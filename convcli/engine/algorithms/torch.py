"""torch: for GPUs, and for layers of many channels where oneDNN wins.

This is the only file of the engine that imports torch, and only when a plan runs on it: the import costs a second.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Any, Self

import numpy as np

from convcli.engine.algorithms.base import GATHER_NS, REFERENCE_THREADS, BandAlgorithm, Candidate, Declined, Scratch
from convcli.engine.borders import Array
from convcli.engine.problem import Job, Problem
from convcli.errors import UsageError
from convcli.process.system import is_missing, not_loading

#: One multiply-add: many planes or few to add up, many planes apart or few, kernels above 49 × 49.
DENSE_NS, THIN_NS, DEPTHWISE_NS, FEW_NS, LARGE_NS = 0.0185, 0.024, 0.1, 1.0, 1.0
LARGE_PX = 49
#: One call; importing torch, once a process.
TORCH_CALL_NS, IMPORT_NS = 60_000.0, 1.0e9
#: Bytes of a band on the CPU; part of the free memory of another device that it may take.
CPU_BYTES, DEVICE_SHARE = 64 * 2**20, 0.5

_lock = threading.Lock()
_n_exact = 0
_allowed = False


def import_torch(what: str) -> Any:
    """Return torch; if it is not installed, raise a UsageError that says ``what`` needs it."""
    try:
        import torch
    except ImportError as error:
        if not is_missing(error, "torch"):
            raise not_loading(error, "torch") from None
        raise UsageError(f"{what} needs torch, which is not installed", hint="pip install torch") from None
    return torch


def torch_device(device: str) -> Any:
    """Return the torch device; raise a UsageError if this torch or this machine has none."""
    torch = import_torch(f"--device {device}" if device != "cpu" else "--engine torch")
    why = ""
    if device == "cuda" and not torch.cuda.is_available():
        why = "this torch is built without CUDA" if torch.version.cuda is None else "no CUDA device was found"
    elif device == "mps" and not torch.backends.mps.is_available():
        why = "no Metal device was found"
    if why:
        raise UsageError(f"--device {device}: {why} (torch {torch.__version__})", hint="--device cpu", device=device)
    return torch.device(device)


def free_bytes(device: str) -> int:
    """Return the free memory of a device that is not the CPU."""
    torch = import_torch(f"--device {device}")
    torch_device(device)
    if device == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())


@contextlib.contextmanager
def without_tf32(settings: Any) -> Iterator[None]:
    """Switch TF32, which has 10 bits, off in ``settings``, ``torch.backends.cudnn``, for float32 convolutions.

    It is a setting of the process: users are counted, and the last one to leave restores it.
    """
    global _n_exact, _allowed
    with _lock:
        if _n_exact == 0:
            _allowed = settings.allow_tf32
            settings.allow_tf32 = False
        _n_exact += 1
    try:
        yield
    finally:
        with _lock:
            _n_exact -= 1
            if _n_exact == 0:
                settings.allow_tf32 = _allowed


def _mac_ns(problem: Problem) -> float:
    """Return the price of one multiply-add."""
    if max(problem.weight.shape[2:]) > LARGE_PX:
        return LARGE_NS
    if problem.job.n_in > 1:
        return DENSE_NS if problem.job.n_in >= 16 else THIN_NS
    return DEPTHWISE_NS if problem.n_groups >= 16 else FEW_NS


class Torch(BandAlgorithm):
    """``torch.nn.functional.conv2d`` on padded bands; weights stay on the device between bands.

    8-bit samples are copied to the device as they are.
    """

    name = "torch"
    folds = True
    adds_products = False  # the library chooses the algorithm, and some multiply with rounded factors

    def __init__(self, job: Job, device: str, threads: int, input_dtype: str) -> None:
        super().__init__(job)
        self.threads, self.device_name = threads, device
        if input_dtype == "uint8":
            self.band_dtype = np.dtype(np.uint8)
        self.device: Any = None
        self.taps: Any = None

    @classmethod
    def offer(cls, problem: Problem) -> Candidate:
        """Return the offer; on a device other than the CPU as many rows as its memory holds."""
        if "torch" not in sys.modules and find_spec("torch") is None:
            if problem.device != "cpu":
                import_torch(f"--device {problem.device}")
            raise Declined("torch is not installed: pip install torch")
        job = problem.job
        fixed = (problem.n_outputs * 4 + problem.n_inputs * 2) * GATHER_NS + TORCH_CALL_NS
        if "torch" not in sys.modules:
            fixed += IMPORT_NS
        work = problem.n_outputs * job.taps * _mac_ns(problem)
        cost = work / problem.threads + fixed
        folded = problem.n_groups if problem.shared else 1

        def n_bytes(rows: int) -> int:
            """Return the bytes of band, output, and oneDNN's unfolded input at worst."""
            made = rows * job.output_w * (job.n_out + job.taps)
            return folded * (job.band_bytes(job.columns, rows) + job.itemsize * made)

        cache = CPU_BYTES
        if problem.device != "cpu":
            cache = int(free_bytes(problem.device) * DEVICE_SHARE)
            problem = problem._replace(memory=max(problem.memory, cache))
        own_type = problem.input_dtype if problem.border_value == 0 else problem.job.dtype
        found = cls.band_offer(
            f"torch conv2d on {problem.device}",
            problem,
            cost,
            n_bytes,
            job.itemsize * job.n_out * job.taps,
            cache=cache,
            threads=1,  # one band after the other: torch brings its own threads
            settings=(problem.device, problem.threads, own_type),
            automatic=max(problem.weight.shape[2:]) <= LARGE_PX,
            score_ns=work / REFERENCE_THREADS + fixed,
        )
        return found._replace(threads=problem.threads)

    def load(self, weight: Array) -> Self:
        """Copy the weights to the device."""
        self.device = torch_device(self.device_name)
        torch = import_torch("--engine torch")
        self.taps = torch.from_numpy(weight.astype(self.dtype)).to(self.device)
        return self

    def correlate(self, band: Array, target: Array, scratch: Scratch) -> None:  # noqa: ARG002
        """Correlate; planes beyond the job's are a batch with the same kernels."""
        torch = import_torch("--engine torch")
        # It is a setting of the whole process, which others may rely on: written only where it differs.
        if self.device_name == "cpu" and torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
        exact = without_tf32(torch.backends.cudnn) if self.device_name == "cuda" else contextlib.nullcontext()
        with torch.inference_mode(), exact:
            samples = torch.from_numpy(band.reshape(-1, self.job.n_in, *band.shape[1:])).to(self.device)
            samples = samples.to(self.taps.dtype)
            maps = torch.nn.functional.conv2d(
                samples, self.taps, stride=self.job.stride_hw, dilation=self.job.dilation_hw
            )
            # Straight into the caller's memory: a copy on the host between them costs as much as the way from the card.
            torch.from_numpy(target).copy_(maps.reshape(target.shape))
