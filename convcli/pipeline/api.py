"""``convcli.apply``, as the command does it, and its result; one image, for ``compare`` and ``explain``."""

from __future__ import annotations

import os
from collections.abc import ItemsView, Iterator, KeysView, Mapping, Sequence, ValuesView
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast, overload

from convcli.errors import UsageError
from convcli.pipeline.request import parse_request
from convcli.process.system import is_url, local_path

if TYPE_CHECKING:
    from convcli.engine.borders import Planes
    from convcli.engine.plan import ConvPlan
    from convcli.pipeline.plan import Plan
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
    from convcli.pipeline.batch import find_inputs, plan_batch, run_batch
    from convcli.pipeline.inputs import Search

    words = [inputs] if isinstance(inputs, str | os.PathLike) else list(inputs)
    kernels = (kernel,) if isinstance(kernel, str) else tuple(kernel)
    request = parse_request({"kernels": kernels, **flags})
    search = Search(recursive, request.out_dir, request.out_url)
    found = find_inputs([os.fspath(word) for word in words], search)
    reports, batch = [], plan_batch(request, found)
    plans = {plan.input: plan for plan in batch.plans}
    # Closing the generator stops the workers and removes unfinished files before the caller sees the error.
    with closing(run_batch(batch, jobs=jobs, fail_fast=True)) as outcomes:
        for outcome in outcomes:
            if outcome.error is not None:
                raise outcome.error
            if outcome.report is not None:
                report = Report(outcome.report)
                report.plan = plans.get(outcome.input)
                reports.append(report)
    return Result(reports)


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
    from convcli.pipeline.inputs import InputFile
    from convcli.pipeline.plan import Planner
    from convcli.process.system import read_input

    request = parse_request(flags)
    planner = Planner(request)
    file = InputFile(None, data=read_input()) if image == "-" else InputFile(local_path(image))
    with open_planes(file.readable) as opened:
        plan = planner.plan(file, opened.info)
        white = opened.info.white
        planes = view_planes(opened.planes, plan.selection, white=white, unit=request.unit, dtype=request.dtype)
        # Inside the with: planes that are read by windows need the file open.
        yield OneImage(flags, plan, cast("Bank", plan.transform), planes)


class Report(dict[str, Any]):
    """The report of one input: a dict, with its most wanted parts as attributes.

    Attributes
    ----------
    plan : Plan or None
        Of the input, from which a notebook draws it; it is no part of the dict.

    Examples
    --------
    >>> report = Report({"input": {"path": "cat.png"}, "outputs": [{"path": "edges.png"}], "maps": []})
    >>> report["input"]["path"], report.paths
    ('cat.png', (PosixPath('edges.png'),))
    """

    plan: Plan | None = None

    @property
    def input(self) -> str:
        """Name of the input."""
        return str(self["input"]["path"])

    @property
    def paths(self) -> tuple[Path, ...]:
        """Files that were written, without the report beside them; objects of a store are under ``outputs``."""
        paths = (one["path"] for one in self["outputs"])
        return tuple(Path(path) for path in paths if path != "-" and not is_url(path))

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the maps: channels, (frames,) rows, columns."""
        return tuple(self["shape"]["output"])

    @property
    def maps(self) -> list[dict[str, Any]]:
        """Name, values, tone and clipped samples of each map."""
        found: list[dict[str, Any]] = self["maps"]
        return found

    @property
    def notes(self) -> list[str]:
        """Conversions and choices that are worth knowing."""
        return [*self["notes"]]

    @property
    def warnings(self) -> list[str]:
        """Losses, each with the flag that avoids it."""
        return [*self["warnings"]]

    def __repr__(self) -> str:
        """Return the shapes in one line; the dict itself is long."""
        sizes = " -> ".join("x".join(map(str, self["shape"][end])) for end in ("input", "output"))
        return f"<Report of {self.input!r}: {sizes}, {len(self['outputs'])} files>"

    def _repr_html_(self) -> str:
        """Return the report with its pictures, for a notebook."""
        from convcli.render.pages.notebook import draw_reports

        return draw_reports([self])


class Result(Sequence[Report]):
    """The reports of all inputs, in the order in which they ended.

    The result of one input can be used as its report: ``result["shape"]``, ``result.keys()``, ``dict(result)``.

    Parameters
    ----------
    reports : sequence of Report

    Examples
    --------
    >>> result = Result([Report({"input": {"path": "cat.png"}, "shape": {"output": [2, 8, 8]}})])
    >>> result["shape"]["output"], result[0]["shape"]["output"], len(result)
    ([2, 8, 8], [2, 8, 8], 1)
    """

    def __init__(self, reports: Sequence[Report]) -> None:
        self._reports = tuple(reports)

    @property
    def only(self) -> Report:
        """The report of the only input.

        Raises
        ------
        UsageError
            There are several inputs, or none.
        """
        if len(self._reports) != 1:
            raise UsageError(f"the result has {len(self._reports)} reports", hint="result[0], or for report in result")
        return self._reports[0]

    @overload
    def __getitem__(self, key: str) -> Any: ...
    @overload
    def __getitem__(self, key: int) -> Report: ...
    @overload
    def __getitem__(self, key: slice) -> Result: ...
    def __getitem__(self, key: str | int | slice) -> Any:
        """Return a report by its place, or a part of the only report by its key."""
        if isinstance(key, str):
            return self.only[key]
        return Result(self._reports[key]) if isinstance(key, slice) else self._reports[key]

    def __len__(self) -> int:
        """Return the number of inputs."""
        return len(self._reports)

    def __iter__(self) -> Iterator[Report]:
        """Return the reports, one an input."""
        return iter(self._reports)

    def __contains__(self, item: object) -> bool:
        """Return whether the only report has a key, or a report is one of these."""
        return item in self.only if isinstance(item, str) else item in self._reports

    def __eq__(self, other: object) -> bool:
        """Compare with another result, or with a list of dicts."""
        return [*self] == [*other] if isinstance(other, Result | list | tuple) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def keys(self) -> KeysView[str]:
        """Return the keys of the only report, as a mapping has them."""
        return self.only.keys()

    def values(self) -> ValuesView[Any]:
        """Return the values of the only report."""
        return self.only.values()

    def items(self) -> ItemsView[str, Any]:
        """Return the items of the only report."""
        return self.only.items()

    def get(self, key: str, default: Any = None) -> Any:
        """Return a part of the only report, or a default."""
        return self.only.get(key, default)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Files that were written, of all inputs."""
        return tuple(path for report in self._reports for path in report.paths)

    def __repr__(self) -> str:
        """Return the reports, a line each."""
        return f"Result([{', '.join(map(repr, self._reports))}])"

    def _repr_html_(self) -> str:
        """Return the reports with their pictures, for a notebook."""
        from convcli.render.pages.notebook import draw_reports

        return draw_reports(self._reports)
