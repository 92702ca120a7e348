"""``convcli.apply``: what the command does, from Python."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from convcli.pipeline.flags import parse_request


def apply(
    inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    kernel: str | Sequence[str],
    *,
    recursive: bool = False,
    jobs: int | None = None,
    **flags: Any,
) -> list[dict[str, Any]]:
    """Apply a kernel bank to images, as ``convcli apply`` does.

    Parameters
    ----------
    inputs : path or sequence of paths
        Files, glob patterns or folders.
    kernel : str or sequence of str
        Kernel specs; several stack into one bank.
    recursive : bool
        Search folders below folders; their tree is kept below ``out_dir``.
    jobs : int, optional
        Files at a time; the number of cores if absent.
    **flags
        The command's flags with ``_`` for ``-``, as text or in their normal form: ``stride=2``, ``output="edges.png"``.

    Returns
    -------
    list of dict
        One report per input, in order of completion.

    Raises
    ------
    ConvcliError
        Whatever stops the batch, or the first input that failed; the inputs after it are not run.

    Examples
    --------
    >>> import convcli, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> [report] = convcli.apply("examples/camera.png", "sobel", out_dir=folder)
    >>> report["shape"]["output"]
    [2, 512, 512]
    """
    from convcli.pipeline.batch import plan_batch, run_batch
    from convcli.pipeline.inputs import find_inputs

    words = [inputs] if isinstance(inputs, str | os.PathLike) else list(inputs)
    kernels = (kernel,) if isinstance(kernel, str) else tuple(kernel)
    request = parse_request({"kernels": kernels, **{key: _as_flag(value) for key, value in flags.items()}})
    sources = find_inputs([os.fspath(word) for word in words], recursive=recursive, out_dir=request.out_dir)
    reports = []
    with closing(run_batch(plan_batch(request, sources), jobs=jobs, fail_fast=True)) as outcomes:
        for outcome in outcomes:
            if outcome.error is not None:
                raise outcome.error
            if outcome.report is not None:
                reports.append(outcome.report)
    return reports


def _as_flag(value: object) -> object:
    """Numbers and paths become the text of a flag; booleans and normal forms stay."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
