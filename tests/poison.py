"""A plugin for the workers of a test: names of inputs say what becomes of the process that works on them.

``die…`` kills it with SIGKILL, ``once…`` only the first time, ``hold…`` waits until the file ``gate`` exists.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from distributed import WorkerPlugin


def name_of(plan: Any) -> str:
    return str(plan.input.file)


class Poison(WorkerPlugin):
    """Acts where an input would be run; Dask sets it up again in a worker that replaces one that died."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def setup(self, worker: object) -> None:
        del worker
        from convcli.pipeline.run import Pipeline

        inner: Callable[..., Any] = Pipeline.run

        def run(pipeline: Pipeline, plan: Any) -> Any:
            self.act(name_of(plan))
            return inner(pipeline, plan)

        Pipeline.run = run  # type: ignore[method-assign]

    def act(self, name: str) -> None:
        died = self.folder / f"{name}-died"
        if name.startswith("die") or (name.startswith("once") and not died.exists()):
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if name.startswith("hold"):
            (self.folder / f"{name}-held").touch()
            while not (self.folder / "gate").exists():
                time.sleep(0.01)
