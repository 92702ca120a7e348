"""``convcli.apply``, as the command does it; and one image with its bank, for ``compare`` and ``explain``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from convcli.pipeline.request import parse_request

if TYPE_CHECKING:
    from convcli.engine.borders import Planes
    from convcli.engine.plan import ConvPlan
    from convcli.pipeline.plan import Plan
    from convcli.pipeline.result import Result
    from convcli.pipeline.transforms.bank import Bank


def apply(
    inputs: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    kernel: str | Sequence[str] = (),
    *,
    recursive: bool = False,
    jobs: int | None = None,
    **flags: Any,
) -> Result:
    """Apply a kernel bank to images, as ``convcli apply`` does.

    Parameters
    ----------
    inputs : path or sequence of paths
        Files, glob patterns or folders.
    kernel : str or sequence of str
        Kernel specs; several make one bank. Left out where ``layers`` or ``stack`` run.
    recursive : bool
        Search folders below folders; their tree is kept below ``out_dir``.
    jobs : int, optional
        Files at a time; the number of cores if absent.
    **flags
        Fields of :class:`~convcli.pipeline.request.ApplyRequest`, as text or values: ``stride=2``, ``output="e.png"``.

    Returns
    -------
    Result
        A report per input, in order of completion: a sequence of dicts, and for one input a mapping too. In a notebook
        it shows input, kernels, maps, shapes and what was clipped.

    Raises
    ------
    ConvcliError
        The batch cannot be planned, or an input failed; the inputs after it are not run.

    Examples
    --------
    >>> import convcli, tempfile
    >>> folder = tempfile.mkdtemp()
    >>> result = convcli.apply("examples/camera.png", "sobel", out_dir=folder)
    >>> result["shape"]["output"], [path.name for path in result.paths]
    ([2, 512, 512], ['x-l.png', 'y-l.png'])
    """
    # Not at the top: a look at ``convcli.apply`` must not load NumPy and the codecs.
    from convcli.pipeline.batch import plan_batch, run_batch
    from convcli.pipeline.inputs import find_inputs
    from convcli.pipeline.result import Report, Result

    words = [inputs] if isinstance(inputs, str | os.PathLike) else list(inputs)
    kernels = (kernel,) if isinstance(kernel, str) else tuple(kernel)
    request = parse_request({"kernels": kernels, **{key: _as_flag(value) for key, value in flags.items()}})
    where: dict[str, Any] = {"out_dir": request.out_dir, "out_url": request.out_url}
    sources = find_inputs([os.fspath(word) for word in words], recursive=recursive, **where)
    reports, batch = [], plan_batch(request, sources)
    plans = {plan.source: plan for plan in batch.plans}
    # Closing the generator stops the workers and removes unfinished files before the caller sees the error.
    with closing(run_batch(batch, jobs=jobs, fail_fast=True)) as outcomes:
        for outcome in outcomes:
            if outcome.error is not None:
                raise outcome.error
            if outcome.report is not None:
                report = Report(outcome.report)
                report.plan = plans.get(outcome.source)
                reports.append(report)
    return Result(reports)


def _as_flag(value: object) -> object:
    """Numbers and paths become the text of a flag; booleans and normal forms stay."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    # bool is a subclass of int, and a switch must not become the text "True".
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


class OneImage(NamedTuple):
    """An open image, and the plan of a bank on it; alpha is left out unless ``--channels`` names it."""

    flags: Mapping[str, Any]
    plan: Plan
    bank: Bank
    planes: Planes

    def conv(self, **changes: Any) -> ConvPlan:
        """Return the plan of the convolution with some of the flags changed."""
        from convcli.pipeline.transforms.strips import plan_engine

        request, plan = parse_request({**self.flags, **changes}), self.plan
        return plan_engine(request, self.bank.bound, plan.info, self.planes.shape[0], computed=plan.selection.luma)


@contextmanager
def open_one(image: str, flags: Mapping[str, Any]) -> Iterator[OneImage]:
    """Open an image, ``-`` from standard input, and plan the bank of ``flags`` on it.

    Raises
    ------
    ConvcliError
        The image or the bank cannot be read, or they do not fit each other.
    """
    from convcli.images.planes import view_planes
    from convcli.images.reading import open_planes
    from convcli.pipeline.names import InputFile
    from convcli.pipeline.plan import Planner
    from convcli.process.system import read_input

    request = parse_request(flags)
    planner = Planner(request)
    source = InputFile(None, data=read_input()) if image == "-" else InputFile(Path(image))
    with open_planes(source.readable) as opened:
        plan = planner.plan(source, opened.info)
        white = opened.info.white
        planes = view_planes(opened.planes, plan.selection, white=white, unit=request.unit, dtype=request.dtype)
        # Inside the with: planes that are read by windows need the file open.
        yield OneImage(flags, plan, cast("Bank", plan.transform), planes)
