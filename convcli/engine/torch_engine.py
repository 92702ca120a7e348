"""torch as one of the engines: for GPUs, and for layers of many channels where oneDNN wins.

This is the only file of the engine that imports torch, and only when a plan runs on it: the import costs a second.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import numpy as np

from convcli.engine.job import Job, Weight
from convcli.engine.source import Array, Scratch
from convcli.errors import UsageError


def torch_device(device: str) -> Any:
    """Return the torch device, or refuse where this machine has none.

    Raises
    ------
    UsageError
        If torch is built without it, or no such device is present.
    """
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        why = "this torch is built without CUDA" if torch.version.cuda is None else "no CUDA device was found"
        raise UsageError(f"--device cuda: {why} (torch {torch.__version__})", hint="--device cpu", device=device)
    if device == "mps" and not torch.backends.mps.is_available():
        raise UsageError(
            f"--device mps: no Metal device was found (torch {torch.__version__})", hint="--device cpu", device=device
        )
    return torch.device(device)


class TorchConv:
    """``torch.nn.functional.conv2d`` on padded bands; weights stay on the device between bands."""

    def __init__(self, job: Job, device: str = "cpu", threads: int = 1) -> None:
        self.threads = threads
        self.job, self.columns, self.band_dtype = job, job.columns, np.dtype(job.dtype)
        self.device_name = device
        self.device: Any = None
        self.weight: Any = None

    def load(self, weight: Weight) -> TorchConv:
        """Copy the weights to the device.

        Raises
        ------
        UsageError
            If the device is absent.
        """
        import torch

        self.device = torch_device(self.device_name)
        self.weight = torch.from_numpy(weight.astype(self.job.dtype)).to(self.device)
        return self

    def __call__(self, band: Array, target: Array, scratch: Scratch) -> None:  # noqa: ARG002
        """Correlate ``band`` (n_in, rows, columns, 1) into ``target`` (n_out, rows, W, 1)."""
        import torch

        if self.device_name == "cpu" and torch.get_num_threads() != self.threads:
            torch.set_num_threads(self.threads)
        # float32 convolutions on CUDA use TF32 by default, which keeps only 10 bits: never silently.
        exact = (
            torch.backends.cudnn.flags(enabled=True, allow_tf32=False) if self.device_name == "cuda" else nullcontext()
        )
        with torch.inference_mode(), exact:
            samples = torch.from_numpy(band[None, ..., 0]).to(self.device)
            maps = torch.nn.functional.conv2d(
                samples, self.weight, stride=self.job.stride_hw, dilation=self.job.dilation_hw
            )
            target[..., 0] = maps[0].cpu().numpy()

    def matrix_bytes(self) -> int:
        """Return the bytes of the weights."""
        return self.band_dtype.itemsize * self.job.n_out * self.job.taps

    def scratch_bytes(self, n_rows: int) -> int:
        """Output of one band, and oneDNN's unfolded input at worst."""
        item = self.band_dtype.itemsize
        return item * n_rows * self.job.output_w * (self.job.n_out + self.job.taps)
